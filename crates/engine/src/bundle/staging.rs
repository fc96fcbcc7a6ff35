//! Writes bundles and files so that a reader sees all of them or nothing.
//!
//! A bundle grows in a hidden folder beside its place and gets its name in one rename, after every byte is
//! on disk. Whoever lists bundles uses [`folders_in`], which does not see what an interrupted training left;
//! [`sweep`] removes such leftovers. Reading is [`crate::bundle::folder`].

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::path_name::{PathName, PathNameError};

/// The link beside the versions that names the newest.
pub const LATEST_LINK: &str = "latest";

/// Begins with a dot, which no [`PathName`] does: a staging folder can never be taken for a bundle.
const STAGING_PREFIX: &str = ".staging-";

/// Why something was not written.
///
/// Nothing is visible under the wanted name then, or all of it, when only the last flush of its folder failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{path:?} exists already and is never overwritten")]
    Exists { path: PathBuf },
    #[error("{target:?} is not a plain name directly in {parent:?}")]
    WrongPlace { target: PathBuf, parent: PathBuf },
    #[error("the version cannot be named so")]
    Version(#[from] PathNameError),
    #[error("{path:?} cannot be written")]
    Write { path: PathBuf, source: io::Error },
}

/// A bundle being written. Dropping it without [`Staging::finish`] removes it.
#[derive(Debug)]
pub struct Staging {
    parent: PathBuf,
    folder: PathBuf,
    subfolders: BTreeSet<PathBuf>,
    is_finished: bool,
}

impl Staging {
    /// Starts a bundle that will be placed in `parent`, which is made when missing.
    ///
    /// Beside its place and not in the system's temporary folder, because a rename must not cross file systems.
    pub fn new(parent: &Path) -> Result<Self, WriteError> {
        fs::create_dir_all(parent).map_err(|source| failed(parent, source))?;
        let folder = hidden_beside(&parent.join(STAGING_PREFIX))?;
        fs::create_dir(&folder).map_err(|source| failed(&folder, source))?;
        Ok(Self {
            parent: parent.to_owned(),
            folder,
            subfolders: BTreeSet::new(),
            is_finished: false,
        })
    }

    /// Adds one file and waits until it is on disk. The same name twice is refused.
    pub fn write(&mut self, name: &PathName, content: &[u8]) -> Result<(), WriteError> {
        for folder in name.folders() {
            let folder = self.folder.join(folder);
            fs::create_dir_all(&folder).map_err(|source| failed(&folder, source))?;
            self.subfolders.insert(folder);
        }
        write_new(&name.under(&self.folder), content, PLAIN_MODE)
    }

