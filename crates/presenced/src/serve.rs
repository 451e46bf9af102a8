//! `presenced serve`: the server an organisation runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use engine::notify::{Backlog, DeliverySettings, Notifier};
use engine::{Clock, Engine, RandomIds, SystemClock};
use graph::Profile;
use graph::user::User;
use identity::{
    Application, ClientCertificate, KeyFolderState, KeyRing, Publisher, RedirectUri, Redirects,
    ReloadableCertificate, Secret, SecretDigest, SigningKey, TrustedIssuer, Verifier,
};
use presence::{TenantId, Timestamp};
use server::directory::{Directory, Origin, Tenant, keep_users, with_kept};
use server::http::connection::{Listener, listen, serve};
use server::import::{ImportFormat, read_users};
use server::metrics::{MeasuredStore, MetricsPage};
use server::mqtt::Bridge;
use server::trace::Tracer;
use server::{App, Dashboard, EmbeddedIssuers, ForeignKeys, Parts, Throttle, loops};
use store::redis::Redis;
use store::{
    DocumentsSeen, Embedded, FileHistory, History, HistoryRetention, Memory, Options, Retention, Store,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::args::{LogFormat, ServeArgs};
use crate::config::{self, Config, PasswordlessSignIn};
use crate::{asked_to_stop, client, server_runtime};

/// How often the TLS files are looked at for a change.
const TLS_RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// How often the folder of signing keys is looked at for a rotation.
pub(crate) const KEYS_RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// Where they are, below the data folder.
pub(crate) const KEYS_FOLDER: &str = "keys";

/// Runs the server until it is asked to stop.
pub(crate) fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    if args.check {
        client::say("the configuration is good");
        return Ok(());
    }
    server_runtime(&args.log, LogFormat::Json)?.block_on(run_with(config, args.in_memory))
}

