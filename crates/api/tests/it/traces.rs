//! Spans of requests, as a collector receives them.

use crate::support::{Open, get};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A collector that takes one call and gives its body.
async fn collector() -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let taken = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a call");
        let mut text = String::new();
        loop {
            let mut part = [0; 4_096];
            let read = stream.read(&mut part).await.expect("bytes");
            text.push_str(std::str::from_utf8(&part[..read]).expect("text"));
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.lines().find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            if Some(body.len()) == length {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                stream
                    .write_all(answer.as_bytes())
                    .await
                    .expect("an answer");
                return body.to_owned();
            }
        }
    });
    (format!("http://{address}/v1/traces"), taken)
}

#[tokio::test]
async fn a_request_is_a_span_in_its_caller_s_trace_and_says_nothing_of_what_was_sent() {
    let (endpoint, taken) = collector().await;
    let open = Open::with(|config| config.traces.endpoint = endpoint).await;
    let exporter = open.house.exporter.lock().expect("a lock").take();
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(exporter.expect("a collector is named").run(stopped));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let call = |flags: &str| {
        let parent = format!("00-{trace}-00f067aa0ba902b7-{flags}");
        get("/api/v1/models/my-own-words?secret=1")
            .header("traceparent", &parent)
            .header("x-request-id", "r-1")
    };
    open.call(call("00")).await.refused("unauthenticated");
    open.call(call("01")).await.refused("unauthenticated");
    drop(stop);
    running.await.expect("it ends");
    let body = taken.await.expect("a body");
    assert!(!body.contains("my-own-words") && !body.contains("secret"));
    let sent: Value = serde_json::from_str(&body).expect("JSON");
    let spans = sent["resourceSpans"][0]["scopeSpans"][0]["spans"].clone();
    let spans = spans.as_array().expect("a list");
    assert_eq!(spans.len(), 1, "who is not sampled is not sent: {body}");
    let span = &spans[0];
    assert_eq!(span["traceId"], trace);
    assert_eq!(span["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(span["name"], "GET /api/v1/models/{name}");
    assert_eq!(span["kind"], 2);
    let time = |name: &str| {
        span[name]
            .as_str()
            .and_then(|nanos| nanos.parse::<u64>().ok())
    };
    assert!(time("startTimeUnixNano") < time("endTimeUnixNano"));
    assert_eq!(
        open.house.metrics.spans.of(&["sent"]).get(),
        1,
        "and it is counted"
    );
}
