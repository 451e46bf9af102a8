//! The lines of a seed.
//!
//! Each seed chooses what its world is and which of all faults there are in it: a run in which everything breaks all the
//! time explores less than many in which a few things do (swarm testing).

use jiff::SignedDuration;
use presence::Timestamp;

use crate::line::{Answer, Deed, DiskWill, Event, Fate, FateKind, Line, PEOPLE, StoreKind, Terms};
use crate::people::{Habits, gap};
use crate::random::Random;
use crate::shares::SHARDS;
use crate::timeline::BASE;
use crate::world::NODES_MAX;

/// Lines of the shortest and of the longest life, besides those that set it up.
const LINES: (usize, usize) = (12, 90);
/// Subscriptions of one life.
const SUBS_MAX: usize = 4;
const RECEIVERS: usize = 3;

/// What there is in a world.
struct Swarm {
    random: Random,
    habits: Habits,
    kind: StoreKind,
    nodes: usize,
    people: usize,
    /// What happens, as often as it stands here.
    happenings: Vec<Happening>,
    fates: Vec<FateKind>,
    /// One in so many steps is met by one.
    fate_every: usize,
    answers: Vec<Answer>,
    subs: usize,
    /// Whether subscriptions end.
    are_mortal: bool,
    /// When each is thought to end.
    ends: [Timestamp; SUBS_MAX],
    now: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happening {
    Say,
    Read,
    Tick,
    Forget,
    Deliver,
    Answer,
    Save,
    Subscribe,
    Move,
    Unsubscribe,
    Remove,
    Renew,
    Brink,
    Replay,
    Restart,
    PowerLoss,
    Clock,
    Failover,
    Disk,
    Resume,
    Beat,
    Stand,
    Stop,
    EngineClock,
    MoveHouse,
}

/// The lines that follow from a seed.
pub(crate) fn lines(seed: u64) -> Vec<Line> {
    let mut random = Random::new(seed);
    let kind = random.pick(&[StoreKind::Embedded, StoreKind::Memory, StoreKind::Shared, StoreKind::Shared]);
    let is_shared = kind == StoreKind::Shared;
    let every = !random.one_in(3);
    let nodes = match kind {
        StoreKind::Embedded => 1,
        StoreKind::Memory => 1 + random.below(NODES_MAX),
        StoreKind::Shared => 2 + random.below(NODES_MAX - 1),
    };
    let mut happenings = vec![Happening::Say; 6];
    happenings.extend([Happening::Read, Happening::Read, Happening::Tick]);
    // Leases are there for delivery.
    let watches = is_shared || random.below(4) > 0;
    if watches {
        happenings.extend([Happening::Subscribe; 2]);
        happenings.extend([Happening::Deliver; 4]);
        happenings.extend([Happening::Answer; 3]);
        happenings.push(Happening::Save);
    }
    let are_mortal = watches && random.one_in(2);
    if are_mortal {
        happenings.extend([Happening::Brink; 2]);
    }
    let is_movable = kind != StoreKind::Memory && random.one_in(2);
    let optional = [
        (watches, Happening::Move),
        (watches, Happening::Unsubscribe),
        (watches, Happening::Remove),
        (are_mortal, Happening::Renew),
        (watches && every, Happening::Replay),
        (true, Happening::Forget),
        (true, Happening::Restart),
        (kind == StoreKind::Embedded, Happening::PowerLoss),
        (kind == StoreKind::Embedded, Happening::Disk),
        (kind != StoreKind::Embedded, Happening::Failover),
        (is_shared, Happening::Stand),
        (is_shared, Happening::Stop),
        (is_movable, Happening::MoveHouse),
    ];
    for (is_possible, happening) in optional {
        if is_possible && random.one_in(2) {
            happenings.push(happening);
        }
    }
    if random.one_in(3) {
        happenings.push(Happening::Clock);
    }
    if is_shared {
        happenings.extend([Happening::Beat, Happening::Beat, Happening::Save]);
        if random.one_in(6) {
            happenings.push(Happening::EngineClock);
        }
    }
    let mut fates = Vec::new();
    for fate in [
        FateKind::Hold,
        FateKind::HoldReply,
        FateKind::Lose,
        FateKind::LoseReply,
        FateKind::CrashBefore,
        FateKind::CrashAfter,
        FateKind::Storm,
    ] {
        if random.one_in(2) {
            fates.push(fate);
        }
    }
    if fates.iter().any(|fate| matches!(fate, FateKind::Hold | FateKind::HoldReply)) {
        happenings.extend([Happening::Resume; 2]);
    }
    let mut answers = vec![Answer::Taken; 2];
    for answer in [Answer::Refused, Answer::Lied, Answer::Late, Answer::Silent] {
        if random.one_in(2) {
            answers.push(answer);
        }
    }
    let mut swarm = Swarm {
        habits: Habits::new(&mut random),
        people: 1 + random.below(PEOPLE.len()),
        fate_every: random.pick(&[3, 6, 12]),
        random,
        kind,
        nodes,
        happenings,
        fates,
        answers,
        subs: 0,
        are_mortal,
        ends: [Timestamp::MAX; SUBS_MAX],
        now: BASE,
    };
    let mut lines = vec![swarm.line(Event::Store(kind)), swarm.line(Event::Backlog { every })];
    if watches && swarm.random.one_in(4) {
        lines.push(swarm.line(Event::SmallBounds));
    }
    if watches && swarm.random.one_in(8) {
        lines.push(swarm.line(Event::GiveUp(SignedDuration::from_hours(4))));
    }
    for node in 0..nodes {
        lines.push(swarm.at_node(node, Deed::Start));
        if swarm.random.one_in(2) {
            lines.push(swarm.at_node(node, Deed::Ticker));
        }
    }
    let length = LINES.0 + swarm.random.below(LINES.1 - LINES.0);
    while lines.len() < length {
        if swarm.random.one_in(2) {
            swarm.pass(&mut lines);
        }
        let happening = swarm.random.pick(&swarm.happenings);
        swarm.happen(happening, &mut lines);
    }
    lines
}

/// How long a call may be on its way.
fn wait(random: &mut Random) -> SignedDuration {
    let most = SignedDuration::from_millis(500);
    random.pick(&[SignedDuration::ZERO, SignedDuration::from_nanos(100), most, most * 4])
}

impl Swarm {
    fn line(&self, event: Event) -> Line {
        Line { at: self.now, event }
    }

