//! Every setting of the server: what it means, what it is when nobody says, and who said otherwise.
//!
//! Settings come from defaults, then `ombud.toml`, then the environment (`OMBUD__SERVER__LISTEN`), then flags; the last
//! one wins. They are written down once, below, and everything else is made from that: the reference page, the reader
//! that refuses an unknown key with its line and the nearest right one, and what `ombud config show` prints. What a
//! value may look like is [`value`]; how a file is walked is [`reading`].

pub mod issuers;
pub mod reading;
pub mod value;

pub use issuers::Issuer;
pub use reading::{ConfigError, Mistake, Origin, Sources};

use crate::retention::Policy;
use std::net::SocketAddr;
use std::path::PathBuf;
use value::{Bytes, LogFormat, Seconds, Secret, SecretUrl, Setting};

/// A setting's name and meaning.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its key within its section.
    pub name: &'static str,
    /// What it means: one sentence or two.
    pub help: &'static str,
    /// What a value looks like.
    pub kind: &'static str,
}

/// A group of settings under one heading of the file.
pub trait Section: Default {
    /// Its settings.
    fn fields() -> &'static [Field];
    /// Takes a value for one of them; an error says what would be right.
    fn set(&mut self, name: &str, given: value::Given<'_>) -> Result<(), String>;
    /// Every setting as TOML, secrets masked.
    fn shown(&self) -> Vec<(&'static str, String)>;
}

macro_rules! settings {
    ($(
        $(#[doc = $about:literal])+
        $section:ident: $Type:ident { $(
            $(#[doc = $help:literal])+
            $name:ident: $Kind:ty = $default:expr,
        )+ }
    )+) => {
        $(
            $(#[doc = $about])+
            #[derive(Debug, Clone, PartialEq)]
            pub struct $Type { $( $(#[doc = $help])+ pub $name: $Kind, )+ }

            impl Default for $Type {
                fn default() -> Self {
                    $Type { $( $name: $default, )+ }
                }
            }

            impl Section for $Type {
                fn fields() -> &'static [Field] {
                    const FIELDS: &[Field] = &[ $( Field {
                        name: stringify!($name),
                        help: concat!($($help),+),
                        kind: <$Kind as Setting>::KIND,
                    }, )+ ];
                    FIELDS
                }

                fn set(&mut self, name: &str, given: value::Given<'_>) -> Result<(), String> {
                    match name {
                        $( stringify!($name) => self.$name = Setting::read(given)?, )+
                        _ => return Err("is not a setting".to_owned()),
                    }
                    Ok(())
                }

                fn shown(&self) -> Vec<(&'static str, String)> {
                    vec![ $( (stringify!($name), Setting::shown(&self.$name)), )+ ]
                }
            }
        )+

        /// Everything that can be set.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Config {
            $( $(#[doc = $about])+ pub $section: $Type, )+
            /// Who else may vouch for people: `[[issuers]]`, one table each.
            pub issuers: Vec<Issuer>,
        }

        impl Config {
            /// Every section with its settings.
            pub fn sections() -> Vec<(&'static str, &'static str, &'static [Field])> {
                vec![ $( (stringify!($section), concat!($($about),+), $Type::fields()), )+ ]
            }

            fn set(&mut self, section: &str, name: &str, given: value::Given<'_>) -> Result<(), String> {
                match section {
                    $( stringify!($section) => self.$section.set(name, given), )+
                    _ => Err("is not a section".to_owned()),
                }
            }

            fn shown_sections(&self) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
                vec![ $( (stringify!($section), self.$section.shown()), )+ ]
            }
        }
    };
}

settings! {
    /// Where the server listens and how long it is patient.
    server: Server {
        /// The address and port to listen on. Port 0 takes a free one and prints it.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)),
        /// A second address and port for gRPC alone, such as `127.0.0.1:8001`. Empty: gRPC is answered where HTTP is.
        grpc_bind: String = String::new(),
        /// Whether plain HTTP may be served beyond this machine. Only behind a proxy that does TLS.
        plain_http_beyond_loopback: bool = false,
        /// The address people and programs use, such as `https://ombud.example.org`; printed, and named in OpenAPI.
        public_url: String = String::new(),
        /// Proxies whose `X-Forwarded-For` is believed, by address.
        trusted_proxies: Vec<String> = Vec::new(),
        /// Web pages from these origins may call; nobody else's page may.
        cors_origins: Vec<String> = Vec::new(),
        /// Connections open at once; more wait to be accepted.
        connections_max: usize = 4_096,
        /// How long a client may take to send a request's head, or to start the next one.
        head_seconds: Seconds = Seconds(15),
        /// How long a client may leave an answer unread.
        write_seconds: Seconds = Seconds(30),
        /// How long a request may take, its body's arrival included.
        request_seconds: Seconds = Seconds(30),
        /// How long a shutdown waits for what was accepted.
        shutdown_seconds: Seconds = Seconds(30),
        /// Whose data it is when a caller names no tenant.
        tenant: String = "main".to_owned(),
        /// A kit's demonstration without keys; only on loopback.
        open_demo: bool = false,
    }

    /// TLS by certificate files. They are read again when they change.
    tls: Tls {
        /// The certificate chain, PEM. Empty: no TLS.
        certificate: PathBuf = PathBuf::new(),
        /// Its private key, PEM.
        key: PathBuf = PathBuf::new(),
    }

    /// Where things are kept. Empty settings mean: in `folder`, with nothing else to start.
    storage: Storage {
        /// The folder for everything that is not said otherwise; made when new.
        folder: PathBuf = PathBuf::from("ombud-data"),
        /// `postgres://user:password@host/name`. Empty: SQLite, in `folder`.
        database: SecretUrl = SecretUrl::default(),
        /// A folder, or `s3://bucket/prefix`. Empty: `models` in `folder`.
        artifacts: String = String::new(),
        /// An S3-compatible store's address, when it is not Amazon's.
        s3_endpoint: String = String::new(),
        /// The store's region.
        s3_region: String = "us-east-1".to_owned(),
        /// The store's access key id.
        s3_access_key_id: String = String::new(),
        /// The store's secret access key.
        s3_secret_access_key: Secret = Secret::default(),
    }

    /// Answers kept for equal questions.
    cache: Cache {
        /// `redis://host:6379`; replicas then share answers and rate limits. Empty: in memory.
        redis: SecretUrl = SecretUrl::default(),
        /// Memory for answers, when they are kept here.
        bytes_max: Bytes = Bytes(64 << 20),
        /// How long an answer is kept. 0: there is no cache.
        seconds: Seconds = Seconds(3_600),
    }

    /// The record of every decision.
    ledger: Ledger {
        /// The name of this replica; a second one that is started under it says so and ends. Empty: `main` on SQLite, this machine's name on PostgreSQL.
        lane: String = String::new(),
        /// The file with the master key that seals what was asked about people. Empty: `master.key` in the storage folder, made when new.
        master_key_file: PathBuf = PathBuf::new(),
        /// A variable of the environment that holds the master key, as 64 hexadecimal digits or base64.
        master_key_variable: String = String::new(),
        /// A command that prints the master key, such as a KMS client.
        master_key_command: Vec<String> = Vec::new(),
        /// The file with the master key before this one, while `ombud keys master rewrap` wraps anew what that one wrapped. Empty: none.
        master_key_before_file: PathBuf = PathBuf::new(),
        /// The file with the key that signs checkpoints. Empty: `checkpoint.key` in the storage folder, made when new.
        signing_key_file: PathBuf = PathBuf::new(),
        /// A folder that checkpoints are copied to; best on write-once storage. Empty: none.
        checkpoint_folder: PathBuf = PathBuf::new(),
        /// How many days inputs, reasons and outcomes are kept: `MODEL=DAYS`, `*=DAYS` for every other model. What is sealed ends by whole months. Empty: for ever.
        keep_days: Vec<String> = Vec::new(),
        /// How often heads are signed.
        checkpoint_seconds: Seconds = Seconds(300),
    }

    /// What is asked of models before they may serve.
    models: Models {
        /// Public keys (PEM files), one of which must have signed a bundle. Empty: signatures are not asked for.
        trusted_keys: Vec<PathBuf> = Vec::new(),
        /// How often this replica looks for what others deployed.
        refresh_milliseconds: u64 = 1_000,
    }

    /// How much one caller, or all together, may ask.
    limits: Limits {
        /// The largest request body.
        body_bytes_max: Bytes = Bytes(4 << 20),
        /// How many bytes of bodies may wait in memory for the rest of them, all together, beyond the first 64 KiB of each. More are answered 503.
        bodies_bytes_max: Bytes = Bytes(64 << 20),
        /// The largest bundle that may be registered over HTTP.
        bundle_bytes_max: Bytes = Bytes(512 << 20),
        /// Rows in one batch.
        rows_max: usize = 1_000,
        /// Requests at work at once; more are answered 503.
        requests_max: usize = 1_024,
        /// Decisions a principal may ask for per minute. 0: no limit.
        decisions_per_minute: u32 = 0,
        /// Other reads a principal may make per minute. 0: no limit.
        reads_per_minute: u32 = 1_200,
        /// Changes a principal may make per minute. 0: no limit.
        changes_per_minute: u32 = 240,
        /// Sign-ins tried per minute from one address. 0: no limit.
        sign_ins_per_minute: u32 = 10,
        /// Reads and changes of experiments, runs and their files that a principal may make per minute. 0: no limit.
        runs_per_minute: u32 = 0,
        /// The largest file that may be put beside a run.
        artifact_bytes_max: Bytes = Bytes(2 << 30),
    }

    /// The Open Inference Protocol and its kin.
    inference: Inference {
        /// The model that `/invocations` asks when a call names none. Empty: the only one that is deployed.
        default_model: String = String::new(),
        /// Models whose gRPC streams answer in MLServer's form instead of Triton's: `claims`, `claims@staging`, or `*`.
        mlserver_streams: Vec<String> = Vec::new(),
    }

    /// How long people stay signed in.
    sessions: Sessions {
        /// A session ends after this time.
        hours: u64 = 12,
        /// Passwords checked at once; each takes a moment and 19 MiB.
        password_checks_max: usize = 2,
    }

    /// Traces of requests, for an OpenTelemetry collector. Never what people sent.
    traces: Traces {
        /// Where spans are sent, as OTLP over HTTP: `http://collector:4318/v1/traces`. Empty: nowhere.
        endpoint: String = String::new(),
        /// The name that the spans' service has.
        service: String = "ombud".to_owned(),
        /// How many of a hundred traces that begin here are sent; those that began elsewhere say it themselves.
        sample_percent: u32 = 100,
    }

    /// What the server writes about itself. Never what people sent.
    log: Log {
        /// `text` for people or `json` for programs.
        format: LogFormat = LogFormat::Text,
        /// `error`, `warn`, `info`, `debug` or `trace`; or by part, such as `info,ombud_api=debug`.
        level: String = "info".to_owned(),
        /// Whether every request gets a line.
        requests: bool = true,
    }
}

impl Config {
    /// Puts the layers together and checks what they say to each other.
    pub fn load(sources: &Sources) -> Result<(Config, Vec<Origin>), ConfigError> {
        let loaded = reading::load(sources)?;
        loaded.0.check()?;
        Ok(loaded)
    }

    /// The settings as a TOML file, secrets masked.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        for (section, fields) in self.shown_sections() {
            text.push_str(&format!("[{section}]\n"));
            for (name, value) in fields {
                text.push_str(&format!("{name} = {value}\n"));
            }
            text.push('\n');
        }
        for issuer in &self.issuers {
            text.push_str(&issuer.shown());
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// The reference page: every setting, its default and what it means.
    pub fn reference() -> String {
        let defaults = Config::default();
        let mut page = REFERENCE_HEAD.to_owned();
        let shown = defaults.shown_sections();
        for ((section, about, fields), (_, values)) in Config::sections().into_iter().zip(shown) {
            page.push_str(&format!("\n## `[{section}]`\n\n{}\n\n", about.trim()));
            page.push_str("| setting | default | what it means |\n| --- | --- | --- |\n");
            for (field, (_, value)) in fields.iter().zip(values) {
                let help = field.help.trim();
                page.push_str(&format!(
                    "| `{}` | `{value}` | {help} ({}) |\n",
                    field.name, field.kind
                ));
            }
        }
        page.push_str(issuers::REFERENCE);
        page
    }

    /// Where gRPC is answered beside HTTP's own address.
    pub fn grpc_bind(&self) -> Result<Option<SocketAddr>, String> {
        match self.server.grpc_bind.as_str() {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| "is no address and port".to_owned()),
        }
    }

    /// Whether the connection is encrypted here.
    pub fn has_tls(&self) -> bool {
        !self.tls.certificate.as_os_str().is_empty()
    }

    fn check(&self) -> Result<(), ConfigError> {
        let mut wrong = Vec::new();
        let mut say =
            |key: &str, what: &str, hint: &str| wrong.push(Mistake::about(key, what, hint));
        if self.has_tls() == self.tls.key.as_os_str().is_empty() {
            say(
                "tls",
                "needs both `certificate` and `key`, or neither",
                "name the PEM files of both",
            );
        }
        let is_beyond = match self.grpc_bind() {
            Ok(address) => address.is_some_and(|address| !address.ip().is_loopback()),
            Err(wrong) => {
                say("server.grpc_bind", &wrong, "write it like `127.0.0.1:8001`");
                false
            }
        };
        let is_beyond = is_beyond || !self.server.listen.ip().is_loopback();
        let is_exposed = is_beyond && !self.has_tls();
        if is_exposed && !self.server.plain_http_beyond_loopback {
            say(
                "server.listen",
                "would serve plain HTTP beyond this machine",
                "set `tls.certificate` and `tls.key`, or say `server.plain_http_beyond_loopback = true` when a proxy in front does TLS",
            );
        }
        if self.server.open_demo && is_beyond {
            say(
                "server.open_demo",
                "answers without keys and so only on loopback",
                "listen on 127.0.0.1",
            );
        }
        let keys_given = [
            !self.ledger.master_key_file.as_os_str().is_empty(),
            !self.ledger.master_key_variable.is_empty(),
            !self.ledger.master_key_command.is_empty(),
        ];
        if keys_given.iter().filter(|is_given| **is_given).count() > 1 {
            say(
                "ledger",
                "names the master key more than once",
                "keep one of `master_key_file`, `master_key_variable`, `master_key_command`",
            );
        }
        for (key, value) in [
            ("server.connections_max", self.server.connections_max),
            ("limits.rows_max", self.limits.rows_max),
            ("limits.requests_max", self.limits.requests_max),
            (
                "sessions.password_checks_max",
                self.sessions.password_checks_max,
            ),
        ] {
            if value == 0 {
                say(key, "is 0, so nothing could ever pass", "say at least 1");
            }
        }
        if self.limits.rows_max > ombud_ledger::ledger::ENTRIES_MAX {
            say(
                "limits.rows_max",
                "is beyond what one commit holds",
                "say at most 1024",
            );
        }
        if ombud_ledger::Tenant::new(&self.server.tenant).is_err() {
            say(
                "server.tenant",
                "is no name",
                "lower-case letters, digits, `_`, `-` or `.`",
            );
        }
        if !self.ledger.lane.is_empty() && ombud_ledger::LaneName::new(&self.ledger.lane).is_err() {
            say(
                "ledger.lane",
                "is no name",
                "lower-case letters, digits, `_`, `-` or `.`",
            );
        }
        if crate::logging::filter(&self.log.level).is_none() {
            say(
                "log.level",
                "is not understood",
                "say `info`, or by part: `info,ombud_api=debug`",
            );
        }
        if let Err(what) = Policy::read(&self.ledger.keep_days) {
            say(
                "ledger.keep_days",
                &what,
                "write it like `claim_outcome=365` or `*=1825`",
            );
        }
        let endpoint = &self.traces.endpoint;
        let is_address = endpoint.parse::<axum::http::Uri>().is_ok_and(|address| {
            matches!(address.scheme_str(), Some("http" | "https")) && address.host().is_some()
        });
        if !endpoint.is_empty() && !is_address {
            say(
                "traces.endpoint",
                "is no address",
                "write it like `http://collector:4318/v1/traces`",
            );
        }
        if self.traces.sample_percent > 100 {
            say(
                "traces.sample_percent",
                "is more than a hundred",
                "say how many of a hundred traces are sent: 0 to 100",
            );
        }
        let server = &self.server;
        for (key, seconds) in [
            ("server.head_seconds", server.head_seconds),
            ("server.write_seconds", server.write_seconds),
            ("server.request_seconds", server.request_seconds),
        ] {
            if seconds.0 == 0 {
                say(key, "is no time at all", "give clients a second or more");
            }
        }
        for origin in &self.server.cors_origins {
            if !(origin.starts_with("http://") || origin.starts_with("https://"))
                || origin.ends_with('/')
            {
                say(
                    "server.cors_origins",
                    "holds something that is no origin",
                    "write it like `https://app.example.org`",
                );
            }
        }
        for proxy in &self.server.trusted_proxies {
            if proxy.parse::<std::net::IpAddr>().is_err() {
                say(
                    "server.trusted_proxies",
                    "holds something that is no address",
                    "write it like `10.0.0.7`",
                );
            }
        }
        for issuer in &self.issuers {
            if let Err((what, hint)) = issuer.check() {
                say("issuers", &what, &hint);
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(ConfigError { mistakes: wrong })
        }
    }
}

const REFERENCE_HEAD: &str = "\
# Settings

Printed by `ombud config reference`. Settings come from the defaults below, then from `ombud.toml` in the folder where the
server starts (or the file named with `--config`), then from the environment, then from flags; the last one wins.

- In the environment a setting is `OMBUD__SECTION__NAME`: `OMBUD__SERVER__LISTEN=127.0.0.1:9000`. Lists are separated by commas.
- As a flag it is `--set section.name=value`.
- `ombud config check` tells every mistake, those of its form with their line; `ombud config show` prints what counts in the end, secrets masked.

Only `storage.database`, `storage.s3_secret_access_key` and `cache.redis` can hold secrets; give those by environment rather than
in a file.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        file: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Config, ConfigError> {
        let pairs = |given: &[(&str, &str)]| {
            given
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let sources = Sources {
            file: Some(("ombud.toml".into(), file.to_owned())),
            environment: pairs(environment),
            flags: pairs(flags),
        };
        Config::load(&sources).map(|(config, _)| config)
    }

    fn mistakes(file: &str, environment: &[(&str, &str)]) -> String {
        load(file, environment, &[])
            .expect_err("a mistake")
            .to_string()
    }

    #[test]
    fn the_file_beats_the_default_the_environment_the_file_and_a_flag_them_all() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\n[limits]\nrows_max = 7\n";
        let config = load(
            file,
            &[
                ("OMBUD__SERVER__LISTEN", "127.0.0.1:2"),
                ("OMBUD__LOG__FORMAT", "json"),
            ],
            &[("server.listen", "127.0.0.1:3")],
        );
        let config = config.expect("settings");
        assert_eq!(config.server.listen.port(), 3);
        assert_eq!(config.limits.rows_max, 7);
        assert_eq!(config.log.format, LogFormat::Json);
        assert_eq!(config.cache, Cache::default());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_right_one() {
        let text = mistakes(
            "[server]\nlisten = \"127.0.0.1:1\"\nrequest_second = 3\n",
            &[],
        );
        assert!(
            text.contains("ombud.toml:3: `server.request_second`"),
            "{text}"
        );
        assert!(text.contains("`request_seconds`"), "{text}");
        let text = mistakes("[sever]\n", &[("OMBUD__LIMITS__ROWS_MAXX", "3")]);
        assert!(
            text.contains("ombud.toml:1: `sever`") && text.contains("`server`"),
            "{text}"
        );
        assert!(
            text.contains("OMBUD__LIMITS__ROWS_MAXX") && text.contains("`rows_max`"),
            "{text}"
        );
    }

    #[test]
    fn every_wrong_value_is_told_at_once() {
        let text = mistakes(
            "[server]\nlisten = \"here\"\nconnections_max = -1\n[log]\nformat = \"xml\"\n",
            &[],
        );
        for line in ["ombud.toml:2", "ombud.toml:3", "ombud.toml:5"] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }

    #[test]
    fn plain_http_beyond_this_machine_must_be_said_aloud() {
        let text = mistakes("[server]\nlisten = \"0.0.0.0:80\"\n", &[]);
        assert!(text.contains("plain HTTP"), "{text}");
        let loud = "[server]\nlisten = \"0.0.0.0:80\"\nplain_http_beyond_loopback = true\n";
        assert!(load(loud, &[], &[]).is_ok());
    }

    #[test]
    fn secrets_are_masked_wherever_settings_are_printed() {
        let file = "[storage]\ndatabase = \"postgres://ombud:hunter2@db/ombud\"\ns3_secret_access_key = \"tiger\"\n";
        let config =
            load(file, &[("OMBUD__CACHE__REDIS", "redis://:lion@cache")], &[]).expect("settings");
        for printed in [config.shown(), format!("{config:?}")] {
            for secret in ["hunter2", "tiger", "lion"] {
                assert!(!printed.contains(secret), "{printed}");
            }
        }
        assert!(
            config
                .shown()
                .contains("postgres://ombud:********@db/ombud")
        );
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let mut config = Config::default();
        config.server.cors_origins = vec!["https://a.example".to_owned()];
        assert_eq!(load(&config.shown(), &[], &[]).expect("settings"), config);
    }

    #[test]
    fn every_setting_has_a_meaning() {
        for (section, about, fields) in Config::sections() {
            assert!(!about.trim().is_empty(), "{section}");
            for field in fields {
                assert!(field.help.trim().ends_with('.'), "{section}.{}", field.name);
            }
        }
    }
}
