//! An explanation is complete: what is shown can be computed from its inputs alone, by rules written down a second
//! time, straight from the reference and with none of the crate's own.

use jiff::Timestamp;
use presence::{
    Activity, Availability, Explanation, Fade, Location, LocationOutcome, LocationSource, Pair,
    PreferredOutcome, Rule, Session, SessionInput, SessionOutcome, UserPresence,
};
use proptest::prelude::*;

use crate::history::{gap, history, property};

const MINUTE_NANOS: i128 = 60_000_000_000;

#[test]
fn the_inputs_of_an_explanation_reproduce_the_answer() {
    property(8, (history(), gap()), |(history, gap)| {
        let mut user = UserPresence::default();
        for (at, action) in &history.0 {
            // A refusal is part of the history.
            let _ = action.perform(&mut user, *at);
            for now in [*at, *at + gap] {
                let explanation = user.explain(now);
                inputs_are_complete(&user, &explanation)?;
                sessions_are_explained(&explanation)?;
                location_is_explained(&explanation)?;
                the_answer_is_reproduced(&user, &explanation)?;
            }
        }
        Ok(())
    });
}

/// Nothing that still stands is left out.
fn inputs_are_complete(user: &UserPresence, told: &Explanation) -> Result<(), TestCaseError> {
    let now = told.at;
    let live: Vec<Session> =
        user.sessions.iter().copied().filter(|session| session.expires_at > now).collect();
    let listed: Vec<Session> = told.sessions.iter().map(|input| input.session).collect();
    prop_assert_eq!(listed, live);
    let preferred = user.preferred.filter(|preferred| preferred.expires_at > now);
    prop_assert_eq!(told.preferred.map(|input| input.preferred), preferred);
    let status = user.status_message.as_ref().filter(|message| message.expires_at.is_none_or(|at| at > now));
    prop_assert_eq!(told.status_message.as_ref().map(|input| &input.status_message), status);
    let window = user.out_of_office.as_ref().filter(|window| window.ends_at().is_none_or(|at| at > now));
    prop_assert_eq!(told.out_of_office.as_ref().map(|input| &input.out_of_office), window);
    let manual = user.manual_location.as_ref().filter(|manual| manual.expires_at > now);
    prop_assert_eq!(told.manual.as_ref().map(|input| &input.manual), manual);
    let signals = user.automatic_locations.iter().filter(|signal| signal.expires_at > now);
    prop_assert!(told.automatic.iter().map(|input| &input.automatic).eq(signals));
    let segments = user.schedule.segments().iter().filter(|segment| segment.ends_at > now);
    prop_assert!(told.scheduled.iter().map(|input| &input.scheduled).eq(segments));
    Ok(())
}

/// What a session shows, by its age in whole steps of five minutes.
fn contribution(session: &Session, now: Timestamp) -> (Fade, Pair) {
    let set = session.pair.pair();
    if set != Pair::new(Availability::Available, Activity::Available) {
        return (Fade::Fresh, set);
    }
    match (now.as_nanosecond() - session.set_at.as_nanosecond()) / (5 * MINUTE_NANOS) {
        0 => (Fade::Fresh, set),
        1 => (Fade::Inactive, Pair::new(Availability::Available, Activity::AvailableInactive)),
        _ => (Fade::Away, Pair::new(Availability::Away, Activity::Away)),
    }
}

/// When the session fades next, looked up by hand.
fn next_fade(session: &Session, now: Timestamp) -> Option<i128> {
    let set = session.set_at.as_nanosecond();
    let fades = [set + 5 * MINUTE_NANOS, set + 10 * MINUTE_NANOS];
    let to_come = |at: &i128| *at > now.as_nanosecond() && *at < session.expires_at.as_nanosecond();
    let available = session.pair.pair().availability == Availability::Available;
    fades.into_iter().filter(|_| available).find(to_come)
}

/// The winner by §11.3, step 3: DoNotDisturb, Busy, Available, AvailableInactive, Away; then the last written.
fn strongest(told: &Explanation) -> Option<(usize, &SessionInput)> {
    let mut best = None;
    for wanted in [
        (Availability::DoNotDisturb, None),
        (Availability::Busy, None),
        (Availability::Available, Some(Activity::Available)),
        (Availability::Available, Some(Activity::AvailableInactive)),
        (Availability::Away, None),
    ] {
        let matches = |input: &SessionInput| {
            let (_, pair) = contribution(&input.session, told.at);
            pair.availability == wanted.0 && wanted.1.is_none_or(|activity| activity == pair.activity)
        };
        best = best.or_else(|| told.sessions.iter().enumerate().rfind(|(_, input)| matches(input)));
    }
    best
}

fn sessions_are_explained(told: &Explanation) -> Result<(), TestCaseError> {
    for input in &told.sessions {
        prop_assert_eq!((input.fade, input.pair), contribution(&input.session, told.at));
        prop_assert_eq!(input.next_fade_at.map(Timestamp::as_nanosecond), next_fade(&input.session, told.at));
    }
    let Some((position, winner)) = strongest(told) else { return Ok(()) };
    let app = winner.session.app;
    let tied = |pair: Pair| {
        let inactive = |pair: Pair| pair.activity == Activity::AvailableInactive;
        pair.availability == winner.pair.availability && inactive(pair) == inactive(winner.pair)
    };
    for (other, input) in told.sessions.iter().enumerate() {
        let expected = match input.outcome {
            _ if told.preferred.is_some() => SessionOutcome::HiddenByPreferred,
            _ if other == position => SessionOutcome::Shown,
            _ if tied(input.pair) => SessionOutcome::SetEarlier { than: app },
            _ => SessionOutcome::Outranked { by: app },
        };
        prop_assert_eq!(input.outcome, expected);
    }
    Ok(())
}

