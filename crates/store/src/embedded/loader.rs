//! Filling a table from files, on as many cores as there are.
//!
//! The users of a snapshot, nearly all of it, stand in no order and are there once each. So each thread takes block after
//! block, reads and checks it, and appends its users to their shards ([`append_users`]): no thread waits for another, and
//! nobody is looked up.
//!
//! Everything else has an order. Its frames are read and checked one after the other and gathered into a batch. Of a batch,
//! each thread parses a part; then each puts the users of its own shards where they belong, in the order of the frames, so
//! that the versions of one user follow each other as they were written. What has an order across users (the log of changes,
//! documents) is carried out at the end by one thread, users being numbers by then.
//!
//! Nearly all of the time goes into waiting for memory. So a shard is locked once a batch: without a lock between two of
//! them, the processor looks up several users at a time.

use presence::{TenantId, Timestamp, UserKey};

use super::OpenError;
use super::entry::{Entries, Item};
use super::reader::{FrameReader, SharedFrames, Taken};
use super::table::{Place, SHARDS, Table, UserNumber};
use crate::record::{self, Head, RecordError};
use crate::{DocumentKind, Position};

/// A batch is carried out when it has grown to this: large enough to be worth two waits for the slowest thread.
const BATCH_BYTES: usize = 1024 * 1024;
/// A batch that is smaller than this is not worth a second thread.
const ALONE_BYTES: usize = 64 * 1024;
/// Threads at most.
const THREADS_MAX: usize = 8;

/// Which rules the entries follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Users as they are, once each.
    Snapshot,
    /// Each record one version after the one before it. A snapshot that was written while commits went on may be ahead.
    Log { has_snapshot: bool },
}

/// Frames that have been read and not yet carried out.
pub(super) struct Batch {
    source: Source,
    threads: usize,
    payloads: Vec<u8>,
    frames: Vec<Frame>,
}

#[derive(Clone, Copy)]
struct Frame {
    /// Where in the file it is, for messages.
    offset: u64,
    from: usize,
    to: usize,
}

/// What has been carried out, over all batches of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) users: u64,
    pub(super) documents: u64,
    /// The end of a snapshot.
    pub(super) end: Option<End>,
}

/// What a snapshot says at its end: how much it holds, and the latest settlement as seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) users: u64,
    pub(super) documents: u64,
    pub(super) latest: Option<(i64, i32)>,
}

/// A frame that makes no sense although its checksum is right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) offset: u64,
    pub(super) what: String,
}

/// What one thread made of its part.
struct Parsed<'a> {
    /// Users by shard.
    users: Vec<Vec<User<'a>>>,
    ordered: Vec<Ordered<'a>>,
}

struct User<'a> {
    place: Place,
    record: &'a [u8],
    head: Head,
    offset: u64,
}

struct Ordered<'a> {
    offset: u64,
    what: What<'a>,
}

enum What<'a> {
    Begin(u64),
    Change(Changed),
    LogEnd(Position),
    Document(DocumentKind, &'a [u8], Option<&'a [u8]>),
    End(End),
}

/// A change of somebody who is looked up later.
struct Changed {
    place: Place,
    /// Until then, who it may be.
    user: Option<UserNumber>,
    position: Position,
    change: presence::Change,
    written_at: Timestamp,
}

/// Appends the users of a snapshot to an empty table, up to the first block that holds anything else, and moves the reader
/// there. Answers how many users that were, and the number of that block.
pub(super) fn append_users(reader: &mut FrameReader, table: &Table) -> Result<(u64, u64), OpenError> {
    let threads = threads();
    let frames = reader.shared(0);
    let work = |first| append_some(&frames, table, first * SHARDS / threads);
    let mut users = 0;
    let mut rest: Option<Taken> = None;
    for part in in_parallel((0..threads).collect(), work) {
        let part = part?;
        users += part.users;
        rest = [rest, part.rest].into_iter().flatten().min_by_key(|taken| taken.number);
    }
    let (position, block) = rest.map_or_else(|| frames.position(), |rest| (rest.offset, rest.number));
    reader.go_on_at(position);
    in_parallel((0..threads).collect(), |first| {
        (first..SHARDS).step_by(threads).for_each(|shard| table.fill(shard).index());
    });
    Ok((users, block))
}

/// What one thread has appended.
#[derive(Default)]
struct Appended {
    users: u64,
    /// A block that holds something else, of which nothing was appended.
    rest: Option<Taken>,
}

