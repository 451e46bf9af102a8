//! A duration that is read is written as one that is read as the same, and no date makes anything panic.
#![no_main]

use graph::time::{format_duration, parse_date_time_time_zone, parse_duration};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
    }
    let (date_time, zone) = text.split_once('|').unwrap_or((text, "UTC"));
    let _ = parse_date_time_time_zone(date_time, Some(zone));
    let _ = parse_date_time_time_zone(date_time, None);
});
