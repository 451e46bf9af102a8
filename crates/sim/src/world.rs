//! A world in which lines happen, one after the other, on one thread.
//!
//! A line begins a step, and everything that can go on then does, in a fixed order, until all that is left is waiting for
//! a time or for a call that is held. Nothing here is left to chance: the same lines are the same run.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engine::notify::{DELIVERY_LOG_MAX, Outcome, PLANNED_POSTS_MAX, Post, SubscribeError};
use engine::{EngineError, SeededIds};
use futures_util::task::noop_waker_ref;
use jiff::SignedDuration;
use presence::Timestamp;
use store::{Position, StoreError};

use crate::bug::Bug;
use crate::check::{self, OUTSTANDING_MAX, Violation};
use crate::keeper::{Finished, Keeper, Then, Work};
use crate::line::{Answer, Deed, DiskWill, Event, Fate, FateKind, Line, PEOPLE, StoreKind};
use crate::model::{Person, Said};
use crate::node::{self, Done, Up};
use crate::receivers::{self, Receivers, Sub, SubState};
use crate::timeline::Instant;
use crate::wire::{Call, Op, Reply, StepId, Wire};

/// How many nodes there can be.
pub(crate) const NODES_MAX: usize = 3;
/// After so many rounds without anything new from outside, something is going in circles.
const ROUNDS_MAX: usize = 20_000;
/// Answers that are late are so by this.
const LATE: Duration = Duration::from_secs(9);
/// How far time goes on at once when everything is calm: further than any retry.
const CALM_STEP: SignedDuration = SignedDuration::from_mins(13);
/// How often it does. Longer than any session together.
const CALM_STEPS: usize = 24;

/// What a run was like.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What happened, a line each, if it was asked for.
    pub events: Vec<String>,
    /// Steps that were begun.
    pub steps: usize,
    /// Commits that were kept.
    pub commits: usize,
    /// Notifications that were taken, duplicates included.
    pub told: usize,
    /// What was broken, if anything.
    pub violation: Option<Violation>,
}

pub(crate) struct World {
    wire: Arc<Wire>,
    keeper: Keeper,
    bug: Option<Bug>,
    every: bool,
    ids: Arc<SeededIds>,
    nodes: Vec<Node>,
    lives: usize,
    /// The life that delivers.
    delivers: Option<usize>,
    steps: Vec<Step>,
    next_step: StepId,
    held: Vec<Held>,
    under_way: Vec<UnderWay>,
    receivers: Receivers,
    reads: Vec<Looked>,
    /// How many calls have been carried out: the order of everything.
    tide: usize,
    is_disk_faulty: bool,
    failovers: usize,
    is_traced: bool,
    report: Report,
}

#[derive(Clone, Default)]
struct Node {
    ahead: SignedDuration,
    /// Which process this is, of all there ever were.
    life: usize,
    is_starting: bool,
    up: Option<Up>,
}

struct Step {
    id: StepId,
    node: usize,
    deed: Deed,
    work: node::Work,
    fates: Vec<Fate>,
    /// Whether anything befell it that excuses a failure.
    is_disturbed: bool,
    failovers: usize,
    /// What was known when it last read records, and when that was.
    seen: Vec<(usize, Arc<Person>)>,
    seen_at: usize,
}

/// A call that waits to be resumed, on its way there or back.
enum Held {
    There(Call, usize, Option<Said>, bool),
    Back(Finished),
}

struct UnderWay {
    life: usize,
    node: usize,
    post: Post,
}

/// A look at somebody.
struct Looked {
    person: usize,
    node: usize,
    version: u64,
    now: Timestamp,
    number: u64,
    ended_at: usize,
}

/// Plays lines in a world of their own, and lets it come to rest.
pub(crate) fn play(lines: &[Line], bug: Option<Bug>, is_traced: bool) -> Report {
    let mut world = World::new(lines, bug, is_traced);
    let outcome = lines.iter().try_for_each(|line| world.happen(line)).and_then(|()| world.calm());
    world.report.violation = outcome.err();
    if let Some(violation) = &world.report.violation {
        let text = violation.to_string();
        world.trace(|| text);
    }
    world.report.commits = world.keeper.people.iter().map(|person| person.version as usize).sum();
    world.report.told = world.receivers.subs.values().map(|sub| sub.taken.len()).sum();
    world.report.steps = world.next_step;
    world.report
}

