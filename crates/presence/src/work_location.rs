//! Where a user works today, in three layers: manual over automatic over scheduled. Source: presence-api §10.

use alloc::boxed::Box;
use alloc::vec::Vec;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::limits::{PLACE_ID_CHARS_MAX, SCHEDULE_SEGMENTS_MAX};
use crate::{AppId, PresenceError};

/// The kinds of place a caller may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocationKind {
    /// At an office.
    Office,
    /// Elsewhere, working.
    Remote,
    /// Not working.
    TimeOff,
}

/// An opaque place, such as a building: at most [`PLACE_ID_CHARS_MAX`] characters, not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceId(Box<str>);

impl PlaceId {
    /// `None` for the empty text, which names no place.
    ///
    /// # Errors
    /// [`PresenceError::PlaceIdTooLong`].
    pub fn new(text: &str) -> Result<Option<Self>, PresenceError> {
        if text.chars().nth(PLACE_ID_CHARS_MAX).is_some() {
            return Err(PresenceError::PlaceIdTooLong);
        }
        Ok((!text.is_empty()).then(|| Self(text.into())))
    }

    /// The identifier as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A place as a caller names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// What kind of place.
    pub kind: LocationKind,
    /// Which one, when known. A location with a place is more precise than one without.
    pub place: Option<PlaceId>,
}

impl Location {
    fn is_precise(&self) -> bool {
        self.place.is_some()
    }
}

/// What the user said; it wins over the other layers for the rest of the user's day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualLocation {
    /// Where.
    pub location: Location,
    /// When it was said.
    pub set_at: Timestamp,
    /// The end of the user's local day.
    pub expires_at: Timestamp,
}

/// What one application detected, such as a network or a desk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutomaticLocation {
    /// The application that detected it: one signal each.
    pub app: AppId,
    /// Where.
    pub location: Location,
    /// When it was detected.
    pub set_at: Timestamp,
    /// The end of the user's local day.
    pub expires_at: Timestamp,
}

/// One segment of the user's calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledLocation {
    /// Where.
    pub location: Location,
    /// When the segment begins.
    pub starts_at: Timestamp,
    /// Just after it ends.
    pub ends_at: Timestamp,
}

/// The segments a calendar gave: at most [`SCHEDULE_SEGMENTS_MAX`], each ending after it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule(Vec<ScheduledLocation>);

impl Schedule {
    /// A schedule of these segments, in any order; they may overlap.
    ///
    /// # Errors
    /// [`PresenceError::TooManySegments`], or [`PresenceError::EmptyWindow`] for a segment that ends before it starts.
    pub fn new(segments: Vec<ScheduledLocation>) -> Result<Self, PresenceError> {
        if segments.len() > SCHEDULE_SEGMENTS_MAX {
            return Err(PresenceError::TooManySegments);
        }
        if segments.iter().any(|segment| segment.ends_at <= segment.starts_at) {
            return Err(PresenceError::EmptyWindow);
        }
        Ok(Self(segments))
    }

    /// The segments, as given.
    pub fn segments(&self) -> &[ScheduledLocation] {
        &self.0
    }

    pub(crate) fn forget_before(&mut self, now: Timestamp) {
        self.0.retain(|segment| segment.ends_at > now);
    }
}

/// The layer a work location comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LocationSource {
    /// No layer knows anything.
    #[default]
    None,
    /// The user said so.
    Manual,
    /// An application detected it.
    Automatic,
    /// The calendar says so.
    Scheduled,
}

/// Where everyone sees the user work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkLocation<'a> {
    /// The layer that won.
    pub source: LocationSource,
    /// The place it names; `None` exactly when `source` is [`LocationSource::None`].
    pub location: Option<&'a Location>,
}

/// The most precise automatic signal alive at `now`; of two as precise, the newest. Returns its position.
pub(crate) fn strongest_automatic(signals: &[AutomaticLocation], now: Timestamp) -> Option<usize> {
    let live = signals.iter().enumerate().filter(|(_, signal)| now < signal.expires_at);
    live.max_by_key(|(position, signal)| (signal.location.is_precise(), signal.set_at, *position))
        .map(|(position, _)| position)
}

/// The most precise segment that covers `now`; of two as precise, the one that began last. Returns its position.
pub(crate) fn current_segment(schedule: &Schedule, now: Timestamp) -> Option<usize> {
    let covering = schedule.0.iter().enumerate().filter(|(_, s)| s.starts_at <= now && now < s.ends_at);
    covering.max_by_key(|(position, s)| (s.location.is_precise(), s.starts_at, *position)).map(|(p, _)| p)
}

