//! The one log of changes over all buckets.
//!
//! Each bucket has a stream of its own, whose times only grow. To read all of them up to a time, every bucket is asked for
//! what it has up to there and told in the same step to give nothing out at or below it any more (`advance.lua`). What is
//! read so far has no gap, nothing is ever added to it, and everybody who reads sees the same order: by time, then by
//! bucket. No clock needs to be right for this; the engine's clocks only keep the times growing together.
//!
//! A node reads the log once, into a ring, however many of its clients follow it. Whoever asks for what is older than the
//! ring reads the engine's own streams.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Value, cmd};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::buckets::{BUCKETS_MAX, position, time_and_bucket};
use super::connection::{Lane, text_of};
use super::{Inner, check_kept, documents_end, entry, last_change};
use crate::{DocumentsSeen, LOG_READ_MAX, LogEntry, LogRead, Position, StoreError};

/// Entries in the ring of a node.
const RING_MAX: usize = 65_536;
/// Most entries that one bucket gives in one step.
const STEP_ENTRIES_MAX: usize = 512;
/// Between two looks for what other nodes have written.
const LOOK: Duration = Duration::from_millis(50);
/// The same for each bucket there is, where that is more.
const LOOK_PER_BUCKET: Duration = Duration::from_micros(250);
/// Between two steps while this node's own changes come in.
const PACE: Duration = Duration::from_millis(20);
/// After a failure.
const RETRY: Duration = Duration::from_millis(250);

pub(super) struct Log {
    ring: Mutex<Ring>,
    pub(super) end: watch::Sender<Position>,
    /// The latest time of a change that this node has committed.
    pending: AtomicU64,
    stepping: tokio::sync::Mutex<()>,
    nudge: Notify,
    /// When the last look began after which everything was read.
    complete_at: Mutex<Instant>,
    /// The mark of the last changes of documents that are known of.
    pub(super) documents: watch::Sender<u64>,
}

/// The newest entries.
struct Ring {
    entries: VecDeque<LogEntry>,
    /// Everything after this is in the ring.
    start: Position,
    /// Every entry up to this time has been read.
    up_to: u64,
    /// Of each bucket, the time of the last entry it was seen to have.
    seen: Vec<u64>,
    /// Everything up to here may be forgotten by the engine.
    trimmed: Position,
}

impl Log {
    pub(super) fn new(buckets: usize) -> Self {
        let ring = Ring {
            entries: VecDeque::new(),
            start: Position(0),
            up_to: 0,
            seen: vec![0; buckets],
            trimmed: Position(0),
        };
        Self {
            ring: Mutex::new(ring),
            end: watch::Sender::default(),
            pending: AtomicU64::new(0),
            stepping: tokio::sync::Mutex::default(),
            nudge: Notify::new(),
            complete_at: Mutex::new(Instant::now()),
            documents: watch::Sender::default(),
        }
    }

    /// Takes note of a change that this node has committed.
    pub(super) fn committed(&self, time: u64) {
        self.pending.fetch_max(time, Ordering::AcqRel);
        self.nudge.notify_one();
    }

    /// Takes note of the last changes of documents that there are.
    pub(super) fn heard_of(&self, documents: &DocumentsSeen) {
        let mark = documents.mark();
        self.documents.send_if_modified(|known| std::mem::replace(known, mark) != mark);
    }

    /// How long ago this node knew for certain that it had read everything.
    pub(super) fn lag(&self) -> Duration {
        self.complete_at.lock().elapsed()
    }

    /// Up to where this node has read.
    pub(super) fn up_to(&self) -> u64 {
        self.ring.lock().up_to
    }
}

/// What a bucket told of itself.
struct Look {
    last: Vec<u64>,
    /// Whether some of them are earlier than they were.
    is_back: bool,
}

