//! A second account of leases: who was given what, kept apart from the store's own, to say whether a write may be kept.

use std::collections::BTreeMap;

use presence::Timestamp;
use store::leases::LEASE;

use crate::check::Violation;
use crate::wire::{Op, Outcome, Reply};

/// Of each shard, whose it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Register {
    shards: BTreeMap<u16, Grant>,
}

#[derive(Clone, Debug, Default)]
struct Grant {
    /// Which life has it, and until when.
    holder: Option<(usize, Timestamp)>,
    /// Under which token. The last one, if nobody has it.
    token: u64,
}

impl Register {
    /// The life that has a shard.
    pub(crate) fn holder(&self, shard: u16) -> Option<usize> {
        self.shards.get(&shard).and_then(|grant| grant.holder).map(|(life, _)| life)
    }

    /// The token under which it is held, or was last.
    pub(crate) fn token(&self, shard: u16) -> u64 {
        self.shards.get(&shard).map_or(0, |grant| grant.token)
    }

    /// Takes note of what the store did.
    pub(crate) fn note(&mut self, op: &Op, outcome: &Outcome) -> Result<(), Violation> {
        match (op, outcome) {
            (Op::Lease { life, shard, is_wanted, at }, Ok(Reply::Token(token))) => {
                let grant = self.shards.entry(*shard).or_default();
                grant.leased(*life, *is_wanted, *token, *at).map_err(|what| {
                    Violation::new("a lease is one node's at a time", format!("shard {shard}: {what}"))
                })
            }
            (Op::PutUnder { life, shard, token, .. }, Ok(_)) => {
                let grant = self.shards.get(shard).cloned().unwrap_or_default();
                if grant.token == *token && grant.holder.is_some_and(|(holder, _)| holder == *life) {
                    return Ok(());
                }
                let what = format!("life {life} wrote to shard {shard} under {token}, which is {grant:?}");
                Err(Violation::new("leases never let a stale node's write in", what))
            }
            _ => Ok(()),
        }
    }
}

impl Grant {
    fn leased(
        &mut self,
        life: usize,
        is_wanted: bool,
        token: Option<u64>,
        at: Timestamp,
    ) -> Result<(), String> {
        let is_own = self.holder.is_some_and(|(holder, _)| holder == life);
        let is_free = self.holder.is_none_or(|(_, until)| until <= at);
        match (is_wanted, token) {
            (false, Some(token)) => return Err(format!("life {life} gave {token} back and has it")),
            (false, None) if is_own => self.holder = None,
            (false, None) => {}
            (true, None) if is_own || is_free => return Err(format!("life {life} cannot have it: {self:?}")),
            (true, None) => {}
            (true, Some(token)) => {
                let follows = if is_own { token == self.token } else { is_free && token > self.token };
                if !follows {
                    return Err(format!("life {life} has it under {token}: {self:?}"));
                }
                let until = at.saturating_add(LEASE).unwrap_or(Timestamp::MAX);
                *self = Self { holder: Some((life, until)), token };
            }
        }
        Ok(())
    }
}
