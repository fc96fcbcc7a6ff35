//! One filled-in survey: read from whatever carries it, written for the safe.
//!
//! A form, a request and an uploaded row all become a [`Response`], and every field at fault is told at once. What people
//! wrote is never repeated in a fault.

use super::demographics::{
    AgeRange, DEPARTMENT_BYTES_MAX, Demographics, EducationLevel, EmploymentStatus, Ethnicity,
    GenderIdentity, PositionLevel, ResponseQuality, TenureRange, UnknownWord, WorkLocation,
};
use super::survey::{
    Domain, OPEN_ANSWER_BYTES_MAX, OPEN_QUESTIONS, Rating, RatingFault, Ratings, STATEMENTS,
};
use ombud_core::nearest::nearest;
use ombud_core::{Fault, Refusal};
use serde_json::{Map, Value, json};

/// Longest name that a caller may give a response.
pub const RESPONSE_ID_BYTES_MAX: usize = 200;

/// What one person answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub domain: Domain,
    pub ratings: Ratings,
    /// `q23` to `q25`.
    pub texts: [Option<String>; 3],
    pub demographics: Demographics,
    pub quality: ResponseQuality,
}

/// A JSON object.
pub type Object = Map<String, Value>;

impl Response {
    /// Reads the parts of a request's body.
    pub fn read(
        domain: &str,
        ratings: &Object,
        texts: Option<&Object>,
        demographics: Option<&Object>,
        quality: Option<&Object>,
    ) -> Result<Response, Refusal> {
        let mut faults = Refusal::default();
        let read_domain = Domain::parse(domain);
        if read_domain.is_none() {
            let words = Domain::ALL.map(Domain::word);
            let fault = Fault::new("domain", domain, words.join(", "));
            faults.add(fault.near(nearest(domain, words)));
        }
        let response = Response {
            domain: read_domain.unwrap_or(Domain::Business),
            ratings: read_ratings(ratings, &mut faults),
            texts: read_texts(texts, &mut faults),
            demographics: read_demographics(demographics, &mut faults),
            quality: read_quality(quality, &mut faults),
        };
        let is_empty = response.ratings.answered() == 0 && response.text().is_none();
        if is_empty && (faults.count == 0 || ratings.is_empty()) {
            faults.add(Fault::new(
                "survey_responses",
                "no answer",
                "at least one of q1 to q22, a number from 1 to 4, or an open answer",
            ));
        }
        faults.or(response)
    }

    /// Refuses a response that only wrote, where a score is asked for.
    pub fn must_be_rated(&self) -> Result<(), Refusal> {
        if self.ratings.answered() > 0 {
            return Ok(());
        }
        let mut faults = Refusal::default();
        faults.add(Fault::new(
            "survey_responses",
            "no rating",
            "at least one of q1 to q22, a number from 1 to 4; a text alone is for /predict/communication_risk",
        ));
        faults.or(())
    }

    /// Reads what [`Response::written`] gave.
    pub fn kept(document: &Value) -> Option<Response> {
        let part = |name: &str| document.get(name).and_then(Value::as_object);
        Response::read(
            document.get("domain")?.as_str()?,
            part("survey_responses")?,
            part("text_responses"),
            part("demographics"),
            part("response_quality"),
        )
        .ok()
    }

    /// The response as a document, the same shape as a request's body; what is absent is left out.
    pub fn written(&self) -> Value {
        let mut document = json!({
            "domain": self.domain.word(),
            "survey_responses": self.rated(),
        });
        for (name, part) in [
            ("text_responses", self.said()),
            ("demographics", self.who()),
            ("response_quality", self.how()),
        ] {
            if !part.is_empty() {
                document[name] = Value::Object(part);
            }
        }
        document
    }

    /// Everything written in open answers, as one text; `None` when there is nothing.
    pub fn text(&self) -> Option<String> {
        let said: Vec<&str> = self.texts.iter().flatten().map(String::as_str).collect();
        (!said.is_empty()).then(|| said.join("\n"))
    }

