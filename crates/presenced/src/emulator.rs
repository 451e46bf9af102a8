//! The emulator: a whole server with a seeded tenant, on loopback, living by a clock that can be moved.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use engine::notify::Notifier;
use engine::{Clock, ClockState, Engine, RandomIds, SystemClock, VirtualClock};
use identity::{KeyRing, LocalCa, LocalCertificate, Publisher, SigningKey, Verifier};
use jiff::SignedDuration;
use presence::{Timestamp, UserId};
use serde::{Deserialize, Serialize};
use server::directory::with_kept;
use server::emulator::Refusals;
use server::http::connection::{Listener, listen, serve};
use server::metrics::{MeasuredStore, MetricsPage};
use server::{
    App, Dashboard, EmbeddedIssuers, Emulator, ForeignKeys, HistoryReaders, Journal, Parts, Recorder,
    SubscriptionRules, Throttle, loops,
};
use store::{History, HistoryRetention, Memory, MemoryHistory, Retention, Store};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::args::DataArgs;
use crate::seed;
use crate::serve::KEYS_RELOAD_INTERVAL;

/// How often the server certificate is looked at for renewal.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Where the emulator listens and what it keeps.
pub(crate) struct Options {
    pub(crate) https: SocketAddr,
    pub(crate) http: SocketAddr,
    /// Where metrics are read, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
    /// `None`: nothing is kept.
    pub(crate) data_dir: Option<PathBuf>,
    /// URL and prefix of an engine to keep presence in instead.
    pub(crate) engine: Option<(String, String)>,
    pub(crate) profile: graph::Profile,
    /// Where Graph requests and their answers are recorded, if anywhere.
    pub(crate) record: Option<PathBuf>,
    /// Whether the server's certificate names [`STOOD_IN_FOR`], too.
    pub(crate) as_graph: bool,
}

/// The hosts that `--as-graph` stands in for: the API and where one signs in to it.
const STOOD_IN_FOR: [&str; 2] = ["graph.microsoft.com", "login.microsoftonline.com"];

/// A running emulator.
pub(crate) struct Running {
    https: SocketAddr,
    http: SocketAddr,
    pub(crate) ca_pem: String,
    /// Certificate and key, both PEM, for a receiver of notifications on this machine.
    pub(crate) receiver: (String, String),
    app: Arc<App>,
    store: Arc<dyn Store>,
    history: Arc<dyn History>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// The folder in which the emulator keeps what it keeps.
///
/// # Errors
/// When none is given and the user has no home.
pub(crate) fn data_dir(args: &DataArgs) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &args.data_dir {
        return Ok(folder.clone());
    }
    let base = args.xdg_data_home.clone().filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(args.home.as_ref()?.join(".local/share")));
    Ok(base.context("there is no home folder; give --data-dir or --in-memory")?.join("presenced/dev"))
}

/// The certificate authority kept in a folder, as PEM; made at the first call.
///
/// # Errors
/// When files cannot be read or written.
pub(crate) fn certificate_authority(data_dir: &Path, as_graph: bool) -> anyhow::Result<String> {
    let keys = authority_dir(data_dir, as_graph)?;
    let ca = LocalCa::load_or_generate(&keys, &extra_names(as_graph), SystemClock::new(None).now())?;
    Ok(ca.certificate_pem())
}

