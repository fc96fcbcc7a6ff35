//! From a filter and an order to one SQL statement, and from the last row of a page to the beginning of the next.
//!
//! A page begins after the last row's own place in the order and not after a count of rows, so that rows which come or go
//! meanwhile shift nothing. Texts of a caller reach a statement as bound values only; its words are all ours.

use super::filter::{
    Clause, Comparator, Field, FilterError, Literal, ORDERS_MAX, Order, Owner, Test, parse,
    parse_order,
};
use crate::database::{Row, Value};
use crate::error::{Error, Result};
use crate::secret;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ombud_ledger::Tenant;
use sqlx::AssertSqlSafe;

/// By this tag clients keep prompts out of every search of registered models: what has no such tag is no prompt, while any
/// other tag must be there to be unequal.
pub const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";
/// Rows on a page of runs; the clients ask for so many.
pub const SEARCH_ROWS_MAX: usize = 50_000;

/// What a search asks for, as clients say it.
#[derive(Debug, Clone, Default)]
pub struct SearchQuery {
    pub filter: String,
    pub order_by: Vec<String>,
    pub rows_max: usize,
    pub page_token: String,
}

/// What can be searched: its attributes, and what hangs on it.
pub(crate) struct Searchable {
    /// The table, called `e`, with what is joined to it.
    pub from: &'static str,
    pub attributes: &'static [Attribute],
    pub metrics: Option<Shelf>,
    pub params: Option<Shelf>,
    pub tags: Option<Shelf>,
    pub datasets: Option<&'static str>,
    /// The order when nobody says, and what makes every order total.
    pub default_order: &'static [(&'static str, bool)],
    pub last: &'static str,
    /// Among those that are equal by what was asked for, before `last`.
    pub among_equals: &'static [(&'static str, bool)],
}

/// A column that can be asked about.
pub(crate) struct Attribute {
    /// The name that is told, then other ways to say it.
    pub names: &'static [&'static str],
    pub column: &'static str,
    pub is_text: bool,
    pub is_nullable: bool,
}

/// A table of names and values that belong to a row.
#[derive(Clone, Copy)]
pub(crate) struct Shelf {
    pub table: &'static str,
    /// How its rows, called `t`, belong to `e`.
    pub on: &'static str,
}

/// A statement in the making.
pub(crate) struct Statement {
    pub sql: String,
    pub values: Vec<Value>,
}

/// A search that is ready to be asked.
pub(crate) struct Prepared {
    statement: Statement,
    terms: Vec<Term>,
    rows_max: usize,
    print: String,
}

/// One expression that rows are ordered by.
struct Term {
    sql: String,
    kind: TermKind,
    is_descending: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum TermKind {
    Text,
    Whole,
    Real,
}

/// Names of the columns that carry a row's place: two for each order, and the last.
const KEYS: [&str; 2 * ORDERS_MAX + 5] = [
    "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10", "k11", "k12", "k13", "k14",
    "k15", "k16", "k17", "k18", "k19", "k20",
];

impl Statement {
    fn new(sql: &str) -> Self {
        Statement {
            sql: sql.to_owned(),
            values: Vec::new(),
        }
    }

