//! The last token a connection showed, and what it was good for: most connections show the same one with every request.
//!
//! To find a token among all that were verified takes a digest of it: half a microsecond, as much as everything else that
//! a read does before it comes to the store. Here the bytes are compared with those of before, a twentieth of that.
//!
//! What is remembered is believed as far as what [`Verifier`](crate::Verifier) remembers: its lifetime is checked at every
//! hit, and any change of keys or issuers, whosever, ends all of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use presence::Timestamp;

use crate::claims::Lifetime;
use crate::error::TokenError;
use crate::verify::CLOCK_SKEW_SECS;

/// Longest token that is remembered here: a connection holds one for as long as it is open.
const LAST_TOKEN_BYTES_MAX: usize = 4 * 1024;

/// See the module. `T` is what its owner made of the caller.
#[derive(Debug)]
pub struct LastToken<T>(Mutex<Option<Shown<T>>>);

#[derive(Debug)]
struct Shown<T> {
    token: Bytes,
    /// What the verifier believed in when it was verified.
    epoch: u64,
    lifetime: Lifetime,
    made: T,
}

/// Never printed.
struct Bytes(Box<[u8]>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl<T> Default for LastToken<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Copy> LastToken<T> {
    /// What was made of this token, if it is the last one and was verified in this epoch.
    pub(crate) fn find(&self, token: &[u8], epoch: u64, now: Timestamp) -> Option<Result<T, TokenError>> {
        let mut last = self.lock();
        let shown = last.as_ref().filter(|shown| shown.epoch == epoch && shown.token.is(token))?;
        let checked = shown.lifetime.check(now, CLOCK_SKEW_SECS).map(|()| shown.made);
        if checked.is_err() {
            *last = None;
        }
        Some(checked)
    }

    pub(crate) fn remember(&self, token: &str, epoch: u64, lifetime: Lifetime, made: T) {
        let is_short = token.len() <= LAST_TOKEN_BYTES_MAX;
        *self.lock() =
            is_short.then(|| Shown { token: Bytes(token.as_bytes().into()), epoch, lifetime, made });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Shown<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bytes {
    /// Whether they are the same, in a time that does not tell where they differ: behind a proxy others may share the
    /// connection, and must not find out its last token byte by byte.
    fn is(&self, other: &[u8]) -> bool {
        let pairs = self.0.iter().zip(other);
        let difference = pairs.fold(0, |difference, (ours, theirs)| difference | (ours ^ theirs));
        self.0.len() == other.len() && std::hint::black_box(difference) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_same_bytes_are_the_same() {
        let secret = Bytes(b"abc"[..].into());
        assert!(secret.is(b"abc"));
        for other in [&b""[..], b"ab", b"abcd", b"abd", b"bbc", b"ABC"] {
            assert!(!secret.is(other), "{other:?}");
        }
    }
}
