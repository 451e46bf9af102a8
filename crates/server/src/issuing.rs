//! The embedded issuers behind the door: which of them a request is for, and the directory they look into. Tenants without
//! one have the keys of the notifications' publisher at the same place, and nothing else.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use identity::{Application, Issuer, IssuerConfig, KeyRing, Registry, TrustedIssuer, User};
use presence::{AppId, TenantId, UserId};

use crate::app::App;
use crate::emulator::{Emulator, READY_TOKEN_LIFETIME_SECS};

/// The embedded issuers, one for each tenant that has one; tenants may come and go. By default there are none and none come.
#[derive(Debug, Default)]
pub struct EmbeddedIssuers {
    how: Option<How>,
    state: ArcSwap<State>,
}

/// What is the same for all.
#[derive(Debug)]
struct How {
    base_urls: Vec<String>,
    sign_in: bool,
}

#[derive(Clone, Debug, Default)]
struct State {
    keys: Option<KeyRing>,
    /// The first answers for the aliases that name no tenant.
    issuers: Vec<(TenantId, Arc<Issuer>)>,
}

impl EmbeddedIssuers {
    /// Issuers at these addresses, none of them there yet; `sign_in`: whether users can sign in at their pages.
    pub fn new(base_urls: Vec<String>, sign_in: bool, keys: KeyRing) -> Self {
        let state = State { keys: Some(keys), issuers: Vec::new() };
        Self { how: Some(How { base_urls, sign_in }), state: ArcSwap::from_pointee(state) }
    }

    /// An issuer for a tenant from now on, or new domain names for the one it has. What a verifier is to be told; `None`
    /// where there are no embedded issuers.
    pub fn add(&self, tenant: TenantId, domains: &[String]) -> Option<TrustedIssuer> {
        let how = self.how.as_ref()?;
        self.state.rcu(|state| {
            let mut state = State::clone(state);
            if let (None, Some(keys)) = (state.of(tenant), &state.keys) {
                let config = IssuerConfig {
                    base_urls: how.base_urls.clone(),
                    sign_in: how.sign_in,
                    ..IssuerConfig::new(tenant, String::new(), keys.clone())
                };
                state.issuers.push((tenant, Arc::new(Issuer::new(config))));
            }
            state
        });
        let issuer = self.of(tenant)?;
        issuer.replace_domains(domains.to_vec());
        Some(issuer.trusted())
    }

    /// No issuer for this tenant any more.
    pub fn remove(&self, tenant: TenantId) {
        self.state.rcu(|state| {
            let mut state = State::clone(state);
            state.issuers.retain(|(of, _)| *of != tenant);
            state
        });
    }

    /// What a verifier is to be told of those that there are.
    pub fn trusted(&self) -> Vec<TrustedIssuer> {
        self.state.load().issuers.iter().map(|(_, issuer)| issuer.trusted()).collect()
    }

    pub(crate) fn of(&self, tenant: TenantId) -> Option<Arc<Issuer>> {
        self.state.load().of(tenant).cloned()
    }

    fn first(&self) -> Option<(TenantId, Arc<Issuer>)> {
        self.state.load().issuers.first().cloned()
    }
}

impl State {
    fn of(&self, tenant: TenantId) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|(of, _)| *of == tenant).map(|(_, issuer)| issuer)
    }
}

/// One tenant's part of the directory, as an issuer wants it. Who is disabled cannot sign in.
struct TenantRegistry<'a> {
    app: &'a App,
    tenant: TenantId,
}

impl Registry for TenantRegistry<'_> {
    fn application(&self, id: AppId) -> Option<Application> {
        self.app.directory().tenant(self.tenant)?.applications.get(&id).cloned()
    }

    fn user(&self, id: UserId) -> Option<User> {
        self.app.directory().user(self.tenant, id).filter(|user| user.account_enabled).map(shown)
    }

    fn user_by_name(&self, name: &str) -> Option<User> {
        let directory = self.app.directory();
        let id = directory.tenant(self.tenant)?.user_by_name(name)?;
        drop(directory);
        self.user(id)
    }

    fn some_users(&self, max: usize) -> Vec<User> {
        let directory = self.app.directory();
        let tenant = directory.tenant(self.tenant);
        let enabled =
            tenant.map(|tenant| tenant.users().filter(|user| user.account_enabled).take(max).map(shown));
        enabled.map(Iterator::collect).unwrap_or_default()
    }

    fn any_application(&self, is_such: &dyn Fn(&Application) -> bool) -> bool {
        let directory = self.app.directory();
        directory.tenant(self.tenant).is_some_and(|tenant| tenant.applications.values().any(is_such))
    }
}

