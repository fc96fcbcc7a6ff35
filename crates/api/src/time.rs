//! Times as people and programs read them: RFC 3339, UTC, microseconds.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time now, in microseconds since 1970.
pub fn now_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A time in microseconds since 1970 as `2026-11-21T08:15:30.123456Z`.
pub fn text(time_us: i64) -> String {
    let (days, in_day) = (
        time_us.div_euclid(86_400_000_000),
        time_us.rem_euclid(86_400_000_000),
    );
    let (year, month, day) = date(days);
    let (seconds, micros) = (in_day / 1_000_000, in_day % 1_000_000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micros:06}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
    )
}

/// Reads such a time, with or without a fraction, and also a date alone (its first moment).
pub fn parse(text: &str) -> Option<i64> {
    let (date, clock) = match text.split_once(['T', ' ']) {
        Some((date, clock)) => (
            date,
            clock
                .strip_suffix('Z')
                .or_else(|| clock.strip_suffix("+00:00"))?,
        ),
        None => (text, "00:00:00"),
    };
    let number = |text: &str, digits: usize| {
        let is_plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| text.parse::<i64>().ok()).flatten()
    };
    let mut parts = date.split('-');
    let (year, month, day) = (
        number(parts.next()?, 4)?,
        number(parts.next()?, 2)?,
        number(parts.next()?, 2)?,
    );
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts_of_day = clock.split(':');
    let (hour, minute) = (
        number(parts_of_day.next()?, 2)?,
        number(parts_of_day.next()?, 2)?,
    );
    let second = number(parts_of_day.next().unwrap_or("00"), 2)?;
    let fraction = number(format!("{fraction:0<6}").get(..6)?, 6)?;
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day) && parts.next().is_none();
    let is_clock = hour < 24 && minute < 60 && second < 60 && parts_of_day.next().is_none();
    if !is_date || !is_clock {
        return None;
    }
    let days = days(year, month, day);
    if self::date(days) != (year, month, day) {
        return None;
    }
    Some(((days * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000 + fraction)
}

/// The date of a number of days since 1970 (Howard Hinnant's `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The number of days since 1970 of a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_and_read_back() {
        // Python 3.13: datetime.fromtimestamp(1763712930.000005, UTC).isoformat()
        assert_eq!(text(1_763_712_930_000_005), "2025-11-21T08:15:30.000005Z");
        for time_us in [
            0,
            -1,
            951_782_400_000_000,
            4_102_444_799_999_999,
            1_763_712_930_000_005,
        ] {
            assert_eq!(parse(&text(time_us)), Some(time_us));
        }
        assert_eq!(parse("2024-02-29"), Some(1_709_164_800_000_000));
        assert_eq!(parse("2024-02-29T01:00:00Z"), Some(1_709_168_400_000_000));
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        for wrong in [
            "",
            "2023-02-29",
            "2023-13-01",
            "2023-1-1",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:00:00",
            "yesterday",
            "2023-01-01T00:00:00.ä0Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
