//! Why a user is shown as they are: every input, the rule that chose, and what lost to what.

use alloc::vec::Vec;

use jiff::Timestamp;

use crate::{
    AppId, AutomaticLocation, Fade, LocationKind, LocationSource, ManualLocation, OutOfOffice, Pair, PlaceId,
    Preferred, ScheduledLocation, SequenceNumber, Session, StatusMessage,
};

/// The step of presence-api §11.3 that decided the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Step 1: there is no live session, so the user is Offline whatever else is set.
    NoSession,
    /// Step 2: a preferred presence beats all sessions.
    PreferredPresence,
    /// Step 3: the strongest session.
    StrongestSession,
}

/// The answer of [`UserPresence::at`](crate::UserPresence::at) together with everything it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The instant explained.
    pub at: Timestamp,
    /// What is shown.
    pub pair: Pair,
    /// The version of what is shown.
    pub sequence_number: SequenceNumber,
    /// The step that decided the pair.
    pub rule: Rule,
    /// Whether an out-of-office window then changed the activity (step 4).
    pub out_of_office_shown: bool,
    /// Every live session, in the order in which they were last set.
    pub sessions: Vec<SessionInput>,
    /// The preferred presence, if one stands.
    pub preferred: Option<PreferredInput>,
    /// The out-of-office window, if one is known that has not passed.
    pub out_of_office: Option<OutOfOfficeInput>,
    /// The status message, if one is shown.
    pub status_message: Option<StatusMessageInput>,
    /// The layer the work location comes from.
    pub location_source: LocationSource,
    /// The kind of place it names.
    pub location_kind: Option<LocationKind>,
    /// The place it names.
    pub location_place: Option<PlaceId>,
    /// The manual location, if it holds.
    pub manual: Option<ManualInput>,
    /// Every automatic location that holds.
    pub automatic: Vec<AutomaticInput>,
    /// Every scheduled segment that has not passed.
    pub scheduled: Vec<ScheduledInput>,
    /// What will change next by time alone, if nobody writes.
    pub next_change: Option<NextChange>,
}

/// A live session and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInput {
    /// The session as kept.
    pub session: Session,
    /// How far it has faded.
    pub fade: Fade,
    /// What it contributes.
    pub pair: Pair,
    /// When it fades next, if it does before it ends.
    pub next_fade_at: Option<Timestamp>,
    /// Whether it is shown, and if not, what beat it.
    pub outcome: SessionOutcome,
}

/// What became of a session's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionOutcome {
    /// It is what everyone sees.
    Shown,
    /// A preferred presence is shown instead.
    HiddenByPreferred,
    /// The session of this application has a stronger availability, or is as strong and less faded.
    Outranked {
        /// The application whose session won.
        by: AppId,
    },
    /// The session of this application is as strong and was set later.
    SetEarlier {
        /// The application whose session won.
        than: AppId,
    },
}

/// A preferred presence and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreferredInput {
    /// The preference as kept.
    pub preferred: Preferred,
    /// Whether it is shown.
    pub outcome: PreferredOutcome,
}

/// What became of a preferred presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreferredOutcome {
    /// It is what everyone sees.
    Shown,
    /// It sleeps until there is a presence session.
    AsleepWithoutSession,
}

/// An out-of-office window and whether it covers the instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfOfficeInput {
    /// The window as kept.
    pub out_of_office: OutOfOffice,
    /// Whether it covers the instant.
    pub is_active: bool,
}

/// The status message that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusMessageInput {
    /// The message as kept.
    pub status_message: StatusMessage,
}

/// What became of one layer's claim on the work location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocationOutcome {
    /// It is what everyone sees.
    Shown,
    /// A layer above it decides.
    HiddenBy(LocationSource),
    /// Another entry of the same layer is more precise, or as precise and newer.
    LessPrecise,
    /// Its segment does not cover the instant.
    NotNow,
}

/// The manual location and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualInput {
    /// The location as kept.
    pub manual: ManualLocation,
    /// Whether it is shown.
    pub outcome: LocationOutcome,
}

/// An automatic location and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutomaticInput {
    /// The signal as kept.
    pub automatic: AutomaticLocation,
    /// Whether it is shown.
    pub outcome: LocationOutcome,
}

/// A scheduled segment and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledInput {
    /// The segment as kept.
    pub scheduled: ScheduledLocation,
    /// Whether it is shown.
    pub outcome: LocationOutcome,
}

