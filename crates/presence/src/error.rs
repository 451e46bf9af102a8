//! What the rules refuse, in words of the domain. What a caller is told is decided at the edge, once.

use core::fmt;

use crate::limits;

/// Why a value or a command was refused. A refused command changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceError {
    /// The application has no live presence session for this user.
    SessionNotFound,
    /// The user already has [`limits::SESSIONS_PER_USER_MAX`] live sessions of other applications.
    TooManySessions,
    /// The user already has [`limits::AUTOMATIC_LOCATIONS_PER_USER_MAX`] automatic locations of other applications.
    TooManyAutomaticLocations,
    /// A schedule of more than [`limits::SCHEDULE_SEGMENTS_MAX`] segments.
    TooManySegments,
    /// A session or preferred presence shorter or longer than allowed.
    LifetimeOutOfRange,
    /// A status message longer than [`limits::STATUS_MESSAGE_CHARS_MAX`].
    StatusMessageTooLong,
    /// A status message that would already have expired.
    StatusMessageExpired,
    /// A place identifier longer than [`limits::PLACE_ID_CHARS_MAX`].
    PlaceIdTooLong,
    /// An out-of-office text longer than [`limits::OUT_OF_OFFICE_CHARS_MAX`].
    OutOfOfficeTooLong,
    /// A window or segment whose end is not after its start.
    EmptyWindow,
}

impl fmt::Display for PresenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionNotFound => f.write_str("the application has no presence session for this user"),
            Self::TooManySessions => {
                write!(f, "the user already has {} presence sessions", limits::SESSIONS_PER_USER_MAX)
            }
            Self::TooManyAutomaticLocations => write!(
                f,
                "the user already has {} automatic locations",
                limits::AUTOMATIC_LOCATIONS_PER_USER_MAX
            ),
            Self::TooManySegments => {
                write!(f, "a schedule has at most {} segments", limits::SCHEDULE_SEGMENTS_MAX)
            }
            Self::LifetimeOutOfRange => f.write_str("the duration is out of range"),
            Self::StatusMessageTooLong => {
                write!(f, "a status message has at most {} characters", limits::STATUS_MESSAGE_CHARS_MAX)
            }
            Self::StatusMessageExpired => f.write_str("the status message would already have expired"),
            Self::PlaceIdTooLong => {
                write!(f, "a place identifier has at most {} characters", limits::PLACE_ID_CHARS_MAX)
            }
            Self::OutOfOfficeTooLong => {
                write!(f, "an out-of-office text has at most {} characters", limits::OUT_OF_OFFICE_CHARS_MAX)
            }
            Self::EmptyWindow => f.write_str("a window ends after it starts"),
        }
    }
}

impl core::error::Error for PresenceError {}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn a_bound_is_named_in_the_words_that_refuse_it() {
        for (error, bound) in [
            (PresenceError::TooManySessions, limits::SESSIONS_PER_USER_MAX),
            (PresenceError::TooManyAutomaticLocations, limits::AUTOMATIC_LOCATIONS_PER_USER_MAX),
            (PresenceError::TooManySegments, limits::SCHEDULE_SEGMENTS_MAX),
            (PresenceError::StatusMessageTooLong, limits::STATUS_MESSAGE_CHARS_MAX),
            (PresenceError::PlaceIdTooLong, limits::PLACE_ID_CHARS_MAX),
            (PresenceError::OutOfOfficeTooLong, limits::OUT_OF_OFFICE_CHARS_MAX),
        ] {
            assert!(error.to_string().contains(&bound.to_string()), "{error}");
        }
    }
}
