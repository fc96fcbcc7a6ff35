//! One feature on its way to a stage, whose limits and values may be others than here.
//!
//! A value that the stage does not know, or would refuse, is missing to it: the request was judged by its own schema already.

use ombud_core::Kind;
use ombud_core::frame::Column;
use ombud_core::row::Value;
use ombud_core::schema::Bounds;

/// Where a stage's feature comes from, and what becomes of it.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// Its place in what a request holds.
    pub place: usize,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    /// The same type with the same values.
    Nothing,
    /// What lies outside is missing.
    Within(Bounds),
    /// By code here, the code there.
    Codes(Vec<Option<u32>>),
}

impl Input {
    /// The way from a type here to a type there; none when they do not go together.
    pub fn new(place: usize, here: &Kind, there: &Kind) -> Option<Input> {
        let change = match (here, there) {
            _ if here == there => Change::Nothing,
            (Kind::Number { .. }, Kind::Number { bounds }) => Change::Within(*bounds),
            (
                Kind::Sequence { steps, .. },
                Kind::Sequence {
                    steps: wanted,
                    bounds,
                },
            ) if steps == wanted => Change::Within(*bounds),
            (
                Kind::Ordinal { .. } | Kind::Category { .. },
                Kind::Ordinal { .. } | Kind::Category { .. },
            ) => Change::Codes(codes(here.values(), there.values())),
            _ => return None,
        };
        Some(Input { place, change })
    }

    /// The value as the stage is given it.
    pub fn value(&self, value: &Value) -> Value {
        match (&self.change, value) {
            (Change::Within(bounds), Value::Number(number)) if !bounds.allow(*number) => {
                Value::Missing
            }
            (Change::Within(bounds), Value::Sequence(steps)) => {
                let within = |step: &f64| match bounds.allow(*step) {
                    true => *step,
                    false => f64::NAN,
                };
                let steps: Vec<f64> = steps.iter().map(within).collect();
                match steps.iter().all(|step| step.is_nan()) {
                    true => Value::Missing,
                    false => Value::Sequence(steps),
                }
            }
            (Change::Codes(codes), Value::Code(code)) => {
                let known = codes.get(*code as usize).copied().flatten();
                known.map_or(Value::Missing, Value::Code)
            }
            (_, value) => value.clone(),
        }
    }

    /// A whole column.
    pub fn column(&self, column: &Column, there: &Kind) -> Column {
        if let Change::Nothing = self.change {
            return column.clone();
        }
        let values = (0..column.rows()).map(|row| self.value(&column.value(row)));
        Column::of(there, &values.collect::<Vec<_>>())
    }
}

fn codes(here: &[String], there: &[String]) -> Vec<Option<u32>> {
    let known: std::collections::HashMap<&String, u32> = there.iter().zip(0..).collect();
    here.iter().map(|value| known.get(value).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_core::schema::Unseen;

    fn category(values: &[&str]) -> Kind {
        Kind::Category {
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            unseen: Unseen::Missing,
        }
    }

    fn number(max: f64) -> Kind {
        Kind::Number {
            bounds: Bounds {
                min: Some(0.0),
                max: Some(max),
            },
        }
    }

    #[test]
    fn a_value_keeps_its_name_and_not_its_place() {
        let input = Input::new(0, &category(&["a", "b", "c"]), &category(&["c", "a"])).unwrap();
        let codes = [0, 1, 2].map(|code| input.value(&Value::Code(code)));
        assert_eq!(codes, [Value::Code(1), Value::Missing, Value::Code(0)]);
    }

    #[test]
    fn what_a_stage_would_refuse_is_missing_to_it() {
        let input = Input::new(0, &number(100.0), &number(10.0)).unwrap();
        assert_eq!(input.value(&Value::Number(10.0)), Value::Number(10.0));
        assert_eq!(input.value(&Value::Number(10.5)), Value::Missing);
    }

    #[test]
    fn a_column_changes_as_its_values_do() {
        let (here, there) = (category(&["a", "b"]), category(&["b"]));
        let input = Input::new(0, &here, &there).unwrap();
        let values = [Value::Code(1), Value::Missing, Value::Code(0)];
        let column = input.column(&Column::of(&here, &values), &there);
        let changed: Vec<Value> = (0..3).map(|row| column.value(row)).collect();
        assert_eq!(changed, [Value::Code(0), Value::Missing, Value::Missing]);
    }

    #[test]
    fn types_that_do_not_go_together_have_no_way() {
        assert!(Input::new(0, &Kind::Text, &number(1.0)).is_none());
        assert!(Input::new(0, &number(1.0), &category(&["a"])).is_none());
    }
}