impl Inner {
    /// Follows the log until it is dropped.
    pub(super) async fn follow(&self) {
        let look = LOOK.max(LOOK_PER_BUCKET * self.buckets.len() as u32);
        let mut was_wrong = false;
        // However much this node writes itself: what others have changed of documents is told by a look alone.
        let mut look_at = Instant::now() + look;
        loop {
            let is_own = tokio::select! {
                () = sleep_until(look_at) => false,
                () = self.log.nudge.notified() => true,
            };
            let step = match is_own && Instant::now() < look_at {
                true => self.catch_up_with_own().await,
                false => {
                    let read = self.read_up().await.map(drop);
                    look_at = Instant::now() + look;
                    read
                }
            };
            match step {
                Ok(()) => {
                    if std::mem::take(&mut was_wrong) {
                        tracing::info!("the log can be read again");
                    }
                    sleep(PACE).await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut was_wrong, true) {
                        tracing::warn!(%error, "the log cannot be read; changes are told when it can");
                    }
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Reads everything that was committed anywhere before this call. Answers where the log ends.
    pub(super) async fn read_up(&self) -> Result<Position, StoreError> {
        let _turn = self.log.stepping.lock().await;
        let begun = Instant::now();
        let look = self.look().await?;
        if look.is_back {
            // The floors went with what was lost: nothing may appear where readers have passed.
            self.raise_floors().await?;
        }
        let newest = look.last.iter().copied().max().unwrap_or(0);
        self.advance(newest).await?;
        *self.log.complete_at.lock() = begun;
        Ok(*self.log.end.borrow())
    }

    async fn raise_floors(&self) -> Result<(), StoreError> {
        let up_to = self.log.up_to();
        let calls = self.buckets.iter().map(|bucket| {
            let mut call = self.connections.scripts.advance.on(&[&bucket.meta, &bucket.log]);
            call.arg(up_to + 1).arg(up_to).arg(1);
            (bucket.slot, vec![call])
        });
        for answer in self.connections.call_all(Lane::Log, calls.collect(), self.replicas).await {
            check_kept(&answer?, self.replicas)?;
        }
        Ok(())
    }

    /// Reads at least what this node has committed.
    async fn catch_up_with_own(&self) -> Result<(), StoreError> {
        let pending = self.log.pending.load(Ordering::Acquire);
        if self.log.up_to() >= pending {
            return Ok(());
        }
        let _turn = self.log.stepping.lock().await;
        self.advance(self.log.pending.load(Ordering::Acquire)).await
    }

    /// Asks every bucket for its last entry, and notes which change of documents was its last.
    async fn look(&self) -> Result<Look, StoreError> {
        let calls = self.buckets.iter().map(|bucket| {
            (bucket.slot, vec![cmd("HGET").arg(&bucket.meta).arg("last").to_owned(), documents_end(bucket)])
        });
        let mut look = Look { last: Vec::with_capacity(self.buckets.len()), is_back: false };
        let mut documents = DocumentsSeen::default();
        for answer in self.connections.call_all(Lane::Log, calls.collect(), 0).await {
            let values = answer?;
            look.last.push(values.first().and_then(|last| text_of(last).parse().ok()).unwrap_or(0));
            documents.last.push(last_change(values.get(1))?);
        }
        look.is_back = self.notice_losses(&look.last);
        self.log.heard_of(&documents);
        Ok(look)
    }

    /// Reads on until everything up to a time is read. To be called by one at a time.
    async fn advance(&self, wanted: u64) -> Result<(), StoreError> {
        loop {
            let up_to = self.log.up_to();
            if up_to >= wanted {
                return Ok(());
            }
            let calls = self.buckets.iter().map(|bucket| {
                let mut call = self.connections.scripts.advance.on(&[&bucket.meta, &bucket.log]);
                call.arg(up_to + 1).arg(wanted).arg(STEP_ENTRIES_MAX);
                (bucket.slot, vec![call])
            });
            let mut complete = wanted;
            let mut entries = Vec::new();
            let mut last = Vec::with_capacity(self.buckets.len());
            let mut trimmed = Position(0);
            let answers = self.connections.call_all(Lane::Log, calls.collect(), self.replicas).await;
            for (bucket, answer) in (0..).zip(answers) {
                let values = answer?;
                check_kept(&values, self.replicas)?;
                let Some(Value::Array(parts)) = values.first() else { return Err(damaged()) };
                let [_, newest, gone, Value::Array(found)] = &parts[..] else { return Err(damaged()) };
                last.push(text_of(newest).parse().map_err(|_| damaged())?);
                let gone: u64 = text_of(gone).parse().map_err(|_| damaged())?;
                if gone > 0 {
                    trimmed = trimmed.max(position(gone, bucket));
                }
                let before = entries.len();
                read_entries(found, bucket, &mut entries)?;
                if found.len() >= STEP_ENTRIES_MAX && entries.len() > before {
                    complete = complete.min(time_and_bucket(entries[entries.len() - 1].position).0);
                }
            }
            self.notice_losses(&last);
            entries.retain(|entry| time_and_bucket(entry.position).0 <= complete);
            entries.sort_unstable_by_key(|entry| entry.position);
            self.take(entries, complete, trimmed);
        }
    }

    fn take(&self, entries: Vec<LogEntry>, up_to: u64, trimmed: Position) {
        let mut ring = self.log.ring.lock();
        let last = entries.last().map(|entry| entry.position);
        if time_and_bucket(trimmed).0 > ring.up_to {
            // Some of what was to be read is gone already: whoever needs it must be told.
            ring.entries.clear();
            ring.start = trimmed;
        }
        ring.trimmed = ring.trimmed.max(trimmed);
        ring.up_to = up_to;
        for entry in entries {
            if entry.position > ring.start {
                ring.entries.push_back(entry);
            }
            if ring.entries.len() > RING_MAX
                && let Some(old) = ring.entries.pop_front()
            {
                ring.start = old.position;
            }
        }
        drop(ring);
        if let Some(last) = last {
            self.log.end.send_if_modified(|end| {
                let grows = last > *end;
                *end = last.max(*end);
                grows
            });
        }
    }

    /// An engine that has lost what it once had has older times than were seen before.
    fn notice_losses(&self, last: &[u64]) -> bool {
        let mut ring = self.log.ring.lock();
        let mut lost = 0;
        for (seen, last) in ring.seen.iter_mut().zip(last) {
            lost += usize::from(*last < *seen);
            *seen = *last;
        }
        drop(ring);
        if lost > 0 {
            self.losses.fetch_add(lost as u64, Ordering::Relaxed);
            tracing::error!(
                buckets = lost,
                "the engine has gone back: changes it had acknowledged are not there any more; see docs/consistency.md"
            );
        }
        lost > 0
    }

    /// Begins at the end of the log.
    pub(super) async fn begin_log(&self) -> Result<(), StoreError> {
        let look = self.look().await?;
        let newest = (0..).zip(&look.last).filter(|(_, last)| **last > 0);
        let end = newest.map(|(bucket, last)| position(*last, bucket)).max().unwrap_or_default();
        {
            let mut ring = self.log.ring.lock();
            // Everything up to the end is known to be there, and is read from the streams by whoever wants it.
            (ring.start, ring.up_to) = (end, time_and_bucket(end).0.saturating_sub(1));
        }
        self.log.end.send_replace(end);
        self.advance(time_and_bucket(end).0).await
    }

    pub(super) async fn read_log_after(&self, after: Position, max: usize) -> Result<LogRead, StoreError> {
        self.catch_up_with_own().await?;
        let max = max.min(LOG_READ_MAX);
        let end = *self.log.end.borrow();
        {
            let ring = self.log.ring.lock();
            if after >= ring.start {
                let first = ring.entries.partition_point(|entry| entry.position <= after);
                let entries = ring.entries.range(first..).take(max).copied().collect();
                return Ok(LogRead::Page { entries, end });
            }
        }
        self.read_streams(after, max, end).await
    }

    async fn read_streams(&self, after: Position, max: usize, end: Position) -> Result<LogRead, StoreError> {
        let (after_time, after_bucket) = time_and_bucket(after);
        let up_to = time_and_bucket(end).0;
        let each = max * 2 / self.buckets.len() + 16;
        let calls = (0..).zip(&self.buckets).map(|(number, bucket)| {
            let from = if number > after_bucket { after_time } else { after_time + 1 };
            let mut range = cmd("XRANGE");
            range.arg(&bucket.log).arg(format!("{from}-0")).arg(format!("{up_to}-0")).arg("COUNT").arg(each);
            (bucket.slot, vec![cmd("HGET").arg(&bucket.meta).arg("trimmed").to_owned(), range])
        });
        let mut entries = Vec::new();
        let mut complete = u64::MAX;
        let mut trimmed = Position(0);
        for (bucket, answer) in (0..).zip(self.connections.call_all(Lane::Read, calls.collect(), 0).await) {
            let values = answer?;
            let [gone, Value::Array(found)] = &values[..] else { return Err(damaged()) };
            if let Ok(gone) = text_of(gone).parse::<u64>() {
                trimmed = trimmed.max(position(gone, bucket));
            }
            let before = entries.len();
            read_entries(found, bucket, &mut entries)?;
            if found.len() >= each && entries.len() > before {
                complete = complete.min(time_and_bucket(entries[entries.len() - 1].position).0);
            }
        }
        if trimmed > after {
            return Ok(LogRead::Behind { oldest: Position(trimmed.0 + 1), end });
        }
        entries.retain(|entry| time_and_bucket(entry.position).0 <= complete && entry.position <= end);
        entries.sort_unstable_by_key(|entry| entry.position);
        entries.truncate(max);
        Ok(LogRead::Page { entries, end })
    }
}

fn read_entries(found: &[Value], bucket: u16, entries: &mut Vec<LogEntry>) -> Result<(), StoreError> {
    for item in found {
        let Value::Array(parts) = item else { return Err(damaged()) };
        let [id, Value::Array(fields)] = &parts[..] else { return Err(damaged()) };
        let time = text_of(id).split('-').next().and_then(|time| time.parse().ok()).ok_or_else(damaged)?;
        let Some(Value::BulkString(bytes)) = fields.get(1) else { return Err(damaged()) };
        let (user, change) = entry::decode(bytes).ok_or_else(damaged)?;
        entries.push(LogEntry { position: position(time, bucket), user, change });
    }
    Ok(())
}

fn damaged() -> StoreError {
    StoreError::Corrupt("an entry of the log that cannot be read".to_owned())
}

const _: () = assert!(BUCKETS_MAX == 1_024, "positions have ten bits for the bucket");
