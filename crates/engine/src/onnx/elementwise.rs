//! Operators that treat every element on its own, or pairs of them.

use std::cell::Cell;
use std::sync::Arc;

use ombud_onnx::data_type;

use super::attributes::Attributes;
use super::broadcast::Broadcast;
use super::graph::{Call, Kernel, Versions, one};
use super::tensor::{Data, Element, Fault, Scalar, Tensor, each_element, each_number};

type Built = Result<Kernel, Fault>;

/// Numbers with the arithmetic that operators need; integers wrap.
pub(super) trait Number: Scalar + Copy + PartialOrd {
    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// `None` where integers are divided by zero.
    fn over(self, other: Self) -> Option<Self>;
    fn remainder(self, other: Self) -> Option<Self>;
    fn is_nan(self) -> bool {
        self.to_f64().is_nan()
    }
}

macro_rules! real {
    ($type:ty) => {
        impl Number for $type {
            fn from_f64(x: f64) -> Self {
                x as $type
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn plus(self, other: Self) -> Self {
                self + other
            }
            fn minus(self, other: Self) -> Self {
                self - other
            }
            fn times(self, other: Self) -> Self {
                self * other
            }
            fn over(self, other: Self) -> Option<Self> {
                Some(self / other)
            }
            fn remainder(self, other: Self) -> Option<Self> {
                Some(self % other)
            }
        }
    };
}

macro_rules! integer {
    ($type:ty) => {
        impl Number for $type {
            fn from_f64(x: f64) -> Self {
                x as $type
            }
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn over(self, other: Self) -> Option<Self> {
                (other != 0).then(|| self.wrapping_div(other))
            }
            /// The sign is the divisor's, as in Python.
            fn remainder(self, other: Self) -> Option<Self> {
                let rest = self.checked_rem(other).or((other == -1).then_some(0))?;
                Some(if rest != 0 && (rest < 0) != (other < 0) {
                    rest + other
                } else {
                    rest
                })
            }
        }
    };
}

real!(f32);
real!(f64);
integer!(i32);
integer!(i64);

macro_rules! real_functions {
    ($($name:ident: $single:expr, $double:expr;)*) => {
        $(pub(super) fn $name(_: Attributes<'_>, _: Versions) -> Built {
            Ok(Box::new(|call| real_map(call, $single, $double)))
        })*
    };
}

real_functions! {
    exp: f32::exp, f64::exp;
    log: f32::ln, f64::ln;
    sqrt: f32::sqrt, f64::sqrt;
    tanh: f32::tanh, f64::tanh;
    floor: f32::floor, f64::floor;
    ceil: f32::ceil, f64::ceil;
    round: f32::round_ties_even, f64::round_ties_even;
    reciprocal: |x| 1.0 / x, |x| 1.0 / x;
    sigmoid: sigmoid_single, crate::calibration::sigmoid;
    softplus: |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), |x| x.max(0.0) + (-x.abs()).exp().ln_1p();
    erf: |x| erf_of(f64::from(x)) as f32, erf_of;
}

macro_rules! number_functions {
    ($($name:ident: $function:expr;)*) => {
        $(pub(super) fn $name(_: Attributes<'_>, _: Versions) -> Built {
            Ok(Box::new(|call| {
                let x = call.tensor(0)?;
                call.budget.claim(x.len())?;
                one(each_number!(x.data(), values => Ok(mapped(x, values, $function)))?)
            }))
        })*
    };
}

number_functions! {
    abs: magnitude;
    neg: opposite;
    relu: positive_part;
    sign: direction;
}

macro_rules! pairs {
    ($($name:ident: $function:expr;)*) => {
        $(pub(super) fn $name(node: Attributes<'_>, _: Versions) -> Built {
            refuse_old_broadcast(node)?;
            Ok(Box::new(|call| {
                let (left, right) = (call.tensor(0)?, call.tensor(1)?);
                one(each_number!(left.data(), values => paired(call, left, values, right, $function))?)
            }))
        })*
    };
}

pairs! {
    add: |a, b| Some(a.plus(b));
    sub: |a, b| Some(a.minus(b));
    mul: |a, b| Some(a.times(b));
    div: Number::over;
}

pub(super) fn modulo(node: Attributes<'_>, _: Versions) -> Built {
    let is_truncated = node.flag("fmod", false)?;
    if is_truncated {
        return Err(Fault::new("fmod is not supported"));
    }
    Ok(Box::new(|call| {
        let (left, right) = (call.tensor(0)?, call.tensor(1)?);
        one(
            each_number!(left.data(), values => paired(call, left, values, right, Number::remainder))?,
        )
    }))
}

