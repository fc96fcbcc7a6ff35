//! The server's settings as a command sees them, and the rooms that they open.
//!
//! Commands that look after a house open its database themselves, with a lane of their own in the ledger, so that they work
//! while a server runs and while none does. Who may read the storage folder may do this; there is nobody else to ask.

use crate::console::Console;
use crate::failure::Failure;
use clap::Args;
use ombud_api::Config;
use ombud_api::config::{Origin, Sources};
use ombud_api::open::{self, OpenError, Rooms};
use ombud_core::Class;
use ombud_ledger::record::Kind;
use ombud_ledger::{Act, Entry, LaneName, Ledger, RecordId, Tenant};
use std::path::PathBuf;
use tokio::runtime::Runtime;

/// Where settings come from.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The settings' file [default: ombud.toml here, when there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder for everything, as `storage.folder`
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Another value for a setting, such as limits.rows_max=100; may be given again
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

/// Commands at work on one database at the same time.
const LANES_MAX: usize = 8;

impl Settings {
    /// The settings in force, and who said so.
    pub fn load(&self) -> Result<(Config, Vec<Origin>), Failure> {
        self.load_with(Vec::new())
    }

    /// The same, with flags of a command's own.
    pub fn load_with(&self, own: Vec<(String, String)>) -> Result<(Config, Vec<Origin>), Failure> {
        let mut flags = Vec::new();
        for pair in &self.set {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(Failure::invalid(
                    format!("--set {pair:?} has no `=`"),
                    "write it like --set server.listen=127.0.0.1:9000",
                ));
            };
            flags.push((name.trim().to_owned(), value.to_owned()));
        }
        if let Some(folder) = &self.folder {
            flags.push((
                "storage.folder".to_owned(),
                folder.to_string_lossy().into_owned(),
            ));
        }
        flags.extend(own);
        let sources = Sources::gather(self.config.clone(), flags)?;
        Ok(Config::load(&sources)?)
    }

    /// Opens the rooms of a house that exists, on a lane for commands.
    pub fn open(&self) -> Result<(Runtime, Config, Rooms), Failure> {
        let (config, _) = self.load()?;
        must_exist(&config)?;
        let runtime = runtime()?;
        let rooms = runtime.block_on(open_on_a_free_lane(&config))?;
        Ok((runtime, config, rooms))
    }
}

/// A house that is not there is not made by looking at it.
pub fn must_exist(config: &Config) -> Result<(), Failure> {
    let folder = &config.storage.folder;
    if config.storage.database.is_empty() && !folder.exists() {
        return Err(Failure::new(
            Class::NotFound,
            format!("there is nothing in {}", folder.display()),
            "start a server once with `ombud serve`, or name the folder with --folder DIR",
        ));
    }
    Ok(())
}

/// Something to run asynchronous work on.
pub fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| {
        Failure::new(
            Class::Unavailable,
            format!("threads cannot be started: {error}"),
            "close other programs and try again",
        )
    })
}

/// Finishes what the ledger accepted.
pub fn close(runtime: &Runtime, rooms: &Rooms) {
    rooms.ledger.close();
    runtime.block_on(rooms.store.close());
}

/// Who does something at a terminal, and why.
pub fn act(reason: &str) -> Act {
    Act {
        time_us: ombud_api::time::now_us(),
        reason: reason.to_owned(),
        principal: Some(principal()),
        ip: None,
        user_agent: Some(concat!("ombud/", env!("CARGO_PKG_VERSION")).to_owned()),
        request_id: None,
    }
}

/// The name of whoever sits at this terminal, for the record.
pub fn principal() -> String {
    format!("terminal:{}", user())
}

/// Whom the system runs this for. What the environment says of it anybody could have written there.
#[cfg(unix)]
fn user() -> String {
    let uid = rustix::process::geteuid().as_raw();
    let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    user_of(uid, &known)
}

#[cfg(not(unix))]
fn user() -> String {
    "somebody".to_owned()
}

/// The name that a list of users (`name:password:uid:…`) has for a number.
#[cfg(unix)]
fn user_of(uid: u32, known: &str) -> String {
    let named = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == uid && !name.is_empty()).then_some(name)
    });
    let plain: String = named
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control() && !c.is_whitespace())
        .take(80)
        .collect();
    match plain.as_str() {
        "" => format!("uid {uid}"),
        _ => plain,
    }
}

/// Who asks, as the rooms below record it.
pub fn caller() -> ombud_ops::Caller {
    let act = act("");
    ombud_ops::Caller {
        principal: principal(),
        ip: None,
        user_agent: act.user_agent,
        request_id: None,
    }
}

/// Writes an act of this terminal down.
pub async fn record(rooms: &Rooms, kind: Kind, detail: serde_json::Value) -> Result<(), Failure> {
    record_in(&rooms.ledger, &rooms.tenant, kind, detail).await
}

/// The same, in a ledger that stands alone.
pub async fn record_in(
    ledger: &Ledger,
    tenant: &Tenant,
    kind: Kind,
    detail: serde_json::Value,
) -> Result<(), Failure> {
    let act = act("");
    let id = RecordId::generate(act.time_us).map_err(OpenError::Randomness)?;
    let entry = Entry {
        principal: act.principal,
        user_agent: act.user_agent,
        detail: Some(detail.to_string()),
        ..Entry::new(id, kind, act.time_us)
    };
    ledger.append(tenant, entry).await?;
    Ok(())
}

/// Says what was recorded where, when that may interest somebody.
pub fn note_recorded(console: &Console, recorded: &ombud_ledger::Recorded) {
    console.note(&format!(
        "recorded as {} in lane {}, number {}",
        recorded.id, recorded.lane, recorded.sequence
    ));
}

async fn open_on_a_free_lane(config: &Config) -> Result<Rooms, OpenError> {
    let mut taken = None;
    for number in 1..=LANES_MAX {
        let name = if number == 1 {
            "command".to_owned()
        } else {
            format!("command-{number}")
        };
        let lane = LaneName::new(&name).map_err(|_| OpenError::Name(name))?;
        match open::rooms_with(config, lane, None, crate::kits::ALL).await {
            Err(error @ OpenError::Ledger(ombud_ledger::Error::LaneTaken { .. })) => {
                taken = Some(error);
            }
            other => return other,
        }
    }
    Err(taken.unwrap_or(OpenError::Ledger(ombud_ledger::Error::Closed)))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn who_sits_here_is_whom_the_system_knows() {
        let known = "root:x:0:0:root:/root:/bin/sh\nana:x:1000:1000::/srv/ana:/bin/sh\n";
        assert_eq!(user_of(1000, known), "ana");
        assert_eq!(user_of(1001, known), "uid 1001");
        assert_eq!(user_of(0, ""), "uid 0");
    }
}
