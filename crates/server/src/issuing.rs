//! The embedded issuers behind the door: which of them a request is for, and the directory they look into.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use identity::{Application, Issuer, KeyRing, Registry, User};
use presence::{AppId, TenantId, UserId};

use crate::app::App;
use crate::emulator::{Emulator, READY_TOKEN_LIFETIME_SECS};

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

/// The answer of the issuer a request is for, if its path is one of an issuer's.
pub(crate) fn respond(
    app: &App,
    head: &http::request::Parts,
    body: &[u8],
    origin: &str,
) -> Option<Response<Full<Bytes>>> {
    let path = head.uri.path();
    let (tenant, issuer) = app.issuer_for(path)?;
    let trusted = issuer.trusted().issuers;
    // An address nobody configured must not come back in links: the issuer then speaks of its first.
    let is_known =
        trusted.iter().any(|issuer| issuer.strip_prefix(origin).is_some_and(|rest| rest.starts_with('/')));
    let first =
        trusted.first().and_then(|issuer| issuer.split(&format!("/{tenant}/")).next()).unwrap_or(origin);
    let request = identity::Request {
        method: &head.method,
        path,
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body,
        base_url: if is_known { origin } else { first },
    };
    let registry = TenantRegistry { app, tenant };
    let response = issuer.respond(&request, &registry, app.wall_clock.now(), &|| app.ids.guid())?;
    Some(response.map(|body| Full::new(body.into())))
}

impl App {
    /// The issuer of the tenant that the first segment of a path names, by GUID or by domain; the first one for the
    /// aliases that name none.
    fn issuer_for(&self, path: &str) -> Option<(TenantId, &Issuer)> {
        let segment = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let directory = self.directory();
        let named = self.issuers.iter().find(|(tenant, _)| {
            let domains =
                directory.tenant(*tenant).map(|tenant| tenant.domains.as_slice()).unwrap_or_default();
            segment.parse() == Ok(*tenant)
                || domains.iter().any(|domain| domain.eq_ignore_ascii_case(segment))
        });
        named.or(self.issuers.first()).map(|(tenant, issuer)| (*tenant, issuer))
    }

    /// Signs with other keys from now on, and believes the tokens of exactly these.
    pub fn replace_signing_keys(&self, keys: &KeyRing) {
        for (_, issuer) in &self.issuers {
            // Believed before it signs, so that no token of ours is ever refused.
            for name in issuer.trusted().issuers {
                self.verifier.replace_keys(&name, keys.public());
            }
            issuer.replace_keys(keys.clone());
        }
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
        let (_, issuer) = self.issuers.iter().find(|(tenant, _)| *tenant == emulator.tenant)?;
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
