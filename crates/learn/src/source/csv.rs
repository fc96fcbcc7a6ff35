//! Comma- and tab-separated values.
//!
//! RFC 4180: fields in quotes may hold separators, line breaks and doubled quotes; a quote elsewhere is a plain character;
//! lines end in LF or CRLF; blank lines are skipped; every record has as many fields as the header. A `.csv` or
//! `.txt` whose header has no comma is read with semicolons or tabs when it has those.
//!
//! A column is numbers when every cell that is not missing is a number, else text. A cell with code-like zeros (`007`)
//! or more whole digits than a double keeps is no number: it names something. `inf` is a number: it stays in the
//! column and binding to a schema counts it as unfit and drops it. The type is decided over the whole file: a block
//! is parsed with the hope of numbers, and columns that turn out to be text after numbers were seen are read
//! again, so that no text is lost.

use super::blocks::{
    BLOCK_BYTES, Block, BlockFault, Blocks, Fault, Origin, Parsed, Records, closing_quote,
    count_lines, in_waves, one_by_one,
};
use super::cells::{Cells, Texts, is_missing, number_name, number_or_unfit};
use super::error::ReadError;
use super::spec::{Format, SourceSpec};
use super::{BatchSender, Batches, COLUMNS_MAX, Hints, Meter, RawKind, Source, Table, batch_of};
use arrow_array::RecordBatch;
use ombud_core::Digest;
use ombud_core::frame::is_blank;
use ombud_core::schema::TEXT_BYTES_MAX;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest field: what a request may carry in one text.
pub const FIELD_BYTES_MAX: usize = TEXT_BYTES_MAX;

/// A file of separated values.
#[derive(Debug)]
pub(crate) struct CsvSource {
    spec: SourceSpec,
    meter: Arc<Meter>,
    block_bytes: usize,
}

/// A file whose header is read.
struct Opened {
    blocks: Blocks,
    names: Vec<String>,
    separator: u8,
}

impl CsvSource {
    pub(crate) fn new(spec: &SourceSpec) -> Self {
        CsvSource {
            spec: spec.clone(),
            meter: Arc::default(),
            block_bytes: BLOCK_BYTES,
        }
    }

    fn open(&self, origin: &Origin) -> Result<Opened, ReadError> {
        self.meter.rows.store(0, Ordering::Relaxed);
        let format = self.spec.format;
        let mut blocks = Blocks::open(origin, format, &self.meter, self.block_bytes)?;
        let separator = match format {
            Format::Tsv => b'\t',
            _ => separator_of(blocks.ahead()),
        };
        let records = Records::Quoted { separator };
        loop {
            let Some(record) = blocks.first_record(records)? else {
                return Err(ReadError::Empty {
                    file: blocks.file().to_owned(),
                });
            };
            blocks.lines += count_lines(record.text.as_bytes());
            if !record.text.trim().is_empty() {
                let names = header(&record.text, separator, blocks.file())?;
                return Ok(Opened {
                    blocks,
                    names,
                    separator,
                });
            }
        }
    }

    /// Reads the columns again, as the texts they are.
    fn read_texts(
        &self,
        origin: &Origin,
        wants: &[Want],
        columns: &mut [Cells],
        fingerprint: Digest,
    ) -> Result<(), ReadError> {
        let Opened {
            mut blocks,
            separator,
            ..
        } = self.open(origin)?;
        in_waves(
            &mut blocks,
            Records::Quoted { separator },
            |block| parse(block, separator, wants),
            |piece| {
                for (column, cells) in columns.iter_mut().zip(piece.columns) {
                    if let Some(cells) = cells {
                        column.append(cells);
                    }
                }
                Ok(())
            },
        )?;
        if blocks.fingerprint() != fingerprint {
            return Err(ReadError::Changed {
                file: blocks.file().to_owned(),
            });
        }
        Ok(())
    }
}

impl Source for CsvSource {
    fn describe(&self) -> String {
        self.spec.to_string()
    }

    fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    fn read_all(&self) -> Result<Table, ReadError> {
        let origin = Origin::rereadable(&self.spec)?;
        let Opened {
            mut blocks,
            names,
            separator,
        } = self.open(&origin)?;
        let mut guess = Guess::new(names.len());
        let is_text = &guess.is_text;
        let grown = &mut guess.grown;
        let mut rows = 0;
        in_waves(
            &mut blocks,
            Records::Quoted { separator },
            |block| parse_guessing(block, separator, is_text),
            |piece| {
                rows += piece.rows;
                for (column, cells) in grown.iter_mut().zip(piece.columns) {
                    if let Some(cells) = cells {
                        column.append(cells);
                    }
                }
                Ok(())
            },
        )?;
        if rows == 0 {
            return Err(ReadError::NoRows {
                file: blocks.file().to_owned(),
            });
        }
        let fingerprint = blocks.fingerprint();
        let _ = self.meter.fingerprint.set(fingerprint);
        let bytes = self.meter.bytes_read();
        let wants = guess.wanted_again();
        let mut columns: Vec<Cells> = guess.grown.into_iter().map(|grown| grown.cells).collect();
        if wants.contains(&Want::Text) {
            self.read_texts(&origin, &wants, &mut columns, fingerprint)?;
        }
        let columns = names
            .into_iter()
            .zip(columns)
            .map(|(name, cells)| (name, cells.finish()));
        Ok(Table {
            batch: batch_of(columns.collect(), rows),
            fingerprint,
            bytes,
        })
    }

    fn stream(&self, hints: &Hints, batch_rows: usize) -> Result<Batches, ReadError> {
        let Opened {
            mut blocks,
            names,
            separator,
        } = self.open(&Origin::Place(self.spec.clone()))?;
        let wants: Vec<Want> = names.iter().map(|name| Want::of(hints.get(name))).collect();
        let meter = self.meter.clone();
        Batches::produced_by(move |sender: &BatchSender| {
            let read = one_by_one(
                &mut blocks,
                Records::Quoted { separator },
                |block| parse(block, separator, &wants),
                |piece| Ok(sender.send_sliced(&piece.into_batch(&names), batch_rows)),
            );
            match read {
                Ok(()) => drop(meter.fingerprint.set(blocks.fingerprint())),
                Err(error) => drop(sender.send(Err(error))),
            }
        })
    }
}

/// The separator, from the first line.
fn separator_of(start: &[u8]) -> u8 {
    let mut counts = [0usize; 3];
    let mut is_quoted = false;
    let line = start
        .iter()
        .skip_while(|byte| byte.is_ascii_whitespace() && **byte != b'\t')
        .take_while(|byte| **byte != b'\n');
    for byte in line {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => counts[0] += 1,
            b';' if !is_quoted => counts[1] += 1,
            b'\t' if !is_quoted => counts[2] += 1,
            _ => {}
        }
    }
    match counts {
        [0, semicolons, tabs] if semicolons > 0 && semicolons >= tabs => b';',
        [0, _, tabs] if tabs > 0 => b'\t',
        _ => b',',
    }
}

fn header(record: &str, separator: u8, file: &str) -> Result<Vec<String>, ReadError> {
    let has_bare_returns =
        !record.contains('"') && record.trim_end_matches(['\r', '\n']).contains('\r');
    if has_bare_returns {
        return Err(ReadError::CarriageReturns {
            file: file.to_owned(),
        });
    }
    let mut cells = CellReader::new(record, separator);
    let mut names = Vec::new();
    loop {
        let cell = cells
            .cell(names.len() + 1)
            .map_err(|what| BlockFault { line: 1, what }.at(file, 0))?;
        names.push(cell.trim().to_owned());
        if cells.ends_record() {
            break;
        }
    }
    if names.len() > COLUMNS_MAX {
        return Err(ReadError::TooManyColumns {
            file: file.to_owned(),
            count: names.len(),
            limit: COLUMNS_MAX,
        });
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        let position = index + 1;
        if name.is_empty() {
            return Err(ReadError::HeaderUnnamed {
                file: file.to_owned(),
                position,
            });
        }
        if let Some(first) = seen.insert(name, position) {
            return Err(ReadError::HeaderTwice {
                file: file.to_owned(),
                name: name.clone(),
                first,
                second: position,
            });
        }
    }
    Ok(names)
}

