//! What Triton and MLServer have at paths of their own and nothing here does: shared memory, traces, log settings.
//!
//! A client that asks hears that this is not done, in the protocol's words, instead of that nothing is there: the one is an
//! answer about this server, the other a riddle about an address. Anybody may hear it. None of this is in the OpenAPI document.

use crate::house::House;
use crate::refusal::{Code, Refusal};
use axum::Router;
use axum::routing::any;

/// Regions that this process and the client would share.
const MEMORY: [&str; 2] = [
    "/v2/systemsharedmemory/{*region}",
    "/v2/cudasharedmemory/{*region}",
];
/// Traces and logs are the settings' file's.
const SETTINGS: [&str; 4] = [
    "/v2/trace/setting",
    "/v2/models/{name}/trace/setting",
    "/v2/logging",
    "/v2/models/{name}/logging",
];

/// The routes of this file.
pub fn router() -> Router<House> {
    let mut router = Router::new();
    for path in MEMORY {
        router = router.route(path, any(no_memory));
    }
    for path in SETTINGS {
        router = router.route(path, any(no_settings));
    }
    router
}

async fn no_memory() -> Refusal {
    Refusal::new(Code::Unsupported, "no memory is shared with clients here")
        .hint("send the bytes in the request")
}

async fn no_settings() -> Refusal {
    Refusal::new(
        Code::Unsupported,
        "traces and logs are not set over HTTP here",
    )
    .hint("`traces` and `log` in ombud.toml set them")
}