    /// Binds a value; gives what stands for it.
    pub fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    pub fn add(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }
}

impl Prepared {
    /// Reads what is asked. `wanted` is a condition of our own on `e`.
    pub fn new(
        what: &Searchable,
        tenant: &Tenant,
        query: &SearchQuery,
        wanted: impl FnOnce(&mut Statement),
    ) -> Result<Self> {
        let clauses = parse(&query.filter).map_err(Error::Filter)?;
        let orders: Vec<Order> = query
            .order_by
            .iter()
            .map(|text| parse_order(text))
            .collect::<std::result::Result<_, _>>()
            .map_err(Error::Order)?;
        if orders.len() > ORDERS_MAX {
            return Err(Error::TooMany {
                what: "orders",
                count_max: ORDERS_MAX,
            });
        }
        let mut statement = Statement::new("");
        let tenant = statement.bind(tenant);
        let mut joins = String::new();
        let terms = terms(what, &orders, &mut statement, &mut joins).map_err(Error::Order)?;
        let mut head = "select e.*".to_owned();
        for (term, key) in terms.iter().zip(KEYS) {
            head.push_str(&format!(", {} as {key}", term.sql));
        }
        statement.sql = format!("{head} from {}{joins} where e.tenant = {tenant}", what.from);
        wanted(&mut statement);
        for clause in &clauses {
            condition(what, clause, &mut statement).map_err(Error::Filter)?;
        }
        let print = print(query);
        if !query.page_token.is_empty() {
            after(&query.page_token, &print, &terms, &mut statement)?;
        }
        let rows_max = query.rows_max.clamp(1, SEARCH_ROWS_MAX);
        statement.add(" order by ");
        for (place, term) in terms.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            let direction = if term.is_descending { " desc" } else { "" };
            statement.add(&format!("{comma}{}{direction}", KEYS[place]));
        }
        let limit = statement.bind(rows_max as i64 + 1);
        statement.add(&format!(" limit {limit}"));
        Ok(Prepared {
            statement,
            terms,
            rows_max,
            print,
        })
    }

    /// The rows of this page, and the next page's token.
    pub async fn ask(
        self,
        database: &crate::database::Database,
    ) -> Result<(Vec<Row>, Option<String>)> {
        let sql = AssertSqlSafe(self.statement.sql);
        let mut rows = database.rows(sql, self.statement.values).await?;
        let has_more = rows.len() > self.rows_max;
        rows.truncate(self.rows_max);
        let next = match rows.last() {
            Some(last) if has_more => Some(token(last, &self.terms, &self.print)?),
            _ => None,
        };
        Ok((rows, next))
    }
}

/// A token belongs to the question that it came from.
fn print(query: &SearchQuery) -> String {
    let question = format!("{}\u{1f}{}", query.filter, query.order_by.join("\u{1f}"));
    secret::hash(&question).to_string()[..16].to_owned()
}

fn token(last: &Row, terms: &[Term], print: &str) -> Result<String> {
    let mut place = vec![serde_json::Value::from(print)];
    for (term, key) in terms.iter().zip(KEYS) {
        place.push(match term.kind {
            TermKind::Text => last.text(key)?.into(),
            TermKind::Whole => last.whole(key)?.into(),
            // By its bits, so that it is the same number when it comes back.
            TermKind::Real => last.real(key)?.to_bits().into(),
        });
    }
    Ok(URL_SAFE_NO_PAD.encode(serde_json::Value::Array(place).to_string()))
}

/// Only rows after the one that a token names.
fn after(token: &str, print: &str, terms: &[Term], statement: &mut Statement) -> Result<()> {
    let wrong = || Error::Malformed {
        what: "page token",
        came: token.chars().take(40).collect(),
        allowed: "what an answer to the same search gave as next_page_token",
    };
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
    let place: Vec<serde_json::Value> = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    if place.len() != terms.len() + 1 || place[0] != print {
        return Err(wrong());
    }
    let mut holders = Vec::new();
    for (term, value) in terms.iter().zip(&place[1..]) {
        let value = match term.kind {
            TermKind::Text => value.as_str().map(Value::from),
            TermKind::Whole => value.as_i64().map(Value::from),
            TermKind::Real => value.as_u64().map(|bits| Value::from(f64::from_bits(bits))),
        };
        holders.push(statement.bind(value.ok_or_else(wrong)?));
    }
    statement.add(" and (");
    for (place, term) in terms.iter().enumerate() {
        if place > 0 {
            statement.add(" or ");
        }
        statement.add("(");
        for (before, holder) in terms[..place].iter().zip(&holders) {
            statement.add(&format!("{} = {holder} and ", before.sql));
        }
        let beyond = if term.is_descending { "<" } else { ">" };
        statement.add(&format!("{} {beyond} {})", term.sql, holders[place]));
    }
    statement.add(")");
    Ok(())
}