/// What is known of the columns of a file that is being read.
struct Guess {
    /// Columns that some block found to be text; parsing starts with that knowledge where it has it.
    is_text: Vec<AtomicBool>,
    grown: Vec<Grown>,
}

struct Grown {
    cells: Cells,
    /// The text of some numbers is gone although the column is text.
    is_lost: bool,
}

impl Guess {
    fn new(columns: usize) -> Guess {
        let grown = || Grown {
            cells: Cells::Nothing(0),
            is_lost: false,
        };
        Guess {
            is_text: (0..columns).map(|_| AtomicBool::new(false)).collect(),
            grown: (0..columns).map(|_| grown()).collect(),
        }
    }

    fn wanted_again(&self) -> Vec<Want> {
        let want = |grown: &Grown| {
            if grown.is_lost {
                Want::Text
            } else {
                Want::Skip
            }
        };
        self.grown.iter().map(want).collect()
    }
}

impl Grown {
    fn append(&mut self, cells: Cells) {
        let cells = match cells {
            Cells::Numbers(values) if values.iter().all(|value| value.is_nan()) => {
                Cells::Nothing(values.len())
            }
            other => other,
        };
        let disagree = matches!(
            (&self.cells, &cells),
            (Cells::Numbers(_), Cells::Texts(_)) | (Cells::Texts(_), Cells::Numbers(_))
        );
        self.is_lost |= disagree;
        if self.is_lost {
            self.cells = Cells::Nothing(0);
        } else {
            self.cells.append(cells);
        }
    }
}

/// What a column of the file is to be parsed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Skip,
    /// A number if every cell allows it.
    Guess,
    Number,
    Text,
    NumberName,
}

impl Want {
    fn of(kind: Option<RawKind>) -> Want {
        match kind {
            // A list has no form in separated values; whatever stands in such a column is no sequence.
            None | Some(RawKind::List) => Want::Skip,
            Some(RawKind::Number) => Want::Number,
            Some(RawKind::Text) => Want::Text,
            Some(RawKind::NumberName) => Want::NumberName,
        }
    }
}

/// A parsed block; `None` for columns that were skipped.
struct Piece {
    rows: usize,
    lines: u64,
    columns: Vec<Option<Cells>>,
    /// Guessed columns that are text.
    failed: Vec<usize>,
}

impl Parsed for Piece {
    fn lines(&self) -> u64 {
        self.lines
    }
    fn rows(&self) -> usize {
        self.rows
    }
}

impl Piece {
    fn into_batch(self, names: &[String]) -> RecordBatch {
        let columns = names.iter().zip(self.columns);
        let columns = columns.filter_map(|(name, cells)| Some((name.clone(), cells?.finish())));
        batch_of(columns.collect(), self.rows)
    }
}

fn parse_guessing(
    block: &Block,
    separator: u8,
    is_text: &[AtomicBool],
) -> Result<Piece, BlockFault> {
    let want = |is_text: &AtomicBool| {
        if is_text.load(Ordering::Relaxed) {
            Want::Text
        } else {
            Want::Guess
        }
    };
    let wants: Vec<Want> = is_text.iter().map(want).collect();
    let mut piece = parse(block, separator, &wants)?;
    if piece.failed.is_empty() {
        return Ok(piece);
    }
    let mut again = vec![Want::Skip; wants.len()];
    for &column in &piece.failed {
        is_text[column].store(true, Ordering::Relaxed);
        again[column] = Want::Text;
    }
    let texts = parse(block, separator, &again)?;
    for (column, cells) in texts.columns.into_iter().enumerate() {
        if cells.is_some() {
            piece.columns[column] = cells;
        }
    }
    Ok(piece)
}

