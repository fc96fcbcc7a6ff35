//! What a client asks, read as leniently as MLflow's server reads it: fields in the query of a GET and in the body of
//! everything else, numbers also as texts, unknown fields passed over, a missing one named.

use crate::extract::{read_body, read_json, refuse_packed};
use crate::house::House;
use crate::refusal::Refusal;
use axum::body::Body;
use axum::extract::FromRequest;
use axum::http::{Method, Request};
use ombud_core::Version;
use ombud_store::tracking::{Pair, SearchQuery, View};
use serde_json::{Map, Value};

/// The fields of a request.
#[derive(Debug, Clone, Default)]
pub struct Asked(Map<String, Value>);

impl FromRequest<House> for Asked {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, house: &House) -> Result<Self, Refusal> {
        if request.method() == Method::GET {
            return from_query(request.uri().query().unwrap_or_default());
        }
        refuse_packed(request.headers())?;
        let body = read_body(request.into_body(), house.config.limits.body_bytes_max.0).await?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Asked::default());
        }
        match read_json(&body)? {
            Value::Object(fields) => Ok(Asked(fields)),
            _ => Err(Refusal::malformed("the body must be a JSON object")),
        }
    }
}

impl Asked {
    /// A text that must be there, and not empty.
    pub fn text(&self, name: &str) -> Result<&str, Refusal> {
        match self.text_or_none(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(missing(name)),
        }
    }

    /// A text, when it is there.
    pub fn text_or_none(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.contains('\0') => Ok(Some(text)),
            Some(other) => Err(wrong(name, other, "a text")),
        }
    }

    /// A text; empty when it is not there.
    pub fn text_or_empty(&self, name: &str) -> Result<&str, Refusal> {
        Ok(self.text_or_none(name)?.unwrap_or_default())
    }

    /// A whole number, when it is there.
    pub fn whole(&self, name: &str) -> Result<Option<i64>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => whole(value)
                .map(Some)
                .ok_or_else(|| wrong(name, value, "a whole number")),
        }
    }

    /// A truth; false when it is not there.
    pub fn truth(&self, name: &str) -> Result<bool, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(truth)) => Ok(*truth),
            Some(Value::String(text)) => Ok(text.eq_ignore_ascii_case("true")),
            Some(other) => Err(wrong(name, other, "true or false")),
        }
    }

    /// A number that may be none or infinite, and may come as a text.
    pub fn number(&self, name: &str) -> Result<f64, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Err(missing(name)),
            Some(value) => number(value).ok_or_else(|| wrong(name, value, "a number")),
        }
    }

    /// Several values; one alone is several too.
    pub fn list(&self, name: &str) -> Result<Vec<&Value>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values.iter().collect()),
            Some(text @ Value::String(_)) => Ok(vec![text]),
            Some(other) => Err(wrong(name, other, "a list")),
        }
    }

    /// Several texts.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, Refusal> {
        let text = |value: &Value| match value {
            Value::String(text) if !text.contains('\0') => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(wrong(name, other, "a list of texts")),
        };
        self.list(name)?.into_iter().map(text).collect()
    }

    /// Names with values, as `[{"key": …, "value": …}]`.
    pub fn pairs(&self, name: &str) -> Result<Vec<Pair>, Refusal> {
        let pair = |value: &Value| {
            let fields = object(name, value)?;
            Ok(Pair::new(
                fields.text("key")?,
                fields.text_or_empty("value")?,
            ))
        };
        self.list(name)?.into_iter().map(pair).collect()
    }

    /// Objects within a list.
    pub fn objects(&self, name: &str) -> Result<Vec<Asked>, Refusal> {
        self.list(name)?
            .into_iter()
            .map(|value| object(name, value))
            .collect()
    }

    /// An object, when it is there.
    pub fn object(&self, name: &str) -> Result<Option<Asked>, Refusal> {
        self.0
            .get(name)
            .map(|value| object(name, value))
            .transpose()
    }

    /// Everything that was asked, as it came.
    pub fn whole_text(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// The run, under its new or its old name.
    pub fn run(&self) -> Result<&str, Refusal> {
        match self.text_or_none("run_id")? {
            Some(id) if !id.is_empty() => Ok(id),
            _ => self.text("run_uuid").map_err(|_| missing("run_id")),
        }
    }

    /// An experiment's number.
    pub fn experiment(&self) -> Result<i64, Refusal> {
        match self.0.get("experiment_id") {
            None | Some(Value::Null) => Err(missing("experiment_id")),
            Some(value) => Ok(experiment(value)),
        }
    }

    /// Experiments' numbers.
    pub fn experiments(&self) -> Result<Vec<i64>, Refusal> {
        Ok(self
            .list("experiment_ids")?
            .into_iter()
            .map(experiment)
            .collect())
    }

    /// A version's number.
    pub fn version(&self) -> Result<Version, Refusal> {
        let value = self.0.get("version").ok_or_else(|| missing("version"))?;
        let number = whole(value).and_then(|number| u32::try_from(number).ok());
        number
            .and_then(Version::new)
            .ok_or_else(|| wrong("version", value, "a version's number"))
    }

    /// Which of the living and the deleted.
    pub fn view(&self, name: &str) -> Result<View, Refusal> {
        match self.text_or_none(name)? {
            None | Some("" | "ACTIVE_ONLY") => Ok(View::Active),
            Some("DELETED_ONLY") => Ok(View::Deleted),
            Some("ALL") => Ok(View::All),
            Some(other) => Err(refused(name, other, "ACTIVE_ONLY, DELETED_ONLY or ALL")),
        }
    }

    /// Filter, order, page.
    pub fn search(&self, rows: usize, rows_max: usize) -> Result<SearchQuery, Refusal> {
        let order_by = self.texts("order_by")?;
        Ok(SearchQuery {
            order_by,
            ..self.page(rows, rows_max)?
        })
    }

    /// Filter and page; the order is said in another way.
    pub fn page(&self, rows: usize, rows_max: usize) -> Result<SearchQuery, Refusal> {
        let wanted = match self.whole("max_results")? {
            None | Some(0) => rows,
            Some(wanted) => match usize::try_from(wanted) {
                Ok(wanted) if wanted <= rows_max => wanted,
                _ => {
                    let allowed = format!("from 1 to {rows_max}");
                    return Err(refused("max_results", &wanted.to_string(), &allowed));
                }
            },
        };
        Ok(SearchQuery {
            filter: self.text_or_empty("filter")?.to_owned(),
            order_by: Vec::new(),
            rows_max: wanted,
            page_token: self.text_or_empty("page_token")?.to_owned(),
        })
    }
}

