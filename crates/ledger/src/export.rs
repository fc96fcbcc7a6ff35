//! Exports: a ledger as lines of JSON that a stranger can check, version 1; `LAYOUT.md` explains it.
//!
//! The first line says which lanes follow and where they end, then come the checkpoints, then the records lane by lane,
//! then a last line, so that a file that was cut is noticed. What is sealed leaves sealed. [`verify`] needs nothing but
//! the file.

use crate::chain::{Flaw, Start, Walk};
use crate::checkpoint::{SignedCheckpoint, VerifyingKey};
use crate::error::{Error, StorageError};
use crate::name::Tenant;
use crate::reader::{LaneHead, Reader};
use crate::record::{RawRecord, RecordId, hex, unhex};
use crate::tables::{LaneRow, position, sequence_at};
use crate::verify::{CheckpointWalk, Copies, LaneReport, Marks, Place, Report, VerifyOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ombud_core::Digest;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// The version this module writes and reads.
pub const EXPORT_VERSION: u32 = 1;
/// Longest line: a record of the largest size, in base64 and escaped.
pub const LINE_BYTES_MAX: u64 = 64 << 20;

const CHUNK_RECORDS: usize = 1_000;
const CHUNK_CHECKPOINTS: usize = 256;

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    pub records: u64,
    pub checkpoints: u64,
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    r#type: String,
    version: u32,
    since_us: Option<i64>,
    lanes: Vec<LaneLine>,
}

/// A lane as the first line announces it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaneLine {
    tenant: String,
    lane: String,
    first: u64,
    last: u64,
    hash: Digest,
}

/// A checkpoint.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointLine {
    r#type: String,
    tenant: String,
    number: i64,
    text: String,
    signer: String,
    signature: String,
}

/// A record. Digests and keys are hexadecimal, sealed bytes base64; answer and detail are strings that hold JSON, so that
/// their bytes survive. Absent fields are left out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordLine<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    tenant: Text<'a>,
    #[serde(borrow)]
    lane: Text<'a>,
    sequence: i64,
    time_us: i64,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    model: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    bundle: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    environment: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    subject: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    sealed_input: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    answer: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    sealed_explanation: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latency_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_hit: Option<bool>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    principal: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    ip: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    user_agent: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    request_id: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    detail: Option<Text<'a>>,
    #[serde(borrow)]
    previous: Text<'a>,
    #[serde(borrow)]
    hash: Text<'a>,
}

/// Text that is borrowed from its line unless something in it was escaped, also where it is optional.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text(Cow::Owned(text))
    }
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    r#type: String,
    records: u64,
    checkpoints: u64,
}

impl Reader {
    /// Writes an export: of one tenant or of all, from a time on or from the beginning.
    ///
    /// Records that are appended meanwhile are left for the next export.
    pub fn export(
        &self,
        tenant: Option<&Tenant>,
        since_us: Option<i64>,
        out: &mut dyn Write,
    ) -> Result<Exported, Error> {
        // Checkpoints are counted before heads are read, so that no checkpoint is newer than the lanes.
        let checkpoints = self.checkpoint_counts(tenant)?;
        let lanes = self.lanes_to_export(tenant, since_us)?;
        let header = HeaderLine {
            r#type: "ledger".to_owned(),
            version: EXPORT_VERSION,
            since_us,
            lanes: lanes
                .iter()
                .map(|(_, first, head)| announced(*first, head))
                .collect(),
        };
        write_line(out, &header)?;
        let mut exported = Exported::default();
        for (tenant, last) in checkpoints {
            exported.checkpoints += self.export_checkpoints(&tenant, last, out)?;
        }
        for (row, first, head) in &lanes {
            exported.records += self.export_lane(row, *first, head.sequence, out)?;
        }
        let Exported {
            records,
            checkpoints,
        } = exported;
        write_line(
            out,
            &EndLine {
                r#type: "end".to_owned(),
                records,
                checkpoints,
            },
        )?;
        Ok(exported)
    }

