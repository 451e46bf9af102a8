//! Certificates, ports, and the server as its clients reach it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use identity::{CertificateFacts, ReloadableCertificate};
use jiff::SignedDuration;
use jiff::fmt::rfc2822;
use presence::Timestamp;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::Finding;
use crate::config::{Config, Tls};

/// A certificate that ends sooner is due.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(21 * 24);
/// Clocks that differ by more make tokens early or late (five minutes are forgiven).
const SKEW_FAILURE: SignedDuration = SignedDuration::from_mins(5);
/// Clocks that differ by more are not kept in time.
const SKEW_WARNING: SignedDuration = SignedDuration::from_secs(5);
/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn certificate(tls: &Tls, public_url: &str, now: Timestamp, findings: &mut Vec<Finding>) {
    const SUBJECT: &str = "certificate";
    if let Err(error) = ReloadableCertificate::open(&tls.certificate, &tls.key) {
        let remedy = "Give the whole chain, leaf first, and the key that belongs to the leaf, both as PEM.";
        return findings.push(Finding::failure(SUBJECT, error, remedy));
    }
    let facts = std::fs::read(&tls.certificate).ok().and_then(|pem| CertificateFacts::of_pem(&pem));
    let Some(facts) = facts else {
        let remedy = "Let the certificate authority issue it again.";
        return findings.push(Finding::failure(SUBJECT, "it cannot be read as X.509", remedy));
    };
    let ends = format!("it ends {}", facts.not_after);
    let remedy = "Renew it; the server reads the new files by itself within seconds.";
    findings.push(if now > facts.not_after {
        Finding::failure(SUBJECT, format_args!("it has ended {}", facts.not_after), remedy)
    } else if now < facts.not_before {
        let remedy = "Compare the machine's clock with the time; or wait.";
        Finding::failure(SUBJECT, format_args!("it begins {}", facts.not_before), remedy)
    } else if facts.not_after.duration_since(now) < RENEW_BEFORE {
        Finding::warning(SUBJECT, ends, remedy)
    } else {
        Finding::good(SUBJECT, ends)
    });
    let host = public_url.parse::<http::Uri>().ok().and_then(|url| url.host().map(str::to_owned));
    let host = host.unwrap_or_default();
    findings.push(match facts.is_for(&host) {
        true => Finding::good("certificate's names", format_args!("{host} is one of them")),
        false => Finding::failure(
            "certificate's names",
            format_args!("{host}, the host of public_url, is not one of {:?}", facts.names),
            "Correct public_url, or have a certificate issued for that name: clients refuse this one.",
        ),
    });
}

