//! Where a user works today, in three layers: manual over automatic over scheduled. Source: presence-api §10.

use alloc::boxed::Box;
use alloc::vec::Vec;

use jiff::Timestamp;
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

/// The first instant of the next day in `zone`: when a manual or automatic location set at `now` lapses.
///
/// Assumed: the documents speak of "the current date" (presence-api §10).
pub fn end_of_local_day(now: Timestamp, zone: &TimeZone) -> Timestamp {
    let next_day = now.to_zoned_datetime(zone.clone()).tomorrow().and_then(|day| day.start_of_day());
    next_day.map_or(Timestamp::MAX, |day| day.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_the_users_own_midnight() {
        let now: Timestamp = "2026-03-02T22:30:00Z".parse().unwrap();
        assert_eq!(end_of_local_day(now, &TimeZone::UTC), "2026-03-03T00:00:00Z".parse().unwrap());
        let plus_two = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(end_of_local_day(now, &plus_two), "2026-03-03T22:00:00Z".parse().unwrap());
        assert_eq!(end_of_local_day(Timestamp::MAX, &TimeZone::UTC), Timestamp::MAX);
    }
}
