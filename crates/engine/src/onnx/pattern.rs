//! The small part of regular expressions that tokenizers are written with: one class of characters, repeated.

use super::tensor::Fault;

/// Most ranges in a class; all letters of Unicode are about seven hundred.
const RANGES_MAX: usize = 1 << 13;

/// `[a-z0-9_]+` and its kind: runs of at least so many characters of a class.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    class: Class,
    shortest: usize,
}

#[derive(Debug, Clone, Default)]
struct Class {
    ranges: Vec<(char, char)>,
    letters: bool,
    numbers: bool,
    is_negated: bool,
}

impl Pattern {
    /// Reads a pattern, refusing what is not a repeated class.
    pub fn read(text: &str) -> Result<Self, Fault> {
        let refused = || {
            let shown: String = text.chars().take(60).collect();
            Fault::new(format!(
                "the pattern {shown:?} is more than a repeated class of characters"
            ))
        };
        let text = text
            .strip_prefix("\\b")
            .and_then(|rest| rest.strip_suffix("\\b"))
            .unwrap_or(text);
        let (mut class, rest) = Class::read(text).ok_or_else(refused)?;
        class.sort();
        let shortest = match rest {
            "+" => 1,
            rest if rest == format!("{}+", &text[..text.len() - rest.len()]) => 2,
            rest => {
                let count = rest
                    .strip_prefix('{')
                    .and_then(|rest| rest.strip_suffix(",}"));
                count
                    .and_then(|count| count.parse().ok())
                    .filter(|&count| count >= 1)
                    .ok_or_else(refused)?
            }
        };
        Ok(Pattern { class, shortest })
    }

    /// The runs in a text.
    pub fn runs<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let runs = text.split(|letter| !self.class.holds(letter));
        runs.filter(|run| run.chars().nth(self.shortest - 1).is_some())
    }
}

impl Class {
    /// A class at the beginning of a pattern, and what follows it.
    fn read(text: &str) -> Option<(Class, &str)> {
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
            .runs(text)
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

    #[test]
    fn more_than_a_class_is_refused() {
        for pattern in [
            "", "a", "(ab)+", "[a-z]*", "[a", r"\w+|\d+", "[a]{0,}", r"[\b]+", "[a]{,}",
        ] {
            assert!(Pattern::read(pattern).is_err(), "{pattern}");
        }
    }
}
