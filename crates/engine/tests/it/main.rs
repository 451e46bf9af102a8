//! The steps over a memory store and a clock that tests move.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod notify;
mod share;

use std::sync::Arc;

use engine::{Clock, ClockState, Engine, EngineError, SystemClock, TICK_BATCH_MAX, VirtualClock};
use jiff::SignedDuration;
use presence::{
    Activity, AppId, Command, NewStatusMessage, Pair, PresenceError, SessionLifetime, SessionPair,
    StatusText, TenantId, UserId, UserKey,
};
use store::{LogEntry, LogRead, Memory, Position};

struct World {
    engine: Arc<Engine>,
    clock: Arc<VirtualClock>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::new(Arc::new(SystemClock::new(None)), ClockState::default()));
        clock.freeze();
        let engine = Arc::new(Engine::new(Arc::new(Memory::default()), clock.clone()));
        Self { engine, clock }
    }

    async fn log(&self) -> Vec<LogEntry> {
        match self.engine.store().read_log(Position(0), usize::MAX).await.unwrap() {
            LogRead::Page { entries, .. } => entries,
            LogRead::Behind { .. } => panic!("nothing was to be forgotten"),
        }
    }

    async fn pair(&self, who: UserKey) -> Pair {
        let reading = self.engine.read(&[who]).await.unwrap();
        reading.users[0].at(reading.now).pair
    }
}

fn user(number: u128) -> UserKey {
    UserKey { tenant: TenantId::from_u128(1), user: UserId::from_u128(number) }
}

fn set(app: u128, pair: SessionPair) -> Command {
    Command::SetPresence { app: AppId::from_u128(app), pair, lifetime: SessionLifetime::default() }
}

#[tokio::test]
async fn a_command_is_visible_to_the_next_read_and_a_refused_one_is_not() {
    let world = World::new();
    world.engine.execute(user(1), set(1, SessionPair::InACall)).await.unwrap();
    assert_eq!(world.pair(user(1)).await, SessionPair::InACall.pair());
    assert_eq!(world.pair(user(2)).await, Pair::OFFLINE);
    let clear = Command::ClearPresence { app: AppId::from_u128(2) };
    let refused = world.engine.execute(user(1), clear).await;
    assert!(matches!(refused, Err(EngineError::Presence(PresenceError::SessionNotFound))), "{refused:?}");
    assert_eq!(world.pair(user(1)).await, SessionPair::InACall.pair());
}

#[tokio::test]
async fn reads_are_right_although_no_tick_ever_ran() {
    let world = World::new();
    world.engine.execute(user(1), set(1, SessionPair::InACall)).await.unwrap();
    world.clock.advance(SignedDuration::from_mins(5));
    assert_eq!(world.pair(user(1)).await, Pair::OFFLINE);
}

#[tokio::test]
async fn a_tick_settles_the_due_and_says_when_to_come_again() {
    let world = World::new();
    world.engine.execute(user(1), set(1, SessionPair::InACall)).await.unwrap();
    world.clock.advance(SignedDuration::from_mins(1));
    world.engine.execute(user(2), set(1, SessionPair::InACall)).await.unwrap();
    let before = world.engine.tick().await.unwrap();
    assert_eq!((before.settled, before.more), (0, false));
    assert!(before.next_wake.unwrap() <= world.clock.now() + SignedDuration::from_mins(4));

    world.clock.advance(SignedDuration::from_mins(4));
    assert_eq!(world.engine.tick().await.unwrap().settled, 1);
    let record = world.engine.store().load(&[user(1)]).await.unwrap().remove(0).presence;
    assert!(record.sessions.is_empty(), "an ended session is forgotten");
    assert_eq!(record.sequence_number, record.at(world.clock.now()).sequence_number);

    world.clock.advance(SignedDuration::from_mins(1));
    let last = world.engine.tick().await.unwrap();
    assert_eq!((last.settled, last.next_wake), (1, None));
}