/// The exponent may be of another type than the base.
pub(super) fn pow(_: Attributes<'_>, _: Versions) -> Built {
    Ok(Box::new(|call| {
        let (base, exponent) = (call.tensor(0)?, call.tensor(1)?);
        let broadcast = Broadcast::new(call, base.shape(), exponent.shape())?;
        let exponents = exponent.as_f64()?;
        one(each_number!(base.data(), values => {
            let powers = broadcast.zip(values, &exponents, |&x, &power| power_of(x, power));
            Ok(Tensor::of(broadcast.shape.clone(), powers))
        })?)
    }))
}

macro_rules! comparisons {
    ($($name:ident: $function:expr;)*) => {
        $(pub(super) fn $name(_: Attributes<'_>, _: Versions) -> Built {
            Ok(Box::new(|call| {
                let (left, right) = (call.tensor(0)?, call.tensor(1)?);
                one(each_number!(left.data(), values => tested(call, left, values, right, $function))?)
            }))
        })*
    };
}

comparisons! {
    less: |a, b| a < b;
    less_or_equal: |a, b| a <= b;
    greater: |a, b| a > b;
    greater_or_equal: |a, b| a >= b;
}

/// Texts and truths can be equal too.
pub(super) fn equal(_: Attributes<'_>, _: Versions) -> Built {
    Ok(Box::new(|call| {
        let (left, right) = (call.tensor(0)?, call.tensor(1)?);
        one(each_element!(left.data(), values => tested(call, left, values, right, |a, b| a == b))?)
    }))
}

macro_rules! truths {
    ($($name:ident: $function:expr;)*) => {
        $(pub(super) fn $name(_: Attributes<'_>, _: Versions) -> Built {
            Ok(Box::new(|call| {
                let (left, right) = (call.tensor(0)?, call.tensor(1)?);
                let values = left.values::<bool>()?;
                one(tested(call, left, values, right, $function)?)
            }))
        })*
    };
}

truths! {
    and: |a, b| *a && *b;
    or: |a, b| *a || *b;
    xor: |a, b| a != b;
}

pub(super) fn not(_: Attributes<'_>, _: Versions) -> Built {
    Ok(Box::new(|call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        one(mapped(x, x.values::<bool>()?, |x| !x))
    }))
}

pub(super) fn is_nan(_: Attributes<'_>, _: Versions) -> Built {
    Ok(Box::new(|call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        one(each_number!(x.data(), values => Ok(mapped(x, values, Number::is_nan)))?)
    }))
}

pub(super) fn is_inf(node: Attributes<'_>, _: Versions) -> Built {
    let (negative, positive) = (
        node.flag("detect_negative", true)?,
        node.flag("detect_positive", true)?,
    );
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        let holds = |x: f64| x.is_infinite() && if x < 0.0 { negative } else { positive };
        one(mapped(x, &x.as_f64()?, holds))
    }))
}

/// `Where`: one of two by a third.
pub(super) fn choose(_: Attributes<'_>, _: Versions) -> Built {
    Ok(Box::new(|call| {
        let (condition, yes, no) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
        one(each_element!(yes.data(), values => chosen(call, condition, yes, values, no))?)
    }))
}

macro_rules! folds {
    ($($name:ident: $function:expr;)*) => {
        $(pub(super) fn $name(_: Attributes<'_>, _: Versions) -> Built {
            Ok(Box::new(|call| one(folded(call, |call, left, right| {
                each_number!(left.data(), values => paired(call, left, values, right, $function))
            })?)))
        })*
    };
}

folds! {
    sum: |a, b| Some(a.plus(b));
    max: |a, b| Some(if a.is_nan() || a > b { a } else { b });
    min: |a, b| Some(if a.is_nan() || a < b { a } else { b });
}

pub(super) fn mean(node: Attributes<'_>, versions: Versions) -> Built {
    let total = sum(node, versions)?;
    Ok(Box::new(move |call| {
        let outputs = total(call)?;
        let Some(total) = outputs.first().and_then(|value| value.tensor()) else {
            return Err(Fault::new("its inputs are missing"));
        };
        let count = call.inputs.len() as f64;
        one(each_number!(total.data(), values => {
            Ok(mapped(total, values, |x| share(x, count)))
        })?)
    }))
}

/// The limits were attributes before version 11 and inputs after.
pub(super) fn clip(node: Attributes<'_>, _: Versions) -> Built {
    let (min, max) = (
        node.float("min")?.map(f64::from),
        node.float("max")?.map(f64::from),
    );
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        let limit = |index, attribute: Option<f64>| match call.optional(index)? {
            Some(tensor) => Ok(tensor.as_f64()?.first().copied()),
            None => Ok::<_, Fault>(attribute),
        };
        let (min, max) = (limit(1, min)?, limit(2, max)?);
        one(each_number!(x.data(), values => Ok(mapped(x, values, |x| {
            let low = min.map(Number::from_f64).filter(|&min| x < min).unwrap_or(x);
            max.map(Number::from_f64).filter(|&max| low > max).unwrap_or(low)
        })))?)
    }))
}

