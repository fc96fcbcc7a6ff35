//! Records as rows of a table.

use super::{Generated, Generator};
use crate::hseg::survey::{OPEN_QUESTIONS, Rating, STATEMENTS};
use crate::table::{Cell, Column, ColumnKind, TableError, TableWriter};
use ombud_learn::progress::Progress;
use std::path::Path;

/// Records made at once.
const BATCH: u64 = 8_192;

const FLAGS: [&str; 4] = [
    "supervises_others",
    "attention_passed",
    "resigned",
    "complained",
];
const NUMBERS: [&str; 4] = ["employees", "seconds", "completion", "straight_lining"];

/// Columns that stand before and after the ratings.
const BEFORE: [&str; 4] = ["response_id", "organization", "employees", "domain"];
const AFTER: [&str; 14] = [
    "age_range",
    "gender_identity",
    "tenure_range",
    "position_level",
    "department",
    "supervises_others",
    "work_location",
    "employment_status",
    "education_level",
    "ethnicity",
    "seconds",
    "completion",
    "attention_passed",
    "straight_lining",
];
const LAST: [&str; 5] = [
    "text_risk",
    "text_signals",
    "follow_up_tier",
    "resigned",
    "complained",
];

/// How many columns a table of records has.
pub const COLUMNS: usize =
    BEFORE.len() + STATEMENTS.len() + AFTER.len() + OPEN_QUESTIONS.len() + LAST.len();

/// The columns of a table of records.
fn columns() -> Vec<Column> {
    let ratings = STATEMENTS.iter().map(|it| Column::number(it.name));
    let named = |name: &&str| Column {
        name: (*name).to_owned(),
        kind: match *name {
            name if FLAGS.contains(&name) => ColumnKind::Flag,
            name if NUMBERS.contains(&name) => ColumnKind::Number,
            _ => ColumnKind::Text,
        },
    };
    let open = OPEN_QUESTIONS.iter().map(|it| Column::text(it.name));
    let before = BEFORE.iter().map(named);
    before
        .chain(ratings)
        .chain(AFTER.iter().map(named))
        .chain(open)
        .chain(LAST.iter().map(named))
        .collect()
}

/// A record as the cells of its row.
pub fn cells(generated: &Generated) -> Vec<Cell> {
    let record = &generated.record;
    let who = &record.demographics;
    let quality = &record.quality;
    let mut cells = Vec::with_capacity(COLUMNS);
    cells.extend([
        Cell::Text(record.response_id.clone()),
        Cell::Text(record.organization_id.clone()),
        Cell::Number(f64::from(record.employees)),
        Cell::Text(record.domain.word().to_owned()),
    ]);
    cells.extend(
        record
            .ratings
            .iter()
            .map(|it| Cell::number(it.map(Rating::get))),
    );
    let ethnicity: Vec<&str> = who.ethnicity.iter().map(|it| it.word()).collect();
    cells.extend([
        Cell::text(
            who.age_range
                .map(super::super::demographics::AgeRange::word),
        ),
        Cell::text(
            who.gender_identity
                .map(super::super::demographics::GenderIdentity::word),
        ),
        Cell::text(
            who.tenure_range
                .map(super::super::demographics::TenureRange::word),
        ),
        Cell::text(
            who.position_level
                .map(super::super::demographics::PositionLevel::word),
        ),
        Cell::text(who.department.clone()),
        Cell::flag(who.supervises_others),
        Cell::text(
            who.work_location
                .map(super::super::demographics::WorkLocation::word),
        ),
        Cell::text(
            who.employment_status
                .map(super::super::demographics::EmploymentStatus::word),
        ),
        Cell::text(
            who.education_level
                .map(super::super::demographics::EducationLevel::word),
        ),
        Cell::text((!ethnicity.is_empty()).then(|| ethnicity.join("|"))),
        Cell::number(quality.seconds),
        Cell::number(quality.completion.map(rounded)),
        Cell::flag(quality.attention_passed),
        Cell::number(quality.straight_lining.map(rounded)),
    ]);
    cells.extend(record.texts.iter().map(|text| Cell::text(text.clone())));
    cells.extend([
        Cell::text(record.label.map(|it| it.risk.class())),
        Cell::text(record.label.map(|it| signal_words(&it.signals))),
        Cell::Text(record.outcome.tier.word().to_owned()),
        Cell::Flag(record.outcome.has_resigned),
        Cell::Flag(record.outcome.has_complained),
    ]);
    cells
}

/// Shares are written as a form would keep them, which also makes files smaller.
fn rounded(share: f64) -> f64 {
    (share * 1e4).round() / 1e4
}

/// The categories spoken of, separated by a bar; empty when there is none.
pub(crate) fn signal_words(signals: &[bool; 6]) -> String {
    let said = crate::hseg::survey::Category::ALL
        .iter()
        .filter(|it| signals[it.index()]);
    let words: Vec<&str> = said.map(|it| it.word()).collect();
    words.join("|")
}

/// Writes all records; the ending of `path` says the format. Stops early when asked to, and then leaves no file.
///
/// # Errors
/// A file that cannot be written.
pub fn write(
    generator: &Generator,
    path: &Path,
    progress: &dyn Progress,
    mut see: impl FnMut(&[Generated]),
) -> Result<u64, TableError> {
    let mut table = TableWriter::create(path, columns())?;
    let records = generator.options().records;
    progress.start("generating", Some(records));
    let mut done = 0;
    while done < records && !progress.is_stopped() {
        let batch = generator.batch(done..(done + BATCH).min(records));
        for generated in &batch {
            table.write(cells(generated))?;
        }
        see(&batch);
        done += batch.len() as u64;
        progress.advance(done);
    }
    progress.finish();
    if done < records {
        drop(table);
        // What is left of it would look like a whole table.
        let _ = std::fs::remove_file(path);
        return Ok(done);
    }
    table.finish()?;
    Ok(done)
}