    fn checkpoint_counts(&self, tenant: Option<&Tenant>) -> Result<Vec<(String, i64)>, Error> {
        let wanted = |name: &String| tenant.is_none_or(|tenant| tenant.as_str() == name);
        let mut counts = Vec::new();
        for tenant in self
            .with(|tables| tables.checkpointed_tenants())?
            .into_iter()
            .filter(wanted)
        {
            let mut last = 0;
            loop {
                let rows =
                    self.with(|tables| tables.checkpoints(&tenant, last + 1, CHUNK_CHECKPOINTS))?;
                let Some(row) = rows.last() else { break };
                last = row.number;
            }
            counts.push((tenant, last));
        }
        Ok(counts)
    }

    fn lanes_to_export(
        &self,
        tenant: Option<&Tenant>,
        since_us: Option<i64>,
    ) -> Result<Vec<(LaneRow, u64, LaneHead)>, Error> {
        let mut lanes = Vec::new();
        for row in self.with(|tables| tables.lanes())? {
            if tenant.is_some_and(|tenant| *tenant != row.tenant) {
                continue;
            }
            let Some(head) = self.with(|tables| tables.head(row.number))? else {
                continue;
            };
            let first = match since_us {
                None => Some(1),
                Some(since_us) => self.with(|tables| tables.first_since(&row, since_us))?,
            };
            let Some(first) = first.filter(|first| *first <= head.sequence) else {
                continue;
            };
            let head = LaneHead {
                tenant: row.tenant.clone(),
                lane: row.name.clone(),
                sequence: head.sequence,
                hash: head.hash,
            };
            lanes.push((row, first, head));
        }
        Ok(lanes)
    }

    fn export_checkpoints(
        &self,
        tenant: &str,
        last: i64,
        out: &mut dyn Write,
    ) -> Result<u64, Error> {
        let mut written = 0;
        let mut from = i64::MIN;
        loop {
            let rows = self.with(|tables| tables.checkpoints(tenant, from, CHUNK_CHECKPOINTS))?;
            for row in rows.iter().filter(|row| row.number <= last) {
                let line = CheckpointLine {
                    r#type: "checkpoint".to_owned(),
                    tenant: tenant.to_owned(),
                    number: row.number,
                    text: String::from_utf8_lossy(&row.body).into_owned(),
                    signer: hex(&row.signer),
                    signature: hex(&row.signature),
                };
                write_line(out, &line)?;
                written += 1;
            }
            match rows.last() {
                Some(row) if row.number < last => from = row.number + 1,
                _ => return Ok(written),
            }
        }
    }

    fn export_lane(
        &self,
        row: &LaneRow,
        first: u64,
        last: u64,
        out: &mut dyn Write,
    ) -> Result<u64, Error> {
        let mut written = 0;
        let mut from = first.cast_signed();
        let end = sequence_at(position(row.number, last));
        loop {
            let mut failed = None;
            let visited = self.with(|tables| {
                tables.walk(row, from, CHUNK_RECORDS, &mut |raw| {
                    if raw.sequence > end {
                        return ControlFlow::Break(());
                    }
                    from = raw.sequence + 1;
                    written += 1;
                    failed = write_record(out, raw).err();
                    if failed.is_some() {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                })
            })?;
            if let Some(failed) = failed {
                return Err(failed);
            }
            if visited < CHUNK_RECORDS || from > end {
                return Ok(written);
            }
        }
    }
}

/// Verifies an export, without any database.
pub fn verify(mut export: impl BufRead, options: &VerifyOptions) -> Result<Report, Error> {
    let mut verifier = Verifier::new(options);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = io::Read::take(&mut export, LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let read = read.map_err(|source| StorageError::File {
            path: PathBuf::from("the export"),
            source,
        })?;
        if read == 0 {
            break;
        }
        if let Err(why) = verifier.take(&line) {
            verifier
                .report
                .blame(Place::Ledger, Flaw::Unreadable { line: number, why });
            break;
        }
    }
    verifier.finish()
}

/// Takes an export line by line.
struct Verifier<'a> {
    options: &'a VerifyOptions,
    report: Report,
    marks: Marks,
    copies: Option<Copies>,
    announced: Vec<LaneLine>,
    has_header: bool,
    is_partial: bool,
    checkpoints: BTreeMap<String, Option<CheckpointWalk>>,
    lanes: Vec<LaneState>,
    /// The lane of the record before, where the next one nearly always belongs too.
    current: usize,
    read: Exported,
    end: Option<EndLine>,
}

