//! Many lives, and that each is the same whenever it is played.

use std::collections::BTreeSet;

/// Seeds of every test run. `cargo xtask sim --seeds 100000` plays more.
const SEEDS: u64 = 1_000;

#[test]
fn nothing_breaks_in_a_thousand_lives() {
    let (mut steps, mut commits, mut told) = (0, 0, 0);
    let mut reached = BTreeSet::new();
    for seed in 0..SEEDS {
        let report = sim::run(seed, None, false);
        if let Some(violation) = report.violation {
            let timeline = sim::find(seed, None).map(|failure| failure.timeline).unwrap_or_default();
            panic!("seed {seed}: {violation}\n\n{timeline}");
        }
        steps += report.steps;
        commits += report.commits;
        told += report.told;
        reached.extend(report.reached);
    }
    println!("{SEEDS} seeds: {steps} steps, {commits} commits, {told} notifications");
    // A world in which nothing happens breaks nothing either.
    let least = SEEDS as usize;
    assert_eq!(reached, sim::BOUNDS.into(), "each bound of a queue is reached in some life");
    assert!(steps > 20 * least && commits > 5 * least && told > 2 * least, "{steps}, {commits}, {told}");
}

#[test]
fn a_seed_is_the_same_life_each_time_and_so_is_its_text() {
    for seed in 0..100 {
        let life = || sim::run(seed, None, true).events;
        let first = life();
        assert_eq!(first, life(), "seed {seed}");
        let text = sim::timeline_of(seed);
        assert_eq!(sim::play(&text, None, true).events, first, "seed {seed}");
    }
}
