//! The engine that presence is kept in, where `store` names one.

use std::time::Duration;

use presence::Timestamp;
use store::redis::{Examination, examine};

use super::Finding;
use crate::config::Config;

const SUBJECT: &str = "engine";
/// A command that takes longer than this makes every request wait twice that.
const SLOW: Duration = Duration::from_millis(20);
/// Further apart than this, clocks make history hard to read.
const SKEW_WARNING_MICROS: i64 = 1_000_000;
/// Beyond this, in percent, an engine soon refuses writes.
const FULL_WARNING: u64 = 85;

pub(super) fn look(config: &Config, now: Timestamp, findings: &mut Vec<Finding>) {
    let Some(url) = config.engine() else { return };
    let opened = config.redis.open(url, config.node(), config.changes.retention());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Ok((place, options)), Ok(runtime)) = (opened, runtime) else { return };
    match runtime.block_on(examine(&place, &options)) {
        Ok(found) => {
            told(&found, options.buckets, now, findings);
        }
        Err(error) => findings.push(Finding::failure(
            SUBJECT,
            error,
            "Compare `store` and [redis] with where the engine listens, its ACL user and its certificates; the server does not start without it.",
        )),
    }
}

fn told(found: &Examination, wanted: Option<u16>, now: Timestamp, findings: &mut Vec<Finding>) {
    let masters = if found.masters == 1 { "one master" } else { "masters" };
    let count = if found.masters == 1 { String::new() } else { format!("{} ", found.masters) };
    let about = format!(
        "{}, {count}{masters}, answers in {:.1} ms",
        found.version,
        found.answers_in.as_secs_f64() * 1e3
    );
    findings.push(match found.answers_in {
        took if took > SLOW => Finding::warning(
            SUBJECT,
            about,
            "Every read waits for one such answer and every write for two: bring it nearer.",
        ),
        _ => Finding::good(SUBJECT, about),
    });
    for risk in &found.risks {
        findings.push(Finding::failure(
            "engine's promise",
            risk,
            "The server does not start like this: change it, or say in [redis] accept_loss what may be lost (docs/consistency.md).",
        ));
    }
    if found.risks.is_empty() {
        let replicas = match found.waits_for {
            0 => "no replica".to_owned(),
            1 => "one replica".to_owned(),
            more => format!("{more} replicas"),
        };
        let promise =
            format_args!("no more is lost than is accepted; writes wait for {replicas}").to_string();
        findings.push(Finding::good("engine's promise", promise));
    }
    findings.push(match (&found.buckets, wanted) {
        (Some(there), Some(wanted)) if *there != wanted.to_string() => Finding::failure(
            "engine's store",
            format_args!("it was made with {there} buckets, not {wanted}"),
            "Their number is fixed when a store is made: leave [redis] buckets out, or name another prefix.",
        ),
        (Some(there), _) => Finding::good("engine's store", format_args!("{there} buckets")),
        (None, _) => Finding::good("engine's store", "none yet: the first node makes it"),
    });
    let skew = found.clocks.iter().map(|clock| clock - now.as_microsecond()).max_by_key(|skew| skew.abs());
    if let Some(skew) = skew {
        let seconds = skew as f64 / 1e6;
        findings.push(match skew.abs() {
            ..=SKEW_WARNING_MICROS => Finding::good("engine's clock", format_args!("{seconds:+.1} s from ours")),
            _ => Finding::warning(
                "engine's clock",
                format_args!("{seconds:+.1} s from ours"),
                "Presence lives by the nodes' clocks and leases by the engine's: nothing is lost, but let both follow the same time (NTP).",
            ),
        });
    }
    if let Some(percent) = found.full_percent {
        let told = format!("{percent} % of maxmemory");
        findings.push(match percent {
            ..FULL_WARNING => Finding::good("engine's memory", told),
            _ => Finding::warning(
                "engine's memory",
                told,
                "Raise maxmemory or add masters: when it is full writes are answered 503, and reads go on.",
            ),
        });
    }
}
