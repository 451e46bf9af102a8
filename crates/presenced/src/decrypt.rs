//! `presenced decrypt`: what a receiver should find in the body of a notification, and in clear words what is wrong with it.
//! For debugging a receiver: the same body, the same key, another program.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use engine::{Clock, SystemClock};
use identity::{ContentCertificate, ContentError, ContentKey, EncryptedContent, KeySet, ValidationToken};
use presence::Timestamp;
use serde_json::{Map, Value, json};

use crate::args::DecryptArgs;
use crate::client::{agent, say, say_json};

/// Largest body, certificate or key set that is read, in bytes; a notification is kept below a mebibyte.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

pub(crate) fn run(args: &DecryptArgs) -> anyhow::Result<()> {
    let keys = args.key.iter().map(|path| content_key(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let certificate = args.certificate.as_deref().map(certificate).transpose()?;
    let issuer = args.jwks.as_deref().map(|from| key_set(from, args.ca.as_deref())).transpose()?;
    let body = file(&args.file)?;
    let secrets = Receiver { keys, certificate, issuer, app: args.app.clone() };
    let report = secrets.read(&body, SystemClock::new(None).now())?;
    if args.output.json {
        say_json(&report.to_json());
    } else {
        report.print();
    }
    match report.problems() {
        0 => Ok(()),
        1 => bail!("one thing is wrong with this notification"),
        many => bail!("{many} things are wrong with this notification"),
    }
}

/// What a receiver has to read notifications with.
struct Receiver {
    keys: Vec<ContentKey>,
    certificate: Option<ContentCertificate>,
    issuer: Option<KeySet>,
    app: Option<String>,
}

/// What was found in one notification.
#[derive(Debug)]
struct Report {
    items: Vec<Item>,
    tokens: Vec<Token>,
    /// What is wrong with the body as a whole.
    problem: Option<&'static str>,
}

#[derive(Debug)]
struct Item {
    /// As it was posted, without the encrypted content.
    members: Map<String, Value>,
    /// The content, if there is encrypted content and it could be read.
    content: Option<Value>,
    problem: Option<String>,
}

#[derive(Debug)]
struct Token {
    claims: Map<String, Value>,
    /// Whether there was a key set to verify it with.
    is_checked: bool,
    problem: Option<String>,
}

impl Receiver {
    fn read(&self, body: &[u8], now: Timestamp) -> anyhow::Result<Report> {
        let body: Value = serde_json::from_slice(body).context("the notification is not JSON")?;
        let Some(items) = body["value"].as_array() else {
            bail!("it is not a notification: there is no array `value`");
        };
        let tokens: Vec<_> = match &body["validationTokens"] {
            Value::Null => Vec::new(),
            Value::Array(tokens) => tokens.iter().map(|token| self.token(token, now)).collect(),
            _ => bail!("it is not a notification: `validationTokens` is no array"),
        };
        let is_rich = items.iter().any(|item| item.get("encryptedContent").is_some());
        let problem = (is_rich && tokens.is_empty())
            .then_some("there is encrypted content and no validation token: nothing says who sent this");
        Ok(Report { items: items.iter().map(|item| self.item(item)).collect(), tokens, problem })
    }

    fn item(&self, item: &Value) -> Item {
        let mut members = item.as_object().cloned().unwrap_or_default();
        let encrypted = members.remove("encryptedContent");
        let (content, problem) = match encrypted.map(|encrypted| self.content(&encrypted)) {
            _ if !item.is_object() => (None, Some("it is no object".to_owned())),
            None => (None, None),
            Some(Ok(content)) => (Some(content), None),
            Some(Err(problem)) => (None, Some(problem)),
        };
        Item { members, content, problem }
    }

    fn content(&self, encrypted: &Value) -> Result<Value, String> {
        let text = |name: &str| {
            let text = encrypted[name].as_str().map(str::to_owned);
            text.ok_or_else(|| format!("encryptedContent has no {name}"))
        };
        let content = EncryptedContent {
            data: text("data")?,
            data_signature: text("dataSignature")?,
            data_key: text("dataKey")?,
        };
        let thumbprint = text("encryptionCertificateThumbprint")?;
        if let Some(certificate) = &self.certificate
            && certificate.thumbprint() != thumbprint
        {
            return Err(format!(
                "it was encrypted for another certificate: its thumbprint is {thumbprint}, that of --certificate is {}",
                certificate.thumbprint()
            ));
        }
        let plaintext = self.decrypt(&content).map_err(|problem| problem.to_string())?;
        serde_json::from_slice(&plaintext)
            .map_err(|_| "it was decrypted and its signature fits, but it is not JSON".to_owned())
    }

    /// With the key that fits: while certificates are exchanged a receiver has two.
    fn decrypt(&self, content: &EncryptedContent) -> Result<Vec<u8>, ContentError> {
        let mut attempts = self.keys.iter().map(|key| key.decrypt(content));
        let fitting = attempts.find(|outcome| *outcome != Err(ContentError::WrongKey));
        fitting.unwrap_or(Err(ContentError::WrongKey))
    }

    fn token(&self, token: &Value, now: Timestamp) -> Token {
        let read = ValidationToken::read(token.as_str().unwrap_or_default());
        let checked = self.issuer.as_ref().map(|keys| (keys, read.as_ref()));
        let problem = match checked {
            Some((keys, Ok(token))) => token.check(keys, self.app.as_deref(), now).err(),
            _ => read.as_ref().err().cloned(),
        };
        Token {
            claims: read.map(|token| token.claims().clone()).unwrap_or_default(),
            is_checked: self.issuer.is_some(),
            problem: problem.map(|problem| problem.to_string()),
        }
    }
}

impl Report {
    fn problems(&self) -> usize {
        let items = self.items.iter().filter(|item| item.problem.is_some()).count();
        let tokens = self.tokens.iter().filter(|token| token.problem.is_some()).count();
        items + tokens + usize::from(self.problem.is_some())
    }

    fn print(&self) {
        for (number, item) in self.items.iter().enumerate() {
            item.print(number + 1);
        }
        for (number, token) in self.tokens.iter().enumerate() {
            token.print(number + 1);
        }
        if let Some(problem) = self.problem {
            say(format_args!("WRONG: {problem}"));
        }
    }

    fn to_json(&self) -> Value {
        let items = self.items.iter().map(|item| {
            let mut shown = Value::Object(item.members.clone());
            shown["content"] = item.content.clone().into();
            shown["problem"] = item.problem.clone().into();
            shown
        });
        let tokens = self.tokens.iter().map(|token| {
            let verified = token.is_checked.then_some(token.problem.is_none());
            json!({ "claims": token.claims, "verified": verified, "problem": token.problem })
        });
        json!({
            "value": items.collect::<Value>(),
            "validationTokens": tokens.collect::<Value>(),
            "problem": self.problem,
        })
    }
}

impl Item {
    fn print(&self, number: usize) {
        let text = |name: &str| self.members.get(name).and_then(Value::as_str).unwrap_or("(none)");
        let what = match self.members.get("lifecycleEvent").and_then(Value::as_str) {
            Some(event) => format!("lifecycle event {event}"),
            None => format!("{} {}", text("changeType"), text("resource")),
        };
        let (subscription, until) = (text("subscriptionId"), text("subscriptionExpirationDateTime"));
        say(format_args!("item {number}: {what}"));
        say(format_args!("  subscription {subscription}, until {until}"));
        match (&self.problem, &self.content) {
            (Some(problem), _) => say(format_args!("  WRONG: {problem}")),
            (None, Some(content)) => match (content["availability"].as_str(), content["activity"].as_str()) {
                (Some(availability), Some(activity)) => say(format_args!("  {availability}/{activity}")),
                _ => say(format_args!("  {content}")),
            },
            (None, None) => say(format_args!("  without content")),
        }
    }
}

impl Token {
    fn print(&self, number: usize) {
        let outcome = match (&self.problem, self.is_checked) {
            (Some(_), _) => "",
            (None, true) => "verified",
            (None, false) => "not verified; give --jwks",
        };
        say(format_args!("validation token {number}: {outcome}"));
        if let Some(problem) = &self.problem {
            say(format_args!("  WRONG: {problem}"));
        }
        for (name, value) in &self.claims {
            let instant = ["iat", "nbf", "exp"].contains(&name.as_str()).then(|| value.as_i64()).flatten();
            match instant.and_then(|seconds| Timestamp::from_second(seconds).ok()) {
                Some(instant) => say(format_args!("  {name:<9} {instant}")),
                None => match value.as_str() {
                    Some(text) => say(format_args!("  {name:<9} {text}")),
                    None => say(format_args!("  {name:<9} {value}")),
                },
            }
        }
    }
}

fn content_key(path: &Path) -> anyhow::Result<ContentKey> {
    let pem = text(path).with_context(|| format!("--key {}", path.display()))?;
    ContentKey::from_pem(&pem).with_context(|| format!("--key {}", path.display()))
}

fn certificate(path: &Path) -> anyhow::Result<ContentCertificate> {
    let said = || format!("--certificate {}", path.display());
    ContentCertificate::parse(&text(path).with_context(said)?).with_context(said)
}

fn key_set(from: &str, ca: Option<&Path>) -> anyhow::Result<KeySet> {
    let said = || format!("--jwks {from}");
    let is_url = ["https://", "http://"].iter().any(|scheme| from.starts_with(scheme));
    let bytes = if is_url {
        let mut answer = agent(ca)?.get(from).call().with_context(said)?;
        if !answer.status().is_success() {
            bail!("--jwks {from}: {}", answer.status());
        }
        answer.body_mut().with_config().limit(BYTES_MAX).read_to_vec().with_context(said)?
    } else {
        file(Path::new(from)).with_context(said)?
    };
    identity::validation_keys(&bytes).with_context(said)
}

fn text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(file(path)?).context("it is not text")
}

/// A file's bytes, or those of standard input.
fn file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    read.with_context(|| path.display().to_string())?;
    if bytes.len() as u64 > BYTES_MAX {
        bail!("{}: more than {BYTES_MAX} bytes", path.display());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
