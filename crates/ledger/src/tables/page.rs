//! One page of records as SQL, the same for both databases but for how a parameter is spelled.

use crate::record::{Kind, SubjectReference};
use ombud_core::ModelName;

/// Which records, newest first.
#[derive(Debug, Clone)]
pub(crate) struct PageQuery<'a> {
    pub subject: Option<SubjectReference>,
    pub model: Option<&'a ModelName>,
    pub kind: Option<Kind>,
    pub environment: Option<&'a str>,
    pub from_us: i64,
    pub until_us: i64,
    pub before: Option<(i64, i64)>,
    pub limit: usize,
}

/// A parameter's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Number(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl<'a> PageQuery<'a> {
    /// The conditions and the order, to follow `select … from ledger_records r`, and the parameters.
    pub fn sql(&'a self, tenant: &'a str, mark: char) -> (String, Vec<Cell<'a>>) {
        let mut cells = vec![Cell::Text(tenant)];
        let mut sql = format!("where r.tenant = {mark}1");
        let mut and = |condition: &str, cell: Cell<'a>| {
            cells.push(cell);
            sql.push_str(&format!(" and {condition} {mark}{}", cells.len()));
        };
        and("r.time_us >=", Cell::Number(self.from_us));
        and("r.time_us <", Cell::Number(self.until_us));
        if let Some(subject) = &self.subject {
            and("r.subject =", Cell::Bytes(subject.0.as_bytes()));
        }
        if let Some(model) = self.model {
            and("r.model =", Cell::Text(model.as_str()));
        }
        if let Some(environment) = self.environment {
            and("r.environment =", Cell::Text(environment));
        }
        if let Some(kind) = self.kind {
            and("r.kind =", Cell::Text(kind.as_str()));
        }
        if let Some((time_us, position)) = self.before {
            and("(r.time_us, r.position) < (", Cell::Number(time_us));
            cells.push(Cell::Number(position));
            sql.push_str(&format!(", {mark}{})", cells.len()));
        }
        // Said aloud, because the index over acts holds exactly these rows.
        if self.kind.is_some_and(|kind| kind != Kind::Decision) {
            sql.push_str(" and r.kind <> 'decision'");
        }
        cells.push(Cell::Number(i64::try_from(self.limit).unwrap_or(i64::MAX)));
        sql.push_str(&format!(
            " order by r.time_us desc, r.position desc limit {mark}{}",
            cells.len()
        ));
        (sql, cells)
    }
}
