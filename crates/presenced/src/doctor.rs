//! `presenced doctor`: what is or will soon be wrong with a set-up, each with what to do about it. It changes nothing, and
//! may run beside the server.

mod far;
mod network;
mod place;
mod redis;

use std::fmt;

use engine::{Clock, SystemClock};
use presence::Timestamp;
use serde::Serialize;

use crate::args::DoctorArgs;
use crate::client;
use crate::config::{Config, Problems};

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
enum Severity {
    /// As it should be.
    Good,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work.
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at.
    subject: String,
    severity: Severity,
    /// What was found.
    message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

impl Finding {
    fn good(subject: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self {
            subject: subject.to_string(),
            severity: Severity::Good,
            message: message.to_string(),
            remedy: None,
        }
    }

    fn warning(subject: impl fmt::Display, message: impl fmt::Display, remedy: &'static str) -> Self {
        Self { severity: Severity::Warning, remedy: Some(remedy), ..Self::good(subject, message) }
    }

    fn failure(subject: impl fmt::Display, message: impl fmt::Display, remedy: &'static str) -> Self {
        Self { severity: Severity::Failure, remedy: Some(remedy), ..Self::good(subject, message) }
    }
}

/// Looks at everything. Returns whether nothing has failed.
pub(crate) fn run(args: &DoctorArgs) -> bool {
    let findings = look(args, SystemClock::new(None).now());
    let is_well = findings.iter().all(|finding| finding.severity != Severity::Failure);
    if args.output.json {
        client::say_json(&serde_json::json!({ "ok": is_well, "findings": findings }));
        return is_well;
    }
    for finding in &findings {
        let mark = match finding.severity {
            Severity::Good => "good   ",
            Severity::Warning => "warning",
            Severity::Failure => "FAILURE",
        };
        client::say(format_args!("{mark}  {}: {}", finding.subject, finding.message));
        if let Some(remedy) = finding.remedy {
            client::say(format_args!("         {remedy}"));
        }
    }
    is_well
}

fn look(args: &DoctorArgs, now: Timestamp) -> Vec<Finding> {
    let config = match Config::read(&args.config) {
        Ok(config) => config,
        Err(Problems(problems)) => {
            let remedy = "Correct the file; docs/operate.md explains every key.";
            return problems
                .iter()
                .map(|problem| Finding::failure("configuration", problem, remedy))
                .collect();
        }
    };
    let mut findings =
        vec![Finding::good("configuration", format_args!("{} can be read", args.config.display()))];
    place::look(&config, &mut findings);
    if let Some(tls) = &config.tls {
        network::certificate(tls, &config.public_url, now, &mut findings);
    }
    network::ports(&config, &mut findings);
    network::issuers(&config, &mut findings);
    redis::look(&config, now, &mut findings);
    far::brokers(&config, &mut findings);
    far::collector(&config, &mut findings);
    network::server(&config, args.ca.as_deref(), now, &mut findings);
    findings
}