/// Where the authority is kept. The one that may vouch for names of Microsoft is another: it is made only when asked for, and
/// whoever trusts the usual one has not trusted it.
fn authority_dir(data_dir: &Path, as_graph: bool) -> anyhow::Result<PathBuf> {
    let keys = keys_dir(data_dir)?;
    let folder = if as_graph { keys.join("as-graph") } else { keys };
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// What the certificate names besides this machine.
fn extra_names(as_graph: bool) -> Vec<String> {
    if as_graph { STOOD_IN_FOR.map(str::to_owned).to_vec() } else { Vec::new() }
}

pub(crate) fn keys_dir(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let folder = data_dir.join("keys");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// Starts an emulator. It answers when this returns.
///
/// # Errors
/// When an address is taken or not loopback, or what was kept cannot be read.
pub(crate) async fn start(options: Options) -> anyhow::Result<Running> {
    let wall_clock: Arc<dyn Clock> = Arc::new(SystemClock::new(None));
    let keys = options.data_dir.as_deref().map(keys_dir).transpose()?;
    // An RSA key is the dear part of a first start: it is made while the rest gets ready.
    let signing_key = {
        let keys = keys.clone();
        let now = wall_clock.now();
        tokio::task::spawn_blocking(move || match keys {
            Some(folder) => KeyRing::load_or_generate(&folder, now),
            None => SigningKey::generate().map(KeyRing::from),
        })
    };
    let (http, https) = (bind(options.http).await?, bind(options.https).await?);
    let (http_address, https_address) = (http.local_addr()?, https.local_addr()?);
    let certificate = {
        let now = wall_clock.now();
        let names = extra_names(options.as_graph);
        let ca = match &options.data_dir {
            Some(folder) => {
                LocalCa::load_or_generate(&authority_dir(folder, options.as_graph)?, &names, now)?
            }
            None => LocalCa::generate(&names, now)?,
        };
        Arc::new(LocalCertificate::new(ca, names, now)?)
    };
    let ca_pem = certificate.ca().certificate_pem();
    let receiver = certificate.ca().receiver_certificate(wall_clock.now())?;

    let recorder = options.record.as_deref().map(recorder).transpose()?;
    let store = open_store(options.data_dir.as_deref(), options.engine.as_ref()).await?;
    let clock_file = options.data_dir.as_deref().map(|folder| folder.join("clock.json"));
    let clock = Arc::new(clock(store.latest().await?, clock_file.as_deref())?);
    let declared = seed::directory()?;
    let seen = match store.shared() {
        Some(shared) => shared.documents_seen().await?,
        None => store::DocumentsSeen::default(),
    };
    let directory = with_kept(declared.clone(), store.as_ref()).await?;
    let (measured, commits) = MeasuredStore::new(store.clone(), None);
    // Nobody's data is in an emulator, so nobody has to ask for the history.
    let history = open_history(options.data_dir.as_deref())?;
    let engine = Arc::new(Engine::new(Arc::new(measured), clock.clone()).keeping(history.clone()));

    let mut base_urls = base_urls(https_address, http_address);
    for host in extra_names(options.as_graph) {
        base_urls.push(format!("https://{host}"));
        base_urls.push(format!("https://{host}:{}", https_address.port()));
    }
    let signing_keys = signing_key.await??;
    // People may sign in: on loopback, where whoever gets here may have any token anyway.
    let issuers = EmbeddedIssuers::new(base_urls.clone(), true, signing_keys.clone());
    issuers.add(seed::TENANT, &[seed::DOMAIN.to_owned()]);
    for (id, tenant) in directory.tenants().filter(|(_, tenant)| tenant.issuers.is_empty()) {
        issuers.add(id, &tenant.domains);
    }
    let mut trusted = issuers.trusted();
    let mut added = Vec::new();
    for (id, tenant) in directory.tenants() {
        for issuer in tenant.issuers.iter() {
            trusted.push(issuer.trusted(id).map_err(|problems| anyhow::anyhow!("{id}: {problems:?}"))?);
            added.push(issuer.issuer.clone());
        }
    }
    let verifier = Verifier::new(trusted);
    let delivery = crate::serve::delivery_settings(options.profile);
    let notifier =
        Arc::new(Notifier::open(store.clone(), clock.clone(), Arc::new(RandomIds), delivery).await?);
    let mut subscription_rules = SubscriptionRules::of(options.profile);
    subscription_rules.wire.plain_http_on_loopback = true;
    // Receivers on this machine may have a certificate of the emulator's own authority.
    let policy = outbound::Policy { loopback: true, ..outbound::Policy::default() };
    let outbound = outbound::Client::new(policy, std::slice::from_ref(&ca_pem))?;
    let foreign_keys = ForeignKeys::new(outbound.clone(), [], wall_clock.now());
    foreign_keys.follow(&outbound, &added, &[], wall_clock.now());
    foreign_keys.restore(store.as_ref(), &verifier, wall_clock.now()).await?;
    let stop = watch::Sender::new(false);
    let app = Arc::new(App::new(Parts {
        engine: engine.clone(),
        wall_clock: wall_clock.clone(),
        ids: Arc::new(RandomIds),
        verifier,
        foreign_keys,
        issuers,
        publisher: Publisher::new(base_urls, signing_keys),
        directory,
        throttle: Throttle::default(),
        profile: options.profile,
        host_tenant: Some(seed::TENANT),
        emulator: Some(Emulator {
            clock,
            tenant: seed::TENANT,
            app: seed::APP,
            scopes: seed::SCOPES.iter().map(ToString::to_string).collect(),
            moved: Box::new(move |state| keep_clock(clock_file.as_deref(), state)),
            recorder,
            refusals: Refusals::default(),
            journal: Journal::default(),
        }),
        public_url: None,
        position_key: server::position_key(store.as_ref()).await?,
        stop: stop.subscribe(),
        notifier,
        subscription_rules,
        outbound,
        dashboard: Dashboard::new(&[], true, false),
        tracer: None,
        history_readers: HistoryReaders::Readers,
    }));

    let tls = identity::server_config(certificate.clone())?;
    let listeners = vec![Listener::new(https, Some(tls)), Listener::new(http, None)];
    let renew = move || match certificate.renew_if_due(wall_clock.now()) {
        Ok(true) => tracing::info!("the server certificate was renewed"),
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "the server certificate cannot be renewed"),
    };
    let mut tasks = Vec::new();
    if let Some(address) = options.metrics {
        let page = Arc::new(MetricsPage::new(app.clone(), Some(commits), env!("CARGO_PKG_VERSION")));
        let listener = Listener::new(bind(address).await?, None);
        tasks.push(loops::start(serve(vec![listener], page, stop.subscribe())));
        tasks.push(loops::start(loops::census(app.clone(), stop.subscribe())));
    }
    if let Some(folder) = keys {
        let follow = crate::serve::follow_keys(app.clone(), folder);
        tasks.push(loops::start(loops::every(KEYS_RELOAD_INTERVAL, follow, stop.subscribe())));
    }
    tasks.extend([
        loops::start(serve(listeners, app.clone(), stop.subscribe())),
        loops::start(loops::historian(engine.clone(), stop.subscribe())),
        loops::start(loops::ticker(engine, stop.subscribe())),
        loops::start(loops::keys(app.clone(), stop.subscribe())),
        loops::start(loops::deliverer(app.clone(), stop.subscribe())),
        loops::start(loops::directory(app.clone(), declared, seen, stop.subscribe())),
        loops::start(loops::every(RENEWAL_INTERVAL, renew, stop.subscribe())),
    ]);
    Ok(Running {
        https: https_address,
        http: http_address,
        ca_pem,
        receiver,
        app,
        store,
        history,
        stop,
        tasks,
    })
}

impl Running {
    /// Base URL of the HTTPS listener, without version.
    pub(crate) fn https_url(&self) -> String {
        base_url("https", self.https)
    }

    /// Base URL of the HTTP listener, without version.
    pub(crate) fn http_url(&self) -> String {
        base_url("http", self.http)
    }

    /// A ready-made token of the application, for itself or for a user.
    ///
    /// # Errors
    /// For a user who is not there.
    pub(crate) fn token(&self, user: Option<UserId>) -> anyhow::Result<String> {
        self.app.ready_made_token(user).context("no token could be made")
    }

    /// Finishes the requests in flight and lets go of everything.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            let _ = task.await;
        }
        if let Err(error) = self.history.close().await {
            tracing::warn!(%error, "the history was not closed cleanly");
        }
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the store did not close cleanly");
        }
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    if !address.ip().is_loopback() {
        bail!("{address} is not a loopback address: whoever reaches the emulator may have any of its tokens");
    }
    listen(address).await.with_context(|| {
        format!("cannot listen on {address}; is another `presenced dev` running? --http and --https choose addresses")
    })
}

