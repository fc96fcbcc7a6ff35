//! `bench mlflow`: our server and MLflow's own on SQLite, asked the same by the same client, taking turns.
//!
//! The client is plain HTTP on one kept connection, so that what is measured is the server. Both are started fresh, given the same
//! runs, and asked once before anything counts; what they answer must be equal in number before a ratio is shown.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::measure::median;
use super::{Report, python};
use crate::command;
use crate::house::House;

const REQUIREMENTS: &str = "tests/python/mlflow3.txt";
/// Metrics that are logged, one by one and by a thousand at once.
const METRICS: usize = 10_000;
const METRICS_SINGLY: usize = 300;
const BATCH: usize = 1_000;
/// Runs that are searched.
const RUNS: usize = 10_000;

/// A server, started, with its client.
struct Side {
    name: &'static str,
    child: Child,
    client: Client,
    /// The run that metrics are logged to.
    run: String,
    /// The last run that was made to be searched.
    last: String,
    /// Seconds, by measure and round.
    measured: Vec<Vec<f64>>,
    memory_mb: f64,
}

/// One kept connection.
struct Client {
    address: String,
    key: Option<String>,
    stream: BufReader<TcpStream>,
}

/// What is measured, and the ratio that is asked.
const MEASURES: [(&str, f64); 5] = [
    ("log 10,000 metrics, 1,000 in a call", 10.0),
    ("log a metric in a call of its own, each", 10.0),
    ("search 10,000 runs, read all of them", 10.0),
    ("search 10,000 runs for the best 100", 10.0),
    (
        "search 10,000 runs by a param and a metric, page of 1,000",
        10.0,
    ),
];

pub fn run(rounds: usize, house: &House) -> Result<Report> {
    let binary = house.ombud()?;
    let python = python::ready_for(house, "mlflow3-venv", &house.root.join(REQUIREMENTS))?;
    let folder = house.target.join("bench-mlflow");
    // A server that finds its own old rows would be measured over them.
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut sides = vec![ours(&binary, &folder)?, theirs(&python, &folder)?];
    sides[0].furnish(RUNS)?;
    sides[1].furnish(1)?;
    let mut copies = Command::new(&python);
    copies
        .arg(house.root.join("benches/peers/mlflow_runs.py"))
        .arg(folder.join("theirs/mlflow.db"))
        .args([&sides[1].last, &RUNS.to_string()]);
    command::run(&mut copies)?;
    for side in &mut sides {
        side.run = side.begin(0)?;
    }
    for round in 0..rounds {
        for side in &mut sides {
            side.measure(round)?;
        }
    }
    for side in &mut sides {
        side.memory_mb = resident_mb(side.child.id())?;
    }
    Ok(report(&sides, rounds))
}

fn ours(binary: &Path, folder: &Path) -> Result<Side> {
    let data = folder.join("ours");
    let mut serve = Command::new(binary);
    serve
        .args(["serve", "--port", "0", "--json", "--folder"])
        .arg(&data)
        .args(["--set", "log.requests=false"])
        .stdout(Stdio::piped());
    let mut child = serve.spawn().context("our server does not start")?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("a pipe")?;
    BufReader::new(stdout).read_line(&mut line)?;
    let started: Value = serde_json::from_str(&line).context("our server said no JSON")?;
    let address = started["address"]
        .as_str()
        .context("an address")?
        .to_owned();
    let mut make = Command::new(binary);
    make.args([
        "keys", "new", "--label", "bench", "--role", "operator", "--json", "--folder",
    ])
    .arg(&data);
    let made: Value = serde_json::from_str(&command::capture(&mut make)?)?;
    let key = made["key"].as_str().context("a key")?.to_owned();
    Side::new("ombud", child, Client::new(address, Some(key))?)
}

fn theirs(python: &Path, folder: &Path) -> Result<Side> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let data = folder.join("theirs");
    fs::create_dir_all(&data)?;
    let mut serve = Command::new(python.with_file_name("mlflow"));
    serve
        .current_dir(&data)
        .arg("server")
        .arg("--backend-store-uri")
        .arg(format!("sqlite:///{}/mlflow.db", data.display()))
        .arg("--artifacts-destination")
        .arg(data.join("files"))
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = serve.spawn().context("mlflow server does not start")?;
    let stderr = child.stderr.take().context("a pipe")?;
    let mut lines = BufReader::new(stderr).lines();
    let is_ready =
        lines.any(|line| line.is_ok_and(|line| line.contains("Application startup complete")));
    ensure!(is_ready, "mlflow server ended before it was ready");
    // Its later words go nowhere, and a full pipe must not stop it.
    std::thread::spawn(move || lines.for_each(drop));
    Side::new(
        "mlflow server",
        child,
        Client::new(format!("127.0.0.1:{port}"), None)?,
    )
}