fn parse(block: &Block, separator: u8, wants: &[Want]) -> Result<Piece, BlockFault> {
    let mut reader = CellReader::new(&block.text, separator);
    let rows_likely = block.text.len()
        / memchr::memchr(b'\n', block.text.as_bytes())
            .unwrap_or(0)
            .max(16);
    let mut sinks: Vec<Sink> = wants
        .iter()
        .map(|want| Sink::new(*want, rows_likely + rows_likely / 8))
        .collect();
    let mut rows = 0;
    let fault = |line, what| BlockFault { line, what };
    while reader.skip_blank_lines() {
        let line = reader.lines + 1;
        let mut found = 0;
        for (index, sink) in sinks.iter_mut().enumerate() {
            // Nearly all cells of a large table are plain numbers; the rest goes the long way.
            let number = match sink {
                Sink::Guess(_) | Sink::Number(_) => reader.plain_number(),
                _ => None,
            };
            match (sink, number) {
                (Sink::Guess(values) | Sink::Number(values), Some(number)) => values.push(number),
                (sink, _) => sink
                    .take(&mut reader, index + 1)
                    .map_err(|what| fault(line, what))?,
            }
            found += 1;
            if reader.ends_record() {
                break;
            }
        }
        while !reader.ended_record {
            reader.skip().map_err(|what| fault(line, what))?;
            found += 1;
            reader.ends_record();
        }
        if found != wants.len() {
            let expected = wants.len();
            return Err(fault(line, Fault::Ragged { expected, found }));
        }
        rows += 1;
    }
    let failed = sinks.iter().enumerate();
    let failed = failed.filter(|(_, sink)| matches!(sink, Sink::Failed));
    Ok(Piece {
        rows,
        lines: reader.lines,
        failed: failed.map(|(index, _)| index).collect(),
        columns: sinks.into_iter().map(Sink::into_cells).collect(),
    })
}

/// Where the cells of one column go.
enum Sink {
    Skip,
    /// A guess that was wrong.
    Failed,
    Guess(Vec<f64>),
    Number(Vec<f64>),
    Text(Texts),
    NumberName(Texts),
}

impl Sink {
    fn new(want: Want, rows_likely: usize) -> Sink {
        match want {
            Want::Skip => Sink::Skip,
            Want::Guess => Sink::Guess(Vec::with_capacity(rows_likely)),
            Want::Number => Sink::Number(Vec::with_capacity(rows_likely)),
            Want::Text => Sink::Text(Texts::default()),
            Want::NumberName => Sink::NumberName(Texts::default()),
        }
    }

    fn take(&mut self, reader: &mut CellReader<'_>, position: usize) -> Result<(), Fault> {
        match self {
            Sink::Skip | Sink::Failed => reader.skip(),
            Sink::Guess(values) => {
                match number_of(&reader.cell(position)?) {
                    Some(value) => values.push(value),
                    None => *self = Sink::Failed,
                }
                Ok(())
            }
            Sink::Number(values) => {
                values.push(number_or_unfit(&reader.cell(position)?));
                Ok(())
            }
            Sink::Text(texts) => {
                let cell = reader.cell(position)?;
                // Words such as `none` may be what a text says; where they name no value, whoever asks drops them.
                texts.push((!is_blank(&cell)).then_some(&cell));
                Ok(())
            }
            Sink::NumberName(texts) => {
                let cell = reader.cell(position)?;
                texts.push((!is_missing(&cell)).then(|| number_name(&cell)).as_deref());
                Ok(())
            }
        }
    }

    fn into_cells(self) -> Option<Cells> {
        match self {
            Sink::Skip | Sink::Failed => None,
            Sink::Guess(values) | Sink::Number(values) => Some(Cells::Numbers(values)),
            Sink::Text(texts) | Sink::NumberName(texts) => Some(Cells::Texts(texts)),
        }
    }
}

/// A cell as a number, NaN where missing; nothing when it is text.
fn number_of(cell: &str) -> Option<f64> {
    let cell = cell.trim();
    if is_missing(cell) {
        return Some(f64::NAN);
    }
    if names_something(cell) {
        return None;
    }
    cell.parse().ok()
}

/// Digits that are a name and no quantity: zeros in front, or more digits than a double keeps.
fn names_something(cell: &str) -> bool {
    const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;
    let digits = cell.strip_prefix(['-', '+']).unwrap_or(cell).as_bytes();
    match digits {
        [b'0', b'0'..=b'9', ..] => true,
        _ if digits.len() > 15 && digits.iter().all(u8::is_ascii_digit) => {
            !cell.parse::<u64>().is_ok_and(|whole| whole <= EXACT_MAX)
        }
        _ => false,
    }
}