    /// What was said under a demographic's name, as a word; the dimensions of anonymity.
    pub fn trait_of(&self, dimension: &str) -> Option<String> {
        let who = &self.demographics;
        let word = match dimension {
            DEPARTMENT => return who.department.clone(),
            AgeRange::FIELD => who.age_range.map(AgeRange::word),
            GenderIdentity::FIELD => who.gender_identity.map(GenderIdentity::word),
            TenureRange::FIELD => who.tenure_range.map(TenureRange::word),
            PositionLevel::FIELD => who.position_level.map(PositionLevel::word),
            WorkLocation::FIELD => who.work_location.map(WorkLocation::word),
            EmploymentStatus::FIELD => who.employment_status.map(EmploymentStatus::word),
            EducationLevel::FIELD => who.education_level.map(EducationLevel::word),
            SUPERVISES => who
                .supervises_others
                .map(|yes| if yes { "yes" } else { "no" }),
            _ => None,
        };
        word.map(str::to_owned)
    }

    fn rated(&self) -> Object {
        let given = STATEMENTS.iter().zip(self.ratings.iter());
        given
            .filter_map(|(statement, rating)| {
                Some((statement.name.to_owned(), json!(rating?.get())))
            })
            .collect()
    }

    fn said(&self) -> Object {
        let texts = OPEN_QUESTIONS.iter().zip(&self.texts);
        texts
            .filter_map(|(question, text)| Some((question.name.to_owned(), json!(text.as_ref()?))))
            .collect()
    }

    fn who(&self) -> Object {
        let who = &self.demographics;
        let mut object = Object::new();
        let closed = DIMENSIONS.iter().filter(|name| **name != SUPERVISES);
        for name in closed {
            if let Some(word) = self.trait_of(name) {
                object.insert((*name).to_owned(), Value::from(word));
            }
        }
        if let Some(supervises) = who.supervises_others {
            object.insert(SUPERVISES.to_owned(), Value::from(supervises));
        }
        if !who.ethnicity.is_empty() {
            let words: Vec<&str> = who.ethnicity.iter().map(|it| it.word()).collect();
            object.insert(Ethnicity::FIELD.to_owned(), json!(words));
        }
        object
    }

    fn how(&self) -> Object {
        let quality = &self.quality;
        let mut object = Object::new();
        for (name, number) in [
            ("seconds", quality.seconds),
            ("completion", quality.completion),
            ("straight_lining", quality.straight_lining),
        ] {
            if let Some(number) = number {
                object.insert(name.to_owned(), json!(number));
            }
        }
        if let Some(passed) = quality.attention_passed {
            object.insert("attention_passed".to_owned(), Value::from(passed));
        }
        object
    }
}

/// The demographic that is a free word.
pub const DEPARTMENT: &str = "department";
/// The demographic that is yes or no.
pub const SUPERVISES: &str = "supervises_others";
/// Everything that a group can be asked for by.
pub const DIMENSIONS: [&str; 9] = [
    DEPARTMENT,
    PositionLevel::FIELD,
    TenureRange::FIELD,
    AgeRange::FIELD,
    GenderIdentity::FIELD,
    WorkLocation::FIELD,
    EmploymentStatus::FIELD,
    EducationLevel::FIELD,
    SUPERVISES,
];
const QUALITY: [&str; 4] = [
    "seconds",
    "completion",
    "attention_passed",
    "straight_lining",
];

fn read_ratings(object: &Object, faults: &mut Refusal) -> Ratings {
    let entries = object.iter().map(|(name, value)| (name.as_str(), value));
    Ratings::parse(entries).unwrap_or_else(|wrong| {
        for fault in wrong {
            let path = format!("survey_responses.{}", fault.name());
            let (came, near) = match &fault {
                RatingFault::NotARating { value, .. } => (value.clone(), None),
                RatingFault::UnknownQuestion { name } => (
                    name.clone(),
                    nearest(name, STATEMENTS.iter().map(|it| it.name)),
                ),
            };
            let allowed = match &fault {
                RatingFault::NotARating { .. } => {
                    format!("a number from {} to {}", Rating::MIN, Rating::MAX)
                }
                RatingFault::UnknownQuestion { .. } => fault.hint().to_owned(),
            };
            faults.add(Fault::new(path, &came, allowed).near(near));
        }
        Ratings::default()
    })
}