pub(super) fn cast(node: Attributes<'_>, _: Versions) -> Built {
    let to = node.int_or("to", 0)? as i32;
    let element = Element::of(to).ok_or_else(|| {
        Fault::new(format!(
            "casting to {} is not supported",
            data_type::name(to)
        ))
    })?;
    Ok(Box::new(move |call| {
        let x = call.tensor(0)?;
        call.budget.claim(x.len())?;
        one(converted(x, element)?)
    }))
}

/// The same elements as another type; texts are parsed and printed.
pub(super) fn converted(x: &Tensor, element: Element) -> Result<Tensor, Fault> {
    if x.element() == element {
        return Ok(x.clone());
    }
    let shape = x.shape().to_vec();
    Ok(match element {
        Element::Float => Tensor::of(shape, reals(x, |x| x as f32)?),
        Element::Double => Tensor::of(shape, reals(x, |x| x)?),
        Element::Int32 => Tensor::of(shape, integers(x)?.into_iter().map(|x| x as i32).collect()),
        Element::Int64 => Tensor::of(shape, integers(x)?),
        Element::Bool => Tensor::of(shape, reals(x, |x| x != 0.0)?),
        Element::Text => Tensor::of(shape, texts(x)),
    })
}

fn refuse_old_broadcast(node: Attributes<'_>) -> Result<(), Fault> {
    if node.has("broadcast") || node.has("axis") {
        return Err(Fault::new("it broadcasts in the manner of version 6"));
    }
    Ok(())
}

fn real_map(
    call: &Call<'_>,
    single: impl Fn(f32) -> f32,
    double: impl Fn(f64) -> f64,
) -> Result<Vec<super::Value>, Fault> {
    let x = call.tensor(0)?;
    call.budget.claim(x.len())?;
    match x.data() {
        Data::Float(values) => one(mapped(x, values, single)),
        Data::Double(values) => one(mapped(x, values, double)),
        _ => Err(Fault::new("it takes real numbers only")),
    }
}

fn mapped<A: Copy, B: Scalar>(x: &Tensor, values: &[A], function: impl Fn(A) -> B) -> Tensor {
    Tensor::of(
        x.shape().to_vec(),
        values.iter().map(|&value| function(value)).collect(),
    )
}

fn paired<T: Number>(
    call: &Call<'_>,
    left: &Tensor,
    values: &[T],
    right: &Tensor,
    function: impl Fn(T, T) -> Option<T>,
) -> Result<Tensor, Fault> {
    let others = right.values::<T>()?;
    let broadcast = Broadcast::new(call, left.shape(), right.shape())?;
    let is_undefined = Cell::new(false);
    let out = broadcast.zip(values, others, |&a, &b| {
        function(a, b).unwrap_or_else(|| {
            is_undefined.set(true);
            a
        })
    });
    if is_undefined.get() {
        return Err(Fault::new("an integer is divided by zero"));
    }
    Ok(Tensor::of(broadcast.shape, out))
}

fn tested<T: Scalar>(
    call: &Call<'_>,
    left: &Tensor,
    values: &[T],
    right: &Tensor,
    function: impl Fn(&T, &T) -> bool,
) -> Result<Tensor, Fault> {
    let others = right.values::<T>()?;
    let broadcast = Broadcast::new(call, left.shape(), right.shape())?;
    let out = broadcast.zip(values, others, function);
    Ok(Tensor::of(broadcast.shape, out))
}

fn chosen<T: Scalar>(
    call: &Call<'_>,
    condition: &Tensor,
    yes: &Tensor,
    values: &[T],
    no: &Tensor,
) -> Result<Tensor, Fault> {
    let conditions = condition.values::<bool>()?;
    let first = Broadcast::new(call, condition.shape(), yes.shape())?;
    let kept = first.zip(conditions, values, |&holds, value| {
        holds.then(|| value.clone())
    });
    let second = Broadcast::new(call, &first.shape, no.shape())?;
    let out = second.zip(&kept, no.values::<T>()?, |kept, other| {
        kept.clone().unwrap_or_else(|| other.clone())
    });
    Ok(Tensor::of(second.shape, out))
}

