//! Numbers as a person reads them.

use ombud_core::Metric;

/// A measured number: four digits after the point, fewer when it is large, more when it is small.
pub fn measured(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        value.to_string()
    } else if size >= 100_000.0 || (size >= 100.0 && value.fract() == 0.0) {
        count(value.round() as i64)
    } else if size >= 100.0 {
        format!("{value:.1}")
    } else if size >= 10.0 {
        format!("{value:.2}")
    } else if size >= 0.001 || size == 0.0 {
        format!("{value:.4}")
    } else {
        format!("{value:.2e}")
    }
}

/// The interval of a metric, or nothing.
pub fn interval(metric: &Metric) -> String {
    match (metric.lower, metric.upper) {
        (Some(lower), Some(upper)) => format!("{} … {}", measured(lower), measured(upper)),
        _ => String::new(),
    }
}

/// A whole number in groups of three.
pub fn count(number: impl TryInto<i128>) -> String {
    let number: i128 = number.try_into().unwrap_or(i128::MAX);
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in bytes.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut scaled = size as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// A time in seconds.
pub fn seconds(time: f64) -> String {
    if time < 10.0 {
        format!("{time:.2} s")
    } else if time < 120.0 {
        format!("{time:.0} s")
    } else {
        format!("{:.0} min {:.0} s", (time / 60.0).floor(), time % 60.0)
    }
}

/// How much is done in a second.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 100.0 => format!("{rate:.1}/s"),
        rate if rate < 10_000.0 => format!("{rate:.0}/s"),
        rate if rate < 1e6 => format!("{:.0} k/s", rate / 1e3),
        rate => format!("{:.0} M/s", rate / 1e6),
    }
}

/// `1 row`, `2 rows`.
pub fn plural(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        for (value, text) in [
            (0.0, "0.0000"),
            (0.85431, "0.8543"),
            (23.456, "23.46"),
            (1234.56, "1234.6"),
            (1.2e-5, "1.20e-5"),
        ] {
            assert_eq!(measured(value), text);
        }
        assert_eq!(measured(-2_345_678.0), "-2,345,678");
        assert_eq!(measured(3_000.0), "3,000");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(count(1_234_567_u64), "1,234,567");
        assert_eq!(count(999_u64), "999");
        assert_eq!(count(-1000_i64), "-1,000");
    }

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(3 << 20), "3.0 MiB");
        assert_eq!(seconds(0.5), "0.50 s");
        assert_eq!(seconds(150.0), "2 min 30 s");
        assert_eq!(plural(1, "row"), "1 row");
    }
}
