//! The arrows of DESIGN's table of rooms, proved by `cargo tree`.
//!
//! A crate under `crates/` may depend on rooms above it and on nothing in its own `never` list, however
//! far away. The list keeps weight out (`core` has no async, `engine` no database), so that a room stays
//! usable on its own. Rooms that do not exist yet are passed over; a crate that has no line here fails,
//! because then nobody has decided what it may know.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::house::{House, Member};
use crate::steps::Outcome;

/// A crate and what it must never see.
struct Room {
    /// Its folder below the root.
    folder: &'static str,
    never: &'static [&'static [&'static str]],
}

const ASYNC: &[&str] = &["tokio", "async-std", "smol"];
const HTTP: &[&str] = &[
    "axum",
    "hyper",
    "tonic",
    "tower-http",
    "reqwest",
    "actix-web",
];
/// `tower-http` is not among them: the object store's HTTP client brings it.
const HTTP_SERVER: &[&str] = &["axum", "tonic", "actix-web"];
const DATABASE: &[&str] = &[
    "sqlx",
    "rusqlite",
    "libsqlite3-sys",
    "tokio-postgres",
    "redis",
    "fred",
];
const FILES: &[&str] = &["parquet", "arrow-csv", "tar", "flate2"];
/// A protocol has it as a body; nobody else below a source needs it.
const CSV: &[&str] = &["csv"];
const TRAINING: &[&str] = &["hessboost", "burn"];
const NEURAL_TRAINING: &[&str] = &["burn"];
const TERMINAL: &[&str] = &["clap", "indicatif", "comfy-table"];

/// Every room, in the order of DESIGN's table: a room imports only rooms above it.
const ROOMS: &[Room] = &[
    Room {
        folder: "crates/core",
        never: &[
            ASYNC,
            HTTP,
            DATABASE,
            FILES,
            CSV,
            TRAINING,
            TERMINAL,
            &["rayon"],
        ],
    },
    Room {
        folder: "crates/oip",
        never: &[ASYNC, HTTP, DATABASE, FILES, TRAINING, TERMINAL, &["rayon"]],
    },
    Room {
        folder: "crates/onnx",
        never: &[ASYNC, HTTP, DATABASE, TRAINING, TERMINAL],
    },
    Room {
        folder: "crates/engine",
        never: &[ASYNC, HTTP, DATABASE, TRAINING, TERMINAL],
    },
    Room {
        folder: "crates/learn",
        never: &[ASYNC, HTTP, DATABASE, NEURAL_TRAINING, TERMINAL],
    },
    Room {
        folder: "crates/neural",
        never: &[ASYNC, HTTP, DATABASE],
    },
    Room {
        folder: "crates/watch",
        never: &[ASYNC, HTTP, DATABASE, TRAINING, TERMINAL],
    },
    Room {
        folder: "crates/ledger",
        never: &[HTTP, TRAINING, TERMINAL],
    },
    Room {
        folder: "crates/store",
        never: &[HTTP_SERVER, NEURAL_TRAINING, TERMINAL],
    },
    Room {
        folder: "crates/ops",
        never: &[HTTP_SERVER, TERMINAL],
    },
    Room {
        folder: "crates/api",
        never: &[NEURAL_TRAINING, TERMINAL],
    },
    Room {
        folder: "crates/kits",
        never: &[TERMINAL],
    },
    Room {
        folder: "crates/cli",
        never: &[],
    },
];

/// Programs that show a room in use, and what they promise to do without.
const GUESTS: &[Room] = &[Room {
    folder: "examples/embed",
    never: &[ASYNC, HTTP, DATABASE, TRAINING, TERMINAL, &["ombud-learn"]],
}];

/// Walks every crate's dependencies and names each arrow that points the wrong way.
pub fn check(house: &House) -> Result<Outcome> {
    let mut wrong = strangers(house);
    let mut walked = 0;
    for room in ROOMS.iter().chain(GUESTS) {
        let Some(member) = member_at(house, room.folder) else {
            continue;
        };
        let seen = dependencies(house, &member.package)?;
        wrong.extend(
            forbidden(house, room, &seen)
                .into_iter()
                .map(|name| explain(house, &member.package, &name)),
        );
        walked += 1;
    }
    if !wrong.is_empty() {
        bail!("{} wrong arrows\n{}", wrong.len(), wrong.join("\n"));
    }
    println!("{walked} crates keep to their place in the table");
    Ok(Outcome::Passed)
}

/// Crates under `crates/` that the table does not know.
fn strangers(house: &House) -> Vec<String> {
    let known = |member: &&Member| {
        ROOMS
            .iter()
            .any(|room| member.folder.ends_with(room.folder))
    };
    let rooms = house
        .crates
        .iter()
        .filter(|member| member.folder.starts_with("crates"));
    rooms
        .filter(|member| !known(member))
        .map(|member| {
            format!(
                "{} has no line in xtask/src/arrows.rs: decide what it may see",
                member.folder.display()
            )
        })
        .collect()
}

fn forbidden(house: &House, room: &Room, seen: &BTreeSet<String>) -> BTreeSet<String> {
    let below = rooms_below(room).filter_map(|folder| member_at(house, folder));
    let below = below.map(|member| member.package.as_str());
    let never = room.never.iter().flat_map(|group| group.iter().copied());
    never
        .chain(below)
        .filter(|name| seen.contains(*name))
        .map(str::to_owned)
        .collect()
}

/// The folders that come after `room` in the table; for a guest, none.
fn rooms_below(room: &Room) -> impl Iterator<Item = &'static str> + use<> {
    let place = ROOMS.iter().position(|other| other.folder == room.folder);
    let after = place.map_or(ROOMS.len(), |index| index + 1);
    ROOMS[after..].iter().map(|room| room.folder)
}

