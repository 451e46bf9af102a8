//! A server with three tenants, and tokens for whatever a test wants to be.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use engine::{Clock, ClockState, Engine, RandomIds, SystemClock, VirtualClock};
use graph::Profile;
use graph::user::User;
use identity::{Application, Issuer, IssuerConfig, SigningKey, Verifier};
use presence::{AppId, TenantId, UserId};
use serde_json::Value;
use server::directory::{Directory, Tenant};
use server::http::connection::{Listener, serve};
use server::{App, Parts, Throttle, loops};
use store::{Memory, MemoryHistory, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) const TENANTS: [TenantId; 3] =
    [TenantId::from_u128(0xA000), TenantId::from_u128(0xB000), TenantId::from_u128(0xC000)];
pub(crate) const APP: AppId = AppId::from_u128(0xF0);
const LIFETIME_SECS: u32 = 3_600;

pub(crate) struct World {
    pub(crate) app: Arc<App>,
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<dyn Store>,
    /// An endpoint for notifications that completes every handshake.
    pub(crate) receiver: String,
    pub(crate) history: Arc<MemoryHistory>,
    issuers: Vec<(TenantId, Issuer)>,
    pub(crate) stop: watch::Sender<bool>,
}

/// User `number` (1 to 3) of a tenant.
pub(crate) fn user_of(tenant: TenantId, number: u128) -> UserId {
    UserId::from_u128(tenant.as_u128() + number)
}

pub(crate) fn name_of(user: UserId) -> String {
    format!("u{:x}@x.example", user.as_u128())
}

fn key() -> SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate().unwrap()).clone()
}

fn application(roles: &[&str]) -> Application {
    server::directory::KeptApplication {
        display_name: "Test".to_owned(),
        service_principal: uuid::Uuid::from_u128(0xF1),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Default::default()
    }
    .to_application(APP)
}

impl World {
    /// A server whose host tenant is the first. `trusts`: which tenant trusts which.
    pub(crate) async fn start(profile: Profile, trusts: &[(usize, usize)]) -> Self {
        Self::start_hosted(profile, trusts, Some(TENANTS[0])).await
    }

