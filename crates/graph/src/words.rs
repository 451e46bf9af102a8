//! The words of the wire for availability, activity and work location: written exactly, read in any case (§3.1).

use presence::{Activity, Availability, LocationKind, LocationSource};

/// Every availability there is to show, and the ones a caller may write. The idle ones belong to the original's own clients and are accepted nowhere.
pub const AVAILABILITIES: [Availability; 7] = [
    Availability::Available,
    Availability::Away,
    Availability::BeRightBack,
    Availability::Busy,
    Availability::DoNotDisturb,
    Availability::Offline,
    Availability::PresenceUnknown,
];

/// Every activity.
pub(crate) const ACTIVITIES: [Activity; 13] = [
    Activity::Available,
    Activity::AvailableInactive,
    Activity::Away,
    Activity::BeRightBack,
    Activity::Busy,
    Activity::DoNotDisturb,
    Activity::InACall,
    Activity::InAConferenceCall,
    Activity::Offline,
    Activity::OffWork,
    Activity::OutOfOffice,
    Activity::PresenceUnknown,
    Activity::Presenting,
];

/// The availability as it is written.
pub const fn availability(availability: Availability) -> &'static str {
    match availability {
        Availability::Available => "Available",
        Availability::Away => "Away",
        Availability::BeRightBack => "BeRightBack",
        Availability::Busy => "Busy",
        Availability::DoNotDisturb => "DoNotDisturb",
        Availability::Offline => "Offline",
        Availability::PresenceUnknown => "PresenceUnknown",
    }
}

/// The activity as it is written.
pub const fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::Available => "Available",
        Activity::AvailableInactive => "AvailableInactive",
        Activity::Away => "Away",
        Activity::BeRightBack => "BeRightBack",
        Activity::Busy => "Busy",
        Activity::DoNotDisturb => "DoNotDisturb",
        Activity::InACall => "InACall",
        Activity::InAConferenceCall => "InAConferenceCall",
        Activity::Offline => "Offline",
        Activity::OffWork => "OffWork",
        Activity::OutOfOffice => "OutOfOffice",
        Activity::PresenceUnknown => "PresenceUnknown",
        Activity::Presenting => "Presenting",
    }
}

/// Reads an availability, in any case.
pub fn parse_availability(text: &str) -> Option<Availability> {
    AVAILABILITIES.into_iter().find(|value| availability(*value).eq_ignore_ascii_case(text))
}

/// Reads an activity, in any case.
pub fn parse_activity(text: &str) -> Option<Activity> {
    ACTIVITIES.into_iter().find(|value| activity(*value).eq_ignore_ascii_case(text))
}

/// The `workLocationType` of a known kind of place; none is [`UNSPECIFIED`].
pub const fn location_kind(kind: LocationKind) -> &'static str {
    match kind {
        LocationKind::Office => "office",
        LocationKind::Remote => "remote",
        LocationKind::TimeOff => "timeOff",
    }
}

/// The `workLocationType` when no layer knows anything.
pub const UNSPECIFIED: &str = "unspecified";
/// A member of every evolvable enum, never written by this server.
pub const UNKNOWN_FUTURE_VALUE: &str = "unknownFutureValue";

/// The `source` of a work location.
pub const fn location_source(source: LocationSource) -> &'static str {
    match source {
        LocationSource::None => "none",
        LocationSource::Manual => "manual",
        LocationSource::Automatic => "automatic",
        LocationSource::Scheduled => "scheduled",
    }
}

/// The `contentType` of every status message.
pub const TEXT: &str = "text";
/// The other member of `bodyType`, refused for status messages.
pub const HTML: &str = "html";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_written_in_pascal_case_and_read_in_any() {
        for value in AVAILABILITIES {
            assert!(availability(value).starts_with(char::is_uppercase));
            assert_eq!(parse_availability(&availability(value).to_lowercase()), Some(value));
        }
        for value in ACTIVITIES {
            assert!(activity(value).starts_with(char::is_uppercase));
            assert_eq!(parse_activity(&activity(value).to_uppercase()), Some(value));
        }
    }

    #[test]
    fn states_of_the_originals_own_clients_are_accepted_nowhere() {
        assert_eq!(parse_availability("AvailableIdle"), None);
        assert_eq!(parse_availability("BusyIdle"), None);
        assert_eq!(parse_activity("Inactive"), None);
        assert_eq!(parse_activity("UrgentInterruptionsOnly"), None);
    }
}
