//! Cuts a stream of bytes into blocks of whole records, which can then be parsed apart from each other.
//!
//! The only part of reading text that must go in order: bytes are read, hashed for the fingerprint, decompressed, and
//! cut at a line end that lies outside quotes. [`in_waves`] runs it beside the parsing: while one wave of blocks is
//! parsed on all threads, the next is read. A wave is small, so memory does not grow with the file.

use super::error::ReadError;
use super::spec::{Format, Place, SourceSpec};
use super::{Meter, ROWS_MAX};
use flate2::bufread::MultiGzDecoder;
use ombud_core::Digest;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How much is parsed at once. Fixed, so that the cut does not depend on the number of threads.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;
/// Longest record; a longer one is almost surely a quote that is never closed.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// Most bytes that are kept of standard input when all of it must be read.
pub const STANDARD_INPUT_BYTES_MAX: usize = 2 << 30;
/// Blocks per thread in a wave: enough that threads seldom wait for the slowest.
const WAVE_BLOCKS_PER_THREAD: usize = 4;
const READ_BYTES: usize = 256 << 10;

/// Whole records, as text.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) text: String,
}

/// What ends a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Records {
    /// A line end outside quotes; a quote opens only at the start of a field.
    Quoted { separator: u8 },
    /// Any line end.
    Lines,
}

/// Bytes that can be read again.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Place(SourceSpec),
    /// Standard input, kept because it comes only once.
    Kept(Arc<Vec<u8>>),
}

/// The blocks of a source, in order.
pub(crate) struct Blocks {
    file: String,
    reader: Box<dyn Read + Send>,
    raw: Arc<RawState>,
    meter: Arc<Meter>,
    buffer: Vec<u8>,
    block_bytes: usize,
    /// Bytes of text given out before the buffer.
    offset: u64,
    /// Lines given out, known once a block is parsed.
    pub(crate) lines: u64,
    is_gzip: bool,
    is_at_end: bool,
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The hash of the raw bytes, taken below any decompression.
#[derive(Debug, Default)]
struct RawState {
    hash: std::sync::Mutex<Sha256>,
}

struct RawReader {
    inner: Box<dyn Read + Send>,
    raw: Arc<RawState>,
    meter: Arc<Meter>,
}

impl Read for RawReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Ok(mut hash) = self.raw.hash.lock() {
            hash.update(&buffer[..count]);
        }
        self.meter
            .bytes_read
            .fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Origin {
    /// Keeps standard input in memory, so that it can be read a second time.
    pub(crate) fn rereadable(spec: &SourceSpec) -> Result<Origin, ReadError> {
        if spec.place != Place::StandardInput {
            return Ok(Origin::Place(spec.clone()));
        }
        let mut bytes = Vec::new();
        let limit_bytes = STANDARD_INPUT_BYTES_MAX;
        std::io::stdin()
            .take(limit_bytes as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| ReadError::io("standard input", source))?;
        if bytes.len() > limit_bytes {
            return Err(ReadError::StandardInputTooLong { limit_bytes });
        }
        Ok(Origin::Kept(Arc::new(bytes)))
    }

    fn open(&self, meter: &Meter) -> Result<(String, Box<dyn Read + Send>), ReadError> {
        meter.bytes_read.store(0, Ordering::Relaxed);
        match self {
            Origin::Kept(bytes) => {
                meter
                    .bytes_total
                    .store(bytes.len() as u64, Ordering::Relaxed);
                let bytes = KeptBytes(bytes.clone());
                Ok(("standard input".into(), Box::new(Cursor::new(bytes))))
            }
            Origin::Place(spec) => match &spec.place {
                Place::StandardInput => Ok(("standard input".into(), Box::new(std::io::stdin()))),
                Place::Path(path) => {
                    let file = File::open(path).map_err(|e| ReadError::opening(path, e))?;
                    let about = file.metadata().map_err(|e| ReadError::opening(path, e))?;
                    if about.is_dir() {
                        return Err(ReadError::UnknownForm {
                            text: format!("the folder {}", path.display()),
                        });
                    }
                    meter.bytes_total.store(about.len(), Ordering::Relaxed);
                    Ok((spec.to_string(), Box::new(file)))
                }
            },
        }
    }
}

struct KeptBytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for KeptBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Blocks {
    /// Opens the bytes, sees through gzip and drops a byte-order mark.
    pub(crate) fn open(
        origin: &Origin,
        format: Format,
        meter: &Arc<Meter>,
        block_bytes: usize,
    ) -> Result<Blocks, ReadError> {
        let (file, inner) = origin.open(meter)?;
        let raw = Arc::new(RawState::default());
        let mut reader = BufReader::with_capacity(
            READ_BYTES,
            RawReader {
                inner,
                raw: raw.clone(),
                meter: meter.clone(),
            },
        );
        let start = reader
            .fill_buf()
            .map_err(|source| ReadError::io(&file, source))?;
        let is_gzip = start.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn Read + Send> = if is_gzip {
            Box::new(MultiGzDecoder::new(reader))
        } else {
            Box::new(reader)
        };
        let mut blocks = Blocks {
            file,
            reader,
            raw,
            meter: meter.clone(),
            buffer: Vec::new(),
            block_bytes: block_bytes.max(1),
            offset: 0,
            lines: 0,
            is_gzip,
            is_at_end: false,
        };
        blocks.fill(READ_BYTES)?;
        blocks.check_start(format)?;
        Ok(blocks)
    }

