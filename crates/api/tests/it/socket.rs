//! The socket: TLS and its renewal, slow clients, an end in order.

use crate::support::Open;
use ombud_api::config::value::Seconds;
use ombud_api::serve::Server;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const FIRST: (&str, &str) = (
    include_str!("keys/first.pem"),
    include_str!("keys/first.key"),
);
const RENEWED: (&str, &str) = (
    include_str!("keys/renewed.pem"),
    include_str!("keys/renewed.key"),
);

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn start(open: &Open) -> Running {
    let server = Server::open(open.house.clone()).await.expect("a server");
    let address = server.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(server.run(async move {
        let _ = stopped.await;
    }));
    Running {
        address,
        stop,
        ended,
    }
}

fn put(folder: &Path, pair: (&str, &str)) {
    std::fs::write(folder.join("site.pem"), pair.0).expect("a file");
    std::fs::write(folder.join("site.key"), pair.1).expect("a file");
}

/// Asks over TLS, trusting one certificate only.
async fn ask(address: SocketAddr, trusted: &str) -> Result<String, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.as_bytes()).expect("a certificate"))
        .expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions");
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await?;
    let mut stream = connector
        .connect(ServerName::try_from("localhost").expect("a name"), stream)
        .await?;
    stream
        .write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), FIRST);
    let open = Open::with(|config| {
        config.server.listen = "127.0.0.1:0".parse().expect("an address");
        config.tls.certificate = folder.path().join("site.pem");
        config.tls.key = folder.path().join("site.key");
    })
    .await;
    let tls = ombud_api::listen::tls::Tls::load(&open.house.config.tls).expect("a pair");
    let running = start(&open).await;
    let answer = ask(running.address, FIRST.0).await.expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("strict-transport-security"),
        "{answer}"
    );
    assert!(ask(running.address, RENEWED.0).await.is_err());

    // Looked at by hand here; the server does the same twice a minute.
    put(folder.path(), RENEWED);
    tls.look_again();
    assert_eq!(
        tls.certificate(),
        CertificateDer::from_pem_slice(RENEWED.0.as_bytes()).expect("a certificate")
    );
    put(folder.path(), (RENEWED.0, FIRST.1));
    tls.look_again();
    assert_eq!(
        tls.certificate(),
        CertificateDer::from_pem_slice(RENEWED.0.as_bytes()).expect("a certificate")
    );
    running.stop.send(()).expect("it runs");
    running.ended.await.expect("it ends");
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_hung_up_on() {
    let open = Open::with(|config| {
        config.server.listen = "127.0.0.1:0".parse().expect("an address");
        config.server.head_seconds = Seconds(1);
    })
    .await;
    let running = start(&open).await;
    // Nothing, what may become HTTP/2, and half a head of HTTP/1.
    for said in ["", "PRI * HT", "GET /health/live HTTP/1.1\r\nhost: "] {
        let mut slow = TcpStream::connect(running.address)
            .await
            .expect("a connection");
        slow.write_all(said.as_bytes()).await.expect("written");
        let mut rest = Vec::new();
        // It ends by itself; were it held, this would wait for ever and the test runner would say so.
        slow.read_to_end(&mut rest).await.expect("it ends");
    }
    running.stop.send(()).expect("it runs");
    running.ended.await.expect("it ends");
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_body_hears_that_its_time_is_over() {
    let open = Open::with(|config| {
        config.server.listen = "127.0.0.1:0".parse().expect("an address");
        config.server.request_seconds = Seconds(1);
    })
    .await;
    let running = start(&open).await;
    let mut slow = TcpStream::connect(running.address)
        .await
        .expect("a connection");
    let head = "POST /api/v1/session HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.expect("written");
    let mut answer = [0; 4_096];
    let read = slow.read(&mut answer).await.expect("an answer");
    let text = String::from_utf8_lossy(&answer[..read]);
    assert!(
        text.starts_with("HTTP/1.1 504") && text.contains("timed-out"),
        "{text}"
    );
    running.stop.send(()).expect("it runs");
    running.ended.await.expect("it ends");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let open =
        Open::with(|config| config.server.listen = "127.0.0.1:0".parse().expect("an address"))
            .await;
    let running = start(&open).await;
    let mut greedy = TcpStream::connect(running.address)
        .await
        .expect("a connection");
    let head = format!(
        "GET /health/live HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    let mut answer = String::new();
    // It may hang up before everything is written.
    let _ = greedy.write_all(head.as_bytes()).await;
    let _ = greedy.read_to_string(&mut answer).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    running.stop.send(()).expect("it runs");
    running.ended.await.expect("it ends");
}
