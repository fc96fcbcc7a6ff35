//! Names from files, as a person may see them: whole, unless they are endless, and without what a terminal obeys.

/// Letters shown of a name.
const LETTERS_MAX: usize = 60;

/// A name cut short, its control characters and others that draw nothing written as escapes.
///
/// ```
/// assert_eq!(ombud_engine::shown::name("\u{1b}[2J\u{202e}Größe"), "\\u{1b}[2J\\u{202e}Größe");
/// ```
pub fn name(name: &str) -> String {
    let mut shown = escaped(&name.chars().take(LETTERS_MAX).collect::<String>());
    if name.chars().nth(LETTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// A text of any length, without what a terminal obeys.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match is_obeyed(letter) {
            true => out.extend(letter.escape_default()),
            false => out.push(letter),
        }
    }
    out
}

/// Whether a letter moves, hides or turns around what stands beside it.
pub fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