    /// The source as the person named it.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The bytes that come next, without taking them.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.buffer
    }

    /// The first record of the file; its end is looked for in ever more bytes.
    pub(crate) fn first_record(&mut self, records: Records) -> Result<Option<Block>, ReadError> {
        loop {
            let end = first_border(&self.buffer, records);
            if let Some(end) = end {
                return self.give(end).map(Some);
            }
            if self.is_at_end {
                let all = self.buffer.len();
                return if all == 0 {
                    Ok(None)
                } else {
                    self.give(all).map(Some)
                };
            }
            if self.buffer.len() >= RECORD_BYTES_MAX {
                return Err(self.long_record());
            }
            self.fill((self.buffer.len() * 2).max(READ_BYTES))?;
        }
    }

    /// The next whole records: those that end within a block's bytes, or the first when it is longer.
    pub(crate) fn next(&mut self, records: Records) -> Result<Option<Block>, ReadError> {
        let mut window = self.block_bytes;
        loop {
            self.fill(window)?;
            if self.is_at_end && self.buffer.len() <= window {
                let all = self.buffer.len();
                return if all == 0 {
                    Ok(None)
                } else {
                    self.give(all).map(Some)
                };
            }
            if let Some(end) = last_border(&self.buffer[..window], records) {
                return self.give(end).map(Some);
            }
            if window >= RECORD_BYTES_MAX {
                return Err(self.long_record());
            }
            window *= 2;
        }
    }

    /// The digest of all raw bytes; known at the end.
    pub(crate) fn fingerprint(&self) -> Digest {
        let hash = self.raw.hash.lock().map(|hash| hash.clone());
        Digest::new(hash.unwrap_or_default().finalize().into())
    }

    fn long_record(&self) -> ReadError {
        ReadError::RecordTooLong {
            file: self.file.clone(),
            line: self.lines + 1,
            limit_bytes: RECORD_BYTES_MAX,
        }
    }

    fn fill(&mut self, wanted: usize) -> Result<(), ReadError> {
        let missing = wanted.saturating_sub(self.buffer.len());
        if missing == 0 || self.is_at_end {
            return Ok(());
        }
        let before = self.buffer.len();
        let mut limited = self.reader.by_ref().take(missing as u64);
        let read = limited.read_to_end(&mut self.buffer);
        read.map_err(|source| self.read_error(source))?;
        self.is_at_end = self.buffer.len() - before < missing;
        Ok(())
    }

    fn read_error(&self, source: std::io::Error) -> ReadError {
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        let is_damage = matches!(source.kind(), InvalidData | InvalidInput | UnexpectedEof);
        if self.is_gzip && is_damage {
            let file = self.file.clone();
            return ReadError::Gzip { file, source };
        }
        ReadError::io(&self.file, source)
    }

    fn check_start(&mut self, format: Format) -> Result<(), ReadError> {
        let file = || self.file.clone();
        let start = &self.buffer[..self.buffer.len().min(4096)];
        let wide = |encoding| ReadError::WideEncoding {
            file: file(),
            encoding,
        };
        let wrong = |found| ReadError::WrongFormat {
            file: file(),
            found,
            expected: format,
        };
        match start {
            [] => return Err(ReadError::Empty { file: file() }),
            [0xff, 0xfe, ..] => return Err(wide("UTF-16LE")),
            [0xfe, 0xff, ..] => return Err(wide("UTF-16BE")),
            [b'P', b'K', 3, 4, ..] => return Err(wrong("a zip archive or an Excel workbook")),
            [0xd0, 0xcf, 0x11, 0xe0, ..] => return Err(wrong("an old Excel workbook")),
            [b'P', b'A', b'R', b'1', ..] => return Err(wrong("a Parquet file")),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err(wrong("compressed with zstd")),
            [0xef, 0xbb, 0xbf, ..] => {
                self.buffer.drain(..3);
                self.offset = 3;
                if self.buffer.is_empty() {
                    return Err(ReadError::Empty {
                        file: self.file.clone(),
                    });
                }
                return Ok(());
            }
            _ => {}
        }
        // Every second byte of western text is zero in UTF-16.
        let zeros = |odd: usize| {
            let places = start.iter().skip(odd).step_by(2);
            places.filter(|byte| **byte == 0).count() * 2 > start.len() / 2
        };
        match (zeros(0), zeros(1)) {
            (_, true) => Err(wide("UTF-16LE")),
            (true, _) => Err(wide("UTF-16BE")),
            _ => Ok(()),
        }
    }

