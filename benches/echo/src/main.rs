//! What an HTTP server in Rust can do at most with a question: read it as JSON, write it as JSON. No key, no model, no
//! record. Prints its address when it listens.

use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    use axum::serve::ListenerExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    // Its answer leaves at once, as ours does.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let router = Router::new().route("/ready", get(async || "ready")).route(
        "/echo",
        post(async |Json(question): Json<Value>| Json(question)),
    );
    axum::serve(listener, router).await
}