fn folded(
    call: &Call<'_>,
    pair: impl Fn(&Call<'_>, &Tensor, &Tensor) -> Result<Tensor, Fault>,
) -> Result<Tensor, Fault> {
    let mut total = call.tensor(0)?.clone();
    for index in 1..call.inputs.len() {
        total = pair(call, &total, call.tensor(index)?)?;
    }
    Ok(total)
}

fn magnitude<T: Number>(x: T) -> T {
    if x < T::default() { opposite(x) } else { x }
}

fn opposite<T: Number>(x: T) -> T {
    T::from_f64(-0.0).minus(x)
}

fn positive_part<T: Number>(x: T) -> T {
    if x < T::default() { T::default() } else { x }
}

fn direction<T: Number>(x: T) -> T {
    let one = T::from_f64(1.0);
    if x > T::default() {
        one
    } else if x < T::default() {
        opposite(one)
    } else {
        x
    }
}

fn share<T: Number>(x: T, count: f64) -> T {
    T::from_f64(x.to_f64() / count)
}

fn power_of<T: Number>(x: T, power: f64) -> T {
    // The commonest power, and the one where rounding twice shows most.
    if power == 2.0 {
        x.times(x)
    } else {
        T::from_f64(x.to_f64().powf(power))
    }
}

fn sigmoid_single(x: f32) -> f32 {
    let size = (-x.abs()).exp();
    if x < 0.0 {
        size / (1.0 + size)
    } else {
        1.0 / (1.0 + size)
    }
}

/// Abramowitz and Stegun 7.1.26 is too coarse; this series and continued fraction are good to 1e-15.
fn erf_of(x: f64) -> f64 {
    let size = x.abs();
    if x.is_nan() || size > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let value = if size < 2.5 {
        let mut term = size;
        let mut sum = size;
        for n in 1..80 {
            term *= -size * size / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let fraction = (1..60)
            .rev()
            .fold(0.0, |tail, n| f64::from(n) / 2.0 / (size + tail));
        1.0 - (-size * size).exp() / (size + fraction) / std::f64::consts::PI.sqrt()
    };
    value.copysign(x)
}

fn reals<T>(x: &Tensor, from: impl Fn(f64) -> T) -> Result<Vec<T>, Fault> {
    Ok(match x.data() {
        Data::Bool(values) => values
            .iter()
            .map(|&x| from(f64::from(u8::from(x))))
            .collect(),
        Data::Text(values) => values
            .iter()
            .map(|x| parsed(x).map(&from))
            .collect::<Result<_, _>>()?,
        _ => x.as_f64()?.iter().map(|&x| from(x)).collect(),
    })
}

fn integers(x: &Tensor) -> Result<Vec<i64>, Fault> {
    match x.data() {
        Data::Int32(_) | Data::Int64(_) => Ok(x.as_i64()?.into_owned()),
        Data::Text(values) => values
            .iter()
            .map(|text| {
                text.trim()
                    .parse()
                    .or_else(|_| parsed(text).map(|x| x as i64))
            })
            .collect(),
        _ => reals(x, |x| x as i64),
    }
}

fn parsed(text: &str) -> Result<f64, Fault> {
    text.trim()
        .parse()
        .map_err(|_| Fault::new("a text is no number"))
}

fn texts(x: &Tensor) -> Vec<Arc<str>> {
    fn all<T>(values: &[T], print: impl Fn(&T) -> String) -> Vec<Arc<str>> {
        values.iter().map(|value| print(value).into()).collect()
    }
    match x.data() {
        Data::Float(values) => all(values, |&x| printed(f64::from(x), 8)),
        Data::Double(values) => all(values, |&x| printed(x, 17)),
        Data::Int32(values) => all(values, i32::to_string),
        Data::Int64(values) => all(values, i64::to_string),
        Data::Bool(values) => all(values, |&x| u8::from(x).to_string()),
        Data::Text(values) => values.to_vec(),
    }
}

/// C's `%.<digits>g`, which onnxruntime prints numbers with.
fn printed(x: f64, digits: usize) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "INF" } else { "-INF" }.to_owned();
    }
    if x == 0.0 {
        return if x.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{x:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..digits as i32).contains(&exponent) {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        return trimmed(&format!("{x:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_is_exact_to_the_last_digits() {
        // scipy 1.16: scipy.special.erf
        for (x, expected) in [
            (0.3, 0.328_626_759_459_127_4),
            (-1.2, -0.910_313_978_229_635_3),
            (2.4, 0.999_311_486_103_354_9),
            (3.0, 0.999_977_909_503_001_4),
        ] {
            assert!((erf_of(x) - expected).abs() < 1e-14, "{x}");
        }
    }

    #[test]
    fn numbers_print_as_c_prints_them() {
        assert_eq!(printed(1.0, 8), "1");
        assert_eq!(printed(f64::from(0.1_f32), 8), "0.1");
        assert_eq!(printed(1e20, 8), "1e+20");
        assert_eq!(printed(-1.5e-7, 8), "-1.5e-07");
        assert_eq!(printed(123_456.789, 8), "123456.79");
    }

    #[test]
    fn a_remainder_has_the_sign_of_the_divisor() {
        assert_eq!((-7_i64).remainder(3), Some(2));
        assert_eq!(7_i64.remainder(-3), Some(-2));
        assert_eq!(i64::MIN.remainder(-1), Some(0));
        assert_eq!(5_i64.remainder(0), None);
    }
}
