//! Walking one lane and saying what is wrong first.
//!
//! Pure: records go in, in the order in which they are stored; a flaw comes out. The same walk serves the database and
//! an export. Memory does not grow with the records: the walk holds one hash, the signed heads still to come, and while it
//! suspects a gap it looks a bounded way ahead.

use crate::layout::{self, GENESIS};
use crate::record::RawRecord;
use ombud_core::Digest;
use std::collections::VecDeque;
use std::fmt;

/// How far a walk looks for a record that is not where it should be.
const LOOK_AHEAD_MAX: u64 = 4_096;

/// A signed head that a lane must pass through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The sequence of the signed head.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
    /// The checkpoint that says so.
    pub checkpoint: u64,
}

/// Where a walk begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the lane's first record, whose previous hash is zeros.
    First,
    /// Anywhere; the first record's link is taken as given.
    Anywhere,
}

/// What is wrong with a record, a lane or a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// A record's fields do not give its hash.
    Changed,
    /// A record is right by itself, but follows another one than the one before it: one of both was replaced.
    Unlinked,
    /// Records are not there.
    Missing { until: u64 },
    /// Records stand in another order than they were written in.
    Reordered { is_number: u64 },
    /// The lane ends before a head that was signed.
    Truncated {
        last: u64,
        signed: u64,
        checkpoint: u64,
    },
    /// The whole chain is right by itself, but it is not the one that was signed.
    NotAsSigned { checkpoint: u64 },
    /// A record belongs to no lane.
    Foreign { position: i64 },
    /// The lane is not what the export's first line says.
    NotAsAnnounced,
    /// A checkpoint was signed by somebody else.
    WrongKey { signer: String },
    /// A checkpoint's text and its signature do not belong together.
    CheckpointChanged,
    /// A checkpoint is not there, or does not follow the one before it.
    CheckpointMissing,
    /// A line of an export cannot be read.
    Unreadable { line: u64, why: String },
}

/// Walks one lane.
#[derive(Debug)]
pub struct Walk {
    tenant: String,
    lane: String,
    start: Start,
    marks: VecDeque<Mark>,
    last: Option<(u64, Digest)>,
    records: u64,
    suspicion: Option<Suspicion>,
    buffer: Vec<u8>,
}

/// A gap that may turn out to be a disorder.
#[derive(Debug, Clone, Copy)]
struct Suspicion {
    expected: u64,
    found: u64,
    looked: u64,
}

impl Walk {
    /// A walk over a lane that must pass through `marks`.
    pub fn new(tenant: &str, lane: &str, start: Start, mut marks: Vec<Mark>) -> Self {
        marks.sort_by_key(|mark| (mark.sequence, mark.checkpoint));
        Walk {
            tenant: tenant.to_owned(),
            lane: lane.to_owned(),
            start,
            marks: marks.into(),
            last: None,
            records: 0,
            suspicion: None,
            buffer: Vec::new(),
        }
    }