    fn at_node(&self, node: usize, deed: Deed) -> Line {
        self.line(Event::Node { node, deed, fates: Vec::new() })
    }

    /// A step at any node, met by a fate or not.
    fn step(&mut self, deed: Deed) -> Line {
        let node = self.random.below(self.nodes);
        self.step_at(node, deed)
    }

    fn step_at(&mut self, node: usize, deed: Deed) -> Line {
        let mut fates = Vec::new();
        while !self.fates.is_empty() && fates.len() < 2 && self.random.one_in(self.fate_every) {
            let kind = self.random.pick(&self.fates);
            // As many calls as the step makes when nothing is in its way, and one more.
            let calls = match (&deed, kind) {
                (_, FateKind::Storm) => 20,
                (Deed::Do(..) | Deed::Forget(_), _) => 3,
                (Deed::Tick, _) => 7,
                (Deed::Beat, _) => 1 + usize::from(SHARDS),
                (Deed::Subscribe { .. } | Deed::Renew { .. } | Deed::Remove(_) | Deed::Save, _) => 4,
                _ => 2,
            };
            fates.push(Fate { kind, call: 1 + self.random.below(calls) as u32 });
        }
        self.line(Event::Node { node, deed, fates })
    }

    /// Time goes on: where there are leases, mostly by seconds, and those who live mostly say so.
    fn pass(&mut self, lines: &mut Vec<Line>) {
        if self.kind != StoreKind::Shared {
            self.now += gap(&mut self.random);
            return;
        }
        let tenths = match self.random.below(8) {
            0..3 => self.random.pick(&[0, 1, 5]),
            3..6 => self.random.pick(&[10, 10, 20, 30, 39, 40]),
            6 => self.random.pick(&[49, 50, 51, 60, 100, 600]),
            _ => {
                self.now += gap(&mut self.random);
                0
            }
        };
        self.now += SignedDuration::from_millis(100 * tenths);
        if tenths >= 10 {
            for node in 0..self.nodes {
                if !self.random.one_in(4) {
                    let beat = self.step_at(node, Deed::Beat);
                    lines.push(beat);
                }
            }
        }
    }

    fn anybody(&mut self) -> usize {
        self.random.below(self.people)
    }

    fn some(&mut self) -> Vec<usize> {
        let mut some: Vec<usize> = (0..self.people).filter(|_| self.random.one_in(2)).collect();
        if some.is_empty() {
            some.push(self.anybody());
        }
        some
    }