fn recorder(path: &Path) -> anyhow::Result<Recorder> {
    let file = std::fs::File::options().create(true).append(true).open(path);
    Ok(Recorder::new(file.with_context(|| path.display().to_string())?))
}

/// How much history an emulator keeps on disk; in memory less.
const HISTORY: HistoryRetention =
    HistoryRetention { age: Duration::from_secs(30 * 24 * 60 * 60), bytes: 256 * 1024 * 1024 };

fn open_history(data_dir: Option<&Path>) -> anyhow::Result<Arc<dyn History>> {
    Ok(match data_dir {
        Some(folder) => {
            Arc::new(crate::serve::open_history(&folder.join(crate::serve::HISTORY_FOLDER), HISTORY)?)
        }
        None => Arc::new(MemoryHistory::new(HISTORY.age)),
    })
}

async fn open_store(
    data_dir: Option<&Path>,
    engine: Option<&(String, String)>,
) -> anyhow::Result<Arc<dyn Store>> {
    if let Some((url, prefix)) = engine {
        let options = store::redis::Options {
            prefix: prefix.clone(),
            accept_loss: store::redis::Loss::All,
            node: "dev".to_owned(),
            ..store::redis::Options::default()
        };
        return Ok(Arc::new(store::redis::Redis::open(&url.parse()?, options).await?));
    }
    Ok(match data_dir {
        None => Arc::new(Memory::default()),
        Some(folder) => Arc::new(crate::serve::open_embedded(&folder.join("store"), Retention::default())?),
    })
}