fn terms(
    what: &Searchable,
    orders: &[Order],
    statement: &mut Statement,
    joins: &mut String,
) -> std::result::Result<Vec<Term>, FilterError> {
    let mut terms = Vec::new();
    for (place, order) in orders.iter().enumerate() {
        if order.field.owner == Owner::Attribute {
            let attribute = attribute(what, &order.field)?;
            attribute_terms(attribute, order.is_descending, &mut terms);
            continue;
        }
        let shelf = shelf(what, &order.field)?;
        let name = statement.bind(order.field.key.as_str());
        let table = format!("o{place}");
        let on = shelf.on.replace("t.", &format!("{table}."));
        joins.push_str(&format!(
            " left join {} {table} on {table}.tenant = e.tenant and {on} and {table}.name = {name}",
            shelf.table
        ));
        let is_metric = order.field.owner == Owner::Metric;
        // Numbers first, then what is none, then what is absent, whichever the direction.
        let flag = if is_metric {
            format!(
                "case when {table}.value is null then 2 when {table}.kind = 1 then 1 else 0 end"
            )
        } else {
            format!("case when {table}.value is null then 1 else 0 end")
        };
        terms.push(whole(format!("cast({flag} as bigint)"), false));
        let (absent, kind) = if is_metric {
            ("0", TermKind::Real)
        } else {
            ("''", TermKind::Text)
        };
        let mut sql = format!("coalesce({table}.value, {absent})");
        if is_metric {
            sql = format!("cast({sql} as double precision)");
        }
        terms.push(Term {
            sql,
            kind,
            is_descending: order.is_descending,
        });
    }
    let further = match orders {
        [] => what.default_order,
        _ => what.among_equals,
    };
    for (column, is_descending) in further {
        if !terms.iter().any(|term| term.sql.contains(column)) {
            terms.push(whole((*column).to_owned(), *is_descending));
        }
    }
    terms.push(Term {
        sql: what.last.to_owned(),
        kind: TermKind::Text,
        is_descending: false,
    });
    Ok(terms)
}

fn whole(sql: String, is_descending: bool) -> Term {
    Term {
        sql,
        kind: TermKind::Whole,
        is_descending,
    }
}

fn attribute_terms(attribute: &Attribute, is_descending: bool, terms: &mut Vec<Term>) {
    let column = attribute.column;
    let (absent, kind) = if attribute.is_text {
        ("''", TermKind::Text)
    } else {
        ("0", TermKind::Whole)
    };
    if attribute.is_nullable {
        let flag = format!("cast(case when {column} is null then 1 else 0 end as bigint)");
        terms.push(whole(flag, false));
    }
    let sql = if attribute.is_nullable {
        format!("coalesce({column}, {absent})")
    } else {
        column.to_owned()
    };
    terms.push(Term {
        sql,
        kind,
        is_descending,
    });
}

fn attribute<'w>(
    what: &'w Searchable,
    field: &Field,
) -> std::result::Result<&'w Attribute, FilterError> {
    let found = what
        .attributes
        .iter()
        .find(|attribute| attribute.names.contains(&field.key.as_str()));
    found.ok_or_else(|| {
        let names = || what.attributes.iter().map(|attribute| attribute.names[0]);
        let listed: Vec<&str> = names().collect();
        let reason = format!(
            "there is no attribute {:?}; there are {}",
            field.key,
            listed.join(", ")
        );
        FilterError::new(field.at, reason).near(&field.key, names())
    })
}

fn shelf(what: &Searchable, field: &Field) -> std::result::Result<Shelf, FilterError> {
    let (shelf, noun) = match field.owner {
        Owner::Metric => (what.metrics, "metrics"),
        Owner::Param => (what.params, "params"),
        Owner::Tag => (what.tags, "tags"),
        Owner::Dataset | Owner::Attribute => (None, "datasets"),
    };
    shelf.ok_or_else(|| FilterError::new(field.at, format!("{noun} are not known here")))
}

