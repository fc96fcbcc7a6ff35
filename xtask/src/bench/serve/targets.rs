//! The servers that are asked: started, waited for, asked once at a time, stopped.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{AUDITED, AUDITED_PLAINLY, ECHO, FASTAPI, OURS, OURS_AFTER};
use crate::command;
use crate::house::House;

/// How long a Python server may take to be ready.
const READY_PATIENCE: Duration = Duration::from_secs(120);
const CALL_PATIENCE: Duration = Duration::from_secs(60);

/// How a server wants a question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Plain,
    Ours,
    V2,
}

/// A server that runs; stopped when dropped.
pub struct Target {
    pub name: String,
    pub asked: Asked,
    pub key: Option<String>,
    /// Whether its answer is a class.
    pub decides: bool,
    address: String,
    path: &'static str,
    child: Child,
}

/// What FastAPI writes down before it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Audit {
    None,
    /// A row, with SQLite in the mode that SQLAlchemy finds it in.
    Plain,
    /// The same in write-ahead mode, which few teams know to ask for.
    Tuned,
}

/// Our server, which can be stopped and started again.
pub struct Ombud {
    pub target: Target,
    binary: PathBuf,
    folder: PathBuf,
    key: String,
    /// As variables of its environment.
    settings: &'static [(&'static str, &'static str)],
}

impl Target {
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    /// The class that a question is answered with.
    pub fn class(&self, body: &str) -> Result<Option<String>> {
        let (status, answer) = call(&self.address, "POST", self.path, self.key.as_deref(), body)?;
        if status != 200 {
            bail!("{} answered {status}: {answer}", self.name);
        }
        let answer: Value = serde_json::from_str(&answer)?;
        if self.asked != Asked::V2 {
            return Ok(answer["prediction"].as_str().map(str::to_owned));
        }
        let data = &answer["outputs"][0]["data"];
        // Ours tells a label first, the others a row of scores.
        if let Some(label) = data[0].as_str() {
            return Ok(Some(label.to_owned()));
        }
        let scores = data.as_array().into_iter().flatten();
        let scores = scores.filter_map(Value::as_f64);
        let best = scores
            .enumerate()
            .max_by(|(_, one), (_, other)| one.total_cmp(other));
        Ok(best.map(|(class, _)| class.to_string()))
    }

    /// The same server under another name, asked at another of its doors.
    pub fn through(&mut self, name: &str, path: &'static str, asked: Asked) {
        name.clone_into(&mut self.name);
        self.path = path;
        self.asked = asked;
    }

    /// Milliseconds of one question that must be answered.
    pub fn timed(&self, path: &str, body: &str) -> Result<f64> {
        let started = Instant::now();
        let (status, answer) = call(&self.address, "POST", path, self.key.as_deref(), body)?;
        if status != 200 {
            bail!("{path} answered {status}: {answer}");
        }
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }

    /// What the kernel counts as resident, of the process and all below it.
    pub fn resident_mib(&self) -> Result<f64> {
        let mut kib = 0.0;
        for process in family(self.child.id())? {
            // One that ended meanwhile holds nothing.
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            kib += number.unwrap_or_default();
        }
        Ok(kib / 1024.0)
    }

