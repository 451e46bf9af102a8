//! Durations and instants as text: Edm.Duration, dateTimeTimeZone, and the formats of responses.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil};

use crate::GraphError;
use crate::zone::zone;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Reads an Edm.Duration: days, hours, minutes, seconds and a fraction, no years, months or weeks (§6). A duration
/// that no machine can hold is the longest that one can.
///
/// Also reads what the Python SDK writes for a `timedelta`, which is no ISO 8601: `1:00:00`, `1 day, 0:00:00` (§18).
pub fn parse_duration(text: &str) -> Option<SignedDuration> {
    let nanos = parse_iso(text).or_else(|| parse_timedelta(text))?;
    let seconds = nanos / NANOS_PER_SECOND;
    let subsec = i32::try_from(nanos % NANOS_PER_SECOND).unwrap_or_default();
    Some(match i64::try_from(seconds) {
        Ok(seconds) => SignedDuration::new(seconds, subsec),
        Err(_) if nanos < 0 => SignedDuration::MIN,
        Err(_) => SignedDuration::MAX,
    })
}

fn parse_iso(text: &str) -> Option<i128> {
    let (negative, rest) = sign(text);
    let mut rest = rest.strip_prefix(['P', 'p'])?;
    let mut nanos: i128 = 0;
    let mut is_empty = true;
    let mut units: &[(char, i128)] = &[('D', 86_400)];
    if let Some((days, time)) = rest.split_once(['T', 't']) {
        // `PT` alone, and `P1DT`, name no time.
        if time.is_empty() {
            return None;
        }
        if !days.is_empty() {
            nanos = component(days.strip_suffix(['D', 'd'])?, 86_400, false)?;
        }
        rest = time;
        units = &[('H', 3_600), ('M', 60), ('S', 1)];
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let letter = rest.as_bytes()[end].to_ascii_uppercase() as char;
        let position = units.iter().position(|(unit, _)| *unit == letter)?;
        let (_, seconds) = units[position];
        nanos = nanos.saturating_add(component(&rest[..end], seconds, letter == 'S')?);
        // Each unit once, in falling order.
        units = &units[position + 1..];
        rest = &rest[end + 1..];
        is_empty = false;
    }
    let is_empty = is_empty && nanos == 0 && !text.contains(['D', 'd']);
    (!is_empty).then_some(if negative { -nanos } else { nanos })
}

/// `[-]N day[s], H:MM:SS[.ffffff]`; only the days carry the sign.
fn parse_timedelta(text: &str) -> Option<i128> {
    let (days, clock) = match text.split_once(" day") {
        Some((days, rest)) => {
            let clock = rest.strip_prefix('s').unwrap_or(rest).strip_prefix(", ")?;
            let (negative, digits) = sign(days);
            let days = component(digits, 86_400, false)?;
            (if negative { -days } else { days }, clock)
        }
        None => (0, text),
    };
    let mut parts = clock.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let is_two_digits = |part: &str| part.len() == 2 && part < "60";
    let whole_seconds = seconds.split('.').next()?;
    if parts.next().is_some() || hours.len() > 2 || !is_two_digits(minutes) || !is_two_digits(whole_seconds) {
        return None;
    }
    let clock =
        [component(hours, 3_600, false)?, component(minutes, 60, false)?, component(seconds, 1, true)?];
    Some(clock.into_iter().fold(days, i128::saturating_add))
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Digits, with a fraction where one may be, times a unit, in nanoseconds. Saturates.
fn component(text: &str, unit_seconds: i128, fraction: bool) -> Option<i128> {
    let (whole, fraction_digits) = match text.split_once('.') {
        Some((whole, digits)) if fraction && !digits.is_empty() => (whole, digits),
        Some(_) => return None,
        None => (text, ""),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction_digits) {
        return None;
    }
    // What does not fit is far beyond any range that anyone checks; an i64 of seconds is enough to say so.
    let whole = whole.parse::<i64>().map_or(i128::from(i64::MAX), i128::from);
    let nanos = fraction_digits
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |n, digit| n * 10 + i128::from(digit - b'0'));
    Some(whole.saturating_mul(unit_seconds * NANOS_PER_SECOND).saturating_add(nanos))
}