    /// Gives the bundle its name. An existing target is refused and stays as it is.
    pub fn finish(mut self, target: &Path) -> Result<(), WriteError> {
        self.check_place(target)?;
        for folder in self.subfolders.iter().chain([&self.folder]) {
            sync_folder(folder)?;
        }
        // A target that appears after the check loses nothing: a rename replaces only an empty folder.
        if fs::symlink_metadata(target).is_ok() {
            return Err(exists(target));
        }
        fs::rename(&self.folder, target).map_err(|source| match source.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => exists(target),
            _ => failed(target, source),
        })?;
        self.is_finished = true;
        sync_folder(&self.parent)
    }

    fn check_place(&self, target: &Path) -> Result<(), WriteError> {
        let name = target.file_name().and_then(|name| name.to_str());
        let is_plain = name.is_some_and(|name| PathName::new(name).is_ok());
        if is_plain && target.parent() == Some(&self.parent) {
            return Ok(());
        }
        Err(WriteError::WrongPlace {
            target: target.to_owned(),
            parent: self.parent.clone(),
        })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_finished {
            // Nobody is left to tell; what stays is hidden and [`sweep`] takes it later.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Where a file that a person names comes to lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestingPlace {
    /// A file, or what becomes one; links were followed.
    File(PathBuf),
    /// A pipe or a device, which is written into and never replaced.
    Stream,
}

impl RestingPlace {
    /// Follows links, also one whose target is not there yet.
    ///
    /// # Errors
    /// When links lead round in a circle or through what is no folder.
    pub fn of(path: &Path) -> io::Result<RestingPlace> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            match fs::metadata(&path) {
                Ok(found) if !(found.is_file() || found.is_dir()) => {
                    return Ok(RestingPlace::Stream);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            // What is open already may be a file that somebody else is writing too: `--out /dev/stdout > all.csv`.
            if is_among_open_files(&path) {
                return Ok(RestingPlace::Stream);
            }
            match fs::read_link(&path) {
                Ok(target) => path = parent_of(&path).join(target),
                Err(_) => return Ok(RestingPlace::File(path)),
            }
        }
        Err(io::ErrorKind::TooManyLinks.into())
    }

    /// Opens a stream, behind whatever is in it.
    ///
    /// # Errors
    /// When it may not be written.
    pub fn open_stream(path: &Path) -> io::Result<File> {
        OpenOptions::new().append(true).open(path)
    }
}

/// Most links followed, as the system has it.
const LINKS_MAX: usize = 40;

/// Whether a name is one that the system gives to what a process has open: `/dev/stdout`, `/dev/fd/1`, `/proc/self/fd/1`.
fn is_among_open_files(path: &Path) -> bool {
    let folder = parent_of(path).canonicalize();
    folder.is_ok_and(|folder| folder.starts_with("/proc") && folder.ends_with("fd"))
}

/// Replaces `path` in one step: a reader sees the old content or the new, also after a power cut. A link is followed, and
/// into a pipe or a device it is written as it is.
pub fn write_file_atomically(path: &Path, content: &[u8]) -> Result<(), WriteError> {
    let place = RestingPlace::of(path).map_err(|source| failed(path, source))?;
    let RestingPlace::File(path) = &place else {
        let written =
            RestingPlace::open_stream(path).and_then(|mut stream| stream.write_all(content));
        return written.map_err(|source| failed(path, source));
    };
    let draft = hidden_beside(path)?;
    let written = write_new(&draft, content, PLAIN_MODE)
        .and_then(|()| fs::rename(&draft, path).map_err(|source| failed(path, source)));
    clean_up_on_error(&draft, written)?;
    sync_folder(parent_of(path))
}

/// Writes a file that must not exist, with the given permission bits, and waits until it is on disk.
pub fn write_file_once(path: &Path, content: &[u8], mode: u32) -> Result<(), WriteError> {
    match write_new(path, content, mode) {
        Err(WriteError::Exists { path }) => return Err(WriteError::Exists { path }),
        written => clean_up_on_error(path, written)?,
    }
    sync_folder(parent_of(path))
}

/// Points `latest` in `parent` at a version beside it, replacing the link in one step.
pub fn point_latest(parent: &Path, version: &str) -> Result<(), WriteError> {
    let version = PathName::new(version)?;
    let link = parent.join(LATEST_LINK);
    if version.parts().count() > 1 || version.as_str() == LATEST_LINK {
        let target = parent.join(version.as_str());
        let parent = parent.to_owned();
        return Err(WriteError::WrongPlace { target, parent });
    }
    let draft = hidden_beside(&link)?;
    let placed = symlink(version.as_str(), &draft).and_then(|()| fs::rename(&draft, &link));
    clean_up_on_error(&draft, placed.map_err(|source| failed(&link, source)))?;
    sync_folder(parent)
}

/// The names of finished folders in `parent`, in order: no drafts, no links, no files.
pub fn folders_in(parent: &Path) -> io::Result<Vec<PathName>> {
    let mut names = Vec::new();
    for item in fs::read_dir(parent)? {
        let item = item?;
        let name = item.file_name().to_str().map(PathName::new);
        if let Some(Ok(name)) = name
            && item.file_type()?.is_dir()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes staging folders untouched for `age_min` that killed processes left, and says how many.
///
/// Age is the only sign that nobody works in one, so choose it longer than the longest training.
pub fn sweep(parent: &Path, now: SystemTime, age_min: Duration) -> io::Result<usize> {
    let mut removed = 0;
    for item in fs::read_dir(parent)? {
        let item = item?;
        let is_staging = item
            .file_name()
            .to_string_lossy()
            .starts_with(STAGING_PREFIX);
        if !is_staging || !item.file_type()?.is_dir() {
            continue;
        }
        let age = now.duration_since(item.metadata()?.modified()?);
        if age.is_ok_and(|age| age >= age_min) {
            fs::remove_dir_all(item.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Readable by all before the process's own mask.
pub(super) const PLAIN_MODE: u32 = 0o644;

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), WriteError> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let written = opened.and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => failed(path, source),
    })
}

/// A name's durability belongs to its folder.
fn sync_folder(folder: &Path) -> Result<(), WriteError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| failed(folder, source))
}

/// A fresh hidden name next to `path`. Random, because a counter restarts with the process.
fn hidden_beside(path: &Path) -> Result<PathBuf, WriteError> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        let source = io::Error::from(io::ErrorKind::InvalidFilename);
        return Err(failed(path, source));
    };
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| failed(path, error.into()))?;
    let unique = u64::from_le_bytes(random);
    let name = name.strip_prefix('.').unwrap_or(name).trim_end_matches('-');
    Ok(path.with_file_name(format!(".{name}-{unique:016x}")))
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn clean_up_on_error(draft: &Path, written: Result<(), WriteError>) -> Result<(), WriteError> {
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(draft);
    }
    written
}