    fn happen(&mut self, happening: Happening, lines: &mut Vec<Line>) {
        let line = match happening {
            Happening::Say => {
                let command = self.habits.say(&mut self.random, self.now);
                let person = self.anybody();
                if self.fates.contains(&FateKind::Hold) && self.random.one_in(4) {
                    self.look_around(person, lines);
                    return;
                }
                self.step(Deed::Do(person, command))
            }
            Happening::Read => {
                let people = self.some();
                self.step(Deed::Read(people))
            }
            Happening::Tick => self.step(Deed::Tick),
            Happening::Forget => {
                let person = self.anybody();
                self.step(Deed::Forget(person))
            }
            Happening::Deliver => {
                // Whoever does not deliver lets it pass.
                for node in 0..self.nodes {
                    if self.kind == StoreKind::Shared {
                        if self.random.one_in(4) {
                            continue;
                        }
                        lines.push(self.at_node(node, Deed::Look));
                        let pump = self.step_at(node, Deed::Pump);
                        lines.push(pump);
                    } else {
                        lines.push(self.at_node(node, Deed::Pump));
                    }
                    lines.push(self.at_node(node, Deed::Plan));
                }
                return;
            }
            Happening::Answer => {
                let place = 1 + self.random.below(3);
                let answer = self.random.pick(&self.answers);
                self.line(Event::Answer(place, answer))
            }
            Happening::Save => self.step(Deed::Save),
            Happening::Subscribe => {
                if self.subs == SUBS_MAX {
                    return;
                }
                self.subs += 1;
                let (people, receiver) = (self.some(), self.random.below(RECEIVERS));
                // At every node: who does not deliver lets it pass, and a second time it is there already.
                let terms = self.terms(self.subs - 1);
                let deed = Deed::Subscribe { sub: self.subs - 1, people, receiver, terms };
                if self.kind == StoreKind::Shared {
                    let line = self.step(deed);
                    lines.push(line);
                    return;
                }
                for node in 0..self.nodes {
                    lines.push(self.at_node(node, deed.clone()));
                }
                return;
            }
            Happening::Move if self.subs > 0 => {
                let (sub, receiver) = (self.random.below(self.subs), self.random.below(RECEIVERS));
                self.step(Deed::Move { sub, receiver })
            }
            Happening::Unsubscribe if self.subs > 0 => {
                let sub = self.random.below(self.subs);
                self.step(Deed::Unsubscribe(sub))
            }
            Happening::Remove if self.subs > 0 => {
                let sub = self.random.below(self.subs);
                self.step(Deed::Remove(sub))
            }
            Happening::Renew if self.subs > 0 => {
                let sub = self.random.below(self.subs);
                let terms = self.terms(sub);
                self.step(Deed::Renew { sub, terms })
            }
            Happening::Brink if self.subs > 0 => {
                self.brink(lines);
                return;
            }
            Happening::Replay if self.subs > 0 => {
                let sub = self.random.below(self.subs);
                self.step(Deed::Replay(sub))
            }
            Happening::Move
            | Happening::Unsubscribe
            | Happening::Remove
            | Happening::Renew
            | Happening::Brink
            | Happening::Replay => return,
            Happening::Restart => {
                let node = self.random.below(self.nodes);
                lines.push(self.at_node(node, Deed::Crash));
                self.come_back(node, lines);
                return;
            }
            Happening::PowerLoss => {
                lines.push(self.at_node(0, Deed::PowerLoss));
                self.come_back(0, lines);
                return;
            }
            Happening::Clock => {
                let node = self.random.below(self.nodes);
                let ahead = self.random.pick(&[0, 1, -1, 30, 300, -300, 3600]);
                self.at_node(node, Deed::Clock(SignedDuration::from_secs(ahead)))
            }
            Happening::Beat => self.step(Deed::Beat),
            Happening::Stand => {
                let node = self.random.below(self.nodes);
                let deed =
                    self.random.pick(&[Deed::Pause, Deed::Pause, Deed::Suspend, Deed::Wake, Deed::Wake]);
                self.at_node(node, deed)
            }
            Happening::Stop => {
                let node = self.random.below(self.nodes);
                lines.push(self.step_at(node, Deed::Stop));
                self.come_back(node, lines);
                return;
            }
            Happening::EngineClock => {
                let ahead = self.random.pick(&[0, 2, -2, 6, -6]);
                self.line(Event::EngineClock(SignedDuration::from_secs(ahead)))
            }
            Happening::MoveHouse => {
                self.move_house(lines);
                return;
            }
            Happening::Failover => self.line(Event::Failover),
            Happening::Disk => {
                let after = self.random.below(24) as u64;
                let will = self.random.pick(&[
                    DiskWill::Fails(after),
                    DiskWill::Stops(after),
                    DiskWill::Unsynced,
                    DiskWill::Works,
                    DiskWill::Works,
                ]);
                self.line(Event::Disk(will))
            }
            Happening::Resume => {
                let place = 1 + self.random.below(3);
                self.line(Event::Resume(place))
            }
        };
        let is_crashing = matches!(&line.event, Event::Node { fates, .. }
            if fates.iter().any(|fate| matches!(fate.kind, FateKind::CrashBefore | FateKind::CrashAfter)));
        let node = if let Event::Node { node, .. } = &line.event { *node } else { 0 };
        lines.push(line);
        if is_crashing || (self.kind == StoreKind::Embedded && happening == Happening::Disk) {
            self.come_back(node, lines);
        }
    }

