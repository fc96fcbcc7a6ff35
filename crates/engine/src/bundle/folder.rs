//! Reads a bundle's folder into memory, or refuses it with the file and the reason.
//!
//! Two steps, because the list of files is itself a file: [`read_unlisted`] brings the manifest and the
//! signature, [`read_folder`] everything, checked against the list. Give the manifest's own entry with the
//! list, made from the bytes that were parsed: then a manifest swapped between the steps is noticed.
//! Writing is [`crate::bundle::staging`]; who vouches for the list is [`crate::bundle::signature`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::digest::{FileEntry, MeasureError, digest_bytes, read_stream};
use super::path_name::PathName;
use super::{Files, Limits, SIGNATURE_FILE};
use ombud_core::Digest;

/// Why a folder, or the files of a package, are not the bundle that was expected.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{path:?} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path:?} is listed but missing")]
    Missing { path: String },
    #[error("{path:?} is in the bundle but not listed")]
    Unknown { path: String },
    #[error("{path:?} is a {kind}; a bundle holds only regular files")]
    NotRegular { path: String, kind: &'static str },
    #[error("{path:?} has {found} bytes, listed are {expected}")]
    SizeDiffers {
        path: String,
        expected: u64,
        found: u64,
    },
    #[error("{path:?} was changed: its SHA-256 is {found}, listed is {expected}")]
    DigestDiffers {
        path: String,
        expected: Digest,
        found: Digest,
    },
    #[error("{path:?} is listed twice")]
    ListedTwice { path: String },
    #[error("{path:?} must not be listed: it is the signature over the list")]
    SignatureListed { path: String },
    #[error("{files} files, allowed are {files_max}")]
    TooManyFiles { files: usize, files_max: usize },
    #[error("{path:?} has more than the allowed {bytes_max} bytes")]
    FileTooLarge { path: String, bytes_max: u64 },
    #[error("the files together have more than the allowed {bytes_max} bytes")]
    TotalTooLarge { bytes_max: u64 },
}

/// Reads one file that no list covers (the manifest before it is parsed, the signature), or `None` without it.
pub fn read_unlisted(
    root: &Path,
    name: &PathName,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, FolderError> {
    match open_regular(root, name) {
        Err(FolderError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
        Ok((file, bytes)) => {
            read_whole(file, root, name, bytes, bytes_max).map(|(content, _)| Some(content))
        }
    }
}

/// Reads all `expected` files into memory, each checked against its size and digest while it is read.
///
/// Everything else in the folder is refused, except the signature. Symbolic links are refused inside the folder;
/// `root` itself may be reached through one (`latest`).
pub fn read_folder(
    root: &Path,
    limits: &Limits,
    expected: &[FileEntry],
) -> Result<Files, FolderError> {
    let listing = check_listing(expected, limits)?;
    refuse_unknown(root, &listing)?;
    let mut files = Files::new();
    for (name, entry) in listing {
        files.insert(name.clone(), read_listed(root, entry)?);
    }
    Ok(files)
}

/// Checks files that are in memory already, as an unpacked package is, by the same rules.
pub fn check_files(
    files: &Files,
    limits: &Limits,
    expected: &[FileEntry],
) -> Result<(), FolderError> {
    let listing = check_listing(expected, limits)?;
    let is_unknown =
        |name: &&PathName| name.as_str() != SIGNATURE_FILE && !listing.contains_key(name);
    if let Some(unknown) = files.keys().find(is_unknown) {
        return Err(FolderError::Unknown {
            path: unknown.to_string(),
        });
    }
    for (name, entry) in listing {
        let Some(content) = files.get(name) else {
            return Err(FolderError::Missing {
                path: name.to_string(),
            });
        };
        check_size(entry, content.len() as u64)?;
        check_digest(entry, digest_bytes(content))?;
    }
    Ok(())
}

/// A list within its limits, by name.
fn check_listing<'a>(
    expected: &'a [FileEntry],
    limits: &Limits,
) -> Result<BTreeMap<&'a PathName, &'a FileEntry>, FolderError> {
    if expected.len() > limits.files_max {
        return Err(FolderError::TooManyFiles {
            files: expected.len(),
            files_max: limits.files_max,
        });
    }
    let mut listing = BTreeMap::new();
    let mut total_bytes = 0u64;
    for entry in expected {
        let path = || entry.path.to_string();
        total_bytes = total_bytes.saturating_add(entry.bytes);
        if entry.path.as_str() == SIGNATURE_FILE {
            return Err(FolderError::SignatureListed { path: path() });
        }
        if entry.bytes > limits.file_bytes_max {
            let bytes_max = limits.file_bytes_max;
            return Err(FolderError::FileTooLarge {
                path: path(),
                bytes_max,
            });
        }
        if total_bytes > limits.total_bytes_max {
            let bytes_max = limits.total_bytes_max;
            return Err(FolderError::TotalTooLarge { bytes_max });
        }
        if listing.insert(&entry.path, entry).is_some() {
            return Err(FolderError::ListedTwice { path: path() });
        }
    }
    Ok(listing)
}

/// Walks the folder and stops at the first thing that is not listed, so the walk is as long as the list.
fn refuse_unknown(
    root: &Path,
    listing: &BTreeMap<&PathName, &FileEntry>,
) -> Result<(), FolderError> {
    let folders: BTreeSet<&str> = listing.keys().flat_map(|name| name.folders()).collect();
    let mut waiting = vec![String::new()];
    while let Some(folder) = waiting.pop() {
        let path = root.join(&folder);
        let unreadable = |source| FolderError::Read {
            path: path.clone(),
            source,
        };
        for item in fs::read_dir(&path).map_err(unreadable)? {
            let item = item.map_err(unreadable)?;
            let name = join(&folder, &item.file_name().to_string_lossy());
            let kind = item.file_type().map_err(unreadable)?;
            if kind.is_dir() && folders.contains(name.as_str()) {
                waiting.push(name);
            } else if kind.is_dir() || !is_known(&name, listing) {
                return Err(FolderError::Unknown { path: name });
            } else if !kind.is_file() {
                return Err(not_regular(name, kind));
            }
        }
    }
    Ok(())
}

fn is_known(name: &str, listing: &BTreeMap<&PathName, &FileEntry>) -> bool {
    let is_listed = |name| PathName::new(name).is_ok_and(|name| listing.contains_key(&name));
    name == SIGNATURE_FILE || is_listed(name)
}

fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        _ => format!("{folder}/{name}"),
    }
}

