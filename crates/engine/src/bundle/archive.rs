//! Packs a bundle into one `.tar.gz`, always the same bytes for the same files, and unpacks such packages.
//!
//! Packages come from strangers and are unpacked before their digests can be checked, so the reader takes
//! the narrow road: one gzip member, plain files with safe names, everything counted before it is kept. It
//! walks the blocks itself, because a general reader holds extension headers of any size in memory and
//! takes a missing end for the end. Content is checked afterwards by [`crate::bundle::folder::check_files`].

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header, PaxExtensions};

use super::digest::capacity_for;
use super::path_name::{PathName, PathNameError};
use super::staging::PLAIN_MODE;
use super::{Files, Limits};

/// Why a package was not unpacked. What was unpacked before is thrown away.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the package cannot be read")]
    Read(#[source] io::Error),
    #[error("the package is not gzip-compressed, or damaged")]
    Damaged(#[source] io::Error),
    #[error("the package ends too early: it was cut off")]
    Truncated,
    #[error("the package goes on after its end")]
    TrailingData,
    #[error("the package is malformed: {part}")]
    Malformed { part: &'static str },
    #[error("the package has an {0}")]
    UnsafeName(#[from] PathNameError),
    #[error("{path:?} is a {kind}; a package holds only regular files")]
    NotRegular { path: String, kind: &'static str },
    #[error("\"{path}\" is in the package twice")]
    Duplicate { path: PathName },
    #[error("\"{path}\" has {bytes} bytes, allowed are {bytes_max}")]
    FileTooLarge {
        path: PathName,
        bytes: u64,
        bytes_max: u64,
    },
    #[error("the files together have more than the allowed {bytes_max} bytes")]
    TotalTooLarge { bytes_max: u64 },
    #[error("more than {files_max} files")]
    TooManyFiles { files_max: usize },
    #[error(
        "the package expands more than {} times: a decompression bomb",
        EXPANSION_MAX
    )]
    Bomb,
}

/// Models compress two- to twentyfold; deflate can reach 1,032.
pub const EXPANSION_MAX: u64 = 200;

/// Below this much output the expansion is not judged: a small baseline full of zeros is no attack.
const EXPANSION_FREE_BYTES: u64 = 16 << 20;

/// The unit of a tar file.
const BLOCK_BYTES: usize = 512;
/// Above any [`PathName`]; a longer name is refused by its size already.
const LONG_NAME_BYTES_MAX: u64 = 4096;
/// Names, times and owners of one file take a few hundred bytes.
const PAX_BYTES_MAX: u64 = 64 * 1024;
/// A file has at most a folder, a long name and an extension header with it.
const HEADERS_PER_FILE_MAX: usize = 4;
/// Zeros after the end; tar pads to 10 KiB, other writers to more.
const PADDING_BYTES_MAX: usize = 1 << 20;
const CHUNK_BYTES: usize = 64 * 1024;

/// Writes the files as `.tar.gz`: sorted, owned by nobody, without times.
///
/// The bytes depend on the files and on the version of the compressor, on nothing else.
pub fn pack<W: Write>(files: &Files, writer: W) -> io::Result<W> {
    let level = Compression::new(6);
    let encoder = GzBuilder::new().mtime(0).write(writer, level);
    let mut archive = Builder::new(encoder);
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(PLAIN_MODE);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name.as_str(), &content[..])?;
    }
    archive.into_inner()?.finish()
}

/// Reads a whole `.tar.gz` into memory, or refuses it.
///
/// Memory follows what really came, at most twice the limits' total plus a constant, whatever the package claims.
pub fn unpack(reader: impl Read, limits: &Limits) -> Result<Files, ArchiveError> {
    let mut files = Files::new();
    unpack_each(reader, limits, |name, bytes, blocks| {
        let mut content = Vec::with_capacity(capacity_for(bytes));
        blocks.read_each(bytes, |chunk| content.extend_from_slice(chunk))?;
        files.insert(name, content);
        Ok(())
    })?;
    Ok(files)
}