    fn give(&mut self, end: usize) -> Result<Block, ReadError> {
        let rest = self.buffer.split_off(end);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let before = &error.as_bytes()[..valid];
            ReadError::Encoding {
                file: self.file.clone(),
                // Completed by the caller, who knows the lines of the blocks before.
                line: 1 + count_lines(before),
                byte: self.offset + valid as u64 + 1,
            }
        })?;
        self.offset += end as u64;
        Ok(Block { text })
    }

    fn wave(&mut self, records: Records, count: usize) -> (Vec<Block>, Option<ReadError>) {
        let mut wave = Vec::with_capacity(count);
        while wave.len() < count {
            match self.next(records) {
                Ok(Some(block)) => wave.push(block),
                Ok(None) => break,
                Err(error) => return (wave, Some(error)),
            }
        }
        (wave, None)
    }

    /// A fault's line is counted from the start of its block until the lines before are known.
    fn complete(&self, error: ReadError) -> ReadError {
        match error {
            ReadError::Encoding { file, line, byte } => ReadError::Encoding {
                file,
                line: line + self.lines,
                byte,
            },
            ReadError::RecordTooLong {
                file, limit_bytes, ..
            } => ReadError::RecordTooLong {
                file,
                line: self.lines + 1,
                limit_bytes,
            },
            other => other,
        }
    }
}

/// What parsing one block tells besides its cells.
pub(crate) trait Parsed: Send {
    /// Line ends in the block.
    fn lines(&self) -> u64;
    /// Rows in the block.
    fn rows(&self) -> usize;
}

/// Parses all blocks on all threads and merges the results in the order of the file; the first fault in that order ends
/// it. A fault gets the number of lines before its block.
pub(crate) fn in_waves<P: Parsed>(
    blocks: &mut Blocks,
    records: Records,
    parse: impl Fn(&Block) -> Result<P, BlockFault> + Sync,
    mut merge: impl FnMut(P) -> Result<(), ReadError> + Send,
) -> Result<(), ReadError> {
    let width = rayon::current_num_threads() * WAVE_BLOCKS_PER_THREAD;
    let (mut current, mut failed) = blocks.wave(records, width);
    let mut parsed: Vec<Result<P, BlockFault>> = Vec::new();
    loop {
        let is_last = failed.is_some() || current.is_empty();
        let done = std::mem::take(&mut parsed);
        let (read, now_parsed) = rayon::join(
            || -> Result<_, ReadError> {
                merge_wave(blocks, done, &mut merge)?;
                Ok(if is_last {
                    (Vec::new(), None)
                } else {
                    blocks.wave(records, width)
                })
            },
            || current.par_iter().map(&parse).collect::<Vec<_>>(),
        );
        let (next, next_failed) = read?;
        if is_last {
            merge_wave(blocks, now_parsed, &mut merge)?;
            return match failed {
                Some(error) => Err(blocks.complete(error)),
                None => Ok(()),
            };
        }
        parsed = now_parsed;
        current = next;
        failed = next_failed;
    }
}

/// The same on the calling thread's own account, for readers that hand each block on and may wait there: nothing waits
/// inside the thread pool, which whoever takes the blocks may need.
pub(crate) fn one_by_one<P: Parsed>(
    blocks: &mut Blocks,
    records: Records,
    parse: impl Fn(&Block) -> Result<P, BlockFault> + Sync,
    mut merge: impl FnMut(P) -> Result<bool, ReadError>,
) -> Result<(), ReadError> {
    let width = rayon::current_num_threads();
    loop {
        let (wave, failed) = blocks.wave(records, width);
        let is_last = failed.is_some() || wave.is_empty();
        let parsed: Vec<_> = wave.par_iter().map(&parse).collect();
        for piece in parsed {
            let piece = count(blocks, piece)?;
            if !merge(piece)? {
                return Ok(());
            }
        }
        match failed {
            Some(error) => return Err(blocks.complete(error)),
            None if is_last => return Ok(()),
            None => {}
        }
    }
}