fn read_listed(root: &Path, entry: &FileEntry) -> Result<Vec<u8>, FolderError> {
    let (file, bytes) = open_regular(root, &entry.path)?;
    check_size(entry, bytes)?;
    let (content, digest) = read_whole(file, root, &entry.path, bytes, entry.bytes)?;
    check_size(entry, content.len() as u64)?;
    check_digest(entry, digest)?;
    Ok(content)
}

fn check_size(entry: &FileEntry, found: u64) -> Result<(), FolderError> {
    if found == entry.bytes {
        return Ok(());
    }
    Err(FolderError::SizeDiffers {
        path: entry.path.to_string(),
        expected: entry.bytes,
        found,
    })
}

fn check_digest(entry: &FileEntry, found: Digest) -> Result<(), FolderError> {
    if found == entry.sha256 {
        return Ok(());
    }
    Err(FolderError::DigestDiffers {
        path: entry.path.to_string(),
        expected: entry.sha256,
        found,
    })
}

fn read_whole(
    file: File,
    root: &Path,
    name: &PathName,
    bytes: u64,
    bytes_max: u64,
) -> Result<(Vec<u8>, Digest), FolderError> {
    read_stream(file, bytes, bytes_max).map_err(|error| match error {
        MeasureError::TooLarge { bytes_max } => FolderError::FileTooLarge {
            path: name.to_string(),
            bytes_max,
        },
        MeasureError::Read(source) => FolderError::Read {
            path: name.under(root),
            source,
        },
    })
}

/// Opens a regular file, following no link on the way down from `root`.
///
/// The kind is asked before opening, because opening a pipe would wait; and asked again of what was opened,
/// because the name may have been given to another file in between.
fn open_regular(root: &Path, name: &PathName) -> Result<(File, u64), FolderError> {
    for folder in name.folders() {
        let known = look(root, folder)?;
        if !known.is_dir() {
            return Err(not_regular(folder.to_owned(), known.file_type()));
        }
    }
    let known = look(root, name.as_str())?;
    if !known.is_file() {
        return Err(not_regular(name.to_string(), known.file_type()));
    }
    let path = name.under(root);
    let opened = File::open(&path).and_then(|file| file.metadata().map(|seen| (file, seen)));
    match opened {
        Ok((file, seen)) if is_same(&known, &seen) => Ok((file, seen.len())),
        Ok(_) => Err(FolderError::Read {
            path,
            source: io::Error::other("it was replaced while it was opened"),
        }),
        Err(source) => Err(FolderError::Read { path, source }),
    }
}

