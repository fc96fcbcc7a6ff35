//! Takes the accents off letters: `é` becomes `e`, `ﬁ` becomes `fi`, a lone combining mark nothing.
//!
//! The same as Python's NFKD decomposition without combining marks (what scikit-learn does), for
//! characters below U+2500, the Latin ligatures and the full-width forms, which is where an accent
//! is a spelling and not another letter. Beyond, letters stay and only marks go. A full normaliser
//! would be a dependency with tables twenty times as large.

use std::sync::OnceLock;

use hashbrown::HashTable;

use super::hash::gram_hash;

/// A line each: what remains, a tab, the lower-case letters it remains of (Unicode 14).
const FOLDS: &str = include_str!("accents.txt");

/// Appends what remains of `letter`.
pub(super) fn push_folded(letter: char, out: &mut String) {
    if letter.is_ascii() {
        return out.push(letter);
    }
    if is_mark(letter) {
        return;
    }
    match fold(letter) {
        Some(rest) => out.push_str(rest),
        None => out.push(letter),
    }
}

fn fold(letter: char) -> Option<&'static str> {
    static TABLE: OnceLock<HashTable<(char, &'static str)>> = OnceLock::new();
    let table = TABLE.get_or_init(table);
    table
        .find(hash(letter), |entry| entry.0 == letter)
        .map(|entry| entry.1)
}

fn table() -> HashTable<(char, &'static str)> {
    let mut table = HashTable::new();
    for (rest, letters) in FOLDS.lines().filter_map(|line| line.split_once('\t')) {
        for letter in letters.chars() {
            table.insert_unique(hash(letter), (letter, rest), |entry| hash(entry.0));
        }
    }
    table
}

fn hash(letter: char) -> u64 {
    gram_hash(&u32::from(letter).to_le_bytes())
}

fn is_mark(letter: char) -> bool {
    let Ok(code) = u16::try_from(u32::from(letter)) else {
        return false;
    };
    let (ranges, _) = MARKS.as_chunks::<2>();
    let after = ranges.partition_point(|&[first, _]| first <= code);
    after > 0 && code <= ranges[after - 1][1]
}

