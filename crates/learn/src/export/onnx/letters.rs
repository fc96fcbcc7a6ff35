//! The two letters whose lower case is not their own business: Σ, which asks its neighbours, and İ, which becomes two.
//!
//! onnxruntime lowers a text letter by letter, where [`ombud_engine::text`] follows Unicode's rules for whole words, as
//! Python's `str.lower` does. So both letters are replaced before the text is lowered: it is cut into pieces at them, each
//! of them is looked at between its neighbours, and the pieces are joined again. A text without them is one piece.

use std::sync::OnceLock;

use ombud_onnx::data_type;

use super::builder::{Builder, ML, Port, Setting, texts};
use super::text::{class, is_empty, marked, tokens};

const SIGMA: &str = "Σ";
const DOTTED_I: &str = "İ";
/// What a sigma becomes at the end of its word; everywhere else its lower case is a letter's own.
const FINAL_SIGMA: &str = "ς";
const DOTTED_I_LOWERED: &str = "i\u{307}";
/// Joining texts is an operator since this version.
const CONCAT_VERSION: i64 = 20;
/// The end of a slice that runs to the last column.
const LAST: i64 = i64::MAX;

/// A row of texts in which no letter is left whose lower case is not a letter's own.
pub(super) fn settled(builder: &mut Builder, flat: &Port) -> Port {
    builder.needs_core(CONCAT_VERSION);
    let found = tokens(
        builder,
        flat,
        format!("[^{SIGMA}{DOTTED_I}]+|[{SIGMA}{DOTTED_I}]"),
    );
    let nothing = emptied(builder, flat);
    let column = builder.reshape(&nothing, &[-1, 1]);
    // Empty pieces on either side, so that each piece has two neighbours and there is at least one piece.
    let beside = [&column, &column, &found, &column, &column, &column].map(Clone::clone);
    let pieces = builder.concat(&beside);
    let settled = settled_pieces(builder, &pieces);
    let rows = builder.op_with(
        "Transpose",
        &[&settled],
        vec![("perm", Setting::Ints(vec![1, 0]))],
    );
    builder.joined(&nothing, &rows)
}

/// The pieces between those that were put beside them, and one empty one.
fn settled_pieces(builder: &mut Builder, pieces: &Port) -> Port {
    let Letters { cased, ignored } = Letters::get();
    let begins_cased = holds(builder, pieces, format!("^{ignored}*{cased}"));
    let ends_cased = holds(builder, pieces, format!("{cased}{ignored}*$"));
    let is_ignored = holds(builder, pieces, format!("^{ignored}+$"));
    let is_sigma = is_one_of(builder, pieces, &[SIGMA]);
    let is_letter = is_one_of(builder, pieces, &[SIGMA, DOTTED_I]);
    // A piece of ignored characters alone has one of the two letters, which are cased, on either side.
    let near = columns(builder, &ends_cased, 1, -3);
    let between = columns(builder, &is_ignored, 1, -3);
    let far = columns(builder, &is_letter, 0, -4);
    let follows_cased = either(builder, &near, &between, &far);
    let near = columns(builder, &begins_cased, 3, -1);
    let between = columns(builder, &is_ignored, 3, -1);
    let far = columns(builder, &is_letter, 4, LAST);
    let precedes_cased = either(builder, &near, &between, &far);
    let precedes_none = builder.op("Not", &[&precedes_cased]);
    let is_sigma = columns(builder, &is_sigma, 2, -2);
    let is_last = builder.op("And", &[&follows_cased, &precedes_none]);
    let is_final = builder.op("And", &[&is_sigma, &is_last]);
    let middle = columns(builder, pieces, 2, -2);
    let is_dotted = is_one_of(builder, &middle, &[DOTTED_I]);
    let replaced = [(is_final, FINAL_SIGMA), (is_dotted, DOTTED_I_LOWERED)];
    replaced
        .iter()
        .fold(middle, |pieces, (is_letter, lowered)| {
            let lowered = builder.texts(&[1, 1], &[lowered]);
            builder.op("Where", &[is_letter, &lowered, &pieces])
        })
}

/// Whether a neighbour is of the kind wanted, or of one looked through beyond which the letter is.
fn either(builder: &mut Builder, near: &Port, between: &Port, far: &Port) -> Port {
    let through = builder.op("And", &[between, far]);
    builder.op("Or", &[near, &through])
}

fn columns(builder: &mut Builder, table: &Port, first: i64, end: i64) -> Port {
    let (first, end, axis) = (
        builder.ints(&[first]),
        builder.ints(&[end]),
        builder.ints(&[1]),
    );
    builder.op("Slice", &[table, &first, &end, &axis])
}

/// Whether a pattern that matches a text once at most is in each text of a table.
fn holds(builder: &mut Builder, table: &Port, pattern: String) -> Port {
    let found = tokens(builder, table, pattern);
    let nothing = emptied(builder, table);
    let last = builder.ints(&[2]);
    let nothing = builder.op("Unsqueeze", &[&nothing, &last]);
    let along = || vec![("axis", Setting::Int(2))];
    let found = builder.op_with("Concat", &[&found, &nothing], along());
    let first = builder.int(0);
    let first = builder.op_with("Gather", &[&found, &first], along());
    let is_empty = is_empty(builder, &first);
    builder.op("Not", &[&is_empty])
}

fn is_one_of(builder: &mut Builder, table: &Port, listed: &[&str]) -> Port {
    let marks = marked(builder, table, listed, 1, 0);
    builder.cast(&marks, data_type::BOOL)
}

/// As many empty texts.
pub(super) fn emptied(builder: &mut Builder, like: &Port) -> Port {
    let settings = vec![
        ("keys_strings", Setting::Texts(texts(&[""]))),
        ("values_strings", Setting::Texts(texts(&[""]))),
        ("default_string", Setting::Text(String::new())),
    ];
    builder.node(ML, "LabelEncoder", &[like], settings)
}

/// What a sigma asks of its neighbours, as classes of characters.
struct Letters {
    /// Letters that have a case.
    cased: String,
    /// Characters that are looked through: accents, full stops, apostrophes, …
    ignored: String,
}

impl Letters {
    /// Asked of the very function that lowers texts, so that the two cannot differ.
    fn get() -> &'static Letters {
        static LETTERS: OnceLock<Letters> = OnceLock::new();
        LETTERS.get_or_init(|| {
            let mut text = String::new();
            let mut ends_word_after = |before: &[char]| {
                text.clear();
                text.extend(before);
                text.push_str(SIGMA);
                text.to_lowercase().ends_with(FINAL_SIGMA)
            };
            let cased: Vec<char> = (char::MIN..=char::MAX)
                .filter(|&letter| ends_word_after(&[letter]))
                .collect();
            let looked_through: Vec<char> = (char::MIN..=char::MAX)
                .filter(|&letter| ends_word_after(&['A', letter]))
                .collect();
            let is_in = |list: &[char], letter| list.binary_search(&letter).is_ok();
            Letters {
                cased: class("[", |letter| is_in(&cased, letter)),
                ignored: class("[", |letter| {
                    is_in(&looked_through, letter) && !is_in(&cased, letter)
                }),
            }
        })
    }
}
