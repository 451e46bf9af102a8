//! Presence sessions that devices hold: what is to be written now, without store or sockets.
//!
//! A session is written with the shortest life and again well before it ends or fades, as long as its device is there. So
//! whatever happens to the device, the broker or this process, nobody is shown as busy for long on account of it.

use std::collections::HashMap;

use graph::mqtt::Asked;
use jiff::SignedDuration;
use presence::{AppId, SessionPair, Timestamp, UserId};

use super::mapping::Said;

/// Sessions held for one tenant at most, and devices known to be gone. Ours.
pub const SESSIONS_HELD_MAX: usize = 10_000;
/// Sessions written at a time. Together they make one group in the store.
pub(super) const WRITES_MAX: usize = 64;
/// How often a session is written again: before it fades and before its five minutes are over.
const REFRESH: SignedDuration = SignedDuration::from_secs(120);
/// How long after a write that failed it is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(1);

/// Whose session, of which application.
pub(super) type Key = (UserId, AppId);

/// What is to be done about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// Set it to this, until it is written again.
    Set(SessionPair),
    /// End it.
    End,
}

/// A write and what it was decided from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) key: Key,
    pub(super) write: Write,
    generation: u64,
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Something is to be written.
    News,
    /// As before; it counts for longer.
    Same,
    /// The device is gone, so what it said once does not count.
    Ignored,
    /// No more can be held.
    Full,
}

#[derive(Debug, Default)]
pub(super) struct Held {
    sessions: HashMap<Key, Session>,
    /// Devices that are gone, and what the broker remembers of them.
    gone: HashMap<Key, Option<SessionPair>>,
    generations: u64,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    pair: SessionPair,
    is_ending: bool,
    /// When what the device said no longer counts; `None`: when it is gone.
    until: Option<Timestamp>,
    /// When it is to be written, at the latest.
    write_at: Timestamp,
    generation: u64,
}

impl Session {
    fn due_at(&self) -> Timestamp {
        self.until.map_or(self.write_at, |until| until.min(self.write_at))
    }
}

impl Held {
    /// Takes what a device says. It counts for `keep_alive`.
    pub(super) fn take(
        &mut self,
        key: Key,
        said: Said,
        is_retained: bool,
        keep_alive: Option<SignedDuration>,
        now: Timestamp,
    ) -> Taken {
        match said {
            Said::Gone => {
                if self.gone.len() >= SESSIONS_HELD_MAX && !self.gone.contains_key(&key) {
                    return Taken::Full;
                }
                // What the broker remembers of it holds again when the device is back.
                let remembered = self.gone.remove(&key).flatten();
                self.gone.insert(key, remembered);
                self.end(key, now)
            }
            Said::There => match self.gone.remove(&key) {
                Some(Some(pair)) => self.hold(key, pair, keep_alive, now),
                Some(None) => Taken::Same,
                // A sign of life: what it said before still counts.
                None => match self.sessions.get_mut(&key) {
                    Some(session) if !session.is_ending => {
                        session.until = until(keep_alive, now);
                        Taken::Same
                    }
                    _ => Taken::Same,
                },
            },
            Said::Asked(Asked::Hold(pair)) => {
                match self.gone.get_mut(&key) {
                    Some(remembered) if is_retained => {
                        *remembered = Some(pair);
                        return Taken::Ignored;
                    }
                    _ => drop(self.gone.remove(&key)),
                }
                self.hold(key, pair, keep_alive, now)
            }
            Said::Asked(Asked::End) => {
                if let Some(remembered) = self.gone.get_mut(&key) {
                    *remembered = None;
                }
                self.end(key, now)
            }
        }
    }

    fn hold(
        &mut self,
        key: Key,
        pair: SessionPair,
        keep_alive: Option<SignedDuration>,
        now: Timestamp,
    ) -> Taken {
        let until = until(keep_alive, now);
        if let Some(session) = self.sessions.get_mut(&key).filter(|session| session.pair == pair)
            && !session.is_ending
            && session.until.is_none_or(|until| now < until)
        {
            session.until = until;
            return Taken::Same;
        }
        self.put(key, Session { pair, is_ending: false, until, write_at: now, generation: 0 })
    }

