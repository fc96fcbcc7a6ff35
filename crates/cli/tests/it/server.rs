//! A server of its own for one test: the real binary, on a port that it chose, called over a plain socket.

use crate::support::Place;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub address: String,
    pub started: Value,
}

/// What was answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Server {
    /// Starts a server in a place, with more words.
    pub fn start(place: &Place, words: &[&str]) -> Self {
        // Tests ask more often than anybody should.
        let mut all = vec!["serve", "--json", "--set", "limits.reads_per_minute=0"];
        if !words
            .iter()
            .any(|word| *word == "--port" || *word == "--listen")
        {
            all.extend(["--port", "0"]);
        }
        all.extend(words);
        Server::run(place, place.command(&all))
    }

    /// Runs a command that becomes a server.
    pub fn run(place: &Place, mut command: Command) -> Self {
        command
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(place.path("serve.log")).expect("a file"));
        let mut child = command.spawn().expect("the binary runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let log = || std::fs::read_to_string(place.path("serve.log")).unwrap_or_default();
        let started: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error}: {line:?} {}", log()));
        let address = started["address"]
            .as_str()
            .unwrap_or_else(|| panic!("no address: {started}"))
            .to_owned();
        Server {
            child,
            address,
            started,
        }
    }

    /// The key that the first start made.
    pub fn first_key(&self) -> String {
        self.started["first_start"]["key"]
            .as_str()
            .expect("a first start")
            .to_owned()
    }

    pub fn get(&self, path: &str, key: &str) -> Reply {
        self.call(
            "GET",
            path,
            &[("authorization", &format!("Bearer {key}"))],
            "",
        )
    }

    pub fn post(&self, path: &str, key: &str, body: &Value) -> Reply {
        let authorization = format!("Bearer {key}");
        self.call(
            "POST",
            path,
            &[
                ("authorization", &authorization),
                ("content-type", "application/json"),
            ],
            &body.to_string(),
        )
    }

    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.try_call(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// A call that may be cut short.
    pub fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<Reply> {
        call(&self.address, method, path, headers, body)
    }

    /// Asks it to end, as a service manager does, and waits until it has.
    pub fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("kill runs");
        assert!(sent.success());
        self.child.wait().expect("it ends").code()
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that ended already cannot be killed again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// That it went well; gives the body.
    pub fn fine(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }
}

/// One call on a connection of its own.
pub fn call(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or(std::io::ErrorKind::InvalidData)?;
    let whole = head
        .lines()
        .filter_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")
                .map(str::to_owned)
        })
        .next();
    if whole.is_some_and(|length| length.parse() != Ok(body.len())) {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Reply {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