/// Walks the package and hands each file's name, size and content to `receive`, which reads exactly that size.
fn unpack_each<R: Read>(
    reader: R,
    limits: &Limits,
    mut receive: impl FnMut(PathName, u64, &mut Blocks<R>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let mut blocks = Blocks::new(reader);
    let mut budget = Budget::new(limits);
    let mut long_name = None;
    while let Some(header) = blocks.next_header()? {
        budget.take_header()?;
        let bytes = header
            .entry_size()
            .map_err(|_| malformed("a size is no number"))?;
        match header.entry_type() {
            EntryType::GNULongName => {
                let name = blocks.read_small(bytes, LONG_NAME_BYTES_MAX)?;
                set_once(&mut long_name, until_nul(name))?;
            }
            EntryType::XHeader => {
                let records = blocks.read_small(bytes, PAX_BYTES_MAX)?;
                if let Some(name) = name_in_pax(&records)? {
                    set_once(&mut long_name, name)?;
                }
            }
            EntryType::Directory => {
                let name = long_name
                    .take()
                    .unwrap_or_else(|| header.path_bytes().into_owned());
                check_folder(&name, bytes)?;
            }
            EntryType::Regular => {
                let name = long_name
                    .take()
                    .unwrap_or_else(|| header.path_bytes().into_owned());
                let name = PathName::from_bytes(without_dot(&name))?;
                budget.take_file(&name, bytes)?;
                receive(name, bytes, &mut blocks)?;
                blocks.skip_padding(bytes)?;
            }
            other => return Err(not_regular(&header, other)),
        }
    }
    if long_name.is_some() {
        return Err(malformed("a name without a file"));
    }
    blocks.finish()
}

/// What is still allowed; asked before anything is read.
struct Budget<'a> {
    limits: &'a Limits,
    headers: usize,
    total_bytes: u64,
    seen: BTreeSet<PathName>,
}

impl<'a> Budget<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            headers: 0,
            total_bytes: 0,
            seen: BTreeSet::new(),
        }
    }

    fn take_header(&mut self) -> Result<(), ArchiveError> {
        self.headers += 1;
        let files_max = self.limits.files_max;
        if self.headers > files_max.saturating_mul(HEADERS_PER_FILE_MAX) {
            return Err(ArchiveError::TooManyFiles { files_max });
        }
        Ok(())
    }

    fn take_file(&mut self, path: &PathName, bytes: u64) -> Result<(), ArchiveError> {
        let Limits {
            files_max,
            file_bytes_max,
            total_bytes_max,
        } = *self.limits;
        self.total_bytes = self.total_bytes.saturating_add(bytes);
        let path = path.clone();
        if bytes > file_bytes_max {
            let bytes_max = file_bytes_max;
            return Err(ArchiveError::FileTooLarge {
                path,
                bytes,
                bytes_max,
            });
        }
        if self.total_bytes > total_bytes_max {
            let bytes_max = total_bytes_max;
            return Err(ArchiveError::TotalTooLarge { bytes_max });
        }
        if !self.seen.insert(path.clone()) {
            return Err(ArchiveError::Duplicate { path });
        }
        if self.seen.len() > files_max {
            return Err(ArchiveError::TooManyFiles { files_max });
        }
        Ok(())
    }
}

/// The decompressed blocks of a package, counted against what was read to make them.
struct Blocks<R> {
    decoder: GzDecoder<Counted<BufReader<R>>>,
    bytes: u64,
    chunk: Box<[u8; CHUNK_BYTES]>,
}

impl<R: Read> Blocks<R> {
    fn new(reader: R) -> Self {
        let inner = BufReader::with_capacity(CHUNK_BYTES, reader);
        Self {
            decoder: GzDecoder::new(Counted { inner, bytes: 0 }),
            bytes: 0,
            chunk: Box::new([0; CHUNK_BYTES]),
        }
    }

