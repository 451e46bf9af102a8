//! Users by object id: what every request looks into, batch reads 650 times.
//!
//! To look is to wait for memory: a tree of a million users has twenty places that are in nobody's cache, two microseconds
//! a look, more than everything else a batch read does for a user; a hash table that is itself an allocation has three. Here
//! it is one: buckets are slices, whose places and lengths stand in one list that stays in the processor's cache, and a
//! user is found where the hash says or right behind. Buckets are shared between versions; a change copies the list of
//! buckets and the one bucket it concerns.

use std::hash::BuildHasher;
use std::sync::Arc;

use graph::user::User;
use hashbrown::DefaultHashBuilder;
use presence::UserId;
use store::Hint;

/// Users of a bucket, on average and at most. A change copies one bucket and, for a million users, 4,096 pointers.
const BUCKET_USERS: usize = 256;

type Slot = Option<Entry>;

/// With the id beside the user, and where the store has them: who only wants to know whether there is one, and to ask the
/// store, does not go further.
#[derive(Clone, Debug)]
struct Entry {
    id: UserId,
    user: Arc<User>,
    hint: Hint,
}

/// A persistent map of users by object id.
#[derive(Clone, Debug)]
pub(super) struct UsersById {
    hasher: DefaultHashBuilder,
    /// As many as a power of two.
    buckets: Vec<Bucket>,
    len: usize,
}

/// Slots, as many as a power of two and at least half of them empty: whoever is not where the hash says stands behind,
/// before the next empty one.
#[derive(Clone, Debug)]
struct Bucket {
    slots: Arc<[Slot]>,
    users: usize,
}

impl Default for UsersById {
    fn default() -> Self {
        Self { hasher: DefaultHashBuilder::default(), buckets: vec![Bucket::with_room_for(0)], len: 0 }
    }
}

impl UsersById {
    pub(super) fn get(&self, id: UserId) -> Option<&Arc<User>> {
        Some(&self.entry(id)?.user)
    }

    /// Where the store may have a user.
    pub(super) fn hint(&self, id: UserId) -> Option<&Hint> {
        Some(&self.entry(id)?.hint)
    }

    fn entry(&self, id: UserId) -> Option<&Entry> {
        let hash = hash(&self.hasher, id);
        self.buckets[self.place(hash)].find(hash, id)
    }

    pub(super) fn contains(&self, id: UserId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn insert(&mut self, user: Arc<User>) {
        let hash = hash(&self.hasher, user.id);
        let place = self.place(hash);
        let bucket = &mut self.buckets[place];
        if bucket.is_full() {
            *bucket = Bucket::of(&self.hasher, 2 * bucket.users, bucket.iter());
        }
        if bucket.put(hash, user) {
            self.len += 1;
        }
        if self.len > self.buckets.len() * BUCKET_USERS {
            self.grow();
        }
    }

    pub(super) fn remove(&mut self, id: UserId) {
        if self.contains(id) {
            let place = self.place(hash(&self.hasher, id));
            let bucket = &mut self.buckets[place];
            let others = bucket.iter().filter(|user| user.id != id);
            *bucket = Bucket::of(&self.hasher, bucket.users - 1, others);
            self.len -= 1;
        }
    }

    /// The bucket, from bits of the hash that the buckets themselves do not use.
    fn place(&self, hash: u64) -> usize {
        (hash >> 24) as usize & (self.buckets.len() - 1)
    }

    /// Four times the buckets, so that growing to any size costs little more than one copy of it.
    fn grow(&mut self) {
        let count = self.buckets.len() * 4;
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::with_room_for(0); count]);
        for bucket in old {
            for user in bucket.iter() {
                self.len -= 1;
                self.insert(Arc::clone(user));
            }
        }
    }
}

/// As one number: as the sixteen bytes that an id is otherwise, it would take three times as long.
fn hash(hasher: &DefaultHashBuilder, id: UserId) -> u64 {
    hasher.hash_one(id.as_u128())
}

impl Bucket {
    fn with_room_for(users: usize) -> Self {
        let slots = (users.max(2) * 2).next_power_of_two();
        Self { slots: (0..slots).map(|_| None).collect(), users: 0 }
    }

    /// A bucket of these users, with room for `room` and for one more.
    fn of<'a>(hasher: &DefaultHashBuilder, room: usize, users: impl Iterator<Item = &'a Arc<User>>) -> Self {
        let mut bucket = Self::with_room_for(room + 1);
        for user in users {
            bucket.put(hash(hasher, user.id), Arc::clone(user));
        }
        bucket
    }

    fn is_full(&self) -> bool {
        (self.users + 1) * 2 > self.slots.len()
    }

    fn find(&self, hash: u64, id: UserId) -> Option<&Entry> {
        self.slots[self.slot(hash, id)].as_ref()
    }

    /// Puts a user there, where there is room. Returns whether it is a new one.
    fn put(&mut self, hash: u64, user: Arc<User>) -> bool {
        let slot = self.slot(hash, user.id);
        let entry = Entry { id: user.id, user, hint: Hint::default() };
        let is_new = Arc::make_mut(&mut self.slots)[slot].replace(entry).is_none();
        self.users += usize::from(is_new);
        is_new
    }

    /// Where a user is, or would be.
    fn slot(&self, hash: u64, id: UserId) -> usize {
        let last = self.slots.len() - 1;
        let mut slot = hash as usize & last;
        while self.slots[slot].as_ref().is_some_and(|other| other.id != id) {
            slot = (slot + 1) & last;
        }
        slot
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<User>> {
        self.slots.iter().flatten().map(|entry| &entry.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u128) -> Arc<User> {
        Arc::new(User::new(UserId::from_u128(number), format!("{number}@x.example")))
    }

    #[test]
    fn what_is_inserted_is_found_until_it_is_removed_and_versions_do_not_see_each_other() {
        let mut users = UsersById::default();
        let count = BUCKET_USERS as u128 * 20;
        for number in 0..count {
            users.insert(user(number));
            users.insert(user(number));
        }
        assert_eq!(users.len, count as usize);
        assert!(users.buckets.len() > 16);
        let before = users.clone();
        for number in (0..count).step_by(2) {
            users.remove(UserId::from_u128(number));
            users.remove(UserId::from_u128(number));
        }
        assert_eq!(users.len, count as usize / 2);
        for number in 0..count {
            let id = UserId::from_u128(number);
            assert_eq!(users.get(id).map(|user| user.id), (number % 2 == 1).then_some(id));
            assert_eq!(before.get(id).map(|user| user.id), Some(id));
        }
    }
}