/// Combining marks of the basic plane (canonical combining class not 0, Unicode 14): first and last
/// of each range, in turn.
const MARKS: [u16; 244] = [
    0x0300, 0x034e, 0x0350, 0x036f, 0x0483, 0x0487, 0x0591, 0x05bd, 0x05bf, 0x05bf, 0x05c1, 0x05c2,
    0x05c4, 0x05c5, 0x05c7, 0x05c7, 0x0610, 0x061a, 0x064b, 0x065f, 0x0670, 0x0670, 0x06d6, 0x06dc,
    0x06df, 0x06e4, 0x06e7, 0x06e8, 0x06ea, 0x06ed, 0x0711, 0x0711, 0x0730, 0x074a, 0x07eb, 0x07f3,
    0x07fd, 0x07fd, 0x0816, 0x0819, 0x081b, 0x0823, 0x0825, 0x0827, 0x0829, 0x082d, 0x0859, 0x085b,
    0x0898, 0x089f, 0x08ca, 0x08e1, 0x08e3, 0x08ff, 0x093c, 0x093c, 0x094d, 0x094d, 0x0951, 0x0954,
    0x09bc, 0x09bc, 0x09cd, 0x09cd, 0x09fe, 0x09fe, 0x0a3c, 0x0a3c, 0x0a4d, 0x0a4d, 0x0abc, 0x0abc,
    0x0acd, 0x0acd, 0x0b3c, 0x0b3c, 0x0b4d, 0x0b4d, 0x0bcd, 0x0bcd, 0x0c3c, 0x0c3c, 0x0c4d, 0x0c4d,
    0x0c55, 0x0c56, 0x0cbc, 0x0cbc, 0x0ccd, 0x0ccd, 0x0d3b, 0x0d3c, 0x0d4d, 0x0d4d, 0x0dca, 0x0dca,
    0x0e38, 0x0e3a, 0x0e48, 0x0e4b, 0x0eb8, 0x0eba, 0x0ec8, 0x0ecb, 0x0f18, 0x0f19, 0x0f35, 0x0f35,
    0x0f37, 0x0f37, 0x0f39, 0x0f39, 0x0f71, 0x0f72, 0x0f74, 0x0f74, 0x0f7a, 0x0f7d, 0x0f80, 0x0f80,
    0x0f82, 0x0f84, 0x0f86, 0x0f87, 0x0fc6, 0x0fc6, 0x1037, 0x1037, 0x1039, 0x103a, 0x108d, 0x108d,
    0x135d, 0x135f, 0x1714, 0x1715, 0x1734, 0x1734, 0x17d2, 0x17d2, 0x17dd, 0x17dd, 0x18a9, 0x18a9,
    0x1939, 0x193b, 0x1a17, 0x1a18, 0x1a60, 0x1a60, 0x1a75, 0x1a7c, 0x1a7f, 0x1a7f, 0x1ab0, 0x1abd,
    0x1abf, 0x1ace, 0x1b34, 0x1b34, 0x1b44, 0x1b44, 0x1b6b, 0x1b73, 0x1baa, 0x1bab, 0x1be6, 0x1be6,
    0x1bf2, 0x1bf3, 0x1c37, 0x1c37, 0x1cd0, 0x1cd2, 0x1cd4, 0x1ce0, 0x1ce2, 0x1ce8, 0x1ced, 0x1ced,
    0x1cf4, 0x1cf4, 0x1cf8, 0x1cf9, 0x1dc0, 0x1dff, 0x20d0, 0x20dc, 0x20e1, 0x20e1, 0x20e5, 0x20f0,
    0x2cef, 0x2cf1, 0x2d7f, 0x2d7f, 0x2de0, 0x2dff, 0x302a, 0x302f, 0x3099, 0x309a, 0xa66f, 0xa66f,
    0xa674, 0xa67d, 0xa69e, 0xa69f, 0xa6f0, 0xa6f1, 0xa806, 0xa806, 0xa82c, 0xa82c, 0xa8c4, 0xa8c4,
    0xa8e0, 0xa8f1, 0xa92b, 0xa92d, 0xa953, 0xa953, 0xa9b3, 0xa9b3, 0xa9c0, 0xa9c0, 0xaab0, 0xaab0,
    0xaab2, 0xaab4, 0xaab7, 0xaab8, 0xaabe, 0xaabf, 0xaac1, 0xaac1, 0xaaf6, 0xaaf6, 0xabed, 0xabed,
    0xfb1e, 0xfb1e, 0xfe20, 0xfe2f,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        let mut out = String::new();
        text.chars()
            .for_each(|letter| push_folded(letter, &mut out));
        out
    }

    /// Expected strings from scikit-learn 1.9.1 `strip_accents_unicode`.
    #[test]
    fn accents_go_and_letters_stay() {
        assert_eq!(folded("über crème brûlée"), "uber creme brulee");
        assert_eq!(folded("ﬁn ångström ½ ø ß ł"), "fin angstrom 1⁄2 ø ß ł");
        assert_eq!(folded("cafe\u{301} ế ή й"), "cafe e η и");
        assert_eq!(folded("ｆｕｌｌ ①②"), "full 12");
        assert_eq!(folded("日本 हिन्दी"), "日本 हिनदी");
    }

    #[test]
    fn every_line_of_the_table_is_used() {
        let letters = FOLDS.lines().filter_map(|line| line.split_once('\t'));
        let expected = letters
            .map(|(_, letters)| letters.chars().count())
            .sum::<usize>();
        assert_eq!(table().len(), expected);
        assert_eq!(FOLDS.lines().count(), 471);
    }
}
