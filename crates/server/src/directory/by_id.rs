//! Users by object id: what every request looks into, batch reads 650 times.
//!
//! A persistent map of nodes costs a cache miss at each of its levels, some twenty for a million users in a tree: two
//! microseconds a look, more than everything else a batch read does for a user. Here a look is a hash, a bucket and its
//! table. Buckets are shared between versions; a change copies the list of buckets and the one bucket it concerns.

use std::sync::Arc;

use graph::user::User;
use hashbrown::{DefaultHashBuilder, HashMap};
use presence::UserId;
use std::hash::BuildHasher;

/// Users of a bucket, on average and at most. A change copies one bucket and, for a million users, 4,096 pointers.
const BUCKET_USERS: usize = 256;

type Bucket = HashMap<UserId, Arc<User>, DefaultHashBuilder>;

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
        let hasher = DefaultHashBuilder::default();
        Self { buckets: vec![Arc::new(Bucket::with_hasher(hasher.clone()))], hasher, len: 0 }
    }
}

impl UsersById {
    pub(super) fn get(&self, id: UserId) -> Option<&Arc<User>> {
        self.buckets[self.place(id)].get(&id)
    }

    pub(super) fn insert(&mut self, user: Arc<User>) {
        let place = self.place(user.id);
        if Arc::make_mut(&mut self.buckets[place]).insert(user.id, user).is_none() {
            self.len += 1;
        }
        if self.len > self.buckets.len() * BUCKET_USERS {
            self.grow();
        }
    }

    pub(super) fn remove(&mut self, id: UserId) {
        let place = self.place(id);
        if self.buckets[place].contains_key(&id) {
            Arc::make_mut(&mut self.buckets[place]).remove(&id);
            self.len -= 1;
        }
    }

    /// The bucket, from bits of the hash that the tables inside do not use.
    fn place(&self, id: UserId) -> usize {
        (self.hasher.hash_one(id) >> 24) as usize & (self.buckets.len() - 1)
    }

    /// Four times the buckets, so that growing to any size costs little more than one copy of it.
    fn grow(&mut self) {
        let count = self.buckets.len() * 4;
        let empty = || Bucket::with_capacity_and_hasher(BUCKET_USERS / 2, self.hasher.clone());
        let old = std::mem::replace(&mut self.buckets, (0..count).map(|_| Arc::new(empty())).collect());
        for bucket in old {
            for (id, user) in bucket.iter() {
                let place = self.place(*id);
                Arc::make_mut(&mut self.buckets[place]).insert(*id, Arc::clone(user));
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
