//! From a long history that breaks something to a short one that breaks the same.

use crate::bug::Bug;
use crate::line::{Event, Line};
use crate::world;

/// Runs that one shrinking may take.
const RUNS_MAX: usize = 4_000;

/// The shortest lines found that break the same as these.
pub(crate) fn shrink(lines: &[Line], bug: Option<Bug>, check: &str) -> Vec<Line> {
    let mut runs = 0;
    let mut breaks = |lines: &[Line]| {
        runs += 1;
        runs <= RUNS_MAX
            && world::play(lines, bug, false).violation.is_some_and(|violation| violation.check == check)
    };
    let mut best = lines.to_vec();
    loop {
        let before = best.clone();
        leave_out(&mut best, &mut breaks);
        simplify(&mut best, &mut breaks);
        if best == before {
            return best;
        }
    }
}

/// Leaves out pieces, large ones first.
fn leave_out(best: &mut Vec<Line>, breaks: &mut impl FnMut(&[Line]) -> bool) {
    let mut size = best.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < best.len() {
            let mut shorter = best.clone();
            shorter.drain(at..best.len().min(at + size));
            if breaks(&shorter) {
                *best = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
}

/// Makes what is left simpler, one thing at a time: no fate, the first node, no time between.
fn simplify(best: &mut Vec<Line>, breaks: &mut impl FnMut(&[Line]) -> bool) {
    for at in 0..best.len() {
        let mut simpler = best.clone();
        if let Event::Node { fates, .. } = &mut simpler[at].event
            && !std::mem::take(fates).is_empty()
            && breaks(&simpler)
        {
            *best = simpler;
        }
        let mut simpler = best.clone();
        if let Event::Node { node, .. } = &mut simpler[at].event
            && std::mem::take(node) > 0
            && breaks(&simpler)
        {
            *best = simpler;
        }
        // Everything from here on happens as soon as what is before it.
        let earlier = at.checked_sub(1).map_or(crate::timeline::BASE, |before| best[before].at);
        let gap = best[at].at.duration_since(earlier);
        if !gap.is_zero() {
            let mut simpler = best.clone();
            for line in &mut simpler[at..] {
                line.at -= gap;
            }
            if breaks(&simpler) {
                *best = simpler;
            }
        }
    }
}
