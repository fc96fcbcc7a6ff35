//! Turns one row's raw probabilities into calibrated ones.
//!
//! A calibrated probability means what it says: of all rows answered with 0.7, seven in ten turn
//! out so. The maps here are small and fixed; fitting them, and choosing among them, is `learn`'s
//! `calibrate`. Kept in the engine because every answer passes through, and kept apart from the
//! engines because none of them differs.
//!
//! | method | what it does with probability p | stored |
//! | --- | --- | --- |
//! | identity | p | nothing |
//! | temperature | exclusive: softmax(ln p / t); independent: σ(logit p / t) | t |
//! | platt | σ(slope · logit p + intercept), per class | two numbers per class |
//! | isotonic | linear interpolation between knots, flat outside, per class | knots per class |
//!
//! With two exclusive classes, Platt and isotonic act on the second one, the positive class, and
//! the first is what remains; with more, each class is mapped on its own and the row is divided by
//! its sum. A row whose mapped probabilities are all zero becomes uniform. Valid probabilities in,
//! valid probabilities out.
//!
//! ```
//! use ombud_engine::calibration::{Calibrator, Classes, Method};
//! let softer = Calibrator::new(Classes::Exclusive, Method::Temperature { temperature: 2.0 })?;
//! let mut row = [0.1, 0.9];
//! softer.apply(&mut row);
//! assert!((row[1] - 0.75).abs() < 1e-12);
//! # Ok::<(), ombud_engine::calibration::CalibrationError>(())
//! ```

use serde::{Deserialize, Serialize};

/// Probabilities nearer than this to 0 or 1 are treated as this near, so that their logarithms stay
/// finite.
pub const PROBABILITY_FLOOR: f64 = 1e-15;

/// The most classes one calibrator may hold; a larger file is damaged or hostile.
pub const CLASSES_MAX: usize = 100_000;

/// The most knots of one isotonic curve; fitting thins longer curves before they are stored.
pub const KNOTS_MAX: usize = 10_000;

/// Whether a row's classes exclude one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Classes {
    /// Exactly one class is true: probabilities sum to one.
    Exclusive,
    /// Each label is true or not on its own: each probability stands alone.
    Independent,
}

/// How probabilities are mapped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    Identity,
    Temperature { temperature: f64 },
    Platt { lines: Vec<Line> },
    Isotonic { curves: Vec<Curve> },
}

/// A straight line on the logit scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Never negative: calibration may flatten an order but not turn it round.
    pub slope: f64,
    pub intercept: f64,
}

/// A rising curve through knots: `at` strictly increasing, `value` never falling, both within 0 and
/// 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    pub at: Vec<f64>,
    pub value: Vec<f64>,
}

/// A checked calibration, ready for rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "CalibratorFile", into = "CalibratorFile")]
pub struct Calibrator {
    classes: Classes,
    method: Method,
}

/// Why a calibration is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    #[error("temperature {temperature} is not a positive number")]
    Temperature { temperature: f64 },
    #[error(
        "the line of class {class} has slope {slope} and intercept {intercept}; \
         both must be finite and the slope not negative"
    )]
    Line {
        class: usize,
        slope: f64,
        intercept: f64,
    },
    #[error(
        "the curve of class {class} breaks at knot {knot}: positions must rise, values \
         must not fall, all within 0 and 1"
    )]
    Knot { class: usize, knot: usize },
    #[error(
        "the curve of class {class} has {positions} positions and {values} values; \
         there must be equally many, 1 to {most}"
    )]
    CurveLength {
        class: usize,
        positions: usize,
        values: usize,
        most: usize,
    },
    #[error("a calibration of {count} classes is refused (1 to {most})")]
    ClassCount { count: usize, most: usize },
    #[error("the calibration is for {expected} classes, the model gives {found}")]
    Width { expected: usize, found: usize },
}

/// The stored form: `{"classes": "exclusive", "method": {"name": "temperature", "temperature":
/// 1.3}}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalibratorFile {
    classes: Classes,
    method: Method,
}