    /// The next header with a right checksum, or `None` at the end that two empty blocks mark.
    fn next_header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut header = Header::new_old();
        self.fill(header.as_mut_bytes())?;
        if header.as_bytes().iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        if header.cksum().ok() != Some(checksum(header.as_bytes())) {
            return Err(malformed("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    /// Reads exactly `bytes`, chunk by chunk.
    fn read_each(&mut self, bytes: u64, mut keep: impl FnMut(&[u8])) -> Result<(), ArchiveError> {
        let mut left = bytes;
        while left > 0 {
            let wanted = left.min(CHUNK_BYTES as u64) as usize;
            let read = self.read_chunk(wanted)?;
            if read == 0 {
                return Err(ArchiveError::Truncated);
            }
            keep(&self.chunk[..read]);
            left -= read as u64;
        }
        Ok(())
    }

    /// Reads an extension's content with its padding, refused beyond `bytes_max` before it is read.
    fn read_small(&mut self, bytes: u64, bytes_max: u64) -> Result<Vec<u8>, ArchiveError> {
        if bytes > bytes_max {
            return Err(malformed("an extension header is too large"));
        }
        let mut content = Vec::new();
        self.read_each(bytes, |chunk| content.extend_from_slice(chunk))?;
        self.skip_padding(bytes)?;
        Ok(content)
    }

    fn skip_padding(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        let block_bytes = BLOCK_BYTES as u64;
        let padding = (block_bytes - bytes % block_bytes) % block_bytes;
        self.read_each(padding, |_| ())
    }

    /// Makes sure that nothing but padding follows the first empty block, in the tar and in the file.
    fn finish(mut self) -> Result<(), ArchiveError> {
        let mut second = [0; BLOCK_BYTES];
        self.fill(&mut second)?;
        let mut is_zero = second.iter().all(|&byte| byte == 0);
        let mut padding = 0;
        while is_zero {
            let read = self.read_chunk(CHUNK_BYTES)?;
            if read == 0 {
                return self.finish_file();
            }
            padding += read;
            is_zero = padding <= PADDING_BYTES_MAX && self.chunk[..read].iter().all(|&b| b == 0);
        }
        Err(ArchiveError::TrailingData)
    }

    fn finish_file(self) -> Result<(), ArchiveError> {
        let mut rest = self.decoder.into_inner();
        match rest.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(ArchiveError::TrailingData),
            Err(error) => Err(ArchiveError::Read(error)),
        }
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), ArchiveError> {
        while !buffer.is_empty() {
            let read = self.read_chunk(buffer.len().min(CHUNK_BYTES))?;
            if read == 0 {
                return Err(ArchiveError::Truncated);
            }
            let (filled, rest) = buffer.split_at_mut(read);
            filled.copy_from_slice(&self.chunk[..read]);
            buffer = rest;
        }
        Ok(())
    }

    /// The one place where bytes come in: reads at most `wanted` into the chunk and judges the expansion.
    fn read_chunk(&mut self, wanted: usize) -> Result<usize, ArchiveError> {
        let read = loop {
            match self.decoder.read(&mut self.chunk[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => break read.map_err(classify)?,
            }
        };
        self.bytes = self.bytes.saturating_add(read as u64);
        let allowed = self.decoder.get_ref().bytes.saturating_mul(EXPANSION_MAX);
        if self.bytes > allowed.max(EXPANSION_FREE_BYTES) {
            return Err(ArchiveError::Bomb);
        }
        Ok(read)
    }
}

/// Counts what the decompressor takes.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes = self.bytes.saturating_add(read as u64);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.bytes = self.bytes.saturating_add(amount as u64);
        self.inner.consume(amount);
    }
}

fn classify(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => ArchiveError::Damaged(error),
        _ => ArchiveError::Read(error),
    }
}

/// The sum of a header's bytes, its own field counted as spaces.
fn checksum(header: &[u8; BLOCK_BYTES]) -> u32 {
    const FIELD: std::ops::Range<usize> = 148..156;
    let value = |(at, &byte): (usize, &u8)| match FIELD.contains(&at) {
        true => u32::from(b' '),
        false => u32::from(byte),
    };
    header.iter().enumerate().map(value).sum()
}