async fn run_with(config: Config, in_memory: bool) -> anyhow::Result<()> {
    let asked_to_stop = asked_to_stop()?;
    let store: Arc<dyn Store> = match in_memory {
        true => Arc::new(Memory::default()),
        false => open_store(&config).await?,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(store.latest().await?));
    let wall_clock: Arc<dyn Clock> = Arc::new(SystemClock::new(None));
    let declared = directory(&config)?;
    let seen = match store.shared() {
        Some(shared) => shared.documents_seen().await?,
        None => DocumentsSeen::default(),
    };
    let directory = with_kept(declared.clone(), store.as_ref()).await?;
    let keys = signing_keys(&config, wall_clock.now())?;
    let issuers = issuers(&config, &directory, keys.clone())?;
    let tracing = config.tracing.as_ref().map(|tracing| {
        Ok::<_, anyhow::Error>((tracing.collector(&config.outbound)?, tracing.sample_ratio()))
    });
    let tracing = tracing.transpose()?.map(|(collector, ratio)| {
        let (tracer, queue) = Tracer::new(wall_clock.clone(), Arc::new(RandomIds), ratio);
        (tracer, queue, collector)
    });
    let tracer = tracing.as_ref().map(|(tracer, ..)| tracer.clone());
    let (measured, commits) = MeasuredStore::new(store.clone(), tracer.clone());
    let engine = Engine::new(Arc::new(measured), clock.clone());
    let (engine, history) = match in_memory {
        true => (engine, None),
        false => with_history(engine, &config, &directory).await?,
    };
    let engine = Arc::new(engine);
    let mut sign_ins = Vec::new();
    for tenant in &config.tenants {
        if let Some(dashboard) = &tenant.dashboard {
            sign_ins.push(dashboard.sign_in(tenant, &config.public_url)?);
        }
    }
    let profile = config.profile().map_err(anyhow::Error::msg)?;
    let settings = delivery_settings(profile);
    let notifier = Arc::new(Notifier::open(store.clone(), clock, Arc::new(RandomIds), settings).await?);
    let outbound = config.outbound.client()?;
    let mut trusted: Vec<TrustedIssuer> = issuers.trusted();
    let (mut foreign, mut added) = (Vec::new(), Vec::new());
    for (id, tenant) in directory.tenants() {
        for issuer in tenant.issuers.iter() {
            trusted.push(issuer.trusted(id).map_err(|problems| anyhow::anyhow!("{id}: {problems:?}"))?);
            match tenant.origin {
                Origin::Declared => foreign.push(issuer.issuer.clone()),
                Origin::Kept => added.push(issuer.issuer.clone()),
            }
        }
    }
    let issuer_client = config.outbound.issuer_client(&config.tenants)?;
    let foreign_keys = ForeignKeys::new(issuer_client, foreign, wall_clock.now());
    foreign_keys.follow(&outbound, &added, &[], wall_clock.now());
    let verifier = Verifier::new(trusted);
    foreign_keys.restore(store.as_ref(), &verifier, wall_clock.now()).await?;
    let stop = watch::Sender::new(false);
    let app = App::new(Parts {
        engine: engine.clone(),
        wall_clock,
        ids: Arc::new(RandomIds),
        verifier,
        foreign_keys,
        issuers,
        publisher: Publisher::new(vec![config.public_url.clone()], keys),
        directory,
        throttle: Throttle::new(config.throttle.requests_per_30_seconds),
        profile,
        host_tenant: config.host_tenant.as_deref().map(str::parse).transpose()?,
        emulator: None,
        public_url: Some(config.public_url.clone()),
        position_key: server::position_key(store.as_ref()).await?,
        stop: stop.subscribe(),
        notifier,
        subscription_rules: config.subscriptions.rules(profile),
        outbound,
        dashboard: Dashboard::new(&sign_ins, false, store.shared().is_some()),
        tracer: tracer.clone(),
        history_readers: config.history.readers(),
    });
    let app = Arc::new(app.with_bounds(config.overload.bounds()));

    let mut bridges = Vec::new();
    for (tenant, mqtt) in config.tenants.iter().filter_map(|tenant| Some((tenant, tenant.mqtt.clone()?))) {
        let policy = config.outbound.policy()?;
        let version = env!("CARGO_PKG_VERSION");
        let bridge =
            Bridge::open(app.clone(), tenant.id.parse()?, mqtt, policy, turn(&store, &stop), version);
        bridges.push(Arc::new(bridge.await?));
    }

    let mut tasks = Vec::new();
    let mut listeners = Vec::new();
    if let Some(tls) = &config.tls {
        let certificate = Arc::new(ReloadableCertificate::open(&tls.certificate, &tls.key)?);
        let tls = identity::server_config(certificate.clone())?;
        for address in &config.listen.https {
            listeners.push(Listener::new(bind(*address).await?, Some(tls.clone())));
        }
        let reload = move || match certificate.reload_if_changed() {
            Ok(true) => tracing::info!("the certificate was read again"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "the certificate has changed but is of no use; the old one stays");
            }
        };
        tasks.push(loops::start(loops::every(TLS_RELOAD_INTERVAL, reload, stop.subscribe())));
    }
    for address in &config.listen.http {
        listeners.push(Listener::new(bind(*address).await?, None));
    }
    if let Some(address) = config.metrics.listen {
        let page = Arc::new(
            MetricsPage::new(app.clone(), Some(commits), env!("CARGO_PKG_VERSION"))
                .with_bridges(bridges.clone()),
        );
        let listener = Listener::new(bind(address).await?, None);
        tasks.push(loops::start(serve(vec![listener], page, stop.subscribe())));
        tasks.push(loops::start(loops::census(app.clone(), stop.subscribe())));
    }
    if let Some((tracer, queue, collector)) = tracing {
        tasks.push(loops::start(loops::exporter(collector, tracer, queue, stop.subscribe())));
    }
    for bridge in bridges {
        tasks.push(loops::start(loops::broker(bridge, stop.subscribe())));
    }
    tasks.push(loops::start(serve(listeners, app.clone(), stop.subscribe())));
    tasks.push(loops::start(loops::keys(app.clone(), stop.subscribe())));
    let follow = follow_keys(app.clone(), config.data_dir.join(KEYS_FOLDER));
    tasks.push(loops::start(loops::every(KEYS_RELOAD_INTERVAL, follow, stop.subscribe())));
    tasks.push(loops::start(loops::deliverer(app.clone(), stop.subscribe())));
    tasks.push(loops::start(loops::directory(app, declared, seen, stop.subscribe())));
    if history.is_some() {
        tasks.push(loops::start(loops::historian(engine.clone(), stop.subscribe())));
    }
    tasks.push(loops::start(loops::ticker(engine, stop.subscribe())));
    tracing::info!(https = ?config.listen.https, http = ?config.listen.http, "ready");
    asked_to_stop.await;
    tracing::info!("stopping; requests in flight are finished first");
    stop.send_replace(true);
    for task in tasks {
        let _ = task.await;
    }
    if let Some(history) = history {
        history.close().await?;
    }
    Ok(store.close().await?)
}

