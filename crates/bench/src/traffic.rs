//! What the load generator asks: requests as values, made one after another from a seed.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::world::{APP, user};

/// What kind of requests a client makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// `GET /users/{id}/presence` of anybody.
    GetOne,
    /// `setPresence` with what the session says already, for anybody.
    Refresh,
    /// `setPresence` with something else each time: every request changes what is shown.
    Change,
    /// `getPresencesByUserId` for so many people.
    Batch(usize),
    /// `setPresence` of everybody once: see [`Client::arriving`].
    Arrive,
    /// 70 % batch reads of 50, 20 % refreshes, 10 % changes.
    MixedDay,
}

/// People one client changes in turn; a second round over them says the opposite of the first.
const PEOPLE_OF_A_CLIENT: u64 = 512;
/// What changes say in one round, and in the next: no two of them are the same, nor what people said before.
const CHANGES: [[(&str, &str); 2]; 2] = [
    [("Busy", "InACall"), ("Busy", "InAConferenceCall")],
    [("DoNotDisturb", "Presenting"), ("Away", "Away")],
];
/// People in a batch read of the mixed day.
pub(crate) const MIXED_BATCH: usize = 50;

/// A request, ready to be written in either version of HTTP.
#[derive(Debug, Default)]
pub(crate) struct Ask {
    pub(crate) is_post: bool,
    pub(crate) path: String,
    pub(crate) body: String,
}

/// A pseudo-random sequence: splitmix64, which the same seed always repeats.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// One client: what it asks next.
#[derive(Debug)]
pub(crate) struct Client {
    traffic: Traffic,
    people: u64,
    number: u64,
    changes: u64,
    /// What a change says, and the next one of the same person.
    says: [(&'static str, &'static str); 2],
    random: Random,
    tokens: Arc<Tokens>,
    /// How many have arrived, or are about to.
    arrived: Arc<AtomicU64>,
}

/// The tokens that clients show.
#[derive(Debug)]
pub(crate) struct Tokens {
    all: Vec<String>,
    /// How many are used up, where each counts once.
    taken: Option<AtomicUsize>,
}

impl Tokens {
    /// One for everybody, always.
    pub(crate) fn one(token: String) -> Arc<Self> {
        Arc::new(Self { all: vec![token], taken: None })
    }

    /// Each for one request, as far as they go.
    pub(crate) fn each_once(all: Vec<String>) -> Arc<Self> {
        Arc::new(Self { all, taken: Some(AtomicUsize::new(0)) })
    }

    /// The first, which nobody has used up.
    pub(crate) fn first(&self) -> &str {
        &self.all[0]
    }

    fn next(&self) -> &str {
        let place = self.taken.as_ref().map_or(0, |taken| taken.fetch_add(1, Ordering::Relaxed));
        &self.all[place % self.all.len()]
    }
}

impl Client {
    /// Client `number` of a population of `people`.
    pub(crate) fn new(traffic: Traffic, people: u64, number: u64, tokens: Arc<Tokens>) -> Self {
        let (changes, says) = (0, CHANGES[0]);
        let arrived = Arc::default();
        Self { traffic, people, number, changes, says, random: Random::new(number), tokens, arrived }
    }

    /// So many clients, of whom each takes the next person who has not arrived yet, until everybody has.
    pub(crate) fn arriving(clients: u64, people: u64, tokens: &Arc<Tokens>) -> Vec<Self> {
        let arrived = Arc::new(AtomicU64::new(0));
        let client = |number| Self {
            arrived: Arc::clone(&arrived),
            ..Self::new(Traffic::Arrive, people, number, Arc::clone(tokens))
        };
        (0..clients).map(client).collect()
    }

    /// The same in a later round: what it says is not what the round before has left behind.
    pub(crate) fn in_round(self, round: usize) -> Self {
        Self { says: CHANGES[round % CHANGES.len()], ..self }
    }

    /// The token of the next request.
    pub(crate) fn token(&self) -> &str {
        self.tokens.next()
    }

    /// Writes the next request over the last one. Returns whether there is one.
    pub(crate) fn ask(&mut self, ask: &mut Ask) -> bool {
        ask.path.clear();
        ask.body.clear();
        match self.traffic {
            Traffic::GetOne => self.get_one(ask),
            Traffic::Refresh => self.refresh(ask),
            Traffic::Change => self.change(ask),
            Traffic::Arrive => {
                let somebody = self.arrived.fetch_add(1, Ordering::Relaxed);
                if somebody >= self.people {
                    return false;
                }
                set(ask, somebody, "Available", "Available");
            }
            Traffic::Batch(size) => self.batch(ask, size),
            Traffic::MixedDay => match self.random.below(10) {
                0..7 => self.batch(ask, MIXED_BATCH),
                7..9 => self.refresh(ask),
                _ => self.change(ask),
            },
        }
        true
    }