    /// Takes the next record; a flaw ends the walk. The number is the record that it is about.
    pub fn step(&mut self, raw: &RawRecord<'_>) -> Option<(u64, Flaw)> {
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.looked += 1;
            let comes_late = raw.sequence == suspicion.expected.cast_signed();
            let flaw = suspicion.flaw(comes_late);
            return (comes_late || suspicion.looked >= LOOK_AHEAD_MAX).then_some(flaw);
        }
        let expected = self.expected(raw);
        let sequence = u64::try_from(raw.sequence).unwrap_or_default();
        let is_intact = self.is_intact(raw);
        if sequence > expected {
            if is_intact {
                self.suspicion = Some(Suspicion {
                    expected,
                    found: sequence,
                    looked: 0,
                });
                return None;
            }
            return Some((
                expected,
                Flaw::Missing {
                    until: sequence - 1,
                },
            ));
        }
        if sequence < expected {
            return Some((
                expected,
                Flaw::Reordered {
                    is_number: sequence,
                },
            ));
        }
        if !is_intact {
            let flaw = self
                .true_number(raw)
                .map_or(Flaw::Changed, |is_number| Flaw::Reordered { is_number });
            return Some((sequence, flaw));
        }
        if self.is_link_broken(raw) {
            return Some((sequence, Flaw::Unlinked));
        }
        let hash = Digest::new(raw.hash.try_into().ok()?);
        self.last = Some((sequence, hash));
        self.records += 1;
        self.check_marks(sequence, hash)
    }

    /// Ends the walk: a lane must reach every signed head.
    pub fn finish(&self) -> Option<(u64, Flaw)> {
        if let Some(suspicion) = self.suspicion {
            return Some(suspicion.flaw(false));
        }
        let last = self.last.map_or(0, |(sequence, _)| sequence);
        let mark = self.marks.back().filter(|mark| mark.sequence > last)?;
        let (signed, checkpoint) = (mark.sequence, mark.checkpoint);
        Some((
            last + 1,
            Flaw::Truncated {
                last,
                signed,
                checkpoint,
            },
        ))
    }

    /// The last record that was right.
    pub fn last(&self) -> Option<(u64, Digest)> {
        self.last
    }

    /// How many records were right.
    pub fn records(&self) -> u64 {
        self.records
    }

    fn expected(&self, raw: &RawRecord<'_>) -> u64 {
        match (self.last, self.start) {
            (Some((sequence, _)), _) => sequence + 1,
            (None, Start::First) => 1,
            (None, Start::Anywhere) => u64::try_from(raw.sequence).unwrap_or_default(),
        }
    }

    fn is_intact(&mut self, raw: &RawRecord<'_>) -> bool {
        let names_agree = raw.tenant == self.tenant.as_bytes() && raw.lane == self.lane.as_bytes();
        names_agree && layout::hash(raw, &mut self.buffer).as_bytes() == raw.hash
    }

    fn is_link_broken(&self, raw: &RawRecord<'_>) -> bool {
        match (self.last, self.start) {
            (Some((_, hash)), _) => raw.previous != hash.as_bytes(),
            (None, Start::First) => raw.previous != GENESIS,
            (None, Start::Anywhere) => false,
        }
    }

    /// The number under which a record with a wrong hash would be right, when there is one nearby.
    fn true_number(&mut self, raw: &RawRecord<'_>) -> Option<u64> {
        let around = u64::try_from(raw.sequence).ok()?;
        let mut numbers =
            around.saturating_sub(LOOK_AHEAD_MAX)..=around.saturating_add(LOOK_AHEAD_MAX);
        numbers.find(|number| {
            self.is_intact(&RawRecord {
                sequence: number.cast_signed(),
                ..*raw
            })
        })
    }

    fn check_marks(&mut self, sequence: u64, hash: Digest) -> Option<(u64, Flaw)> {
        while let Some(mark) = self
            .marks
            .front()
            .copied()
            .filter(|mark| mark.sequence <= sequence)
        {
            self.marks.pop_front();
            if mark.sequence == sequence && mark.hash != hash {
                return Some((
                    sequence,
                    Flaw::NotAsSigned {
                        checkpoint: mark.checkpoint,
                    },
                ));
            }
        }
        None
    }
}

impl Suspicion {
    fn flaw(&self, comes_late: bool) -> (u64, Flaw) {
        if comes_late {
            return (
                self.expected,
                Flaw::Reordered {
                    is_number: self.found,
                },
            );
        }
        (
            self.expected,
            Flaw::Missing {
                until: self.found - 1,
            },
        )
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Changed => f.write_str("changed: its fields do not give its hash"),
            Flaw::Unlinked => {
                f.write_str("changed: it, or the one before it, was replaced and hashed again")
            }
            Flaw::Missing { until } => write!(f, "missing, with all up to {until}"),
            Flaw::Reordered { is_number } => {
                write!(f, "reordered: number {is_number} stands in its place")
            }
            Flaw::Truncated {
                last,
                signed,
                checkpoint,
            } => write!(
                f,
                "truncated: the lane ends at {last}, but checkpoint {checkpoint} signed {signed}"
            ),
            Flaw::NotAsSigned { checkpoint } => {
                write!(
                    f,
                    "changed: checkpoint {checkpoint} signed another hash here"
                )
            }
            Flaw::Foreign { position } => {
                write!(f, "a record at position {position} belongs to no lane")
            }
            Flaw::NotAsAnnounced => {
                f.write_str("truncated: the lane ends elsewhere than the first line says")
            }
            Flaw::WrongKey { signer } => {
                write!(f, "wrong key: signed by {signer}, which is not trusted")
            }
            Flaw::CheckpointChanged => {
                f.write_str("changed: the text and its signature do not belong together")
            }
            Flaw::CheckpointMissing => {
                f.write_str("missing, or it does not follow the one before it")
            }
            Flaw::Unreadable { line, why } => write!(f, "line {line} cannot be read: {why}"),
        }
    }
}