impl Calibrator {
    /// The calibration that changes nothing.
    pub fn identity(classes: Classes) -> Self {
        Self {
            classes,
            method: Method::Identity,
        }
    }

    /// Checks every number of `method`.
    pub fn new(classes: Classes, method: Method) -> Result<Self, CalibrationError> {
        match &method {
            Method::Identity => {}
            Method::Temperature { temperature } => check_temperature(*temperature)?,
            Method::Platt { lines } => check_lines(lines)?,
            Method::Isotonic { curves } => check_curves(curves)?,
        }
        Ok(Self { classes, method })
    }

    pub fn classes(&self) -> Classes {
        self.classes
    }

    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Checks that rows of `class_count` probabilities can be calibrated; ask once, when a bundle
    /// is loaded.
    pub fn check_width(&self, class_count: usize) -> Result<(), CalibrationError> {
        match self.class_count() {
            Some(expected) if expected != class_count => Err(CalibrationError::Width {
                expected,
                found: class_count,
            }),
            _ => Ok(()),
        }
    }

    /// Calibrates one row in place.
    ///
    /// # Panics
    /// When the row is not as wide as [`Calibrator::check_width`] allows.
    pub fn apply(&self, probabilities: &mut [f64]) {
        assert!(
            self.check_width(probabilities.len()).is_ok(),
            "row width differs from the calibration's"
        );
        match (&self.method, self.classes) {
            (Method::Identity, _) => {}
            (Method::Temperature { temperature }, Classes::Exclusive) => {
                soften(probabilities, *temperature);
            }
            (Method::Temperature { temperature }, Classes::Independent) => {
                probabilities
                    .iter_mut()
                    .for_each(|p| *p = sigmoid(logit(*p) / temperature));
            }
            (Method::Platt { lines }, classes) => map(probabilities, lines, classes, Line::at),
            (Method::Isotonic { curves }, classes) => {
                map(probabilities, curves, classes, Curve::at);
            }
        }
    }

    /// How many probabilities a row must have; `None` when any number will do.
    fn class_count(&self) -> Option<usize> {
        let maps = match &self.method {
            Method::Identity | Method::Temperature { .. } => return None,
            Method::Platt { lines } => lines.len(),
            Method::Isotonic { curves } => curves.len(),
        };
        let is_binary = self.classes == Classes::Exclusive && maps == 1;
        Some(if is_binary { 2 } else { maps })
    }
}

impl Line {
    fn at(&self, probability: f64) -> f64 {
        sigmoid(self.slope * logit(probability) + self.intercept)
    }
}

impl Curve {
    /// The curve's value at `probability`; outside the knots, the nearest knot's value.
    pub fn at(&self, probability: f64) -> f64 {
        let above = self.at.partition_point(|&knot| knot <= probability);
        if above == 0 {
            return self.value[0];
        }
        if above == self.at.len() {
            return self.value[above - 1];
        }
        let (left, right) = (self.at[above - 1], self.at[above]);
        let share = (probability - left) / (right - left);
        let (low, high) = (self.value[above - 1], self.value[above]);
        (low + share * (high - low)).clamp(low, high)
    }
}

impl TryFrom<CalibratorFile> for Calibrator {
    type Error = CalibrationError;

    fn try_from(file: CalibratorFile) -> Result<Self, CalibrationError> {
        Self::new(file.classes, file.method)
    }
}

impl From<Calibrator> for CalibratorFile {
    fn from(calibrator: Calibrator) -> Self {
        Self {
            classes: calibrator.classes,
            method: calibrator.method,
        }
    }
}

/// ln(p / (1 − p)) of a probability held off 0 and 1 by [`PROBABILITY_FLOOR`].
pub fn logit(probability: f64) -> f64 {
    let held = probability.clamp(PROBABILITY_FLOOR, 1.0 - PROBABILITY_FLOOR);
    held.ln() - (-held).ln_1p()
}

