//! What happens in a simulated world, as lines of text: the language of `presence`'s timelines, and who does it where.
//!
//! ```text
//! store embedded
//! 00:00     n1 start
//! 00:00     n1 subscribe s1 to ana,ben at r1
//! 00:10     n1 ana desk set Available/Available for 1h | hold 2
//! 00:20     n2 ana phone set Busy/InACall for 5m
//! 00:30     resume 1
//! 05:00     n2 tick | crash-before 3
//! ```
//!
//! | Line | Meaning |
//! |---|---|
//! | `store memory`, `store embedded`, `store shared`, `backlog every`, `backlog newest` | the world, before anything happens in it |
//! | `bounds small`, `give up <duration>` | queues are short; what could not be delivered for so long is given up |
//! | `<node> start`, `<node> crash`, `<node> power-loss`, `<node> stop` | a process comes and goes; the third takes the disk's unsynced bytes along, the last is asked to |
//! | `<node> pause`, `<node> suspend`, `<node> wake` | a process stands still; its machine with it, so that it does not know how long; it goes on |
//! | `<node> beat`, `<node> look` | of a shared store: the node says that it lives and takes leases; it looks for what others have written |
//! | `<node> clock <duration>` | the node's clock is ahead by this much of true time, or behind |
//! | `<node> <person> <command>` | one of the rules' commands, as `presence/src/timeline.rs` writes them |
//! | `<node> read <person>,..`, `<node> forget <person>` | the steps of these names |
//! | `<node> tick`, `<node> ticker` | a tick, and the loop of them |
//! | `<node> subscribe <sub> to <person>,.. at <receiver>`, `move <sub> to <receiver>`, `unsubscribe <sub>`, `replay <sub>` | subscriptions |
//! | `.. for <duration>`, `.. token <duration>`, in this order after `subscribe` or in `renew <sub>` | how long it lasts, and what it is authorized by |
//! | `<node> remove <sub>` | an operator ends it |
//! | `<node> pump`, `<node> plan`, `<node> save` | the steps of delivery |
//! | `answer <n> taken/refused/lied/late/silent` | what the receiver of the nth POST under way did |
//! | `carry`, `move house` | what is kept is carried into a store of the other kind, embedded or shared; everybody stops, and goes on there |
//! | `resume <n>` | the nth call that is held goes on |
//! | `failover` | the store's other half takes over, without what it was not sent yet |
//! | `engine clock <duration>` | the clock that leases are timed by is ahead by this much, or behind |
//! | `disk works`, `disk fails <n>`, `disk stops <n>`, `disk unsynced` | what the embedded store's disk will do |
//!
//! After `|` stands what befalls the calls that the step makes to the store, by their number: `hold <n>` (not sent until
//! it is resumed), `hold-reply <n>`, `lose <n>`, `lose-reply <n>`, `crash-before <n>`, `crash-after <n>`, and `storm <n>`
//! (its first n commits are told that somebody else was faster).

use std::fmt;

use jiff::SignedDuration;
use presence::{Command, Timestamp, UserKey};

use crate::timeline::{self, Action, BASE, Instant};

/// Who can be written about, read and watched.
pub(crate) const PEOPLE: [&str; 5] = ["ana", "ben", "eva", "kim", "lou"];

/// A person's key: the name is the identifier, in ASCII.
pub(crate) fn key(person: usize) -> UserKey {
    let user = timeline::app(PEOPLE[person]).as_u128();
    UserKey { tenant: presence::TenantId::from_u128(1), user: presence::UserId::from_u128(user) }
}

