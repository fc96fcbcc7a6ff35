//! A client of MLflow's REST protocol: asks, pages, tries again what may pass, and says plainly what does not.

use crate::failure::Failure;
use ombud_core::Class;
use ombud_store::depot::Chunks;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::io;
use std::time::Duration;

/// How often a question is asked again that failed for a reason that may pass.
const TRIES_MAX: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// How long one answer may take to begin.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Things on one page.
const ROWS: usize = 1_000;
/// Pages of one list: a server that never ends one is broken.
const PAGES_MAX: usize = 100_000;

/// A server of MLflow's.
#[derive(Debug)]
pub(super) struct Server {
    client: Client,
    base: String,
}

impl Server {
    /// A server by its address. Credentials are MLflow's own: `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and
    /// `MLFLOW_TRACKING_PASSWORD`.
    pub fn new(uri: &str) -> Result<Self, Failure> {
        if !uri.starts_with("http://") && !uri.starts_with("https://") {
            return Err(Failure::invalid(
                format!("{uri:?} is no address of a server"),
                "such as http://127.0.0.1:5000; a folder or a database is read by `mlflow server --backend-store-uri …`",
            ));
        }
        // One TLS for the house. A provider that was installed before is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(ANSWER_WAIT)
            .build();
        let client = client.map_err(|error| unreachable(uri, &error))?;
        Ok(Server {
            client,
            base: uri.trim_end_matches('/').to_owned(),
        })
    }

    /// A GET under `/api/2.0/mlflow`.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        let asked = || {
            self.request(Method::GET, &format!("/api/2.0/mlflow/{path}"))
                .query(query)
        };
        read(self.send(&asked).await?).await
    }

    /// A POST under `/api/2.0/mlflow`; none when the server does not know the path.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Option<Value>, Failure> {
        let asked = || {
            self.request(Method::POST, &format!("/api/2.0/mlflow/{path}"))
                .header("content-type", "application/json")
                .body(body.to_string())
        };
        match self.send(&asked).await {
            Err(Unsent::Refused(StatusCode::NOT_FOUND, _)) => Ok(None),
            answer => Ok(Some(read(answer?).await?)),
        }
    }

    /// Every item of a list that is searched by POST, page by page.
    pub async fn searched(
        &self,
        path: &str,
        items: &str,
        mut body: Value,
    ) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        body["max_results"] = json!(ROWS);
        for _ in 0..PAGES_MAX {
            let Some(mut page) = self.post(path, &body).await? else {
                return Ok(found);
            };
            found.extend(taken(&mut page, items));
            match page["next_page_token"].as_str() {
                Some(next) if !next.is_empty() => body["page_token"] = json!(next),
                _ => return Ok(found),
            }
        }
        Err(endless(path))
    }

    /// Every item of a list that is paged by GET.
    pub async fn listed(
        &self,
        path: &str,
        items: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        let mut token = String::new();
        for _ in 0..PAGES_MAX {
            let mut query = query.to_vec();
            if !token.is_empty() {
                query.push(("page_token", &token));
            }
            let mut page = self.get(path, &query).await?;
            found.extend(taken(&mut page, items));
            match page["next_page_token"].as_str() {
                Some(next) if !next.is_empty() => token = next.to_owned(),
                _ => return Ok(found),
            }
        }
        Err(endless(path))
    }

    /// What lies in a folder of the server's files, or why the server does not tell.
    pub async fn files(&self, folder: &str) -> Result<Result<Vec<Value>, String>, Failure> {
        let asked = || {
            self.request(Method::GET, "/api/2.0/mlflow-artifacts/artifacts")
                .query(&[("path", folder)])
        };
        let answer = match self.send(&asked).await {
            Err(unsent) => return unsent.about_one_thing().map(Err),
            Ok(answer) => answer,
        };
        let mut page = read(answer).await?;
        Ok(Ok(taken(&mut page, "files")))
    }

    /// A file of the server's, as it comes, or why the server does not give it.
    pub async fn file(&self, path: &str) -> Result<Result<Chunks, String>, Failure> {
        let place: Vec<String> = path.split('/').map(encoded).collect();
        let place = format!("/api/2.0/mlflow-artifacts/artifacts/{}", place.join("/"));
        let asked = || self.request(Method::GET, &place);
        let answer = match self.send(&asked).await {
            Err(unsent) => return unsent.about_one_thing().map(Err),
            Ok(answer) => answer,
        };
        let chunks = futures_util::stream::unfold(answer, |mut answer| async move {
            match answer.chunk().await {
                Ok(Some(chunk)) => Some((Ok(chunk.to_vec()), answer)),
                Ok(None) => None,
                Err(error) => Some((Err(io::Error::other(error)), answer)),
            }
        });
        Ok(Ok(Box::pin(chunks)))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        if let Some(token) = variable("MLFLOW_TRACKING_TOKEN") {
            return request.bearer_auth(token);
        }
        match variable("MLFLOW_TRACKING_USERNAME") {
            Some(login) => request.basic_auth(login, variable("MLFLOW_TRACKING_PASSWORD")),
            None => request,
        }
    }

    async fn send(&self, asked: &(dyn Fn() -> RequestBuilder + Sync)) -> Result<Response, Unsent> {
        let mut wait = FIRST_WAIT;
        for attempt in 1..=TRIES_MAX {
            let is_last = attempt == TRIES_MAX;
            match asked().send().await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) if is_last || !may_pass(answer.status()) => {
                    let status = answer.status();
                    return Err(Unsent::Refused(status, refused(answer).await));
                }
                Err(error) if is_last => {
                    return Err(Unsent::Lost(unreachable(&self.base, &error)));
                }
                Ok(_) | Err(_) => tokio::time::sleep(wait).await,
            }
            wait *= 2;
        }
        Err(Unsent::Lost(endless(&self.base)))
    }
}