/// 1 / (1 + e⁻ˣ), without overflow.
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        return 1.0 / (1.0 + (-x).exp());
    }
    let small = x.exp();
    small / (1.0 + small)
}

/// Maps each class by its own rule, and makes exclusive classes sum to one again.
fn map<T>(probabilities: &mut [f64], maps: &[T], classes: Classes, at: impl Fn(&T, f64) -> f64) {
    if let (Classes::Exclusive, [only]) = (classes, maps) {
        let positive = at(only, probabilities[1]);
        probabilities[0] = 1.0 - positive;
        probabilities[1] = positive;
        return;
    }
    for (probability, map) in probabilities.iter_mut().zip(maps) {
        *probability = at(map, *probability);
    }
    if classes == Classes::Exclusive {
        normalize(probabilities);
    }
}

fn soften(probabilities: &mut [f64], temperature: f64) {
    let highest = probabilities
        .iter()
        .copied()
        .fold(PROBABILITY_FLOOR, f64::max)
        .ln();
    for probability in probabilities.iter_mut() {
        // The difference comes before the division, so that a tiny temperature cannot make ∞ − ∞.
        *probability = ((probability.max(PROBABILITY_FLOOR).ln() - highest) / temperature).exp();
    }
    normalize(probabilities);
}

fn normalize(probabilities: &mut [f64]) {
    let sum: f64 = probabilities.iter().sum();
    let even = 1.0 / probabilities.len() as f64;
    for probability in probabilities {
        *probability = if sum > 0.0 { *probability / sum } else { even };
    }
}

fn check_temperature(temperature: f64) -> Result<(), CalibrationError> {
    if temperature.is_finite() && temperature > 0.0 {
        return Ok(());
    }
    Err(CalibrationError::Temperature { temperature })
}

fn check_lines(lines: &[Line]) -> Result<(), CalibrationError> {
    check_class_count(lines.len())?;
    for (class, &Line { slope, intercept }) in lines.iter().enumerate() {
        if !(slope.is_finite() && slope >= 0.0 && intercept.is_finite()) {
            return Err(CalibrationError::Line {
                class,
                slope,
                intercept,
            });
        }
    }
    Ok(())
}

fn check_curves(curves: &[Curve]) -> Result<(), CalibrationError> {
    check_class_count(curves.len())?;
    curves
        .iter()
        .enumerate()
        .try_for_each(|(class, curve)| check_curve(class, curve))
}

fn check_class_count(count: usize) -> Result<(), CalibrationError> {
    if (1..=CLASSES_MAX).contains(&count) {
        return Ok(());
    }
    Err(CalibrationError::ClassCount {
        count,
        most: CLASSES_MAX,
    })
}

