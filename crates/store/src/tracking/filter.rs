//! The filter language of MLflow's clients, read: `metrics.auc > 0.9 and tags.\`team\` LIKE 'desk%'`.
//!
//! Pure: a text becomes [`Clause`]s, or a [`FilterError`] that says where it went wrong and what was likely meant. Which
//! attributes there are, and what they are in SQL, is [`super::search`]'s business.

use ombud_core::nearest::nearest;
use std::fmt;

/// Longest filter.
pub const FILTER_BYTES_MAX: usize = 16 << 10;
/// Conditions in one filter.
pub const CLAUSES_MAX: usize = 100;
/// Values in one list.
pub const VALUES_MAX: usize = 1_000;
/// What may be ordered by at once.
pub const ORDERS_MAX: usize = 8;

/// What a field belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Attribute,
    Metric,
    Param,
    Tag,
    Dataset,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub owner: Owner,
    pub key: String,
    /// Where it stands, in characters from 1.
    pub at: usize,
}

/// How it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// With what.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Text(String),
    Number(f64),
}

/// What is asked of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Compare(Comparator, Literal),
    Like {
        pattern: String,
        is_caseless: bool,
    },
    In {
        values: Vec<String>,
        is_negated: bool,
    },
    IsNull {
        is_negated: bool,
    },
}

/// One condition; all of a filter's must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    pub field: Field,
    pub test: Test,
}

/// What rows are ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub field: Field,
    pub is_descending: bool,
}

/// Why a filter or an order cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// In characters from 1.
    pub at: usize,
    pub reason: String,
    /// What was likely meant.
    pub hint: Option<String>,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}", self.at, self.reason)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FilterError {}

impl FilterError {
    pub(crate) fn new(at: usize, reason: impl Into<String>) -> Self {
        FilterError {
            at,
            reason: reason.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the nearest right word, when one is near.
    pub(crate) fn near<'a>(self, wrong: &str, right: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(wrong, right) {
            Some(near) => self.hint(format!("is it `{near}`?")),
            None => self,
        }
    }
}

type Result<T> = std::result::Result<T, FilterError>;

/// Reads a filter; an empty one asks nothing.
pub fn parse(text: &str) -> Result<Vec<Clause>> {
    let mut reader = Reader::new(text)?;
    let mut clauses = Vec::new();
    if reader.peek().is_none() {
        return Ok(clauses);
    }
    loop {
        if clauses.len() == CLAUSES_MAX {
            let reason = format!("a filter has at most {CLAUSES_MAX} conditions");
            return Err(FilterError::new(reader.at(), reason));
        }
        clauses.push(reader.clause()?);
        if !reader.and()? {
            return Ok(clauses);
        }
    }
}