/// The person of a key.
pub(crate) fn person(of: UserKey) -> Option<usize> {
    (0..PEOPLE.len()).find(|person| key(*person) == of)
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    pub(crate) event: Event,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Store(StoreKind),
    /// Whether every change is kept while it cannot be delivered, or the newest.
    Backlog {
        every: bool,
    },
    /// All that can wait is bounded by a few.
    SmallBounds,
    GiveUp(SignedDuration),
    /// Into the store that is moved to, while nodes run.
    Carry,
    MoveHouse,
    Failover,
    EngineClock(SignedDuration),
    Resume(usize),
    Disk(DiskWill),
    Answer(usize, Answer),
    Node {
        node: usize,
        deed: Deed,
        fates: Vec<Fate>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Memory,
    Embedded,
    /// Several nodes share it, by leases.
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskWill {
    Works,
    /// One operation fails, so many from now.
    Fails(u64),
    /// All fail, from so many on.
    Stops(u64),
    /// No sync succeeds.
    Unsynced,
}

/// What a receiver did with a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Took it and said so.
    Taken,
    /// Did not take it and said so.
    Refused,
    /// Took it and said that it had not.
    Lied,
    /// Took it, and said nothing in time.
    Late,
    /// Did neither.
    Silent,
}

const ANSWERS: [(&str, Answer); 5] = [
    ("taken", Answer::Taken),
    ("refused", Answer::Refused),
    ("lied", Answer::Lied),
    ("late", Answer::Late),
    ("silent", Answer::Silent),
];

/// For how long a subscription is wanted or authorized; for good, or as it was, where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) lasts: Option<SignedDuration>,
    pub(crate) token: Option<SignedDuration>,
}

impl Terms {
    fn parse(words: &[&str]) -> Option<Self> {
        let (lasts, words) = match words {
            ["for", lasts, rest @ ..] => (Some(lasts.parse().ok()?), rest),
            rest => (None, rest),
        };
        match words {
            [] => Some(Self { lasts, token: None }),
            ["token", token] => Some(Self { lasts, token: Some(token.parse().ok()?) }),
            _ => None,
        }
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lasts) = self.lasts {
            write!(f, " for {lasts}")?;
        }
        self.token.map_or(Ok(()), |token| write!(f, " token {token}"))
    }
}

/// What happens at a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Deed {
    Start,
    Crash,
    PowerLoss,
    Stop,
    Pause,
    Suspend,
    Wake,
    Beat,
    Look,
    Clock(SignedDuration),
    Do(usize, Command),
    Read(Vec<usize>),
    Forget(usize),
    Tick,
    Ticker,
    Subscribe { sub: usize, people: Vec<usize>, receiver: usize, terms: Terms },
    Renew { sub: usize, terms: Terms },
    Move { sub: usize, receiver: usize },
    Unsubscribe(usize),
    Remove(usize),
    Replay(usize),
    Pump,
    Plan,
    Save,
}

/// What befalls one call of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) kind: FateKind,
    /// The how manieth, from 1; of a storm, how many.
    pub(crate) call: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FateKind {
    Hold,
    HoldReply,
    Lose,
    LoseReply,
    CrashBefore,
    CrashAfter,
    Storm,
}

const FATES: [(&str, FateKind); 7] = [
    ("hold", FateKind::Hold),
    ("hold-reply", FateKind::HoldReply),
    ("lose", FateKind::Lose),
    ("lose-reply", FateKind::LoseReply),
    ("crash-before", FateKind::CrashBefore),
    ("crash-after", FateKind::CrashAfter),
    ("storm", FateKind::Storm),
];

