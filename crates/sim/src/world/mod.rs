//! A world in which lines happen, one after the other, on one thread.
//!
//! A line begins a step, and everything that can go on then does, in a fixed order, until all that is left is waiting for
//! a time or for a call that is held. Nothing here is left to chance: the same lines are the same run.

mod calm;
mod ends;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engine::SeededIds;
use engine::notify::{
    DeliverySettings, Lengths, LifecycleEvent, Notice, Notifier, Outcome, Post, PostId, Renewal,
    SubscriptionId,
};
use futures_util::task::noop_waker_ref;
use jiff::SignedDuration;
use presence::Timestamp;
use store::{Document, DocumentChanges, DocumentKind, Position, StoreError};

use crate::bug::Bug;
use crate::check::{self, Violation};
use crate::keeper::{Finished, Keeper, Then, Work};
use crate::line::{Answer, Deed, DiskWill, Event, Fate, FateKind, Line, PEOPLE, StoreKind, Terms};
use crate::model::{Person, Said};
use crate::node::{self, Up};
use crate::receivers::{self, Promise, Receivers, Sub, SubState};
use crate::shares::{self, Shares};
use crate::timeline::Instant;
use crate::wire::{Call, Link, Op, Reply, StepId, Wire};

/// The bounds of queues, as a [`Report`] names those that were reached.
pub const BOUNDS: [&str; 7] = [
    "POSTs of one plan",
    "items of one POST",
    "changes that wait for a subscription",
    "notifications that wait for a URL",
    "endpoints",
    "the delivery log",
    "POSTs under way",
];

/// How many nodes there can be.
pub(crate) const NODES_MAX: usize = 3;
/// After so many rounds without anything new from outside, something is going in circles.
const ROUNDS_MAX: usize = 20_000;
/// A commit that takes no longer than this is never noticed in sequence numbers.
const IN_TIME: SignedDuration = SignedDuration::from_millis(500);
/// Answers that are late are so by this.
const LATE: Duration = Duration::from_secs(9);

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
    /// The bounds of queues that were reached.
    pub reached: BTreeSet<&'static str>,
    /// What was broken, if anything.
    pub violation: Option<Violation>,
}

