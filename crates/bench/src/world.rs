//! The server's world: people and applications, a store in which they are present, keys, tokens and certificates.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use engine::{Clock, Engine, SystemClock};
use identity::{Application, Issuer, IssuerConfig, SigningKey, VerificationKey};
use jiff::SignedDuration;
use presence::{AppId, Command, SessionLifetime, SessionPair, TenantId, Timestamp, UserId, UserKey};
use store::{Embedded, Options, Store};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::traffic::Random;

/// The tenant of the benchmark.
pub(crate) const TENANT: TenantId = TenantId::from_u128(0x8000_0000_0000_4000_8000_0000_0000_0001);
/// The application that keeps everybody's session.
pub(crate) const APP: AppId = AppId::from_u128(0x8000_0000_0000_4000_8000_0000_0000_0002);
/// Issuer and audience of its tokens.
const PUBLIC_URL: &str = "http://localhost";
/// What it may do.
const ROLES: [&str; 3] = ["Presence.Read.All", "Presence.ReadWrite.All", "User.Read.All"];
/// Writers that fill the store at a time; together they make its groups.
const FILLERS: u64 = 1_024;
/// How long before its end a session of a wave was set: as short as a session may be.
const WAVE_LIFETIME: SignedDuration = presence::limits::SESSION_LIFETIME_MIN;
/// How long a token counts: longer than any run.
const TOKEN_LIFETIME_SECS: u32 = 24 * 60 * 60;

/// The object id of person `number`: as random as a real one, and always the same.
pub(crate) fn user(number: u64) -> UserId {
    let high = Random::new(number).next();
    let low = Random::new(!number).next();
    UserId::from_u128(u128::from(high) << 64 | u128::from(low))
}

/// A folder with all of it.
pub(crate) struct World {
    pub(crate) folder: PathBuf,
    pub(crate) people: u64,
    /// Lines of the configuration besides those every measurement has; they come first.
    settings: &'static str,
    issuer: Issuer,
    /// Of the key that the issuer signs with.
    kid: String,
    app: Application,
}

/// What the people in the store are like when the server starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present {
    /// How many have a live session.
    pub(crate) people: u64,
    /// How many of them expire in the same second.
    pub(crate) expiring: u64,
    /// When that is.
    pub(crate) expire_at: Timestamp,
}

/// People whose sessions end together, so many at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waves {
    pub(crate) waves: u64,
    pub(crate) people_each: u64,
    /// When the first session of the first wave ends; the others follow within a second.
    pub(crate) first: Timestamp,
    /// From one wave to the next.
    pub(crate) apart: SignedDuration,
}

impl Waves {
    /// When a wave begins.
    pub(crate) fn at(&self, wave: u64) -> Timestamp {
        self.first + self.apart * i32::try_from(wave).unwrap_or(i32::MAX)
    }
}

impl World {
    /// Makes the folder: configuration, users, keys and certificates. The store is filled by [`fill`](Self::fill).
    pub(crate) fn new(folder: &Path, people: u64) -> anyhow::Result<Self> {
        let keys = folder.join("keys");
        std::fs::create_dir_all(&keys)?;
        let key = SigningKey::load_or_generate(&keys)?;
        let app = Application {
            id: APP,
            display_name: "Load".to_owned(),
            service_principal: Uuid::from_u128(1),
            secrets: Vec::new(),
            certificates: Vec::new(),
            redirects: identity::Redirects::default(),
            roles: ROLES.map(str::to_owned).to_vec(),
            scopes: Vec::new(),
        };
        let world = Self {
            folder: folder.to_owned(),
            people,
            settings: "",
            kid: key.kid().to_owned(),
            issuer: Issuer::new(IssuerConfig::new(TENANT, PUBLIC_URL, key)),
            app,
        };
        world.write_users()?;
        world.write_certificate()?;
        Ok(world)
    }

    /// The same with these lines at the beginning of the server's configuration.
    pub(crate) fn with_settings(self, settings: &'static str) -> Self {
        Self { settings, ..self }
    }

    fn write_users(&self) -> anyhow::Result<()> {
        let mut csv = String::from("id,userPrincipalName\n");
        for number in 0..self.people {
            writeln!(csv, "{},person{number}@example.org", user(number))?;
        }
        std::fs::write(self.folder.join("users.csv"), csv).context("users.csv")
    }

