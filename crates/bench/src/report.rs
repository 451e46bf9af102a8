//! What was found, for people and, as JSON, for comparison between commits. Ratios count: the reference shares the machine
//! and its noise, round by round.

use serde::Serialize;
use serde_json::{Value, json};

use crate::scenario::{Goal, Scenario};
use crate::traffic::Traffic;

/// One server in one round.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) requests_per_sec: f64,
    /// CPU time of the server for a request, all its threads.
    pub(crate) cpu_micros: f64,
    pub(crate) p50_micros: u64,
    pub(crate) p99_micros: u64,
    /// Cores the generator used.
    pub(crate) generator_cores: f64,
}

/// One scenario, round by round.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) connections: u64,
    pub(crate) goal: Goal,
    /// What presenced is held against.
    pub(crate) against: &'static str,
    /// Presences in an answer, where there are many.
    pub(crate) presences: Option<usize>,
    /// Changes that a follower was told of, where there is one.
    pub(crate) told: Option<u64>,
    pub(crate) reference: Vec<Figures>,
    pub(crate) presenced: Vec<Figures>,
}

/// Median and range of some figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    /// Of at least one figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => f64::NAN,
            even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        let at = |position: Option<&f64>| position.copied().unwrap_or(f64::NAN);
        Self { median, lowest: at(sorted.first()), highest: at(sorted.last()) }
    }
}

impl Row {
    pub(crate) fn new(scenario: &Scenario, against: &'static str) -> Self {
        let presences = match scenario.traffic {
            Traffic::Batch(size) => Some(size),
            _ => None,
        };
        Self {
            against,
            presences,
            told: None,
            scenario: scenario.name,
            connections: scenario.connections,
            goal: scenario.goal,
            reference: Vec::new(),
            presenced: Vec::new(),
        }
    }

    /// Requests of presenced for one of the reference, in the same time, round by round.
    pub(crate) fn throughput_ratio(&self) -> Spread {
        self.ratio(|ours, reference| ours.requests_per_sec / reference.requests_per_sec)
    }

    /// CPU time of the reference for a request, of presenced's, round by round.
    pub(crate) fn cpu_ratio(&self) -> Spread {
        self.ratio(|ours, reference| reference.cpu_micros / ours.cpu_micros)
    }

    fn ratio(&self, of: impl Fn(&Figures, &Figures) -> f64) -> Spread {
        Spread::of(self.presenced.iter().zip(&self.reference).map(|(ours, reference)| of(ours, reference)))
    }

    /// As lines for people.
    pub(crate) fn print(&self) -> String {
        let mut text = format!("{} ({} connections)\n", self.scenario, self.connections);
        for (name, rounds) in [(self.against, &self.reference), ("presenced", &self.presenced)] {
            let of = |figure: fn(&Figures) -> f64| Spread::of(rounds.iter().map(figure));
            let rate = of(|figures| figures.requests_per_sec);
            text += &format!(
                "  {name:<10} {:>8.0} req/s [{:.0}-{:.0}]  {:>7.2} us CPU a request  p50 {:>6.0} us  p99 {:>6.0} us  \
                 generator {:.2} cores\n",
                rate.median,
                rate.lowest,
                rate.highest,
                of(|figures| figures.cpu_micros).median,
                of(|figures| figures.p50_micros as f64).median,
                of(|figures| figures.p99_micros as f64).median,
                of(|figures| figures.generator_cores).median,
            );
        }
        let line = |name: &str, ratio: Spread, goal: Option<f64>| {
            let goal = goal.map_or_else(String::new, |goal| {
                format!("  goal {goal:.2} {}", if ratio.median >= goal { "met" } else { "NOT met" })
            });
            format!("  {name:<20} {:.2} [{:.2}-{:.2}]{goal}\n", ratio.median, ratio.lowest, ratio.highest)
        };
        if let Some(presences) = self.presences {
            let rate = Spread::of(self.presenced.iter().map(|figures| figures.requests_per_sec));
            text += &format!("  {:.2} million presences a second\n", rate.median * presences as f64 / 1e6);
        }
        if let Some(told) = self.told {
            text += &format!("  a follower was told of {told} changes\n");
        }
        text += &line("ratio by throughput", self.throughput_ratio(), Some(self.goal.throughput));
        text + &line("ratio by CPU", self.cpu_ratio(), self.goal.cpu)
    }

    /// As JSON, rounds and ratios.
    pub(crate) fn json(&self) -> Value {
        let mut value = json!(self);
        value["throughput_ratio"] = json!(self.throughput_ratio());
        value["cpu_ratio"] = json!(self.cpu_ratio());
        value
    }
}

/// The machine and the build, without which figures mean nothing.
pub(crate) fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let memory = read("/proc/meminfo");
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    json!({
        "cpu": model.map_or("unknown", |(_, model)| model),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": memory.trim(),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_before": read("/proc/loadavg").split(' ').next().unwrap_or_default(),
        "build": "release, fat LTO, one codegen unit",
        "commit": option_env!("BENCH_COMMIT").unwrap_or("unknown"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_have_their_median_and_range() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!(spread, Spread { median: 2.0, lowest: 1.0, highest: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert!(Spread::of([]).median.is_nan());
    }
}