/// Of processes over one store one speaks to a broker at a time: whoever has the first shard. Over a store of its own that is
/// this one, always.
fn turn(store: &Arc<dyn Store>, stop: &watch::Sender<bool>) -> watch::Receiver<bool> {
    let Some(shared) = store.shared() else { return watch::channel(true).1 };
    let (give, turn) = watch::channel(false);
    loops::start(loops::turn(shared.leases(), give, stop.subscribe()));
    turn
}

/// Where the history is, below the data folder.
pub(crate) const HISTORY_FOLDER: &str = "history";

/// The engine, keeping a history where the configuration says so. Where it does not say so any more, what was kept is still
/// forgotten: with its user, and when its time has come.
async fn with_history(
    engine: Engine,
    config: &Config,
    directory: &Directory,
) -> anyhow::Result<(Engine, Option<Arc<dyn History>>)> {
    let folder = config.data_dir.join(HISTORY_FOLDER);
    if !config.history.enabled && !folder.is_dir() {
        return Ok((engine, None));
    }
    let history = open_history(&folder, config.history.retention())?;
    // Whoever was taken out of the configuration is deleted as well as anybody; a tenant that is missing may be a mistake.
    for user in history.users().await? {
        if directory.tenant(user.tenant).is_some_and(|tenant| tenant.user(user.user).is_none()) {
            history.forget(user).await?;
            tracing::info!(tenant = %user.tenant, user = %user.user, "the history of a user who is gone was erased");
        }
    }
    let history: Arc<dyn History> = Arc::new(history);
    if config.history.enabled {
        return Ok((engine.keeping(history.clone()), Some(history)));
    }
    tracing::warn!(
        folder = %folder.display(),
        "no history is kept any more, but that of earlier is still here; it goes when its time has come"
    );
    Ok((engine.winding_up(history.clone()), Some(history)))
}

/// Opens the history in a folder, and says in the log what it found.
///
/// # Errors
/// When another process holds it, or it cannot be read.
pub(crate) fn open_history(folder: &Path, retention: HistoryRetention) -> anyhow::Result<FileHistory> {
    let (history, recovery) = FileHistory::open(folder, retention)?;
    if recovery.damaged > 0 {
        tracing::warn!(damaged = recovery.damaged, "entries of the history cannot be read any more");
    }
    tracing::debug!(?recovery, "the history is open");
    Ok(history)
}

/// How notifications are delivered: as documented, and in the extended profile without leaving out a change.
pub(crate) fn delivery_settings(profile: Profile) -> DeliverySettings {
    let backlog = match profile {
        Profile::Graph => Backlog::Newest,
        Profile::Extended => Backlog::Every,
    };
    DeliverySettings { backlog, ..DeliverySettings::default() }
}