    fn write_certificate(&self) -> anyhow::Result<()> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        std::fs::write(self.certificate(), made.cert.pem())?;
        std::fs::write(self.certificate_key(), made.signing_key.serialize_pem())?;
        Ok(())
    }

    /// PEM file of the certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    /// PEM file of its key.
    pub(crate) fn certificate_key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// The configuration of a server that listens on these ports. Returns its path.
    pub(crate) fn write_config(&self, http: u16, https: u16) -> anyhow::Result<PathBuf> {
        let path = self.folder.join("presenced.toml");
        let text = format!(
            "{}data_dir = \".\"\npublic_url = \"{PUBLIC_URL}\"\n\
             [listen]\nhttp = [\"127.0.0.1:{http}\"]\nhttps = [\"127.0.0.1:{https}\"]\n\
             [tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n\
             [issuer]\nembedded = true\n\
             [[tenant]]\nid = \"{TENANT}\"\nuser_files = [\"users.csv\"]\n\
             [[tenant.application]]\nid = \"{APP}\"\nsecret_sha256 = \"{:064x}\"\nroles = {ROLES:?}\n",
            self.settings, 0
        );
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// The key that verifies every token.
    pub(crate) fn verification_key(&self) -> anyhow::Result<VerificationKey> {
        self.issuer.trusted().keys.get(&self.kid).cloned().context("the issuer has no key")
    }

    /// The one token that most measurements need.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        self.tokens(0..1, now())?.pop().context("one was asked for")
    }

    /// Tokens of the application: of different numbers, different ones.
    pub(crate) fn tokens(&self, numbers: Range<usize>, now: Timestamp) -> anyhow::Result<Vec<String>> {
        let mint = |number: usize| {
            let at = now - SignedDuration::from_secs(1);
            // The lifetime is what tells one from another.
            let lifetime = TOKEN_LIFETIME_SECS + u32::try_from(number)?;
            Ok(self.issuer.mint_application(&self.app, at, lifetime)?)
        };
        numbers.map(mint).collect()
    }

    /// Adds people to a filled store whose sessions end in waves. They have the numbers from `first_person` on.
    pub(crate) fn fill_waves(&self, first_person: u64, waves: Waves) -> anyhow::Result<()> {
        let (store, _) = Embedded::open(&self.folder.join("store"), Options::default())?;
        let store: Arc<dyn Store> = Arc::new(store);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
        runtime.block_on(async {
            for wave in 0..waves.waves {
                let clock = Arc::new(Still(waves.at(wave) - WAVE_LIFETIME));
                let engine = Arc::new(Engine::new(store.clone(), clock));
                let people =
                    first_person + wave * waves.people_each..first_person + (wave + 1) * waves.people_each;
                let mut fillers = JoinSet::new();
                for filler in 0..FILLERS as usize {
                    fillers.spawn(fill_wave(
                        engine.clone(),
                        people.clone().skip(filler).step_by(FILLERS as usize),
                    ));
                }
                while let Some(filled) = fillers.join_next().await {
                    filled??;
                }
            }
            Ok(store.close().await?)
        })
    }

    /// Fills the store through the engine, as the server itself would, with everybody Available for four hours, or for
    /// as long as `present` says.
    pub(crate) fn fill(&self, present: Present) -> anyhow::Result<()> {
        let folder = self.folder.join("store");
        let _ = std::fs::remove_dir_all(&folder);
        let (store, _) = Embedded::open(&folder, Options::default())?;
        let now = SystemClock::new(None).now();
        let engine = Arc::new(Engine::new(Arc::new(store), Arc::new(Still(now))));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
        runtime.block_on(async {
            let mut fillers = JoinSet::new();
            for first in 0..FILLERS {
                fillers.spawn(fill_part(engine.clone(), first, present, now));
            }
            while let Some(filled) = fillers.join_next().await {
                filled??;
            }
            Ok(engine.store().close().await?)
        })
    }
}

/// A filler's part of a wave. Everybody is in a call: that does not fade before it ends.
async fn fill_wave(engine: Arc<Engine>, people: impl Iterator<Item = u64>) -> anyhow::Result<()> {
    for number in people {
        let spread = SignedDuration::from_millis((number % 1_000) as i64);
        let lifetime = SessionLifetime::new(WAVE_LIFETIME + spread)?;
        let command = Command::SetPresence { app: APP, pair: SessionPair::InACall, lifetime };
        engine.execute(UserKey { tenant: TENANT, user: user(number) }, command).await?;
    }
    Ok(())
}

async fn fill_part(engine: Arc<Engine>, first: u64, present: Present, now: Timestamp) -> anyhow::Result<()> {
    let long = SessionLifetime::new(SignedDuration::from_hours(4))?;
    let short = present.expire_at.duration_since(now).max(SignedDuration::from_mins(5));
    let short = SessionLifetime::new(SignedDuration::from_secs(short.as_secs()))?;
    for number in (first..present.people).step_by(FILLERS as usize) {
        let lifetime = if number < present.expiring { short } else { long };
        let command = Command::SetPresence { app: APP, pair: SessionPair::Available, lifetime };
        engine.execute(UserKey { tenant: TENANT, user: user(number) }, command).await?;
    }
    Ok(())
}

/// A clock that stands: everybody who is written down arrived at the same instant.
struct Still(Timestamp);

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }

    async fn sleep_until(&self, _: Timestamp) {
        std::future::pending::<()>().await;
    }
}

/// The machine's time.
pub(crate) fn now() -> Timestamp {
    SystemClock::new(None).now()
}

/// How long a server may take to read its users and its store.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(180);