    pub(crate) async fn start_hosted(
        profile: Profile,
        trusts: &[(usize, usize)],
        host_tenant: Option<TenantId>,
    ) -> Self {
        let store = store().await;
        let wall_clock: Arc<dyn Clock> = Arc::new(SystemClock::new(None));
        let state = ClockState { frozen_at: Some(wall_clock.now()), ..ClockState::default() };
        let clock = Arc::new(VirtualClock::new(wall_clock.clone(), state));
        let history = Arc::new(MemoryHistory::new(std::time::Duration::from_secs(3_600)));
        let engine = Engine::new(store.clone(), clock.clone()).keeping(history.clone());
        let engine = Arc::new(engine);
        let settings = engine::notify::DeliverySettings::default();
        let notifier = engine::notify::Notifier::open(store.clone(), clock, Arc::new(RandomIds), settings);
        let notifier = Arc::new(notifier.await.unwrap());
        let issuers: Vec<(TenantId, Issuer)> = TENANTS
            .map(|id| (id, Issuer::new(IssuerConfig::new(id, "https://presence.test", key()))))
            .into_iter()
            .collect();
        let mut directory = Directory::default();
        for (position, id) in TENANTS.into_iter().enumerate() {
            let users = (1..=3).map(|number| user_of(id, number)).map(|id| User::new(id, name_of(id)));
            let applications = HashMap::from([(APP, application(&[]))]);
            let mut tenant = Tenant::new(vec![], applications, users).unwrap();
            tenant.trusts =
                trusts.iter().filter(|(by, _)| *by == position).map(|(_, of)| TENANTS[*of]).collect();
            directory.insert(id, tenant);
        }
        let mut subscription_rules = server::SubscriptionRules::of(profile);
        subscription_rules.wire.plain_http_on_loopback = true;
        let loopback = outbound::Policy { loopback: true, ..outbound::Policy::default() };
        let stop = watch::Sender::new(false);
        let parts = Parts {
            engine,
            wall_clock,
            ids: Arc::new(RandomIds),
            verifier: Verifier::new(issuers.iter().map(|(_, issuer)| issuer.trusted())),
            foreign_keys: server::ForeignKeys::new(
                outbound::Client::new(outbound::Policy::default(), &[]).unwrap(),
                [],
                SystemClock::new(None).now(),
            ),
            issuers: server::EmbeddedIssuers::default(),
            publisher: identity::Publisher::new(vec!["https://presence.test".to_owned()], key()),
            directory,
            throttle: Throttle::default(),
            profile,
            host_tenant,
            emulator: None,
            public_url: Some("https://presence.test".to_owned()),
            position_key: [7; 16],
            stop: stop.subscribe(),
            notifier,
            subscription_rules,
            outbound: outbound::Client::new(loopback, &[]).unwrap(),
            dashboard: server::Dashboard::new(&[], false, false),
            tracer: None,
            history_readers: server::HistoryReaders::Owner,
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let app = Arc::new(App::new(parts));
        loops::start(serve(vec![Listener::new(socket, None)], app.clone(), stop.subscribe()));
        Self { app, address, store, history, receiver: receiver().await, issuers, stop }
    }

    fn issuer(&self, tenant: TenantId) -> &Issuer {
        &self.issuers.iter().find(|(id, _)| *id == tenant).unwrap().1
    }

    /// An application's own token with these roles.
    pub(crate) fn application(&self, tenant: TenantId, roles: &[&str]) -> String {
        let now = SystemClock::new(None).now();
        self.issuer(tenant).mint_application(&application(roles), now, LIFETIME_SECS).unwrap()
    }

    /// The same for another application.
    pub(crate) fn another_application(&self, tenant: TenantId, app: AppId, roles: &[&str]) -> String {
        let app = Application { id: app, ..application(roles) };
        let now = SystemClock::new(None).now();
        self.issuer(tenant).mint_application(&app, now, LIFETIME_SECS).unwrap()
    }

    /// A user's token with these scopes.
    pub(crate) fn delegated(&self, tenant: TenantId, user: UserId, scopes: &[&str]) -> String {
        let now = SystemClock::new(None).now();
        let user =
            identity::User { id: user, user_principal_name: name_of(user), display_name: String::new() };
        self.issuer(tenant).mint_delegated(&user, &application(&[]), scopes, now, LIFETIME_SECS).unwrap()
    }

    pub(crate) async fn send(&self, token: &str, method: &str, path: &str, body: Option<&str>) -> Answer {
        let content_type = if path.contains("/scim/") { "application/scim+json" } else { "application/json" };
        self.send_as(token, method, path, content_type, body.unwrap_or_default().as_bytes()).await
    }

    pub(crate) async fn send_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: presence.test\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that has answered may close before it has read everything.
        let _ = stream.write_all(body).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        crate::schema::check(status, &bytes[end + 4..]);
        Answer { status, head, body: String::from_utf8(bytes[end + 4..].to_vec()).unwrap() }
    }
}

/// A store of its own: in memory, or with `PRESENCED_TEST_STORE=redis` in a `redis-server` that all tests share.
#[expect(clippy::disallowed_methods, reason = "whoever starts the tests chooses the store")]
async fn store() -> Arc<dyn Store> {
    static ENGINE: OnceLock<crate::engines::Engine> = OnceLock::new();
    if std::env::var("PRESENCED_TEST_STORE").as_deref() != Ok("redis") {
        return Arc::new(Memory::default());
    }
    let place = ENGINE.get_or_init(crate::engines::Engine::single).place();
    Arc::new(store::redis::Redis::open(&place, crate::engines::apart()).await.unwrap())
}

/// Starts an endpoint that answers each handshake as it should, and says where it is.
async fn receiver() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/notify", socket.local_addr().unwrap());
    loops::start(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            loops::start(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap_or(0) > 0
                {
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let token =
                    request.split(' ').nth(1).and_then(|target| target.split_once("validationToken="));
                let token = token.map(|(_, token)| percent_encoding::percent_decode_str(token).decode_utf8());
                let token = token.and_then(Result::ok).unwrap_or_default();
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: ";
                let _ = stream.write_all(format!("{head}{}\r\n\r\n{token}", token.len()).as_bytes()).await;
            });
        }
    });
    url
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        if self.body.is_empty() {
            return String::new();
        }
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}
