//! Verifying: every chain walked again, every signature checked, in the database or in an export.
//!
//! First the checkpoints, because they say how long the chains must be; then every lane, its first flaw named; then
//! whether anything lies where no lane is. Memory grows with signed heads, never with records. Nothing here needs the
//! master key: hashes cover sealed bytes, so an auditor can verify what they cannot read.

use crate::chain::{Flaw, Mark, Start, Walk};
use crate::checkpoint::{CheckpointError, SignedCheckpoint, VerifyingKey, first_previous};
use crate::error::{Error, StorageError};
use crate::name::{LaneName, Tenant};
use crate::reader::Reader;
use crate::tables::{LaneRow, lane_at, position};
use ombud_core::Digest;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::ControlFlow;

/// Records fetched at once, so that a walk never holds a snapshot for long.
const CHUNK_RECORDS: usize = 10_000;
/// Checkpoints fetched at once.
const CHUNK_CHECKPOINTS: usize = 256;
/// Signed heads held in memory; repeated ones count once. Forty megabytes.
const HEADS_MAX: usize = 1_000_000;
/// Flaws named in one report; there is at most one for each lane and each tenant's checkpoints.
const FAULTS_MAX: usize = 1_000;

/// What is verified, and against what.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Only this tenant.
    pub tenant: Option<Tenant>,
    /// Only this lane.
    pub lane: Option<LaneName>,
    /// Only records from this time on, with the links between them.
    pub since_us: Option<i64>,
    /// Who may sign checkpoints; empty: anybody, which proves only that nothing was changed by accident.
    pub trusted: Vec<VerifyingKey>,
    /// Checkpoints kept elsewhere, which the ledger must agree with.
    pub copies: Vec<SignedCheckpoint>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Every lane that was walked.
    pub lanes: Vec<LaneReport>,
    /// Checkpoints that are right.
    pub checkpoints: u64,
    /// Copies of checkpoints, kept elsewhere, that were held against the ledger.
    pub copies: u64,
    /// Records that are right.
    pub records: u64,
    /// Whether what was asked about is there: some lane or checkpoint of the tenant and the lane that were named.
    pub is_known: bool,
    /// The first flaw of each lane and of each tenant's checkpoints.
    pub faults: Vec<Fault>,
}

/// One lane that was walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneReport {
    pub tenant: String,
    pub lane: String,
    /// Records that are right.
    pub records: u64,
    /// The last record that is right.
    pub last: Option<(u64, Digest)>,
    /// How far checkpoints vouch for the lane.
    pub signed_until: Option<u64>,
}

/// A flaw and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    pub flaw: Flaw,
}

/// Where a flaw is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Record {
        tenant: String,
        lane: String,
        sequence: u64,
    },
    Checkpoint {
        tenant: String,
        number: u64,
    },
    Ledger,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    /// A lane that is not there and should be is known too, and so is a tenant whose checkpoints alone are there.
    pub(crate) fn know_whatever_is_wrong(&mut self, options: &VerifyOptions) {
        self.is_known |= !self.faults.is_empty();
        self.is_known |= options.lane.is_none() && self.checkpoints > 0;
        self.is_known |= options.lane.is_none() && options.tenant.is_none();
    }

    pub(crate) fn blame(&mut self, place: Place, flaw: Flaw) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { place, flaw });
        }
    }

    /// Takes the outcome of one lane's walk.
    pub(crate) fn take(&mut self, lane: LaneReport, flaw: Option<(u64, Flaw)>) {
        if let Some((sequence, flaw)) = flaw {
            let (tenant, lane) = (lane.tenant.clone(), lane.lane.clone());
            self.blame(
                Place::Record {
                    tenant,
                    lane,
                    sequence,
                },
                flaw,
            );
        }
        self.records += lane.records;
        self.lanes.push(lane);
    }
}

