//! `ombud kit hseg report`: the report on one organization, as a page or on paper.

use crate::commands::Outcome;
use crate::console::Console;
use crate::failure::Failure;
use crate::settings::{self, Settings};
use clap::Args;
use ombud_api::open::Rooms;
use ombud_core::Class;
use ombud_kits::hseg::anonymity::Filters;
use ombud_kits::hseg::keep::organization;
use ombud_kits::hseg::routes::analytics;
use ombud_ledger::RecordId;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Browsers that print, by the names they are installed under.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Write the report on an organization's newest campaign
///
/// One HTML file with everything in it, or the same on paper as PDF. It tells nothing of groups below the organization's
/// floor, and nothing that they could be worked out from.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud kit hseg report --org \"North Clinic\" --out report.html
  ombud kit hseg report --org \"North Clinic\" --out report.pdf")]
pub struct ReportArguments {
    #[command(flatten)]
    pub settings: Settings,
    /// The organization, by its name or id
    #[arg(long, value_name = "ORGANIZATION")]
    pub org: String,
    /// The file to write: .html or .pdf
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Does what was asked.
pub fn run(arguments: &ReportArguments, console: &Console) -> Result<Outcome, Failure> {
    let ending = arguments.out.extension().and_then(|ending| ending.to_str());
    let is_paper = match ending {
        Some("html") => false,
        Some("pdf") => true,
        _ => {
            let message = format!(
                "{} ends neither in .html nor in .pdf",
                arguments.out.display()
            );
            return Err(Failure::invalid(message, "such as --out report.html"));
        }
    };
    let (runtime, _, rooms) = arguments.settings.open()?;
    let page = runtime.block_on(page(&rooms, &arguments.org));
    settings::close(&runtime, &rooms);
    let page = page?;
    match is_paper {
        false => write(&arguments.out, &page)?,
        true => print(&arguments.out, &page)?,
    }
    console.print(&format!("{}", arguments.out.display()))?;
    Ok(Outcome::Done)
}

async fn page(rooms: &Rooms, org: &str) -> Result<String, Failure> {
    let found = match org.parse::<RecordId>() {
        Ok(id) => Some(organization::get(&rooms.store, &rooms.tenant, id).await?),
        Err(_) => organization::named(&rooms.store, &rooms.tenant, org).await?,
    };
    let Some(found) = found else {
        let all = organization::all(&rooms.store, &rooms.tenant).await?;
        let names: Vec<String> = all.into_iter().take(20).map(|one| one.name).collect();
        let hint = match names.is_empty() {
            true => "no organization is kept here; POST /organizations adds one".to_owned(),
            false => format!("one of: {}", names.join(", ")),
        };
        return Err(Failure::new(
            Class::NotFound,
            format!("there is no organization {org:?}"),
            hint,
        ));
    };
    let view = analytics::view(&rooms.store, &rooms.tenant, found.id, Filters::new()).await;
    let view = view.map_err(|refusal| {
        Failure::invalid(
            refusal.detail().to_owned(),
            "close a campaign of it and process it first",
        )
    })?;
    Ok(ombud_kits::hseg::report::html(&view))
}

fn write(path: &Path, page: &str) -> Result<(), Failure> {
    std::fs::write(path, page).map_err(|error| Failure::file("written", path, &error))
}

/// Has an installed browser print the page.
fn print(out: &Path, page: &str) -> Result<(), Failure> {
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::file("made", Path::new("a folder for the page"), &error))?;
    let source = folder.path().join("report.html");
    write(&source, page)?;
    let out = std::path::absolute(out).map_err(|error| Failure::file("named", out, &error))?;
    for browser in BROWSERS {
        // A browser that runs as root refuses its sandbox; the page is our own and loads nothing.
        for sandbox in [None, Some("--no-sandbox")] {
            let mut command = Command::new(browser);
            command
                .args(["--headless", "--disable-gpu", "--no-pdf-header-footer"])
                .args(sandbox)
                .arg(format!(
                    "--user-data-dir={}",
                    folder.path().join("profile").display()
                ))
                .arg(format!("--print-to-pdf={}", out.display()))
                .arg(format!("file://{}", source.display()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            match command.status() {
                Ok(status) if status.success() && out.exists() => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(error) => return Err(Failure::file("run", Path::new(browser), &error)),
            }
        }
    }
    Err(Failure::new(
        Class::NotFound,
        format!(
            "no browser printed the page; looked for {}",
            BROWSERS.join(", ")
        ),
        "install chromium, or write --out report.html and print it from any browser",
    ))
}
