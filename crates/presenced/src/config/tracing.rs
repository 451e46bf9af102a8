//! `[tracing]`: where traces go.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use server::trace::export::Collector;

use super::Outbound;

/// `[tracing]`: off unless configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tracing {
    /// A collector that speaks OTLP over HTTP, such as `https://collector.example.org:4318`. In clear on this machine only.
    pub(crate) otlp: String,
    /// The part of traces that begin here which is kept, 0 to 1; left out: all.
    sample_ratio: Option<f64>,
    /// A file of header fields for the collector, `Name: value` a line.
    headers_file: Option<PathBuf>,
}

impl Tracing {
    /// The part of traces that is kept.
    pub(crate) fn sample_ratio(&self) -> f64 {
        self.sample_ratio.unwrap_or(1.0)
    }

    /// The file it names, for whoever resolves paths.
    pub(super) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.headers_file.iter_mut()
    }

    /// The collector, called as `[outbound]` allows, and on this machine.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn collector(&self, outbound: &Outbound) -> anyhow::Result<Collector> {
        let headers = self.headers_file.as_deref().map(read).transpose()?.unwrap_or_default();
        let client = outbound.collector_client(self.otlp.starts_with("http:"))?;
        Collector::new(client, &self.otlp, &headers, env!("CARGO_PKG_VERSION"))
            .with_context(|| format!("headers_file {:?}", self.headers_file))
    }

    pub(super) fn check(&self, outbound: &Outbound, problems: &mut Vec<String>) {
        let url = self.otlp.parse::<http::Uri>().ok();
        let url =
            url.filter(|url| matches!(url.scheme_str(), Some("https" | "http")) && url.query().is_none());
        let Some(url) = url else {
            return problems.push(format!("[tracing] otlp: {:?} is not a URL of http or https", self.otlp));
        };
        if !(0.0..=1.0).contains(&self.sample_ratio()) {
            problems.push("[tracing] sample_ratio: give 0 to 1".to_owned());
        }
        let host = url.host().unwrap_or_default();
        let is_here = host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if url.scheme_str() == Some("http") {
            if !is_here {
                problems.push(format!("[tracing] otlp: {host:?} is not this machine, so it must be https"));
            }
        } else if let Ok(policy) = outbound.policy()
            && let Err(forbidden) = policy.check_host(host)
        {
            problems.push(format!(
                "[tracing] otlp: {host:?} may not be called: {forbidden}; name it in [outbound] allow"
            ));
        }
        if let Err(error) = self.collector(outbound) {
            problems.push(format!("[tracing] {error:#}"));
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("headers_file {}", path.display()))
}
