//! Everything that is kept, in memory: what reads are answered from.
//!
//! A user is a slot: the key, the record in its stored form, and a note of where the index of wake-ups has it. Slots
//! stand in chunks that are never moved, and a hash table holds only their numbers; so what doubles when a table grows
//! is four bytes a user, not seventy. Records that fit stay within the slot.
//!
//! A record is decoded when it is loaded. That costs less than a microsecond and keeps ten times more users in the
//! same memory.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::ops::{Bound, ControlFlow};

use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use presence::{Sole, TenantId, Timestamp, UserId, UserKey, UserPresence};

use super::wakes::Wakes;
use crate::changelog::{Ring, RingEntry, RingRead};
use crate::record::{self, Head, RecordError};
use crate::{
    Asked, Document, DocumentKind, Glance, Glances, LogEntry, LogRead, Position, Retention, Stored, Version,
    Visit,
};

/// Shards, each with a lock: readers hardly ever meet the one writer.
pub(super) const SHARDS: usize = 64;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();
/// Slots allocated at a time: as many as fit into the 16 KiB that an allocator has a class for, and few for a small store.
const CHUNK_SLOTS: usize = 16 * 1024 / size_of::<Slot>();
/// For how many users room is made on a file's word.
const RESERVED_USERS_MAX: usize = 64 * 1024 * 1024;
/// Longest record kept within its slot: a user with one session, whatever its numbers are.
const INLINE_BYTES: usize = 46;

/// A user's number in the table. Users are never forgotten, so it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct UserNumber(u32);

impl UserNumber {
    fn new(shard: usize, slot: u32) -> Self {
        Self(slot << SHARD_BITS | shard as u32)
    }

    fn shard(self) -> usize {
        self.0 as usize % SHARDS
    }

    fn slot(self) -> u32 {
        self.0 >> SHARD_BITS
    }
}

impl From<UserNumber> for u32 {
    fn from(number: UserNumber) -> Self {
        number.0
    }
}

/// Where a user belongs: found out once, and before any lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    hash: u64,
    tenant: u32,
    user: [u8; 16],
}

impl Place {
    pub(super) fn shard(&self) -> usize {
        // Bits that neither the table's position (the low ones) nor its tags (the top ones) are taken from.
        (self.hash >> 40) as usize % SHARDS
    }
}

pub(super) struct Table {
    hasher: DefaultHashBuilder,
    shards: Box<[RwLock<Shard>]>,
    tenants: RwLock<Tenants>,
    documents: RwLock<Documents>,
    latest: RwLock<Option<Timestamp>>,
    /// The visible changes.
    pub(super) log: RwLock<Ring>,
    /// Locked before a shard where both are.
    pub(super) wakes: Mutex<Wakes>,
}

pub(super) type DocumentKey = (DocumentKind, Box<[u8]>);
type Documents = BTreeMap<DocumentKey, Box<[u8]>>;

#[derive(Default)]
struct Shard {
    numbers: HashTable<u32>,
    chunks: Vec<Vec<Slot>>,
    len: u32,
}

/// Tenants by number: sixteen bytes a tenant instead of a user.
#[derive(Default)]
struct Tenants {
    numbers: HashMap<TenantId, u32, DefaultHashBuilder>,
    ids: Vec<TenantId>,
}

impl Tenants {
    fn key(&self, tenant: u32, user: [u8; 16]) -> UserKey {
        let user = UserId::from_u128(u128::from_be_bytes(user));
        UserKey { tenant: self.ids[tenant as usize], user }
    }
}

pub(super) struct Slot {
    user: [u8; 16],
    tenant: u32,
    /// Where the index of wake-ups has the user; its business alone.
    pub(super) indexed: u32,
    record: Record,
}

const _: () = assert!(size_of::<Slot>() == 72, "a slot has grown: see the footprint example");

/// A record's bytes.
pub(super) enum Record {
    Inline(u8, [u8; INLINE_BYTES]),
    Heap(Box<[u8]>),
}

impl Record {
    pub(super) fn new(bytes: &[u8]) -> Self {
        if bytes.len() > INLINE_BYTES {
            return Self::Heap(bytes.into());
        }
        let mut inline = [0; INLINE_BYTES];
        inline[..bytes.len()].copy_from_slice(bytes);
        Self::Inline(bytes.len() as u8, inline)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => &bytes[..usize::from(*length)],
            Self::Heap(bytes) => bytes,
        }
    }
}