impl World {
    fn new(lines: &[Line], bug: Option<Bug>, is_traced: bool) -> Self {
        let wire = Arc::new(Wire::new(crate::timeline::BASE));
        let (mut kind, mut every) = (StoreKind::Memory, true);
        for line in lines {
            match line.event {
                Event::Store(chosen) => kind = chosen,
                Event::Backlog { every: chosen } => every = chosen,
                _ => {}
            }
        }
        Self {
            keeper: Keeper::new(kind, bug, wire.clone()),
            wire,
            bug,
            every,
            ids: Arc::default(),
            nodes: vec![Node::default(); NODES_MAX],
            lives: 0,
            delivers: None,
            steps: Vec::new(),
            next_step: 0,
            held: Vec::new(),
            under_way: Vec::new(),
            receivers: Receivers::default(),
            reads: Vec::new(),
            tide: 0,
            is_disk_faulty: false,
            failovers: 0,
            is_traced,
            report: Report::default(),
        }
    }

    fn trace(&mut self, text: impl FnOnce() -> String) {
        if self.is_traced {
            let line = format!("{:<9} {}", Instant(self.wire.now()).to_string(), text());
            self.report.events.push(line);
        }
    }

    /// Lets a line happen, and everything that follows from it by itself.
    fn happen(&mut self, line: &Line) -> Result<(), Violation> {
        self.wire.set_now(line.at.max(self.wire.now()));
        if self.is_traced {
            self.report.events.push(line.to_string());
        }
        match &line.event {
            Event::Store(_) | Event::Backlog { .. } => {}
            Event::Failover => self.fail_over(),
            Event::Resume(place) => self.resume(*place),
            Event::Disk(will) => {
                self.is_disk_faulty = *will != DiskWill::Works;
                self.keeper.set_disk(*will);
            }
            Event::Answer(place, answer) => self.answer(*place, *answer)?,
            Event::Node { node, deed, fates } => self.act(*node, deed, fates)?,
        }
        self.go_on()
    }

    fn act(&mut self, node: usize, deed: &Deed, fates: &[Fate]) -> Result<(), Violation> {
        // The embedded store is in the process of its only node.
        if node >= NODES_MAX || (self.keeper.is_embedded() && node > 0) {
            return Ok(());
        }
        match deed {
            Deed::Start => return self.start(node, fates),
            Deed::Crash => {
                self.crash(node, false);
                return Ok(());
            }
            Deed::PowerLoss => {
                self.crash(node, true);
                return Ok(());
            }
            Deed::Clock(ahead) => {
                self.nodes[node].ahead = *ahead;
                if let Some(up) = &self.nodes[node].up {
                    up.clock.set_ahead(*ahead);
                }
                return Ok(());
            }
            _ => {}
        }
        let Some(up) = self.nodes[node].up.clone() else { return Ok(()) };
        let work = match deed {
            Deed::Do(person, command) => node::execute(&up, *person, command.clone()),
            Deed::Read(people) => node::read(&up, people),
            Deed::Forget(person) => node::forget(&up, *person),
            Deed::Tick => node::tick(&up),
            Deed::Ticker => {
                if self.steps.iter().any(|step| step.node == node && step.deed == Deed::Ticker) {
                    return Ok(());
                }
                node::ticker(&up)
            }
            _ => {
                let Some(notifier) = &up.notifier else { return Ok(()) };
                match deed {
                    Deed::Pump => node::pump(notifier),
                    Deed::Save => node::save(notifier),
                    Deed::Plan => return self.plan(node),
                    Deed::Subscribe { sub, people, receiver } => {
                        if self.receivers.subs.contains_key(sub) {
                            return Ok(());
                        }
                        let new = Sub {
                            people: people.clone(),
                            state: SubState::Unsure,
                            ends: 0,
                            receivers: vec![*receiver],
                            created_after: Position(0),
                            taken: Vec::new(),
                            is_missed: false,
                        };
                        self.receivers.subs.insert(*sub, new);
                        let now = up.clock.peek();
                        node::create(notifier, receivers::subscription(*sub, people, *receiver, now))
                    }
                    Deed::Move { sub, receiver } => {
                        let Some(known) = self.receivers.subs.get_mut(sub) else { return Ok(()) };
                        known.receivers.push(*receiver);
                        node::renew(notifier, *sub, receivers::url(*receiver))
                    }
                    Deed::Unsubscribe(sub) => {
                        let Some(known) = self.receivers.subs.get_mut(sub) else { return Ok(()) };
                        known.ends += 1;
                        if known.state == SubState::There {
                            known.state = SubState::Unsure;
                        }
                        node::end(notifier, *sub)
                    }
                    Deed::Replay(sub) => node::replay(notifier, *sub),
                    _ => return Ok(()),
                }
            }
        };
        self.begin(node, deed, work, fates);
        Ok(())
    }

