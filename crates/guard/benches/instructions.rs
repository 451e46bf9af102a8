//! Instructions of the hot paths, counted by callgrind: the same on a quiet machine and a busy one. More than 5 % above
//! what is written here fails. Whoever makes a path dearer on purpose raises its number and says why in the commit; whoever
//! makes it cheaper lowers it, or the next one can spend what was won.
//!
//! `cargo bench -p guard`, with valgrind and the `gungraun-runner` of the version in Cargo.lock.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]

use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;

use engine::{ClockState, Engine, SystemClock, VirtualClock};
use futures_util::FutureExt;
use futures_util::future::join_all;
use graph::json::Body;
use graph::odata::{Query, ServiceRoot, presence_select};
use graph::path::Route;
use graph::presence_reply::{PresenceList, Reader, Shape, write_presence};
use graph::{Method, presence_request as request};
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use jiff::SignedDuration;
use presence::{
    AppId, Command, Presence, SessionLifetime, SessionPair, TenantId, Timestamp, UserId, UserKey,
    UserPresence,
};
use store::disk::SimulatedDisk;
use store::{Asked, Embedded, Hint, Memory, Options, Store};

/// Instructions of each path when it was last looked at.
const ANSWER: u64 = 1_527;
const APPLY: u64 = 1_860;
const READ_ONE: u64 = 4_725;
const READ_650: u64 = 860_516;
const WRITE: u64 = 17_811;
/// How much dearer a path may become unnoticed, in hundredths.
const TOLERANCE_PERCENT: u64 = 5;

const TENANT: TenantId = TenantId::from_u128(1);
const ID: &str = "3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e";
const APP: &str = "22553876-f5ab-4529-bffb-cfe50aa89f87";
const PEOPLE: u128 = 650;

fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let limit = instructions + instructions * TOLERANCE_PERCENT / 100;
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(Callgrind::default().hard_limits([(EventKind::Ir, limit)]));
    config
}

/// A person with three applications, one of them fading.
fn person() -> (UserPresence, Timestamp) {
    let now: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
    let mut person = UserPresence::default();
    for (app, pair) in [SessionPair::Available, SessionPair::Away, SessionPair::InACall].iter().enumerate() {
        person.apply(set(AppId::from_u128(app as u128 + 1), *pair), now).unwrap();
    }
    (person, now + SignedDuration::from_mins(7))
}

fn set(app: AppId, pair: SessionPair) -> Command {
    Command::SetPresence { app, pair, lifetime: SessionLifetime::default() }
}

/// An engine over a store in which everybody is present, at a time that stands.
fn engine(store: Arc<dyn Store>) -> Engine {
    let clock = VirtualClock::new(Arc::new(SystemClock::new(None)), ClockState::default());
    clock.freeze();
    let engine = Engine::new(store, Arc::new(clock));
    let everybody = (0..PEOPLE).map(UserId::from_u128).chain([ID.parse().unwrap()]);
    let present =
        join_all(
            everybody.map(|user| {
                let key = UserKey { tenant: TENANT, user };
                let engine = &engine;
                async move {
                    engine.execute(key, set(APP.parse().unwrap(), SessionPair::Available)).await.unwrap()
                }
            }),
        );
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(present);
    // What is made at the first request is not part of every one.
    Route::parse("/v1.0/me").unwrap();
    engine
}

/// Over the store of a server, which reads without waiting.
fn on_disk() -> Engine {
    let (store, _) = Embedded::open_on(Arc::new(SimulatedDisk::new(1)), Options::default()).unwrap();
    engine(Arc::new(store))
}

/// Over memory: the store of a server writes in a thread of its own, whose instructions depend on when it runs.
fn in_memory() -> Engine {
    engine(Arc::new(Memory::default()))
}

/// Reading never waits, nor does writing to memory.
fn ready<T>(step: impl Future<Output = T>) -> T {
    step.now_or_never().unwrap()
}

/// With hints of where these people are, as a directory has them once somebody has asked.
fn on_disk_and_hints(people: impl Iterator<Item = UserId>) -> (Engine, Vec<Hint>) {
    let people: Vec<UserId> = people.collect();
    let (engine, hints) = (on_disk(), vec![Hint::default(); people.len()]);
    ready(engine.show(&asked(&people, &hints), |_, _| {})).unwrap();
    (engine, hints)
}

fn asked<'a>(people: &[UserId], hints: &'a [Hint]) -> Vec<Asked<'a>> {
    let key = |user: &UserId| UserKey { tenant: TENANT, user: *user };
    people.iter().zip(hints).map(|(user, hint)| Asked { user: key(user), hint }).collect()
}