pub(crate) struct World {
    wire: Arc<Wire>,
    keeper: Keeper,
    bug: Option<Bug>,
    every: bool,
    settings: DeliverySettings,
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
    /// Whether a commit of a process that was gone has arrived, of which no ticker that sleeps has heard.
    has_strays: bool,
    failovers: usize,
    /// Whether the clock that leases are timed by was moved.
    is_engine_clock_moved: bool,
    /// Whether faults have ended.
    is_calm: bool,
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
    /// Since when it stands still, and whether its machine does with it.
    stands: Option<(Timestamp, bool)>,
    /// How POSTs went that were answered meanwhile.
    mail: Vec<(PostId, Outcome, Duration)>,
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
    /// Whether the owner of the subscription it is about, if it is about one, had been told already that it is there.
    was_there: bool,
    /// Whether that had ended, by the clock of its node, whatever was made of it.
    was_over: bool,
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
        let (mut kind, mut every, mut is_small, mut give_up) = (StoreKind::Memory, true, false, None);
        for line in lines {
            match line.event {
                Event::Store(chosen) => kind = chosen,
                Event::Backlog { every: chosen } => every = chosen,
                Event::SmallBounds => is_small = true,
                Event::GiveUp(after) => give_up = Some(after),
                _ => {}
            }
        }
        Self {
            keeper: Keeper::new(kind, bug, wire.clone()),
            wire,
            bug,
            every,
            settings: node::settings(every, is_small, give_up),
            ids: Arc::default(),
            nodes: vec![Node::default(); NODES_MAX],
            lives: 0,
            delivers: None,
            steps: Vec::new(),
            next_step: 0,
            held: Vec::new(),
            under_way: Vec::new(),
            receivers: Receivers {
                may_miss: is_small || give_up.is_some(),
                gives_up: give_up.is_some(),
                ..Receivers::default()
            },
            reads: Vec::new(),
            tide: 0,
            is_disk_faulty: false,
            has_strays: false,
            failovers: 0,
            is_engine_clock_moved: false,
            is_calm: false,
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
            Event::Store(_) | Event::Backlog { .. } | Event::SmallBounds | Event::GiveUp(_) => {}
            Event::Failover => self.fail_over(),
            Event::Carry => self.keeper.carry()?,
            Event::MoveHouse => self.move_house()?,
            Event::EngineClock(ahead) => {
                self.is_engine_clock_moved = true;
                self.keeper.engine_ahead = *ahead;
            }
            Event::Resume(place) => self.resume(*place),
            Event::Disk(_) if !self.keeper.is_embedded() => {}
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
            Deed::Pause | Deed::Suspend => {
                if self.nodes[node].up.is_some() && !self.keeper.is_embedded() {
                    let now = self.wire.now();
                    self.nodes[node].stands.get_or_insert((now, *deed == Deed::Suspend));
                }
                return Ok(());
            }
            Deed::Wake => {
                self.wake(node);
                return Ok(());
            }
            _ => {}
        }
        if self.nodes[node].stands.is_some() {
            return Ok(());
        }
        let Some(up) = self.nodes[node].up.clone() else { return Ok(()) };
        let work = match deed {
            Deed::Do(person, command) => node::execute(&up, *person, command.clone()),
            Deed::Read(people) => node::read(&up, people),
            Deed::Forget(person) => node::forget(&up, *person),
            Deed::Tick => node::tick(&up),
            Deed::Stop => node::stop(&up),
            Deed::Beat | Deed::Look => {
                let Some(shares) = &up.shares else { return Ok(()) };
                // One task beats.
                if *deed == Deed::Beat && self.is_at_it(node, deed) {
                    return Ok(());
                }
                if *deed == Deed::Beat { node::beat(shares) } else { node::look(shares) }
            }
            Deed::Ticker => {
                if self.is_at_it(node, deed) {
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
                    Deed::Subscribe { sub, people, receiver, terms } => {
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
                            past: BTreeSet::new(),
                            is_missed: false,
                            expiry: Promise::default(),
                            token: Promise::default(),
                            may_be_over: false,
                            may_have_paused: false,
                            removals: 0,
                            is_removed: false,
                            events: BTreeSet::new(),
                            reminder: None,
                        };
                        self.receivers.subs.insert(*sub, new);
                        let now = up.clock.peek();
                        let (ends, token) = self.agree(*sub, now, *terms, true);
                        let ends = ends.unwrap_or(Timestamp::MAX);
                        node::create(
                            notifier,
                            receivers::subscription(*sub, people, *receiver, now, (ends, token)),
                        )
                    }
                    Deed::Renew { sub, terms } => {
                        let (sub, now) = (*sub, up.clock.peek());
                        if !self.receivers.subs.contains_key(&sub) {
                            return Ok(());
                        }
                        let (expires_at, token_expires_at) = self.agree(sub, now, *terms, false);
                        node::renew(
                            notifier,
                            sub,
                            Renewal { expires_at, token_expires_at, ..Renewal::default() },
                        )
                    }
                    Deed::Move { sub, receiver } => {
                        let Some(known) = self.receivers.subs.get_mut(sub) else { return Ok(()) };
                        known.receivers.push(*receiver);
                        let (_, token_expires_at) =
                            self.agree(*sub, up.clock.peek(), Terms::default(), false);
                        let notification_url = Some(receivers::url(*receiver));
                        let renewal = Renewal { notification_url, token_expires_at, ..Renewal::default() };
                        node::renew(notifier, *sub, renewal)
                    }
                    Deed::Remove(sub) => {
                        let Some(known) = self.receivers.subs.get_mut(sub) else { return Ok(()) };
                        (known.ends, known.removals) = (known.ends + 1, known.removals + 1);
                        if known.state == SubState::There {
                            known.state = SubState::Unsure;
                        }
                        node::remove(notifier, *sub)
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

    /// Takes note of until when a subscription is wanted by the next step, and authorized; says both. What is not said stays,
    /// or of a new one lasts for good.
    fn agree(
        &mut self,
        sub: usize,
        now: Timestamp,
        terms: Terms,
        is_new: bool,
    ) -> (Option<Timestamp>, Timestamp) {
        let step = self.next_step + 1;
        let until = |lasts: Option<SignedDuration>| {
            lasts.map_or(Timestamp::MAX, |lasts| now.saturating_add(lasts).unwrap_or(Timestamp::MAX))
        };
        let ends = terms.lasts.map(|lasts| until(Some(lasts))).or(is_new.then_some(Timestamp::MAX));
        let token = until(terms.token);
        if let Some(known) = self.receivers.subs.get_mut(&sub) {
            known.token.want(token, step);
            ends.into_iter().for_each(|ends| known.expiry.want(ends, step));
        }
        match self.bug {
            Some(Bug::EndUnheeded) => (ends.map(|_| Timestamp::MAX), token),
            Some(Bug::PauseUnheeded) => (ends, Timestamp::MAX),
            _ => (ends, token),
        }
    }

    /// The latest that any node's clock shows.
    fn latest_clock(&self) -> Timestamp {
        let clocks = self.nodes.iter().filter_map(|node| node.up.as_ref()).map(|up| up.clock.peek());
        clocks.max().unwrap_or_else(|| self.wire.now())
    }

    /// Takes note of what time may have done to subscriptions.
    fn pass_time(&mut self) {
        let now = self.latest_clock();
        for known in self.receivers.subs.values_mut() {
            known.may_be_over |= known.expiry.earliest() <= now;
            known.may_have_paused |= known.token.earliest() <= now;
        }
    }

    fn is_at_it(&self, node: usize, deed: &Deed) -> bool {
        self.steps.iter().any(|step| step.node == node && step.deed == *deed)
    }

    fn begin(&mut self, node: usize, deed: &Deed, work: node::Work, fates: &[Fate]) {
        self.next_step += 1;
        let subscription = match deed {
            Deed::Move { sub, .. }
            | Deed::Renew { sub, .. }
            | Deed::Replay(sub)
            | Deed::Unsubscribe(sub)
            | Deed::Remove(sub) => self.receivers.subs.get(sub),
            _ => None,
        };
        let clock = self.nodes[node].up.as_ref().map_or(Timestamp::MIN, |up| up.clock.peek());
        // Of all that was ever wanted but by this step itself.
        let was_over = subscription.is_some_and(|sub| sub.expiry.latest_before(self.next_step) <= clock);
        self.steps.push(Step {
            id: self.next_step,
            node,
            deed: deed.clone(),
            work,
            fates: fates.to_vec(),
            is_disturbed: false,
            failovers: self.failovers,
            was_there: subscription.is_some_and(|sub| sub.state == SubState::There),
            was_over,
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
        let wire = self.wire.clone();
        let shares =
            self.keeper.is_shared().then(|| Arc::new(Shares::new(self.lives, wire.clone(), self.bug)));
        // Where they share the store, all of them deliver.
        let delivers = (self.delivers.is_none() || shares.is_some()).then(|| {
            self.delivers = Some(self.lives);
            match self.bug {
                Some(Bug::BoundsUnheeded) => node::settings(self.every, false, None),
                _ => self.settings,
            }
        });
        let work = node::start(Link { wire, shares }, self.ids.clone(), self.nodes[node].ahead, delivers);
        self.begin(node, &Deed::Start, work, fates);
        Ok(())
    }

    /// A node that stands still goes on: with what has come meanwhile, before it knows what time it is.
    fn wake(&mut self, node: usize) {
        let Some((since, is_suspended)) = self.nodes[node].stands.take() else { return };
        let Some(up) = self.nodes[node].up.clone() else { return };
        if let Some(shares) = up.shares.filter(|_| is_suspended) {
            shares.stand(self.wire.now().duration_since(since).try_into().unwrap_or_default());
        }
        for (post, outcome, elapsed) in std::mem::take(&mut self.nodes[node].mail) {
            if let Some(notifier) = &up.notifier {
                notifier.finish(post, &outcome, elapsed);
            }
        }
    }

    /// The process is gone, and with it what it had begun. Calls that are on their way may still arrive.
    fn crash(&mut self, node: usize, is_power_lost: bool) {
        self.steps.retain(|step| step.node != node);
        let gone = &mut self.nodes[node];
        (gone.up, gone.is_starting, gone.stands) = (None, false, None);
        gone.mail.clear();
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

    /// Everybody stops, what is kept is carried, and those who start again find it there.
    fn move_house(&mut self) -> Result<(), Violation> {
        if !self.keeper.can_move() {
            return Ok(());
        }
        for node in 0..NODES_MAX {
            self.crash(node, false);
        }
        // What has arrived is kept, and answered to nobody.
        while !self.keeper.step().is_empty() {}
        self.held.clear();
        self.under_way.clear();
        self.reads.clear();
        self.keeper.move_house()?;
        self.receivers.move_house();
        Ok(())
    }

    fn resume(&mut self, place: usize) {
        if self.held.is_empty() {
            return;
        }
        match self.held.remove(place.wrapping_sub(1) % self.held.len()) {
            Held::There(call, node, said, is_lost) => {
                let is_stray = !self.steps.iter().any(|step| step.id == call.step);
                self.has_strays |= is_stray && matches!(call.op, Op::Commit(_));
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
        let bounds = self.settings.bounds;
        self.bounded(BOUNDS[0], posts.len(), bounds.planned_posts, 0)?;
        self.are_queues_bounded(&notifier)?;
        let now = self.nodes[node].up.as_ref().map_or(Timestamp::MIN, |up| up.clock.peek());
        for post in &posts {
            self.bounded(BOUNDS[1], post.items.len(), bounds.items_per_post, 0)?;
        }
        // Another node may have been told of an end that is not known here yet.
        let has_heard = !self.keeper.is_shared() || self.is_calm;
        for post in posts {
            self.trace(|| {
                let items = post
                    .items
                    .iter()
                    .map(|item| format!("{:?}", item.notice.position().unwrap_or_default().0));
                format!("  n{} posts {} to {}", node + 1, items.collect::<Vec<_>>().join(","), post.url)
            });
            self.receivers.planned(&post, bounds.items_per_post, has_heard, now)?;
            let is_second = |other: &UnderWay| other.life == life && other.post.url == post.url;
            if self.under_way.iter().any(is_second) && self.bug != Some(Bug::MarkedBeforeSent) {
                return Err(Violation::new("one POST at a time to one URL", post.url.to_string()));
            }
            if self.bug == Some(Bug::MarkedBeforeSent) {
                notifier.finish(post.id, &Outcome::Delivered { status: 200 }, Duration::ZERO);
            }
            let post = self.spoil_post(post);
            self.under_way.push(UnderWay { life, node, post });
        }
        Ok(())
    }

    /// What the mistakes of `bug.rs` do to a POST.
    fn spoil_post(&self, mut post: Post) -> Post {
        let lost = match self.bug {
            Some(Bug::ReminderLost) => LifecycleEvent::ReauthorizationRequired,
            Some(Bug::MissedUntold) => LifecycleEvent::Missed,
            _ => return post,
        };
        post.items.retain(|item| !matches!(item.notice, Notice::Lifecycle { event, .. } if event == lost));
        post
    }

    /// A queue is within its bound, or beyond it by no more than it may; it is noted when it is full.
    fn bounded(
        &mut self,
        what: &'static str,
        length: usize,
        bound: usize,
        beyond: usize,
    ) -> Result<(), Violation> {
        if length >= bound {
            self.report.reached.insert(what);
        }
        check::bounded(what, length, bound + beyond)
    }

    fn are_queues_bounded(&mut self, notifier: &Notifier) -> Result<(), Violation> {
        let Lengths { backlog, target_backlog, endpoints, attempts, posts } = notifier.lengths();
        let DeliverySettings { bounds, posts_max, .. } = self.settings;
        // What is under way is let go of when it is answered.
        let under_way = bounds.items_per_post;
        self.bounded(BOUNDS[2], backlog, bounds.backlog, PEOPLE.len() + under_way)?;
        self.bounded(BOUNDS[3], target_backlog, bounds.target_backlog, under_way)?;
        self.bounded(BOUNDS[4], endpoints, bounds.endpoints, 0)?;
        self.bounded(BOUNDS[5], attempts, bounds.attempts, 0)?;
        self.bounded(BOUNDS[6], posts, posts_max, 0)
    }

    fn answer(&mut self, place: usize, answer: Answer) -> Result<(), Violation> {
        if self.under_way.is_empty() {
            return Ok(());
        }
        let UnderWay { life, node, post } =
            self.under_way.remove(place.wrapping_sub(1) % self.under_way.len());
        let register = &self.keeper.register;
        let is_shared = self.keeper.is_shared();
        let is_stale = |id: SubscriptionId| {
            is_shared && register.holder(shares::shard_of(id.0.as_bytes())) != Some(life)
        };
        self.receivers.post(&post, answer, is_stale, self.bug)?;
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
        if self.nodes[node].stands.is_some() {
            self.nodes[node].mail.push((post.id, outcome, elapsed));
            return Ok(());
        }
        notifier.finish(post.id, &outcome, elapsed);
        Ok(())
    }

    /// Everything that can go on does.
    fn go_on(&mut self) -> Result<(), Violation> {
        self.pass_time();
        for _ in 0..ROUNDS_MAX {
            let mut has_moved = false;
            let mut place = 0;
            while place < self.steps.len() {
                let step = &mut self.steps[place];
                if self.nodes[step.node].stands.is_some() {
                    place += 1;
                    continue;
                }
                self.wire.enter(step.id);
                let polled = step.work.as_mut().poll(&mut Context::from_waker(noop_waker_ref()));
                self.wire.leave();
                match polled {
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
                self.are_cursors_right(&finished)?;
                self.is_let_go(&finished)?;
                self.come_back(finished);
            }
            if let Some(violation) = self.keeper.violation.take() {
                return Err(violation);
            }
            if !has_moved {
                return Ok(());
            }
        }
        Err(Violation::new("the world comes to rest", "steps go on without an end".to_owned()))
    }

    /// What is kept of cursors is right at every moment, not only at those at which somebody goes on there.
    fn are_cursors_right(&self, finished: &Finished) -> Result<(), Violation> {
        let documents = finished.work.call.op.documents();
        let is_cursor = |document: &Document| document.kind == DocumentKind::DeliveryCursor;
        if !self.every || finished.outcome.is_err() || !documents.iter().any(is_cursor) {
            return Ok(());
        }
        let (_, log) =
            self.keeper.everything().map_err(|what| Violation::new("what is kept can be read", what))?;
        check::cursors(&self.receivers, &self.keeper.cursors(), &log)
    }

    /// From the moment on at which a lease is given back, somebody else may have it: whoever had it knows by then that it is
    /// its own no more.
    fn is_let_go(&self, finished: &Finished) -> Result<(), Violation> {
        let Op::Lease { life, shard, is_wanted: false, .. } = finished.work.call.op else { return Ok(()) };
        let up = self.nodes.iter().find(|node| node.life == life).and_then(|node| node.up.as_ref());
        if up.and_then(|up| up.shares.as_ref()).is_some_and(|shares| shares.believes().has(shard)) {
            let what = format!("life {life} has given shard {shard} back and has it");
            return Err(Violation::new("a node lets go of a lease before it gives it back", what));
        }
        Ok(())
    }

    /// A call leaves its node.
    fn route(&mut self, call: Call) {
        let Some(step) = self.steps.iter_mut().find(|step| step.id == call.step) else { return };
        let (node, deed) = (step.node, step.deed.clone());
        let said = match &deed {
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
        if let Some(reply) = self.spoil_call(&deed, &call.op) {
            let _ = call.reply.send(Ok(reply));
            return;
        }
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

    /// The mistakes of `bug.rs` by which a call is answered that was never made.
    fn spoil_call(&self, deed: &Deed, op: &Op) -> Option<Reply> {
        match (self.bug?, deed, op) {
            (Bug::RenewalNotKept, Deed::Renew { .. }, Op::PutDocuments(_)) => Some(Reply::Done),
            (Bug::RenewedElsewhereEnds, Deed::Save, Op::Changes(seen)) => {
                let changes = DocumentChanges { documents: Vec::new(), is_complete: true };
                Some(Reply::Changes(changes, seen.clone()))
            }
            _ => None,
        }
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
}