    fn begin(&mut self, node: usize, deed: &Deed, work: node::Work, fates: &[Fate]) {
        self.next_step += 1;
        self.steps.push(Step {
            id: self.next_step,
            node,
            deed: deed.clone(),
            work,
            fates: fates.to_vec(),
            is_disturbed: false,
            failovers: self.failovers,
            seen: Vec::new(),
            seen_at: 0,
        });
    }

    fn start(&mut self, node: usize, fates: &[Fate]) -> Result<(), Violation> {
        if self.nodes[node].up.is_some() || self.nodes[node].is_starting {
            return Ok(());
        }
        if self.keeper.is_embedded()
            && let Err(what) = self.keeper.open()
        {
            if self.is_disk_faulty {
                return Ok(());
            }
            return Err(Violation::new("what was acknowledged is there after a restart", what));
        }
        self.lives += 1;
        self.nodes[node].life = self.lives;
        self.nodes[node].is_starting = true;
        let delivers = self.delivers.is_none().then(|| {
            self.delivers = Some(self.lives);
            node::settings(self.every)
        });
        let work = node::start(self.wire.clone(), self.ids.clone(), self.nodes[node].ahead, delivers);
        self.begin(node, &Deed::Start, work, fates);
        Ok(())
    }

    /// The process is gone, and with it what it had begun. Calls that are on their way may still arrive.
    fn crash(&mut self, node: usize, is_power_lost: bool) {
        self.steps.retain(|step| step.node != node);
        let gone = &mut self.nodes[node];
        (gone.up, gone.is_starting) = (None, false);
        if self.delivers == Some(gone.life) {
            self.delivers = None;
        }
        self.held.retain(|held| match held {
            Held::There(_, from, ..) => *from != node || !self.keeper.is_embedded(),
            Held::Back(finished) => finished.work.node != node,
        });
        if self.keeper.is_embedded() {
            self.keeper.close(is_power_lost);
            // A new disk works.
            self.is_disk_faulty = false;
        }
        if !self.every {
            // What is still in the air could be taken after what replaced it: nobody can promise otherwise.
            let life = self.nodes[node].life;
            self.under_way.retain(|sent| sent.life != life);
        }
    }

    fn fail_over(&mut self) {
        if self.keeper.is_embedded() {
            return;
        }
        self.failovers += 1;
        self.keeper.fail_over();
        for held in &mut self.held {
            if let Held::Back(finished) = held
                && finished.work.call.op.is_write()
            {
                finished.outcome = Err(StoreError::Unavailable("the store went away".into()));
            }
        }
    }

    fn resume(&mut self, place: usize) {
        if self.held.is_empty() {
            return;
        }
        match self.held.remove(place.wrapping_sub(1) % self.held.len()) {
            Held::There(call, node, said, is_lost) => {
                let then = if is_lost { Then::Lose } else { Then::Answer };
                self.keeper.send(Work { call, node, said, then });
            }
            Held::Back(finished) => self.reply(finished),
        }
    }