/// Walks the cells of a block.
struct CellReader<'b> {
    text: &'b str,
    at: usize,
    separator: u8,
    /// Line ends passed.
    lines: u64,
    ended_record: bool,
}

const POWERS_OF_TEN: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

impl<'b> CellReader<'b> {
    fn new(text: &'b str, separator: u8) -> Self {
        CellReader {
            text,
            at: 0,
            separator,
            lines: 0,
            ended_record: true,
        }
    }

    /// Goes to the next record; false at the end.
    fn skip_blank_lines(&mut self) -> bool {
        self.ended_record = false;
        let bytes = self.text.as_bytes();
        loop {
            match &bytes[self.at.min(bytes.len())..] {
                [] => return false,
                [b'\n', ..] => self.at += 1,
                [b'\r', b'\n', ..] => self.at += 2,
                [b'\r'] => self.at += 1,
                _ => return true,
            }
            self.lines += 1;
        }
    }

    /// Steps over what ended the last cell; true when that was the end of the record.
    fn ends_record(&mut self) -> bool {
        self.ended_record = self.text.as_bytes().get(self.at) != Some(&self.separator);
        self.lines += u64::from(self.ended_record);
        self.at += 1;
        self.ended_record
    }

    /// A short plain number, or NaN for an empty cell; nothing is passed when the cell is anything else.
    #[inline(always)]
    fn plain_number(&mut self) -> Option<f64> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        if let Some(end) = self.end_at(start) {
            self.at = end;
            return Some(f64::NAN);
        }
        let first = start + usize::from(bytes[start] == b'-');
        let (mut mantissa, mut at) = (0u64, first);
        let mut take_digits = |at: &mut usize| {
            while let Some(digit) = bytes.get(*at).map(|byte| byte.wrapping_sub(b'0'))
                && digit < 10
            {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
                *at += 1;
            }
        };
        take_digits(&mut at);
        let whole = at - first;
        let mut fraction = 0;
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            take_digits(&mut at);
            fraction = at - first - whole - 1;
        }
        let has_leading_zero = whole > 1 && bytes[first] == b'0';
        let end = self.end_at(at)?;
        if whole == 0 || has_leading_zero {
            return None;
        }
        if whole + fraction <= 15 {
            // Both parts are exact in a double, so one division rounds right.
            let number = mantissa as f64 / POWERS_OF_TEN[fraction];
            self.at = end;
            return Some(if first > start { -number } else { number });
        }
        if fraction == 0 {
            return None;
        }
        let number = self.text[start..at].parse().ok()?;
        self.at = end;
        Some(number)
    }

    /// The place of the byte that ends a cell, if the cell ends here.
    #[inline]
    fn end_at(&self, at: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        match bytes.get(at) {
            None => Some(bytes.len()),
            Some(&byte) if byte == self.separator || byte == b'\n' => Some(at),
            Some(b'\r') => match bytes.get(at + 1) {
                Some(b'\n') => Some(at + 1),
                None => Some(at + 1),
                Some(_) => None,
            },
            Some(_) => None,
        }
    }

    /// The next cell's text.
    fn cell(&mut self, position: usize) -> Result<Cow<'b, str>, Fault> {
        let cell = match self.text.as_bytes().get(self.at) {
            Some(b'"') => self.quoted_cell()?,
            _ => Cow::Borrowed(self.plain_cell()),
        };
        if cell.len() > FIELD_BYTES_MAX {
            let limit_bytes = FIELD_BYTES_MAX;
            return Err(Fault::FieldTooLong {
                position,
                limit_bytes,
            });
        }
        Ok(cell)
    }

    fn skip(&mut self) -> Result<(), Fault> {
        match self.text.as_bytes().get(self.at) {
            Some(b'"') => self.quoted_cell().map(|_| ()),
            _ => {
                self.plain_cell();
                Ok(())
            }
        }
    }

    fn plain_cell(&mut self) -> &'b str {
        const SHORT: usize = 16;
        let bytes = self.text.as_bytes();
        let start = self.at.min(bytes.len());
        let near = (start + SHORT).min(bytes.len());
        let ends = |byte: &u8| *byte == self.separator || *byte == b'\n';
        let end = match bytes[start..near].iter().position(ends) {
            Some(length) => start + length,
            None => memchr::memchr2(self.separator, b'\n', &bytes[near..])
                .map_or(bytes.len(), |length| near + length),
        };
        self.at = end;
        let cell = &self.text[start..end];
        if bytes.get(end) == Some(&self.separator) {
            cell
        } else {
            cell.strip_suffix('\r').unwrap_or(cell)
        }
    }

    /// Text after the closing quote belongs to the cell, as other readers have it.
    fn quoted_cell(&mut self) -> Result<Cow<'b, str>, Fault> {
        let start = self.at + 1;
        let close = closing_quote(self.text.as_bytes(), start).ok_or(Fault::OpenQuote)?;
        let inner = &self.text[start..close];
        self.lines += count_lines(inner.as_bytes());
        self.at = close + 1;
        let rest = self.plain_cell();
        if rest.is_empty() && !inner.contains('"') {
            return Ok(Cow::Borrowed(inner));
        }
        Ok(Cow::Owned(inner.replace("\"\"", "\"") + rest))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, shown, streamed, told};
    use super::*;
    use arrow_array::Array;
    use arrow_schema::DataType;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(name: &str, bytes: &[u8], block_bytes: usize) -> Result<Table, ReadError> {
        let (_folder, spec) = file(name, bytes);
        let source = CsvSource {
            block_bytes,
            ..CsvSource::new(&spec)
        };
        source.read_all()
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(told("a.csv", text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn the_same_table_is_read_from_every_way_of_writing_it() {
        let expected = r#"[("a", [Some("1"), Some("2.5"), None]), ("b", [Some("x,y"), Some("line\nbreak \"q\""), Some("z")])]"#;
        let plain = "a,b\n1,\"x,y\"\n2.5,\"line\nbreak \"\"q\"\"\"\nNA,z\n";
        check(plain, expected);
        check(plain.trim_end(), expected);
        check(&format!("\u{feff}{plain}"), expected);
        check(
            &format!("\n\n{}", plain.replace("2.5,", "\n2.5,")),
            expected,
        );
        let windows = "a,b\r\n1,\"x,y\"\r\n2.5,\"line\nbreak \"\"q\"\"\"\r\nNA,z\r\n";
        check(windows, expected);
        assert_eq!(told("a.csv.gz", &gzipped(plain.as_bytes())), expected);
        assert_eq!(told("a.csv", &gzipped(plain.as_bytes())), expected);
        let other = |separator| {
            plain
                .replace("x,y", "x\u{1}y")
                .replace(',', separator)
                .replace('\u{1}', ",")
        };
        check(&other(";"), expected);
        assert_eq!(told("a.tsv", other("\t").as_bytes()), expected);
        assert_eq!(told("a.txt", other("\t").as_bytes()), expected);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        for (text, expected) in [
            (&b""[..], "a.csv is empty"),
            (b"\xef\xbb\xbf", "a.csv is empty"),
            (b"\n \n", "a.csv is empty"),
            (b"a,b\n", "a.csv has a header but no rows"),
            (
                b"a,b\n1,2\n\n1,2,3\n",
                "a.csv, line 4: 3 fields where the header has 2",
            ),
            (
                b"a,b\n\"1\n\",2\n1\n",
                "a.csv, line 4: 1 fields where the header has 2",
            ),
            (
                b"a,b,a\n",
                "a.csv: columns 1 and 3 of the header are both named \"a\"",
            ),
            (b",b\n0,1\n", "a.csv: column 1 of the header has no name"),
            (
                b"a,b\n1,2\n3,\"4\n",
                "a.csv, line 3: a quote is opened in this record and never closed",
            ),
            (
                b"a,b\n1,2\n3,M\xfcller\n",
                "a.csv, line 3: byte 12 of the file is not valid UTF-8",
            ),
            (
                b"\xff\xfea\0,\0b\0\n\0",
                "a.csv is encoded as UTF-16LE, not as UTF-8",
            ),
            (
                b"a\0,\0b\0\n\0",
                "a.csv is encoded as UTF-16LE, not as UTF-8",
            ),
            (
                b"PK\x03\x04....",
                "a.csv is a zip archive or an Excel workbook, not csv",
            ),
            (
                b"a,b\r1,2\r",
                "a.csv: the lines end in a carriage return alone",
            ),
        ] {
            assert_eq!(told("a.csv", text), expected);
        }
        let cut = gzipped(b"a,b\n1,2\n");
        let cut = &cut[..cut.len() - 4];
        assert_eq!(
            told("a.csv.gz", cut),
            "a.csv.gz: the compressed data is damaged or cut short"
        );
    }

    #[test]
    fn lengths_have_limits_with_names() {
        let long = "x".repeat(FIELD_BYTES_MAX + 1);
        let error = read("a.csv", format!("a,b\n1,{long}\n").as_bytes(), BLOCK_BYTES);
        assert!(matches!(
            error,
            Err(ReadError::FieldTooLong {
                line: 2,
                position: 2,
                ..
            })
        ));
        let swallowed = format!("a,b\n1,\"{}\n", "1,2\n".repeat(5 << 20));
        let error = read("a.csv", swallowed.as_bytes(), BLOCK_BYTES);
        assert!(matches!(
            error,
            Err(ReadError::RecordTooLong { line: 2, .. })
        ));
    }

    #[test]
    fn a_column_is_numbers_only_when_every_cell_is() {
        let text = "n,zip,big,inf,exp,sign,word,none,comma,quoted\n\
            1,007,12345678901234567890,inf,1e5,+1, x,,\"1,5\",\"1\"\n\
            -2.50,100,1,2,.5,-1,2,NaN,2,\" 2 \"\n";
        let table = read("a.csv", text.as_bytes(), BLOCK_BYTES).unwrap();
        let is_number: Vec<bool> = table
            .batch
            .columns()
            .iter()
            .map(|array| array.data_type() == &DataType::Float64)
            .collect();
        let expected = [
            true, false, false, true, true, true, false, true, false, true,
        ];
        assert_eq!(is_number, expected);
        let columns = shown(&table.batch);
        assert_eq!(columns[0].1[1].as_deref(), Some("-2.5"));
        assert_eq!(columns[1].1[0].as_deref(), Some("007"));
        assert_eq!(columns[2].1[0].as_deref(), Some("12345678901234567890"));
        assert_eq!(columns[3].1[0].as_deref(), Some("inf"));
        assert_eq!(table.batch.column(7).null_count(), 2);
    }

    #[test]
    fn a_late_text_does_not_cost_the_texts_before_it() {
        let mut text = String::from("a,b\n");
        (0..500).for_each(|i| text.push_str(&format!("{i}.50,{i}\n")));
        text.push_str("x,1\n");
        let table = read("a.csv", text.as_bytes(), 64).unwrap();
        let columns = shown(&table.batch);
        assert_eq!(columns[0].1[7].as_deref(), Some("7.50"));
        assert_eq!(columns[0].1[500].as_deref(), Some("x"));
        assert_eq!(columns[1].1[7].as_deref(), Some("7"));
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let mut text = String::from("a,b,c\n");
        for i in 0..20_000 {
            let code = if i == 15_000 {
                "x".to_owned()
            } else {
                format!("{}", i % 90)
            };
            text.push_str(&format!("{},{code},t{}\n", f64::from(i) / 7.0, i % 3000));
        }
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| read("a.csv", text.as_bytes(), 4 << 10))
                .unwrap()
        };
        let (one, four) = (with_threads(1), with_threads(4));
        assert_eq!(one.batch, four.batch);
        assert_eq!(one.fingerprint, four.fingerprint);
    }

    #[test]
    fn a_stream_gives_what_is_wanted_as_it_is_wanted() {
        let (_folder, spec) = file(
            "a.csv",
            b"id,n,code,skip\n01,1,1.0,x\n02,oops,2,x\n03,,x,x\n",
        );
        let source = CsvSource::new(&spec);
        let mut hints = Hints::default();
        hints.want("id", RawKind::Text);
        hints.want("n", RawKind::Number);
        hints.want("code", RawKind::NumberName);
        let batches = streamed(&source, &hints, 2).unwrap();
        let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [2, 1]);
        let first = format!("{:?}", shown(&batches[0]));
        assert_eq!(
            first,
            r#"[("id", [Some("01"), Some("02")]), ("n", [Some("1"), Some("inf")]), ("code", [Some("1"), Some("2")])]"#
        );
        assert_eq!(source.meter().rows(), 3);
        assert_eq!(
            source.meter().fingerprint(),
            Some(source.read_all().unwrap().fingerprint)
        );
    }

    #[test]
    fn a_stream_may_be_left_before_its_end() {
        let text = format!("a\n{}", "1\n".repeat(100_000));
        let (_folder, spec) = file("a.csv", text.as_bytes());
        let source = CsvSource {
            block_bytes: 1 << 10,
            ..CsvSource::new(&spec)
        };
        let mut hints = Hints::default();
        hints.want("a", RawKind::Number);
        let mut batches = source.stream(&hints, 10).unwrap();
        assert_eq!(batches.next().unwrap().unwrap().num_rows(), 10);
    }

    fn cell() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9]{1,4}",
            "-?[0-9]{1,3}\\.[0-9]{1,17}",
            "[a-z ]{0,5}",
            Just("NA".to_owned()),
            Just("0.0".to_owned()),
            "[a-c\",\n;\r ]{0,6}",
        ]
    }

    fn written(rows: &[Vec<String>]) -> String {
        let quoted = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
        let field = |cell: &String| {
            let is_plain = !cell.contains(['"', ',', '\n', '\r']);
            if is_plain { cell.clone() } else { quoted(cell) }
        };
        let line = |row: &Vec<String>| row.iter().map(field).collect::<Vec<_>>().join(",");
        let lines: Vec<String> = rows.iter().map(line).collect();
        format!("a,b,c\n{}\n", lines.join("\n"))
    }

    /// Each read has a folder of its own.
    fn without_folder(error: &ReadError) -> String {
        let text = error.to_string();
        text.rsplit('/').next().unwrap_or_default().to_owned()
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), block in 1usize..64) {
            let _ = read("a.csv", &bytes, block);
        }

        #[test]
        fn no_likely_bytes_make_it_panic(text in "[a0\"\"\",,\n\n\r.-]{0,120}", block in 1usize..64) {
            let _ = read("a.csv", text.as_bytes(), block);
        }

        #[test]
        fn the_cut_into_blocks_changes_nothing(text in "[a01\"\",,\n\n\r.-]{0,80}", block in 1usize..40) {
            let shown = |table: Result<Table, ReadError>| match table {
                Ok(table) => format!("{:?}", shown(&table.batch)),
                Err(error) => without_folder(&error),
            };
            let text = format!("a,b\n1,2\n{text}");
            let whole = shown(read("a.csv", text.as_bytes(), BLOCK_BYTES));
            prop_assert_eq!(shown(read("a.csv", text.as_bytes(), block)), whole);
        }

        #[test]
        fn every_cell_comes_back(
            rows in proptest::collection::vec(proptest::collection::vec(cell(), 3), 1..20),
            block in 1usize..200,
        ) {
            let (_folder, spec) = file("a.csv", written(&rows).as_bytes());
            let source = CsvSource { block_bytes: block, ..CsvSource::new(&spec) };
            let mut hints = Hints::default();
            ["a", "b", "c"].iter().for_each(|name| hints.want(name, RawKind::Text));
            let mut columns = vec![Vec::new(); 3];
            for batch in streamed(&source, &hints, 7).unwrap() {
                for (column, (_, cells)) in columns.iter_mut().zip(shown(&batch)) {
                    column.extend(cells);
                }
            }
            for (index, column) in columns.iter().enumerate() {
                for (row, cell) in rows.iter().zip(column) {
                    let expected = (!is_blank(&row[index])).then(|| row[index].clone());
                    prop_assert_eq!(cell, &expected);
                }
                prop_assert_eq!(column.len(), rows.len());
            }
        }

        #[test]
        fn a_plain_number_is_the_number_rust_reads(text in "-?[0-9]{1,20}(\\.[0-9]{0,20})?") {
            let mut reader = CellReader::new(&text, b',');
            if let Some(number) = reader.plain_number() {
                prop_assert_eq!(number.to_bits(), text.parse::<f64>().unwrap().to_bits());
                prop_assert_eq!(reader.at, text.len());
            }
        }
    }
}