fn read_texts(object: Option<&Object>, faults: &mut Refusal) -> [Option<String>; 3] {
    let mut texts = [None, None, None];
    for (name, value) in object.into_iter().flatten() {
        let path = format!("text_responses.{name}");
        let Some(at) = OPEN_QUESTIONS.iter().position(|it| it.name == name) else {
            faults.add(Fault::new(path, name, "q23, q24 or q25"));
            continue;
        };
        match value {
            Value::Null => {}
            Value::String(text) if text.len() <= OPEN_ANSWER_BYTES_MAX => {
                texts[at] = (!text.trim().is_empty()).then(|| text.clone());
            }
            _ => faults.add(Fault::new(
                path,
                "something else",
                format!("a text of at most {OPEN_ANSWER_BYTES_MAX} bytes"),
            )),
        }
    }
    texts
}

fn read_demographics(object: Option<&Object>, faults: &mut Refusal) -> Demographics {
    let mut who = Demographics::default();
    for (name, value) in object.into_iter().flatten() {
        if value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty()) {
            continue;
        }
        let path = format!("demographics.{name}");
        match name.as_str() {
            DEPARTMENT => who.department = department(&path, value, faults),
            SUPERVISES => who.supervises_others = truth(&path, value, faults),
            AgeRange::FIELD => who.age_range = word(&path, value, AgeRange::parse, faults),
            GenderIdentity::FIELD => {
                who.gender_identity = word(&path, value, GenderIdentity::parse, faults);
            }
            TenureRange::FIELD => who.tenure_range = word(&path, value, TenureRange::parse, faults),
            PositionLevel::FIELD => {
                who.position_level = word(&path, value, PositionLevel::parse, faults);
            }
            WorkLocation::FIELD => {
                who.work_location = word(&path, value, WorkLocation::parse, faults);
            }
            EmploymentStatus::FIELD => {
                who.employment_status = word(&path, value, EmploymentStatus::parse, faults);
            }
            EducationLevel::FIELD => {
                who.education_level = word(&path, value, EducationLevel::parse, faults);
            }
            Ethnicity::FIELD => who.ethnicity = ethnicity(&path, value, faults),
            _ => {
                let known = DIMENSIONS.iter().copied().chain([Ethnicity::FIELD]);
                let near = nearest(name, known);
                faults.add(Fault::new(path, name, "a demographic").near(near));
            }
        }
    }
    who
}

fn read_quality(object: Option<&Object>, faults: &mut Refusal) -> ResponseQuality {
    let mut quality = ResponseQuality::default();
    for (name, value) in object.into_iter().flatten() {
        if value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty()) {
            continue;
        }
        let path = format!("response_quality.{name}");
        match name.as_str() {
            "seconds" => quality.seconds = number(&path, value, 1e6, faults),
            "completion" => quality.completion = number(&path, value, 1.0, faults),
            "straight_lining" => quality.straight_lining = number(&path, value, 1.0, faults),
            "attention_passed" => quality.attention_passed = truth(&path, value, faults),
            _ => {
                let near = nearest(name, QUALITY);
                faults.add(Fault::new(path, name, QUALITY.join(", ")).near(near));
            }
        }
    }
    quality
}

fn word<T>(
    path: &str,
    value: &Value,
    parse: impl Fn(&str) -> Result<T, UnknownWord>,
    faults: &mut Refusal,
) -> Option<T> {
    let text = match value {
        Value::String(text) => text.trim(),
        _ => "",
    };
    parse(text)
        .inspect_err(|unknown| {
            let fault = Fault::new(path, text, unknown.allowed.join(", "));
            faults.add(fault.near(unknown.nearest()));
        })
        .ok()
}

fn department(path: &str, value: &Value, faults: &mut Refusal) -> Option<String> {
    let text = value.as_str().map(str::trim);
    let is_kept = |text: &&str| text.len() <= DEPARTMENT_BYTES_MAX && !text.contains('\0');
    let kept = text.filter(is_kept).map(str::to_owned);
    if kept.is_none() {
        let allowed = format!("a name of at most {DEPARTMENT_BYTES_MAX} bytes");
        faults.add(Fault::new(path, "something else", allowed));
    }
    kept
}