fn append_some(frames: &SharedFrames<'_>, table: &Table, first_shard: usize) -> Result<Appended, OpenError> {
    /// A user whose record is in the block.
    struct InBlock {
        place: Place,
        from: usize,
        to: usize,
        head: Head,
    }
    let mut appended = Appended::default();
    let mut payload = Vec::new();
    let mut of_shards: Vec<Vec<InBlock>> = (0..SHARDS).map(|_| Vec::new()).collect();
    let mut latest: Option<Timestamp> = None;
    let mut tenants = Tenants::of(table);
    while let Some(taken) = frames.take()? {
        frames.read(&taken, &mut payload)?;
        of_shards.iter_mut().for_each(Vec::clear);
        let mut entries = Entries::new(&payload);
        let is_users_only = loop {
            match entries.next() {
                Some(Ok(Item::User(key, record))) => {
                    // What is wrong with it is said by whoever reads this block again.
                    let Ok(head) = record::peek(record) else { break false };
                    let place = tenants.place_of(key);
                    let to = payload.len() - entries.rest_bytes();
                    of_shards[place.shard()].push(InBlock { place, from: to - record.len(), to, head });
                }
                Some(Ok(Item::SnapshotBegin { users })) if taken.number == 0 => table.reserve(users),
                Some(_) => break false,
                None => break true,
            }
        };
        if !is_users_only {
            frames.end_with(taken.number);
            // Of two of them, the first.
            appended.rest.get_or_insert(taken);
            break;
        }
        // Each thread begins somewhere else, so that they hardly meet at a shard.
        for shard in (first_shard..SHARDS).chain(0..first_shard) {
            let mut filling = table.fill(shard);
            for InBlock { place, from, to, head } in &of_shards[shard] {
                latest = latest.max(Some(head.settled_at));
                filling.append(place, &payload[*from..*to], head);
            }
            appended.users += of_shards[shard].len() as u64;
        }
    }
    table.restore_latest(latest);
    Ok(appended)
}

/// Where users belong, of whom most that follow each other are of one tenant.
struct Tenants<'a> {
    table: &'a Table,
    last: Option<(TenantId, u32)>,
}

impl<'a> Tenants<'a> {
    fn of(table: &'a Table) -> Self {
        Self { table, last: None }
    }

    fn place_of(&mut self, key: UserKey) -> Place {
        let number = match self.last {
            Some((id, number)) if id == key.tenant => number,
            _ => self.table.tenant_number(key.tenant),
        };
        self.last = Some((key.tenant, number));
        self.table.place(number, key.user)
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

impl Batch {
    pub(super) fn new(source: Source) -> Self {
        let threads = threads();
        Self { source, threads, payloads: Vec::new(), frames: Vec::new() }
    }

    /// Takes a frame in. Returns whether the batch should be carried out now.
    pub(super) fn push(&mut self, offset: u64, payload: &[u8]) -> bool {
        let from = self.payloads.len();
        self.payloads.extend_from_slice(payload);
        self.frames.push(Frame { offset, from, to: self.payloads.len() });
        self.payloads.len() >= BATCH_BYTES
    }

    /// Carries everything out, and is empty then.
    pub(super) fn carry_out(&mut self, table: &Table, carried: &mut Carried) -> Result<(), Refused> {
        let threads = if self.payloads.len() < ALONE_BYTES { 1 } else { self.threads };
        let (source, payloads) = (self.source, &self.payloads[..]);
        let parts: Vec<&[Frame]> = self.frames.chunks(self.frames.len().div_ceil(threads).max(1)).collect();
        let parse_part = |frames| parse(payloads, frames, source, table);
        let mut parsed = Vec::with_capacity(parts.len());
        for part in in_parallel(parts, parse_part) {
            parsed.push(part?);
        }
        let put = |first| {
            for shard in (first..SHARDS).step_by(threads) {
                let users = parsed.iter().flat_map(|part| &part.users[shard]);
                put_users(users, table, shard, source)?;
            }
            Ok(())
        };
        in_parallel((0..threads).collect(), put).into_iter().collect::<Result<(), _>>()?;
        carried.users +=
            parsed.iter().flat_map(|part| &part.users).map(|users| users.len() as u64).sum::<u64>();
        name_users(&mut parsed, table, threads);
        for Ordered { offset, what } in parsed.iter().flat_map(|part| &part.ordered) {
            let done = carry_out_in_order(what, source, table, carried);
            done.map_err(|what| Refused { offset: *offset, what })?;
        }
        self.payloads.clear();
        self.frames.clear();
        Ok(())
    }
}

/// Does `work` on each part, the last one in this thread, and returns what came of it in order.
pub(super) fn in_parallel<P: Send, T: Send>(parts: Vec<P>, work: impl Fn(P) -> T + Sync) -> Vec<T> {
    let mut parts = parts.into_iter();
    let Some(last) = parts.next_back() else { return Vec::new() };
    std::thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let last = work(last);
        let mut all: Vec<T> = others
            .into_iter()
            .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        all.push(last);
        all
    })
}