fn look(root: &Path, name: &str) -> Result<Metadata, FolderError> {
    let path = root.join(name);
    match fs::symlink_metadata(&path) {
        Ok(metadata) => Ok(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound && root.is_dir() => {
            Err(FolderError::Missing { path: name.into() })
        }
        Err(source) => Err(FolderError::Read { path, source }),
    }
}

fn is_same(known: &Metadata, seen: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (known.dev(), known.ino()) == (seen.dev(), seen.ino())
}

fn not_regular(path: String, kind: fs::FileType) -> FolderError {
    use std::os::unix::fs::FileTypeExt;
    let kind = match kind {
        _ if kind.is_symlink() => "symbolic link",
        _ if kind.is_dir() => "folder",
        _ if kind.is_fifo() => "pipe",
        _ if kind.is_socket() => "socket",
        _ if kind.is_file() => "file where a folder is needed",
        _ => "device",
    };
    FolderError::NotRegular { path, kind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A folder with two files, one below a sub-folder, and the list that describes it.
    struct Bundle {
        place: tempfile::TempDir,
        expected: Vec<FileEntry>,
    }

    fn name(text: &str) -> PathName {
        text.parse().expect("safe")
    }

    impl Bundle {
        fn new() -> Self {
            let place = tempfile::tempdir().expect("a temporary folder");
            let mut bundle = Self {
                place,
                expected: Vec::new(),
            };
            fs::create_dir_all(bundle.root().join("encoder")).expect("a folder");
            for (path, content) in [("card.md", "a card"), ("encoder/vocabulary.json", "{}")] {
                fs::write(bundle.root().join(path), content).expect("a file");
                bundle
                    .expected
                    .push(FileEntry::of(name(path), content.as_bytes()));
            }
            bundle
        }

        fn root(&self) -> PathBuf {
            self.place.path().join("bundle")
        }

        fn read(&self) -> Result<Files, FolderError> {
            read_folder(&self.root(), &Limits::default(), &self.expected)
        }

        /// What reading says after `change` was made to the folder.
        fn refusal(change: impl FnOnce(&Path)) -> String {
            let bundle = Self::new();
            change(&bundle.root());
            bundle.read().expect_err("refused").to_string()
        }

        fn refusal_within(limits: Limits) -> String {
            let bundle = Self::new();
            read_folder(&bundle.root(), &limits, &bundle.expected)
                .expect_err("refused")
                .to_string()
        }
    }

    #[test]
    fn an_untouched_folder_is_read_whole() {
        let bundle = Bundle::new();
        fs::write(bundle.root().join(SIGNATURE_FILE), "any").expect("a file");
        let files = bundle.read().expect("untouched");
        assert_eq!(files[&name("card.md")], b"a card");
        assert_eq!(files[&name("encoder/vocabulary.json")], b"{}");
        assert_eq!(files.len(), 2, "the signature is read by its own reader");
        check_files(&files, &Limits::default(), &bundle.expected).expect("the same rules");
    }

    #[test]
    fn a_folder_may_be_reached_through_a_link() {
        let bundle = Bundle::new();
        let latest = bundle.place.path().join("latest");
        symlink("bundle", &latest).expect("a link");
        read_folder(&latest, &Limits::default(), &bundle.expected).expect("untouched");
    }

    #[test]
    fn each_change_is_refused_with_its_file_and_reason() {
        let check = |change: &dyn Fn(&Path), said: &str| {
            let message = Bundle::refusal(change);
            assert!(message.contains(said), "{message:?} does not say {said:?}");
        };
        let write = |path: &'static str, text: &'static str| {
            move |root: &Path| fs::write(root.join(path), text).expect("a file")
        };
        check(&write("card.md", "b card"), r#""card.md" was changed"#);
        check(
            &write("card.md", "a car"),
            r#""card.md" has 5 bytes, listed are 6"#,
        );
        check(
            &write("card.md", "a card."),
            r#""card.md" has 7 bytes, listed are 6"#,
        );
        check(
            &write("weights.pkl", ""),
            r#""weights.pkl" is in the bundle but not listed"#,
        );
        check(
            &write(".hidden", ""),
            r#"".hidden" is in the bundle but not listed"#,
        );
        check(
            &write("encoder/model.sig", ""),
            r#""encoder/model.sig" is in the bundle but not"#,
        );
        check(
            &|root| fs::create_dir(root.join("more")).expect("a folder"),
            r#""more" is in the bundle"#,
        );
        check(
            &|root| fs::remove_file(root.join("card.md")).expect("there"),
            r#""card.md" is listed but missing"#,
        );
        check(
            &|root| fs::remove_dir_all(root.join("encoder")).expect("there"),
            r#""encoder" is listed but missing"#,
        );
        check(
            &|root| fs::remove_dir_all(root).expect("there"),
            "cannot be read",
        );
    }

    #[test]
    fn a_link_is_refused_wherever_it_leads() {
        let replace = |path: &'static str, target: &'static str| {
            move |root: &Path| {
                let path = root.join(path);
                fs::rename(&path, root.with_file_name("moved")).expect("there");
                symlink(target, path).expect("a link");
            }
        };
        for (path, target) in [
            ("card.md", "/etc/hostname"),
            ("card.md", "../moved"),
            ("encoder/vocabulary.json", "../card.md"),
        ] {
            let message = Bundle::refusal(replace(path, target));
            assert!(message.contains("is a symbolic link"), "{message}");
        }
        let message = Bundle::refusal(replace("encoder", "../moved"));
        assert!(message.contains(r#""encoder""#), "{message}");
    }

    #[test]
    fn a_link_is_refused_by_the_reader_of_single_files_too() {
        let bundle = Bundle::new();
        fs::rename(
            bundle.root().join("encoder"),
            bundle.place.path().join("moved"),
        )
        .expect("there");
        symlink("../moved", bundle.root().join("encoder")).expect("a link");
        symlink("card.md", bundle.root().join("link.md")).expect("a link");
        for path in ["encoder/vocabulary.json", "link.md"] {
            let refused = read_unlisted(&bundle.root(), &name(path), 100);
            let kind = "symbolic link";
            assert!(matches!(refused, Err(FolderError::NotRegular { kind: k, .. }) if k == kind));
        }
    }

    #[test]
    fn a_socket_is_refused_without_opening_it() {
        let message = Bundle::refusal(|root| {
            fs::remove_file(root.join("card.md")).expect("there");
            std::os::unix::net::UnixListener::bind(root.join("card.md")).expect("a socket");
        });
        assert!(message.contains(r#""card.md" is a socket"#), "{message}");
    }

    #[test]
    fn a_list_beyond_a_limit_is_refused_before_reading() {
        let limits = Limits::default();
        assert!(
            Bundle::refusal_within(Limits {
                files_max: 1,
                ..limits
            })
            .contains("2 files, allowed are 1")
        );
        assert!(
            Bundle::refusal_within(Limits {
                file_bytes_max: 5,
                ..limits
            })
            .contains("\"card.md\" has more")
        );
        assert!(
            Bundle::refusal_within(Limits {
                total_bytes_max: 7,
                ..limits
            })
            .contains("together")
        );
    }

    #[test]
    fn a_list_that_lies_is_refused() {
        let mut bundle = Bundle::new();
        bundle.expected.push(bundle.expected[0].clone());
        assert!(matches!(
            bundle.read(),
            Err(FolderError::ListedTwice { .. })
        ));
        bundle.expected[2] = FileEntry::of(name(SIGNATURE_FILE), b"");
        assert!(matches!(
            bundle.read(),
            Err(FolderError::SignatureListed { .. })
        ));
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let mut bundle = Bundle::new();
        bundle
            .expected
            .iter_mut()
            .for_each(|entry| entry.bytes = u64::MAX);
        let limits = Limits {
            file_bytes_max: u64::MAX,
            total_bytes_max: u64::MAX - 1,
            ..Limits::default()
        };
        let refused = read_folder(&bundle.root(), &limits, &bundle.expected);
        assert!(matches!(refused, Err(FolderError::TotalTooLarge { .. })));
    }

    #[test]
    fn files_in_memory_are_held_to_the_same_list() {
        let bundle = Bundle::new();
        let whole = bundle.read().expect("untouched");
        let refusal = |change: &dyn Fn(&mut Files)| {
            let mut files = whole.clone();
            change(&mut files);
            check_files(&files, &Limits::default(), &bundle.expected)
                .expect_err("refused")
                .to_string()
        };
        let put = |path: &'static str, text: &'static [u8]| {
            move |files: &mut Files| drop(files.insert(name(path), text.to_vec()))
        };
        assert!(refusal(&put("card.md", b"b card")).contains("was changed"));
        assert!(refusal(&put("card.md", b"")).contains("has 0 bytes"));
        assert!(refusal(&put("other", b"")).contains("not listed"));
        assert!(refusal(&|files| drop(files.remove(&name("card.md")))).contains("missing"));
    }

    #[test]
    fn an_unlisted_file_is_read_within_its_bound_or_absent() {
        let bundle = Bundle::new();
        let read = |path, bytes_max| read_unlisted(&bundle.root(), &name(path), bytes_max);
        assert_eq!(read("card.md", 6).expect("there"), Some(b"a card".to_vec()));
        assert_eq!(read("manifest.json", 6).expect("readable"), None);
        assert!(matches!(
            read("card.md", 5),
            Err(FolderError::FileTooLarge { bytes_max: 5, .. })
        ));
        assert!(matches!(
            read("encoder", 5),
            Err(FolderError::NotRegular { kind: "folder", .. })
        ));
    }
}