fn ethnicity(path: &str, value: &Value, faults: &mut Refusal) -> Vec<Ethnicity> {
    let one;
    let values = match value {
        Value::Array(values) => values,
        // A cell of a table holds several words with semicolons or bars between them.
        Value::String(text) => {
            one = text.split([';', '|']).map(Value::from).collect();
            &one
        }
        _ => {
            faults.add(Fault::new(path, "something else", "a list of words"));
            return Vec::new();
        }
    };
    let mut said: Vec<Ethnicity> = Vec::new();
    for value in values.iter().take(Ethnicity::ALL.len() + 1) {
        let read = word(path, value, Ethnicity::parse, faults);
        said.extend(read.filter(|one| !said.contains(one)));
    }
    said
}

fn truth(path: &str, value: &Value, faults: &mut Refusal) -> Option<bool> {
    let read = match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Some(true),
            "false" | "no" | "0" => Some(false),
            _ => None,
        },
        Value::Number(number) => match number.as_f64() {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        },
        _ => None,
    };
    if read.is_none() {
        faults.add(Fault::new(path, "something else", "true or false"));
    }
    read
}

fn number(path: &str, value: &Value, max: f64, faults: &mut Refusal) -> Option<f64> {
    let read = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let read = read.filter(|number: &f64| (0.0..=max).contains(number));
    if read.is_none() {
        let allowed = format!("a number from 0 to {max}");
        faults.add(Fault::new(path, &value.to_string(), allowed));
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &Value) -> Result<Response, Refusal> {
        let part = |name: &str| body.get(name).and_then(Value::as_object);
        Response::read(
            body["domain"].as_str().unwrap_or(""),
            part("survey_responses").unwrap_or(&Object::new()),
            part("text_responses"),
            part("demographics"),
            part("response_quality"),
        )
    }

    fn full() -> Value {
        json!({
            "domain": "Healthcare",
            "survey_responses": { "q1": 2.5, "q22": 4.0 },
            "text_responses": { "q23": "more people on nights" },
            "demographics": {
                "department": "Intensive care", "age_range": "25-34", "gender_identity": "Woman",
                "ethnicity": ["Black", "White"], "supervises_others": true,
            },
            "response_quality": { "seconds": 312.0, "attention_passed": true },
        })
    }

    #[test]
    fn what_is_written_is_read_back() {
        let response = read(&full()).unwrap();
        assert_eq!(Response::kept(&response.written()), Some(response.clone()));
        assert_eq!(response.written(), full());
        assert_eq!(
            response.trait_of("supervises_others").as_deref(),
            Some("yes")
        );
    }

    #[test]
    fn every_field_at_fault_is_told_and_no_text_is_repeated() {
        let wrong = json!({
            "domain": "Busines",
            "survey_responses": { "q1": 5, "q99": 1 },
            "text_responses": { "q23": 3, "q26": "my secret" },
            "demographics": { "age_range": "25-35", "shoe": "42" },
            "response_quality": { "completion": 2 },
        });
        let refused = read(&wrong).unwrap_err();
        let paths: Vec<&str> = refused
            .faults
            .iter()
            .map(|fault| fault.path.as_str())
            .collect();
        assert_eq!(
            paths,
            [
                "domain",
                "survey_responses.q1",
                "survey_responses.q99",
                "text_responses.q23",
                "text_responses.q26",
                "demographics.age_range",
                "demographics.shoe",
                "response_quality.completion"
            ]
        );
        assert!(!refused.to_string().contains("secret"));
        assert_eq!(refused.faults[5].nearest.as_deref(), Some("25-34"));
    }

    #[test]
    fn a_survey_without_an_answer_is_none() {
        let refused =
            read(&json!({ "domain": "Business", "survey_responses": { "q1": null } })).unwrap_err();
        assert_eq!(refused.faults[0].path, "survey_responses");
        let written = read(&json!({
            "domain": "Business", "survey_responses": {}, "text_responses": { "q24": "I cannot rate this" },
        }));
        assert!(written.unwrap().must_be_rated().is_err());
    }
}
