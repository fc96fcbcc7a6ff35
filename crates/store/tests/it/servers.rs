//! Real servers of the test's own: a Redis on a socket, an object store on a port that the system chose. Both end with the
//! value that stands for them.

use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use ombud_store::artifacts::{ObjectOptions, Objects};
use ombud_store::buckets::Buckets;
use ombud_store::cache::{Redis, RedisOptions};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

/// Names a Python that has `moto[server]`.
const PYTHON: &str = "OMBUD_TEST_PYTHON";

/// A Redis of the test's own.
pub struct RedisServer {
    folder: TempDir,
    process: Child,
}

/// An object store of the test's own.
pub struct ObjectServer {
    process: Child,
    endpoint: String,
}

impl RedisServer {
    /// Starts one, when Debian's program is installed.
    pub fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        match spawn_redis(&folder) {
            Some(process) => Some(RedisServer { folder, process }),
            None if std::env::var_os("CI").is_some() => {
                panic!(
                    "redis-server is missing, and CI must have it: install the package redis-server"
                )
            }
            None => {
                eprintln!("redis-server is not installed: nothing to run on");
                None
            }
        }
    }

    pub fn cache(&self) -> Redis {
        let url = format!("unix:{}", self.socket().display());
        Redis::new(RedisOptions::new(&url)).unwrap()
    }

    pub fn buckets(&self) -> Buckets {
        let url = format!("unix:{}", self.socket().display());
        Buckets::new(&url, "ombud").unwrap()
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn restart(&mut self) {
        self.process = spawn_redis(&self.folder).unwrap();
    }

    pub fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(sent.unwrap().success());
    }

    pub fn ask(&self, question: &[&str]) -> String {
        let socket = self.socket();
        let mut command = Command::new("redis-cli");
        command.arg("-s").arg(socket).args(question);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }

    pub fn keys(&self) -> Vec<String> {
        let keys = self.ask(&["KEYS", "*"]);
        keys.lines().map(str::to_owned).collect()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

fn spawn_redis(folder: &TempDir) -> Option<Child> {
    let mut command = Command::new("redis-server");
    command.args([
        "--port",
        "0",
        "--save",
        "",
        "--appendonly",
        "no",
        "--unixsocket",
    ]);
    command.arg(folder.path().join("socket"));
    command
        .arg("--dir")
        .arg(folder.path())
        .stdout(Stdio::piped());
    let mut process = command.spawn().ok()?;
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let is_ready = lines.any(|line| line.unwrap().contains("eady to accept connections"));
    assert!(is_ready, "redis-server ended before it was ready");
    // Its later words go nowhere, and a full pipe must not stop it.
    std::thread::spawn(move || lines.for_each(drop));
    Some(process)
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl ObjectServer {
    /// Starts one, when a Python that has it is named.
    pub fn start() -> Option<Self> {
        let Ok(python) = std::env::var(PYTHON) else {
            eprintln!("{PYTHON} is not set: nothing to run on");
            return None;
        };
        let program = "import sys\n\
            from moto.server import ThreadedMotoServer\n\
            server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\n\
            server.start()\n\
            print('http://%s:%s' % server.get_host_and_port(), flush=True)\n\
            sys.stdin.read()\n";
        let mut process = Command::new(python)
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut endpoint = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut endpoint)
            .unwrap();
        let endpoint = endpoint.trim().to_owned();
        assert!(
            endpoint.starts_with("http://"),
            "the object server did not start"
        );
        Some(ObjectServer { process, endpoint })
    }

    /// A fresh bucket.
    pub async fn bucket(&self, name: &str) -> Arc<Objects> {
        let objects = Objects::new(ObjectOptions {
            bucket: name.to_owned(),
            prefix: "house".to_owned(),
            endpoint: Some(self.endpoint.clone()),
            region: "us-east-1".to_owned(),
            access: Some(("test".to_owned(), "test".to_owned())),
            allow_http: true,
        });
        let made = reqwest::Client::new()
            .put(format!("{}/{name}", self.endpoint))
            .send()
            .await;
        assert!(made.unwrap().status().is_success());
        Arc::new(objects.unwrap())
    }

    /// An object as another program reads it.
    pub async fn read(&self, bucket: &str, key: &str) -> String {
        let store = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_endpoint(&self.endpoint)
            .with_region("us-east-1")
            .with_access_key_id("test")
            .with_secret_access_key("test")
            .with_allow_http(true)
            .build()
            .unwrap();
        let content = store.get(&key.into()).await.unwrap().bytes().await;
        String::from_utf8(content.unwrap().to_vec()).unwrap()
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
