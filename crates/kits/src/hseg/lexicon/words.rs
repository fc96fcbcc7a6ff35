//! A text as words that can be compared: small letters, no apostrophes, short forms written out.

/// A word with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether a mark follows that ends a clause.
    pub(super) ends_clause: bool,
}

/// From how many letters on a typing error is forgiven. Shorter words are too near to others.
pub(super) const LONG: usize = 6;

/// Short forms and what they stand for.
const WRITTEN_OUT: [(&str, &[&str]); 41] = [
    ("cant", &["cannot"]),
    ("dont", &["do", "not"]),
    ("doesnt", &["does", "not"]),
    ("didnt", &["did", "not"]),
    ("isnt", &["is", "not"]),
    ("arent", &["are", "not"]),
    ("wasnt", &["was", "not"]),
    ("wouldnt", &["would", "not"]),
    ("shouldnt", &["should", "not"]),
    ("couldnt", &["cannot"]),
    ("havent", &["have", "not"]),
    ("hasnt", &["has", "not"]),
    ("wont", &["will", "not"]),
    ("aint", &["is", "not"]),
    ("wanna", &["want", "to"]),
    ("gonna", &["going", "to"]),
    ("gotta", &["have", "to"]),
    ("im", &["i", "am"]),
    ("ive", &["i", "have"]),
    ("hes", &["he", "is"]),
    ("shes", &["she", "is"]),
    ("theyre", &["they", "are"]),
    ("theyll", &["they", "will"]),
    ("noone", &["nobody"]),
    ("nvr", &["never"]),
    ("u", &["you"]),
    ("ppl", &["people"]),
    ("bc", &["because"]),
    ("b4", &["before"]),
    ("rly", &["really"]),
    ("kms", &["kill", "myself"]),
    ("anymore", &["any"]),
    ("feelin", &["feeling"]),
    ("thinkin", &["thinking"]),
    ("everyones", &["everyone", "is"]),
    ("hed", &["he", "would"]),
    ("theyd", &["they", "would"]),
    // Too short to be recognized mistyped.
    ("wnat", &["want"]),
    ("lfie", &["life"]),
    ("killmyself", &["kill", "myself"]),
    ("myslef", &["myself"]),
];

/// The words of a text, in order.
pub(super) fn split(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut current: Option<(usize, String)> = None;
    for (at, letter) in text.char_indices() {
        match letter {
            '\'' | '’' | '`' if current.is_some() => {}
            _ if letter.is_alphanumeric() => {
                let (_, word) = current.get_or_insert_with(|| (at, String::new()));
                word.extend(letter.to_lowercase());
            }
            _ => {
                end(&mut words, &mut current, at);
                if matches!(letter, '.' | ',' | ';' | ':' | '!' | '?' | '\n' | '(' | ')')
                    && let Some(last) = words.last_mut()
                {
                    last.ends_clause = true;
                }
            }
        }
    }
    end(&mut words, &mut current, text.len());
    words
}

fn end(words: &mut Vec<Word>, current: &mut Option<(usize, String)>, end: usize) {
    let Some((start, text)) = current.take() else {
        return;
    };
    // Forty kms are a distance.
    let is_distance = text == "kms" && words.last().is_some_and(|last| is_number(&last.text));
    let long = WRITTEN_OUT
        .iter()
        .find(|(short, _)| *short == text && !is_distance);
    let parts = long.map_or_else(
        || vec![text.clone()],
        |(_, parts)| parts.iter().map(|it| (*it).to_owned()).collect(),
    );
    // "can not" is what "cannot" is.
    let is_split_cannot = text == "not"
        && words
            .last()
            .is_some_and(|last| last.text == "can" && !last.ends_clause);
    if is_split_cannot && let Some(last) = words.last_mut() {
        last.text = "cannot".into();
        last.end = end;
        return;
    }
    words.extend(parts.into_iter().map(|text| Word {
        text,
        start,
        end,
        ends_clause: false,
    }));
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit()) || matches!(word, "few" | "many" | "hundred")
}

/// Whether two different words are one slip of the finger apart: a letter lost, added, changed, or two swapped.
pub(super) fn is_mistyped(written: &str, meant: &str) -> bool {
    let (a, b) = (written.as_bytes(), meant.as_bytes());
    if a.len().abs_diff(b.len()) > 1 || a == b {
        return false;
    }
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    match a.len().cmp(&b.len()) {
        std::cmp::Ordering::Less => a == &b[1..],
        std::cmp::Ordering::Greater => &a[1..] == b,
        std::cmp::Ordering::Equal => {
            let is_swapped = a.len() >= 2 && a[0] == b[1] && a[1] == b[0] && a[2..] == b[2..];
            a[1..] == b[1..] || is_swapped
        }
    }
}

/// The beginning of a text, at most so many bytes, cut between letters.
pub(super) fn beginning(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> String {
        split(text)
            .iter()
            .map(|word| word.text.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn short_forms_are_written_out_and_capitals_evened() {
        assert_eq!(
            texts("I CAN'T wanna, don’t anymore"),
            "i cannot want to do not any"
        );
        assert_eq!(texts("can not"), "cannot");
        assert_eq!(texts("kms, 40 kms"), "kill myself 40 kms");
    }

    #[test]
    fn words_keep_their_places() {
        let text = "Ach, don't go";
        let words = split(text);
        assert_eq!(&text[words[1].start..words[1].end], "don't");
        assert!(words[0].ends_clause && !words[1].ends_clause);
    }

    #[test]
    fn one_slip_is_forgiven_and_two_are_not() {
        for typed in ["suicde", "suiicide", "sucide", "suicied", "suxcide"] {
            assert!(is_mistyped(typed, "suicide"), "{typed}");
        }
        assert!(!is_mistyped("decided", "suicide"));
        assert!(!is_mistyped("suicide", "suicide"));
    }

    #[test]
    fn a_cut_is_made_between_letters() {
        assert_eq!(beginning("aé", 2), "a");
        assert_eq!(beginning("aé", 3), "aé");
    }
}