/// The name in a pax header. Times and owners are passed over; what would change a file's content is refused.
fn name_in_pax(records: &[u8]) -> Result<Option<Vec<u8>>, ArchiveError> {
    let mut name = None;
    for record in PaxExtensions::new(records) {
        let record = record.map_err(|_| malformed("a pax record is broken"))?;
        match record.key_bytes() {
            b"path" => set_once(&mut name, record.value_bytes().to_vec())?,
            b"size" | b"linkpath" | b"hdrcharset" => {
                return Err(malformed("a pax record has no place here"));
            }
            key if key.starts_with(b"GNU.sparse.") => return Err(malformed("a file is sparse")),
            _ => {}
        }
    }
    Ok(name)
}

fn set_once(name: &mut Option<Vec<u8>>, value: Vec<u8>) -> Result<(), ArchiveError> {
    match name.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed("two names for one file")),
    }
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|&byte| byte == 0);
    name.truncate(end.unwrap_or(name.len()));
    name
}

/// `tar -C folder .` writes `./` before each name.
fn without_dot(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"./").unwrap_or(name)
}

/// Folders carry nothing we keep, but an unsafe one betrays the package.
fn check_folder(name: &[u8], bytes: u64) -> Result<(), ArchiveError> {
    if bytes > 0 {
        return Err(malformed("a folder has content"));
    }
    let name = name.strip_suffix(b"/").unwrap_or(name);
    if name != b"." {
        PathName::from_bytes(without_dot(name))?;
    }
    Ok(())
}

fn not_regular(header: &Header, kind: EntryType) -> ArchiveError {
    const SHOWN_CHARS_MAX: usize = 80;
    let path = String::from_utf8_lossy(&header.path_bytes()).into_owned();
    ArchiveError::NotRegular {
        path: path.chars().take(SHOWN_CHARS_MAX).collect(),
        kind: match kind {
            EntryType::Symlink => "symbolic link",
            EntryType::Link => "hard link",
            EntryType::Fifo => "pipe",
            EntryType::Char | EntryType::Block => "device",
            EntryType::GNUSparse => "sparse file",
            EntryType::XGlobalHeader => "global header",
            _ => "special entry",
        },
    }
}