/// The location by §10, with every entry's outcome.
fn location(told: &Explanation) -> (LocationSource, Option<&Location>) {
    if let Some(input) = &told.manual {
        return (LocationSource::Manual, Some(&input.manual.location));
    }
    let mut automatic: Vec<_> = told.automatic.iter().map(|input| &input.automatic).collect();
    automatic.sort_by_key(|signal| (signal.location.place.is_some(), signal.set_at));
    if let Some(signal) = automatic.last() {
        return (LocationSource::Automatic, Some(&signal.location));
    }
    let mut segments: Vec<_> = told.scheduled.iter().map(|input| &input.scheduled).collect();
    segments.retain(|segment| segment.starts_at <= told.at && told.at < segment.ends_at);
    segments.sort_by_key(|segment| (segment.location.place.is_some(), segment.starts_at));
    match segments.last() {
        Some(segment) => (LocationSource::Scheduled, Some(&segment.location)),
        None => (LocationSource::None, None),
    }
}

fn location_is_explained(told: &Explanation) -> Result<(), TestCaseError> {
    let manual =
        told.manual.iter().map(|input| (LocationSource::Manual, &input.manual.location, input.outcome));
    let automatic = told
        .automatic
        .iter()
        .map(|input| (LocationSource::Automatic, &input.automatic.location, input.outcome));
    let scheduled = told
        .scheduled
        .iter()
        .map(|input| (LocationSource::Scheduled, &input.scheduled.location, input.outcome));
    let entries: Vec<_> = manual.chain(automatic).chain(scheduled).collect();
    let (source, place) = location(told);
    let shown: Vec<_> = entries.iter().filter(|(.., outcome)| *outcome == LocationOutcome::Shown).collect();
    prop_assert_eq!(
        shown.len(),
        usize::from(source != LocationSource::None),
        "exactly one is shown, or nothing"
    );
    prop_assert!(shown.iter().all(|(layer, at, _)| *layer == source && Some(*at) == place));
    for input in &told.scheduled {
        prop_assert_eq!(input.outcome == LocationOutcome::NotNow, told.at < input.scheduled.starts_at);
    }
    for (layer, _, outcome) in entries {
        match outcome {
            LocationOutcome::Shown | LocationOutcome::LessPrecise => prop_assert_eq!(layer, source),
            LocationOutcome::HiddenBy(by) => prop_assert!(by == source && layer != source),
            LocationOutcome::NotNow => prop_assert_eq!(layer, LocationSource::Scheduled),
        }
    }
    Ok(())
}

fn the_answer_is_reproduced(user: &UserPresence, told: &Explanation) -> Result<(), TestCaseError> {
    let now = told.at;
    let shown = user.at(now);
    let (rule, mut pair) = match (strongest(told), &told.preferred) {
        (None, _) => (Rule::NoSession, Pair::new(Availability::Offline, Activity::Offline)),
        (Some(_), Some(input)) => (Rule::PreferredPresence, input.preferred.pair.pair()),
        (Some((_, winner)), None) => (Rule::StrongestSession, contribution(&winner.session, now).1),
    };
    let asleep = told.preferred.map(|input| input.outcome == PreferredOutcome::AsleepWithoutSession);
    prop_assert_eq!(asleep.unwrap_or(false), told.preferred.is_some() && rule == Rule::NoSession);
    let window = told.out_of_office.as_ref();
    let active = window.is_some_and(|input| input.out_of_office.starts_at().is_none_or(|at| at <= now));
    prop_assert_eq!(window.is_some_and(|input| input.is_active), active);
    let undisturbed = pair;
    match (pair.availability, pair.activity) {
        (Availability::Available, _) | (Availability::Offline, Activity::Offline) if active => {
            pair.activity = Activity::OutOfOffice;
        }
        _ => {}
    }
    prop_assert_eq!((told.rule, told.out_of_office_shown), (rule, pair != undisturbed));
    prop_assert_eq!((shown.pair, told.pair), (pair, pair));
    prop_assert_eq!(shown.out_of_office.is_out_of_office, active);
    let message = window.filter(|_| active).and_then(|input| input.out_of_office.message());
    prop_assert_eq!(shown.out_of_office.message, message);
    prop_assert_eq!(shown.status_message, told.status_message.as_ref().map(|input| &input.status_message));
    let (source, place) = location(told);
    prop_assert_eq!((shown.work_location.source, shown.work_location.location), (source, place));
    prop_assert_eq!((told.location_source, told.location_kind), (source, place.map(|place| place.kind)));
    prop_assert_eq!(told.location_place.as_ref(), place.and_then(|place| place.place.as_ref()));
    prop_assert_eq!(told.sequence_number, shown.sequence_number);
    prop_assert_eq!(told.next_change.map(|next| next.at), user.next_change(now));
    prop_assert!(told.next_change.is_none_or(|next| user.at(next.at).pair == next.pair));
    Ok(())
}