impl Line {
    /// Reads a line; `None` for one that is not in the language.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (text, fates) = text.split_once(" | ").unwrap_or((text, ""));
        let tokens = timeline::tokens(text);
        let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let (at, words) = match words.split_first()? {
            (first, rest) if first.starts_with(|c: char| c.is_ascii_digit()) => {
                (timeline::instant(first), rest)
            }
            _ => (BASE, words.as_slice()),
        };
        let event = match words {
            ["store", "memory"] => Event::Store(StoreKind::Memory),
            ["store", "embedded"] => Event::Store(StoreKind::Embedded),
            ["store", "shared"] => Event::Store(StoreKind::Shared),
            ["backlog", kept] => Event::Backlog { every: *kept == "every" },
            ["bounds", "small"] => Event::SmallBounds,
            ["give", "up", after] => Event::GiveUp(after.parse().ok()?),
            ["carry"] => Event::Carry,
            ["move", "house"] => Event::MoveHouse,
            ["failover"] => Event::Failover,
            ["engine", "clock", ahead] => Event::EngineClock(ahead.parse().ok()?),
            ["resume", call] => Event::Resume(call.parse().ok()?),
            ["disk", "works"] => Event::Disk(DiskWill::Works),
            ["disk", "unsynced"] => Event::Disk(DiskWill::Unsynced),
            ["disk", "fails", after] => Event::Disk(DiskWill::Fails(after.parse().ok()?)),
            ["disk", "stops", after] => Event::Disk(DiskWill::Stops(after.parse().ok()?)),
            ["answer", post, how] => {
                Event::Answer(post.parse().ok()?, ANSWERS.iter().find(|(word, _)| word == how)?.1)
            }
            [node, deed @ ..] => {
                let fates = fates.split(',').map(str::trim).filter(|fate| !fate.is_empty());
                Event::Node {
                    node: numbered(node, 'n')?,
                    deed: Deed::parse(deed, text)?,
                    fates: fates.map(Fate::parse).collect::<Option<_>>()?,
                }
            }
            [] => return None,
        };
        Some(Self { at, event })
    }
}

/// `n1` is 0.
fn numbered(word: &str, letter: char) -> Option<usize> {
    word.strip_prefix(letter)?.parse::<usize>().ok()?.checked_sub(1)
}

fn named(word: &str) -> Option<usize> {
    PEOPLE.iter().position(|name| *name == word)
}

fn all_named(words: &str) -> Option<Vec<usize>> {
    words.split(',').map(named).collect()
}

impl Deed {
    fn parse(words: &[&str], line: &str) -> Option<Self> {
        Some(match words {
            ["start"] => Self::Start,
            ["crash"] => Self::Crash,
            ["power-loss"] => Self::PowerLoss,
            ["stop"] => Self::Stop,
            ["pause"] => Self::Pause,
            ["suspend"] => Self::Suspend,
            ["wake"] => Self::Wake,
            ["beat"] => Self::Beat,
            ["look"] => Self::Look,
            ["clock", ahead] => Self::Clock(ahead.parse().ok()?),
            ["read", people] => Self::Read(all_named(people)?),
            ["forget", person] => Self::Forget(named(person)?),
            ["tick"] => Self::Tick,
            ["ticker"] => Self::Ticker,
            ["subscribe", sub, "to", people, "at", receiver, terms @ ..] => Self::Subscribe {
                sub: numbered(sub, 's')?,
                people: all_named(people)?,
                receiver: numbered(receiver, 'r')?,
                terms: Terms::parse(terms)?,
            },
            ["renew", sub, terms @ ..] => {
                Self::Renew { sub: numbered(sub, 's')?, terms: Terms::parse(terms)? }
            }
            ["remove", sub] => Self::Remove(numbered(sub, 's')?),
            ["move", sub, "to", receiver] => {
                Self::Move { sub: numbered(sub, 's')?, receiver: numbered(receiver, 'r')? }
            }
            ["unsubscribe", sub] => Self::Unsubscribe(numbered(sub, 's')?),
            ["replay", sub] => Self::Replay(numbered(sub, 's')?),
            ["pump"] => Self::Pump,
            ["plan"] => Self::Plan,
            ["save"] => Self::Save,
            [person, command @ ..] => {
                let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
                let Action::Apply(command) = timeline::action(&command, line) else { return None };
                Self::Do(named(person)?, command)
            }
            [] => return None,
        })
    }
}

