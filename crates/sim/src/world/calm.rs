//! The end of every run: faults end, everybody comes back, and all is held against the model.

use jiff::SignedDuration;
use store::leases::{BEAT, LEASE};

use super::{NODES_MAX, World};
use crate::check::{self, Violation};
use crate::line::{Answer, Deed, DiskWill};
use crate::receivers::{REMINDERS, SubState};
use crate::shares::SHARDS;

/// How far time goes on at once when everything is calm: further than any retry.
const CALM_STEP: SignedDuration = SignedDuration::from_mins(13);
/// How long a node may take to stop, once nothing is in its way.
const STOP_SECONDS_MAX: usize = 60;
/// How often it does. Longer than any session together.
const CALM_STEPS: usize = 24;

impl World {
    /// Faults end, everybody comes back, and every step is called until there is nothing more to do; then all is held
    /// against the model.
    pub(super) fn calm(&mut self) -> Result<(), Violation> {
        self.trace(|| "calm".to_owned());
        self.is_disk_faulty = false;
        self.is_calm = true;
        self.keeper.set_disk(DiskWill::Works);
        for node in 0..NODES_MAX {
            self.wake(node);
        }
        for step in &mut self.steps {
            step.fates.clear();
        }
        while !self.held.is_empty() {
            self.resume(1);
            self.go_on()?;
        }
        // Who is about to stop may be waiting for somebody's claim to end.
        for _ in 0..STOP_SECONDS_MAX {
            if !self.steps.iter().any(|step| step.deed == Deed::Stop) {
                break;
            }
            self.wire.set_now(self.wire.now() + SignedDuration::from_secs(1));
            self.go_on()?;
        }
        for node in 0..NODES_MAX {
            let is_silent = |world: &Self| {
                !world.nodes.iter().any(|node| node.up.as_ref().is_some_and(|up| up.notifier.is_some()))
            };
            if self.nodes[node].up.is_some() && is_silent(self) {
                self.crash(node, false);
            }
            // The second time for a node that was about to stop.
            for _ in 0..2 {
                self.act(node, &Deed::Start, &[])?;
                self.go_on()?;
            }
            if self.nodes[node].up.is_none() && (node == 0 || !self.keeper.is_embedded()) {
                return Err(Violation::new(
                    "nothing fails without a fault",
                    format!("n{} does not start", node + 1),
                ));
            }
        }
        let (mut clocks, mut has_checked) = (Vec::new(), false);
        for place in 0..CALM_STEPS {
            if place > 0 {
                self.wire.set_now(self.wire.now() + CALM_STEP);
            }
            self.share_out()?;
            for node in 0..NODES_MAX {
                self.act(node, &Deed::Ticker, &[])?;
                self.go_on()?;
                if self.has_strays {
                    self.act(node, &Deed::Tick, &[])?;
                    self.go_on()?;
                }
            }
            while self.deliver()? {}
            if place == 0 {
                self.expect_reminders();
                clocks = self.clocks();
            }
            // Whatever waited to be tried again has been, and not all have ended meanwhile: some clocks stand until they are right.
            let mut both = self.clocks().into_iter().zip(&clocks);
            if !has_checked && both.all(|(now, then)| now.duration_since(*then) >= CALM_STEP) {
                has_checked = true;
                self.check_told()?;
            }
        }
        // The slowest clock decides what has been noticed.
        let clocks = self.nodes.iter().filter_map(|node| node.up.as_ref()).map(|up| up.clock.peek());
        let now = clocks.min().unwrap_or_else(|| self.wire.now());
        self.keeper.make_safe();
        let (stored, log) =
            self.keeper.everything().map_err(|what| Violation::new("what is kept can be read", what))?;
        check::kept(&self.keeper.people, &stored, &log, now)?;
        check::told(&self.receivers, &log, self.every, self.latest_clock())?;
        check::reminded(&self.receivers)
    }

    fn clocks(&self) -> Vec<presence::Timestamp> {
        self.nodes.iter().filter_map(|node| node.up.as_ref()).map(|up| up.clock.peek()).collect()
    }

    fn check_told(&mut self) -> Result<(), Violation> {
        self.pass_time();
        self.keeper.make_safe();
        let (_, log) =
            self.keeper.everything().map_err(|what| Violation::new("what is kept can be read", what))?;
        check::told(&self.receivers, &log, self.every, self.latest_clock())?;
        check::removed(&self.receivers)
    }

    /// Which subscriptions are to be reminded of their end from now on, since nothing more is asked.
    fn expect_reminders(&mut self) {
        self.pass_time();
        let now = self.latest_clock();
        let until = self.wire.now() + CALM_STEP * (CALM_STEPS as i32 - 1);
        for known in self.receivers.subs.values_mut() {
            let (Some(expiry), Some(token)) = (known.expiry.certain(), known.token.certain()) else {
                continue;
            };
            let end = expiry.min(token);
            let is_there = known.state == SubState::There && !known.may_be_over && end < until;
            known.reminder = end.checked_sub(REMINDERS[0]).ok().filter(|at| is_there && *at > now);
        }
    }

    /// Nodes that share a store take their leases, as they do within seconds, and each shard is somebody's.
    fn share_out(&mut self) -> Result<(), Violation> {
        if !self.keeper.is_shared() {
            return Ok(());
        }
        // In the first each takes its own, once whoever has gone is missed and whatever its clock gave has ended, in the others
        // what is given back meanwhile.
        for wait in [LEASE * 4, BEAT, BEAT] {
            self.wire.set_now(self.wire.now() + wait);
            self.every_node(&[Deed::Beat])?;
        }
        let ups = self.nodes.iter().filter_map(|node| node.up.as_ref()?.shares.as_ref());
        let believed: Vec<_> = ups.map(|shares| shares.believes()).collect();
        for shard in 0..SHARDS {
            let holders = believed.iter().filter(|leases| leases.has(shard)).count();
            if holders != 1 {
                let what = format!("shard {shard} is {holders} nodes'");
                return Err(Violation::new("within seconds each shard is one node's", what));
            }
        }
        Ok(())
    }

    fn every_node(&mut self, deeds: &[Deed]) -> Result<(), Violation> {
        for node in 0..NODES_MAX {
            for deed in deeds {
                self.act(node, deed, &[])?;
                self.go_on()?;
            }
        }
        Ok(())
    }

    /// One round of delivery, in which all goes well; says whether there was anything to deliver.
    fn deliver(&mut self) -> Result<bool, Violation> {
        // What each plans is known to have been heard of: all have looked before.
        self.every_node(&[Deed::Look])?;
        self.every_node(&[Deed::Pump, Deed::Plan])?;
        let had_any = !self.under_way.is_empty();
        while !self.under_way.is_empty() {
            self.answer(1, Answer::Taken)?;
        }
        for node in 0..NODES_MAX {
            self.act(node, &Deed::Save, &[])?;
            self.go_on()?;
            let Some(notifier) = self.nodes[node].up.as_ref().and_then(|up| up.notifier.clone()) else {
                continue;
            };
            self.are_queues_bounded(&notifier)?;
        }
        Ok(had_any)
    }
}