/// Why there is no answer.
enum Unsent {
    Refused(StatusCode, Failure),
    Lost(Failure),
}

impl Unsent {
    /// What was refused about one thing alone is told in words and the next is asked for. Whoever is let in nowhere or reaches
    /// nobody stops, and so does who meets what passes, such as a store of files that is away: the next import goes on there.
    fn about_one_thing(self) -> Result<String, Failure> {
        match self {
            // MLflow says so of a file that it cannot read, however often it is asked.
            Unsent::Refused(status, _)
                if status == StatusCode::INTERNAL_SERVER_ERROR
                    || !may_pass(status)
                        && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
            {
                Ok(format!("the server answered {status}"))
            }
            unsent => Err(unsent.into()),
        }
    }
}

impl From<Unsent> for Failure {
    fn from(unsent: Unsent) -> Failure {
        match unsent {
            Unsent::Refused(_, failure) | Unsent::Lost(failure) => failure,
        }
    }
}

fn may_pass(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

async fn read(answer: Response) -> Result<Value, Failure> {
    let text = answer.text().await.unwrap_or_default();
    serde_json::from_str(&text).map_err(|_| {
        Failure::invalid(
            "the server answered something that is no JSON",
            "is it an MLflow server?",
        )
    })
}

async fn refused(answer: Response) -> Failure {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    let told: Value = serde_json::from_str(&text).unwrap_or_default();
    let words = told["message"].as_str().unwrap_or_default();
    let words: String = words.chars().take(300).collect();
    let (class, hint) = match status {
        StatusCode::UNAUTHORIZED => (
            Class::Unauthenticated,
            "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
        StatusCode::FORBIDDEN => (Class::Forbidden, "ask for the right to read"),
        StatusCode::NOT_FOUND => (Class::NotFound, "is it an MLflow server?"),
        _ => (
            Class::Unavailable,
            "look at the server, and begin again; it goes on",
        ),
    };
    Failure::new(
        class,
        format!("the server answered {status}: {words}"),
        hint,
    )
}

fn unreachable(base: &str, error: &reqwest::Error) -> Failure {
    let words = crate::failure::chain(error);
    Failure::new(
        Class::Unavailable,
        format!("{base} cannot be reached: {words}"),
        "check the address, and begin again; it goes on",
    )
}

fn endless(path: &str) -> Failure {
    Failure::new(
        Class::Unavailable,
        format!("the list {path} does not end"),
        "is it an MLflow server?",
    )
}

fn taken(page: &mut Value, items: &str) -> Vec<Value> {
    match page[items].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// One part of a path, as an address has it.
fn encoded(part: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let byte = |byte: u8| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    part.bytes().map(byte).collect()
}