pub(super) fn ports(config: &Config, findings: &mut Vec<Finding>) {
    let listen = config.listen.https.iter().chain(&config.listen.http).chain(&config.metrics.listen);
    for address in listen {
        let subject = format!("listen {address}");
        findings.push(match TcpListener::bind(address) {
            Ok(_) => Finding::good(subject, "free"),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => taken(subject),
            // The system asks for the privilege first, which the server has and whoever runs this need not.
            Err(error)
                if error.kind() == std::io::ErrorKind::PermissionDenied && somebody_listens(*address) =>
            {
                taken(subject)
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Finding::failure(
                subject,
                "this user may not listen there",
                "Ports below 1024 need CAP_NET_BIND_SERVICE, which the systemd unit gives; or take a higher one.",
            ),
            Err(error) => Finding::failure(
                subject,
                error,
                "Name an address of this machine, or [::] for all of them.",
            ),
        });
    }
}

fn taken(subject: String) -> Finding {
    let remedy = "Right if that is this server; `ss -ltnp` says who it is.";
    Finding::warning(subject, "somebody listens there already", remedy)
}

fn somebody_listens(address: SocketAddr) -> bool {
    let host = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let v4 = (address.is_ipv6() && address.ip().is_unspecified()).then_some(Ipv4Addr::LOCALHOST.into());
    let hosts = [Some(host), v4].into_iter().flatten();
    hosts
        .map(|host: IpAddr| SocketAddr::new(host, address.port()))
        .any(|address| TcpStream::connect_timeout(&address, TIMEOUT).is_ok())
}

/// The issuers of the tenants: whether they answer, with keys that can be used. Asked as the server asks.
pub(super) fn issuers(config: &Config, findings: &mut Vec<Finding>) {
    let issuers = config.tenants.iter().flat_map(|tenant| &tenant.issuers);
    let issuers: BTreeSet<&str> = issuers.map(|issuer| issuer.issuer.as_str()).collect();
    if issuers.is_empty() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let client = config.outbound.issuer_client(&config.tenants);
    let (Ok(runtime), Ok(client)) = (runtime, client) else {
        let remedy = "Correct [outbound] extra_roots: they must be certificates in PEM.";
        return findings.push(Finding::failure("issuers", "they cannot be asked", remedy));
    };
    for issuer in issuers {
        let subject = format!("issuer {issuer}");
        findings.push(match runtime.block_on(server::fetch_keys(&client, issuer)) {
            Ok(fetched) => Finding::good(
                subject,
                format_args!("it answers, and has {} keys that can be used", fetched.keys.len()),
            ),
            Err(problem) => Finding::failure(
                subject,
                problem,
                "Compare the issuer with the one its configuration page names, to the last slash; its authority goes into [outbound] extra_roots, the host of its keys into allow.",
            ),
        });
    }
}

/// The server by its public URL: whether it answers, and whether its clock is this machine's.
pub(super) fn server(config: &Config, ca: Option<&Path>, now: Timestamp, findings: &mut Vec<Finding>) {
    let subject = "public_url";
    let mut tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    if let Some(path) = ca {
        let certificate = std::fs::read(path).ok().and_then(|pem| Certificate::from_pem(&pem).ok());
        let Some(certificate) = certificate else {
            let remedy = "Give a PEM file with one certificate.";
            return findings.push(Finding::failure(
                "--ca",
                format_args!("{} cannot be read", path.display()),
                remedy,
            ));
        };
        tls = tls.root_certs(RootCerts::Specific(Arc::new(vec![certificate])));
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .tls_config(tls.build())
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .build()
        .into();
    let url = format!("{}/readyz", config.public_url.trim_end_matches('/'));
    let answer = match agent.get(&url).call() {
        Ok(answer) => answer,
        Err(error) => {
            let remedy = "Right if the server is not running; else compare name, port, proxy and certificate (--ca names its authority).";
            return findings.push(Finding::warning(subject, format_args!("{url}: {error}"), remedy));
        }
    };
    findings.push(match answer.status().as_u16() {
        200 => Finding::good(subject, "the server is ready"),
        503 => Finding::failure(subject, "the server's store does not answer", "Read its log."),
        status => Finding::failure(
            subject,
            format_args!("{url} answers {status}"),
            "Somebody else answers there, or a proxy does not pass everything on.",
        ),
    });
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| rfc2822::parse(date).ok()) else { return };
    findings.push(skew(theirs.timestamp(), now));
}

fn skew(theirs: Timestamp, now: Timestamp) -> Finding {
    let skew = theirs.duration_since(now).abs();
    let told = format!("the server's and this machine's differ by {} s", skew.as_secs());
    let remedy = "Keep both in time (systemd-timesyncd, chrony): tokens are refused when clocks differ by five minutes.";
    match skew {
        skew if skew > SKEW_FAILURE => Finding::failure("clock", told, remedy),
        skew if skew > SKEW_WARNING => Finding::warning("clock", told, remedy),
        _ => Finding::good("clock", told),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn clocks_may_differ_by_seconds_and_not_by_minutes() {
        let now: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        for (seconds, severity) in
            [(0, Severity::Good), (-5, Severity::Good), (6, Severity::Warning), (-301, Severity::Failure)]
        {
            let theirs = now + SignedDuration::from_secs(seconds);
            assert_eq!(skew(theirs, now).severity, severity, "{seconds}");
        }
    }

    #[test]
    fn an_address_is_free_taken_or_not_this_machines() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        let elsewhere: SocketAddr = "192.0.2.1:8080".parse().unwrap();
        config.listen.http = vec!["127.0.0.1:0".parse().unwrap(), taken.local_addr().unwrap(), elsewhere];
        let mut findings = Vec::new();
        ports(&config, &mut findings);
        let severities: Vec<_> = findings.iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Good, Severity::Warning, Severity::Failure]);
    }
}
