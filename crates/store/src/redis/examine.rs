//! A look at an engine from outside: whether it is there, what it may lose, how full it is and what its clock says. It writes
//! nothing, and makes no store where there is none.

use redis::{Value, cmd};
use tokio::time::Instant;

use super::connection::{Connections, text_of};
use super::{Options, Place, Risk, safety, slot_of};
use crate::StoreError;
use crate::redis::connection::Lane;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examination {
    /// Its own version.
    pub version: String,
    /// How many masters it has.
    pub masters: usize,
    /// How long it takes to answer.
    pub answers_in: std::time::Duration,
    /// How many replicas each write would wait for.
    pub waits_for: usize,
    /// What it may lose although nobody has said that this is accepted.
    pub risks: Vec<Risk>,
    /// How many buckets the store there has; `None`: there is none yet.
    pub buckets: Option<String>,
    /// What the clock of each master says, in microseconds since 1970.
    pub clocks: Vec<i64>,
    /// How full the fullest master is, in percent, of those that have a limit.
    pub full_percent: Option<u64>,
}

/// Looks at an engine.
///
/// # Errors
/// [`StoreError`] when it does not answer or does not let us in.
pub async fn examine(place: &Place, options: &Options) -> Result<Examination, StoreError> {
    let connections = Connections::open(place).await?;
    let started = Instant::now();
    let times = connections.call_masters(&cmd("TIME")).await?;
    let answers_in = started.elapsed();
    let infos = connections.call_masters(cmd("INFO").arg("server")).await?;
    let memories = connections.call_masters(cmd("INFO").arg("memory")).await?;
    let masters = safety::masters(&connections).await.unwrap_or_default();
    let waits_for = options.replicas.unwrap_or(usize::from(safety::have_replicas(&masters)));
    let key = format!("{}:layout", options.prefix);
    let layout = cmd("HGET").arg(&key).arg("buckets").to_owned();
    let layout = connections.call(Lane::Read, slot_of(key.as_bytes()), &[layout]).await?;
    let clock = |time: &Value| {
        let Value::Array(parts) = time else { return None };
        let number = |place: usize| parts.get(place).and_then(|part| text_of(part).parse::<i64>().ok());
        Some(number(0)? * 1_000_000 + number(1)?)
    };
    let full = |memory: &Value| {
        let number = |name| line_of(&text_of(memory), name)?.parse::<u64>().ok();
        Some(number("used_memory:")? * 100 / number("maxmemory:").filter(|most| *most > 0)?)
    };
    Ok(Examination {
        version: infos.first().map(text_of).map(|info| version_of(&info)).unwrap_or_default(),
        masters: times.len(),
        answers_in,
        waits_for,
        risks: safety::unaccepted(&masters, waits_for, options.accept_loss),
        buckets: layout.first().map(text_of).filter(|buckets| !buckets.is_empty()),
        clocks: times.iter().filter_map(clock).collect(),
        full_percent: memories.iter().filter_map(full).max(),
    })
}

fn line_of(info: &str, name: &str) -> Option<String> {
    info.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::to_owned)
}

/// Valkey tells a version of Redis besides, for those who look for one.
fn version_of(info: &str) -> String {
    match (line_of(info, "valkey_version:"), line_of(info, "redis_version:")) {
        (Some(version), _) => format!("Valkey {version}"),
        (None, Some(version)) => format!("Redis {version}"),
        (None, None) => "an engine that does not tell its version".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_called_by_its_own_name() {
        assert_eq!(version_of("# Server\r\nredis_version:7.0.15\r\n"), "Redis 7.0.15");
        assert_eq!(version_of("redis_version:7.2.4\r\nvalkey_version:8.1.0\r\n"), "Valkey 8.1.0");
    }
}