impl Slot {
    /// When the user wants to be woken. What stands in a slot was checked on its way in, or is nothing yet.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        record::peek(self.record.bytes()).ok().and_then(|head| head.wake_at)
    }

    /// Zero when there is no record.
    fn version(&self) -> Result<Version, RecordError> {
        match self.record.bytes() {
            [] => Ok(Version(0)),
            bytes => Ok(record::peek(bytes)?.version),
        }
    }

    fn key(&self, tenants: &Tenants) -> UserKey {
        tenants.key(self.tenant, self.user)
    }
}

impl Shard {
    /// Adds a slot, and returns its number.
    fn push(&mut self, slot: Slot) -> u32 {
        let number = self.len;
        // 64 shards of 2^26 users. More would not fit in memory some ten times over.
        assert!(number < 1 << (32 - SHARD_BITS), "a shard is full");
        if number as usize / CHUNK_SLOTS == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(CHUNK_SLOTS));
        }
        self.chunks[number as usize / CHUNK_SLOTS].push(slot);
        self.len += 1;
        number
    }

    fn slot(&self, number: u32) -> &Slot {
        let number = number as usize;
        &self.chunks[number / CHUNK_SLOTS][number % CHUNK_SLOTS]
    }

    /// The slot of a number that may not be one.
    fn get(&self, number: u32) -> Option<&Slot> {
        let number = number as usize;
        self.chunks.get(number / CHUNK_SLOTS)?.get(number % CHUNK_SLOTS)
    }

    fn slot_mut(&mut self, number: u32) -> &mut Slot {
        let number = number as usize;
        &mut self.chunks[number / CHUNK_SLOTS][number % CHUNK_SLOTS]
    }

    fn find(&self, place: &Place) -> Option<u32> {
        let is_it = |number: &u32| {
            let slot = self.slot(*number);
            slot.user == place.user && slot.tenant == place.tenant
        };
        self.numbers.find(place.hash, is_it).copied()
    }
}

