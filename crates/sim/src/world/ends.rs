//! A step has ended: what it says is held against what is known, at once.

use engine::EngineError;
use engine::notify::SubscribeError;
use store::StoreError;

use super::{IN_TIME, Looked, Step, World};
use crate::check::{self, Violation};
use crate::line::{Deed, PEOPLE};
use crate::node::Done;
use crate::receivers::SubState;
use crate::shares;
use crate::timeline::Instant;

impl World {
    /// A step has ended: is what it says right?
    pub(super) fn end(&mut self, step: Step, done: Done) -> Result<(), Violation> {
        let name = format!("n{} {}", step.node + 1, step.deed);
        // Somebody else's claim may hang.
        let is_waiting = |error: &SubscribeError| matches!(error, SubscribeError::Store(StoreError::Unavailable(what)) if what == shares::ANOTHER);
        let is_excused = step.is_disturbed || self.is_disk_faulty || self.failovers > step.failovers;
        let may_fail = |error: &EngineError| match error {
            EngineError::Presence(_) => true,
            EngineError::Store(StoreError::Unavailable(_)) | EngineError::Contention => is_excused,
            EngineError::Store(_) => false,
        };
        let failed = |error: &dyn std::fmt::Display| {
            Err(Violation::new("nothing fails without a fault", format!("{name}: {error}")))
        };
        if step.was_over && matches!(done, Done::Renewed(Ok(())) | Done::Ended(Ok(()))) {
            let what = format!("{name} was done");
            return Err(Violation::new("a subscription that has ended is not there", what));
        }
        match done {
            Done::Started(outcome) => {
                self.nodes[step.node].is_starting = false;
                match outcome {
                    Ok(up) => {
                        up.clock.set_ahead(self.nodes[step.node].ahead);
                        self.nodes[step.node].up = Some(up);
                    }
                    Err(error) => {
                        self.crash(step.node, false);
                        if !may_fail(&error) {
                            return failed(&error);
                        }
                    }
                }
                Ok(())
            }
            Done::Executed(outcome) => {
                let Deed::Do(person, command) = &step.deed else { return Ok(()) };
                match *outcome {
                    Ok(applied) => {
                        self.trace(|| format!("  {name}: version {}", applied.version.0));
                        let known = &self.keeper.people[*person];
                        let author = known.authors.get((applied.version.0 as usize).wrapping_sub(1));
                        if author != Some(&step.id) {
                            let what =
                                format!("{name} was told version {}, which is not its", applied.version.0);
                            return Err(Violation::new("no acknowledged write is lost", what));
                        }
                        if known.version == applied.version.0 {
                            check::sight(*person, known, &applied.presence, applied.now)?;
                        }
                    }
                    Err(EngineError::Presence(refused)) => {
                        let now = self.wire.read_by(step.id);
                        let known = step.seen.first().map(|(_, known)| known.clone()).unwrap_or_default();
                        let expected = known.refusal(command, now).map(str::to_owned);
                        if expected != Some(format!("{refused:?}")) {
                            let what = format!("{name} was refused: {refused:?}, not {expected:?}");
                            return Err(Violation::new("the rules refuse what they must", what));
                        }
                    }
                    Err(error) if may_fail(&error) => self.trace(|| format!("  {name}: {error}")),
                    Err(error) => return failed(&error),
                }
                Ok(())
            }
            Done::Read(Ok(reading)) => self.look(&step, &reading),
            Done::Read(Err(error)) | Done::Other(Err(error)) => {
                if !may_fail(&error) {
                    return failed(&error);
                }
                match step.deed {
                    Deed::Beat => self.are_leases_believed_rightly(step.node),
                    _ => Ok(()),
                }
            }
            Done::Stopped => {
                self.crash(step.node, false);
                Ok(())
            }
            Done::Other(Ok(())) if step.deed == Deed::Beat => self.are_leases_believed_rightly(step.node),
            Done::Other(Ok(())) => Ok(()),
            Done::Created(outcome) => {
                let Deed::Subscribe { sub, .. } = step.deed else { return Ok(()) };
                let Some(known) = self.receivers.subs.get_mut(&sub) else { return Ok(()) };
                match outcome {
                    Ok(created) => {
                        known.created_after = created.created_after;
                        known.expiry.acknowledge(step.id, self.next_step);
                        known.token.acknowledge(step.id, self.next_step);
                        if known.ends == 0 {
                            known.state = SubState::There;
                        }
                        let end = self.keeper.end();
                        if created.created_after > end {
                            let what =
                                format!("{name} after {:?}, the end is {end:?}", created.created_after);
                            return Err(Violation::new("a subscription is told what follows it", what));
                        }
                        Ok(())
                    }
                    Err(SubscribeError::Store(_)) if is_excused => Ok(()),
                    Err(error) if is_waiting(&error) => Ok(()),
                    // Ended by somebody before its maker knew that it was there.
                    Err(SubscribeError::NotFound) if known.ends > 0 || known.may_be_over => Ok(()),
                    Err(error) => failed(&error),
                }
            }
            Done::Renewed(outcome) => match outcome {
                Ok(()) => {
                    if let Deed::Move { sub, .. } | Deed::Renew { sub, .. } = step.deed
                        && let Some(known) = self.receivers.subs.get_mut(&sub)
                    {
                        known.expiry.acknowledge(step.id, self.next_step);
                        known.token.acknowledge(step.id, self.next_step);
                    }
                    if let Deed::Move { sub, receiver } = step.deed
                        && let Some(known) = self.receivers.subs.get_mut(&sub)
                    {
                        // POSTs that are under way still go to the one before.
                        known.receivers.push(receiver);
                    }
                    Ok(())
                }
                Err(SubscribeError::Store(_)) if is_excused => Ok(()),
                Err(error) if is_waiting(&error) => Ok(()),
                // Another node has it.
                Err(SubscribeError::Store(StoreError::Unavailable(_)))
                    if matches!(step.deed, Deed::Replay(_)) && self.keeper.is_shared() =>
                {
                    Ok(())
                }
                Err(SubscribeError::NotFound) => self.is_not_found(&step),
                Err(error) => failed(&error),
            },
            Done::Ended(outcome) => {
                let (Deed::Unsubscribe(sub) | Deed::Remove(sub)) = step.deed else { return Ok(()) };
                let Some(known) = self.receivers.subs.get_mut(&sub) else { return Ok(()) };
                match outcome {
                    Ok(()) => {
                        known.state = SubState::Gone;
                        // By who has hung for longer than a claim lasts it may have been renewed unheard.
                        known.is_removed |= matches!(step.deed, Deed::Remove(_)) && !step.is_disturbed;
                    }
                    Err(SubscribeError::Store(_)) if is_excused => {}
                    Err(error) if is_waiting(&error) => {}
                    Err(SubscribeError::NotFound) => {}
                    Err(error) => return failed(&error),
                }
                Ok(())
            }
        }
    }

