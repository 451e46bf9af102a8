//! What the server speaks to besides its clients: brokers and the collector of traces. Asked as the server asks.

use std::os::unix::fs::PermissionsExt;

use server::mqtt::{BridgeError, MqttSettings, try_broker};

use super::Finding;
use crate::config::Config;

pub(super) fn brokers(config: &Config, findings: &mut Vec<Finding>) {
    let brokers: Vec<_> =
        config.tenants.iter().filter_map(|tenant| Some((&tenant.id, tenant.mqtt.as_ref()?))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Ok(runtime), Ok(policy)) = (runtime, config.outbound.policy()) else { return };
    for (tenant, settings) in brokers {
        let subject = format!("mqtt {}:{}", settings.host, settings.port());
        secrecy(settings, &subject, findings);
        let Ok(tenant) = tenant.parse() else { continue };
        findings.push(match runtime.block_on(try_broker(tenant, settings, &policy)) {
            Ok(()) => Finding::good(subject, "the broker welcomes us"),
            Err(error) => {
                let remedy = remedy(&error);
                Finding::failure(subject, error, remedy)
            }
        });
    }
}

/// Whether others could learn the password.
fn secrecy(settings: &MqttSettings, subject: &str, findings: &mut Vec<Finding>) {
    let is_here = settings.host == "localhost"
        || settings.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if !settings.tls && !is_here {
        findings.push(Finding::warning(
            subject,
            "the conversation is in clear, password and presence too",
            "Use TLS: leave `tls` out, and name the broker's authority in `authorities`.",
        ));
    }
    let Some(path) = &settings.password_file else { return };
    if std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o007 != 0) {
        findings.push(Finding::warning(
            subject,
            format_args!("{} may be read by everybody on this machine", path.display()),
            "chmod o= the file, and give it to the group the server runs as.",
        ));
    }
}

fn remedy(error: &BridgeError) -> &'static str {
    use mqtt::ConnectError;
    use outbound::TcpError;
    match error {
        BridgeError::Connect(ConnectError::Tcp(TcpError::Forbidden(_))) => {
            "Name the broker in [outbound] allow, or the network of its address."
        }
        BridgeError::Connect(ConnectError::Refused(_)) => {
            "Compare username and password_file with the broker's, and read its log; it may want another client_id."
        }
        BridgeError::Connect(ConnectError::Tls(_) | ConnectError::Name(_)) => {
            "Name the authority of its certificate in `authorities`; the certificate must be for `host`. In clear it is `tls = false`."
        }
        BridgeError::Settings(_) => "Correct the file that is named.",
        _ => {
            "Right if the broker is down: the log waits for it. Else compare host, port and `tls` with the broker's listener."
        }
    }
}

pub(super) fn collector(config: &Config, findings: &mut Vec<Finding>) {
    let Some(tracing) = &config.tracing else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Ok(runtime), Ok(collector)) = (runtime, tracing.collector(&config.outbound)) else { return };
    let subject = format!("tracing {}", tracing.otlp);
    findings.push(match runtime.block_on(collector.examine()) {
        Ok(()) => Finding::good(subject, "the collector takes traces"),
        // Presence does not need it.
        Err(why) => Finding::warning(
            subject,
            why,
            "Compare `otlp` with the collector's receiver for OTLP over HTTP (port 4318, not 4317), and headers_file with what it wants.",
        ),
    });
}
