//! Which session is shown: a total order of contributions, of which everyone sees the maximum.

use jiff::SignedDuration;
use presence::{
    Activity, AppId, Availability, Command, Explanation, Pair, SessionLifetime, SessionOutcome, SessionPair,
    UserPresence,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::history::property;
use crate::timeline::BASE;

/// A session set some time ago. `order` counts the commands: of two as old, the higher was written later.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Contribution {
    order: usize,
    pair: SessionPair,
    age: SignedDuration,
}

impl Contribution {
    fn shown_alone(self) -> Pair {
        shown(&[self]).1
    }
}

/// The contributions in the order in which they were written: a session is older than those that came after.
fn contributions(count: usize) -> impl Strategy<Value = Vec<Contribution>> {
    let nanosecond = SignedDuration::from_nanos(1);
    let (fade, fades) = (SignedDuration::from_mins(5), SignedDuration::from_mins(10));
    let ages = vec![
        SignedDuration::ZERO,
        nanosecond,
        fade - nanosecond,
        fade,
        fade + nanosecond,
        fades - nanosecond,
        fades,
        fades + nanosecond,
    ];
    let one = (select(SessionPair::ALL.to_vec()), select(ages));
    prop::collection::vec(one, count).prop_map(|mut parts| {
        parts.sort_by_key(|(_, age)| -*age);
        let number = |(order, (pair, age))| Contribution { order, pair, age };
        parts.into_iter().enumerate().map(number).collect()
    })
}

/// Whose session is shown, and what of it.
fn shown(contributions: &[Contribution]) -> (usize, Pair) {
    let now = BASE;
    let mut user = UserPresence::default();
    for Contribution { order, pair, age } in contributions {
        let lifetime = SessionLifetime::new(SignedDuration::from_hours(4)).unwrap();
        let command = Command::SetPresence { app: AppId::from_u128(*order as u128), pair: *pair, lifetime };
        user.apply(command, now - *age).unwrap();
    }
    let explanation: Explanation = user.explain(now);
    let mut winners = explanation.sessions.iter().filter(|input| input.outcome == SessionOutcome::Shown);
    let winner = winners.next().expect("somebody is shown");
    assert!(winners.next().is_none(), "only one is shown");
    assert_eq!(winner.pair, user.at(now).pair);
    (usize::try_from(winner.session.app.as_u128()).unwrap(), winner.pair)
}

/// Whether everyone sees `a` when there are `a` and `b`. Both may be the same.
fn beats(a: Contribution, b: Contribution) -> bool {
    let mut both = [a, b];
    both.sort_by_key(|contribution| contribution.order);
    shown(&both).0 == a.order
}

/// The order the reference tells, as a key: availability, then freshness, then the last word.
fn key(contribution: Contribution) -> (usize, bool, usize) {
    let Pair { availability, activity } = contribution.shown_alone();
    let weakest_first =
        [Availability::Away, Availability::Available, Availability::Busy, Availability::DoNotDisturb];
    let rank =
        weakest_first.iter().position(|other| *other == availability).expect("a session's availability");
    (rank, activity != Activity::AvailableInactive, contribution.order)
}

#[test]
fn precedence_is_a_total_order_of_all_contributions() {
    property(3, contributions(3), |three| {
        for a in three.iter().copied() {
            prop_assert!(beats(a, a), "reflexive");
            for b in three.iter().copied() {
                prop_assert!(beats(a, b) || beats(b, a), "total");
                prop_assert!(a == b || !(beats(a, b) && beats(b, a)), "antisymmetric");
                prop_assert_eq!(beats(a, b), key(a) >= key(b), "as the reference tells");
                for c in three.iter().copied() {
                    prop_assert!(!(beats(a, b) && beats(b, c)) || beats(a, c), "transitive");
                }
            }
        }
        Ok(())
    });
}

#[test]
fn everyone_sees_the_maximum() {
    let some = (1_usize..=8).prop_flat_map(contributions);
    property(4, some, |contributions| {
        let (winner, pair) = shown(&contributions);
        let winner = contributions[winner];
        prop_assert_eq!(pair, winner.shown_alone());
        for other in contributions.iter().copied() {
            prop_assert!(beats(winner, other), "{:?} beats {:?}", winner, other);
            prop_assert!(key(winner) >= key(other));
        }
        Ok(())
    });
}
