//! What an engine can lose of what it has acknowledged, as far as its settings tell.

use std::collections::HashMap;
use std::fmt;

use redis::{Value, cmd};

use super::connection::{Connections, text_of};

/// What may be lost, from less to more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Nothing when one machine fails.
    #[default]
    None,
    /// What was acknowledged in the last second or two, when a machine fails.
    Second,
    /// Anything since the engine started, or nobody can tell.
    All,
}

/// The settings by which a master can lose what it acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Risk {
    /// How much.
    pub loss: Loss,
    /// Why, and what would be better.
    pub reason: String,
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What one master says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Master {
    settings: HashMap<String, String>,
    replicas: usize,
}

/// Asks every master.
///
/// # Errors
/// In words, when one does not tell.
pub(super) async fn masters(connections: &Connections) -> Result<Vec<Master>, String> {
    let mut wanted = cmd("CONFIG");
    wanted.arg("GET").arg(&["appendonly", "appendfsync", "maxmemory", "maxmemory-policy"]);
    let told = connections.call_masters(&wanted).await.map_err(|error| error.to_string())?;
    let replication =
        connections.call_masters(cmd("INFO").arg("replication")).await.map_err(|error| error.to_string())?;
    let settings = told.into_iter().map(pairs).collect::<Vec<_>>();
    let replicas = replication.iter().map(|text| {
        let text = text_of(text);
        let count = text.lines().find_map(|line| line.trim().strip_prefix("connected_slaves:")?.parse().ok());
        count.unwrap_or(0)
    });
    Ok(settings.into_iter().zip(replicas).map(|(settings, replicas)| Master { settings, replicas }).collect())
}

fn pairs(value: Value) -> HashMap<String, String> {
    match value {
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (text_of(name), text_of(value))).collect(),
        Value::Array(flat) => {
            flat.chunks_exact(2).map(|pair| (text_of(&pair[0]), text_of(&pair[1]))).collect()
        }
        _ => HashMap::new(),
    }
}

/// Whether a commit can wait for a replica: every master has one.
pub(super) fn have_replicas(masters: &[Master]) -> bool {
    !masters.is_empty() && masters.iter().all(|master| master.replicas > 0)
}

const EVERY_SECOND: &str = "appendfsync is everysec and no commit waits for a replica: the last second is lost with the machine \
                            (appendfsync always, or a replica)";
const NO_SYNC: &str = "appendfsync is no: the system decides when to write (everysec or always)";
const NO_FILE: &str = "appendonly is no: what is not in a snapshot is lost (appendonly yes)";
const NOT_TOLD: &str =
    "the engine does not tell whether it has an append-only file (CONFIG GET is not allowed)";

/// What may be lost beyond what is accepted when each commit waits for this many replicas.
pub(super) fn unaccepted(masters: &[Master], replicas: usize, accepted: Loss) -> Vec<Risk> {
    let mut risks = risks(masters, replicas);
    if masters.is_empty() {
        let reason = "the engine does not tell its settings (CONFIG GET is not allowed)".to_owned();
        risks.push(Risk { loss: Loss::All, reason });
    }
    risks.retain(|risk| risk.loss > accepted);
    risks
}

/// What may be lost when each commit waits for this many replicas.
fn risks(masters: &[Master], replicas: usize) -> Vec<Risk> {
    let mut risks: Vec<Risk> = Vec::new();
    let mut add = |loss, reason: &str| {
        if risks.iter().all(|known| known.reason != reason) {
            risks.push(Risk { loss, reason: reason.to_owned() });
        }
    };
    for master in masters {
        let setting = |name: &str| master.settings.get(name).map_or("", String::as_str);
        let found = match (setting("appendonly"), setting("appendfsync")) {
            ("yes", "always") => None,
            ("yes", "everysec") if replicas > 0 => None,
            ("yes", "everysec") => Some((Loss::Second, EVERY_SECOND)),
            ("yes", _) => Some((Loss::All, NO_SYNC)),
            ("no", _) => Some((Loss::All, NO_FILE)),
            _ => Some((Loss::All, NOT_TOLD)),
        };
        if let Some((loss, reason)) = found {
            add(loss, reason);
        }
        if !matches!(setting("maxmemory"), "" | "0") && setting("maxmemory-policy") != "noeviction" {
            add(Loss::All, "maxmemory-policy is not noeviction: what was kept goes when memory is full");
        }
        if master.replicas > 0 && replicas == 0 {
            add(
                Loss::Second,
                "there are replicas and no commit waits for one: the last moment is lost when one takes over (replicas = 1)",
            );
        }
    }
    risks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(settings: &[(&str, &str)], connected: usize, waits_for: usize) -> Loss {
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let masters = [Master { settings, replicas: connected }];
        risks(&masters, waits_for).iter().map(|risk| risk.loss).max().unwrap_or_default()
    }

    #[test]
    fn only_settings_that_lose_nothing_with_one_machine_are_safe() {
        let aof = |fsync| [("appendonly", "yes"), ("appendfsync", fsync), ("maxmemory", "0")];
        assert_eq!(worst(&aof("always"), 0, 0), Loss::None);
        assert_eq!(worst(&aof("everysec"), 0, 0), Loss::Second);
        assert_eq!(worst(&aof("everysec"), 1, 1), Loss::None);
        assert_eq!(worst(&aof("everysec"), 1, 0), Loss::Second);
        assert_eq!(worst(&aof("always"), 1, 0), Loss::Second, "a replica may take over");
        assert_eq!(worst(&aof("no"), 1, 1), Loss::All);
        assert_eq!(worst(&[("appendonly", "no"), ("appendfsync", "always")], 1, 1), Loss::All);
        assert_eq!(worst(&[], 1, 1), Loss::All, "who does not tell is not trusted");
        let evicting = [("maxmemory", "100"), ("maxmemory-policy", "allkeys-lru")];
        assert_eq!(worst(&[&aof("always")[..2], &evicting[..]].concat(), 0, 0), Loss::All);
        let refusing = [("maxmemory", "100"), ("maxmemory-policy", "noeviction")];
        assert_eq!(worst(&[&aof("always")[..2], &refusing[..]].concat(), 0, 0), Loss::None);
    }
}