    fn stop(&mut self) {
        let family = family(self.child.id()).unwrap_or_default();
        for process in family.iter().rev() {
            let _ = Command::new("kill")
                .args(["-TERM", &process.to_string()])
                .stderr(Stdio::null())
                .status();
        }
        // Whoever does not listen is not waited for.
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Ombud {
    /// A server in a fresh folder, with nothing at work.
    pub fn first(binary: &Path, folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        let (child, told) = spawn(binary, folder, &[])?;
        let key = told["first_start"]["key"]
            .as_str()
            .context("no first start")?
            .to_owned();
        let is_before = folder.ends_with("before");
        let target = Target {
            name: if is_before { OURS } else { OURS_AFTER }.to_owned(),
            asked: Asked::Ours,
            key: Some(key.clone()),
            decides: true,
            address: told["address"].as_str().context("no address")?.to_owned(),
            path: "/api/v1/models/bench_train/decide",
            child,
        };
        Ok(Ombud {
            target,
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            key,
            settings: &[],
        })
    }

    pub fn deploy(&mut self, bundle: &Path) -> Result<()> {
        let manifest: Value =
            serde_json::from_str(&fs::read_to_string(bundle.join("manifest.json"))?)?;
        let name = manifest["name"]
            .as_str()
            .context("a manifest names its model")?;
        let mut deploy = Command::new(&self.binary);
        deploy
            .args(["deploy", name])
            .arg(bundle)
            .arg("--folder")
            .arg(&self.folder);
        command::run(deploy.args(["--reason", "the benchmark"]))
    }

    /// Has a model's answers not wait for their records.
    pub fn record_after(&mut self, model: &str) -> Result<()> {
        let key = self.new_key("operator")?;
        let path = format!("/api/v1/models/{model}/deployments/production/record");
        let body = json!({ "record": "after", "reason": "the benchmark" }).to_string();
        self.asked("POST", &path, &key, &body).map(drop)
    }

    /// A key of its own for a role.
    pub fn new_key(&self, role: &str) -> Result<String> {
        let mut new = Command::new(&self.binary);
        new.args([
            "keys", "new", "--label", "bench", "--role", role, "--json", "--folder",
        ])
        .arg(&self.folder);
        let told: Value = serde_json::from_str(&command::capture(&mut new)?)?;
        let key = told["key"].as_str().context("no key")?;
        Ok(key.to_owned())
    }

    /// What it answers to something that it must do.
    pub fn asked(&self, method: &str, path: &str, key: &str, body: &str) -> Result<Value> {
        let (status, answer) = call(&self.target.address, method, path, Some(key), body)?;
        if !(200..300).contains(&status) {
            bail!("{path} answered {status}: {answer}");
        }
        Ok(serde_json::from_str(&answer)?)
    }

    /// Starts it again: how long until it gave its first answer.
    pub fn start(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let (child, told) = spawn(&self.binary, &self.folder, self.settings)?;
        self.target.child = child;
        told["address"]
            .as_str()
            .context("no address")?
            .clone_into(&mut self.target.address);
        let body = json!({ "input": {}, "explain": false, "use_cache": false }).to_string();
        let (status, answer) = call(
            &self.target.address,
            "POST",
            self.target.path,
            Some(&self.key),
            &body,
        )?;
        let took = started.elapsed();
        // An empty question may lack what it needs; what counts is that the model judged it.
        if status != 200 && !answer.contains("fields-at-fault") {
            bail!("the first answer was {status}: {answer}");
        }
        Ok(took)
    }

    pub fn stop(&mut self) -> Result<()> {
        self.target.stop();
        Ok(())
    }

    /// Starts it again with other settings, here and whenever it is started from now on.
    pub fn restart_with(
        &mut self,
        settings: &'static [(&'static str, &'static str)],
    ) -> Result<()> {
        self.settings = settings;
        self.stop()?;
        self.start().map(drop)
    }
}

/// The ceiling.
pub fn echo(house: &House) -> Result<Target> {
    let mut build = house.cargo();
    build.args(["build", "--release", "--locked", "--bin", "ombud-echo"]);
    command::run(&mut build)?;
    let mut child = Command::new(house.target.join("release/ombud-echo"))
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
    Ok(Target {
        name: ECHO.to_owned(),
        asked: Asked::Plain,
        key: None,
        decides: false,
        address: line.trim().to_owned(),
        path: "/echo",
        child,
    })
}

pub fn fastapi(
    audit: Audit,
    python: &Path,
    here: &Path,
    folder: &Path,
    model: &Path,
) -> Result<Target> {
    let port = free_port()?;
    let mut server = Command::new(python);
    server.current_dir(here).args([
        "-m",
        "uvicorn",
        "fastapi_app:app",
        "--workers",
        "2",
        "--loop",
        "uvloop",
        "--http",
        "httptools",
    ]);
    server
        .args([
            "--no-access-log",
            "--log-level",
            "warning",
            "--port",
            &port.to_string(),
        ])
        .env("MODEL", model);
    let (name, file) = match audit {
        Audit::None => (FASTAPI, None),
        Audit::Tuned => (AUDITED, Some("audit.sqlite")),
        Audit::Plain => (AUDITED_PLAINLY, Some("audit_plain.sqlite")),
    };
    if let Some(file) = file {
        server.env("AUDIT_DATABASE", fresh_database(folder, file));
    }
    if audit == Audit::Plain {
        server.env("AUDIT_AS_IT_COMES", "1");
    }
    peer(
        name,
        server,
        folder,
        port,
        "/predict",
        Asked::Plain,
        "/ready",
    )
}

/// SQLAlchemy's address of a SQLite file that is not there yet.
fn fresh_database(folder: &Path, file: &str) -> String {
    for ending in ["", "-wal", "-shm", "-journal"] {
        let _ = fs::remove_file(folder.join(format!("{file}{ending}")));
    }
    format!("sqlite:///{}", folder.join(file).display())
}

/// The kit `hseg` as FastAPI serves it; `records` is whether it explains and writes a row before it answers.
pub fn fastapi_hseg(
    name: &str,
    records: bool,
    python: &Path,
    here: &Path,
    folder: &Path,
) -> Result<Target> {
    let port = free_port()?;
    let mut server = Command::new(python);
    server.current_dir(here).env("MODEL", folder.join("peer"));
    if records {
        server.env("AUDIT_DATABASE", fresh_database(folder, "audit.sqlite"));
    }
    server.args([
        "-m",
        "uvicorn",
        "hseg_app:app",
        "--workers",
        "2",
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--no-access-log",
        "--log-level",
        "warning",
        "--port",
        &port.to_string(),
    ]);
    let asked = Asked::Plain;
    peer(
        name,
        server,
        folder,
        port,
        "/predict/individual",
        asked,
        "/ready",
    )
}

pub fn mlserver(python: &Path, folder: &Path, model: &Path) -> Result<Target> {
    let here = folder.join("mlserver");
    fs::create_dir_all(&here)?;
    let ports = [free_port()?, free_port()?, free_port()?];
    let settings = json!({ "http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2], "debug": false, "host": "127.0.0.1" });
    fs::write(here.join("settings.json"), settings.to_string())?;
    let model = json!({
        "name": "bench", "implementation": "mlserver_xgboost.XGBoostModel",
        "parameters": { "uri": model.display().to_string(), "version": "v1" },
    });
    fs::write(here.join("model-settings.json"), model.to_string())?;
    let mut server = Command::new(beside(python, "mlserver"));
    server.current_dir(&here).args(["start", "."]);
    peer(
        "MLServer",
        server,
        folder,
        ports[0],
        "/v2/models/bench/infer",
        Asked::V2,
        "/v2/models/bench/ready",
    )
}

pub fn bentoml(python: &Path, here: &Path, folder: &Path, model: &Path) -> Result<Target> {
    let port = free_port()?;
    let mut server = Command::new(beside(python, "bentoml"));
    server.current_dir(here).args([
        "serve",
        "bentoml_app:Bench",
        "--host",
        "127.0.0.1",
        "--port",
        &port.to_string(),
    ]);
    server
        .env("MODEL", model)
        .env("BENTOML_DO_NOT_TRACK", "true")
        .env("BENTOML_HOME", folder.join("bentoml"));
    server.env(
        "BENTOML_CONFIG_OPTIONS",
        "services.Bench.logging.access.enabled=false",
    );
    peer(
        "BentoML",
        server,
        folder,
        port,
        "/predict",
        Asked::Plain,
        "/readyz",
    )
}

/// Triton's server without the package around it, on a repository with one model of its Python back end.
pub fn triton(python: &Path, here: &Path, folder: &Path, model: &Path) -> Result<Target> {
    let packages = python_packages(python)?;
    let server = packages.join("pytriton/tritonserver");
    let work = folder.join("triton");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    let place = work.join("repository/bench");
    fs::create_dir_all(place.join("1"))?;
    fs::copy(here.join("triton_model.py"), place.join("1/model.py"))?;
    fs::copy(here.join("triton_config.pbtxt"), place.join("config.pbtxt"))?;
    // The back end wants the stub of this very Python beside itself.
    let stubs = server.join("python_backend_stubs").join(version(python)?);
    let back_end = work.join("backends/python");
    command::run(
        Command::new("cp")
            .arg("-r")
            .arg(server.join("backends"))
            .arg(&work),
    )?;
    let stub = "triton_python_backend_stub";
    fs::copy(stubs.join(stub), back_end.join(stub))?;
    let ports = [free_port()?, free_port()?, free_port()?];
    let mut serve = Command::new(server.join("bin/tritonserver"));
    for (name, port) in ["http", "grpc", "metrics"].into_iter().zip(ports) {
        serve.arg(format!("--{name}-address=127.0.0.1"));
        serve.arg(format!("--{name}-port={port}"));
    }
    serve
        .arg("--model-repository")
        .arg(work.join("repository"))
        .arg("--backend-directory")
        .arg(work.join("backends"))
        .args(["--allow-gpu-metrics=false", "--log-info=false"])
        .env("MODEL", model)
        .env("PYTHONPATH", &packages)
        .env("LD_LIBRARY_PATH", packages.join("nvidia_pytriton.libs"))
        .env("PATH", path_with(python)?);
    peer(
        "Triton",
        serve,
        folder,
        ports[0],
        "/v2/models/bench/infer",
        Asked::V2,
        "/v2/models/bench/ready",
    )
}

fn python_packages(python: &Path) -> Result<PathBuf> {
    let say = "import sysconfig; print(sysconfig.get_path('platlib'))";
    let told = command::capture(Command::new(python).args(["-c", say]))?;
    Ok(PathBuf::from(told.trim()))
}

fn version(python: &Path) -> Result<String> {
    let say = "import sys; print('%d.%d' % sys.version_info[:2])";
    let told = command::capture(Command::new(python).args(["-c", say]))?;
    Ok(told.trim().to_owned())
}

/// The search path with a Python's own folder first.
fn path_with(python: &Path) -> Result<std::ffi::OsString> {
    let own = python.parent().context("a Python lies in a folder")?;
    let known = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(own.to_owned()).chain(env::split_paths(&known));
    Ok(env::join_paths(folders)?)
}

/// wrk's script.
pub fn load_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/serve/load.lua")
}

fn peer(
    name: &str,
    mut server: Command,
    folder: &Path,
    port: u16,
    path: &'static str,
    asked: Asked,
    ready: &str,
) -> Result<Target> {
    let log = folder.join(format!("{}.log", name.replace(' ', "_").to_lowercase()));
    let file = File::create(&log)?;
    let child = server
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()?;
    let mut target = Target {
        name: name.to_owned(),
        asked,
        key: None,
        decides: true,
        address: format!("127.0.0.1:{port}"),
        path,
        child,
    };
    let until = Instant::now() + READY_PATIENCE;
    while !call(&target.address, "GET", ready, None, "").is_ok_and(|(status, _)| status == 200) {
        if target.child.try_wait()?.is_some() || Instant::now() > until {
            bail!("{name} was not ready; {} has what it said", log.display());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(target)
}

fn spawn(binary: &Path, folder: &Path, settings: &[(&str, &str)]) -> Result<(Child, Value)> {
    let mut serve = Command::new(binary);
    serve
        .envs(settings.iter().copied())
        .args([
            "serve",
            "--json",
            "--port",
            "0",
            "--set",
            "log.requests=false",
            "--folder",
        ])
        .arg(folder);
    fs::create_dir_all(folder)?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.with_extension("log"))?;
    let mut child = serve.stdout(Stdio::piped()).stderr(log).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
    let told = serde_json::from_str(&line).context("the server did not say where it is")?;
    Ok((child, told))
}

/// A process and all below it, parents first.
fn family(first: u32) -> Result<Vec<u32>> {
    let mut family = vec![first];
    let mut place = 0;
    while let Some(process) = family.get(place) {
        let tasks = fs::read_dir(format!("/proc/{process}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(
                children
                    .split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
        place += 1;
    }
    Ok(family)
}

/// A program of the same environment.
fn beside(python: &Path, program: &str) -> PathBuf {
    python.with_file_name(program)
}

/// A port that was free a moment ago; the peers cannot choose one themselves and say so.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// One call on a connection of its own: status and body.
/// One question over a connection of its own: the status and the body.
pub fn call(
    address: &str,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: &str,
) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(CALL_PATIENCE))?;
    stream.set_nodelay(true)?;
    let authorization = key
        .map(|key| format!("authorization: Bearer {key}\r\n"))
        .unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n{authorization}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer has no end of its head")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("the answer has no status")?;
    Ok((status, body.to_owned()))
}