fn merge_wave<P: Parsed>(
    blocks: &mut Blocks,
    wave: Vec<Result<P, BlockFault>>,
    merge: &mut impl FnMut(P) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    for piece in wave {
        let piece = count(blocks, piece)?;
        merge(piece)?;
    }
    Ok(())
}

fn count<P: Parsed>(blocks: &mut Blocks, piece: Result<P, BlockFault>) -> Result<P, ReadError> {
    let piece = piece.map_err(|fault| fault.at(blocks.file(), blocks.lines))?;
    blocks.lines += piece.lines();
    let rows = piece.rows() as u64;
    let before = blocks.meter.rows.fetch_add(rows, Ordering::Relaxed);
    if before + rows > ROWS_MAX as u64 {
        return Err(ReadError::TooManyRows {
            file: blocks.file.clone(),
            limit: ROWS_MAX,
        });
    }
    Ok(piece)
}

/// A fault in a block, with the line counted from the block's start, from 1.
#[derive(Debug)]
pub(crate) struct BlockFault {
    pub(crate) line: u64,
    pub(crate) what: Fault,
}

#[derive(Debug)]
pub(crate) enum Fault {
    Ragged { expected: usize, found: usize },
    OpenQuote,
    FieldTooLong { position: usize, limit_bytes: usize },
    Json(String),
    TooManyColumns { count: usize, limit: usize },
}

impl BlockFault {
    pub(crate) fn at(self, file: &str, lines_before: u64) -> ReadError {
        let file = file.to_owned();
        let line = lines_before + self.line;
        match self.what {
            Fault::Ragged { expected, found } => ReadError::Ragged {
                file,
                line,
                expected,
                found,
            },
            Fault::OpenQuote => ReadError::OpenQuote { file, line },
            Fault::FieldTooLong {
                position,
                limit_bytes,
            } => ReadError::FieldTooLong {
                file,
                line,
                position,
                limit_bytes,
            },
            Fault::Json(problem) => ReadError::Json {
                file,
                line,
                problem,
            },
            Fault::TooManyColumns { count, limit } => {
                ReadError::TooManyColumns { file, count, limit }
            }
        }
    }
}

pub(crate) fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// The end of the last whole record. `bytes` starts at a record.
fn last_border(bytes: &[u8], records: Records) -> Option<usize> {
    let Records::Quoted { separator } = records else {
        return memchr::memrchr(b'\n', bytes).map(|at| at + 1);
    };
    let mut last = None;
    outside_quotes(bytes, separator, |start, end| {
        if let Some(at) = memchr::memrchr(b'\n', &bytes[start..end]) {
            last = Some(start + at + 1);
        }
        true
    });
    last
}

fn first_border(bytes: &[u8], records: Records) -> Option<usize> {
    let Records::Quoted { separator } = records else {
        return memchr::memchr(b'\n', bytes).map(|at| at + 1);
    };
    let mut first = None;
    outside_quotes(bytes, separator, |start, end| {
        first = memchr::memchr(b'\n', &bytes[start..end]).map(|at| start + at + 1);
        first.is_none()
    });
    first
}

/// Calls `visit(start, end)` for each run of bytes outside quoted fields, until it answers false.
fn outside_quotes(bytes: &[u8], separator: u8, mut visit: impl FnMut(usize, usize) -> bool) {
    let mut start = 0;
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'"', &bytes[at..]) {
        let quote = at + found;
        let opens = quote == 0 || bytes[quote - 1] == separator || bytes[quote - 1] == b'\n';
        // A quote elsewhere is a plain character. Just after a closing quote it is one too: the pair was skipped.
        if !opens || quote < start {
            at = quote + 1;
            continue;
        }
        if !visit(start, quote) {
            return;
        }
        match closing_quote(bytes, quote + 1) {
            Some(close) => {
                start = close + 1;
                at = close + 1;
            }
            None => return,
        }
    }
    visit(start, bytes.len());
}

/// The quote that closes a quoted field whose text starts at `at`. A doubled quote belongs to the text.
pub(crate) fn closing_quote(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let quote = at + memchr::memchr(b'"', bytes.get(at..)?)?;
        if bytes.get(quote + 1) != Some(&b'"') {
            return Some(quote);
        }
        at = quote + 2;
    }
}