impl Table {
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            tenants: RwLock::default(),
            documents: RwLock::default(),
            latest: RwLock::default(),
            log: RwLock::new(Ring::new(retention)),
            wakes: Mutex::default(),
        }
    }

    /// Makes room for so many users at once, rather than by doubling.
    pub(super) fn reserve(&self, users: u64) {
        let users = usize::try_from(users).unwrap_or_default().min(RESERVED_USERS_MAX);
        // A little more than the mean, since no hash is that even.
        let each = users / SHARDS + users / SHARDS / 64;
        for shard in &self.shards {
            let mut shard = shard.write();
            let Shard { numbers, chunks, .. } = &mut *shard;
            numbers.reserve(each.saturating_sub(numbers.len()), |number| self.hash_of(chunks, *number));
            chunks.reserve((each / CHUNK_SLOTS + 1).saturating_sub(chunks.len()));
        }
    }

    /// A shard to be filled by somebody who has all of its lock for as long as that takes.
    pub(super) fn fill(&self, shard: usize) -> Filling<'_> {
        Filling { table: self, shard_number: shard, shard: self.shards[shard].write() }
    }

    fn hash_of(&self, chunks: &[Vec<Slot>], number: u32) -> u64 {
        let slot = &chunks[number as usize / CHUNK_SLOTS][number as usize % CHUNK_SLOTS];
        self.hash(slot.tenant, slot.user)
    }

    /// Of two numbers: of sixteen bytes it would take three times as long.
    fn hash(&self, tenant: u32, user: [u8; 16]) -> u64 {
        self.hasher.hash_one((tenant, u128::from_ne_bytes(user)))
    }

    /// Where a user of a tenant belongs.
    pub(super) fn place(&self, tenant: u32, user: UserId) -> Place {
        let user = user.as_u128().to_be_bytes();
        Place { hash: self.hash(tenant, user), tenant, user }
    }

    pub(super) fn users(&self) -> u64 {
        self.shards.iter().map(|shard| u64::from(shard.read().len)).sum()
    }

    /// The records of these users.
    pub(super) fn load(&self, users: &[UserKey]) -> Result<Vec<Stored>, RecordError> {
        let decode = |bytes: &[u8]| {
            let mut stored = Stored::default();
            record::decode_over(&mut stored, bytes).map(|()| stored)
        };
        if let [user] = users {
            return Ok(vec![self.read(user, decode).transpose()?.unwrap_or_default()]);
        }
        let (copied, places) = self.copy(users);
        let records = places.iter().map(|place| place.of(&copied));
        records.map(|bytes| if bytes.is_empty() { Ok(Stored::default()) } else { decode(bytes) }).collect()
    }

    /// Shows the records of these users; none of them under a lock.
    pub(super) fn visit(&self, users: &[UserKey], visit: &mut Visit<'_>) -> Result<(), RecordError> {
        self.visit_mut(users, |place, _, stored| visit(place, stored))
    }

    /// Shows what these users show; none of them under a lock. The short records are read where they stand, all others where
    /// they are copied to.
    pub(super) fn glance(&self, asked: &[Asked<'_>], glance: &mut Glances<'_>) -> Result<(), RecordError> {
        #[derive(Clone, Copy)]
        enum Kept {
            Nothing,
            Sole(Sole),
            Copied(Copied),
        }
        if let [one] = asked {
            let decoded = |slot: &Slot| match slot.record.bytes() {
                [] => Ok(None),
                bytes => match record::short(bytes) {
                    Some(sole) => Ok(Some(Ok(sole))),
                    None => Ok(Some(Err(Box::new(record::decode(bytes)?)))),
                },
            };
            match self.find_hinted_one(one, decoded).transpose()?.flatten() {
                Some(Ok(sole)) => glance(0, Glance::Sole(sole)),
                Some(Err(stored)) => glance(0, Glance::Whole(&stored.presence)),
                None => glance(0, Glance::Whole(&UserPresence::default())),
            }
            return Ok(());
        }
        let mut kept = vec![Kept::Nothing; asked.len()];
        let mut copied = Vec::new();
        self.find_hinted(asked, |for_place, number, slot| {
            kept[for_place] = match slot.record.bytes() {
                [] => Kept::Nothing,
                bytes => match record::short(bytes) {
                    Some(sole) => Kept::Sole(sole),
                    None => Kept::Copied(Copied::to(&mut copied, bytes, number)),
                },
            };
        });
        let (nothing, mut stored) = (UserPresence::default(), Stored::default());
        for (place, kept) in kept.into_iter().enumerate() {
            match kept {
                Kept::Sole(sole) => glance(place, Glance::Sole(sole)),
                Kept::Nothing => glance(place, Glance::Whole(&nothing)),
                Kept::Copied(at) => {
                    record::decode_over(&mut stored, at.of(&copied))?;
                    glance(place, Glance::Whole(&stored.presence));
                }
            }
        }
        Ok(())
    }

    /// The same for somebody who changes what is shown, which is not what is kept, and wants to know the user's number if it is
    /// known by then.
    pub(super) fn visit_mut(
        &self,
        users: &[UserKey],
        mut visit: impl FnMut(usize, Option<UserNumber>, &mut Stored),
    ) -> Result<(), RecordError> {
        let mut stored = Stored::default();
        if let [user] = users {
            self.read(user, |bytes| record::decode_over(&mut stored, bytes)).transpose()?;
            visit(0, None, &mut stored);
            return Ok(());
        }
        let (copied, places) = self.copy(users);
        for (place, at) in places.into_iter().enumerate() {
            match at.of(&copied) {
                [] => stored = Stored::default(),
                bytes => record::decode_over(&mut stored, bytes)?,
            }
            visit(place, at.number, &mut stored);
        }
        Ok(())
    }

    /// The same of users whose numbers are known.
    pub(super) fn visit_numbers(
        &self,
        numbers: &[UserNumber],
        mut visit: impl FnMut(usize, UserKey, &mut Stored),
    ) -> Result<(), RecordError> {
        let mut copied = Vec::with_capacity(numbers.len() * INLINE_BYTES);
        let mut places = vec![(Copied::default(), (0, [0; 16])); numbers.len()];
        self.each_slot(numbers, |for_place, slot| {
            let bytes = slot.record.bytes();
            let (start, length) = (copied.len() as u32, bytes.len() as u32);
            places[for_place] = (Copied { start, length, number: None }, (slot.tenant, slot.user));
            copied.extend_from_slice(bytes);
        });
        let places: Vec<(Copied, UserKey)> = {
            // Not locked before a shard is: whoever has a shard may want to know a tenant.
            let tenants = self.tenants.read();
            places.into_iter().map(|(at, (tenant, user))| (at, tenants.key(tenant, user))).collect()
        };
        let mut stored = Stored::default();
        for (place, (at, user)) in places.into_iter().enumerate() {
            match at.of(&copied) {
                [] => stored = Stored::default(),
                bytes => record::decode_over(&mut stored, bytes)?,
            }
            visit(place, user, &mut stored);
        }
        Ok(())
    }

    /// The records of these users as they are kept, and for each user where among them; nothing for whoever has none.
    fn copy(&self, users: &[UserKey]) -> (Vec<u8>, Vec<Copied>) {
        let mut copied = Vec::with_capacity(users.len() * INLINE_BYTES);
        let mut places = vec![Copied::default(); users.len()];
        self.find_each(users.iter().copied(), |for_place, number, slot| {
            places[for_place] = Copied::to(&mut copied, slot.record.bytes(), number);
        });
        (copied, places)
    }

    /// The numbers of these users, and the versions of their records.
    pub(super) fn find_all(&self, users: impl ExactSizeIterator<Item = UserKey>) -> Vec<Found> {
        let mut found = vec![Ok(None); users.len()];
        self.find_each(users, |for_place, number, slot| {
            found[for_place] = slot.version().map(|version| Some((number, version)));
        });
        found
    }

    /// The same of users whose numbers are known.
    pub(super) fn versions(&self, numbers: &[UserNumber]) -> Vec<Found> {
        let mut found = vec![Ok(None); numbers.len()];
        self.each_slot(numbers, |place, slot| {
            found[place] = slot.version().map(|version| Some((numbers[place], version)));
        });
        found
    }

    /// As [`find_each`](Self::find_each), of users who mostly are where they were the last time: then their slots are the only
    /// places in memory that are waited for. Whoever is not is found, and it is noted where.
    fn find_hinted(&self, asked: &[Asked<'_>], mut show: impl FnMut(usize, UserNumber, &Slot)) {
        let mut hinted = Vec::with_capacity(asked.len());
        {
            let tenants = self.tenants.read();
            let mut last: Option<(TenantId, u32)> = None;
            for (place, Asked { user, hint }) in (0..).zip(asked) {
                let known = last.filter(|(tenant, _)| *tenant == user.tenant);
                let known = known.or_else(|| Some((user.tenant, *tenants.numbers.get(&user.tenant)?)));
                let Some((_, tenant)) = known else { continue };
                last = known;
                let number = UserNumber(hint.get());
                hinted.push(Hinted { number, tenant, place });
            }
        }
        let (by_shard, of_shard) = in_order_of_shards(&hinted, |hinted| hinted.number.shard());
        let mut elsewhere = Vec::new();
        let mut rest = &by_shard[..];
        for (shard, count) in self.shards.iter().zip(of_shard) {
            let (here, others) = rest.split_at(count as usize);
            rest = others;
            if here.is_empty() {
                continue;
            }
            let shard = shard.read();
            // Nothing but waiting for memory, and for all of them at a time.
            let slots = here.iter().map(|at| shard.get(hinted[*at as usize].number.slot()));
            std::hint::black_box(slots.flatten().fold(0, |all, slot| all ^ slot.indexed));
            for at in here {
                let Hinted { number, tenant, place } = hinted[*at as usize];
                let user = asked[place as usize].user.user.as_u128().to_be_bytes();
                match shard.get(number.slot()) {
                    Some(slot) if slot.user == user && slot.tenant == tenant => {
                        show(place as usize, number, slot);
                    }
                    _ => elsewhere.push(place as usize),
                }
            }
        }
        if !elsewhere.is_empty() {
            let users: Vec<UserKey> = elsewhere.iter().map(|place| asked[*place].user).collect();
            self.find_each(users.into_iter(), |at, number, slot| {
                asked[elsewhere[at]].hint.set(number.into());
                show(elsewhere[at], number, slot);
            });
        }
    }

    /// As [`find_hinted`](Self::find_hinted), of one.
    fn find_hinted_one<T>(&self, asked: &Asked<'_>, show: impl FnOnce(&Slot) -> T) -> Option<T> {
        let tenant = *self.tenants.read().numbers.get(&asked.user.tenant)?;
        let likely = UserNumber(asked.hint.get());
        let user = asked.user.user.as_u128().to_be_bytes();
        {
            let shard = self.shards[likely.shard()].read();
            let slot = shard.get(likely.slot()).filter(|slot| slot.user == user && slot.tenant == tenant);
            if let Some(slot) = slot {
                return Some(show(slot));
            }
        }
        let place = self.place(tenant, asked.user.user);
        let shard = self.shards[place.shard()].read();
        let slot = shard.find(&place)?;
        asked.hint.set(UserNumber::new(place.shard(), slot).into());
        Some(show(shard.slot(slot)))
    }

    /// Shows the slots of these users, in any order, with the place of the user among them.
    ///
    /// For hundreds of users this is nothing but waiting for memory: each is somewhere else. So the work is cut into
    /// passes that do little between one place and the next, and the processor, which runs ahead while it waits, has
    /// several of them under way. And each shard is locked once.
    fn find_each(
        &self,
        users: impl ExactSizeIterator<Item = UserKey>,
        mut show: impl FnMut(usize, UserNumber, &Slot),
    ) {
        let mut wanted = Vec::with_capacity(users.len());
        {
            let tenants = self.tenants.read();
            let mut last: Option<(TenantId, u32)> = None;
            for (for_place, key) in (0..).zip(users) {
                let known = last.filter(|(tenant, _)| *tenant == key.tenant);
                let known = known.or_else(|| Some((key.tenant, *tenants.numbers.get(&key.tenant)?)));
                let Some((_, tenant)) = known else { continue };
                last = known;
                let at = self.place(tenant, key.user);
                wanted.push(Wanted { at, for_place, slot: None });
            }
        }
        let (by_shard, of_shard) = in_order_of_shards(&wanted, |wanted| wanted.at.shard());
        let mut rest = &by_shard[..];
        for (shard_number, (shard, count)) in self.shards.iter().zip(of_shard).enumerate() {
            let (here, others) = rest.split_at(count as usize);
            rest = others;
            if here.is_empty() {
                continue;
            }
            let shard = shard.read();
            for number in here {
                let one = &mut wanted[*number as usize];
                // Nearly always the one and only; looked at in the next pass.
                one.slot = shard.numbers.iter_hash(one.at.hash).next().copied();
            }
            for number in here {
                let Wanted { at, for_place, slot } = &wanted[*number as usize];
                let Some(likely) = slot.map(|slot| shard.slot(slot)) else { continue };
                let is_it = likely.user == at.user && likely.tenant == at.tenant;
                let slot = if is_it { *slot } else { shard.find(at) };
                if let Some(slot) = slot {
                    show(*for_place as usize, UserNumber::new(shard_number, slot), shard.slot(slot));
                }
            }
        }
    }

    /// The record's bytes, if there is one. A user may have a number without: see [`Filling::number`].
    fn read<T>(&self, key: &UserKey, reader: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let tenant = *self.tenants.read().numbers.get(&key.tenant)?;
        let place = self.place(tenant, key.user);
        let shard = self.shards[place.shard()].read();
        let number = shard.find(&place)?;
        let record = shard.slot(number).record.bytes();
        (!record.is_empty()).then(|| reader(record))
    }

    /// A user's number, and the version of the record.
    pub(super) fn find(&self, key: &UserKey) -> Found {
        let Some(tenant) = self.tenants.read().numbers.get(&key.tenant).copied() else { return Ok(None) };
        let place = self.place(tenant, key.user);
        let shard = self.shards[place.shard()].read();
        let Some(slot) = shard.find(&place) else { return Ok(None) };
        Ok(Some((UserNumber::new(place.shard(), slot), shard.slot(slot).version()?)))
    }

    /// A user's number; whoever has none gets one, and no record with it yet.
    pub(super) fn enter(&self, key: &UserKey) -> UserNumber {
        let place = self.place(self.tenant_number(key.tenant), key.user);
        let mut shard = self.shards[place.shard()].write();
        UserNumber::new(place.shard(), self.slot_in(&mut shard, &place))
    }

    /// Puts records there, with their wake-ups; those of one user in order. `take` gives the record, and its wish to be woken, of
    /// each, once. Settlements are not noted: see [`note_settled`](Self::note_settled).
    pub(super) fn put_all(
        &self,
        wakes: &mut Wakes,
        numbers: &[UserNumber],
        mut take: impl FnMut(usize) -> (Record, Option<Timestamp>),
    ) {
        let (by_shard, _) = in_order_of_shards(numbers, |number| number.shard());
        for of_shard in by_shard.chunk_by(|a, b| numbers[*a as usize].shard() == numbers[*b as usize].shard())
        {
            let mut shard = self.shards[numbers[of_shard[0] as usize].shard()].write();
            // Nothing but waiting for memory, and for many at a time: what follows takes long enough for each that the processor
            // would wait for one after the other.
            let slots = of_shard.iter().map(|place| shard.slot(numbers[*place as usize].slot()).indexed);
            std::hint::black_box(slots.fold(0, |all, indexed| all ^ indexed));
            for place in of_shard {
                let number = numbers[*place as usize];
                let (record, wake_at) = take(*place as usize);
                let slot = shard.slot_mut(number.slot());
                let old_wake_at = if slot.indexed == Wakes::RIPE { slot.wake_at() } else { None };
                slot.record = record;
                wakes.changed(number, &mut slot.indexed, old_wake_at, wake_at);
            }
        }
    }

    fn slot_in(&self, shard: &mut Shard, place: &Place) -> u32 {
        if let Some(slot) = shard.find(place) {
            return slot;
        }
        let Place { hash, tenant, user } = *place;
        let slot = shard.push(Slot { user, tenant, indexed: Wakes::NOWHERE, record: Record::new(&[]) });
        let Shard { numbers, chunks, .. } = shard;
        numbers.insert_unique(hash, slot, |slot| self.hash_of(chunks, *slot));
        slot
    }

    pub(super) fn tenant_number(&self, tenant: TenantId) -> u32 {
        if let Some(number) = self.tenants.read().numbers.get(&tenant) {
            return *number;
        }
        let mut tenants = self.tenants.write();
        let next = tenants.ids.len() as u32;
        let number = *tenants.numbers.entry(tenant).or_insert(next);
        if number == next {
            tenants.ids.push(tenant);
        }
        number
    }

    /// Somebody has been settled as late as this.
    pub(super) fn note_settled(&self, settled_at: Timestamp) {
        if *self.latest.read() < Some(settled_at) {
            let mut latest = self.latest.write();
            *latest = latest.max(Some(settled_at));
        }
    }

    pub(super) fn latest(&self) -> Option<Timestamp> {
        *self.latest.read()
    }

    pub(super) fn restore_latest(&self, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.note_settled(at);
        }
    }

    /// The slots of these users, for the index of wake-ups: shard by shard, so that a lock is taken once for many of them
    /// and the processor waits for several at a time.
    pub(super) fn with_slots(&self, numbers: &mut [UserNumber], mut body: impl FnMut(UserNumber, &mut Slot)) {
        numbers.sort_unstable_by_key(|number| number.shard());
        for of_shard in numbers.chunk_by(|a, b| a.shard() == b.shard()) {
            let mut shard = self.shards[of_shard[0].shard()].write();
            for number in of_shard {
                body(*number, shard.slot_mut(number.slot()));
            }
        }
    }

    /// The keys of these users, in order.
    pub(super) fn keys(&self, numbers: &[UserNumber]) -> Vec<UserKey> {
        let mut found = vec![(0, [0; 16]); numbers.len()];
        self.each_slot(numbers, |place, slot| found[place] = (slot.tenant, slot.user));
        // Not locked before a shard is: whoever has a shard may want to know a tenant.
        let tenants = self.tenants.read();
        found.into_iter().map(|(tenant, user)| tenants.key(tenant, user)).collect()
    }

    /// Shows the slots of these users shard by shard, with the place of each.
    fn each_slot(&self, numbers: &[UserNumber], mut show: impl FnMut(usize, &Slot)) {
        let (by_shard, _) = in_order_of_shards(numbers, |number| number.shard());
        for of_shard in by_shard.chunk_by(|a, b| numbers[*a as usize].shard() == numbers[*b as usize].shard())
        {
            let shard = self.shards[numbers[of_shard[0] as usize].shard()].read();
            for place in of_shard {
                show(*place as usize, shard.slot(numbers[*place as usize].slot()));
            }
        }
    }

    /// Shows every slot of a shard.
    pub(super) fn for_each_slot(&self, shard_number: usize, mut body: impl FnMut(UserNumber, &Slot)) {
        let shard = self.shards[shard_number].read();
        for number in 0..shard.len {
            body(UserNumber::new(shard_number, number), shard.slot(number));
        }
    }

    /// At most `max` entries of the log of changes after a position.
    pub(super) fn read_log(&self, after: Position, max: usize) -> LogRead {
        let read = self.log.read().read(after, max);
        match read {
            RingRead::Behind { oldest, end } => LogRead::Behind { oldest, end },
            RingRead::Page { entries, end } => {
                let users: Vec<UserNumber> = entries.iter().map(|entry| UserNumber(entry.user)).collect();
                let entries = entries.into_iter().zip(self.keys(&users));
                let entries = entries.map(|(RingEntry { position, change, .. }, user)| LogEntry {
                    position,
                    user,
                    change,
                });
                LogRead::Page { entries: entries.collect(), end }
            }
        }
    }

    /// How many pieces [`visit_chunk`](Self::visit_chunk) has now, shard by shard.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (usize, usize)> {
        let counts: Vec<usize> = self.shards.iter().map(|shard| shard.read().chunks.len()).collect();
        counts
            .into_iter()
            .enumerate()
            .flat_map(|(shard, chunks)| (0..chunks).map(move |chunk| (shard, chunk)))
    }

    /// Shows the users of a piece from one on, under one lock, as long as `visit` wants more. Answers where to go on.
    pub(super) fn visit_chunk(
        &self,
        (shard, chunk): (usize, usize),
        from: usize,
        mut visit: impl FnMut(UserKey, &[u8]) -> ControlFlow<()>,
    ) -> Option<usize> {
        let shard = self.shards[shard].read();
        let tenants = self.tenants.read();
        let slots = shard.chunks[chunk].iter().enumerate().skip(from);
        for (place, slot) in slots.filter(|(_, slot)| !slot.record.bytes().is_empty()) {
            if visit(slot.key(&tenants), slot.record.bytes()).is_break() {
                return Some(place + 1);
            }
        }
        None
    }

    pub(super) fn documents(&self, wanted: DocumentKind) -> Vec<Document> {
        let documents = self.documents.read();
        let of_kind = documents.iter().filter(|((kind, _), _)| *kind == wanted);
        of_kind
            .map(|((kind, key), body)| Document { kind: *kind, key: key.to_vec(), body: Some(body.to_vec()) })
            .collect()
    }

    /// Puts or deletes some documents; readers see all or none of them.
    pub(super) fn put_documents<'a>(
        &self,
        changes: impl Iterator<Item = (DocumentKind, &'a [u8], Option<&'a [u8]>)>,
    ) {
        let mut documents = self.documents.write();
        for (kind, key, body) in changes {
            match body {
                Some(body) => drop(documents.insert((kind, key.into()), body.into())),
                None => drop(documents.remove(&(kind, key.into()))),
            }
        }
    }

    pub(super) fn document_count(&self) -> u64 {
        self.documents.read().len() as u64
    }

    /// Some documents after a key, in order: a snapshot reads them piece by piece.
    pub(super) fn documents_after(
        &self,
        after: Option<&DocumentKey>,
        max: usize,
    ) -> Vec<(DocumentKey, Box<[u8]>)> {
        let documents = self.documents.read();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let some = documents.range((from, Bound::Unbounded)).take(max);
        some.map(|(key, body)| (key.clone(), body.clone())).collect()
    }
}