    /// Only a subscription that is gone, or may be, is not found; or one whose making had not ended when this began.
    fn is_not_found(&self, step: &Step) -> Result<(), Violation> {
        let (Deed::Move { sub, .. } | Deed::Renew { sub, .. } | Deed::Replay(sub)) = step.deed else {
            return Ok(());
        };
        let now = self.latest_clock();
        match self.receivers.subs.get(&sub) {
            // Who has hung for longer than a claim lasts may not have heard that it was renewed.
            Some(known) if step.is_disturbed && known.expiry.earliest_ever() <= now => Ok(()),
            Some(known) if step.was_there && known.state == SubState::There && !known.may_be_over => {
                let what = format!("n{} {}: not found", step.node + 1, step.deed);
                Err(Violation::new("no acknowledged subscription is lost", what))
            }
            _ => Ok(()),
        }
    }

    /// A node that has beaten, in vain or not, thinks that nothing is its own that is somebody else's: but for what it cannot
    /// know, that the clocks by which leases are timed were not what they seem.
    fn are_leases_believed_rightly(&mut self, node: usize) -> Result<(), Violation> {
        let Some(shares) = self.nodes[node].up.as_ref().and_then(|up| up.shares.as_ref()) else {
            return Ok(());
        };
        let (shares, believed) = (shares.clone(), shares.believes());
        self.trace(|| format!("  n{} has {:?}", node + 1, believed.tokens));
        if self.is_engine_clock_moved || shares.has_stood() {
            return Ok(());
        }
        for shard in believed.held() {
            let holder = self.keeper.register.holder(shard);
            if holder != Some(shares.life) {
                let what = format!("n{} is life {}, shard {shard} is {holder:?}'s", node + 1, shares.life);
                return Err(Violation::new("a node lets go of a lease that has ended", what));
            }
        }
        Ok(())
    }

    /// Somebody has looked at some people.
    fn look(&mut self, step: &Step, reading: &engine::Reading) -> Result<(), Violation> {
        for (record, (person, known)) in reading.users.iter().zip(&step.seen) {
            let now = reading.now;
            let number = check::sight(*person, known, record, now)?;
            let earlier = self.reads.iter().filter(|other| {
                let is_before = other.ended_at < step.seen_at && other.person == *person;
                // Whatever was committed in between took effect after the other look, or took no longer than it may: a
                // commit that hangs for longer can be overtaken by a fade, and clocks can be further apart.
                let mut between = known.floors.iter().skip(other.version as usize);
                let is_in_time = between.all(|floor| *floor + IN_TIME >= other.now);
                is_before && other.now <= now && is_in_time
            });
            if let Some(other) =
                earlier.max_by_key(|other| other.number).filter(|other| other.number > number)
            {
                let what = format!(
                    "{} is #{number} at {}, and was #{} at {}",
                    PEOPLE[*person],
                    Instant(now),
                    other.number,
                    Instant(other.now)
                );
                return Err(Violation::new("a sequence number never goes back", what));
            }
            self.tide += 1;
            self.reads.push(Looked {
                person: *person,
                version: known.version,
                now,
                number,
                ended_at: self.tide,
            });
        }
        Ok(())
    }
}