/// The next visible change that time alone will make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextChange {
    /// When.
    pub at: Timestamp,
    /// The pair shown from then on; it may be the same when something else about the presence changes.
    pub pair: Pair,
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::timeline::{app, instant, play};

    fn sessions(explanation: &Explanation) -> Vec<SessionOutcome> {
        explanation.sessions.iter().map(|input| input.outcome).collect()
    }

    #[test]
    fn the_losing_sessions_are_told_what_beat_them() {
        let user = play(
            "
            00:00     a set Available/Available for 1h
            01:00     b set Busy/InACall for 1h
            02:00     c set Away/Away for 1h
            03:00     d set Busy/InAConferenceCall for 1h
            ",
        );
        let explanation = user.explain(instant("06:00"));
        assert_eq!(explanation.rule, Rule::StrongestSession);
        let (outranked, earlier) =
            (SessionOutcome::Outranked { by: app("d") }, SessionOutcome::SetEarlier { than: app("d") });
        assert_eq!(sessions(&explanation), [outranked, earlier, outranked, SessionOutcome::Shown]);
        let faded = explanation.sessions[0];
        assert_eq!((faded.fade, faded.next_fade_at), (Fade::Inactive, Some(instant("10:00"))));
        let next = NextChange { at: instant("01:03:00"), pair: Pair::OFFLINE };
        assert_eq!(explanation.next_change, Some(next));
    }

    #[test]
    fn a_preferred_presence_hides_the_sessions_or_sleeps_without_one() {
        let user = play(
            "
            00:00     a set Available/Available
            00:00     b set Busy/InACall
            00:00     prefer Busy/Busy
            ",
        );
        let awake = user.explain(instant("04:59"));
        assert_eq!(awake.rule, Rule::PreferredPresence);
        assert_eq!(sessions(&awake), [SessionOutcome::HiddenByPreferred; 2]);
        assert_eq!(awake.preferred.map(|input| input.outcome), Some(PreferredOutcome::Shown));
        let asleep = user.explain(instant("05:00"));
        assert_eq!((asleep.rule, asleep.sessions), (Rule::NoSession, Vec::new()));
        let outcome = asleep.preferred.map(|input| input.outcome);
        assert_eq!(outcome, Some(PreferredOutcome::AsleepWithoutSession));
    }

    #[test]
    fn every_location_is_told_which_layer_or_entry_decided() {
        use LocationOutcome::{HiddenBy, LessPrecise, NotNow, Shown};
        let user = play(
            "
            00:00     schedule office 00:00..10:00 office@hq 05:00..10:00 remote 09:00..10:00
            00:00     radar automatic office@hq
            00:00     badge automatic office
            00:00     manual remote
            ",
        );
        let outcomes = |user: &crate::UserPresence| {
            let explanation = user.explain(instant("05:00"));
            let manual = explanation.manual.map(|input| input.outcome);
            let automatic: Vec<_> = explanation.automatic.iter().map(|input| input.outcome).collect();
            let scheduled: Vec<_> = explanation.scheduled.iter().map(|input| input.outcome).collect();
            (manual, automatic, scheduled)
        };
        let manual = HiddenBy(LocationSource::Manual);
        let expected = (Some(Shown), [manual; 2].into(), [manual, manual, NotNow].into());
        assert_eq!(outcomes(&user), expected);
        let without_manual = crate::UserPresence { manual_location: None, ..user };
        let automatic = HiddenBy(LocationSource::Automatic);
        let expected = (None, [Shown, LessPrecise].into(), [automatic, automatic, NotNow].into());
        assert_eq!(outcomes(&without_manual), expected);
        let scheduled = crate::UserPresence { automatic_locations: Vec::new(), ..without_manual };
        assert_eq!(outcomes(&scheduled), (None, [].into(), [LessPrecise, Shown, NotNow].into()));
    }

    #[test]
    fn an_out_of_office_window_says_whether_it_covers_the_instant_and_changes_the_activity() {
        let user = play(
            "
            00:00     out-of-office from 01:00 until 20:00
            00:00     desk set Available/Available for 10m
            00:00     phone set Busy/InACall for 5m
            ",
        );
        let told = |at| {
            let explanation = user.explain(instant(at));
            (explanation.out_of_office.map(|input| input.is_active), explanation.out_of_office_shown)
        };
        assert_eq!(told("00:59"), (Some(false), false));
        assert_eq!(told("01:00"), (Some(true), false), "a call keeps its activity");
        assert_eq!(told("05:00"), (Some(true), true));
        assert_eq!(told("10:00"), (Some(true), true));
        assert_eq!(told("20:00"), (None, false));
    }
}
