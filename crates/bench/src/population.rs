//! People and their day: who is where, when they arrive, meet, eat and leave, whose link is bad, and what their
//! applications tell the server about it. A function of a seed: the same seed gives the same day.
//!
//! The figures are plausible, not measured: three sites round the globe, early, usual and late shifts, one in seven away
//! for the day, none to five meetings, a lunch during which nobody clears anything and presence fades by itself, one to
//! four applications, one person in thirty with a link that drops, and one in five who leaves without signing off.

use jiff::SignedDuration;
use presence::{AppId, Command, SessionLifetime, SessionPair};

use crate::traffic::Random;

/// Seconds of the day.
pub(crate) const DAY_SECS: u32 = 24 * 60 * 60;
/// Hours that the sites' clocks are ahead of the simulated one, and how many of a hundred people work there.
const SITES: [(u32, u64); 3] = [(0, 45), (8, 30), (16, 25)];
/// When a shift begins, in minutes of the local day, and how many of a hundred people have it.
const SHIFTS: [(u32, u64); 3] = [(6 * 60, 10), (8 * 60 + 30, 80), (13 * 60, 10)];
/// Length of a shift, in minutes.
const SHIFT_MINUTES: u32 = 8 * 60 + 30;
/// Seconds between the drops of a bad link, about.
const DROP_SECS: u64 = 40 * 60;

/// What an application reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Report {
    /// Somebody is there.
    Available,
    /// In a call or a meeting.
    InACall,
    /// Signing off.
    Gone,
}

/// One report of one person's application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Event(u64);

impl Event {
    fn new(second: u32, person: u32, app: u8, report: Report) -> Self {
        let low = u64::from(person) << 8 | u64::from(app) << 4 | report as u64;
        Self(u64::from(second % DAY_SECS) << 40 | low)
    }

    /// When, in seconds of the day.
    pub(crate) fn second(self) -> u32 {
        (self.0 >> 40) as u32
    }

    pub(crate) fn person(self) -> u64 {
        self.0 >> 8 & 0xffff_ffff
    }

    /// As the server hears it.
    pub(crate) fn command(self, lifetime: SessionLifetime) -> Command {
        let app = app(self.0 >> 4 & 0xf);
        match self.0 & 0xf {
            0 => Command::SetPresence { app, pair: SessionPair::Available, lifetime },
            1 => Command::SetPresence { app, pair: SessionPair::InACall, lifetime },
            _ => Command::ClearPresence { app },
        }
    }
}

/// Application `number` of a person.
pub(crate) fn app(number: u64) -> AppId {
    AppId::from_u128(0x8000_0000_0000_4000_8000_0000_0001_0000 + u128::from(number))
}

/// How long a report of the population holds: a working morning.
pub(crate) fn lifetime() -> anyhow::Result<SessionLifetime> {
    Ok(SessionLifetime::new(SignedDuration::from_hours(4))?)
}

/// Everything `people` people report in a day, in order.
pub(crate) fn day(seed: u64, people: u32) -> Vec<Event> {
    let mut events = Vec::new();
    for person in 0..people {
        one_day(&mut Random::new(seed ^ u64::from(person) << 20), person, &mut events);
    }
    events.sort_unstable();
    events
}

fn one_day(random: &mut Random, person: u32, events: &mut Vec<Event>) {
    if random.below(7) == 0 {
        return;
    }
    let ahead = choose(random, &SITES);
    let begins = choose(random, &SHIFTS) * 60 + random.below(60 * 60) as u32;
    let begins = begins + DAY_SECS - ahead * 60 * 60;
    let ends = begins + SHIFT_MINUTES * 60 + random.below(40 * 60) as u32;
    let lunch = begins + 3 * 60 * 60 + random.below(90 * 60) as u32;
    let back = lunch + 30 * 60 + random.below(30 * 60) as u32;
    let apps = 1 + [0, 0, 0, 0, 1, 1, 1, 2, 2, 3][random.below(10) as usize];
    let mut tell = |second, app, report| events.push(Event::new(second, person, app, report));
    for app in 0..apps {
        let delay = u32::from(app) * 90;
        tell(begins + delay, app, Report::Available);
        tell(back + delay, app, Report::Available);
    }
    for _ in 0..random.below(6) {
        let slot = begins / 1800 + random.below(u64::from(SHIFT_MINUTES / 30)) as u32;
        let start = slot * 1800 + random.below(120) as u32;
        let end = start + [25, 25, 30, 55, 60][random.below(5) as usize] * 60;
        if start > begins && end < ends && !(lunch..back).contains(&start) {
            tell(start, 0, Report::InACall);
            tell(end, 0, Report::Available);
        }
    }
    // Between all that, people touch their keyboards now and then.
    let mut next = begins;
    while next < ends {
        next += 10 * 60 + random.below(30 * 60) as u32;
        if next < ends && !(lunch..back).contains(&next) {
            tell(next, 0, Report::Available);
        }
    }
    if random.below(30) == 0 {
        let mut drop = begins;
        while drop < ends {
            drop += (DROP_SECS / 2 + random.below(DROP_SECS)) as u32;
            tell(drop, 0, Report::Gone);
            tell(drop + 5 + random.below(90) as u32, 0, Report::Available);
        }
    }
    if random.below(5) > 0 {
        for app in 0..apps {
            tell(ends, app, Report::Gone);
        }
    }
}

fn choose(random: &mut Random, of: &[(u32, u64)]) -> u32 {
    let mut left = random.below(of.iter().map(|(_, weight)| weight).sum());
    for (value, weight) in of {
        if left < *weight {
            return *value;
        }
        left -= weight;
    }
    of[0].0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_day_and_another_one_another() {
        assert_eq!(day(1, 500), day(1, 500));
        assert_ne!(day(1, 500), day(2, 500));
    }

    #[test]
    fn a_day_has_people_at_work_at_lunch_and_gone_in_order() {
        let events = day(7, 2_000);
        assert!(events.is_sorted());
        assert!(events.iter().all(|event| event.second() < DAY_SECS && event.person() < 2_000));
        let of = |report: Report| events.iter().filter(|event| event.0 & 0xf == report as u64).count();
        for report in [Report::Available, Report::InACall, Report::Gone] {
            assert!(of(report) > 1_000, "{report:?}: {}", of(report));
        }
        let people: std::collections::HashSet<u64> = events.iter().map(|event| event.person()).collect();
        assert!((1_600..1_850).contains(&people.len()), "one in seven is away: {}", people.len());
    }
}