    fn get_one(&mut self, ask: &mut Ask) {
        let anybody = user(self.random.below(self.people));
        ask.is_post = false;
        put(&mut ask.path, format_args!("/v1.0/users/{anybody}/presence"));
    }

    fn refresh(&mut self, ask: &mut Ask) {
        let anybody = self.random.below(self.people);
        set(ask, anybody, "Available", "Available");
    }

    fn change(&mut self, ask: &mut Ask) {
        let (round, place) = (self.changes / PEOPLE_OF_A_CLIENT, self.changes % PEOPLE_OF_A_CLIENT);
        self.changes += 1;
        let somebody = (self.number * PEOPLE_OF_A_CLIENT + place) % self.people;
        let (availability, activity) = self.says[(round % 2) as usize];
        set(ask, somebody, availability, activity);
    }

    fn batch(&mut self, ask: &mut Ask, size: usize) {
        ask.is_post = true;
        ask.path.push_str("/v1.0/communications/getPresencesByUserId");
        // Neighbours of a random start, in the order of their numbers: their ids are as random as any.
        let start = self.random.below(self.people);
        ask.body.push_str("{\"ids\":[");
        for offset in 0..size as u64 {
            let somebody = user((start + offset) % self.people);
            put(&mut ask.body, format_args!("{}\"{somebody}\"", if offset == 0 { "" } else { "," }));
        }
        ask.body.push_str("]}");
    }
}

fn set(ask: &mut Ask, person: u64, availability: &str, activity: &str) {
    let person = user(person);
    ask.is_post = true;
    put(&mut ask.path, format_args!("/v1.0/users/{person}/presence/setPresence"));
    put(
        &mut ask.body,
        format_args!(
            "{{\"sessionId\":\"{APP}\",\"availability\":\"{availability}\",\"activity\":\"{activity}\",\
             \"expirationDuration\":\"PT1H\"}}"
        ),
    );
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes everything");
}

impl Ask {
    /// Writes the request as HTTP/1.1 over what is in `out`.
    pub(crate) fn write_http1(&self, out: &mut Vec<u8>, token: &str) {
        out.clear();
        let method: &[u8] = if self.is_post { b"POST " } else { b"GET " };
        for part in [
            method,
            self.path.as_bytes(),
            b" HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ",
            token.as_bytes(),
            b"\r\naccept: application/json\r\n",
        ] {
            out.extend_from_slice(part);
        }
        if self.is_post {
            let mut length = String::with_capacity(64);
            let bytes = self.body.len();
            put(&mut length, format_args!("content-type: application/json\r\ncontent-length: {bytes}\r\n"));
            out.extend_from_slice(length.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_asks_the_same_and_every_change_is_one() {
        let asked = |traffic| {
            let mut client = Client::new(traffic, 1_000, 3, Tokens::one("t".to_owned()));
            let mut ask = Ask::default();
            let requests = (0..PEOPLE_OF_A_CLIENT * 2).map(|_| {
                assert!(client.ask(&mut ask));
                (ask.path.clone(), ask.body.clone())
            });
            requests.collect::<Vec<_>>()
        };
        assert_eq!(asked(Traffic::MixedDay), asked(Traffic::MixedDay));
        let changes = asked(Traffic::Change);
        let (first, second) = changes.split_at(PEOPLE_OF_A_CLIENT as usize);
        for ((path, body), (path_again, body_again)) in first.iter().zip(second) {
            assert_eq!(path, path_again);
            assert_ne!(body, body_again);
        }
    }

    #[test]
    fn everybody_arrives_once() {
        let mut clients = Client::arriving(3, 100, &Tokens::one("t".to_owned()));
        let mut ask = Ask::default();
        let mut arrived = std::collections::HashSet::new();
        // The second is three times as fast as the others.
        for turn in [0, 1, 1, 1, 2].into_iter().cycle() {
            if !clients[turn].ask(&mut ask) {
                break;
            }
            assert!(arrived.insert(ask.path.clone()));
        }
        assert_eq!(arrived.len(), 100);
        assert!(clients.iter_mut().all(|client| !client.ask(&mut ask)));
    }

    #[test]
    fn tokens_that_count_once_are_used_up_in_turn() {
        let tokens = Tokens::each_once(["a", "b"].map(str::to_owned).to_vec());
        assert_eq!([tokens.first(), tokens.next(), tokens.next(), tokens.next()], ["a", "a", "b", "a"]);
    }
}
