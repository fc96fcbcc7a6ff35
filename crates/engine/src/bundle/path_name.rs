//! The name of a file inside a bundle: relative, plain, and the same on every system.
//!
//! Names come from manifests, archives and signatures, which strangers write. A [`PathName`] that exists
//! cannot leave the folder it is joined to, so nobody downstream checks again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A safe relative path with `/` between its parts.
///
/// Ordered part by part, which is the order in which OpenSSF Model Signing lists files (`a/b` before `a.b`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathName(String);

/// Why a text is no safe name. The text is printed escaped and shortened, for it may be hostile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsafe file name {name:?}: {fault}")]
pub struct PathNameError {
    /// The beginning of the refused text.
    pub name: String,
    pub fault: PathNameFault,
}

/// The rule a name breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathNameFault {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {} bytes", PathName::BYTES_MAX)]
    TooLong,
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it is absolute")]
    Absolute,
    #[error("it has an empty part")]
    EmptyPart,
    #[error("a part begins with a dot")]
    Dot,
    #[error("it has a control character, a backslash or a colon")]
    Character,
    #[error("it has more than {} parts", PathName::PARTS_MAX)]
    TooDeep,
}

impl PathName {
    /// What common file systems allow for one part; whole names are held to it.
    pub const BYTES_MAX: usize = 255;
    /// Folders inside folders; bounds every walk over a bundle.
    pub const PARTS_MAX: usize = 8;

    /// Checks a name.
    ///
    /// A part that begins with a dot is refused as a whole class: it covers `.` and `..`, hidden files,
    /// our own staging folders, and the `.git*` files that signing tools leave out.
    pub fn new(name: impl Into<String>) -> Result<Self, PathNameError> {
        let name = name.into();
        match fault_of(&name) {
            None => Ok(Self(name)),
            Some(fault) => Err(PathNameError::new(&name, fault)),
        }
    }

    /// Checks a name that came as bytes.
    pub fn from_bytes(name: &[u8]) -> Result<Self, PathNameError> {
        match str::from_utf8(name) {
            Ok(name) => Self::new(name),
            Err(_) => Err(PathNameError::new(
                &String::from_utf8_lossy(name),
                PathNameFault::NotUtf8,
            )),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts from the outermost folder to the file.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The folders around the file, outermost first: `a`, then `a/b`, for `a/b/c`.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(end, _)| &self.0[..end])
    }

    /// Where the file is when the bundle is at `root`.
    pub fn under(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }
}

impl PathNameError {
    fn new(name: &str, fault: PathNameFault) -> Self {
        const SHOWN_CHARS_MAX: usize = 80;
        let name = name.chars().take(SHOWN_CHARS_MAX).collect();
        Self { name, fault }
    }
}

fn fault_of(name: &str) -> Option<PathNameFault> {
    let is_foreign = |c: char| c.is_control() || c == '\\' || c == ':';
    if name.is_empty() {
        Some(PathNameFault::Empty)
    } else if name.len() > PathName::BYTES_MAX {
        Some(PathNameFault::TooLong)
    } else if name.contains(is_foreign) {
        Some(PathNameFault::Character)
    } else if name.starts_with('/') {
        Some(PathNameFault::Absolute)
    } else if name.split('/').any(str::is_empty) {
        Some(PathNameFault::EmptyPart)
    } else if name.split('/').any(|part| part.starts_with('.')) {
        Some(PathNameFault::Dot)
    } else if name.split('/').count() > PathName::PARTS_MAX {
        Some(PathNameFault::TooDeep)
    } else {
        None
    }
}

impl Ord for PathName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(other.parts())
    }
}

impl PartialOrd for PathName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PathName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for PathName {
    type Err = PathNameError;

    fn from_str(name: &str) -> Result<Self, PathNameError> {
        Self::new(name)
    }
}

impl TryFrom<String> for PathName {
    type Error = PathNameError;

    fn try_from(name: String) -> Result<Self, PathNameError> {
        Self::new(name)
    }
}

impl From<PathName> for String {
    fn from(name: PathName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Component;

    fn fault(name: &str) -> Option<PathNameFault> {
        PathName::new(name).err().map(|error| error.fault)
    }

    #[test]
    fn plain_names_are_taken() {
        for name in [
            "manifest.json",
            "model.onnx",
            "encoder/tokenizer.json",
            "größe 1.bin",
            "a..b",
        ] {
            assert_eq!(fault(name), None, "{name}");
        }
    }

    #[test]
    fn each_unsafe_name_is_refused_with_its_rule() {
        use PathNameFault::*;
        let long = "n".repeat(256);
        let deep = ["a"; 9].join("/");
        for (name, expected) in [
            ("", Empty),
            (long.as_str(), TooLong),
            ("/etc/passwd", Absolute),
            ("a//b", EmptyPart),
            ("a/", EmptyPart),
            ("../model", Dot),
            ("a/../../b", Dot),
            ("./a", Dot),
            (".git/config", Dot),
            ("a\\..\\b", Character),
            ("C:model", Character),
            ("a\0b", Character),
            ("a\nb", Character),
            ("a\u{9b}b", Character),
            (deep.as_str(), TooDeep),
        ] {
            assert_eq!(fault(name), Some(expected), "{name:?}");
        }
        let foreign = PathName::from_bytes(b"model\xff").map_err(|error| error.fault);
        assert_eq!(foreign, Err(NotUtf8));
    }

    #[test]
    fn names_are_ordered_part_by_part() {
        let before: PathName = "a/b".parse().expect("safe");
        let after: PathName = "a.b".parse().expect("safe");
        assert!(before < after, "as pathlib.PurePosixPath orders them");
    }

    #[test]
    fn the_folders_of_a_name_are_listed_outermost_first() {
        let name: PathName = "a/b/c".parse().expect("safe");
        assert_eq!(name.folders().collect::<Vec<_>>(), ["a", "a/b"]);
    }

    proptest! {
        #[test]
        fn a_name_that_is_taken_stays_inside(name in "[a-c./\\\\:\\x00-\\x20]{0,12}") {
            if let Ok(name) = PathName::new(name) {
                let path = name.under(Path::new(""));
                prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