impl Fate {
    fn parse(text: &str) -> Option<Self> {
        let (word, call) = text.split_once(' ')?;
        let kind = FATES.iter().find(|(name, _)| *name == word)?.1;
        Some(Self { kind, call: call.parse().ok()? })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_setting = matches!(
            self.event,
            Event::Store(_) | Event::Backlog { .. } | Event::SmallBounds | Event::GiveUp(_)
        );
        if !is_setting {
            write!(f, "{:<9} ", Instant(self.at).to_string())?;
        }
        match &self.event {
            Event::Store(StoreKind::Memory) => f.write_str("store memory"),
            Event::Store(StoreKind::Embedded) => f.write_str("store embedded"),
            Event::Store(StoreKind::Shared) => f.write_str("store shared"),
            Event::Backlog { every } => {
                write!(f, "backlog {}", if *every { "every" } else { "newest" })
            }
            Event::SmallBounds => f.write_str("bounds small"),
            Event::GiveUp(after) => write!(f, "give up {after}"),
            Event::Carry => f.write_str("carry"),
            Event::MoveHouse => f.write_str("move house"),
            Event::Failover => f.write_str("failover"),
            Event::EngineClock(ahead) => write!(f, "engine clock {ahead}"),
            Event::Resume(call) => write!(f, "resume {call}"),
            Event::Disk(DiskWill::Works) => f.write_str("disk works"),
            Event::Disk(DiskWill::Unsynced) => f.write_str("disk unsynced"),
            Event::Disk(DiskWill::Fails(after)) => write!(f, "disk fails {after}"),
            Event::Disk(DiskWill::Stops(after)) => write!(f, "disk stops {after}"),
            Event::Answer(post, answer) => write!(f, "answer {post} {}", word_of(&ANSWERS, *answer)),
            Event::Node { node, deed, fates } => {
                write!(f, "n{} {deed}", node + 1)?;
                for (place, fate) in fates.iter().enumerate() {
                    let before = if place == 0 { " | " } else { ", " };
                    write!(f, "{before}{} {}", word_of(&FATES, fate.kind), fate.call)?;
                }
                Ok(())
            }
        }
    }
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, other)| *other == value).map_or("?", |(word, _)| word)
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |people: &[usize]| people.iter().map(|p| PEOPLE[*p]).collect::<Vec<_>>().join(",");
        match self {
            Self::Start => f.write_str("start"),
            Self::Crash => f.write_str("crash"),
            Self::PowerLoss => f.write_str("power-loss"),
            Self::Stop => f.write_str("stop"),
            Self::Pause => f.write_str("pause"),
            Self::Suspend => f.write_str("suspend"),
            Self::Wake => f.write_str("wake"),
            Self::Beat => f.write_str("beat"),
            Self::Look => f.write_str("look"),
            Self::Clock(ahead) => write!(f, "clock {ahead}"),
            Self::Do(person, command) => {
                write!(f, "{} {}", PEOPLE[*person], Action::Apply(command.clone()))
            }
            Self::Read(people) => write!(f, "read {}", names(people)),
            Self::Forget(person) => write!(f, "forget {}", PEOPLE[*person]),
            Self::Tick => f.write_str("tick"),
            Self::Ticker => f.write_str("ticker"),
            Self::Subscribe { sub, people, receiver, terms } => {
                write!(f, "subscribe s{} to {} at r{}{terms}", sub + 1, names(people), receiver + 1)
            }
            Self::Renew { sub, terms } => write!(f, "renew s{}{terms}", sub + 1),
            Self::Remove(sub) => write!(f, "remove s{}", sub + 1),
            Self::Move { sub, receiver } => write!(f, "move s{} to r{}", sub + 1, receiver + 1),
            Self::Unsubscribe(sub) => write!(f, "unsubscribe s{}", sub + 1),
            Self::Replay(sub) => write!(f, "replay s{}", sub + 1),
            Self::Pump => f.write_str("pump"),
            Self::Plan => f.write_str("plan"),
            Self::Save => f.write_str("save"),
        }
    }
}