/// The first instant of the next day in `zone`: when a manual or automatic location set at `now` lapses. Later than
/// `now`, except at the end of time.
///
/// Assumed: the documents speak of "the current date" (presence-api §10).
pub fn end_of_local_day(now: Timestamp, zone: &TimeZone) -> Timestamp {
    let Ok(tomorrow) = now.to_zoned_datetime(zone.clone()).tomorrow() else { return Timestamp::MAX };
    let starts = tomorrow.start_of_day().map_or(Timestamp::MAX, |day| day.timestamp());
    if starts > now {
        return starts;
    }
    // Some zones have turned their clocks back just after midnight: the day then ends twice, and the first end is past.
    let again = zone.to_ambiguous_timestamp(tomorrow.date().to_datetime(Time::midnight())).later();
    again.unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;
    use crate::timeline::{check, zones};

    #[test]
    fn nothing_known_is_no_location() {
        check("00:00 sees nowhere #0 next never");
    }

    #[test]
    fn manual_beats_automatic_beats_scheduled() {
        check(
            "
            00:00     schedule remote 00:00..48:00:00
            00:00     sees scheduled remote #1
            00:01     radar automatic office
            00:01     sees automatic office #2
            00:02     manual time-off
            00:02     sees manual time-off #3
            00:03     radar automatic office@hq
            00:03     sees manual time-off #3
            00:04     unlocate
            00:04     sees scheduled remote #4
            ",
        );
    }

    #[test]
    fn clearing_the_automatic_layer_leaves_manual_and_scheduled_alone() {
        check(
            "
            00:00     schedule remote 00:00..48:00:00
            00:01     radar automatic office
            00:01     badge automatic office@hq
            00:02     unautomatic
            00:02     sees scheduled remote
            00:03     manual office
            00:03     radar automatic remote
            00:04     unautomatic
            00:04     sees manual office
            00:05     unlocate
            00:05     sees scheduled remote
            00:06     unlocate
            00:06     unautomatic
            00:06     sees scheduled remote
            ",
        );
    }

    #[test]
    fn the_most_precise_automatic_signal_wins_and_of_equals_the_newest() {
        check(
            "
            00:00     radar automatic office@hq
            00:01     badge automatic remote
            00:01     sees automatic office@hq
            00:02     desk automatic office@annex
            00:02     sees automatic office@annex
            00:03     radar automatic office@hq
            00:03     sees automatic office@hq
            00:04     radar automatic office
            00:04     sees automatic office@annex
            00:05     desk automatic time-off
            00:05     sees automatic time-off
            ",
        );
    }

    #[test]
    fn of_two_signals_at_the_same_instant_the_later_command_wins() {
        check(
            "
            00:00     radar automatic office
            00:00     badge automatic remote
            00:00     sees automatic remote
            00:00     radar automatic office
            00:00     sees automatic office
            ",
        );
    }

    #[test]
    fn setting_manual_replaces_it_whatever_its_precision() {
        check(
            "
            00:00     manual office@hq
            00:01     manual remote
            00:01     sees manual remote
            ",
        );
    }

    #[test]
    fn manual_and_automatic_lapse_at_the_end_of_the_day() {
        check(
            "
            22:00:00  manual office
            22:00:00  radar automatic remote
            23:59:59  sees manual office #1 next 24:00:00
            24:00:00  sees nowhere #2 next never
            24:00:00  radar automatic remote
            47:59:59  sees automatic remote #3 next 48:00:00
            48:00:00  sees nowhere #4
            ",
        );
    }

    #[test]
    fn each_signal_lapses_at_the_midnight_of_its_own_zone() {
        check(
            "
            00:00     radar automatic remote in UTC
            00:00     badge automatic office@hq in +23:45
            14:59     sees automatic office@hq next 15:00
            15:00     sees automatic remote next 24:00:00
            ",
        );
    }

    #[test]
    fn a_day_of_twenty_three_or_twenty_five_hours_ends_at_its_midnight() {
        check(
            "
            2026-03-28T23:00:00Z manual office in Berlin
            2026-03-29T21:59:59Z sees manual office next 2026-03-29T22:00:00Z
            2026-03-29T22:00:00Z sees nowhere
            2026-10-24T22:00:00Z manual office in Berlin
            2026-10-25T22:59:59Z sees manual office next 2026-10-25T23:00:00Z
            2026-10-25T23:00:00Z sees nowhere
            2026-11-01T07:00:00Z manual office in Los_Angeles
            2026-11-02T07:59:59Z sees manual office next 2026-11-02T08:00:00Z
            2026-11-02T08:00:00Z sees nowhere
            ",
        );
    }

    #[test]
    fn a_day_whose_midnight_comes_twice_ends_after_now() {
        check(
            "
            2026-11-01T02:20:00Z manual office in St_Johns
            2026-11-01T02:29:59Z sees manual office next 2026-11-01T02:30:00Z
            2026-11-01T02:40:00Z manual remote in St_Johns
            2026-11-01T03:29:59Z sees manual remote next 2026-11-01T03:30:00Z
            2026-11-01T03:30:00Z sees nowhere
            ",
        );
    }

    #[test]
    fn a_day_ends_at_the_users_own_midnight() {
        let now: Timestamp = "2026-03-02T22:30:00Z".parse().unwrap();
        assert_eq!(end_of_local_day(now, &TimeZone::UTC), "2026-03-03T00:00:00Z".parse().unwrap());
        let plus_two = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(end_of_local_day(now, &plus_two), "2026-03-03T22:00:00Z".parse().unwrap());
    }

    #[test]
    fn a_day_at_either_end_of_time_has_an_end() {
        for (name, zone) in zones() {
            assert_eq!(end_of_local_day(Timestamp::MAX, &zone), Timestamp::MAX, "{name}");
            assert!(end_of_local_day(Timestamp::MIN, &zone) > Timestamp::MIN, "{name}");
        }
    }

    #[test]
    fn the_schedule_shows_the_segment_that_covers_the_instant() {
        check(
            "
            00:00     schedule office@hq 09:00..12:00 remote 12:00..17:00
            00:00     sees nowhere #0 next 09:00
            08:59     sees nowhere
            09:00     sees scheduled office@hq #1 next 12:00
            11:59     sees scheduled office@hq
            12:00     sees scheduled remote #2 next 17:00
            16:59     sees scheduled remote
            17:00     sees nowhere #3 next never
            ",
        );
    }

    #[test]
    fn of_overlapping_segments_the_most_precise_wins_then_the_one_that_began_last() {
        check(
            "
            00:00     schedule office@hq 10:00..20:00 time-off 30:00..35:00 remote 15:00..40:00
            15:00     sees scheduled office@hq
            20:00     sees scheduled remote
            30:00     sees scheduled time-off
            35:00     sees scheduled remote
            40:00     sees nowhere
            ",
        );
    }

    #[test]
    fn segments_that_follow_each_other_in_the_same_place_are_no_change() {
        check(
            "
            00:00     schedule office 00:00..10:00 office 10:00..20:00
            00:00     sees scheduled office #1 next 20:00
            10:00     sees scheduled office #1 next 20:00
            20:00     sees nowhere #2
            ",
        );
    }

    #[test]
    fn a_new_schedule_replaces_the_old() {
        check(
            "
            00:00     schedule office 00:00..10:00 office 20:00..30:00
            05:00     schedule remote 00:00..01:00 remote 04:00..06:00
            05:00     sees scheduled remote next 06:00
            06:00     sees nowhere next never
            07:00     schedule remote 00:00..08:00
            07:00     sees scheduled remote
            07:30     schedule
            07:30     sees nowhere next never
            ",
        );
    }

    #[test]
    fn a_schedule_is_bounded_and_its_segments_end_after_they_start() {
        let segment = |starts: i64, ends: i64| ScheduledLocation {
            location: Location { kind: LocationKind::Office, place: None },
            starts_at: Timestamp::from_second(starts).unwrap(),
            ends_at: Timestamp::from_second(ends).unwrap(),
        };
        let segments = alloc::vec![segment(0, 1); SCHEDULE_SEGMENTS_MAX];
        assert_eq!(Schedule::new(segments.clone()).unwrap().segments(), segments);
        let too_many = alloc::vec![segment(0, 1); SCHEDULE_SEGMENTS_MAX + 1];
        assert_eq!(Schedule::new(too_many), Err(PresenceError::TooManySegments));
        for empty in [segment(1, 1), segment(1, 0)] {
            assert_eq!(Schedule::new(alloc::vec![segment(0, 1), empty]), Err(PresenceError::EmptyWindow));
        }
    }

    #[test]
    fn a_place_is_bounded_in_characters_and_none_when_empty() {
        let longest = "\u{e9}".repeat(PLACE_ID_CHARS_MAX);
        assert_eq!(PlaceId::new(&longest).unwrap().unwrap().as_str(), longest);
        assert_eq!(PlaceId::new(&format!("{longest}.")), Err(PresenceError::PlaceIdTooLong));
        assert_eq!(PlaceId::new(""), Ok(None));
    }
}
