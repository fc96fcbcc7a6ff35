//! Moments written in a table, as numbers that keep their order.
//!
//! Splitting by time and judging what was known when only ever compare moments of one table, so a number that keeps the
//! order is enough: offsets between time zones are small against days and are not applied.

use arrow_array::ArrayRef;
use ombud_core::frame::{is_missing_word, numbers, texts};

/// A cell that is no time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoTime {
    /// Counted from 1.
    pub(crate) row: usize,
    /// The cell, shortened.
    pub(crate) value: String,
}

/// The moment of every row, `None` where it is missing.
pub(crate) fn read(array: &ArrayRef) -> Result<Vec<Option<i64>>, NoTime> {
    let (values, unfit) = numbers(array);
    if unfit == 0 {
        // Microseconds keep the order of any date or year written as a number.
        let micro = |value: Option<f64>| value.map(|value| (value * 1e6) as i64);
        return Ok(values.iter().map(micro).collect());
    }
    let cells = texts(array);
    let time = |(row, cell): (usize, Option<&str>)| match cell {
        None => Ok(None),
        Some(cell) if is_missing_word(cell) => Ok(None),
        Some(cell) => match parse(cell) {
            Some(time) => Ok(Some(time)),
            None => Err(NoTime {
                row: row + 1,
                value: cell.chars().take(40).collect(),
            }),
        },
    };
    cells.iter().enumerate().map(time).collect()
}

/// An ISO date, with or without a time of day.
fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, clock) = text.split_at_checked(10)?;
    let mut parts = date.split(['-', '/']);
    let mut part = || parts.next()?.parse::<i64>().ok();
    let (year, month, day) = (part()?, part()?, part()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let clock = clock.trim_start_matches(['T', ' ']);
    let mut units = clock.split(':').map(|unit| {
        let digits: String = unit.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<i64>().unwrap_or(0)
    });
    let seconds = units.next().unwrap_or(0) * 3_600
        + units.next().unwrap_or(0) * 60
        + units.next().unwrap_or(0);
    Some(((year * 12 + month) * 31 + day) * 86_400 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_order_however_they_are_written() {
        let order = [
            "2009-12-31",
            "2010-01-01",
            "2010-01-01T09:30:00Z",
            "2010-01-01 10:00",
            "2010-02-01",
        ];
        let times: Vec<i64> = order.iter().map(|text| parse(text).unwrap()).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse("2010-13-01"), None);
    }
}
