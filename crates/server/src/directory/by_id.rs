//! Users by object id: what every request looks into, batch reads 650 times.
//!
//! A persistent map of nodes costs a cache miss at each of its levels, some twenty for a million users in a tree: two
//! microseconds a look, more than everything else a batch read does for a user. Here a look is a hash, a bucket and its
//! table. Buckets are shared between versions; a change copies the list of buckets and the one bucket it concerns.

use std::hash::BuildHasher;
use std::sync::Arc;

use graph::user::User;
use hashbrown::{DefaultHashBuilder, HashTable};
use presence::UserId;

/// Users of a bucket, on average and at most. A change copies one bucket and, for a million users, 4,096 pointers.
const BUCKET_USERS: usize = 256;

/// With the id beside the user: a look that only wants to know whether there is one does not go further.
type Bucket = HashTable<(UserId, Arc<User>)>;

/// A persistent map of users by object id.
#[derive(Clone, Debug)]
pub(super) struct UsersById {
    hasher: DefaultHashBuilder,
    /// As many as a power of two.
    buckets: Vec<Arc<Bucket>>,
    len: usize,
}

impl Default for UsersById {
    fn default() -> Self {
        Self { hasher: DefaultHashBuilder::default(), buckets: vec![Arc::default()], len: 0 }
    }
}

impl UsersById {
    pub(super) fn get(&self, id: UserId) -> Option<&Arc<User>> {
        let hash = self.hasher.hash_one(id);
        self.buckets[self.place(hash)].find(hash, |(known, _)| *known == id).map(|(_, user)| user)
    }

    pub(super) fn contains(&self, id: UserId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn insert(&mut self, user: Arc<User>) {
        let (id, hash) = (user.id, self.hasher.hash_one(user.id));
        let place = self.place(hash);
        let bucket = Arc::make_mut(&mut self.buckets[place]);
        match bucket.find_mut(hash, |(known, _)| *known == id) {
            Some((_, there)) => *there = user,
            None => {
                bucket.insert_unique(hash, (id, user), |(id, _)| self.hasher.hash_one(id));
                self.len += 1;
            }
        }
        if self.len > self.buckets.len() * BUCKET_USERS {
            self.grow();
        }
    }

    pub(super) fn remove(&mut self, id: UserId) {
        let hash = self.hasher.hash_one(id);
        let place = self.place(hash);
        if self.contains(id)
            && let Ok(found) =
                Arc::make_mut(&mut self.buckets[place]).find_entry(hash, |(known, _)| *known == id)
        {
            found.remove();
            self.len -= 1;
        }
    }

    /// The bucket, from bits of the hash that the tables inside do not use.
    fn place(&self, hash: u64) -> usize {
        (hash >> 24) as usize & (self.buckets.len() - 1)
    }

    /// Four times the buckets, so that growing to any size costs little more than one copy of it.
    fn grow(&mut self) {
        let count = self.buckets.len() * 4;
        let empty = || Arc::new(Bucket::with_capacity(BUCKET_USERS / 2));
        let old = std::mem::replace(&mut self.buckets, (0..count).map(|_| empty()).collect());
        for bucket in old {
            for (id, user) in bucket.iter() {
                let hash = self.hasher.hash_one(id);
                let place = self.place(hash);
                Arc::make_mut(&mut self.buckets[place]).insert_unique(
                    hash,
                    (*id, Arc::clone(user)),
                    |(id, _)| self.hasher.hash_one(id),
                );
            }
        }
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
