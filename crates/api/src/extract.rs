//! What a handler takes: the caller, a path's name, a query, a body; each refuses in our own words.
//!
//! The caller comes first in every handler, so that a stranger learns nothing from how a body is judged. Letting somebody
//! in means that the table of access has their route and gives them the right it names, and that their bucket for this
//! class of route ([`crate::limits`]) is not empty.

use crate::access::{Access, Caller, Right};
use crate::auth::basic;
use crate::bodies::{self, Spent};
use crate::house::House;
use crate::limits::RouteClass;
use crate::refusal::{Code, Refusal};
use crate::routes;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use ombud_core::nearest::nearest;
use serde::de::DeserializeOwned;
use std::ops::Deref;
use std::sync::Arc;

/// Whoever sent the request, let in.
#[derive(Debug, Clone)]
pub struct Known(pub Arc<Caller>);

/// The parts of the path that have names.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

/// The query.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

/// A body of JSON.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

/// A body as it came.
#[derive(Debug, Clone)]
pub struct Raw(pub Bytes);

impl Deref for Known {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl FromRequestParts<House> for Known {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, house: &House) -> Result<Self, Refusal> {
        let access = access_of(house, parts);
        let_in(house, parts, access).await
    }
}

/// Lets somebody in to what asks this of them. A stranger hears that first, whatever else is wrong.
pub async fn let_in(
    house: &House,
    parts: &mut Parts,
    access: Result<Access, Refusal>,
) -> Result<Known, Refusal> {
    let caller = basic::caller(house, parts).await?;
    house.note_caller(&parts.extensions, &caller);
    refuse_other_workspaces(parts, &caller)?;
    let access = access?;
    if let Access::Needs(right) = access {
        caller.may(right)?;
    }
    match house
        .limits
        .take(class_of(&parts.method, access), &caller.principal)
        .await
    {
        Ok(None) => {}
        Ok(Some(allowance)) => house.note_allowance(&mut parts.extensions, allowance),
        Err(refusal) => {
            house.metrics.limited.of(&["rate"]).add();
            return Err(refusal);
        }
    }
    Ok(Known(caller))
}

impl<T: DeserializeOwned + Send> FromRequestParts<House> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, house: &House) -> Result<Self, Refusal> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, house).await;
        path.map(|path| Path(path.0))
            .map_err(|error| Refusal::malformed(error.body_text()))
    }
}

impl<T: DeserializeOwned> FromRequestParts<House> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, house: &House) -> Result<Self, Refusal> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, house).await;
        query
            .map(|query| Query(query.0))
            .map_err(|error| refused_query(&error.body_text()))
    }
}

/// What is wrong with a query, without the words of who read it; a misspelt name with the nearest right one.
fn refused_query(text: &str) -> Refusal {
    let text = text
        .strip_prefix("Failed to deserialize query string: ")
        .unwrap_or(text);
    let refusal = Refusal::malformed(format!("the query: {text}"));
    let mut names = text.split('`').skip(1).step_by(2);
    let unknown = text.contains("unknown field `").then(|| names.next());
    let near = unknown.flatten().and_then(|name| {
        let name = name.to_owned();
        let known: Vec<&str> = names.filter(|known| *known != name).collect();
        nearest(&name, known).map(str::to_owned)
    });
    match near {
        Some(near) => refusal.hint(format!("is it `{near}`?")),
        None => refusal,
    }
}

impl<T: DeserializeOwned> FromRequest<House> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, house: &House) -> Result<Self, Refusal> {
        let Raw(bytes) = Raw::from_request(request, house).await?;
        read_json(&bytes).map(Json)
    }
}

impl FromRequest<House> for Raw {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, house: &House) -> Result<Self, Refusal> {
        if !is_json(&request) {
            return Err(
                Refusal::new(Code::UnsupportedMediaType, "the body must be JSON")
                    .hint("send `Content-Type: application/json`"),
            );
        }
        refuse_packed(request.headers())?;
        let bytes_max = house.config.limits.body_bytes_max.0;
        read_body(request.into_body(), bytes_max).await.map(Raw)
    }
}

/// Reads a body, up to a limit.
pub async fn read_body(body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::new(
            Code::TooLarge,
            format!("a body may have {bytes_max} bytes"),
        )),
        Err(error) if Spent::is_behind(&*error) => {
            Err(Refusal::new(Code::Busy, bodies::WORDS).retry_after(bodies::RETRY_AFTER))
        }
        Err(_) => Err(Refusal::malformed("the body did not arrive whole")),
    }
}

/// Refuses a body that is packed, where nobody unpacks it.
pub fn refuse_packed(headers: &HeaderMap) -> Result<(), Refusal> {
    let coding = headers.get(header::CONTENT_ENCODING);
    match coding.map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(()),
        Some(_) => {
            let words = "a body with a Content-Encoding is not read here";
            Err(Refusal::new(Code::UnsupportedMediaType, words).hint("send it as it is"))
        }
    }
}

