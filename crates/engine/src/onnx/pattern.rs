//! The small part of regular expressions that tokenizers are written with: one class of characters, repeated, and the few
//! patterns of two classes that our own exports cut texts with.

use super::tensor::Fault;

/// Most ranges in a class; all letters of Unicode are about seven hundred.
const RANGES_MAX: usize = 1 << 13;

/// What is looked for in a text.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    /// `[a-z0-9_]+` and its kind: runs of at least so many characters of a class.
    Runs { class: Class, shortest: usize },
    /// `[^ab]+|[ab]`: runs of a class, and each character that is not of it.
    Pieces(Class),
    /// `^[ab]*[c]`: the beginning of a text up to the first character that is not skipped, if it is of a class.
    Lead { skipped: Class, class: Class },
    /// `[c][ab]*$`: the same from the end.
    Trail { class: Class, skipped: Class },
    /// `^[ab]+$`: a text of nothing but a class.
    Whole(Class),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Class {
    ranges: Vec<(char, char)>,
    letters: bool,
    numbers: bool,
    is_negated: bool,
}

impl Pattern {
    /// Reads a pattern, refusing what is none of these.
    pub fn read(text: &str) -> Result<Self, Fault> {
        let found = Pattern::anchored(text)
            .or_else(|| Pattern::pieces(text))
            .or_else(|| Pattern::repeated(text));
        found.ok_or_else(|| {
            let shown: String = text.chars().take(60).collect();
            Fault::new(format!(
                "the pattern {shown:?} is more than a repeated class of characters"
            ))
        })
    }

    fn repeated(text: &str) -> Option<Pattern> {
        let text = text
            .strip_prefix("\\b")
            .and_then(|rest| rest.strip_suffix("\\b"))
            .unwrap_or(text);
        let (class, rest) = Class::read(text)?;
        let shortest = match rest {
            "+" => 1,
            rest if rest == format!("{}+", &text[..text.len() - rest.len()]) => 2,
            rest => {
                let count = rest.strip_prefix('{')?.strip_suffix(",}")?;
                count.parse().ok().filter(|&count| count >= 1)?
            }
        };
        Some(Pattern::Runs { class, shortest })
    }

    fn pieces(text: &str) -> Option<Pattern> {
        let (run, rest) = Class::read(text)?;
        let (alone, rest) = Class::read(rest.strip_prefix("+|")?)?;
        let is_rest = run.is_negated != alone.is_negated
            && Class {
                is_negated: run.is_negated,
                ..alone
            } == run;
        (rest.is_empty() && is_rest).then_some(Pattern::Pieces(run))
    }

    fn anchored(text: &str) -> Option<Pattern> {
        let Some(rest) = text.strip_prefix('^') else {
            let (class, rest) = Class::read(text)?;
            let (skipped, rest) = Class::read(rest)?;
            let is_read = rest == "*$" && class.is_apart_from(&skipped);
            return is_read.then_some(Pattern::Trail { class, skipped });
        };
        let (first, rest) = Class::read(rest)?;
        if rest == "+$" {
            return Some(Pattern::Whole(first));
        }
        let (class, rest) = Class::read(rest.strip_prefix('*')?)?;
        let is_read = rest.is_empty() && class.is_apart_from(&first);
        is_read.then_some(Pattern::Lead {
            skipped: first,
            class,
        })
    }

    /// Whatever is found in a text, from its beginning to its end.
    pub fn found<'a>(&self, text: &'a str) -> Vec<&'a str> {
        match self {
            Pattern::Runs { class, shortest } => text
                .split(|letter| !class.holds(letter))
                .filter(|run| run.chars().nth(shortest - 1).is_some())
                .collect(),
            Pattern::Pieces(class) => text
                .split_inclusive(|letter| !class.holds(letter))
                .flat_map(|piece| {
                    let last = piece.char_indices().next_back();
                    let alone = last.filter(|&(_, letter)| !class.holds(letter));
                    let (run, alone) = piece.split_at(alone.map_or(piece.len(), |(at, _)| at));
                    [run, alone]
                })
                .filter(|piece| !piece.is_empty())
                .collect(),
            Pattern::Lead { skipped, class } => {
                let mut rest = text.char_indices().skip_while(|&(_, c)| skipped.holds(c));
                let end = rest.next().filter(|&(_, letter)| class.holds(letter));
                end.map(|(at, letter)| &text[..at + letter.len_utf8()])
                    .into_iter()
                    .collect()
            }
            Pattern::Trail { class, skipped } => {
                let mut rest = text
                    .char_indices()
                    .rev()
                    .skip_while(|&(_, c)| skipped.holds(c));
                let start = rest.next().filter(|&(_, letter)| class.holds(letter));
                start.map(|(at, _)| &text[at..]).into_iter().collect()
            }
            Pattern::Whole(class) => {
                let is_whole = !text.is_empty() && text.chars().all(|c| class.holds(c));
                is_whole.then_some(text).into_iter().collect()
            }
        }
    }
}

impl Class {
    /// A class at the beginning of a pattern, and what follows it.
    fn read(text: &str) -> Option<(Class, &str)> {
        let (mut class, rest) = Class::read_unsorted(text)?;
        class.sort();
        Some((class, rest))
    }