/// Reads one entry of an `order_by`: a field, then perhaps `ASC` or `DESC`.
pub fn parse_order(text: &str) -> Result<Order> {
    let mut reader = Reader::new(text)?;
    let field = reader.field()?;
    let is_descending = match reader.next() {
        None => false,
        Some((at, Token::Word(word))) => match word.to_ascii_lowercase().as_str() {
            "asc" => false,
            "desc" => true,
            _ => {
                return Err(
                    FilterError::new(at, format!("{word:?} is neither ASC nor DESC"))
                        .near(&word, ["ASC", "DESC"]),
                );
            }
        },
        Some((at, _)) => return Err(FilterError::new(at, "only ASC or DESC may follow")),
    };
    match reader.next() {
        None => Ok(Order {
            field,
            is_descending,
        }),
        Some((at, _)) => Err(FilterError::new(at, "nothing may follow")
            .hint("give several orders as several entries of the list")),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// Letters as they stand, up to a blank or a sign.
    Word(String),
    /// Between single or double quotes.
    Quoted(String),
    /// Between backticks.
    Name(String),
    Sign(&'static str),
}

/// Tokens with where each begins.
struct Reader {
    tokens: std::vec::IntoIter<(usize, Token)>,
    end: usize,
}

impl Reader {
    fn new(text: &str) -> Result<Self> {
        if text.len() > FILTER_BYTES_MAX {
            let reason = format!("a filter has at most {FILTER_BYTES_MAX} bytes");
            return Err(FilterError::new(1, reason));
        }
        Ok(Reader {
            tokens: tokens(text)?.into_iter(),
            end: text.chars().count() + 1,
        })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.as_slice().first().map(|(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens
            .as_slice()
            .first()
            .map_or(self.end, |(at, _)| *at)
    }

    fn next(&mut self) -> Option<(usize, Token)> {
        self.tokens.next()
    }

    /// Takes a word when it is this one, whatever its case.
    fn word(&mut self, wanted: &str) -> bool {
        let is_it =
            matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        if is_it {
            self.next();
        }
        is_it
    }

    /// Takes a sign when it is this one.
    fn sign(&mut self, wanted: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Sign(sign)) if *sign == wanted);
        if is_it {
            self.next();
        }
        is_it
    }

    /// Whether another condition follows.
    fn and(&mut self) -> Result<bool> {
        let at = self.at();
        if self.word("and") {
            return Ok(true);
        }
        match self.next() {
            None => Ok(false),
            Some((_, Token::Word(word))) if word.eq_ignore_ascii_case("or") => {
                Err(FilterError::new(at, "only `and` joins conditions")
                    .hint("ask twice, or use IN ('a', 'b')"))
            }
            Some((_, Token::Word(word))) => Err(FilterError::new(
                at,
                format!("`and` was expected, {word:?} came"),
            )
            .near(&word, ["and"])),
            Some(_) => Err(FilterError::new(at, "`and` was expected")),
        }
    }

    fn clause(&mut self) -> Result<Clause> {
        let field = self.field()?;
        let test = self.test()?;
        Ok(Clause { field, test })
    }

    fn field(&mut self) -> Result<Field> {
        let at = self.at();
        let word = match self.next() {
            Some((_, Token::Word(word))) => word,
            // An attribute with a blank in it, such as `Run name`.
            Some((_, Token::Name(key) | Token::Quoted(key))) => {
                return Ok(Field {
                    owner: Owner::Attribute,
                    key,
                    at,
                });
            }
            _ => {
                return Err(FilterError::new(at, "a field was expected")
                    .hint("such as metrics.auc, params.depth, tags.team or start_time"));
            }
        };
        let Some((owner, key)) = word.split_once('.') else {
            return Ok(Field {
                owner: Owner::Attribute,
                key: word,
                at,
            });
        };
        let owner = owner_of(owner, at)?;
        let key = if key.is_empty() {
            match self.next() {
                Some((_, Token::Name(key) | Token::Quoted(key))) => key,
                _ => return Err(FilterError::new(at, "the name after the dot is missing")),
            }
        } else {
            key.to_owned()
        };
        Ok(Field { owner, key, at })
    }

    fn test(&mut self) -> Result<Test> {
        let at = self.at();
        if self.word("is") {
            let is_negated = self.word("not");
            if self.word("null") {
                return Ok(Test::IsNull { is_negated });
            }
            return Err(FilterError::new(self.at(), "`null` was expected"));
        }
        if self.word("not") {
            if self.word("in") {
                return self.list(true);
            }
            return Err(FilterError::new(self.at(), "`in` was expected after `not`"));
        }
        if self.word("in") {
            return self.list(false);
        }
        for (word, is_caseless) in [("like", false), ("ilike", true)] {
            if self.word(word) {
                let pattern = self.quoted("a pattern in quotes was expected, such as 'desk%'")?;
                return Ok(Test::Like {
                    pattern,
                    is_caseless,
                });
            }
        }
        let comparator = self.comparator(at)?;
        Ok(Test::Compare(comparator, self.literal()?))
    }

    fn comparator(&mut self, at: usize) -> Result<Comparator> {
        const WORDS: [&str; 5] = ["LIKE", "ILIKE", "IN", "NOT IN", "IS NULL"];
        let found = self.next();
        Ok(match &found {
            Some((_, Token::Sign("="))) => Comparator::Equal,
            Some((_, Token::Sign("!="))) => Comparator::NotEqual,
            Some((_, Token::Sign(">"))) => Comparator::Greater,
            Some((_, Token::Sign(">="))) => Comparator::GreaterOrEqual,
            Some((_, Token::Sign("<"))) => Comparator::Less,
            Some((_, Token::Sign("<="))) => Comparator::LessOrEqual,
            Some((_, Token::Word(word))) => {
                let reason = format!("{word:?} compares nothing");
                return Err(FilterError::new(at, reason).near(word, WORDS));
            }
            _ => {
                return Err(FilterError::new(at, "a comparison was expected")
                    .hint("one of = != > >= < <= LIKE ILIKE IN NOT IN IS NULL"));
            }
        })
    }

    fn literal(&mut self) -> Result<Literal> {
        let at = self.at();
        match self.next() {
            Some((_, Token::Quoted(text))) => Ok(Literal::Text(text)),
            Some((_, Token::Word(word))) => match word.parse::<f64>() {
                Ok(number) if word.starts_with(|c: char| !c.is_alphabetic()) => {
                    Ok(Literal::Number(number))
                }
                _ => Err(FilterError::new(at, format!("{word:?} is no number"))
                    .hint(format!("a text needs quotes: '{word}'"))),
            },
            _ => Err(FilterError::new(
                at,
                "a number, or a text in quotes, was expected",
            )),
        }
    }

    fn quoted(&mut self, wanted: &str) -> Result<String> {
        let at = self.at();
        match self.next() {
            Some((_, Token::Quoted(text))) => Ok(text),
            _ => Err(FilterError::new(at, wanted)),
        }
    }

    fn list(&mut self, is_negated: bool) -> Result<Test> {
        let at = self.at();
        if !self.sign("(") {
            return Err(FilterError::new(at, "`(` was expected").hint("such as IN ('a', 'b')"));
        }
        let mut values = Vec::new();
        loop {
            if values.len() == VALUES_MAX {
                let reason = format!("a list has at most {VALUES_MAX} values");
                return Err(FilterError::new(self.at(), reason));
            }
            values.push(self.quoted("a text in quotes was expected")?);
            if self.sign(",") {
                // A list of one is written with a comma by Python.
                if self.sign(")") {
                    break;
                }
                continue;
            }
            if self.sign(")") {
                break;
            }
            return Err(FilterError::new(self.at(), "`,` or `)` was expected"));
        }
        Ok(Test::In { values, is_negated })
    }
}

/// The words for an owner, singular and plural, as the clients have them.
const OWNERS: &[(&str, Owner)] = &[
    ("attributes", Owner::Attribute),
    ("attribute", Owner::Attribute),
    ("attr", Owner::Attribute),
    ("run", Owner::Attribute),
    ("metrics", Owner::Metric),
    ("metric", Owner::Metric),
    ("params", Owner::Param),
    ("param", Owner::Param),
    ("parameters", Owner::Param),
    ("parameter", Owner::Param),
    ("tags", Owner::Tag),
    ("tag", Owner::Tag),
    ("datasets", Owner::Dataset),
    ("dataset", Owner::Dataset),
];

fn owner_of(word: &str, at: usize) -> Result<Owner> {
    let bare = word.trim_matches('`');
    if let Some((_, owner)) = OWNERS.iter().find(|(name, _)| *name == bare) {
        return Ok(*owner);
    }
    let reason = format!("{word:?} is none of attributes, metrics, params, tags, datasets");
    Err(FilterError::new(at, reason).near(bare, OWNERS.iter().map(|(name, _)| *name)))
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut place = 0;
    while let Some(first) = chars.get(place) {
        let at = place + 1;
        match first {
            c if c.is_whitespace() => place += 1,
            '\'' | '"' => tokens.push((at, Token::Quoted(quoted(&chars, &mut place)?))),
            '`' => tokens.push((at, Token::Name(quoted(&chars, &mut place)?))),
            '=' | '!' | '<' | '>' | '(' | ')' | ',' => {
                tokens.push((at, Token::Sign(sign(&chars, &mut place)?)));
            }
            _ => tokens.push((at, Token::Word(word(&chars, &mut place)))),
        }
    }
    Ok(tokens)
}

fn word(chars: &[char], place: &mut usize) -> String {
    let ends = |c: &char| c.is_whitespace() || "'\"`=!<>(),".contains(*c);
    let length = chars[*place..].iter().take_while(|c| !ends(c)).count();
    let word = chars[*place..*place + length].iter().collect();
    *place += length;
    word
}

fn sign(chars: &[char], place: &mut usize) -> Result<&'static str> {
    let (first, second) = (chars[*place], chars.get(*place + 1).copied());
    let sign = match (first, second) {
        ('=', Some('=')) => {
            return Err(FilterError::new(*place + 1, "`==` is not known here").hint("is it `=`?"));
        }
        ('=', _) => "=",
        ('!', Some('=')) | ('<', Some('>')) => "!=",
        ('>', Some('=')) => ">=",
        ('<', Some('=')) => "<=",
        ('>', _) => ">",
        ('<', _) => "<",
        ('(', _) => "(",
        (')', _) => ")",
        (',', _) => ",",
        _ => return Err(FilterError::new(*place + 1, "`!` is not known here").hint("is it `!=`?")),
    };
    let is_two = matches!((first, second), ('!' | '>' | '<', Some('=')))
        || second == Some('>') && first == '<';
    *place += if is_two { 2 } else { 1 };
    Ok(sign)
}

/// What stands between quotes; a quote inside is written twice.
fn quoted(chars: &[char], place: &mut usize) -> Result<String> {
    let (begin, quote) = (*place, chars[*place]);
    let mut text = String::new();
    *place += 1;
    while let Some(c) = chars.get(*place) {
        *place += 1;
        if *c != quote {
            text.push(*c);
        } else if chars.get(*place) == Some(&quote) {
            text.push(quote);
            *place += 1;
        } else {
            return Ok(text);
        }
    }
    Err(FilterError::new(
        begin + 1,
        format!("the {quote} that opens here is not closed"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(text: &str) -> String {
        match parse(text) {
            Ok(clauses) => format!("{} conditions", clauses.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_filter_is_read_as_its_author_meant_it() {
        let text = "metrics.auc >= 0.9 AND params.\"max depth\" != '5' and tags.`mlflow.user` ILIKE 'a%' \
            and attributes.status IN ('FINISHED', 'FAILED') and run_name = 'it''s' and tags.x is not null \
            and start_time > 1664067852747 and metrics.loss < -1e-3";
        let clauses = parse(text).expect("a filter");
        let seen: Vec<(Owner, &str)> = clauses
            .iter()
            .map(|clause| (clause.field.owner, clause.field.key.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                (Owner::Metric, "auc"),
                (Owner::Param, "max depth"),
                (Owner::Tag, "mlflow.user"),
                (Owner::Attribute, "status"),
                (Owner::Attribute, "run_name"),
                (Owner::Tag, "x"),
                (Owner::Attribute, "start_time"),
                (Owner::Metric, "loss"),
            ]
        );
        let text = |text: &str| Literal::Text(text.to_owned());
        assert_eq!(
            clauses[4].test,
            Test::Compare(Comparator::Equal, text("it's"))
        );
        assert_eq!(
            clauses[7].test,
            Test::Compare(Comparator::Less, Literal::Number(-1e-3))
        );
        assert_eq!(clauses[5].test, Test::IsNull { is_negated: true });
    }

    #[test]
    fn a_mistake_is_told_with_its_place_and_the_nearest_right_word() {
        for (filter, words) in [
            (
                "metrcs.auc > 1",
                "at character 1: \"metrcs\" is none of attributes, metrics, params, tags, datasets; is it `metrics`?",
            ),
            (
                "params.a = b",
                "at character 12: \"b\" is no number; a text needs quotes: 'b'",
            ),
            (
                "params.a = 'b",
                "at character 12: the ' that opens here is not closed",
            ),
            (
                "params.a lke 'b'",
                "at character 10: \"lke\" compares nothing; is it `LIKE`?",
            ),
            (
                "metrics.a > 1 or metrics.b > 1",
                "at character 15: only `and` joins conditions; ask twice, or use IN ('a', 'b')",
            ),
            (
                "metrics.a == 1",
                "at character 11: `==` is not known here; is it `=`?",
            ),
            (
                "metrics.a > 1 adn metrics.b > 1",
                "at character 15: `and` was expected, \"adn\" came; is it `and`?",
            ),
            (
                "metrics.a",
                "at character 10: a comparison was expected; one of = != > >= < <= LIKE ILIKE IN NOT IN IS NULL",
            ),
            (
                "metrics.a > 1 and",
                "at character 18: a field was expected; such as metrics.auc, params.depth, tags.team or start_time",
            ),
        ] {
            assert_eq!(told(filter), words, "{filter}");
        }
        assert_eq!(told("  "), "0 conditions");
    }

    #[test]
    fn an_order_is_a_field_and_a_direction() {
        let order = parse_order("metrics.`val loss` DESC").expect("an order");
        assert!(order.is_descending && order.field.key == "val loss");
        assert!(!parse_order("start_time").expect("an order").is_descending);
        let wrong = parse_order("start_time decs").expect_err("no order");
        assert_eq!(
            wrong.to_string(),
            "at character 12: \"decs\" is neither ASC nor DESC; is it `DESC`?"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,60}") {
            let _ = parse(&text);
            let _ = parse_order(&text);
        }

        #[test]
        fn any_key_and_value_in_quotes_come_back_as_they_were(key in "[^`]{1,20}", value in "[^']{0,20}", number in any::<f64>()) {
            let clauses = parse(&format!("tags.`{key}` = '{value}'")).expect("a filter");
            prop_assert_eq!(&clauses[0].field.key, &key);
            prop_assert_eq!(&clauses[0].test, &Test::Compare(Comparator::Equal, Literal::Text(value)));
            prop_assume!(number.is_finite());
            let clauses = parse(&format!("metrics.x > {number:?}")).expect("a filter");
            prop_assert_eq!(&clauses[0].test, &Test::Compare(Comparator::Greater, Literal::Number(number)));
        }
    }
}