    fn end(&mut self, key: Key, now: Timestamp) -> Taken {
        match self.sessions.get(&key) {
            Some(session) if session.is_ending => Taken::Same,
            Some(session) => {
                let session = Session { is_ending: true, until: None, write_at: now, ..*session };
                self.put(key, session)
            }
            // Held before a restart, perhaps.
            None => {
                let pair = SessionPair::Available;
                self.put(key, Session { pair, is_ending: true, until: None, write_at: now, generation: 0 })
            }
        }
    }

    fn put(&mut self, key: Key, session: Session) -> Taken {
        if self.sessions.len() >= SESSIONS_HELD_MAX && !self.sessions.contains_key(&key) {
            return Taken::Full;
        }
        self.generations += 1;
        self.sessions.insert(key, Session { generation: self.generations, ..session });
        Taken::News
    }

    /// What is to be written at `now`, at most [`WRITES_MAX`].
    pub(super) fn due(&self, now: Timestamp) -> Vec<Due> {
        let due = self.sessions.iter().filter(|(_, session)| session.due_at() <= now);
        due.take(WRITES_MAX)
            .map(|(key, session)| {
                let has_ended = session.is_ending || session.until.is_some_and(|until| until <= now);
                let write = if has_ended { Write::End } else { Write::Set(session.pair) };
                Due { key: *key, write, generation: session.generation }
            })
            .collect()
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.sessions.values().map(Session::due_at).min()
    }

    /// A write was carried out, or is of no use.
    pub(super) fn done(&mut self, due: &Due, now: Timestamp) {
        let Some(session) = self.sessions.get_mut(&due.key) else { return };
        if session.generation != due.generation {
            return; // The device has changed its mind meanwhile.
        }
        match due.write {
            Write::Set(_) => session.write_at = later(now, REFRESH),
            // A keep-alive that was renewed while it was running out: the session comes back.
            Write::End if !session.is_ending && session.until.is_none_or(|until| now < until) => {
                session.write_at = now;
            }
            Write::End => drop(self.sessions.remove(&due.key)),
        }
    }

    /// A write failed: again in a while.
    pub(super) fn failed(&mut self, due: &Due, now: Timestamp) {
        if let Some(session) = self.sessions.get_mut(&due.key) {
            let again = later(now, RETRY);
            session.write_at = again;
            if session.until.is_some_and(|until| until <= now) {
                (session.is_ending, session.until) = (true, None);
            }
        }
    }

    /// The broker is gone, and with it whoever would tell that a device is. What counted until its device's last will counts
    /// for the life of a session now.
    pub(super) fn disconnected(&mut self, now: Timestamp) {
        let until = later(now, presence::limits::SESSION_LIFETIME_MIN);
        for session in self.sessions.values_mut().filter(|session| !session.is_ending) {
            session.until.get_or_insert(until);
        }
        // Who is gone is told again with the next connection.
        self.gone.clear();
    }

    /// Sessions that are held.
    pub(super) fn len(&self) -> usize {
        self.sessions.values().filter(|session| !session.is_ending).count()
    }
}

fn until(keep_alive: Option<SignedDuration>, now: Timestamp) -> Option<Timestamp> {
    keep_alive.map(|keep_alive| later(now, keep_alive))
}