    fn plan(&mut self, node: usize) -> Result<(), Violation> {
        let Some(up) = &self.nodes[node].up else { return Ok(()) };
        let Some(notifier) = up.notifier.clone() else { return Ok(()) };
        let life = self.nodes[node].life;
        let posts = notifier.plan().posts;
        check::bounded("POSTs of one plan", posts.len(), PLANNED_POSTS_MAX)?;
        for post in posts {
            self.receivers.planned(&post)?;
            let is_second = |other: &UnderWay| other.life == life && other.post.url == post.url;
            if self.under_way.iter().any(is_second) {
                return Err(Violation::new("one POST at a time to one URL", post.url.to_string()));
            }
            if self.bug == Some(Bug::MarkedBeforeSent) {
                notifier.finish(post.id, &Outcome::Delivered { status: 200 }, Duration::ZERO);
            }
            self.under_way.push(UnderWay { life, node, post });
        }
        Ok(())
    }

    fn answer(&mut self, place: usize, answer: Answer) -> Result<(), Violation> {
        if self.under_way.is_empty() {
            return Ok(());
        }
        let UnderWay { life, node, post } =
            self.under_way.remove(place.wrapping_sub(1) % self.under_way.len());
        self.receivers.post(&post, answer, self.bug)?;
        if self.bug == Some(Bug::MarkedBeforeSent) || self.nodes[node].life != life {
            return Ok(());
        }
        let Some(notifier) = self.nodes[node].up.as_ref().and_then(|up| up.notifier.clone()) else {
            return Ok(());
        };
        let refused = || Outcome::Failed { reason: "503".into(), status: Some(503), retry_after: None };
        let (outcome, elapsed) = match answer {
            Answer::Taken => (Outcome::Delivered { status: 202 }, Duration::ZERO),
            Answer::Refused | Answer::Lied => (refused(), Duration::ZERO),
            Answer::Late | Answer::Silent => (Outcome::TimedOut, LATE),
        };
        notifier.finish(post.id, &outcome, elapsed);
        Ok(())
    }

    /// Everything that can go on does.
    fn go_on(&mut self) -> Result<(), Violation> {
        for _ in 0..ROUNDS_MAX {
            let mut has_moved = false;
            let mut place = 0;
            while place < self.steps.len() {
                let step = &mut self.steps[place];
                self.wire.enter(step.id);
                match step.work.as_mut().poll(&mut Context::from_waker(noop_waker_ref())) {
                    Poll::Pending => place += 1,
                    Poll::Ready(done) => {
                        has_moved = true;
                        let step = self.steps.remove(place);
                        self.end(step, done)?;
                    }
                }
            }
            for call in self.wire.outgoing() {
                has_moved = true;
                self.route(call);
            }
            for finished in self.keeper.step() {
                has_moved = true;
                self.come_back(finished);
            }
            if !has_moved {
                return Ok(());
            }
        }
        Err(Violation::new("the world comes to rest", "steps go on without an end".to_owned()))
    }

    /// A call leaves its node.
    fn route(&mut self, call: Call) {
        let Some(step) = self.steps.iter_mut().find(|step| step.id == call.step) else { return };
        let node = step.node;
        let said = match &step.deed {
            Deed::Do(_, command) => Some(Said::Command(command.clone())),
            Deed::Tick | Deed::Ticker => Some(Said::Settle),
            Deed::Forget(_) => Some(Said::Forget),
            _ => None,
        };
        let is_commit = matches!(call.op, Op::Commit(_));
        let befalls = |fate: &&Fate| match fate.kind {
            FateKind::Storm => is_commit && call.commit_number <= fate.call,
            _ => fate.call == call.number,
        };
        let fate = step.fates.iter().find(befalls).map(|fate| fate.kind);
        step.is_disturbed |= fate.is_some();
        let unavailable = |what: &str| Err(StoreError::Unavailable(what.to_owned()));
        let then = match fate {
            None => Then::Answer,
            Some(FateKind::Hold) => {
                self.held.push(Held::There(call, node, said, false));
                return;
            }
            Some(FateKind::HoldReply) => Then::Hold,
            Some(FateKind::Lose) => {
                let _ = call.reply.send(unavailable("the call was lost"));
                return;
            }
            Some(FateKind::LoseReply) => Then::Lose,
            Some(FateKind::CrashBefore) => {
                self.crash(node, false);
                return;
            }
            Some(FateKind::CrashAfter) => Then::Crash,
            Some(FateKind::Storm) => {
                let _ = call.reply.send(Err(StoreError::Conflict));
                return;
            }
        };
        if let (Some(Bug::AnsweredBeforeKept), Op::Commit(commit)) = (self.bug, &call.op) {
            let version = store::Version(commit.expected.0 + 1);
            let (reply, _) = tokio::sync::oneshot::channel();
            let late = Call { reply, op: call.op.clone(), ..call };
            let _ = call.reply.send(Ok(Reply::Committed(version)));
            self.held.push(Held::There(late, node, said, true));
            return;
        }
        self.keeper.send(Work { call, node, said, then });
    }