/// A lane on its way, and how it was announced.
struct LaneState {
    tenant: String,
    lane: String,
    first: u64,
    last: u64,
    hash: Digest,
    walk: Walk,
    flaw: Option<(u64, Flaw)>,
    signed_until: Option<u64>,
}

type LineResult<T> = Result<T, String>;

impl<'a> Verifier<'a> {
    fn new(options: &'a VerifyOptions) -> Self {
        let mut report = Report::default();
        let copies = Copies::new(options, &mut report);
        Verifier {
            options,
            report,
            marks: Marks::default(),
            copies: Some(copies),
            announced: Vec::new(),
            has_header: false,
            is_partial: false,
            checkpoints: BTreeMap::new(),
            lanes: Vec::new(),
            current: 0,
            read: Exported::default(),
            end: None,
        }
    }

    fn take(&mut self, line: &[u8]) -> LineResult<()> {
        let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        let text = text.strip_suffix('\n').ok_or("it is cut")?;
        if self.end.is_some() {
            return Err("it comes after the last line".to_owned());
        }
        if !self.has_header {
            return self.take_header(parsed(text)?);
        }
        // Our own exports name the type first, and nearly every line is a record.
        if text.starts_with(r#"{"type":"record","#) {
            return self.take_record(&parsed(text)?);
        }
        if text.starts_with(r#"{"type":"checkpoint","#) {
            return self.take_checkpoint(&parsed(text)?);
        }
        let end: EndLine = parsed(text)?;
        if end.r#type != "end" {
            return Err(format!("it is of the unknown type {:?}", end.r#type));
        }
        self.end = Some(end);
        Ok(())
    }

    fn take_header(&mut self, header: HeaderLine) -> LineResult<()> {
        if header.r#type != "ledger" || header.version != EXPORT_VERSION {
            return Err(format!("it is no export of version {EXPORT_VERSION}"));
        }
        self.has_header = true;
        self.is_partial = header.since_us.is_some();
        self.announced = header.lanes;
        Ok(())
    }

    fn take_checkpoint(&mut self, line: &CheckpointLine) -> LineResult<()> {
        self.read.checkpoints += 1;
        let Some(copies) = &mut self.copies else {
            return Err("a checkpoint comes after the records".to_owned());
        };
        if !self.options.wants_tenant(&line.tenant) {
            return Ok(());
        }
        let signed = signed_checkpoint(line);
        let fresh = || Some(CheckpointWalk::new(line.tenant.clone(), self.options));
        let state = self
            .checkpoints
            .entry(line.tenant.clone())
            .or_insert_with(fresh);
        let Some(walk) = state else { return Ok(()) };
        let step = walk.step(line.number, signed.as_ref(), copies, &mut self.marks);
        if let ControlFlow::Break((number, flaw)) = step {
            self.report.checkpoints += walk.right();
            *state = None;
            let tenant = line.tenant.clone();
            self.report
                .blame(Place::Checkpoint { tenant, number }, flaw);
        }
        Ok(())
    }

    fn take_record(&mut self, line: &RecordLine<'_>) -> LineResult<()> {
        self.begin_lanes();
        self.read.records += 1;
        if !self.options.wants(&line.tenant, &line.lane) {
            return Ok(());
        }
        let cells = Cells::decode(line)?;
        let is_its = |lane: &LaneState| lane.tenant == *line.tenant && lane.lane == *line.lane;
        if !self.lanes.get(self.current).is_some_and(is_its) {
            let found = self.lanes.iter().position(is_its);
            self.current = found.ok_or("its lane is not announced in the first line")?;
        }
        let lane = &mut self.lanes[self.current];
        if lane.flaw.is_none() {
            lane.flaw = lane.walk.step(&cells.raw(line));
        }
        Ok(())
    }

