//! The tables that the recipes learn from.

use super::TrainingError;
use crate::hseg::aggregate::{Aggregate, Member};
use crate::hseg::features::{Features, TextOutputs};
use crate::hseg::generate::{
    Generated, Generator, OrganizationOutcome, Record, TextLabel, Truth, organization_outcome,
    signal_words,
};
use crate::hseg::reading::Reader;
use crate::hseg::score::Score;
use crate::hseg::text::TextRisk;
use crate::table::{Cell, Column, TableError, TableWriter};
use ombud_learn::progress::Progress;
use rayon::prelude::*;
use std::path::Path;

/// Fewest and most people who answer in a generated organization.
const MEMBERS: std::ops::Range<u64> = 8..140;

/// One text of the level for so many people.
const RARE: [(TextRisk, u64); 2] = [(TextRisk::Crisis, 12), (TextRisk::High, 25)];

/// A group of people with what became of it.
pub(super) struct Group {
    pub(super) id: String,
    pub(super) aggregate: Aggregate,
    pub(super) outcome: OrganizationOutcome,
}

/// A text with what readers said of it.
pub(super) type Labelled = (String, TextLabel);

/// Texts of the rare levels, beside those of the people: a model learns little from one text in two hundred.
pub(super) fn rare_texts(generator: &Generator) -> Vec<Labelled> {
    let records = generator.options().records;
    let of_level = |(level, share): (TextRisk, u64)| {
        let first = level.index() as u64 * records;
        (first..first + records / share).map(move |index| (level, index))
    };
    let wanted: Vec<(TextRisk, u64)> = RARE.into_iter().flat_map(of_level).collect();
    wanted
        .into_par_iter()
        .map(|(level, index)| generator.text_at(level, index))
        .collect()
}

/// Open answers with what readers said of them.
pub(super) fn texts<'a>(
    path: &Path,
    people: impl Iterator<Item = &'a Generated>,
    rare: &[Labelled],
) -> Result<(), TableError> {
    let columns = ["response_id", "text", "text_risk", "text_signals"].map(Column::text);
    let mut table = TableWriter::create(path, columns.to_vec())?;
    for generated in people {
        let record = &generated.record;
        if let (Some(text), Some(label)) = (record.text(), record.label) {
            table.write(labelled(record.response_id.clone(), text, &label))?;
        }
    }
    for (place, (text, label)) in rare.iter().enumerate() {
        table.write(labelled(format!("T{:06}", place + 1), text.clone(), label))?;
    }
    table.finish()
}

fn labelled(id: String, text: String, label: &TextLabel) -> Vec<Cell> {
    vec![
        Cell::Text(id),
        Cell::Text(text),
        Cell::Text(label.risk.class().to_owned()),
        Cell::Text(signal_words(&label.signals)),
    ]
}

/// People with the text models' outputs and their tier at follow-up.
pub(super) fn individuals(
    path: &Path,
    people: &[Generated],
    outputs: &[Option<TextOutputs>],
) -> Result<(), TableError> {
    let mut columns = vec![Column::text("response_id"), Column::text("organization")];
    columns.extend(Features::columns());
    columns.push(Column::text("follow_up_tier"));
    let mut table = TableWriter::create(path, columns)?;
    for (generated, text) in people.iter().zip(outputs) {
        let record = &generated.record;
        let mut row = vec![
            Cell::Text(record.response_id.clone()),
            Cell::Text(record.organization_id.clone()),
        ];
        row.extend(features(record, text.as_ref()).cells());
        row.push(Cell::Text(record.outcome.tier.word().to_owned()));
        table.write(row)?;
    }
    table.finish()
}

/// Organizations with their later tier and turnover.
pub(super) fn organizations(path: &Path, groups: &[Group]) -> Result<(), TableError> {
    let mut columns = vec![Column::text("organization")];
    columns.extend(Aggregate::columns());
    columns.extend([Column::text("follow_up_tier"), Column::number("turnover")]);
    let mut table = TableWriter::create(path, columns)?;
    for group in groups {
        let mut row = vec![Cell::Text(group.id.clone())];
        row.extend(group.aggregate.cells());
        row.push(Cell::Text(group.outcome.tier.word().to_owned()));
        row.push(Cell::Number(group.outcome.turnover));
        table.write(row)?;
    }
    table.finish()
}

/// What the individual model sees of a record.
pub(super) fn features<'a>(record: &'a Record, text: Option<&'a TextOutputs>) -> Features<'a> {
    Features {
        domain: record.domain,
        employees: Some(record.employees),
        ratings: &record.ratings,
        demographics: &record.demographics,
        quality: &record.quality,
        text,
    }
}

/// What the text models say of people's texts, on all cores.
pub(super) fn read_all<K: Send + Sync + Copy>(
    reader: &Reader<'_>,
    records: Vec<(K, &Record)>,
) -> Result<Vec<(K, Option<TextOutputs>)>, TrainingError> {
    let read = |(key, record): &(K, &Record)| -> Result<_, TrainingError> {
        let text = record.text();
        let outputs = text
            .map(|text| reader.read(&text))
            .transpose()?
            .map(|read| read.outputs);
        Ok((*key, outputs))
    };
    records.par_iter().map(read).collect()
}

/// Every organization of a world with some of its people.
pub(super) fn groups(
    generator: &Generator,
    reader: &Reader<'_>,
    progress: &dyn Progress,
) -> Result<Vec<Group>, TrainingError> {
    const AT_ONCE: usize = 64;
    let count = generator.world().organizations.len();
    let mut groups = Vec::with_capacity(count);
    while groups.len() < count {
        let from = groups.len();
        let some: Result<Vec<Group>, TrainingError> = (from..(from + AT_ONCE).min(count))
            .into_par_iter()
            .map(|place| group(generator, reader, place))
            .collect();
        groups.extend(some?);
        progress.advance(groups.len() as u64);
        super::stop_if_asked(progress)?;
    }
    Ok(groups)
}

fn group(generator: &Generator, reader: &Reader<'_>, place: usize) -> Result<Group, TrainingError> {
    let organization = &generator.world().organizations[place];
    // Sizes come from a sequence of its own, so that they say nothing of how people fare.
    let span = MEMBERS.end - MEMBERS.start;
    let members = MEMBERS.start + (place as u64).wrapping_mul(0x9E37_79B9) % span;
    let first = place as u64 * MEMBERS.end;
    let people: Vec<Generated> = (first..first + members)
        .map(|index| generator.record_in(place, index))
        .collect();
    let records = people.iter().map(|it| ((), &it.record)).collect();
    let texts = read_all(reader, records)?;
    let of_person = |(generated, (_, text)): (&Generated, ((), Option<TextOutputs>))| {
        Score::of(&generated.record.ratings).map(|score| Member {
            score,
            text,
            reliability: generated.record.quality.reliability(),
        })
    };
    let scored: Vec<Member> = people.iter().zip(texts).filter_map(of_person).collect();
    let truths: Vec<&Truth> = people.iter().map(|it| &it.truth).collect();
    let aggregate = Aggregate::of(organization.domain, Some(organization.employees), &scored)
        .expect("every generated group has more people than the floor");
    let outcome =
        organization_outcome(generator.options().seed, place, truths).expect("there are people");
    Ok(Group {
        id: organization.id.clone(),
        aggregate,
        outcome,
    })
}