#[tokio::test]
async fn more_users_than_one_batch_are_settled_by_as_many_ticks_as_it_takes() {
    let world = World::new();
    let users = TICK_BATCH_MAX + 10;
    for number in 0..users {
        world.engine.execute(user(number as u128 + 1), set(1, SessionPair::Away)).await.unwrap();
    }
    world.clock.advance(SignedDuration::from_hours(1));
    let first = world.engine.tick().await.unwrap();
    assert!(first.more && first.settled == TICK_BATCH_MAX);
    assert_eq!(world.engine.tick().await.unwrap().settled, 10);
}

#[tokio::test]
async fn many_applications_writing_one_user_at_once_all_succeed() {
    let world = World::new();
    let writes = (0..60).map(|app| {
        let engine = world.engine.clone();
        async move { engine.execute(user(1), set(app + 1, SessionPair::Away)).await }
    });
    for written in futures_util::future::join_all(writes).await {
        written.unwrap();
    }
    let record = world.engine.store().load(&[user(1)]).await.unwrap().remove(0);
    assert_eq!(record.presence.sessions.len(), 60);
    assert_eq!(record.version.0, 60);
}

#[tokio::test]
async fn a_command_that_falls_due_earlier_wakes_whoever_waits_for_a_later_one() {
    let world = World::new();
    let long = SessionLifetime::new(SignedDuration::from_hours(4)).unwrap();
    let far = Command::SetPresence { app: AppId::from_u128(1), pair: SessionPair::Away, lifetime: long };
    world.engine.execute(user(1), far).await.unwrap();
    let next_wake = world.engine.tick().await.unwrap().next_wake;
    let mut waiting = Box::pin(world.engine.until_due(next_wake));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    world.engine.execute(user(2), set(1, SessionPair::Away)).await.unwrap();
    waiting.await;
    let next_wake = world.engine.tick().await.unwrap().next_wake;
    let mut waiting = Box::pin(world.engine.until_due(next_wake));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    world.clock.advance(SignedDuration::from_mins(5));
    waiting.await;
}

#[tokio::test]
async fn hours_passed_in_one_step_are_one_entry_for_each_fade_and_expiry() {
    let world = World::new();
    let lifetime = SessionLifetime::new(SignedDuration::from_hours(1)).unwrap();
    for who in [user(1), user(2)] {
        let command =
            Command::SetPresence { app: AppId::from_u128(1), pair: SessionPair::Available, lifetime };
        world.engine.execute(who, command).await.unwrap();
    }
    let began = world.clock.now();
    world.clock.advance(SignedDuration::from_hours(8));
    world.engine.tick().await.unwrap();
    let mut seen: Vec<_> = world.log().await.into_iter().filter(|entry| entry.user == user(2)).collect();
    assert!(seen.is_sorted_by_key(|entry| entry.position));
    let seen: Vec<_> = seen
        .drain(..)
        .map(|LogEntry { change, .. }| {
            assert!(change.is_pair_changed);
            (change.at.duration_since(began).as_secs() / 60, change.sequence_number.0, change.pair.activity)
        })
        .collect();
    let expected = [
        (0, 1, Activity::Available),
        (5, 2, Activity::AvailableInactive),
        (10, 3, Activity::Away),
        (60, 4, Activity::Offline),
    ];
    assert_eq!(seen, expected);
    let again = world.engine.tick().await.unwrap();
    assert_eq!((again.settled, world.log().await.len()), (0, 8));
}

#[tokio::test]
async fn a_change_of_the_status_message_alone_is_an_entry_that_says_so() {
    let world = World::new();
    let message =
        NewStatusMessage { text: StatusText::new("Back at four").unwrap().unwrap(), expires_at: None };
    for _ in 0..2 {
        let command = Command::SetStatusMessage(Some(message.clone()));
        world.engine.execute(user(1), command).await.unwrap();
    }
    let log = world.log().await;
    assert!(!log.is_empty() && log.iter().all(|entry| !entry.change.is_pair_changed));
}