fn condition(
    what: &Searchable,
    clause: &Clause,
    statement: &mut Statement,
) -> std::result::Result<(), FilterError> {
    let field = &clause.field;
    match field.owner {
        Owner::Attribute => {
            let attribute = attribute(what, field)?;
            let test = test(attribute.column, attribute.is_text, clause, statement)?;
            statement.add(&format!(" and {test}"));
        }
        Owner::Dataset => {
            let Some(table) = what.datasets else {
                return Err(FilterError::new(field.at, "datasets are not known here"));
            };
            let columns = ["name", "digest", "context"];
            let Some(column) = columns.iter().find(|column| **column == field.key) else {
                let reason = format!("a data set has no {:?}", field.key);
                return Err(FilterError::new(field.at, reason).near(&field.key, columns));
            };
            let test = test(&format!("t.{column}"), true, clause, statement)?;
            statement.add(&format!(
                " and exists (select 1 from {table} t where t.tenant = e.tenant and t.run = e.run and {test})"
            ));
        }
        Owner::Metric | Owner::Param | Owner::Tag => {
            let shelf = shelf(what, field)?;
            on_shelf(shelf, clause, statement)?;
        }
    }
    Ok(())
}

fn on_shelf(
    shelf: Shelf,
    clause: &Clause,
    statement: &mut Statement,
) -> std::result::Result<(), FilterError> {
    let is_metric = clause.field.owner == Owner::Metric;
    let name = statement.bind(clause.field.key.as_str());
    let (exists, test) = match &clause.test {
        Test::IsNull { is_negated } => (
            if *is_negated { "exists" } else { "not exists" },
            String::new(),
        ),
        Test::Compare(Comparator::NotEqual, _) if clause.field.key == PROMPT_TAG => {
            let test = test("t.value", true, clause, statement)?;
            ("not exists", format!(" and not ({test})"))
        }
        _ => {
            let test = test("t.value", !is_metric, clause, statement)?;
            // What is no number is neither more nor less than any.
            let number = if is_metric { " and t.kind <> 1" } else { "" };
            ("exists", format!(" and {test}{number}"))
        }
    };
    statement.add(&format!(
        " and {exists} (select 1 from {} t where t.tenant = e.tenant and {} and t.name = {name}{test})",
        shelf.table, shelf.on
    ));
    Ok(())
}

fn test(
    column: &str,
    is_text: bool,
    clause: &Clause,
    statement: &mut Statement,
) -> std::result::Result<String, FilterError> {
    let at = clause.field.at;
    let key = &clause.field.key;
    match (&clause.test, is_text) {
        (Test::Compare(comparator, Literal::Text(text)), true) => {
            let text = statement.bind(text.as_str());
            Ok(format!("{column} {} {text}", comparator.sql()))
        }
        (Test::Compare(comparator, Literal::Number(number)), false) => {
            let number = statement.bind(*number);
            Ok(format!("{column} {} {number}", comparator.sql()))
        }
        (Test::Compare(_, Literal::Number(_)), true) => Err(FilterError::new(
            at,
            format!("{key:?} is a text, and is compared with one in quotes"),
        )),
        (
            Test::Like {
                pattern,
                is_caseless,
            },
            true,
        ) => {
            // A backslash is itself; only % and _ stand for others.
            let pattern = statement.bind(pattern.replace('\\', "\\\\"));
            Ok(if *is_caseless {
                format!("lower({column}) like lower({pattern}) escape '\\'")
            } else {
                format!("{column} like {pattern} escape '\\'")
            })
        }
        (Test::In { values, is_negated }, true) => {
            let values: Vec<String> = values
                .iter()
                .map(|value| statement.bind(value.as_str()))
                .collect();
            let not = if *is_negated { "not " } else { "" };
            Ok(format!("{column} {not}in ({})", values.join(", ")))
        }
        (Test::IsNull { is_negated }, _) => {
            let not = if *is_negated { "not " } else { "" };
            Ok(format!("{column} is {not}null"))
        }
        (_, false) => Err(FilterError::new(
            at,
            format!("{key:?} is a number, and is compared with one"),
        )
        .hint("by = != > >= < <=")),
    }
}

impl Comparator {
    fn sql(self) -> &'static str {
        match self {
            Comparator::Equal => "=",
            Comparator::NotEqual => "<>",
            Comparator::Greater => ">",
            Comparator::GreaterOrEqual => ">=",
            Comparator::Less => "<",
            Comparator::LessOrEqual => "<=",
        }
    }
}