fn check_curve(class: usize, curve: &Curve) -> Result<(), CalibrationError> {
    let (positions, values) = (curve.at.len(), curve.value.len());
    if positions != values || !(1..=KNOTS_MAX).contains(&positions) {
        return Err(CalibrationError::CurveLength {
            class,
            positions,
            values,
            most: KNOTS_MAX,
        });
    }
    for knot in 0..positions {
        let is_probability = |x: f64| (0.0..=1.0).contains(&x);
        let is_inside = is_probability(curve.at[knot]) && is_probability(curve.value[knot]);
        let rises = knot == 0
            || (curve.at[knot] > curve.at[knot - 1] && curve.value[knot] >= curve.value[knot - 1]);
        if !(is_inside && rises) {
            return Err(CalibrationError::Knot { class, knot });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(slope: f64, intercept: f64) -> Line {
        Line { slope, intercept }
    }

    fn curve(at: &[f64], value: &[f64]) -> Curve {
        Curve {
            at: at.to_vec(),
            value: value.to_vec(),
        }
    }

    fn applied(classes: Classes, method: Method, row: &[f64]) -> Vec<f64> {
        let mut row = row.to_vec();
        Calibrator::new(classes, method)
            .expect("valid method")
            .apply(&mut row);
        row
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn identity_changes_nothing() {
        let mut row = [0.2, 0.3, 0.5];
        Calibrator::identity(Classes::Exclusive).apply(&mut row);
        assert_eq!(row, [0.2, 0.3, 0.5]);
    }

    #[test]
    fn a_temperature_of_two_takes_square_roots() {
        let roots = [0.1f64.sqrt(), 0.3f64.sqrt(), 0.6f64.sqrt()];
        let sum: f64 = roots.iter().sum();
        let expected: Vec<f64> = roots.iter().map(|root| root / sum).collect();
        let method = Method::Temperature { temperature: 2.0 };
        assert_close(
            &applied(Classes::Exclusive, method.clone(), &[0.1, 0.3, 0.6]),
            &expected,
        );
        assert_close(
            &applied(Classes::Independent, method, &[0.9, 0.5]),
            &[0.75, 0.5],
        );
    }

    #[test]
    fn platt_acts_on_the_positive_class_of_two() {
        let method = Method::Platt {
            lines: vec![line(1.0, 3f64.ln())],
        };
        assert_close(
            &applied(Classes::Exclusive, method, &[0.5, 0.5]),
            &[0.25, 0.75],
        );
    }

    #[test]
    fn many_exclusive_classes_are_renormalized_and_independent_ones_are_not() {
        let lines = vec![line(1.0, 0.0), line(0.0, 0.0), line(1.0, 0.0)];
        let method = Method::Platt { lines };
        let row = [0.25, 0.5, 0.25];
        assert_close(
            &applied(Classes::Independent, method.clone(), &row),
            &[0.25, 0.5, 0.25],
        );
        assert_close(
            &applied(Classes::Exclusive, method, &[0.5, 0.1, 0.0]),
            &[0.5, 0.5, 1e-15],
        );
    }

    #[test]
    fn isotonic_interpolates_between_knots_and_is_flat_outside() {
        let method = Method::Isotonic {
            curves: vec![curve(&[0.2, 0.4], &[0.1, 0.5])],
        };
        for (p, expected) in [(0.0, 0.1), (0.2, 0.1), (0.3, 0.3), (0.4, 0.5), (1.0, 0.5)] {
            let row = applied(Classes::Exclusive, method.clone(), &[1.0 - p, p]);
            assert_close(&row, &[1.0 - expected, expected]);
        }
    }

    #[test]
    fn a_row_mapped_to_nothing_becomes_uniform() {
        let zero = curve(&[0.5], &[0.0]);
        let method = Method::Isotonic {
            curves: vec![zero.clone(), zero.clone(), zero.clone(), zero],
        };
        assert_eq!(
            applied(Classes::Exclusive, method, &[0.1, 0.2, 0.3, 0.4]),
            [0.25; 4]
        );
    }

    #[test]
    fn the_stored_form_is_plain_and_returns_unchanged() {
        let method = Method::Platt {
            lines: vec![line(1.1, -0.3)],
        };
        let calibrator = Calibrator::new(Classes::Exclusive, method).expect("valid");
        let text = serde_json::to_string(&calibrator).expect("serializes");
        assert_eq!(
            text,
            concat!(
                r#"{"classes":"exclusive","method":"#,
                r#"{"name":"platt","lines":[{"slope":1.1,"intercept":-0.3}]}}"#
            )
        );
        assert_eq!(
            serde_json::from_str::<Calibrator>(&text).expect("loads"),
            calibrator
        );
    }

    #[test]
    fn a_damaged_file_is_refused_with_the_place() {
        for (method, message) in [
            (
                r#"{"name":"temperature","temperature":0.0}"#,
                "temperature 0",
            ),
            (
                r#"{"name":"platt","lines":[{"slope":-1,"intercept":0}]}"#,
                "class 0 has slope -1",
            ),
            (r#"{"name":"platt","lines":[]}"#, "0 classes"),
            (
                r#"{"name":"isotonic","curves":[{"at":[0.1,0.1],"value":[0,1]}]}"#,
                "breaks at knot 1",
            ),
            (
                r#"{"name":"isotonic","curves":[{"at":[0.1,0.2],"value":[1,0]}]}"#,
                "breaks at knot 1",
            ),
            (
                r#"{"name":"isotonic","curves":[{"at":[0.1],"value":[2]}]}"#,
                "breaks at knot 0",
            ),
            (
                r#"{"name":"isotonic","curves":[{"at":[0.1],"value":[]}]}"#,
                "1 positions and 0 values",
            ),
            (r#"{"name":"beta"}"#, "unknown variant"),
            (
                r#"{"name":"temperature","temperature":1,"seed":3}"#,
                "unknown field",
            ),
        ] {
            let text = format!(r#"{{"classes":"exclusive","method":{method}}}"#);
            let refusal = serde_json::from_str::<Calibrator>(&text)
                .expect_err(&text)
                .to_string();
            assert!(refusal.contains(message), "{refusal}");
        }
    }

    #[test]
    fn a_width_that_does_not_fit_is_refused_before_any_row() {
        let method = Method::Platt {
            lines: vec![line(1.0, 0.0)],
        };
        let binary = Calibrator::new(Classes::Exclusive, method).expect("valid");
        assert_eq!(binary.check_width(2), Ok(()));
        assert_eq!(
            binary.check_width(3),
            Err(CalibrationError::Width {
                expected: 2,
                found: 3
            })
        );
    }

    fn any_method(width: usize) -> impl Strategy<Value = Method> {
        let maps = if width == 2 { 1 } else { width };
        let lines = prop::collection::vec((0.0..1e4f64, -1e4..1e4f64), maps);
        let knots = prop::collection::vec(
            prop::collection::vec((0.0..=1.0f64, 0.0..=1.0f64), 1..6),
            maps,
        );
        prop_oneof![
            (-300.0..300.0f64).prop_map(|power| Method::Temperature {
                temperature: 10f64.powf(power)
            }),
            lines.prop_map(|lines| Method::Platt {
                lines: lines
                    .into_iter()
                    .map(|(slope, intercept)| line(slope, intercept))
                    .collect()
            }),
            knots.prop_map(|curves| Method::Isotonic {
                curves: curves.into_iter().map(rising).collect()
            }),
        ]
    }

    fn rising(points: Vec<(f64, f64)>) -> Curve {
        let (mut at, mut value): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
        at.sort_by(f64::total_cmp);
        at.dedup();
        value.sort_by(f64::total_cmp);
        value.truncate(at.len());
        Curve { at, value }
    }

    proptest! {
        #[test]
        fn valid_probabilities_stay_valid(
            (row, method) in (2usize..6).prop_flat_map(|width| {
                let part = prop_oneof![Just(0.0), Just(1e-300), 0.0..1.0f64];
                (prop::collection::vec(part, width), any_method(width))
            })
        ) {
            let mut exclusive = row.clone();
            normalize(&mut exclusive);
            let exclusive = applied(Classes::Exclusive, method.clone(), &exclusive);
            prop_assert!(exclusive.iter().all(|p| (0.0..=1.0).contains(p)));
            prop_assert!((exclusive.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            if row.len() > 2 {
                let independent = applied(Classes::Independent, method, &row);
                prop_assert!(independent.iter().all(|p| (0.0..=1.0).contains(p)));
            }
        }

        #[test]
        fn calibration_never_reverses_an_order(
            a in 0.0..=1.0f64,
            b in 0.0..=1.0f64,
            method in any_method(2),
        ) {
            let (low, high) = (a.min(b), a.max(b));
            let positive = |p: f64| applied(Classes::Exclusive, method.clone(), &[1.0 - p, p])[1];
            prop_assert!(positive(low) <= positive(high) + 1e-12);
        }
    }
}