/// A shard being filled: see [`Table::fill`]. Wake-ups are only noted in the slots, and settlements not at all:
/// [`Wakes::index_all`] and [`Table::restore_latest`] are called when all are there.
pub(super) struct Filling<'a> {
    table: &'a Table,
    shard_number: usize,
    shard: RwLockWriteGuard<'a, Shard>,
}

impl Filling<'_> {
    /// Puts a user there who is not there yet, and whom nobody finds before [`index`](Self::index) is called: what comes in
    /// one piece is written in one piece, and the hash table is filled while it stays in the processor's cache.
    pub(super) fn append(&mut self, place: &Place, record: &[u8], head: &Head) {
        self.shard.push(Slot {
            user: place.user,
            tenant: place.tenant,
            indexed: Wakes::wanted(head.wake_at),
            record: Record::new(record),
        });
    }

    /// Lets those be found who have been appended.
    pub(super) fn index(&mut self) {
        let Shard { numbers, chunks, len } = &mut *self.shard;
        for number in numbers.len() as u32..*len {
            let hash = self.table.hash_of(chunks, number);
            numbers.insert_unique(hash, number, |number| self.table.hash_of(chunks, *number));
        }
    }

    /// Puts a record there, if `accepts` the version of what is there already.
    pub(super) fn restore<E>(
        &mut self,
        place: &Place,
        record: &[u8],
        head: &Head,
        accepts: impl FnOnce(Version) -> Result<bool, E>,
    ) -> Result<Result<(), E>, RecordError> {
        let number = self.table.slot_in(&mut self.shard, place);
        let slot = self.shard.slot_mut(number);
        let kept = slot.version()?;
        Ok(accepts(kept).map(|accepted| {
            if accepted {
                slot.record = Record::new(record);
                slot.indexed = Wakes::wanted(head.wake_at);
            }
        }))
    }

    /// Whose number it nearly always is; for [`number`](Self::number) to look at.
    pub(super) fn likely(&self, place: &Place) -> Option<UserNumber> {
        let slot = self.shard.numbers.iter_hash(place.hash).next();
        slot.map(|slot| UserNumber::new(self.shard_number, *slot))
    }

    /// A user's number. Whoever has none gets one, and no record with it: entries of the log of changes may be read before
    /// the record is.
    pub(super) fn number(&mut self, place: &Place, likely: Option<UserNumber>) -> UserNumber {
        let is_it = |number: &UserNumber| {
            let slot = self.shard.slot(number.slot());
            slot.user == place.user && slot.tenant == place.tenant
        };
        if let Some(number) = likely.filter(is_it) {
            return number;
        }
        UserNumber::new(self.shard_number, self.table.slot_in(&mut self.shard, place))
    }
}

