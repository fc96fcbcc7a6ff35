//! `ombud serve`: the server.

use super::Outcome;
use crate::console::Console;
use crate::failure::Failure;
use crate::settings::{Settings, runtime};
use clap::Args;
use ombud_api::metrics::Metrics;
use ombud_api::open::{self, FirstStart};
use ombud_api::serve::Server;
use ombud_api::{Config, House, logging};
use ombud_ops::warm::sample;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;

/// Serve models over HTTP, with every decision on record before it is answered
///
/// Started with nothing in an empty folder it makes everything it needs: a database, keys, an admin whose password is
/// shown once. Settings come from ombud.toml, the environment and flags; see `ombud config`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ombud serve
  ombud serve --port 8000 --folder /srv/ombud
  ombud serve --listen 0.0.0.0:443 --set tls.certificate=site.pem --set tls.key=site.key
  OMBUD__STORAGE__DATABASE=postgres://… ombud serve")]
pub struct Arguments {
    #[command(flatten)]
    pub settings: Settings,
    /// The address and port, as `server.listen`
    #[arg(long, value_name = "ADDRESS", conflicts_with = "port")]
    pub listen: Option<SocketAddr>,
    /// The port on this machine alone; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Serve plain HTTP beyond this machine, behind a proxy that does TLS
    #[arg(long)]
    pub plain_http_beyond_loopback: bool,
    /// Let anybody on this machine look and ask without a key
    #[arg(long)]
    pub open_demo: bool,
    /// Print one JSON object when listening
    #[arg(long)]
    pub json: bool,
}

/// Does what was asked.
pub fn run(arguments: &Arguments, console: &Console) -> Result<Outcome, Failure> {
    let (config, _) = arguments.settings.load_with(arguments.flags())?;
    logging::start(&config.log);
    if config.server.open_demo {
        console.warn("open demo: whoever is on this machine may look and ask without a key. Never for real data.");
    }
    runtime()?.block_on(serve(config, console))?;
    Ok(Outcome::Done)
}

async fn serve(config: Config, console: &Console) -> Result<(), Failure> {
    let metrics = Arc::new(Metrics::new());
    let lane = open::server_lane(&config)?;
    let rooms =
        open::rooms_with(&config, lane, Some(Arc::clone(&metrics)), crate::kits::ALL).await?;
    let first = open::first_start(&config, &rooms).await?;
    open::record_new_signer(&rooms).await?;
    if let Some(before) = rooms.signer_before {
        console.warn(&format!(
            "checkpoints were signed by {before} and are by {} from now on: if that was not meant, stop and bring the key before back; `ombud audit verify` needs --trust for both",
            rooms.checkpoint_key
        ));
    }
    let house = open::house(config, rooms, metrics)?;
    let server = Server::open(house.clone()).await?;
    // From here on a signal ends in order.
    let stop = stop_asked()?;
    tell(&server, &house, first.as_ref(), console)?;
    server.run(stop).await;
    Ok(())
}

impl Arguments {
    fn flags(&self) -> Vec<(String, String)> {
        let mut flags = Vec::new();
        let mut say = |name: &str, value: String| flags.push((name.to_owned(), value));
        if let Some(address) = self.listen {
            say("server.listen", address.to_string());
        }
        if let Some(port) = self.port {
            say("server.listen", format!("127.0.0.1:{port}"));
        }
        if self.plain_http_beyond_loopback {
            say("server.plain_http_beyond_loopback", "true".to_owned());
        }
        if self.open_demo {
            say("server.open_demo", "true".to_owned());
        }
        flags
    }
}

fn tell(
    server: &Server,
    house: &House,
    first: Option<&FirstStart>,
    console: &Console,
) -> Result<(), Failure> {
    let url = server.url();
    if console.is_json {
        let first = first.map(
            |first| json!({ "login": first.login, "password": *first.password, "key": *first.key }),
        );
        return console.print_json(&json!({
            "url": url, "address": server.address().to_string(),
            "grpc_address": server.grpc_address().map(|address| address.to_string()), "version": env!("CARGO_PKG_VERSION"),
            "folder": house.config.storage.folder.display().to_string(), "first_start": first,
        }));
    }
    console.print(&format!(
        "Ombud {} serves at {url}\n  reference  {url}/docs/",
        env!("CARGO_PKG_VERSION")
    ))?;
    if let Some(address) = server.grpc_address() {
        console.print(&format!("  gRPC       {address}"))?;
    }
    let key = match first {
        Some(first) => {
            console.print(&format!(
                "\nThis is the first start; what follows is shown once.\n  sign in    {} with {}\n  a key      {}   (caller)",
                first.login, *first.password, *first.key
            ))?;
            first.key.to_string()
        }
        None => "$OMBUD_KEY".to_owned(),
    };
    console.print(&format!("\nTry it:\n{}", example(house, &url, &key)))
}

/// A call that works: a decision of the first model at work, or, where none is, what to do about that.
fn example(house: &House, url: &str, key: &str) -> String {
    let live = house.ops.routing().all_live(house.tenant());
    let at_work = live.iter().find_map(|live| {
        let version = live.deployment.traffic.active().first()?.version;
        Some((live, live.version(version)?))
    });
    if at_work.is_none() && !house.ops.routing().is_ready() {
        return format!(
            "  curl {url}/health\n\nWhat is deployed could not be loaded yet: it is tried again, and /health says when it is there."
        );
    }
    let Some((live, warm)) = at_work else {
        return format!(
            "  curl -H \"Authorization: Bearer {key}\" {url}/api/v1/session\n\n\
             Nothing is deployed yet:\n  ombud deploy MODEL models/MODEL/latest"
        );
    };
    let environment = &live.deployment.environment;
    let body = json!({ "input": sample(warm.model.schema()), "environment": environment.as_str() });
    format!(
        "  curl -H \"Authorization: Bearer {key}\" -H 'Content-Type: application/json' \\\n    \
         -d '{}' \\\n    {url}/api/v1/models/{}/decide",
        body.to_string().replace('\'', "'\\''"),
        live.deployment.model,
    )
}

/// Resolves when somebody asks the process to end.
fn stop_asked() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            ombud_core::Class::Unavailable,
            format!("signals cannot be heard: {error}"),
            "try again",
        )
    };
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(failed)?;
    #[cfg(unix)]
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .map_err(failed)?;
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "signals cannot be heard");
        }
    })
}