fn present() -> (Engine, Vec<Hint>) {
    on_disk_and_hints(std::iter::once(ID.parse().unwrap()))
}

fn many_present() -> (Engine, Vec<Hint>, String) {
    let ids = (0..PEOPLE).map(|number| format!("\"{}\"", UserId::from_u128(number)));
    let body = format!("{{\"ids\":[{}]}}", ids.collect::<Vec<_>>().join(","));
    let (engine, hints) = on_disk_and_hints((0..PEOPLE).map(UserId::from_u128));
    (engine, hints, body)
}

fn json(bytes: &str) -> Body<'_> {
    Body { content_type: Some("application/json"), content_encoding: None, bytes: bytes.as_bytes() }
}

// The rules: what everyone sees, and when to look again.
#[library_benchmark(config = at_most(ANSWER))]
#[bench::three_sessions(person())]
fn answer((person, now): (UserPresence, Timestamp)) -> bool {
    black_box(person.at(now));
    person.next_change(now).is_some()
}

// The rules: one command.
#[library_benchmark(config = at_most(APPLY))]
#[bench::refresh(person())]
fn apply((mut person, now): (UserPresence, Timestamp)) -> UserPresence {
    person.apply(set(AppId::from_u128(1), SessionPair::Available), now).unwrap();
    person
}

// `GET /users/{id}/presence` from its path to its body.
#[library_benchmark(config = at_most(READ_ONE))]
#[bench::present(present())]
fn read_one((engine, hints): (Engine, Vec<Hint>)) -> (Engine, Vec<Hint>, Vec<u8>) {
    let route = Route::parse(black_box("/v1.0/users/3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e/presence")).unwrap();
    route.operation(Method::Get).unwrap();
    let query = Query::parse("").unwrap();
    let select = presence_select(&query).unwrap();
    let level = query.metadata_level(Some("application/json"));
    let service = ServiceRoot::new("https://presence.example.org", route.root);
    let shape = Shape { service: &service, select: &select, level };
    let user = ID.parse().unwrap();
    let mut out = Vec::with_capacity(1_024);
    let write = |_, presence: &Presence<'_>| {
        let address = route.address.as_ref().unwrap();
        write_presence(&mut out, &shape, address, user, presence, Reader::Other);
    };
    let asked = Asked { user: UserKey { tenant: TENANT, user }, hint: &hints[0] };
    ready(engine.show(&[asked], write)).unwrap();
    (engine, hints, out)
}

// `getPresencesByUserId` with as many ids as Graph takes.
#[library_benchmark(config = at_most(READ_650))]
#[bench::present(many_present())]
fn read_650((engine, hints, ids): (Engine, Vec<Hint>, String)) -> (Engine, Vec<Hint>, Vec<u8>) {
    let route = Route::parse(black_box("/v1.0/communications/getPresencesByUserId")).unwrap();
    route.operation(Method::Post).unwrap();
    let query = Query::parse("").unwrap();
    let select = presence_select(&query).unwrap();
    let level = query.metadata_level(None);
    let users = request::get_presences_by_user_id(json(&ids), 650).unwrap();
    let asked = asked(&users, &hints);
    let service = ServiceRoot::new("https://presence.example.org", route.root);
    let mut list =
        PresenceList::new(Shape { service: &service, select: &select, level }, users.len(), Vec::new());
    let write = |place: usize, presence: &Presence<'_>| {
        list.push(users[place], presence, Reader::Other);
    };
    ready(engine.show(&asked, write)).unwrap();
    (engine, hints, list.finish())
}

// `setPresence` from its path to the store.
#[library_benchmark(config = at_most(WRITE))]
#[bench::refresh(in_memory())]
fn write(engine: Engine) -> Engine {
    let path = black_box("/v1.0/users/3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e/presence/setPresence");
    let route = Route::parse(path).unwrap();
    route.operation(Method::Post).unwrap();
    let body = "{\"sessionId\":\"22553876-f5ab-4529-bffb-cfe50aa89f87\",\"availability\":\"Available\",\
                \"activity\":\"Available\",\"expirationDuration\":\"PT1H\"}";
    let command = request::set_presence(json(black_box(body)), APP.parse().unwrap()).unwrap();
    let user = UserKey { tenant: TENANT, user: ID.parse().unwrap() };
    ready(engine.execute(user, command)).unwrap();
    engine
}

library_benchmark_group!(name = rules, benchmarks = [answer, apply]);
library_benchmark_group!(name = paths, benchmarks = [read_one, read_650, write]);
main!(library_benchmark_groups = [rules, paths]);
