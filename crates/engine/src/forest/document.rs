//! A model file as a tree of values, the same for JSON and UBJSON.
//!
//! Arrays of numbers, which are nearly all of a model, stay flat; everything else is counted against a
//! bound, so that a hostile file cannot ask for more memory than a few times its own size. What the
//! values mean is [`super::xgboost`]'s affair.

/// The most values that are not numbers in an array of numbers; a tree takes about twenty.
pub(super) const VALUES_MAX: usize = 1 << 22;
/// The deepest nesting; XGBoost's models nest seven levels.
pub(super) const NESTING_MAX: usize = 32;

/// One value of a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    /// An array with nothing but numbers in it (also the empty array).
    Numbers(Numbers),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

/// A flat array, and how it is best written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Numbers {
    pub values: Vec<f64>,
    pub width: Width,
}

/// The number type of an array in UBJSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// Whole numbers, each with a type of its own.
    Each,
    U8,
    I32,
    I64,
    F32,
}

impl Value {
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        let Value::Object(fields) = self else {
            return None;
        };
        fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    pub(super) fn numbers(&self) -> Option<&[f64]> {
        if let Value::Numbers(numbers) = self {
            Some(&numbers.values)
        } else {
            None
        }
    }

    /// The elements of an array of anything but numbers; an empty array counts.
    pub(super) fn elements(&self) -> Option<&[Value]> {
        match self {
            Value::Array(elements) => Some(elements),
            Value::Numbers(numbers) if numbers.values.is_empty() => Some(&[]),
            _ => None,
        }
    }

    pub(super) fn from_numbers(values: Vec<f64>, width: Width) -> Value {
        Value::Numbers(Numbers { values, width })
    }
}

/// Collects an array; it stays flat for as long as only numbers come.
pub(super) struct ArrayBuilder {
    numbers: Vec<f64>,
    others: Vec<Value>,
}

impl ArrayBuilder {
    pub(super) fn new() -> ArrayBuilder {
        ArrayBuilder {
            numbers: Vec::new(),
            others: Vec::new(),
        }
    }

    /// Adds an element; `budget` pays for all that is not a number in an array of numbers.
    pub(super) fn push(&mut self, value: Value, budget: &mut Budget) -> Result<(), &'static str> {
        match value {
            Value::Number(number) if self.others.is_empty() => self.numbers.push(number),
            value => {
                budget.spend(1 + self.numbers.len())?;
                self.others
                    .extend(self.numbers.drain(..).map(Value::Number));
                self.others.push(value);
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Value {
        if self.others.is_empty() {
            return Value::from_numbers(self.numbers, Width::F32);
        }
        Value::Array(self.others)
    }
}

/// How many more values a document may hold.
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    pub(super) fn new() -> Budget {
        Budget { left: VALUES_MAX }
    }

    pub(super) fn spend(&mut self, count: usize) -> Result<(), &'static str> {
        self.left = self
            .left
            .checked_sub(count)
            .ok_or("it holds too many values")?;
        Ok(())
    }
}