/// A user as pages and tokens show them.
fn shown(user: &graph::user::User) -> User {
    User {
        id: user.id,
        user_principal_name: user.user_principal_name.clone(),
        display_name: user.display_name.clone().unwrap_or_else(|| user.user_principal_name.clone()),
    }
}

/// The answer to a request whose path is one of an issuer's.
pub(crate) fn respond(
    app: &App,
    head: &http::request::Parts,
    body: &[u8],
    origin: &str,
) -> Option<Response<Full<Bytes>>> {
    let request = identity::Request {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body,
        base_url: app.publisher.base_url(origin),
    };
    let response = match app.issuer_for(request.path)? {
        Speaker::Issuer(tenant, issuer) => {
            let registry = TenantRegistry { app, tenant };
            issuer.respond(&request, &registry, app.wall_clock.now(), &|| app.ids.guid())?
        }
        Speaker::Publisher(tenant) => app.publisher.respond(&request, tenant)?,
    };
    Some(response.map(|body| Full::new(body.into())))
}

/// Who answers below a tenant's path.
enum Speaker {
    Issuer(TenantId, Arc<Issuer>),
    /// In the name of this tenant, or of any.
    Publisher(Option<TenantId>),
}

/// What a path may say instead of a tenant.
const ALIASES: [&str; 3] = ["common", "organizations", "consumers"];

impl App {
    /// Who speaks for the tenant that the first segment of a path names, by GUID or by domain: its issuer, or else the
    /// publisher of notifications. For names of nobody, and for the aliases, the first issuer there is.
    fn issuer_for(&self, path: &str) -> Option<Speaker> {
        let segment = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let directory = self.directory();
        let is_named = |(id, tenant): &(TenantId, &Arc<crate::directory::Tenant>)| {
            segment.parse() == Ok(*id)
                || tenant.domains.iter().any(|domain| domain.eq_ignore_ascii_case(segment))
        };
        let named = directory.tenants().find(is_named).map(|(id, _)| id);
        if let Some(tenant) = named {
            return Some(match self.issuers.of(tenant) {
                Some(issuer) => Speaker::Issuer(tenant, issuer),
                None => Speaker::Publisher(Some(tenant)),
            });
        }
        if let Some((tenant, issuer)) = self.issuers.first() {
            return Some(Speaker::Issuer(tenant, issuer));
        }
        let is_alias = ALIASES.iter().any(|alias| alias.eq_ignore_ascii_case(segment));
        let mut tenants = directory.tenants();
        let only = tenants.next().map(|(id, _)| id).filter(|_| tenants.next().is_none());
        is_alias.then_some(Speaker::Publisher(only))
    }

    /// Signs with other keys from now on, and believes the tokens of exactly these.
    pub fn replace_signing_keys(&self, keys: &KeyRing) {
        self.issuers.state.rcu(|state| State { keys: Some(keys.clone()), ..State::clone(state) });
        for (_, issuer) in &self.issuers.state.load().issuers {
            // Believed before it signs, so that no token of ours is ever refused.
            for name in issuer.trusted().issuers {
                self.verifier.replace_keys(&name, keys.public());
            }
            issuer.replace_keys(keys.clone());
        }
        self.publisher.replace_keys(keys.clone());
    }

    /// A ready-made token of the emulator's application, for itself or for a user; `None` where there is no emulator, or
    /// no such user.
    pub fn ready_made_token(&self, user: Option<UserId>) -> Option<String> {
        let emulator = self.emulator.as_ref()?;
        self.mint(emulator, emulator.app, user, None)
    }

    /// A token of an application of the emulator's tenant, or of a user for whom it acts with `scopes`; `None`: all there
    /// are.
    pub(crate) fn mint(
        &self,
        emulator: &Emulator,
        app: AppId,
        user: Option<UserId>,
        scopes: Option<&[&str]>,
    ) -> Option<String> {
        let issuer = self.issuers.of(emulator.tenant)?;
        let registry = TenantRegistry { app: self, tenant: emulator.tenant };
        let app = registry.application(app)?;
        let now = self.wall_clock.now();
        match user {
            None => issuer.mint_application(&app, now, READY_TOKEN_LIFETIME_SECS).ok(),
            Some(user) => {
                let all: Vec<&str> = emulator.scopes.iter().map(String::as_str).collect();
                issuer
                    .mint_delegated(
                        &registry.user(user)?,
                        &app,
                        scopes.unwrap_or(&all),
                        now,
                        READY_TOKEN_LIFETIME_SECS,
                    )
                    .ok()
            }
        }
    }
}