/// `localhost` in URLs: it is in the certificate, SDKs allow plain HTTP to it, and it works with either address family.
fn base_url(scheme: &str, address: SocketAddr) -> String {
    format!("{scheme}://localhost:{}", address.port())
}

/// Every address by which a client on this machine may know the server; tokens may name any of them as their issuer.
fn base_urls(https: SocketAddr, http: SocketAddr) -> Vec<String> {
    let of = |scheme: &str, address: SocketAddr| {
        [
            base_url(scheme, address),
            format!("{scheme}://127.0.0.1:{}", address.port()),
            format!("{scheme}://[::1]:{}", address.port()),
        ]
    };
    of("https", https).into_iter().chain(of("http", http)).collect()
}

/// How the clock stood when it was last moved. Presence kept at a later time must not meet an earlier one.
#[derive(Serialize, Deserialize)]
struct KeptClock {
    ahead_seconds: i64,
    frozen_at: Option<Timestamp>,
}

fn clock(latest: Option<Timestamp>, file: Option<&Path>) -> anyhow::Result<VirtualClock> {
    let kept = match file.map(std::fs::read) {
        Some(Ok(bytes)) => Some(serde_json::from_slice::<KeptClock>(&bytes).context("clock.json")?),
        Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("clock.json");
        }
        Some(Err(_)) | None => None,
    };
    let state = kept.map_or_else(ClockState::default, |kept| ClockState {
        ahead: SignedDuration::from_secs(kept.ahead_seconds),
        frozen_at: kept.frozen_at,
    });
    let clock = VirtualClock::new(Arc::new(SystemClock::new(None)), state);
    if let Some(latest) = latest {
        clock.set_forward(latest);
    }
    Ok(clock)
}

fn keep_clock(file: Option<&Path>, state: ClockState) {
    let Some(file) = file else { return };
    // Rounded up: over a restart the clock may gain a second, but not lose one.
    let kept = KeptClock { ahead_seconds: state.ahead.as_secs() + 1, frozen_at: state.frozen_at };
    let written = serde_json::to_vec(&kept).map_err(std::io::Error::from).and_then(|bytes| {
        let new = file.with_extension("json.new");
        std::fs::write(&new, bytes)?;
        std::fs::rename(&new, file)
    });
    if let Err(error) = written {
        tracing::warn!(%error, "the clock's position could not be kept");
    }
}