impl VerifyOptions {
    pub(crate) fn wants(&self, tenant: &str, lane: &str) -> bool {
        self.wants_tenant(tenant)
            && self
                .lane
                .as_ref()
                .is_none_or(|wanted| wanted.as_str() == lane)
    }

    pub(crate) fn wants_tenant(&self, tenant: &str) -> bool {
        self.tenant
            .as_ref()
            .is_none_or(|wanted| wanted.as_str() == tenant)
    }
}

impl Reader {
    /// Verifies the ledger in the database.
    pub fn verify(&self, options: &VerifyOptions) -> Result<Report, Error> {
        let mut report = Report::default();
        let mut marks = Marks::default();
        self.verify_checkpoints(options, &mut marks, &mut report)?;
        let lanes = self.with(|tables| tables.lanes())?;
        for lane in lanes {
            if options.wants(lane.tenant.as_str(), lane.name.as_str()) {
                report.is_known = true;
                let marks = marks.of(lane.tenant.as_str(), lane.name.as_str());
                self.verify_lane(&lane, options.since_us, marks, &mut report)?;
            }
        }
        marks.blame_the_rest(options, &mut report);
        report.know_whatever_is_wrong(options);
        if options.tenant.is_none() && options.lane.is_none() {
            self.look_for_foreign(&mut report)?;
        }
        Ok(report)
    }

    fn verify_checkpoints(
        &self,
        options: &VerifyOptions,
        marks: &mut Marks,
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut copies = Copies::new(options, report);
        let tenants = self.with(|tables| tables.checkpointed_tenants())?;
        for tenant in tenants
            .into_iter()
            .filter(|tenant| options.wants_tenant(tenant))
        {
            let mut walk = CheckpointWalk::new(tenant.clone(), options);
            if let Some((number, flaw)) =
                self.walk_checkpoints(&tenant, &mut walk, &mut copies, marks)?
            {
                let tenant = tenant.clone();
                report.blame(Place::Checkpoint { tenant, number }, flaw);
            }
            report.checkpoints += walk.right;
        }
        copies.finish(marks, report);
        marks.refuse_if_too_many()
    }

    fn walk_checkpoints(
        &self,
        tenant: &str,
        walk: &mut CheckpointWalk,
        copies: &mut Copies,
        marks: &mut Marks,
    ) -> Result<Option<(u64, Flaw)>, Error> {
        // The first question asks for everything, so that a number below the first is seen too.
        let mut from = i64::MIN;
        loop {
            let rows = self.with(|tables| tables.checkpoints(tenant, from, CHUNK_CHECKPOINTS))?;
            if rows.is_empty() && from == i64::MIN {
                // A tenant by a name that nothing answers to: the name itself was damaged.
                return Ok(Some((1, Flaw::CheckpointMissing)));
            }
            let flaw = rows
                .iter()
                .try_for_each(|row| walk.step(row.number, row.to_signed().as_ref(), copies, marks));
            if let ControlFlow::Break(flaw) = flaw {
                return Ok(Some(flaw));
            }
            if rows.len() < CHUNK_CHECKPOINTS {
                return Ok(None);
            }
            from = walk.next_number.cast_signed();
        }
    }