fn exists(path: &Path) -> WriteError {
    WriteError::Exists {
        path: path.to_owned(),
    }
}

fn failed(path: &Path, source: io::Error) -> WriteError {
    WriteError::Write {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};

    fn name(text: &str) -> PathName {
        text.parse().expect("safe")
    }

    fn place() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    fn staged(parent: &Path) -> Staging {
        let mut staging = Staging::new(parent).expect("a writable parent");
        staging
            .write(&name("manifest.json"), b"{}")
            .expect("written");
        staging
            .write(&name("encoder/vocabulary.json"), b"[]")
            .expect("written");
        staging
    }

    /// Everything in a folder, hidden or not.
    fn all_in(folder: &Path) -> Vec<String> {
        let items = fs::read_dir(folder).expect("a folder");
        let name = |item: io::Result<fs::DirEntry>| item.expect("an item").file_name();
        let mut names: Vec<_> = items
            .map(|item| name(item).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn visible_in(folder: &Path) -> Vec<String> {
        let names = folders_in(folder).expect("a folder");
        names.into_iter().map(String::from).collect()
    }

    #[test]
    fn a_finished_bundle_appears_whole_and_alone() {
        let place = place();
        let parent = place.path().join("models/mood");
        staged(&parent).finish(&parent.join("1")).expect("finished");
        assert_eq!(all_in(&parent), ["1"]);
        assert_eq!(all_in(&parent.join("1")), ["encoder", "manifest.json"]);
        let content = fs::read(parent.join("1/encoder/vocabulary.json")).expect("there");
        assert_eq!(content, b"[]");
    }

    #[test]
    fn an_abandoned_bundle_leaves_nothing() {
        let place = place();
        drop(staged(place.path()));
        assert_eq!(all_in(place.path()), [""; 0]);
    }

    const VICTIM: &str = "OMBUD_TEST_STAGING_VICTIM";

    #[test]
    fn a_killed_training_leaves_no_visible_bundle() {
        if let Some(parent) = std::env::var_os(VICTIM) {
            let _staging = staged(Path::new(&parent));
            println!("\nstaged");
            let _ = io::stdin().read(&mut [0]);
            return;
        }
        let place = place();
        kill_while_staging(place.path());
        assert_eq!(
            all_in(place.path()).len(),
            1,
            "the kill left the staging folder"
        );
        assert_eq!(visible_in(place.path()), [""; 0]);

        staged(place.path())
            .finish(&place.path().join("1"))
            .expect("a leftover is in nobody's way");
        assert_eq!(visible_in(place.path()), ["1"]);

        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        assert_eq!(
            sweep(place.path(), now, hour).expect("readable"),
            0,
            "it may still be in use"
        );
        assert_eq!(
            sweep(place.path(), now + 2 * hour, hour).expect("readable"),
            1
        );
        assert_eq!(all_in(place.path()), ["1"]);
    }

    /// Runs the test above in a process of its own and kills it between writing and finishing.
    fn kill_while_staging(parent: &Path) {
        let test = concat!(
            module_path!(),
            "::a_killed_training_leaves_no_visible_bundle"
        );
        let test = test.split_once("::").expect("a crate and a path").1;
        let mut victim = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", test, "--nocapture"])
            .env(VICTIM, parent)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(victim.stdout.take().expect("piped")).lines();
        let is_staged = lines.map_while(Result::ok).any(|line| line == "staged");
        victim.kill().expect("running");
        victim.wait().expect("a child");
        assert!(is_staged, "the process ended before it wrote");
    }

    #[test]
    fn an_existing_target_is_refused_and_kept() {
        let place = place();
        let target = place.path().join("1");
        let refused = |made: &str| {
            let refused = staged(place.path()).finish(&target);
            assert!(
                matches!(refused, Err(WriteError::Exists { .. })),
                "{made}: {refused:?}"
            );
            assert_eq!(all_in(place.path()), ["1"], "{made}: nothing else is left");
        };
        fs::create_dir(&target).expect("a folder");
        refused("an empty folder");
        fs::write(target.join("old"), "old").expect("a file");
        refused("a full folder");
        assert_eq!(fs::read(target.join("old")).expect("kept"), b"old");
        fs::remove_dir_all(&target).expect("there");
        symlink("nowhere", &target).expect("a link");
        refused("a broken link");
    }

    #[test]
    fn a_target_elsewhere_or_hidden_is_refused() {
        let place = place();
        let parent = place.path().join("mood");
        for target in [
            place.path().join("1"),
            parent.join(".1"),
            parent.join("a/b"),
            parent.join(".."),
        ] {
            let refused = staged(&parent).finish(&target);
            assert!(
                matches!(refused, Err(WriteError::WrongPlace { .. })),
                "{target:?}"
            );
        }
    }

    #[test]
    fn a_file_is_staged_once() {
        let place = place();
        let mut staging = staged(place.path());
        let refused = staging.write(&name("manifest.json"), b"other");
        assert!(matches!(refused, Err(WriteError::Exists { .. })));
        assert_eq!(
            fs::read(staging.folder.join("manifest.json")).expect("kept"),
            b"{}"
        );
    }

    #[test]
    fn a_file_is_replaced_in_one_step() {
        let place = place();
        let path = place.path().join("registry.json");
        for content in ["old", "new, and longer"] {
            write_file_atomically(&path, content.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("there"), content);
        }
        assert_eq!(all_in(place.path()), ["registry.json"]);
    }

    #[test]
    fn a_link_is_followed_and_stays_a_link() {
        let place = place();
        let (link, file) = (place.path().join("link"), place.path().join("far/file"));
        fs::create_dir(place.path().join("far")).expect("a folder");
        symlink("far/file", &link).expect("a link");
        for content in ["made where the link leads", "replaced there"] {
            write_file_atomically(&link, content.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&file).expect("there"), content);
            assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        }
        assert_eq!(all_in(place.path()), ["far", "link"]);
    }

    #[test]
    fn a_device_and_a_pipe_are_written_into() {
        write_file_atomically(Path::new("/dev/null"), b"gone").expect("written");
        let kind = fs::metadata("/dev/null").expect("there");
        assert!(!kind.is_file(), "the device was replaced");

        let place = place();
        let pipe = place.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().expect("runs");
        assert!(made.success());
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::read(pipe).expect("reads"))
        };
        write_file_atomically(&pipe, b"through").expect("written");
        assert_eq!(reader.join().expect("ends"), b"through");
        assert_eq!(all_in(place.path()), ["pipe"]);
    }

    #[test]
    fn what_is_open_already_is_written_into_behind_what_is_there() {
        let place = place();
        let path = place.path().join("all.txt");
        let mut open = File::create(&path).expect("a file");
        open.write_all(b"before, ").expect("written");
        let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
        let link = place.path().join("link");
        symlink(&name, &link).expect("a link");
        write_file_atomically(Path::new(&name), b"between, ").expect("written");
        write_file_atomically(&link, b"after").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"before, between, after");
    }

    #[test]
    fn links_in_a_circle_are_refused() {
        let place = place();
        let (one, other) = (place.path().join("one"), place.path().join("other"));
        symlink("other", &one).expect("a link");
        symlink("one", &other).expect("a link");
        assert!(write_file_atomically(&one, b"x").is_err());
        assert_eq!(all_in(place.path()), ["one", "other"]);
    }

    #[test]
    fn a_failed_replacement_leaves_no_draft() {
        let place = place();
        let path = place.path().join("taken");
        fs::create_dir_all(path.join("full")).expect("a folder");
        assert!(write_file_atomically(&path, b"x").is_err());
        assert_eq!(all_in(place.path()), ["taken"]);
        assert!(write_file_atomically(&place.path().join("absent/file"), b"x").is_err());
    }

    #[test]
    fn latest_moves_from_version_to_version() {
        let place = place();
        for version in ["1", "2"] {
            staged(place.path())
                .finish(&place.path().join(version))
                .expect("finished");
            point_latest(place.path(), version).expect("pointed");
            let link = fs::read_link(place.path().join(LATEST_LINK)).expect("a link");
            assert_eq!(link, Path::new(version));
        }
        assert_eq!(all_in(place.path()), ["1", "2", "latest"]);
        assert_eq!(visible_in(place.path()), ["1", "2"], "a link is no version");
    }

    #[test]
    fn latest_points_only_beside_itself_and_replaces_no_folder() {
        let place = place();
        for version in ["../2", "/etc", "a/b", "", ".staging-1", "latest"] {
            assert!(point_latest(place.path(), version).is_err(), "{version}");
        }
        assert_eq!(all_in(place.path()), [""; 0]);
        fs::create_dir(place.path().join(LATEST_LINK)).expect("a folder");
        assert!(point_latest(place.path(), "1").is_err());
        assert_eq!(all_in(place.path()), ["latest"]);
    }
}