/// Where a copied record stands, and whose it is; empty for whoever has none.
#[derive(Clone, Copy, Default)]
struct Copied {
    start: u32,
    length: u32,
    number: Option<UserNumber>,
}

impl Copied {
    fn to(copied: &mut Vec<u8>, bytes: &[u8], number: UserNumber) -> Self {
        let (start, length) = (copied.len() as u32, bytes.len() as u32);
        copied.extend_from_slice(bytes);
        Self { start, length, number: Some(number) }
    }

    fn of<'a>(&self, copied: &'a [u8]) -> &'a [u8] {
        &copied[self.start as usize..][..self.length as usize]
    }
}

/// A user's number and the version of the record; `None` for whoever has no number.
pub(super) type Found = Result<Option<(UserNumber, Version)>, RecordError>;

/// A user to be found: where in the table, and for which place of the answer.
struct Wanted {
    at: Place,
    for_place: u32,
    slot: Option<u32>,
}

/// A user who may be there, for a place of the answer.
#[derive(Clone, Copy)]
struct Hinted {
    number: UserNumber,
    tenant: u32,
    place: u32,
}

/// Positions in `all`, those of the first shard first, and within a shard in order; and how many are of each.
fn in_order_of_shards<T>(all: &[T], shard_of: impl Fn(&T) -> usize) -> (Vec<u32>, [u32; SHARDS]) {
    let mut of_shard = [0_u32; SHARDS];
    for one in all {
        of_shard[shard_of(one)] += 1;
    }
    let mut next = of_shard;
    let mut before = 0;
    for count in &mut next {
        before += std::mem::replace(count, before);
    }
    let mut ordered = vec![0; all.len()];
    for (position, one) in (0..).zip(all) {
        let next = &mut next[shard_of(one)];
        ordered[*next as usize] = position;
        *next += 1;
    }
    (ordered, of_shard)
}
