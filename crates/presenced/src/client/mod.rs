//! The commands that talk to a running server: over HTTP, as any other client would.

mod admin;
mod deliveries;
mod history;
mod presence;
mod users;
mod watch;

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::args::{ClockAction, ClockArgs, ServerArgs, TokenArgs};

pub(crate) use admin::{app, remove_user, tenant};
pub(crate) use deliveries::{deliveries, subscriptions};
pub(crate) use history::history;
pub(crate) use presence::{clear, explain, get, set};
pub(crate) use users::{import, list};
pub(crate) use watch::watch;

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running server, and as whom to talk to it.
pub(crate) struct Client {
    agent: ureq::Agent,
    args: ServerArgs,
}

impl Client {
    pub(crate) fn new(args: ServerArgs) -> anyhow::Result<Self> {
        Ok(Self { agent: agent(args.ca.as_deref())?, args })
    }

    /// An access token: the one given, one for the client id and secret given, or the emulator's.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        if let Some(token) = &self.args.token {
            return Ok(token.clone());
        }
        let (Some(id), Some(secret)) = (&self.args.client_id, &self.args.client_secret) else {
            return self.emulator_token(None);
        };
        let tenant = self.args.tenant.as_deref().unwrap_or("organizations");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
            ("scope", "https://graph.microsoft.com/.default"),
        ];
        let response = self.agent.post(self.url(&format!("/{tenant}/oauth2/v2.0/token"))).send_form(form);
        let body = read(response.with_context(|| self.unreachable())?)?;
        match body["access_token"].as_str() {
            Some(token) => Ok(token.to_owned()),
            None => bail!(
                "the server gave no token: {}",
                body["error_description"].as_str().unwrap_or("no reason given")
            ),
        }
    }

    pub(crate) fn emulator_token(&self, user: Option<&str>) -> anyhow::Result<String> {
        let mut request = self.agent.get(self.url("/_presenced/v1/token"));
        if let Some(user) = user {
            request = request.query("user", user);
        }
        let mut response = request.call().with_context(|| self.unreachable())?;
        if response.status().is_success() {
            return Ok(response.body_mut().read_to_string()?);
        }
        bail!(
            "{} hands out no token ({}); give --token, or --tenant, --client-id and --client-secret",
            self.args.url,
            message(&read(response)?)
        )
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request =
            self.agent.get(self.url(path)).header("Authorization", format!("Bearer {}", self.token()?));
        self.finish(request.call())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request =
            self.agent.post(self.url(path)).header("Authorization", format!("Bearer {}", self.token()?));
        self.finish(request.send_json(body))
    }

    pub(crate) fn post_bytes(&self, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<Value> {
        let request = self.agent.post(self.url(path)).header("Content-Type", content_type);
        self.finish(request.header("Authorization", format!("Bearer {}", self.token()?)).send(body))
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request =
            self.agent.patch(self.url(path)).header("Authorization", format!("Bearer {}", self.token()?));
        self.finish(request.send_json(body))
    }

    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        let request =
            self.agent.delete(self.url(path)).header("Authorization", format!("Bearer {}", self.token()?));
        self.finish(request.call())
    }

    /// A call to one of the emulator's own resources, which need no token.
    pub(crate) fn control(&self, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<Value> {
        let request = self.agent.post(self.url(path)).header("Content-Type", content_type);
        self.finish(request.send(body))
    }

    fn finish(
        &self,
        response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> anyhow::Result<Value> {
        let response = response.with_context(|| self.unreachable())?;
        let status = response.status();
        let body = read(response)?;
        if status.is_success() { Ok(body) } else { bail!("{status}: {}", message(&body)) }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.args.url.trim_end_matches('/'))
    }

    fn unreachable(&self) -> String {
        format!("no answer from {} (is `presenced dev` running? --url names another server)", self.args.url)
    }
}

/// A client that trusts one authority more, when there is one.
pub(crate) fn agent(ca: Option<&Path>) -> anyhow::Result<ureq::Agent> {
    let mut tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    if let Some(path) = ca {
        let pem = std::fs::read(path).with_context(|| format!("--ca {}", path.display()))?;
        let certificate = Certificate::from_pem(&pem).with_context(|| format!("--ca {}", path.display()))?;
        tls = tls.root_certs(RootCerts::Specific(Arc::new(vec![certificate])));
    }
    let config = ureq::Agent::config_builder()
        .tls_config(tls.build())
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .build();
    Ok(config.into())
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> anyhow::Result<Value> {
    let text = response.body_mut().read_to_string()?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("{} with a body that is not JSON", response.status()))
}

/// The words of a Graph error.
fn message(body: &Value) -> Cow<'_, str> {
    let error = &body["error"];
    match (error["code"].as_str(), error["message"].as_str().filter(|text| !text.is_empty())) {
        (Some(code), Some(text)) => format!("{code}: {text}").into(),
        (Some(code), None) => code.into(),
        _ => "no reason given".into(),
    }
}

/// A path segment with everything encoded that could be taken for something else.
pub(crate) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Writes a line to standard output; a reader that went away is no error.
pub(crate) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

pub(crate) fn say_json(value: &Value) {
    say(serde_json::to_string_pretty(value).unwrap_or_default());
}

pub(crate) fn token(args: TokenArgs) -> anyhow::Result<()> {
    let client = Client::new(args.server)?;
    let token = match &args.user {
        Some(user) => client.emulator_token(Some(user))?,
        None => client.token()?,
    };
    say(token);
    Ok(())
}

pub(crate) fn clock(args: ClockArgs) -> anyhow::Result<()> {
    let client = Client::new(args.server)?;
    let move_clock = |action: &str, body: Value| {
        client.control(
            &format!("/_presenced/v1/clock/{action}"),
            "application/json",
            body.to_string().as_bytes(),
        )
    };
    let clock = match args.action.unwrap_or(ClockAction::Show) {
        ClockAction::Show => {
            let response = client.agent.get(client.url("/_presenced/v1/clock")).call();
            client.finish(response)?
        }
        ClockAction::Advance { duration } => move_clock("advance", json!({ "duration": duration }))?,
        ClockAction::Set { time } => move_clock("set", json!({ "time": time }))?,
        ClockAction::Freeze => move_clock("freeze", json!({}))?,
        ClockAction::Resume => move_clock("resume", json!({}))?,
    };
    if args.output.json {
        say_json(&clock);
    } else {
        let frozen = if clock["frozen"] == true { ", frozen" } else { "" };
        say(format_args!("{}{frozen}", clock["time"].as_str().unwrap_or_default()));
    }
    Ok(())
}