impl Side {
    fn new(name: &'static str, child: Child, client: Client) -> Result<Self> {
        Ok(Side {
            name,
            child,
            client,
            run: String::new(),
            last: String::new(),
            measured: vec![Vec::new(); MEASURES.len()],
            memory_mb: 0.0,
        })
    }

    /// Runs that are searched, each with five metrics, five params and a tag.
    fn furnish(&mut self, runs: usize) -> Result<()> {
        for number in 0..runs {
            let run = self.begin(1 + number as i64)?;
            let metrics: Vec<Value> = (0..5)
                .map(|metric| {
                    let value = ((number * 7_919 + metric * 31) % 10_007) as f64 / 10_007.0;
                    json!({ "key": format!("m{metric}"), "value": value, "timestamp": 1, "step": 0 })
                })
                .collect();
            let params: Vec<Value> = (0..5)
                .map(|param| json!({ "key": format!("p{param}"), "value": (number % (param + 2)).to_string() }))
                .collect();
            let body = json!({ "run_id": run, "metrics": metrics, "params": params,
                "tags": [{ "key": "team", "value": "desk" }] });
            self.client.post("runs/log-batch", &body)?;
            self.last = run;
        }
        Ok(())
    }

    fn begin(&mut self, started_ms: i64) -> Result<String> {
        let body = json!({ "experiment_id": "0", "run_name": "bench", "start_time": started_ms });
        let made: Value = serde_json::from_slice(&self.client.post("runs/create", &body)?)?;
        let id = made["run"]["info"]["run_id"].as_str();
        Ok(id.context("a run's id")?.to_owned())
    }

    fn measure(&mut self, round: usize) -> Result<()> {
        let name = format!("loss{round}");
        let began = Instant::now();
        for batch in 0..METRICS / BATCH {
            let metrics: Vec<Value> = (batch * BATCH..(batch + 1) * BATCH)
                .map(|step| json!({ "key": name, "value": step as f64 / 3.0, "timestamp": step, "step": step }))
                .collect();
            let body = json!({ "run_id": self.run, "metrics": metrics });
            self.client.post("runs/log-batch", &body)?;
        }
        self.note(0, began.elapsed());
        let began = Instant::now();
        for step in 0..METRICS_SINGLY {
            let body = json!({ "run_id": self.run, "key": format!("single{round}"), "value": step as f64, "timestamp": step, "step": step });
            self.client.post("runs/log-metric", &body)?;
        }
        self.note(1, began.elapsed() / METRICS_SINGLY as u32);
        let all = json!({ "experiment_ids": ["0"], "max_results": 50_000 });
        self.search(2, &all, RUNS + 1)?;
        let best =
            json!({ "experiment_ids": ["0"], "max_results": 100, "order_by": ["metrics.m0 DESC"] });
        self.search(3, &best, 100)?;
        let some = json!({ "experiment_ids": ["0"], "max_results": 1_000,
            "filter": "params.p1 = '1' and metrics.m0 > 0.5" });
        self.search(4, &some, 1_000)
    }

    fn search(&mut self, measure: usize, body: &Value, expected: usize) -> Result<()> {
        let began = Instant::now();
        let answer = self.client.post("runs/search", body)?;
        self.note(measure, began.elapsed());
        let answer: Value = serde_json::from_slice(&answer)?;
        let found = answer["runs"].as_array().map_or(0, Vec::len);
        ensure!(
            found == expected,
            "{} found {found} runs, not {expected}",
            self.name
        );
        Ok(())
    }

    fn note(&mut self, measure: usize, took: Duration) {
        self.measured[measure].push(took.as_secs_f64());
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Its workers end with it: they read from a pipe that closes.
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}

impl Client {
    fn new(address: String, key: Option<String>) -> Result<Self> {
        let stream = TcpStream::connect(&address)?;
        stream.set_nodelay(true)?;
        Ok(Client {
            address,
            key,
            stream: BufReader::new(stream),
        })
    }

