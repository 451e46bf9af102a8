//! Time zones by name: IANA and Windows names, and `UTC`. Both tables are compiled in, so that an answer never depends
//! on the machine: jiff brings the IANA database, ICU4X the table from Windows names.

use icu_time::zone::iana::IanaParserExtended;
use icu_time::zone::windows::WindowsParser;
use jiff::tz::TimeZone;

/// The zone of this name, in any case: `Europe/Berlin`, `Pacific Standard Time`, `UTC`. Source: §9.
///
/// A Windows name stands for several zones, one a country; it is read as its world-wide one.
pub fn zone(name: &str) -> Option<TimeZone> {
    let name = name.trim();
    // The database also knows `Etc/Unknown`-like entries and would take a path; a name is plain ASCII.
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.is_ascii() {
        return None;
    }
    if name.eq_ignore_ascii_case("UTC") {
        return Some(TimeZone::UTC);
    }
    TimeZone::get(name).ok().filter(|zone| !zone.is_unknown()).or_else(|| windows_zone(name))
}

/// Longer than any name of either kind.
const NAME_BYTES_MAX: usize = 64;

fn windows_zone(name: &str) -> Option<TimeZone> {
    let windows = WindowsParser::new();
    let mapped = windows.parse(name, None).or_else(|| windows.parse(&title_case(name), None))?;
    // ICU4X maps to its own short identifiers; their IANA names are a second table.
    let canonical = IanaParserExtended::new().iter().find(|zone| zone.time_zone == mapped)?.canonical;
    TimeZone::get(canonical).ok()
}

/// The table matches exactly; nearly all its names are in title case.
fn title_case(name: &str) -> String {
    let capitalise = |word: &str| {
        let mut word = word.to_ascii_lowercase();
        if let Some(first) = word.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        word
    };
    name.split(' ').map(capitalise).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        let zone = zone(name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(zone.iana_name(), Some(expected), "{name}");
    }

    #[test]
    fn iana_windows_and_utc_names_are_zones() {
        check("Europe/Berlin", "Europe/Berlin");
        check("europe/berlin", "Europe/Berlin");
        check("Pacific Standard Time", "America/Los_Angeles");
        check("W. Europe Standard Time", "Europe/Berlin");
        check("pacific standard time", "America/Los_Angeles");
        check("India Standard Time", "Asia/Kolkata");
        check("China Standard Time", "Asia/Shanghai");
        assert_eq!(zone("UTC"), Some(TimeZone::UTC));
        assert_eq!(zone(" utc "), Some(TimeZone::UTC));
    }

    #[test]
    fn every_windows_name_in_common_use_is_known() {
        for name in [
            "Eastern Standard Time",
            "Central Standard Time",
            "Mountain Standard Time",
            "GMT Standard Time",
            "Greenwich Standard Time",
            "Romance Standard Time",
            "Central European Standard Time",
            "E. Europe Standard Time",
            "FLE Standard Time",
            "Russian Standard Time",
            "Tokyo Standard Time",
            "AUS Eastern Standard Time",
            "New Zealand Standard Time",
            "Hawaiian Standard Time",
            "E. South America Standard Time",
            "UTC-11",
            "UTC+12",
        ] {
            assert!(zone(name).is_some(), "{name}");
        }
    }

    #[test]
    fn anything_else_is_no_zone() {
        for name in
            ["", " ", "Mars/Olympus", "+02:00", "Europe/Bérlin", "../../etc/passwd", "Etc/Unknown", "UTC0 "]
        {
            assert_eq!(zone(name), None, "{name:?}");
        }
        assert_eq!(zone(&"a".repeat(10_000)), None);
    }
}