    /// With the first record, or the end, all checkpoints are known.
    fn begin_lanes(&mut self) {
        let Some(copies) = self.copies.take() else {
            return;
        };
        copies.finish(&mut self.marks, &mut self.report);
        for lane in &self.announced {
            if !self.options.wants(&lane.tenant, &lane.lane) {
                continue;
            }
            let marks = self.marks.of(&lane.tenant, &lane.lane);
            let start = if lane.first == 1 {
                Start::First
            } else {
                Start::Anywhere
            };
            let signed_until = marks.iter().map(|mark| mark.sequence).max();
            let walk = Walk::new(&lane.tenant, &lane.lane, start, marks);
            self.report.is_known = true;
            self.lanes.push(LaneState {
                tenant: lane.tenant.clone(),
                lane: lane.lane.clone(),
                last: lane.last,
                hash: lane.hash,
                first: lane.first,
                walk,
                flaw: None,
                signed_until,
            });
        }
    }

    fn finish(mut self) -> Result<Report, Error> {
        self.begin_lanes();
        self.marks.refuse_if_too_many()?;
        let right = |walk: &Option<CheckpointWalk>| walk.as_ref().map_or(0, CheckpointWalk::right);
        self.report.checkpoints += self.checkpoints.values().map(right).sum::<u64>();
        for lane in self.lanes {
            let mut flaw = lane.flaw.or_else(|| lane.walk.finish());
            let last = lane.walk.last();
            if flaw.is_none() && last != Some((lane.last, lane.hash)) {
                let sequence = last.map_or(lane.first, |(last, _)| last + 1);
                flaw = Some((sequence, Flaw::NotAsAnnounced));
            }
            let report = LaneReport {
                tenant: lane.tenant,
                lane: lane.lane,
                records: lane.walk.records(),
                last,
                signed_until: lane.signed_until,
            };
            self.report.take(report, flaw);
        }
        // An export from some time on has no lanes that were quiet since.
        if !self.is_partial {
            self.marks.blame_the_rest(self.options, &mut self.report);
        }
        let is_whole = self.end.as_ref().is_some_and(|end| {
            (end.records, end.checkpoints) == (self.read.records, self.read.checkpoints)
        });
        if !is_whole && self.report.is_sound() {
            let line = self.read.records + self.read.checkpoints + 2;
            let why = "the export does not end as it should".to_owned();
            self.report
                .blame(Place::Ledger, Flaw::Unreadable { line, why });
        }
        self.report.know_whatever_is_wrong(self.options);
        Ok(self.report)
    }
}

/// A line's encoded cells, decoded.
struct Cells {
    id: RecordId,
    previous: [u8; 32],
    hash: [u8; 32],
    bundle: Option<[u8; 32]>,
    subject: Option<[u8; 32]>,
    key: Option<[u8; 16]>,
    sealed_input: Option<Vec<u8>>,
    sealed_explanation: Option<Vec<u8>>,
}

impl Cells {
    fn decode(line: &RecordLine<'_>) -> LineResult<Self> {
        fn digits<const N: usize>(field: &str, text: &str) -> LineResult<[u8; N]> {
            unhex(text).ok_or_else(|| format!("{field} is not {N} bytes in lower-case hexadecimal"))
        }
        fn maybe<const N: usize>(
            field: &str,
            text: &Option<Text<'_>>,
        ) -> LineResult<Option<[u8; N]>> {
            text.as_ref().map(|text| digits(field, text)).transpose()
        }
        let sealed = |field: &str, text: &Option<Text<'_>>| {
            let bytes = text
                .as_ref()
                .map(|text| STANDARD.decode(text.as_bytes()))
                .transpose();
            bytes.map_err(|error| format!("{field}: {error}"))
        };
        Ok(Cells {
            id: line
                .id
                .parse()
                .map_err(|_| "the id is not a UUID in lower case")?,
            previous: digits("previous", &line.previous)?,
            hash: digits("hash", &line.hash)?,
            bundle: maybe("bundle", &line.bundle)?,
            subject: maybe("subject", &line.subject)?,
            key: maybe("key", &line.key)?,
            sealed_input: sealed("sealed_input", &line.sealed_input)?,
            sealed_explanation: sealed("sealed_explanation", &line.sealed_explanation)?,
        })
    }

    fn raw<'a>(&'a self, line: &'a RecordLine<'_>) -> RawRecord<'a> {
        fn bytes<'a>(text: &'a Option<Text<'_>>) -> Option<&'a [u8]> {
            text.as_ref().map(|text| text.as_bytes())
        }
        RawRecord {
            previous: &self.previous,
            sequence: line.sequence,
            time_us: line.time_us,
            id: self.id.as_bytes(),
            tenant: line.tenant.as_bytes(),
            lane: line.lane.as_bytes(),
            kind: line.kind.as_bytes(),
            model: bytes(&line.model),
            version: line.version,
            bundle: self.bundle.as_ref().map(<[u8; 32]>::as_slice),
            environment: bytes(&line.environment),
            subject: self.subject.as_ref().map(<[u8; 32]>::as_slice),
            key: self.key.as_ref().map(<[u8; 16]>::as_slice),
            sealed_input: self.sealed_input.as_deref(),
            answer: bytes(&line.answer),
            confidence: line.confidence,
            sealed_explanation: self.sealed_explanation.as_deref(),
            latency_us: line.latency_us,
            cache_hit: line.cache_hit.map(i64::from),
            principal: bytes(&line.principal),
            ip: bytes(&line.ip),
            user_agent: bytes(&line.user_agent),
            request_id: bytes(&line.request_id),
            detail: bytes(&line.detail),
            hash: &self.hash,
        }
    }
}

