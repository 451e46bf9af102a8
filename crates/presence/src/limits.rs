//! Every number of the contract that the rules know, once: its unit, its range and who decided it.
//!
//! Sections (§) are those of the presence API reference sheet this project is built from; "ours" marks a bound that
//! the reference leaves open and a server needs.

use jiff::SignedDuration;

/// How long a session may stay Available without a refresh before it fades one step, first to AvailableInactive, then
/// to Away. Five minutes. Source: setPresence, "Timeout, expiration, and keep alive" (§11.2).
pub const FADE_STEP: SignedDuration = SignedDuration::from_mins(5);

/// Shortest life of a presence session, included. Source: setPresence, `expirationDuration` (§6).
pub const SESSION_LIFETIME_MIN: SignedDuration = SignedDuration::from_mins(5);
/// Longest life of a presence session, included. Source: setPresence, `expirationDuration` (§6).
pub const SESSION_LIFETIME_MAX: SignedDuration = SignedDuration::from_hours(4);
/// Life of a presence session that names none. Source: setPresence, `expirationDuration` (§6).
pub const SESSION_LIFETIME_DEFAULT: SignedDuration = SignedDuration::from_mins(5);

/// Life of a preferred presence of Busy or DoNotDisturb that names none. Source: setUserPreferredPresence (§8).
pub const PREFERRED_LIFETIME_BUSY: SignedDuration = SignedDuration::from_hours(24);
/// Life of any other preferred presence that names none. Source: setUserPreferredPresence (§8).
pub const PREFERRED_LIFETIME_OTHER: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Longest life of a preferred presence, included. Ours: no range is documented; a year is more than any client asks.
pub const PREFERRED_LIFETIME_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);

/// Live presence sessions one user may have at a time. Ours: a person has a handful of applications; the bound keeps a
/// user's record and the work of one read small.
pub const SESSIONS_PER_USER_MAX: usize = 64;
/// Automatic location signals kept for one user, one per application. Ours, for the same reason.
pub const AUTOMATIC_LOCATIONS_PER_USER_MAX: usize = 16;
/// Scheduled location segments kept for one user: a month of days split in two. Ours.
pub const SCHEDULE_SEGMENTS_MAX: usize = 62;

/// Longest status message, in characters. Ours: the reference's own client stops at 280 and asks servers to store at
/// least that (§9).
pub const STATUS_MESSAGE_CHARS_MAX: usize = 1_024;
/// Longest automatic-reply text of an out-of-office window, in characters. Ours.
pub const OUT_OF_OFFICE_CHARS_MAX: usize = 4_096;
/// Longest `placeId`, in characters. Ours: the documented example is a GUID of 36 (§10).
pub const PLACE_ID_CHARS_MAX: usize = 256;

/// Most visible changes that time alone can make to one record: three of each session (two fades and the end), one of
/// each automatic location, two of each segment and of the out-of-office window, one of each of the rest. It follows from
/// the bounds above, so that nothing that lists changes needs a bound of its own.
pub const CHANGES_BY_TIME_MAX: usize =
    3 * SESSIONS_PER_USER_MAX + AUTOMATIC_LOCATIONS_PER_USER_MAX + 2 * SCHEDULE_SEGMENTS_MAX + 2 + 3;
