//! Deliberate mistakes: each is noticed within a thousand lives, and told in a few lines.

use sim::Bug;

/// Within so many seeds.
const SEEDS: u64 = 1_000;
/// A shrunk timeline has no more lines than this.
const LINES_MAX: usize = 20;

#[test]
fn each_deliberate_bug_is_found_within_a_thousand_seeds_and_shrunk_to_a_few_lines() {
    for bug in Bug::ALL {
        let found = (0..SEEDS).find_map(|seed| sim::find(seed, Some(bug)));
        let failure = found.unwrap_or_else(|| panic!("{bug:?} was not found in {SEEDS} seeds"));
        println!("{bug:?}: seed {}: {}\n\n{}", failure.seed, failure.violation, failure.timeline);
        assert!(failure.timeline.lines().count() <= LINES_MAX, "{bug:?}: {}", failure.timeline);
        // Pasted, it breaks the same with the bug, and nothing without.
        let pasted = sim::play(&failure.timeline, Some(bug), false).violation;
        assert_eq!(pasted.map(|violation| violation.check), Some(failure.violation.check), "{bug:?}");
        assert_eq!(sim::play(&failure.timeline, None, false).violation, None, "{bug:?}");
    }
}