    /// A call has been carried out.
    fn come_back(&mut self, mut finished: Finished) {
        self.tide += 1;
        if let Some(step) = self.steps.iter_mut().find(|step| step.id == finished.work.call.step)
            && matches!(finished.work.call.op, Op::Load(_))
        {
            step.seen = std::mem::take(&mut finished.seen);
            step.seen_at = self.tide;
        }
        match finished.work.then {
            Then::Answer => self.reply(finished),
            Then::Hold => self.held.push(Held::Back(finished)),
            Then::Lose => {
                finished.outcome = Err(StoreError::Unavailable("the answer was lost".into()));
                self.reply(finished);
            }
            Then::Crash => self.crash(finished.work.node, false),
        }
    }

    fn reply(&mut self, finished: Finished) {
        if finished.work.call.op.is_write() && finished.outcome.is_ok() {
            self.keeper.make_safe();
        }
        let _ = finished.work.call.reply.send(finished.outcome);
    }

    /// A step has ended: is what it says right?
    fn end(&mut self, step: Step, done: Done) -> Result<(), Violation> {
        let name = format!("n{} {}", step.node + 1, step.deed);
        let is_excused = step.is_disturbed || self.is_disk_faulty || self.failovers > step.failovers;
        let may_fail = |error: &EngineError| match error {
            EngineError::Presence(_) => true,
            EngineError::Store(StoreError::Unavailable(_)) | EngineError::Contention => is_excused,
            EngineError::Store(_) => false,
        };
        let failed = |error: &dyn std::fmt::Display| {
            Err(Violation::new("nothing fails without a fault", format!("{name}: {error}")))
        };
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
                match outcome {
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
                if may_fail(&error) {
                    Ok(())
                } else {
                    failed(&error)
                }
            }
            Done::Other(Ok(())) => Ok(()),
            Done::Created(outcome) => {
                let Deed::Subscribe { sub, .. } = step.deed else { return Ok(()) };
                let Some(known) = self.receivers.subs.get_mut(&sub) else { return Ok(()) };
                match outcome {
                    Ok(created) => {
                        known.created_after = created.created_after;
                        if known.ends == 0 {
                            known.state = SubState::There;
                        }
                        let end = *self.wire.log_end.borrow();
                        if created.created_after > end {
                            let what =
                                format!("{name} after {:?}, the end is {end:?}", created.created_after);
                            return Err(Violation::new("a subscription is told what follows it", what));
                        }
                        Ok(())
                    }
                    Err(SubscribeError::Store(_)) if is_excused => Ok(()),
                    Err(error) => failed(&error),
                }
            }
            Done::Renewed(outcome) => match outcome {
                Ok(()) => {
                    if let Deed::Move { sub, receiver } = step.deed
                        && let Some(known) = self.receivers.subs.get_mut(&sub)
                    {
                        // POSTs that are under way still go to the one before.
                        known.receivers.push(receiver);
                    }
                    Ok(())
                }
                Err(SubscribeError::Store(_)) if is_excused => Ok(()),
                Err(SubscribeError::NotFound) => self.is_not_found(&step),
                Err(error) => failed(&error),
            },
            Done::Ended(outcome) => {
                let Deed::Unsubscribe(sub) = step.deed else { return Ok(()) };
                let Some(known) = self.receivers.subs.get_mut(&sub) else { return Ok(()) };
                match outcome {
                    Ok(()) => known.state = SubState::Gone,
                    Err(SubscribeError::Store(_)) if is_excused => {}
                    Err(SubscribeError::NotFound) => {}
                    Err(error) => return failed(&error),
                }
                Ok(())
            }
        }
    }

    /// Only a subscription that is gone, or may be, is not found.
    fn is_not_found(&self, step: &Step) -> Result<(), Violation> {
        let (Deed::Move { sub, .. } | Deed::Replay(sub)) = step.deed else { return Ok(()) };
        match self.receivers.subs.get(&sub) {
            Some(known) if known.state == SubState::There => {
                let what = format!("n{} {}: not found", step.node + 1, step.deed);
                Err(Violation::new("no acknowledged subscription is lost", what))
            }
            _ => Ok(()),
        }
    }

    /// Somebody has looked at some people.
    fn look(&mut self, step: &Step, reading: &engine::Reading) -> Result<(), Violation> {
        for (record, (person, known)) in reading.users.iter().zip(&step.seen) {
            let now = reading.now;
            let number = check::sight(*person, known, record, now)?;
            let earlier = self.reads.iter().filter(|other| {
                let is_before = other.ended_at < step.seen_at && other.person == *person;
                let is_not_ahead = other.version == known.version || known.floor >= other.now;
                is_before && other.now <= now && (is_not_ahead || other.node == step.node)
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
                node: step.node,
                version: known.version,
                now,
                number,
                ended_at: self.tide,
            });
        }
        Ok(())
    }

    /// Faults end, everybody comes back, and every step is called until there is nothing more to do; then all is held
    /// against the model.
    fn calm(&mut self) -> Result<(), Violation> {
        self.trace(|| "calm".to_owned());
        self.is_disk_faulty = false;
        self.keeper.set_disk(DiskWill::Works);
        for step in &mut self.steps {
            step.fates.clear();
        }
        while !self.held.is_empty() {
            self.resume(1);
            self.go_on()?;
        }
        for node in 0..NODES_MAX {
            let is_silent = |world: &Self| {
                !world.nodes.iter().any(|node| node.up.as_ref().is_some_and(|up| up.notifier.is_some()))
            };
            if self.nodes[node].up.is_some() && is_silent(self) {
                self.crash(node, false);
            }
            self.act(node, &Deed::Start, &[])?;
            self.go_on()?;
            if self.nodes[node].up.is_none() && (node == 0 || !self.keeper.is_embedded()) {
                return Err(Violation::new(
                    "nothing fails without a fault",
                    format!("n{} does not start", node + 1),
                ));
            }
        }
        for place in 0..CALM_STEPS {
            if place > 0 {
                self.wire.set_now(self.wire.now() + CALM_STEP);
            }
            for node in 0..NODES_MAX {
                self.act(node, &Deed::Ticker, &[])?;
                self.go_on()?;
            }
            while self.deliver()? {}
        }
        // The slowest clock decides what has been noticed.
        let clocks = self.nodes.iter().filter_map(|node| node.up.as_ref()).map(|up| up.clock.peek());
        let now = clocks.min().unwrap_or_else(|| self.wire.now());
        self.keeper.make_safe();
        let (stored, log) =
            self.keeper.everything().map_err(|what| Violation::new("what is kept can be read", what))?;
        check::kept(&self.keeper.people, &stored, &log, now)?;
        check::told(&self.receivers, &log, self.every)
    }

    /// One round of delivery, in which all goes well; says whether there was anything to deliver.
    fn deliver(&mut self) -> Result<bool, Violation> {
        for node in 0..NODES_MAX {
            for deed in [Deed::Pump, Deed::Plan] {
                self.act(node, &deed, &[])?;
                self.go_on()?;
            }
        }
        let had_any = !self.under_way.is_empty();
        while !self.under_way.is_empty() {
            self.answer(1, Answer::Taken)?;
        }
        for node in 0..NODES_MAX {
            self.act(node, &Deed::Save, &[])?;
            self.go_on()?;
            let Some(notifier) = self.nodes[node].up.as_ref().and_then(|up| up.notifier.as_ref()) else {
                continue;
            };
            check::bounded("the delivery log", notifier.attempts(None, usize::MAX).len(), DELIVERY_LOG_MAX)?;
            for sub in self.receivers.subs.keys() {
                let waiting =
                    notifier.progress(receivers::id(*sub)).map_or(0, |progress| progress.outstanding);
                check::bounded("what waits for a subscription", waiting, OUTSTANDING_MAX)?;
            }
        }
        Ok(had_any)
    }
}