/// The names of all crates that `package` builds with, near and far, with every feature on.
fn dependencies(house: &House, package: &str) -> Result<BTreeSet<String>> {
    let mut tree = house.cargo();
    tree.args([
        "tree",
        "--package",
        package,
        "--all-features",
        "--edges",
        "normal,build",
    ]);
    tree.args(["--prefix", "none", "--format", "{p}"]);
    Ok(names(&command::capture(&mut tree)?, package))
}

fn names(tree: &str, package: &str) -> BTreeSet<String> {
    let first_words = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    first_words
        .filter(|name| *name != package)
        .map(str::to_owned)
        .collect()
}

/// The way from `package` to `name`, as `cargo tree --invert` draws it.
fn explain(house: &House, package: &str, name: &str) -> String {
    let mut tree = house.cargo();
    tree.args([
        "tree",
        "--package",
        package,
        "--all-features",
        "--edges",
        "normal,build",
    ]);
    tree.args(["--invert", name]);
    let spelled = command::spelled(&tree);
    let way = command::capture(&mut tree)
        .context("no way")
        .unwrap_or_default();
    format!(
        "{package} must not see {name} ({spelled}):\n{}",
        way.trim_end()
    )
}

fn member_at<'h>(house: &'h House, folder: &str) -> Option<&'h Member> {
    house
        .crates
        .iter()
        .find(|member| member.folder.as_os_str() == folder)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn house(rooms: &[&str]) -> House {
        let member = |room: &&str| Member {
            package: format!("ombud-{room}"),
            folder: PathBuf::from(format!("crates/{room}")),
        };
        House {
            root: PathBuf::new(),
            target: PathBuf::new(),
            crates: rooms.iter().map(member).collect(),
        }
    }

    fn room(name: &str) -> &'static Room {
        ROOMS
            .iter()
            .find(|room| room.folder.ends_with(name))
            .unwrap()
    }

    fn wrong(name: &str, sees: &[&str]) -> Vec<String> {
        let house = house(&["core", "engine", "learn", "cli"]);
        let seen = sees.iter().map(|name| (*name).to_owned()).collect();
        forbidden(&house, room(name), &seen).into_iter().collect()
    }

    #[test]
    fn a_room_may_see_the_rooms_above_it_and_none_below() {
        assert_eq!(
            wrong("engine", &["ombud-core", "serde"]),
            Vec::<String>::new()
        );
        assert_eq!(
            wrong("engine", &["ombud-core", "ombud-learn"]),
            ["ombud-learn"]
        );
        assert_eq!(
            wrong("learn", &["ombud-engine", "ombud-cli"]),
            ["ombud-cli"]
        );
    }

    #[test]
    fn weight_is_kept_out_however_far_away() {
        assert_eq!(wrong("core", &["tokio", "serde"]), ["tokio"]);
        assert_eq!(
            wrong("engine", &["hessboost", "sqlx"]),
            ["hessboost", "sqlx"]
        );
        assert_eq!(wrong("learn", &["hessboost"]), Vec::<String>::new());
    }

    #[test]
    fn a_crate_without_a_line_is_named() {
        let message = strangers(&house(&["core", "attic"])).join("");
        assert!(message.starts_with("crates/attic has no line"), "{message}");
    }

    #[test]
    fn names_are_read_from_a_tree() {
        let tree = "ombud-core v0.1.0 (folder)\nserde v1.0.2\nserde v1.0.2 (*)\n\nlibc v0.2.1\n";
        let expected: BTreeSet<_> = ["libc", "serde"].map(str::to_owned).into();
        assert_eq!(names(tree, "ombud-core"), expected);
    }
}
