//! What an operator says about a tenant's broker.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mqtt::{Broker, Secret, TlsFiles, Will};
use presence::TenantId;
use serde::Deserialize;

use super::mapping::Mapping;

/// Mappings of one tenant at most. Ours: each message is held against each.
pub const MAPPINGS_MAX: usize = 64;
/// Longest prefix of topics, in bytes. Ours.
const PREFIX_BYTES_MAX: usize = 128;
/// Longest name at a broker, in bytes. Ours.
const NAME_BYTES_MAX: usize = 256;
/// How long we may be silent before the broker takes us for gone.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const PORT: u16 = 1883;
const PORT_TLS: u16 = 8883;

/// `[tenant.mqtt]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    /// The broker's name or address.
    pub host: String,
    /// Its port; left out: 8883 with TLS, 1883 without.
    pub port: Option<u16>,
    /// Whether to speak TLS.
    #[serde(default = "yes")]
    pub tls: bool,
    /// A PEM file with the authorities its certificate may come from; left out: those of the system.
    pub authorities: Option<PathBuf>,
    /// A PEM file with a certificate to show to the broker, and
    pub certificate: Option<PathBuf>,
    /// the file of its key.
    pub key: Option<PathBuf>,
    /// Our name there; left out: one made of the tenant's id.
    pub client_id: Option<String>,
    /// As whom to sign in.
    pub username: Option<String>,
    /// A file with the password. Read again at each connection.
    pub password_file: Option<PathBuf>,
    /// What the topics of users begin with.
    #[serde(default = "prefix")]
    pub topic: String,
    /// Home Assistant's prefix for discovery, `homeassistant` as it comes; left out: no discovery.
    pub discovery: Option<String>,
    /// Topics that hold presence sessions.
    #[serde(default, rename = "session")]
    pub sessions: Vec<SessionSettings>,
}

fn yes() -> bool {
    true
}

fn prefix() -> String {
    "presenced".to_owned()
}

fn offline() -> String {
    graph::mqtt::OFFLINE.to_owned()
}

/// `[[tenant.mqtt.session]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSettings {
    /// Where the device says what is the matter. A level may be `+`, and one may be `{user}`.
    pub topic: String,
    /// The application whose presence sessions these are.
    pub application: String,
    /// The one user it concerns: object id or user principal name.
    pub user: Option<String>,
    /// Who is meant by what stands in the topic; what is not here means itself.
    #[serde(default)]
    pub users: BTreeMap<String, String>,
    /// What each word of the device means: a pair, such as `Busy/InACall`, or `clear`. Left out: such words themselves.
    #[serde(default)]
    pub states: BTreeMap<String, String>,
    /// A JSON pointer to the word; left out: the whole payload.
    pub value: Option<String>,
    /// How long a message counts. Left out: five minutes, or until the last will where there is one.
    pub keep_alive_secs: Option<u32>,
    /// The topic of the device's last will.
    pub will: Option<String>,
    /// What the will says.
    #[serde(default = "offline")]
    pub will_payload: String,
    /// Whether messages that the broker remembered count. Left out: where there is a last will.
    pub retained: Option<bool>,
}

/// Nothing that opens anything.
impl fmt::Debug for MqttSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttSettings")
            .field("host", &self.host)
            .field("port", &self.port())
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Why a broker cannot be asked with these settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The password file cannot be read.
    #[error("password_file {path}: {source}")]
    Password {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] mqtt::TlsError),
}

impl MqttSettings {
    /// The port, if only by default.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls { PORT_TLS } else { PORT })
    }

    /// The files it names, for whoever resolves paths.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self { authorities, certificate, key, password_file, .. } = self;
        [authorities, certificate, key, password_file].into_iter().flatten()
    }

    /// Everything that is wrong, as far as it can be told without the broker.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let is_topic = |topic: &str| {
            !topic.is_empty()
                && topic.len() <= PREFIX_BYTES_MAX
                && !topic.starts_with(['/', '$'])
                && !topic.ends_with('/')
                && !topic.contains(['+', '#', '\0'])
        };
        if self.host.is_empty() {
            problems.push("host: say where the broker is".to_owned());
        }
        for (key, topic) in [("topic", Some(&self.topic)), ("discovery", self.discovery.as_ref())] {
            if topic.is_some_and(|topic| !is_topic(topic)) {
                problems
                    .push(format!("{key}: not a topic of at most {PREFIX_BYTES_MAX} bytes without + and #"));
            }
        }
        if [&self.username, &self.client_id]
            .into_iter()
            .flatten()
            .any(|name| name.is_empty() || name.len() > NAME_BYTES_MAX)
        {
            problems.push(format!("username and client_id have 1 to {NAME_BYTES_MAX} bytes"));
        }
        if self.password_file.is_some() && self.username.is_none() {
            problems.push("password_file needs username".to_owned());
        }
        if self.certificate.is_some() != self.key.is_some() {
            problems.push("certificate and key go together".to_owned());
        }
        if !self.tls && (self.authorities.is_some() || self.certificate.is_some()) {
            problems.push("authorities, certificate and key are of no use with `tls = false`".to_owned());
        }
        if self.sessions.len() > MAPPINGS_MAX {
            problems.push(format!("session: at most {MAPPINGS_MAX}"));
        }
        if problems.is_empty()
            && let Err(error) = self.broker(TenantId::from_u128(0), "", None)
        {
            problems.push(error.to_string());
        }
        for (at, session) in self.sessions.iter().enumerate() {
            let found = Mapping::new(session, &self.topic).err().into_iter().flatten();
            problems.extend(found.map(|problem| format!("session {}: {problem}", at + 1)));
        }
        problems
    }

    pub(crate) fn mappings(&self) -> Vec<Mapping> {
        self.sessions.iter().filter_map(|session| Mapping::new(session, &self.topic).ok()).collect()
    }

    /// The broker, with what the files hold now. Our name there ends with `suffix`.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub(crate) fn broker(
        &self,
        tenant: TenantId,
        suffix: &str,
        will: Option<Will>,
    ) -> Result<Broker, SettingsError> {
        let password = self.password_file.as_ref().map(|path| {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|source| SettingsError::Password { path: path.clone(), source })?;
            Ok::<_, SettingsError>(Secret(text.trim_end_matches(['\r', '\n']).to_owned()))
        });
        let identity = self.certificate.clone().zip(self.key.clone());
        let files = TlsFiles { authorities: self.authorities.clone(), identity };
        Ok(Broker {
            host: self.host.clone(),
            port: self.port(),
            tls: if self.tls { Some(mqtt::client_config(&files)?) } else { None },
            client_id: format!(
                "{}{suffix}",
                self.client_id.clone().unwrap_or_else(|| format!("presenced-{tenant}"))
            ),
            username: self.username.clone(),
            password: password.transpose()?,
            keep_alive: KEEP_ALIVE,
            will,
        })
    }
}