fn malformed(part: &'static str) -> ArchiveError {
    ArchiveError::Malformed { part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    const SMALL: Limits = Limits {
        files_max: 4,
        file_bytes_max: 100_000,
        total_bytes_max: 150_000,
    };

    fn files(contents: &[(&str, &[u8])]) -> Files {
        let file =
            |(name, content): &(&str, &[u8])| (name.parse().expect("safe"), content.to_vec());
        contents.iter().map(file).collect()
    }

    fn bundle() -> Files {
        files(&[
            ("manifest.json", b"{}"),
            ("card.md", b"a card"),
            ("encoder/v.json", &[7; 5_000]),
        ])
    }

    fn packed(files: &Files) -> Vec<u8> {
        pack(files, Vec::new()).expect("memory takes all")
    }

    fn zip(bytes: &[u8]) -> Vec<u8> {
        zip_at(Compression::fast(), bytes)
    }

    fn zip_at(level: Compression, bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), level);
        encoder.write_all(bytes).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    }

    /// A tar entry as a stranger may write it: any name, any kind, any size.
    fn entry_claiming(name: &[u8], kind: EntryType, bytes: u64, content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(bytes);
        header.set_cksum();
        let mut entry = header.as_bytes().to_vec();
        entry.extend_from_slice(content);
        entry.resize(entry.len().next_multiple_of(BLOCK_BYTES), 0);
        entry
    }

    fn entry(name: &[u8], kind: EntryType, content: &[u8]) -> Vec<u8> {
        entry_claiming(name, kind, content.len() as u64, content)
    }

    fn file(name: &[u8], content: &[u8]) -> Vec<u8> {
        entry(name, EntryType::Regular, content)
    }

    /// The entries, the end mark, and gzip around it.
    fn package(entries: &[Vec<u8>]) -> Vec<u8> {
        zip(&[&entries.concat()[..], &[0; 2 * BLOCK_BYTES]].concat())
    }

    fn pax(record: &str) -> Vec<u8> {
        let bytes = (2..).find(|&n: &usize| n == record.len() + 2 + n.to_string().len());
        let record = format!("{} {record}\n", bytes.expect("some length fits"));
        entry(b"pax", EntryType::XHeader, record.as_bytes())
    }

    fn unpacked(package: &[u8]) -> Result<Files, ArchiveError> {
        unpack(package, &SMALL)
    }

    fn check(package: &[u8], said: &str) {
        let message = unpacked(package).expect_err("refused").to_string();
        assert!(message.contains(said), "{message:?} does not say {said:?}");
    }

    #[test]
    fn a_package_returns_its_files() {
        assert_eq!(unpacked(&packed(&bundle())).expect("our own"), bundle());
        assert_eq!(
            unpacked(&packed(&Files::new())).expect("our own"),
            Files::new()
        );
    }

    #[test]
    fn a_package_is_the_same_bytes_each_time_and_carries_no_time_or_owner() {
        let package = packed(&bundle());
        assert_eq!(package, packed(&bundle()));
        assert_eq!(
            package[3..8],
            [0; 5],
            "no file name and no time in the gzip header"
        );
        let mut blocks = Blocks::new(&package[..]);
        let header = blocks.next_header().expect("our own").expect("an entry");
        assert_eq!(&*header.path_bytes(), b"card.md", "sorted");
        assert_eq!(header.mtime().ok(), Some(0));
        assert_eq!((header.uid().ok(), header.gid().ok()), (Some(0), Some(0)));
        assert_eq!(header.mode().ok(), Some(0o644));
    }

    #[test]
    fn the_longest_names_survive() {
        let name = ["n".repeat(127), "m".repeat(127)].join("/");
        let files = files(&[(&name, b"content")]);
        assert_eq!(unpacked(&packed(&files)).expect("our own"), files);
    }

    #[test]
    fn what_stock_tar_writes_is_taken() {
        let expected = files(&[("a/card.md", b"x")]);
        let folders = [
            entry(b"./", EntryType::Directory, b""),
            entry(b"./a/", EntryType::Directory, b""),
        ];
        let plain = [&folders[..], &[file(b"./a/card.md", b"x")]].concat();
        assert_eq!(unpacked(&package(&plain)).expect("GNU tar"), expected);
        let posix = [pax("mtime=1.5"), file(b"a/card.md", b"x")];
        assert_eq!(unpacked(&package(&posix)).expect("pax"), expected);
        let named = [pax("path=a/card.md"), file(b"short", b"x")];
        assert_eq!(unpacked(&package(&named)).expect("pax"), expected);
        let long = [
            entry(b"././@LongLink", EntryType::GNULongName, b"a/card.md\0"),
            file(b"short", b"x"),
        ];
        assert_eq!(unpacked(&package(&long)).expect("GNU"), expected);
        let padded = zip(&[&file(b"a/card.md", b"x")[..], &[0; 20 * BLOCK_BYTES]].concat());
        assert_eq!(unpacked(&padded).expect("padded"), expected);
    }

    #[test]
    fn a_name_that_leaves_is_refused_however_it_is_written() {
        for name in [
            &b"/etc/passwd"[..],
            b"../x",
            b"a/../../x",
            b"././x",
            b"a\\..\\x",
            b"C:x",
            b".git/x",
            b"\xff",
            b"a/",
        ] {
            check(&package(&[file(name, b"x")]), "unsafe file name");
            let long = entry(b"l", EntryType::GNULongName, name);
            check(&package(&[long, file(b"short", b"x")]), "unsafe file name");
        }
        check(
            &package(&[pax("path=../x"), file(b"short", b"x")]),
            "unsafe file name",
        );
        check(
            &package(&[entry(b"../x/", EntryType::Directory, b"")]),
            "unsafe file name",
        );
    }

    #[test]
    fn links_and_devices_are_refused() {
        for (kind, said) in [
            (EntryType::Symlink, "is a symbolic link"),
            (EntryType::Link, "is a hard link"),
            (EntryType::Fifo, "is a pipe"),
            (EntryType::Char, "is a device"),
            (EntryType::Block, "is a device"),
            (EntryType::GNUSparse, "is a sparse file"),
            (EntryType::XGlobalHeader, "is a global header"),
            (EntryType::Continuous, "is a special entry"),
            (EntryType::GNULongLink, "is a special entry"),
        ] {
            check(&package(&[entry(b"x", kind, b"")]), said);
        }
    }

    #[test]
    fn a_file_that_comes_twice_is_refused() {
        check(
            &package(&[file(b"x", b"1"), file(b"x", b"2")]),
            "\"x\" is in the package twice",
        );
        check(&package(&[file(b"x", b"1"), file(b"./x", b"2")]), "twice");
        check(
            &package(&[file(b"x", b"1"), pax("path=x"), file(b"y", b"2")]),
            "twice",
        );
    }

    #[test]
    fn names_without_a_file_or_too_many_for_one_are_refused() {
        check(&package(&[pax("path=x")]), "a name without a file");
        check(
            &package(&[pax("path=x"), pax("path=y"), file(b"z", b"")]),
            "two names",
        );
        check(
            &package(&[entry(b"x", EntryType::XHeader, b"99 path=x\n")]),
            "a pax record is broken",
        );
        check(
            &package(&[pax("size=9"), file(b"z", b"")]),
            "has no place here",
        );
        check(
            &package(&[pax("GNU.sparse.major=1"), file(b"z", b"")]),
            "sparse",
        );
        check(
            &package(&[entry(b"x/", EntryType::Directory, b"1")]),
            "a folder has content",
        );
    }

    #[test]
    fn sizes_and_counts_beyond_the_limits_are_refused_before_reading() {
        let claim = |name: &[u8], bytes| entry_claiming(name, EntryType::Regular, bytes, b"");
        check(
            &zip(&claim(b"x", 100_001)),
            "\"x\" has 100001 bytes, allowed are 100000",
        );
        check(&zip(&claim(b"x", u64::MAX)), "allowed are 100000");
        check(
            &zip(&entry_claiming(b"x", EntryType::XHeader, 1 << 40, b"")),
            "too large",
        );
        check(
            &zip(&entry_claiming(b"x", EntryType::GNULongName, 1 << 40, b"")),
            "too large",
        );
        let whole = file(b"x", &[1; 100_000]);
        check(&zip(&[whole, claim(b"y", 50_001)].concat()), "together");
        let names = [b"a", b"b", b"c", b"d", b"e"];
        check(
            &package(&names.map(|name| file(name, b""))),
            "more than 4 files",
        );
        check(
            &package(&vec![entry(b"a/", EntryType::Directory, b""); 17]),
            "more than 4 files",
        );
    }

    #[test]
    fn a_decompression_bomb_is_left_early() {
        let bytes = 4 * EXPANSION_FREE_BYTES;
        let zeros = vec![0; bytes as usize];
        let entry = entry_claiming(b"x", EntryType::Regular, bytes, &zeros);
        // Which compressor is built in is decided with all of the house; at its fastest, one of them is too tame for this.
        let bomb = zip_at(Compression::best(), &entry);
        assert!(bomb.len() as u64 * EXPANSION_MAX < bytes, "it is one");
        let refused = unpack(&bomb[..], &Limits::default());
        assert!(matches!(refused, Err(ArchiveError::Bomb)));
    }

    #[test]
    fn a_cut_package_is_refused_wherever_it_is_cut() {
        let whole = packed(&bundle());
        for keep in 0..whole.len() {
            assert!(
                unpacked(&whole[..keep]).is_err(),
                "cut to {keep} of {}",
                whole.len()
            );
        }
        check(&whole[..whole.len() - 1], "cut off");
    }

    #[test]
    fn a_tar_without_its_end_is_refused() {
        let one = file(b"x", b"1");
        check(&zip(&one), "cut off");
        check(&zip(&[&one[..], &[0; BLOCK_BYTES]].concat()), "cut off");
        check(&zip(&one[..600]), "cut off");
        check(&zip(b""), "cut off");
    }

    #[test]
    fn data_after_the_end_is_refused() {
        let end = [0; 2 * BLOCK_BYTES];
        let one = file(b"x", b"1");
        check(
            &[packed(&bundle()), vec![0]].concat(),
            "goes on after its end",
        );
        check(
            &[packed(&bundle()), packed(&bundle())].concat(),
            "goes on after its end",
        );
        check(
            &zip(&[&one[..], &end, &one].concat()),
            "goes on after its end",
        );
        check(
            &zip(&[&one[..], &end[BLOCK_BYTES..], &one].concat()),
            "goes on after its end",
        );
        check(
            &zip(&[&one[..], &vec![0; PADDING_BYTES_MAX + 8 * BLOCK_BYTES]].concat()),
            "goes on",
        );
    }

    #[test]
    fn what_is_no_package_is_refused() {
        check(b"PK\x03\x04 a zip file, and quite long enough", "not gzip");
        check(&zip(&[b'x'; 2048]), "checksum");
        let mut damaged = packed(&bundle());
        let crc = damaged.len() - 8;
        damaged[crc] ^= 1;
        check(&damaged, "damaged");
    }

    #[test]
    fn a_reader_that_fails_is_told_apart_from_a_bad_package() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        assert!(matches!(
            unpack(Failing, &SMALL),
            Err(ArchiveError::Read(_))
        ));
    }

    /// Whatever came out is within the limits; that nothing panicked is shown by being here.
    fn assert_bounded(result: Result<Files, ArchiveError>) -> Result<(), TestCaseError> {
        let Ok(files) = result else { return Ok(()) };
        let bytes: usize = files.values().map(Vec::len).sum();
        prop_assert!(files.len() <= SMALL.files_max && bytes as u64 <= SMALL.total_bytes_max);
        Ok(())
    }

    fn change(bytes: &mut [u8], changes: &[(f64, u8)]) {
        for &(at, byte) in changes {
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] = byte;
        }
    }

    fn changes() -> impl Strategy<Value = Vec<(f64, u8)>> {
        prop::collection::vec((0.0..1.0f64, any::<u8>()), 0..6)
    }

    proptest! {
        #[test]
        fn any_files_survive_packing(contents in prop::collection::btree_map("[a-z]{1,9}(/[a-z]{1,120}){0,2}", any::<Vec<u8>>(), 0..4)) {
            let files: Files = contents.into_iter().map(|(name, content)| (name.parse().expect("safe"), content)).collect();
            prop_assert_eq!(unpacked(&packed(&files)).expect("our own"), files);
        }

        #[test]
        fn arbitrary_bytes_are_answered_without_panic(bytes: Vec<u8>) {
            prop_assert!(unpacked(&bytes).is_err());
            assert_bounded(unpacked(&zip(&bytes)))?;
        }

        #[test]
        fn a_changed_package_never_returns_other_files(changes in changes()) {
            let mut package = packed(&bundle());
            change(&mut package, &changes);
            if let Ok(files) = unpacked(&package) {
                prop_assert_eq!(files, bundle(), "only bytes without meaning were changed");
            }
        }

        #[test]
        fn a_changed_tar_stays_within_the_limits(at in 0..512usize, byte: u8, changes in changes(), keep in 0.0..=1.0f64) {
            let mut header = Header::new_gnu();
            header.set_size(300);
            header.as_mut_bytes()[at] = byte;
            header.set_cksum();
            let long = entry(b"l", EntryType::GNULongName, b"model.forest\0");
            let mut tar = [&long[..], &pax("mtime=1"), header.as_bytes(), &[1; 512], &file(b"x", &[2; 700]), &[0; 1024]].concat();
            change(&mut tar, &changes);
            tar.truncate((keep * tar.len() as f64) as usize);
            assert_bounded(unpacked(&zip(&tar)))?;
        }
    }
}