/// Reads a JSON object, telling an unknown field with the nearest right name. What derives its reading from a struct would
/// take a list of its fields' values too, by their order; nobody means that.
pub fn read_json<'b, T: serde::Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, Refusal> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return Err(Refusal::malformed("the body is a JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        let refusal = Refusal::malformed(format!("the body cannot be read: {}", in_words(&text)));
        match near_field(&text) {
            Some(near) => refusal.hint(format!("is it `{near}`?")),
            None => refusal,
        }
    })
}

/// What the table asks for. A route that it does not know lets nobody in.
fn access_of(house: &House, parts: &Parts) -> Result<Access, Refusal> {
    let route = parts
        .extensions
        .get::<MatchedPath>()
        .map(MatchedPath::as_str)
        .unwrap_or_default();
    let access = routes::access_of(house.kits, parts.method.as_str(), route);
    access.ok_or_else(|| {
        Refusal::new(
            Code::Forbidden,
            "nobody has been given the right to this route",
        )
    })
}

/// MLflow's clients name a tenant as a workspace. A caller has one, so it can only be that one.
fn refuse_other_workspaces(parts: &Parts, caller: &Caller) -> Result<(), Refusal> {
    let Some(named) = parts.headers.get(basic::WORKSPACE_HEADER) else {
        return Ok(());
    };
    if named.as_bytes() == caller.tenant.as_str().as_bytes() {
        return Ok(());
    }
    let detail = format!(
        "you belong to the workspace {:?} and to no other",
        caller.tenant.as_str()
    );
    Err(Refusal::new(Code::Forbidden, detail))
}

fn class_of(method: &Method, access: Access) -> RouteClass {
    match access {
        Access::Needs(Right::Decide) => RouteClass::Decisions,
        Access::Needs(Right::SeeRuns | Right::LogRuns) => RouteClass::Runs,
        // Some questions have a body and change nothing.
        Access::Needs(Right::SeeModels | Right::SeeDecisions | Right::SeeAudit) => {
            RouteClass::Reads
        }
        _ if matches!(*method, Method::GET | Method::HEAD) => RouteClass::Reads,
        _ => RouteClass::Changes,
    }
}

fn is_json(request: &Request<Body>) -> bool {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = kind.map(|kind| {
        kind.split(';')
            .next()
            .unwrap_or(kind)
            .trim()
            .to_ascii_lowercase()
    });
    kind.is_some_and(|kind| {
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
    })
}

/// What serde says, without the names that the program has for its own types.
fn in_words(text: &str) -> String {
    const WHOLE: [&str; 8] = ["u8", "u16", "u32", "u64", "usize", "i32", "i64", "i8"];
    let Some((said, rest)) = text.split_once("expected ") else {
        return text.to_owned();
    };
    let end = rest.find(" at line ").unwrap_or(rest.len());
    let (wanted, place) = rest.split_at(end);
    let wanted = match wanted {
        wanted if WHOLE.contains(&wanted) => "a whole number within its bounds",
        "f32" | "f64" => "a number",
        wanted if wanted.starts_with("struct ") => "an object",
        wanted => wanted,
    };
    format!("{said}expected {wanted}{place}")
}

/// serde says "unknown field `inptu`, expected one of `input`, `subject`".
fn near_field(text: &str) -> Option<String> {
    let mut quoted = text
        .strip_prefix("unknown field ")?
        .split('`')
        .skip(1)
        .step_by(2);
    let wrong = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    nearest(wrong, known).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its names matter")]
    struct Body {
        input: u8,
        subject: u8,
    }

    #[test]
    fn an_unknown_field_is_told_with_the_nearest_right_one() {
        let refusal = read_json::<Body>(br#"{"inptu": 1}"#).expect_err("wrong");
        assert_eq!(refusal.problem("r").hint.as_deref(), Some("is it `input`?"));
    }

    #[test]
    fn a_refusal_names_no_type_of_the_program() {
        let refusal = read_json::<Body>(br#"{"input": 300, "subject": 1}"#).expect_err("wrong");
        let words = refusal.detail();
        assert!(
            words.contains("expected a whole number") && !words.contains("u8"),
            "{words}"
        );
        let refusal = read_json::<Body>(b"3").expect_err("wrong");
        assert!(refusal.detail().contains("expected an object"), "{refusal}");
    }

    #[test]
    fn a_list_is_no_object() {
        let refusal = read_json::<Body>(b" [1, 2]").expect_err("a list of values");
        assert_eq!(refusal.detail(), "the body is a JSON object");
        assert!(read_json::<Body>(br#"{"input": 1, "subject": 2}"#).is_ok());
    }

    #[test]
    fn a_packed_body_is_refused_where_nobody_unpacks_it() {
        let mut headers = HeaderMap::new();
        assert!(refuse_packed(&headers).is_ok());
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let refused = refuse_packed(&headers).expect_err("packed");
        assert_eq!(refused.code(), Code::UnsupportedMediaType);
    }
}