fn parse<'a>(
    payloads: &'a [u8],
    frames: &[Frame],
    source: Source,
    table: &Table,
) -> Result<Parsed<'a>, Refused> {
    let mut parsed = Parsed { users: (0..SHARDS).map(|_| Vec::new()).collect(), ordered: Vec::new() };
    let mut tenants = Tenants::of(table);
    for Frame { offset, from, to } in frames.iter().copied() {
        let refused = |what: String| Refused { offset, what };
        let malformed = || refused("entries that are not well formed".into());
        let mut settled_at = None;
        for item in Entries::new(&payloads[from..to]) {
            let what = match item {
                Ok(Item::User(key, record)) => {
                    let head = record::peek(record).map_err(|error| refused(error.to_string()))?;
                    settled_at = Some(head.settled_at);
                    let place = tenants.place_of(key);
                    parsed.users[place.shard()].push(User { place, record, head, offset });
                    continue;
                }
                Ok(Item::Change(key, position, change)) => {
                    let written_at = match source {
                        Source::Snapshot => change.at,
                        Source::Log { .. } => settled_at.unwrap_or(change.at),
                    };
                    What::Change(Changed {
                        place: tenants.place_of(key),
                        user: None,
                        position,
                        change,
                        written_at,
                    })
                }
                Ok(Item::Document(kind, key, body)) => What::Document(kind, key, body),
                Ok(Item::SnapshotBegin { users }) if source == Source::Snapshot => What::Begin(users),
                Ok(Item::LogEnd(end)) if source == Source::Snapshot => What::LogEnd(end),
                Ok(Item::SnapshotEnd { users, documents, latest }) if source == Source::Snapshot => {
                    What::End(End { users, documents, latest })
                }
                Ok(_) | Err(_) => return Err(malformed()),
            };
            parsed.ordered.push(Ordered { offset, what });
        }
    }
    Ok(parsed)
}

fn put_users<'a>(
    users: impl Iterator<Item = &'a User<'a>>,
    table: &Table,
    shard: usize,
    source: Source,
) -> Result<(), Refused> {
    let mut filling = table.fill(shard);
    let mut latest: Option<Timestamp> = None;
    for User { place, record, head, offset } in users {
        latest = latest.max(Some(head.settled_at));
        let restored = filling.restore(place, record, head, |kept| match source {
            Source::Snapshot => Ok(true),
            Source::Log { .. } if head.version.0 == kept.0.wrapping_add(1) => Ok(true),
            Source::Log { has_snapshot: true } if head.version <= kept => Ok(false),
            Source::Log { .. } => Err(format!(
                "version {} of a user's record follows version {}: what is between is missing",
                head.version.0, kept.0
            )),
        });
        let refused = |what| Refused { offset: *offset, what };
        restored.map_err(|error: RecordError| refused(error.to_string()))?.map_err(refused)?;
    }
    table.restore_latest(latest);
    Ok(())
}

/// Finds the numbers of those whose changes are here; a record that is not there yet is in a log that comes later.
fn name_users(parsed: &mut [Parsed<'_>], table: &Table, threads: usize) {
    let mut of_threads: Vec<Vec<Vec<&mut Changed>>> =
        (0..threads).map(|first| (first..SHARDS).step_by(threads).map(|_| Vec::new()).collect()).collect();
    for ordered in parsed.iter_mut().flat_map(|part| &mut part.ordered) {
        if let What::Change(changed) = &mut ordered.what {
            let shard = changed.place.shard();
            of_threads[shard % threads][shard / threads].push(changed);
        }
    }
    in_parallel(of_threads, |of_shards| {
        for of_shard in of_shards.into_iter().filter(|of_shard| !of_shard.is_empty()) {
            let mut of_shard = of_shard;
            let mut filling = table.fill(of_shard[0].place.shard());
            // In two passes, each of which waits for memory that the other does not: many at a time that way.
            for changed in &mut of_shard {
                changed.user = filling.likely(&changed.place);
            }
            for changed in of_shard {
                changed.user = Some(filling.number(&changed.place, changed.user));
            }
        }
    });
}

fn carry_out_in_order(
    what: &What<'_>,
    source: Source,
    table: &Table,
    carried: &mut Carried,
) -> Result<(), String> {
    if carried.end.is_some() {
        return Err("something follows its end".into());
    }
    match what {
        What::Begin(users) => table.reserve(*users),
        What::Change(Changed { place, user, position, change, written_at }) => {
            let user = user.unwrap_or_else(|| table.fill(place.shard()).number(place, None)).into();
            let mut log = table.log.write();
            let end = log.end();
            let is_next = position.0 == end.0.wrapping_add(1);
            match source {
                Source::Log { has_snapshot } if !is_next => {
                    // Only a snapshot, written while commits went on, may be ahead of the log.
                    if !(has_snapshot && *position <= end) {
                        return Err(format!(
                            "entry {} of the change log follows entry {}: what is between is missing",
                            position.0, end.0
                        ));
                    }
                }
                Source::Snapshot if !is_next => {
                    log.restart_after(Position(position.0.saturating_sub(1)));
                    log.push(user, change, *written_at);
                }
                _ => log.push(user, change, *written_at),
            }
        }
        What::LogEnd(end) => {
            let mut log = table.log.write();
            if *end != log.end() {
                log.restart_after(*end);
            }
        }
        What::Document(kind, key, body) => {
            carried.documents += 1;
            table.put_documents([(*kind, *key, *body)].into_iter());
        }
        What::End(end) => carried.end = Some(*end),
    }
    Ok(())
}