    fn verify_lane(
        &self,
        lane: &LaneRow,
        since_us: Option<i64>,
        marks: Vec<Mark>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let first = match since_us {
            None => None,
            Some(since_us) => match self.with(|tables| tables.first_since(lane, since_us))? {
                None => return Ok(()),
                first => first,
            },
        };
        let start = if first.is_some_and(|first| first > 1) {
            Start::Anywhere
        } else {
            Start::First
        };
        let signed_until = marks.iter().map(|mark| mark.sequence).max();
        let mut walk = Walk::new(lane.tenant.as_str(), lane.name.as_str(), start, marks);
        let mut from = if start == Start::First {
            0
        } else {
            first.unwrap_or_default().cast_signed()
        };
        let mut flaw = None;
        loop {
            let visited = self.with(|tables| {
                tables.walk(lane, from, CHUNK_RECORDS, &mut |raw| {
                    from = raw.sequence + 1;
                    flaw = walk.step(raw);
                    if flaw.is_some() {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                })
            })?;
            if flaw.is_some() || visited < CHUNK_RECORDS {
                break;
            }
        }
        report.take(
            LaneReport {
                tenant: lane.tenant.to_string(),
                lane: lane.name.to_string(),
                records: walk.records(),
                last: walk.last(),
                signed_until,
            },
            flaw.or_else(|| walk.finish()),
        );
        Ok(())
    }

    /// Records that lie where no lane is. Positions are asked for before lanes, so that a lane begun meanwhile is known.
    fn look_for_foreign(&self, report: &mut Report) -> Result<(), Error> {
        let mut used = Vec::new();
        let mut from = i64::MIN;
        while let Some(found) = self.with(|tables| tables.position_from(from))? {
            used.push(found);
            if used.len() >= FAULTS_MAX * 100 || lane_at(found) == lane_at(i64::MAX) {
                break;
            }
            from = position(lane_at(found) + 1, 0);
        }
        let lanes = self.with(|tables| tables.lanes())?;
        for found in used {
            if !lanes.iter().any(|lane| lane.number == lane_at(found)) {
                report.blame(Place::Ledger, Flaw::Foreign { position: found });
            }
        }
        Ok(())
    }
}

/// The signed heads, by lane.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    by_lane: BTreeMap<(String, String), Vec<Mark>>,
    count: usize,
}

impl Marks {
    fn add(&mut self, tenant: &Tenant, lane: &LaneName, mark: Mark) {
        let marks = self
            .by_lane
            .entry((tenant.to_string(), lane.to_string()))
            .or_default();
        let is_repeated = marks
            .last()
            .is_some_and(|last| (last.sequence, last.hash) == (mark.sequence, mark.hash));
        if !is_repeated && self.count <= HEADS_MAX {
            marks.push(mark);
            self.count += 1;
        }
    }

    /// Takes a lane's signed heads.
    pub fn of(&mut self, tenant: &str, lane: &str) -> Vec<Mark> {
        self.by_lane
            .remove(&(tenant.to_owned(), lane.to_owned()))
            .unwrap_or_default()
    }

    /// A lane that was signed and is not there has lost everything.
    pub fn blame_the_rest(self, options: &VerifyOptions, report: &mut Report) {
        for ((tenant, lane), marks) in self.by_lane {
            if !options.wants(&tenant, &lane) {
                continue;
            }
            if let Some((sequence, flaw)) = Walk::new(&tenant, &lane, Start::First, marks).finish()
            {
                report.blame(
                    Place::Record {
                        tenant,
                        lane,
                        sequence,
                    },
                    flaw,
                );
            }
        }
    }

    pub fn refuse_if_too_many(&self) -> Result<(), Error> {
        if self.count > HEADS_MAX {
            return Err(StorageError::TooManyHeads {
                heads: self.count,
                heads_max: HEADS_MAX,
            }
            .into());
        }
        Ok(())
    }
}

/// Walks a tenant's checkpoints.
#[derive(Debug)]
pub(crate) struct CheckpointWalk {
    tenant: String,
    trusted: Vec<VerifyingKey>,
    next_number: u64,
    previous: Digest,
    right: u64,
}

impl CheckpointWalk {
    pub fn new(tenant: String, options: &VerifyOptions) -> Self {
        let trusted = options.trusted.clone();
        CheckpointWalk {
            tenant,
            trusted,
            next_number: 1,
            previous: first_previous(),
            right: 0,
        }
    }