fn announced(first: u64, head: &LaneHead) -> LaneLine {
    LaneLine {
        tenant: head.tenant.to_string(),
        lane: head.lane.to_string(),
        first,
        last: head.sequence,
        hash: head.hash,
    }
}

/// Writes a record as a line. A damaged one is written as well as it can be, so that verifying the export finds it too.
fn write_record(out: &mut dyn Write, raw: &RawRecord<'_>) -> Result<(), Error> {
    fn text<'a>(cell: Option<&'a [u8]>) -> Option<Text<'a>> {
        cell.map(|cell| Text(String::from_utf8_lossy(cell)))
    }
    let digits = |cell: Option<&[u8]>| cell.map(|cell| Text::from(hex(cell)));
    let sealed = |cell: Option<&[u8]>| cell.map(|cell| Text::from(STANDARD.encode(cell)));
    let id: Option<[u8; RecordId::BYTES]> = raw.id.try_into().ok();
    let line = RecordLine {
        r#type: "record",
        tenant: Text(String::from_utf8_lossy(raw.tenant)),
        lane: Text(String::from_utf8_lossy(raw.lane)),
        sequence: raw.sequence,
        time_us: raw.time_us,
        id: id
            .map_or_else(|| hex(raw.id), |id| RecordId::from_bytes(id).to_string())
            .into(),
        kind: Text(String::from_utf8_lossy(raw.kind)),
        model: text(raw.model),
        version: raw.version,
        bundle: digits(raw.bundle),
        environment: text(raw.environment),
        subject: digits(raw.subject),
        key: digits(raw.key),
        sealed_input: sealed(raw.sealed_input),
        answer: text(raw.answer),
        confidence: raw.confidence,
        sealed_explanation: sealed(raw.sealed_explanation),
        latency_us: raw.latency_us,
        cache_hit: raw.cache_hit.map(|cell| cell != 0),
        principal: text(raw.principal),
        ip: text(raw.ip),
        user_agent: text(raw.user_agent),
        request_id: text(raw.request_id),
        detail: text(raw.detail),
        previous: hex(raw.previous).into(),
        hash: hex(raw.hash).into(),
    };
    write_line(out, &line)
}

fn write_line(out: &mut dyn Write, line: &impl Serialize) -> Result<(), Error> {
    let failed = |source| StorageError::File {
        path: PathBuf::from("the export"),
        source,
    };
    serde_json::to_writer(&mut *out, line).map_err(|error| failed(error.into()))?;
    out.write_all(b"\n").map_err(failed)?;
    Ok(())
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> LineResult<T> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn signed_checkpoint(line: &CheckpointLine) -> Option<SignedCheckpoint> {
    Some(SignedCheckpoint {
        text: line.text.clone(),
        signer: VerifyingKey::new(unhex(&line.signer)?),
        signature: unhex(&line.signature)?,
    })
}