    fn post(&mut self, path: &str, body: &Value) -> Result<Vec<u8>> {
        let body = body.to_string();
        let key = self.key.as_ref().map_or(String::new(), |key| {
            format!("authorization: Bearer {key}\r\n")
        });
        let request = format!(
            "POST /api/2.0/mlflow/{path} HTTP/1.1\r\nhost: {}\r\n{key}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut status = self.sent(&request).unwrap_or_default();
        if status.is_empty() {
            // An idle connection was closed.
            *self = Client::new(self.address.clone(), self.key.clone())?;
            status = self.sent(&request)?;
        }
        self.answer(path, &status)
    }

    /// Sends, and reads the answer's first line: nothing when the connection was closed.
    fn sent(&mut self, request: &str) -> Result<String> {
        let mut status = String::new();
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.stream.read_line(&mut status)?;
        Ok(status)
    }

    fn answer(&mut self, path: &str, status: &str) -> Result<Vec<u8>> {
        let mut length = Some(0);
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(text) = line.strip_prefix("content-length:") {
                length = Some(text.trim().parse()?);
            } else if line.starts_with("transfer-encoding:") {
                length = None;
            }
        }
        let body = match length {
            Some(length) => self.piece(length)?,
            None => self.pieces()?,
        };
        if !status.contains(" 200 ") {
            bail!(
                "{path}: {} {}",
                status.trim_end(),
                String::from_utf8_lossy(&body)
            );
        }
        Ok(body)
    }
}

impl Client {
    fn piece(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut piece = vec![0; length];
        self.stream.read_exact(&mut piece)?;
        Ok(piece)
    }

    fn pieces(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let piece = self.piece(usize::from_str_radix(line.trim(), 16)?)?;
            self.piece(2)?;
            if piece.is_empty() {
                return Ok(body);
            }
            body.extend(piece);
        }
    }
}

/// The memory of a process and of everything that it started.
fn resident_mb(root: u32) -> Result<f64> {
    let listed = command::capture(Command::new("ps").args(["-e", "-o", "pid=,ppid=,rss="]))?;
    let rows: Vec<[u64; 3]> = listed
        .lines()
        .filter_map(|line| {
            let numbers: Vec<u64> = line
                .split_whitespace()
                .filter_map(|text| text.parse().ok())
                .collect();
            numbers.try_into().ok()
        })
        .collect();
    let mut family = vec![u64::from(root)];
    let mut place = 0;
    while let Some(parent) = family.get(place).copied() {
        family.extend(rows.iter().filter(|row| row[1] == parent).map(|row| row[0]));
        place += 1;
    }
    let bytes: u64 = rows
        .iter()
        .filter(|row| family.contains(&row[0]))
        .map(|row| row[2])
        .sum();
    Ok(bytes as f64 / 1024.0)
}

fn report(sides: &[Side], rounds: usize) -> Report {
    let mut report = Report {
        title: "MLflow's protocol beside `mlflow server` on SQLite".to_owned(),
        columns: vec!["what", sides[0].name, sides[1].name, "ratio", "goal"],
        ..Report::default()
    };
    for (measure, (what, goal)) in MEASURES.iter().enumerate() {
        let [ours, theirs] =
            [0, 1].map(|side: usize| median(sides[side].measured[measure].clone()));
        let ratio = theirs / ours;
        report.failed |= ratio < *goal;
        report.rows.push(vec![
            (*what).to_owned(),
            format!("{:.1} ms", ours * 1e3),
            format!("{:.1} ms", theirs * 1e3),
            format!("{ratio:.1}"),
            format!(">= {goal}"),
        ]);
    }
    let ratio = sides[1].memory_mb / sides[0].memory_mb;
    report.failed |= ratio < 10.0;
    report.rows.push(vec![
        "resident memory afterwards, all processes".to_owned(),
        format!("{:.0} MB", sides[0].memory_mb),
        format!("{:.0} MB", sides[1].memory_mb),
        format!("{ratio:.1}"),
        ">= 10".to_owned(),
    ]);
    report.notes.push(format!(
        "Medians of {rounds} rounds, taking turns; one client on one connection; both servers as they start by default, ours with its \
         key checked on every call. Every run has five metrics, five params and two tags."
    ));
    report
}