/// Writes an Edm.Duration: `PT5M`, `P1DT12H`, `PT0.5S`, `-PT1S`; zero is `PT0S`.
pub fn format_duration(duration: SignedDuration) -> String {
    use std::fmt::Write;

    let magnitude = duration.unsigned_abs();
    let seconds = magnitude.as_secs();
    let (days, hours, minutes, seconds) =
        (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let nanos = magnitude.subsec_nanos();
    let mut out = String::from(if duration.is_negative() { "-P" } else { "P" });
    let mut put = |value: u64, unit: char| {
        if value != 0 {
            write!(out, "{value}{unit}").expect("a String takes everything");
        }
    };
    put(days, 'D');
    if hours == 0 && minutes == 0 && seconds == 0 && nanos == 0 {
        if days == 0 {
            out.push_str("T0S");
        }
        return out;
    }
    out.push('T');
    let mut put = |value: u64, unit: char| {
        if value != 0 {
            write!(out, "{value}{unit}").expect("a String takes everything");
        }
    };
    put(hours, 'H');
    put(minutes, 'M');
    if nanos != 0 {
        let fraction = format!("{nanos:09}");
        write!(out, "{seconds}.{}S", fraction.trim_end_matches('0')).expect("a String takes everything");
    } else {
        put(seconds, 'S');
    }
    out
}

/// Reads a dateTimeTimeZone: a local date and time without an offset, and the zone it is meant in; no zone is UTC (§9).
///
/// A time that a zone skips or has twice is read as most calendars do: after the gap, and the earlier of the two.
///
/// # Errors
/// 400 `InvalidArgument` for anything else, also for a `Z` or an offset: assumed, docs say there should be none.
pub fn parse_date_time_time_zone(date_time: &str, time_zone: Option<&str>) -> Result<Timestamp, GraphError> {
    let local = parse_local(date_time).ok_or_else(|| {
        GraphError::invalid_argument("The provided [DateTime] is not a local date and time.")
    })?;
    let zone = match time_zone {
        None => TimeZone::UTC,
        Some(name) => zone(name)
            .ok_or_else(|| GraphError::invalid_argument("The provided [TimeZone] is not supported."))?,
    };
    let zoned = local.to_zoned_datetime(zone);
    zoned.map(|zoned| zoned.timestamp()).map_err(|_| GraphError::out_of_range("DateTime"))
}

/// `YYYY-MM-DDTHH:MM[:SS[.fffffffff]]`. Seven fractional digits are documented; Java clients write up to nine.
fn parse_local(text: &str) -> Option<civil::DateTime> {
    let (date, time) = text.split_once('T')?;
    let is_date = date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let is_time =
        time.len() >= 5 && time.bytes().all(|byte| byte.is_ascii_digit() || byte == b':' || byte == b'.');
    // jiff would also take offsets and annotations, and drop them.
    if !is_date || !is_time || time.as_bytes()[2] != b':' {
        return None;
    }
    text.parse().ok()
}

/// Appends an instant with seven fractional digits and a `Z`: `2026-03-02T08:15:30.1234567Z` (§3.3).
pub fn write_timestamp(out: &mut Vec<u8>, instant: Timestamp) {
    write_date_time(out, instant);
    out.push(b'Z');
}

/// Appends the `dateTime` of a dateTimeTimeZone in UTC: seven fractional digits, no offset (§3.3).
pub fn write_date_time(out: &mut Vec<u8>, instant: Timestamp) {
    let local = write_seconds(out, instant);
    out.push(b'.');
    let ticks = u32::try_from(local.subsec_nanosecond() / 100).unwrap_or_default();
    digits(out, ticks, 7);
}

/// Appends the `date` of an `innerError`: seconds, no fraction, no zone letter (§13.1).
pub fn write_inner_error_date(out: &mut Vec<u8>, instant: Timestamp) {
    write_seconds(out, instant);
}

/// An instant as [`write_timestamp`] writes it.
pub fn format_timestamp(instant: Timestamp) -> String {
    let mut out = Vec::with_capacity(28);
    write_timestamp(&mut out, instant);
    String::from_utf8(out).expect("digits are UTF-8")
}

fn write_seconds(out: &mut Vec<u8>, instant: Timestamp) -> civil::DateTime {
    let local = TimeZone::UTC.to_datetime(instant);
    // Years before 1 never occur: they count as year 0.
    digits(out, u32::try_from(local.year()).unwrap_or_default(), 4);
    for (separator, part) in [
        (b'-', local.month()),
        (b'-', local.day()),
        (b'T', local.hour()),
        (b':', local.minute()),
        (b':', local.second()),
    ] {
        out.push(separator);
        digits(out, u32::from(part.unsigned_abs()), 2);
    }
    local
}

/// Appends a number with leading zeros. By hand: three of these formats are written for each of 650 presences.
fn digits(out: &mut Vec<u8>, mut value: u32, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for place in out[start..].iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn seconds(text: &str, expected: i64) {
        assert_eq!(parse_duration(text), Some(SignedDuration::from_secs(expected)), "{text}");
    }

    #[test]
    fn a_duration_has_days_hours_minutes_and_seconds_in_any_equal_spelling() {
        for hour in ["PT1H", "PT60M", "PT3600S", "P0DT1H", "PT0H60M0S", "PT3600.000S", "pt1h", "+PT1H"] {
            seconds(hour, 3_600);
        }
        seconds("P1D", 86_400);
        seconds("P1DT2H3M4S", 93_784);
        seconds("P0D", 0);
        seconds("PT0S", 0);
        seconds("-PT5M", -300);
        assert_eq!(parse_duration("PT0.25S"), Some(SignedDuration::from_millis(250)));
        assert_eq!(parse_duration("PT1.1234567891234S"), Some(SignedDuration::new(1, 123_456_789)));
    }

    #[test]
    fn years_months_weeks_and_other_text_are_no_durations() {
        for text in [
            "", "P", "PT", "-P", "P1", "PT1", "P1Y", "P1M", "P1W", "P1DT", "PT1H1H", "PT1M1H", "PT1.5H",
            "P1.5D", "PT.5S", "PT1.S", "1H", "T1H", "PT-1H", "P T1H", "PT1H ", "PT1D", "P1H", "one hour",
            "3600", "PT١H",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_duration_beyond_measure_is_the_longest_there_is() {
        for text in
            ["P99999999999999999999D", "PT9223372036854775807H", "P9223372036854775807DT9223372036854775807S"]
        {
            assert_eq!(parse_duration(text), Some(SignedDuration::MAX), "{text}");
            assert_eq!(parse_duration(&format!("-{text}")), Some(SignedDuration::MIN), "-{text}");
        }
    }

    #[test]
    fn the_python_sdks_spelling_of_a_timedelta_is_read() {
        seconds("1:00:00", 3_600);
        seconds("0:05:00", 300);
        seconds("1 day, 0:00:00", 86_400);
        seconds("7 days, 8:30:01", 635_401);
        seconds("-1 day, 23:00:00", -3_600);
        assert_eq!(parse_duration("0:00:00.500000"), Some(SignedDuration::from_millis(500)));
        for text in [
            "1:00",
            "1:0:00",
            "1:60:00",
            "1:00:60",
            "1:00:00:00",
            "1 day",
            "day, 0:00:00",
            "100:00:00",
            "::",
            "1 week, 0:00:00",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn durations_are_written_short() {
        for text in
            ["PT0S", "PT5M", "PT4H", "P1D", "P7D", "P1DT12H", "PT1H30M", "PT0.5S", "PT1.000000001S", "-PT1S"]
        {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[track_caller]
    fn instant(date_time: &str, zone: Option<&str>, expected: &str) {
        let expected: Timestamp = expected.parse().unwrap();
        assert_eq!(parse_date_time_time_zone(date_time, zone), Ok(expected), "{date_time} {zone:?}");
    }

    #[test]
    fn a_date_time_is_read_in_its_zone_and_no_zone_is_utc() {
        instant("2026-03-02T15:00:00.0000000", None, "2026-03-02T15:00:00Z");
        instant("2026-03-02T15:00:00", Some("UTC"), "2026-03-02T15:00:00Z");
        instant("2026-03-02T15:00:00.1234567", Some("Europe/Berlin"), "2026-03-02T14:00:00.1234567Z");
        instant("2026-07-02T15:00", Some("Pacific Standard Time"), "2026-07-02T22:00:00Z");
    }

    #[test]
    fn a_time_a_zone_skips_is_after_the_gap_and_one_it_has_twice_is_the_first() {
        instant("2026-03-29T02:30:00", Some("Europe/Berlin"), "2026-03-29T01:30:00Z");
        instant("2026-10-25T02:30:00", Some("Europe/Berlin"), "2026-10-25T00:30:00Z");
    }

    #[test]
    fn an_offset_in_a_date_time_is_refused() {
        for text in ["2026-03-02T15:00:00Z", "2026-03-02T15:00:00+01:00", "2026-03-02T15:00:00-08:00"] {
            let error = parse_date_time_time_zone(text, None).unwrap_err();
            assert_eq!(error.code.as_str(), "InvalidArgument", "{text}");
        }
    }

    #[test]
    fn other_text_is_no_date_time() {
        for text in [
            "",
            "T",
            "2026-03-02",
            "15:00:00",
            "2026-02-30T15:00:00",
            "2026-03-02T25:00:00",
            "2026-03-02 15:00:00",
            "2026-03-02T15",
            "20260302T150000",
            "2026-03-02T150000",
            "2026-03-02T15:00:00.",
            "2026-03-02T15:00:00[UTC]",
            "+02026-03-02T15:00:00",
        ] {
            assert!(parse_date_time_time_zone(text, None).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_unknown_zone_is_refused() {
        let error = parse_date_time_time_zone("2026-03-02T15:00:00", Some("Mars")).unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (400, "InvalidArgument"));
    }

    #[test]
    fn instants_are_written_with_seven_digits_or_none() {
        let instant: Timestamp = "2026-03-02T08:15:30.123456789Z".parse().unwrap();
        assert_eq!(format_timestamp(instant), "2026-03-02T08:15:30.1234567Z");
        let mut out = Vec::new();
        write_date_time(&mut out, instant);
        out.push(b' ');
        write_inner_error_date(&mut out, instant);
        assert_eq!(out, b"2026-03-02T08:15:30.1234567 2026-03-02T08:15:30");
        assert_eq!(format_timestamp(Timestamp::MAX).len(), 28);
        assert_eq!(format_timestamp(Timestamp::MIN).len(), 28);
    }

    proptest! {
        #[test]
        fn no_duration_text_panics(text in ".{0,40}", likely in "[-+]?P?[0-9DTHMS.: ,days]{0,40}") {
            let _ = (parse_duration(&text), parse_duration(&likely));
        }

        #[test]
        fn a_written_duration_reads_back(seconds: i64, nanos in 0..1_000_000_000_i32) {
            let duration = SignedDuration::new(seconds, if seconds < 0 { -nanos } else { nanos });
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn no_date_time_panics(text in ".{0,40}", zone in ".{0,20}", likely in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.Z+-]{0,20}") {
            let _ = parse_date_time_time_zone(&text, Some(&zone));
            let _ = parse_date_time_time_zone(&likely, Some("Europe/Berlin"));
        }
    }
}