    fn read_unsorted(text: &str) -> Option<(Class, &str)> {
        let mut class = Class::default();
        let Some(mut rest) = text.strip_prefix('[') else {
            let rest = class.read_escape(text.strip_prefix('\\')?)?;
            return Some((class, rest));
        };
        if let Some(after) = rest.strip_prefix('^') {
            class.is_negated = true;
            rest = after;
        }
        loop {
            if class.ranges.len() > RANGES_MAX {
                return None;
            }
            if let Some(after) = rest.strip_prefix(']') {
                return Some((class, after));
            }
            if let Some(after) = rest.strip_prefix('\\')
                && let Some(after) = class.read_escape(after)
            {
                rest = after;
                continue;
            }
            let (first, after) = character(rest)?;
            let (last, after) = match after
                .strip_prefix('-')
                .filter(|after| !after.starts_with(']'))
            {
                Some(after) => character(after)?,
                None => (first, after),
            };
            class.ranges.push((first, last));
            rest = after;
        }
    }

    /// A named class after a backslash, and what follows it.
    fn read_escape<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        let ascii =
            |class: &mut Class, ranges: &[(char, char)]| class.ranges.extend_from_slice(ranges);
        if let Some(rest) = text.strip_prefix('w') {
            ascii(self, &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]);
            Some(rest)
        } else if let Some(rest) = text.strip_prefix('d') {
            ascii(self, &[('0', '9')]);
            Some(rest)
        } else if let Some(rest) = text.strip_prefix('S') {
            self.is_negated = !self.is_negated && self.ranges.is_empty();
            ascii(self, &[('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')]);
            self.is_negated.then_some(rest)
        } else if let Some(rest) = text.strip_prefix("p{L}") {
            self.letters = true;
            Some(rest)
        } else if let Some(rest) = text.strip_prefix("p{N}") {
            self.numbers = true;
            Some(rest)
        } else {
            None
        }
    }

    /// Orders and joins the ranges, so that one look finds a letter.
    fn sort(&mut self) {
        self.ranges.sort_unstable();
        let mut joined: Vec<(char, char)> = Vec::with_capacity(self.ranges.len());
        for &(first, last) in &self.ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        self.ranges = joined;
    }

    /// Whether it can be told that no character is in both: for named or negated classes it cannot.
    fn is_apart_from(&self, other: &Class) -> bool {
        let is_plain = |class: &Class| !(class.letters || class.numbers || class.is_negated);
        let holds_none = |&(first, last): &(char, char)| {
            let after = other.ranges.partition_point(|&(start, _)| start <= last);
            after == 0 || other.ranges[after - 1].1 < first
        };
        is_plain(self) && is_plain(other) && self.ranges.iter().all(holds_none)
    }

    fn holds(&self, letter: char) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= letter);
        let is_in = (after > 0 && letter <= self.ranges[after - 1].1)
            || (self.letters && letter.is_alphabetic())
            || (self.numbers && letter.is_numeric());
        is_in != self.is_negated
    }
}

/// One character, plain, escaped or by its number, and what follows it.
fn character(text: &str) -> Option<(char, &str)> {
    let Some(escaped) = text.strip_prefix('\\') else {
        let first = text.chars().next()?;
        return Some((first, &text[first.len_utf8()..]));
    };
    if let Some(rest) = escaped.strip_prefix("x{") {
        let (number, rest) = rest.split_once('}')?;
        return Some((char::from_u32(u32::from_str_radix(number, 16).ok()?)?, rest));
    }
    let first = escaped.chars().next()?;
    let plain = match first {
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        letter if letter.is_ascii_alphanumeric() => return None,
        other => other,
    };
    Some((plain, &escaped[first.len_utf8()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(pattern: &str, text: &str) -> Vec<String> {
        Pattern::read(pattern)
            .unwrap()
            .found(text)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn runs_of_a_class_are_found() {
        assert_eq!(runs("[a-zA-Z0-9_]+", "a bc, d_1!"), ["a", "bc", "d_1"]);
        assert_eq!(runs(r"[\p{L}\p{N}_]{2,}", "é ab école"), ["ab", "école"]);
        assert_eq!(runs(r"\b\w\w+\b", "a bc"), ["bc"]);
        assert_eq!(runs(r"[^ ]+", " a  b! "), ["a", "b!"]);
        assert_eq!(runs(r"\S+", " a  b! "), ["a", "b!"]);
        assert_eq!(runs(r"[\x{e9}\-]+", "é-e"), ["é-"]);
    }

    /// As Python 3.13's `re.findall` has it.
    #[test]
    fn patterns_of_two_classes_are_found() {
        assert_eq!(runs("[^ab]+|[ab]", "xyaabz"), ["xy", "a", "a", "b", "z"]);
        assert_eq!(runs("[^ab]+|[ab]", ""), [""; 0]);
        assert_eq!(runs("^[.']*[a-z]", ".'xy.z"), [".'x"]);
        assert_eq!(runs("^[.']*[a-z]", ". x"), [""; 0]);
        assert_eq!(runs("[a-z][.']*$", "x.y'."), ["y'."]);
        assert_eq!(runs("[a-z][.']*$", "x. "), [""; 0]);
        assert_eq!(runs("^[.']+$", ".'."), [".'."]);
        assert_eq!(runs("^[.']+$", ".x"), [""; 0]);
    }

    #[test]
    fn more_than_a_class_is_refused() {
        for pattern in [
            "^[a-c]*[cd]",
            "[a-c][^a]*$",
            "[^ab]+|[ac]",
            "",
            "a",
            "(ab)+",
            "[a-z]*",
            "[a",
            r"\w+|\d+",
            "[a]{0,}",
            r"[\b]+",
            "[a]{,}",
        ] {
            assert!(Pattern::read(pattern).is_err(), "{pattern}");
        }
    }
}