fn later(now: Timestamp, duration: SignedDuration) -> Timestamp {
    now.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = (UserId::from_u128(1), AppId::from_u128(2));
    const CALL: Said = Said::Asked(Asked::Hold(SessionPair::InACall));
    const HERE: Said = Said::Asked(Asked::Hold(SessionPair::Available));
    const CLEAR: Said = Said::Asked(Asked::End);
    const MINUTE: Option<SignedDuration> = Some(SignedDuration::from_secs(60));

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_772_438_400 + seconds).unwrap()
    }

    /// Writes what is due, and says what that was.
    fn write(held: &mut Held, now: Timestamp) -> Vec<Write> {
        let due = held.due(now);
        due.iter().for_each(|due| held.done(due, now));
        due.into_iter().map(|due| due.write).collect()
    }

    #[test]
    fn a_session_is_written_again_while_its_device_is_heard_of_and_ends_with_the_keep_alive() {
        let mut held = Held::default();
        assert_eq!(held.take(KEY, HERE, false, MINUTE, at(0)), Taken::News);
        assert_eq!(write(&mut held, at(0)), [Write::Set(SessionPair::Available)]);
        for second in (30..=120).step_by(30) {
            assert_eq!(held.take(KEY, HERE, false, MINUTE, at(second)), Taken::Same);
        }
        assert_eq!(write(&mut held, at(119)), []);
        assert_eq!(write(&mut held, at(120)), [Write::Set(SessionPair::Available)], "before it fades");
        assert_eq!(held.next_due(), Some(at(180)));
        assert_eq!(write(&mut held, at(180)), [Write::End]);
        assert_eq!((held.len(), held.next_due()), (0, None));
    }

    #[test]
    fn a_last_will_ends_a_session_and_a_device_that_is_back_has_it_again() {
        let mut held = Held::default();
        held.take(KEY, CALL, true, None, at(0));
        assert_eq!(write(&mut held, at(0)), [Write::Set(SessionPair::InACall)]);
        assert_eq!(held.next_due(), Some(at(120)), "no keep-alive: until the will");
        assert_eq!(held.take(KEY, Said::Gone, false, None, at(1)), Taken::News);
        assert_eq!(write(&mut held, at(1)), [Write::End]);
        assert_eq!(held.take(KEY, Said::There, false, None, at(2)), Taken::Same, "it has said nothing yet");
        assert_eq!(held.take(KEY, CALL, false, None, at(3)), Taken::News);
        // After a connection the broker tells what it remembers, in any order.
        let mut held = Held::default();
        assert_eq!(held.take(KEY, Said::Gone, true, None, at(0)), Taken::News);
        assert_eq!(held.take(KEY, CALL, true, None, at(0)), Taken::Ignored);
        assert_eq!(write(&mut held, at(0)), [Write::End]);
        assert_eq!(held.take(KEY, Said::There, false, None, at(9)), Taken::News);
        assert_eq!(write(&mut held, at(9)), [Write::Set(SessionPair::InACall)]);
    }

    #[test]
    fn without_the_broker_what_would_count_for_ever_counts_for_five_minutes() {
        let mut held = Held::default();
        held.take(KEY, CALL, false, None, at(0));
        write(&mut held, at(0));
        held.disconnected(at(10));
        assert_eq!(write(&mut held, at(120)).len(), 1);
        // Heard of again in time: it goes on.
        held.take(KEY, Said::There, true, None, at(100));
        assert_eq!(write(&mut held, at(311)), [Write::Set(SessionPair::InACall)]);
        held.disconnected(at(400));
        assert_eq!(write(&mut held, at(700)), [Write::End]);
    }

    #[test]
    fn a_flood_of_the_same_writes_nothing_and_of_changes_only_the_last() {
        let mut held = Held::default();
        held.take(KEY, CALL, false, MINUTE, at(0));
        write(&mut held, at(0));
        for _ in 0..10_000 {
            assert_eq!(held.take(KEY, CALL, false, MINUTE, at(1)), Taken::Same);
        }
        assert_eq!(held.due(at(1)), []);
        for _ in 0..10_000 {
            held.take(KEY, HERE, false, MINUTE, at(1));
            held.take(KEY, CALL, false, MINUTE, at(1));
            held.take(KEY, CLEAR, false, MINUTE, at(1));
            held.take(KEY, HERE, false, MINUTE, at(1));
        }
        assert_eq!(write(&mut held, at(1)), [Write::Set(SessionPair::Available)]);
        assert_eq!(held.sessions.len(), 1);
    }

    #[test]
    fn what_changes_while_it_is_written_is_written_after_it_and_what_failed_again() {
        let mut held = Held::default();
        held.take(KEY, CALL, false, MINUTE, at(0));
        let due = held.due(at(0));
        held.take(KEY, CLEAR, false, MINUTE, at(0));
        held.done(&due[0], at(0));
        let due = held.due(at(0));
        assert_eq!(due[0].write, Write::End);
        held.failed(&due[0], at(0));
        assert_eq!(held.due(at(0)), []);
        assert_eq!(write(&mut held, at(1)), [Write::End]);
        assert_eq!(held.next_due(), None);
    }

    #[test]
    fn no_more_sessions_are_held_than_there_is_room_for() {
        let mut held = Held::default();
        for user in 0..SESSIONS_HELD_MAX as u128 {
            held.take((UserId::from_u128(user), KEY.1), CALL, false, MINUTE, at(0));
        }
        let other = (UserId::from_u128(u128::MAX), KEY.1);
        assert_eq!(held.take(other, CALL, false, MINUTE, at(0)), Taken::Full);
        assert_eq!(held.due(at(0)).len(), WRITES_MAX);
    }
}
