//! `ombud audit`: proves what happened, shows it, takes it out of the house.

use super::Outcome;
use crate::console::{Console, Shade};
use crate::failure::Failure;
use crate::settings::{self, Settings};
use clap::{Args, Subcommand};
use ombud_api::open;
use ombud_api::time;
use ombud_core::{Class, ModelName};
use ombud_ledger::reader::{PAGE_RECORDS_MAX, Query};
use ombud_ledger::record::Kind;
use ombud_ledger::verify::{Place, VerifyOptions};
use ombud_ledger::{
    Entry, LaneName, Reader, Record, RecordId, Report, SignedCheckpoint, Tenant, VerifyingKey,
    export,
};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::PathBuf;

/// Prove what happened, show it, export it
#[derive(Debug, Subcommand)]
pub enum Command {
    Verify(Verify),
    Show(Show),
    Export(Export),
}

/// Walk every chain again and name the first record that is wrong
///
/// Reads the database, or with --export a file that needs no database and none of our secrets. Exit code 4 when the
/// ledger has a flaw.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud audit verify
  ombud audit verify --export records.jsonl --trust 5f0c…
  ombud audit verify --copies /mnt/write-once")]
pub struct Verify {
    #[command(flatten)]
    pub settings: Settings,
    /// An export to verify instead of the database
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// Only this tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only this lane
    #[arg(long)]
    pub lane: Option<String>,
    /// Only records from this time on, such as 2026-11-01
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Who may have signed checkpoints: a public key in hexadecimal; may be given again [default: this house's own key]
    #[arg(long, value_name = "KEY")]
    pub trust: Vec<String>,
    /// A folder of checkpoints kept elsewhere, which the ledger must agree with
    #[arg(long, value_name = "DIR")]
    pub copies: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Show records, newest first; what is sealed stays sealed
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    pub settings: Settings,
    /// One record by its id
    pub id: Option<String>,
    /// Only of this kind: decision, refused, sign_in, deployment …
    #[arg(long)]
    pub kind: Option<String>,
    /// Only of this model
    #[arg(long)]
    pub model: Option<String>,
    /// Only from this time on
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Write records to a file that a stranger can check (docs/ledger-export.md)
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    pub settings: Settings,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Why records leave the house; recorded first
    #[arg(long)]
    pub reason: String,
    /// Only from this time on
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Command {
    /// Whether the answer is one JSON object.
    pub fn is_json(&self) -> bool {
        match self {
            Command::Verify(verify) => verify.json,
            Command::Show(show) => show.json,
            Command::Export(export) => export.json,
        }
    }
}

/// Does what was asked.
pub fn run(command: &Command, console: &Console) -> Result<Outcome, Failure> {
    match command {
        Command::Verify(arguments) => verify(arguments, console),
        Command::Show(arguments) => show(arguments, console),
        Command::Export(arguments) => export(arguments, console),
    }
}

fn verify(arguments: &Verify, console: &Console) -> Result<Outcome, Failure> {
    let options = VerifyOptions {
        tenant: arguments.tenant.as_deref().map(tenant).transpose()?,
        lane: arguments.lane.as_deref().map(lane).transpose()?,
        since_us: since(arguments.since.as_deref())?,
        trusted: trusted(arguments)?,
        copies: copies(arguments)?,
    };
    let report = match &arguments.export {
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
            export::verify(BufReader::with_capacity(1 << 20, file), &options)?
        }
        None => {
            let (config, _) = arguments.settings.load()?;
            settings::must_exist(&config)?;
            Reader::new(open::place(&config)?.for_ledger(), None).verify(&options)?
        }
    };
    if options.trusted.is_empty() && !console.is_json {
        console.warn("no key is trusted, so checkpoints prove only that nothing changed by accident; name one with --trust");
    }
    if !report.is_known {
        return Err(unknown(arguments));
    }
    tell(&report, console)?;
    if report.is_sound() {
        return Ok(Outcome::Done);
    }
    let message = match report.faults.len() {
        1 => "the ledger has a flaw".to_owned(),
        many => format!("the ledger has {many} flaws"),
    };
    if !console.is_json {
        console.fail(&Failure::new(
            Class::Corrupt,
            message,
            "keep everything as it is, and compare with a backup and with checkpoints kept elsewhere",
        ));
    }
    Ok(Outcome::Flawed)
}

/// Nothing was asked about that is there, so nothing was verified.
fn unknown(arguments: &Verify) -> Failure {
    let named = match (&arguments.tenant, &arguments.lane) {
        (Some(tenant), Some(lane)) => format!("no lane {lane} of the tenant {tenant}"),
        (None, Some(lane)) => format!("no lane {lane}"),
        (Some(tenant), None) => format!("no tenant {tenant}"),
        (None, None) => "nothing".to_owned(),
    };
    Failure::new(
        Class::NotFound,
        format!("there is {named} in this ledger, so nothing was verified"),
        "`ombud audit verify` without --tenant and --lane lists every lane",
    )
}

fn tell(report: &Report, console: &Console) -> Result<(), Failure> {
    if console.is_json {
        let lanes: Vec<Value> = report
            .lanes
            .iter()
            .map(|lane| {
                json!({
                    "tenant": lane.tenant, "lane": lane.lane, "records": lane.records,
                    "last": lane.last.as_ref().map(|(sequence, hash)| json!({ "sequence": sequence, "hash": hash.to_string() })),
                    "signed_until": lane.signed_until,
                })
            })
            .collect();
        let faults: Vec<Value> = report
            .faults
            .iter()
            .map(|fault| json!({ "place": place(&fault.place), "flaw": fault.flaw.to_string() }))
            .collect();
        return console.print_json(&json!({
            "is_sound": report.is_sound(), "records": report.records, "checkpoints": report.checkpoints,
            "copies": report.copies, "lanes": lanes, "faults": faults,
        }));
    }
    for lane in &report.lanes {
        let signed = match lane.signed_until {
            Some(until) => format!("signed until {until}"),
            None => "not signed yet".to_owned(),
        };
        console.print(&format!(
            "{}/{}  {} right, {signed}",
            lane.tenant,
            lane.lane,
            counted(lane.records, "record", "records")
        ))?;
    }
    for fault in &report.faults {
        let words = format!("{}: {}", place(&fault.place), fault.flaw);
        console.print(&console.shade(Shade::Bad, &words))?;
    }
    let copies = match report.copies {
        0 => String::new(),
        count => format!(
            ", held against {} kept elsewhere",
            counted(count, "copy", "copies")
        ),
    };
    console.print(&format!(
        "{} and {} are right{copies}. {}",
        counted(report.records, "record", "records"),
        counted(report.checkpoints, "checkpoint", "checkpoints"),
        verdict(report, console)
    ))
}

/// No more than what was seen: without a signed head nobody vouches for a chain that was written anew as a whole.
fn verdict(report: &Report, console: &Console) -> String {
    let unsigned = report
        .lanes
        .iter()
        .any(|lane| lane.records > 0 && lane.signed_until.is_none());
    if !report.is_sound() {
        String::new()
    } else if report.records == 0 {
        "There was nothing to verify.".to_owned()
    } else if unsigned {
        "Each record follows from the one before; whether all of them were written anew, no checkpoint says \
         for the lanes that are not signed yet."
            .to_owned()
    } else {
        console.shade(Shade::Good, "Everything is as it was written.")
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{count} {noun}")
}

fn place(place: &Place) -> String {
    match place {
        Place::Record {
            tenant,
            lane,
            sequence,
        } => format!("{tenant}/{lane}, record {sequence}"),
        Place::Checkpoint { tenant, number } => format!("{tenant}, checkpoint {number}"),
        Place::Ledger => "the ledger".to_owned(),
    }
}

fn show(arguments: &Show, console: &Console) -> Result<Outcome, Failure> {
    let (config, _) = arguments.settings.load()?;
    settings::must_exist(&config)?;
    let reader = Reader::new(open::place(&config)?.for_ledger(), None);
    let tenant = tenant(&config.server.tenant)?;
    let records = match &arguments.id {
        Some(id) => {
            let id: RecordId =
                id.parse()
                    .map_err(|error: ombud_ledger::record::RecordIdError| {
                        Failure::invalid(error.to_string(), "copy it from an answer or a list")
                    })?;
            vec![reader.record(&tenant, &id)?]
        }
        None => reader.page(&tenant, &query(arguments)?)?.records,
    };
    if console.is_json {
        let records: Vec<Value> = records.iter().map(record_json).collect();
        console.print_json(&json!({ "records": records }))?;
    } else if arguments.id.is_some() {
        for record in &records {
            let text = serde_json::to_string_pretty(&record_json(record)).unwrap_or_default();
            console.print(&text)?;
        }
    } else {
        for record in &records {
            console.print(&line(record))?;
        }
    }
    Ok(Outcome::Done)
}

fn query(arguments: &Show) -> Result<Query, Failure> {
    let kind = |text: &str| {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        text.parse::<Kind>().map_err(|_| {
            Failure::invalid(
                format!("{text:?} is no kind of record"),
                format!("one of: {}", names.join(", ")),
            )
        })
    };
    let model = |text: &str| {
        ModelName::new(text).map_err(|error| Failure::invalid(error.to_string(), "check the name"))
    };
    Ok(Query {
        kind: arguments.kind.as_deref().map(kind).transpose()?,
        model: arguments.model.as_deref().map(model).transpose()?,
        from_us: since(arguments.since.as_deref())?.unwrap_or(i64::MIN),
        limit: arguments.limit.clamp(1, PAGE_RECORDS_MAX),
        ..Query::default()
    })
}

fn line(record: &Record) -> String {
    let model = match (&record.model, record.version) {
        (Some(model), Some(version)) => format!("{model} {version}"),
        (Some(model), None) => model.to_string(),
        _ => String::new(),
    };
    let said = record
        .answer
        .as_deref()
        .or(record.detail.as_deref())
        .unwrap_or_default();
    let said: String = said.chars().take(100).collect();
    let who = record.principal.as_deref().unwrap_or("-");
    format!(
        "{}  {}  {:<10}  {who}  {model}  {said}",
        time::text(record.time_us),
        record.id,
        record.kind.as_str()
    )
}

fn record_json(record: &Record) -> Value {
    serde_json::to_value(ombud_api::routes::audit::RecordView::from(record)).unwrap_or_default()
}

fn export(arguments: &Export, console: &Console) -> Result<Outcome, Failure> {
    let since_us = since(arguments.since.as_deref())?;
    if arguments.reason.trim().is_empty() {
        return Err(Failure::invalid(
            "an export needs a reason",
            "say why with --reason",
        ));
    }
    let file = File::create_new(&arguments.out)
        .map_err(|error| Failure::file("written", &arguments.out, &error))?;
    let (runtime, _, rooms) = arguments.settings.open()?;
    let act = settings::act(&arguments.reason);
    let id = RecordId::generate(act.time_us).map_err(open::OpenError::Randomness)?;
    let detail = json!({ "reason": act.reason, "what": "ledger", "since": arguments.since });
    let entry = Entry {
        principal: act.principal,
        user_agent: act.user_agent,
        detail: Some(detail.to_string()),
        ..Entry::new(id, Kind::Export, act.time_us)
    };
    let recorded = runtime.block_on(rooms.ledger.append(&rooms.tenant, entry))?;
    settings::note_recorded(console, &recorded);
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let exported = rooms
        .ledger
        .reader()
        .export(Some(&rooms.tenant), since_us, &mut out)?;
    out.flush()
        .map_err(|error| Failure::file("written", &arguments.out, &error))?;
    settings::close(&runtime, &rooms);
    if console.is_json {
        console.print_json(&json!({
            "file": arguments.out.display().to_string(), "records": exported.records, "checkpoints": exported.checkpoints,
            "checkpoint_key": rooms.checkpoint_key.to_string(),
        }))?;
    } else {
        console.print(&format!(
            "{}: {} records, {} checkpoints\ncheck it anywhere: ombud audit verify --export {} --trust {}",
            arguments.out.display(), exported.records, exported.checkpoints, arguments.out.display(), rooms.checkpoint_key
        ))?;
    }
    Ok(Outcome::Done)
}

fn trusted(arguments: &Verify) -> Result<Vec<VerifyingKey>, Failure> {
    if !arguments.trust.is_empty() {
        let key = |text: &String| {
            text.parse().map_err(|_| {
                Failure::invalid(
                    format!("{text:?} is no public key"),
                    "64 hexadecimal digits, as `ombud audit export` prints them",
                )
            })
        };
        return arguments.trust.iter().map(key).collect();
    }
    if arguments.export.is_some() {
        return Ok(Vec::new());
    }
    let (config, _) = arguments.settings.load()?;
    Ok(open::checkpoint_key(&config)?.into_iter().collect())
}

fn copies(arguments: &Verify) -> Result<Vec<SignedCheckpoint>, Failure> {
    let Some(folder) = &arguments.copies else {
        return Ok(Vec::new());
    };
    let unreadable = |error: std::io::Error| Failure::file("read", folder, &error);
    let mut copies = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() {
            copies.push(
                SignedCheckpoint::read_file(&path)
                    .map_err(|error| Failure::file("read", &path, &error))?,
            );
        }
    }
    if copies.is_empty() {
        return Err(Failure::invalid(
            format!("{} holds no copy of a checkpoint", folder.display()),
            "name the folder that `ledger.checkpoint_folder` names, or leave --copies out",
        ));
    }
    Ok(copies)
}

fn tenant(text: &str) -> Result<Tenant, Failure> {
    Tenant::new(text)
        .map_err(|error| Failure::invalid(error.to_string(), "check the tenant's name"))
}

fn lane(text: &str) -> Result<LaneName, Failure> {
    LaneName::new(text)
        .map_err(|error| Failure::invalid(error.to_string(), "check the lane's name"))
}

fn since(text: Option<&str>) -> Result<Option<i64>, Failure> {
    let read = |text: &str| {
        time::parse(text).ok_or_else(|| {
            Failure::invalid(
                format!("{text:?} is no time"),
                "write it like 2026-11-01 or 2026-11-01T08:00:00Z",
            )
        })
    };
    text.map(read).transpose()
}