    /// Takes the next checkpoint; what is signed in it becomes marks.
    pub fn step(
        &mut self,
        number: i64,
        signed: Option<&SignedCheckpoint>,
        copies: &mut Copies,
        marks: &mut Marks,
    ) -> ControlFlow<(u64, Flaw)> {
        let expected = self.next_number;
        if number != expected.cast_signed() {
            return ControlFlow::Break((expected, Flaw::CheckpointMissing));
        }
        let Some(signed) = signed else {
            return ControlFlow::Break((expected, Flaw::CheckpointChanged));
        };
        let checkpoint = match signed.verify(&self.trusted) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return ControlFlow::Break((expected, checkpoint_flaw(&error))),
        };
        if checkpoint.number != expected || checkpoint.tenant.as_str() != self.tenant {
            return ControlFlow::Break((expected, Flaw::CheckpointChanged));
        }
        if checkpoint.previous != self.previous {
            return ControlFlow::Break((expected, Flaw::CheckpointMissing));
        }
        if !copies.agree(&self.tenant, expected, signed) {
            return ControlFlow::Break((expected, Flaw::CheckpointChanged));
        }
        for (lane, sequence, hash) in &checkpoint.heads {
            let mark = Mark {
                sequence: *sequence,
                hash: *hash,
                checkpoint: expected,
            };
            marks.add(&checkpoint.tenant, lane, mark);
        }
        self.previous = signed.digest();
        self.next_number += 1;
        self.right += 1;
        ControlFlow::Continue(())
    }

    /// How many were right.
    pub fn right(&self) -> u64 {
        self.right
    }
}

/// Checkpoints kept elsewhere, verified, by tenant and number.
#[derive(Debug)]
pub(crate) struct Copies(HashMap<(String, u64), SignedCheckpoint>);

impl Copies {
    /// Verifies every copy; one that fails is blamed and not held against the ledger.
    pub fn new(options: &VerifyOptions, report: &mut Report) -> Self {
        let mut copies = HashMap::new();
        for signed in &options.copies {
            match signed.verify(&options.trusted) {
                Ok(checkpoint) if options.wants_tenant(checkpoint.tenant.as_str()) => {
                    report.copies += 1;
                    copies.insert(
                        (checkpoint.tenant.to_string(), checkpoint.number),
                        signed.clone(),
                    );
                }
                Ok(_) => {}
                Err(error) => report.blame(Place::Ledger, checkpoint_flaw(&error)),
            }
        }
        Copies(copies)
    }

    /// Whether a stored checkpoint is the one that was copied. Each copy is asked for once.
    fn agree(&mut self, tenant: &str, number: u64, stored: &SignedCheckpoint) -> bool {
        let copy = self.0.remove(&(tenant.to_owned(), number));
        copy.is_none_or(|copy| copy.text == stored.text)
    }

    /// Copies that nothing stored answers to: the checkpoint was removed; what it signed is still held against lanes.
    pub fn finish(self, marks: &mut Marks, report: &mut Report) {
        let mut rest: Vec<_> = self.0.into_iter().collect();
        rest.sort_by(|(one, _), (other, _)| one.cmp(other));
        for ((tenant, number), signed) in rest {
            let Ok(checkpoint) = signed.verify(&[]) else {
                continue;
            };
            for (lane, sequence, hash) in &checkpoint.heads {
                marks.add(
                    &checkpoint.tenant,
                    lane,
                    Mark {
                        sequence: *sequence,
                        hash: *hash,
                        checkpoint: number,
                    },
                );
            }
            report.blame(
                Place::Checkpoint { tenant, number },
                Flaw::CheckpointMissing,
            );
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Record {
                tenant,
                lane,
                sequence,
            } => {
                write!(f, "{tenant}/{lane} record {sequence}: {}", self.flaw)
            }
            Place::Checkpoint { tenant, number } => {
                write!(f, "{tenant} checkpoint {number}: {}", self.flaw)
            }
            Place::Ledger => write!(f, "ledger: {}", self.flaw),
        }
    }
}

fn checkpoint_flaw(error: &CheckpointError) -> Flaw {
    match error {
        CheckpointError::WrongKey { signer } => Flaw::WrongKey {
            signer: signer.to_string(),
        },
        CheckpointError::BadSignature | CheckpointError::Unreadable { .. } => {
            Flaw::CheckpointChanged
        }
    }
}