    /// Something is said just before a fade may come, and somebody looks while it is on its way and when it is there.
    fn look_around(&mut self, person: usize, lines: &mut Vec<Line>) {
        let step = presence::limits::FADE_STEP.as_secs();
        let next = (self.now.as_second() / step + 1) * step;
        let before = wait(&mut self.random);
        self.now = self.now.max(Timestamp::from_second(next).unwrap_or(self.now) - before);
        let command = self.habits.say(&mut self.random, self.now);
        let mut line = self.at_node(self.random.clone().below(self.nodes), Deed::Do(person, command));
        if let Event::Node { fates, .. } = &mut line.event {
            fates.push(Fate { kind: FateKind::Hold, call: 2 });
        }
        let node = self.random.below(self.nodes);
        let read = |swarm: &Self| swarm.at_node(node, Deed::Read(vec![person]));
        lines.extend([line, read(self)]);
        self.now += wait(&mut self.random);
        lines.extend([read(self), self.line(Event::Resume(1)), read(self)]);
    }

    /// For how long somebody wants a subscription, or wants it again.
    fn terms(&mut self, sub: usize) -> Terms {
        if !self.are_mortal || self.random.one_in(6) {
            return Terms::default();
        }
        let minutes = self.random.pick(&[45, 45, 50, 60]);
        let lasts = SignedDuration::from_mins(minutes);
        self.ends[sub] = self.now + lasts;
        let token = self.random.pick(&[None, None, None, Some(10), Some(20), Some(50)]);
        Terms { lasts: Some(lasts), token: token.map(SignedDuration::from_mins) }
    }

    /// About the end of a subscription somebody writes and somebody renews or ends it, while others notice the end.
    fn brink(&mut self, lines: &mut Vec<Line>) {
        let sub = self.random.below(self.subs);
        let before = wait(&mut self.random);
        let end = self.ends[sub];
        if end == Timestamp::MAX {
            return;
        }
        self.now = self.now.max(end - before);
        if self.kind == StoreKind::Shared {
            // Nobody has missed a beat.
            for _ in 0..2 {
                lines.extend((0..self.nodes).map(|node| self.at_node(node, Deed::Beat)));
            }
        }
        if self.random.one_in(2) {
            for node in 0..self.nodes {
                lines.extend([self.at_node(node, Deed::Look), self.at_node(node, Deed::Pump)]);
            }
        }
        let terms = self.terms(sub);
        let changed = match self.random.below(4) {
            0 => self.step(Deed::Unsubscribe(sub)),
            1 => self.step(Deed::Remove(sub)),
            _ => self.step(Deed::Renew { sub, terms }),
        };
        lines.push(changed);
        if self.random.one_in(2) {
            let command = self.habits.say(&mut self.random, self.now);
            let person = self.anybody();
            let said = self.step(Deed::Do(person, command));
            lines.push(said);
        }
        self.now += wait(&mut self.random);
        for node in 0..self.nodes {
            if self.random.one_in(3) {
                lines.push(self.at_node(node, Deed::Pump));
            }
            lines.push(self.at_node(node, Deed::Plan));
            if !self.random.one_in(3) {
                let save = self.step_at(node, Deed::Save);
                lines.push(save);
            }
        }
    }

    /// What is kept moves to a store of the other kind: mostly a first time while all goes on, and in the end all stop.
    fn move_house(&mut self, lines: &mut Vec<Line>) {
        for _ in 0..self.random.below(3) {
            lines.push(self.line(Event::Carry));
            let command = self.habits.say(&mut self.random, self.now);
            let person = self.anybody();
            let said = self.step(Deed::Do(person, command));
            lines.push(said);
        }
        if self.random.one_in(2) {
            for node in 0..self.nodes {
                lines.push(self.at_node(node, Deed::Stop));
            }
        }
        if self.random.one_in(2) {
            self.now += gap(&mut self.random);
        }
        lines.push(self.line(Event::MoveHouse));
        (self.kind, self.nodes) = match self.kind {
            StoreKind::Embedded => (StoreKind::Shared, NODES_MAX),
            _ => (StoreKind::Embedded, 1),
        };
        for node in 0..self.nodes {
            self.come_back(node, lines);
        }
    }

    /// Sooner or later a node that is gone comes back; to one that is there this is nothing.
    fn come_back(&mut self, node: usize, lines: &mut Vec<Line>) {
        if self.random.one_in(3) {
            let node = self.random.below(self.nodes);
            let command = self.habits.say(&mut self.random, self.now);
            let person = self.anybody();
            lines.push(self.at_node(node, Deed::Do(person, command)));
        }
        lines.push(self.at_node(node, Deed::Start));
        if self.random.one_in(2) {
            lines.push(self.at_node(node, Deed::Ticker));
        }
    }
}