fn from_query(query: &str) -> Result<Asked, Refusal> {
    let uri: axum::http::Uri = format!("/?{query}")
        .parse()
        .map_err(|_| Refusal::malformed("the query cannot be read"))?;
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri);
    let pairs = pairs
        .map_err(|error| Refusal::malformed(error.body_text()))?
        .0;
    let mut fields: Map<String, Value> = Map::new();
    for (name, value) in pairs {
        let value = Value::String(value);
        match fields.get_mut(&name) {
            None => {
                fields.insert(name, value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Ok(Asked(fields))
}

fn object(name: &str, value: &Value) -> Result<Asked, Refusal> {
    match value {
        Value::Object(fields) => Ok(Asked(fields.clone())),
        other => Err(wrong(name, other, "an object")),
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_i64().or_else(|| {
            let number = number.as_f64()?;
            (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
        }),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => ombud_store::tracking::metric::number_in(text).ok(),
        _ => None,
    }
}

/// An experiment that is called by anything but a number is one that is not there.
fn experiment(value: &Value) -> i64 {
    whole(value).unwrap_or(-1)
}

fn missing(name: &str) -> Refusal {
    Refusal::malformed(format!("Missing value for required parameter '{name}'."))
}

fn wrong(name: &str, came: &Value, allowed: &str) -> Refusal {
    refused(name, &came.to_string(), allowed)
}

/// A value that cannot be accepted, told in one sentence, because the clients show nothing else.
pub(super) fn refused(name: &str, came: &str, allowed: &str) -> Refusal {
    let came: String = came.chars().take(80).collect();
    Refusal::malformed(format!(
        "Invalid value {came} for parameter '{name}' supplied: it must be {allowed}."
    ))
}