/// `presenced users import --config`: into the store of a server that is not running.
///
/// # Errors
/// When the server is running, or the users contradict those who are there.
pub(crate) fn import(config: Config, tenant: Option<&str>, users: &[User]) -> anyhow::Result<()> {
    let tenant = match (tenant, &config.tenants[..]) {
        (None, [only]) => only.id.parse()?,
        (Some(id), tenants) if tenants.iter().any(|tenant| tenant.id.eq_ignore_ascii_case(id)) => {
            id.parse()?
        }
        _ => bail!("say which tenant of the configuration to import into: --import-tenant"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = open_store(&config).await?;
        let all = with_kept(directory(&config)?, store.as_ref()).await?;
        let all = all.tenant(tenant).cloned().unwrap_or_default();
        all.with_users(users.iter().cloned())?;
        keep_users(store.as_ref(), tenant, users).await?;
        Ok(store.close().await?)
    })
}

/// Opens the store that the configuration names.
///
/// # Errors
/// When it cannot be opened: see [`open_embedded`] and [`store::redis::Redis::open`].
pub(crate) async fn open_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let Some(url) = config.engine() else {
        return Ok(Arc::new(open_embedded(&config.data_dir.join("store"), config.changes.retention())?));
    };
    let (place, options) = config.redis.open(url, config.node(), config.changes.retention())?;
    Ok(Arc::new(Redis::open(&place, options).await.context("the store of the configuration")?))
}

/// Opens the embedded store, and says in the log what it found.
///
/// # Errors
/// When another process holds it, when it is damaged, or newer than this program.
pub(crate) fn open_embedded(folder: &Path, retention: Retention) -> anyhow::Result<Embedded> {
    let (store, recovery) = Embedded::open(folder, Options { retention, ..Options::default() })?;
    if let Some(torn) = &recovery.torn_tail {
        tracing::warn!(
            ?torn,
            "the last write before the process ended was not finished, nor answered; it was dropped"
        );
    }
    tracing::debug!(?recovery, "the store is open");
    Ok(store)
}

/// A step that puts new signing keys in force once they are in their folder.
pub(crate) fn follow_keys(app: Arc<App>, folder: PathBuf) -> impl FnMut() {
    let clock = SystemClock::new(None);
    // Whatever is there now has been read at the start; reading it once more is harmless.
    let mut state = KeyFolderState::default();
    // What is wrong is said once, and not every few seconds.
    let mut was_wrong = false;
    move || match KeyRing::load_if_changed(&folder, clock.now(), &mut state) {
        Ok(Some(keys)) => {
            app.replace_signing_keys(&keys);
            was_wrong = false;
            tracing::info!(kid = keys.current().kid(), "signing keys were read");
        }
        Ok(None) => was_wrong = false,
        Err(error) if !was_wrong => {
            was_wrong = true;
            tracing::warn!(%error, "the signing keys have changed but are of no use; the old ones stay");
        }
        Err(_) => {}
    }
}

async fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    listen(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// The directory of a configuration: users of the file and of its user files, later ones replacing.
pub(crate) fn directory(config: &Config) -> anyhow::Result<Directory> {
    let mut directory = Directory::default();
    for tenant in &config.tenants {
        let id: TenantId = tenant.id.parse()?;
        let mut users = tenant.users.clone();
        for path in &tenant.user_files {
            users.extend(read_user_file(path).with_context(|| path.display().to_string())?);
        }
        let applications = tenant.applications.iter().map(|app| {
            let app = application(app)?;
            Ok((app.id, app))
        });
        let applications = applications.collect::<anyhow::Result<HashMap<_, _>>>()?;
        let mut known = Tenant::new(tenant.domains.clone(), applications, users)
            .with_context(|| format!("tenant {id}"))?;
        known.name.clone_from(&tenant.name);
        known.trusts = tenant.trusts.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
        known.requests_max = tenant.requests_per_30_seconds;
        known.issuers = tenant.issuers.clone().into();
        directory.insert(id, known);
    }
    Ok(directory)
}

fn read_user_file(path: &Path) -> anyhow::Result<Vec<User>> {
    let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let format = if is_csv { ImportFormat::Csv } else { ImportFormat::Json };
    Ok(read_users(format, &std::fs::read(path)?)?)
}

fn application(app: &config::Application) -> anyhow::Result<Application> {
    let id: presence::AppId = app.id.parse()?;
    let mut secrets = Vec::new();
    if let Some(digest) = app.secret_sha256.as_deref().and_then(config::decode_sha256) {
        secrets.push(Secret { digest: SecretDigest::from_bytes(digest), expires_at: None });
    }
    if let Some(path) = &app.secret_file {
        let secret = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        secrets.push(Secret {
            digest: SecretDigest::of(secret.trim_end_matches(['\r', '\n'])),
            expires_at: None,
        });
    }
    let mut certificates = Vec::new();
    for path in &app.certificate_files {
        let pem = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        certificates.push(ClientCertificate::from_pem(&pem).with_context(|| path.display().to_string())?);
    }
    Ok(Application {
        id,
        display_name: app.name.clone(),
        // The same application in the same place is the same principal on every start.
        service_principal: uuid::Uuid::from_u128(id.as_u128() ^ SERVICE_PRINCIPAL_MASK),
        secrets,
        certificates,
        redirects: Redirects {
            other: app.redirect_uris.iter().map(RedirectUri::new).collect::<Result<_, _>>()?,
            spa: app.spa_redirect_uris.iter().map(RedirectUri::new).collect::<Result<_, _>>()?,
            is_public_client: app.is_public_client,
        },
        roles: app.roles.clone(),
        scopes: app.scopes.clone(),
    })
}

/// Tells an application's service principal from its client id without keeping a second list.
const SERVICE_PRINCIPAL_MASK: u128 = 0x0000_0000_0000_0000_1000_0000_0000_0001;

/// The keys that sign: tokens of the embedded issuer, and what proves that notifications come from here.
///
/// # Errors
/// When they cannot be read, or cannot be kept and the embedded issuer needs that.
fn signing_keys(config: &Config, now: Timestamp) -> anyhow::Result<KeyRing> {
    let folder = config.data_dir.join(KEYS_FOLDER);
    let kept = std::fs::create_dir_all(&folder).map_err(anyhow::Error::from);
    let kept = kept.and_then(|()| Ok(KeyRing::load_or_generate(&folder, now)?));
    match kept.with_context(|| folder.display().to_string()) {
        Err(error) if !config.issuer.embedded && !folder.exists() => {
            tracing::warn!(%error, "no signing key can be kept: receivers of notifications find another at each start");
            Ok(SigningKey::generate()?.into())
        }
        keys => keys,
    }
}

/// An issuer for each tenant that has none of its own: those of the configuration first, since the first of all answers for
/// the aliases that name no tenant, then those that were added.
fn issuers(config: &Config, directory: &Directory, keys: KeyRing) -> anyhow::Result<EmbeddedIssuers> {
    if !config.issuer.embedded {
        if directory.tenants().all(|(_, tenant)| tenant.issuers.is_empty()) {
            tracing::warn!("no issuer is configured: every request will be refused");
        }
        return Ok(EmbeddedIssuers::default());
    }
    tracing::warn!(
        "the embedded issuer is on: whoever holds a client secret of the configuration gets tokens"
    );
    if config.issuer.passwordless_sign_in == PasswordlessSignIn::Anywhere {
        tracing::warn!(
            "passwordless_sign_in is \"anywhere\": whoever reaches this server can sign in as any of its users"
        );
    }
    let sign_in = config.issuer.passwordless_sign_in != PasswordlessSignIn::Off;
    let issuers = EmbeddedIssuers::new(vec![config.public_url.clone()], sign_in, keys);
    let declared = config.tenants.iter().map(|tenant| tenant.id.parse()).collect::<Result<Vec<_>, _>>()?;
    let mut kept: Vec<TenantId> = directory.tenants().map(|(id, _)| id).collect();
    kept.retain(|id| !declared.contains(id));
    kept.sort_unstable();
    for id in declared.into_iter().chain(kept) {
        if let Some(tenant) = directory.tenant(id).filter(|tenant| tenant.issuers.is_empty()) {
            issuers.add(id, &tenant.domains);
        }
    }
    Ok(issuers)
}
