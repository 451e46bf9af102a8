//! The embedded development issuer: whose tokens it mints, and which of its paths answers a request.
//!
//! It keeps its keys, and the codes that are out: everything else of an answer comes from the request's arguments. That it is off by default, bound to
//! loopback and never beside a foreign issuer (identity B.8) is for the program to see to.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use presence::{TenantId, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::aadsts::{ErrorBody, Refusal};
use crate::authorize::{self, Here};
use crate::discovery::{self, Endpoint};
use crate::grants::Grants;
use crate::key_ring::KeyRing;
use crate::keys::KeyError;
use crate::pages;
use crate::refresh::RefreshToken;
use crate::registry::{Application, Registry, User};
use crate::token_endpoint;
use crate::verify::{ClaimMapping, TrustedIssuer};
use crate::{Algorithm, GRAPH_AUDIENCES};

/// How long a token counts when nobody says otherwise: Entra's 3599 seconds.
pub const ACCESS_TOKEN_LIFETIME_SECS: u32 = 3599;

/// What the issuer needs to know.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// The one tenant it issues for.
    pub tenant: TenantId,
    /// The tenant's verified domain names, aliases of the GUID in every path.
    pub domains: Vec<String>,
    /// The addresses under which clients reach the server, `https://host:port` without a path. The first is used where
    /// no request says which. At least one.
    pub base_urls: Vec<String>,
    /// `aud` of the tokens; `https://graph.microsoft.com` unless there is a reason.
    pub audience: String,
    /// How long a token from the token endpoint counts.
    pub access_token_lifetime_secs: u32,
    /// The key that signs, and those before it.
    pub keys: KeyRing,
    /// Whether users can sign in at its pages: by choosing who they are, since nobody has a password here. Whoever reaches
    /// the pages can be anybody.
    pub sign_in: bool,
}

impl IssuerConfig {
    /// The usual configuration for this tenant, address and key.
    pub fn new(tenant: TenantId, base_url: impl Into<String>, keys: impl Into<KeyRing>) -> Self {
        Self {
            tenant,
            domains: Vec::new(),
            base_urls: vec![base_url.into()],
            audience: GRAPH_AUDIENCES[0].to_owned(),
            access_token_lifetime_secs: ACCESS_TOKEN_LIFETIME_SECS,
            keys: keys.into(),
            sign_in: false,
        }
    }
}

/// The embedded development issuer.
#[derive(Debug)]
pub struct Issuer {
    pub(crate) config: IssuerConfig,
    keys: ArcSwap<KeyRing>,
    /// The tenant's verified domain names, which may change.
    pub(crate) domains: ArcSwap<Vec<String>>,
    pub(crate) grants: Grants,
}

/// A request, as far as the issuer looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, percent-encoding left in place.
    pub path: &'a str,
    /// The query without its question mark; empty when there is none.
    pub query: &'a str,
    /// The headers; `authorization`, `content-type` and `client-request-id` are read.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
    /// The address the client used, `https://host:port`. The answer's URLs begin with it. The server vouches for it: a
    /// `Host` header it does not know must not get here.
    pub base_url: &'a str,
}

impl Issuer {
    /// An issuer.
    ///
    /// # Panics
    /// When `base_urls` is empty.
    pub fn new(mut config: IssuerConfig) -> Self {
        assert!(!config.base_urls.is_empty(), "an issuer has at least one address");
        for url in &mut config.base_urls {
            url.truncate(url.trim_end_matches('/').len());
        }
        let keys = ArcSwap::from_pointee(config.keys.clone());
        let domains = ArcSwap::from_pointee(std::mem::take(&mut config.domains));
        Self { config, keys, domains, grants: Grants::default() }
    }

    /// Whether a path is one of an issuer's, whichever tenant it names.
    pub fn answers(path: &str) -> bool {
        Endpoint::at(path).is_some()
    }

    /// Signs with other keys from now on. [`trusted`](Self::trusted) says then what a verifier has to be told.
    pub fn replace_keys(&self, keys: KeyRing) {
        self.keys.store(Arc::new(keys));
    }

    /// The tenant has these domain names from now on.
    pub fn replace_domains(&self, domains: Vec<String>) {
        self.domains.store(Arc::new(domains));
    }

    /// What a [`Verifier`](crate::Verifier) needs to trust this issuer's tokens.
    pub fn trusted(&self) -> TrustedIssuer {
        let base_urls = self.config.base_urls.iter().map(String::as_str);
        let mut audiences = TrustedIssuer::default_audiences(base_urls.clone());
        if !audiences.contains(&self.config.audience) {
            audiences.push(self.config.audience.clone());
        }
        TrustedIssuer {
            issuers: base_urls.map(|url| self.issuer_at(url)).collect(),
            tenant: self.config.tenant,
            audiences,
            algorithms: vec![Algorithm::Rs256],
            keys: self.keys.load().public(),
            claims: ClaimMapping::Entra,
        }
    }

    /// The answer to `request`, or none when its path is not one of the issuer's. `now` is the time of the world, also
    /// where presence runs on an emulated clock; `new_id` makes the trace and correlation ids of an error.
    pub fn respond(
        &self,
        request: &Request<'_>,
        registry: &dyn Registry,
        now: Timestamp,
        new_id: &dyn Fn() -> Uuid,
    ) -> Option<Response<Vec<u8>>> {
        let (tenant, endpoint) = Endpoint::at(request.path)?;
        let words = |refusal: &Refusal| {
            let correlation_id = client_request_id(request.headers).unwrap_or_else(new_id);
            refusal.body(new_id(), correlation_id, now)
        };
        let answer = self.answer(request, tenant, endpoint, registry, now, &words);
        Some(answer.unwrap_or_else(|refusal| {
            if endpoint.is_page() {
                return pages::refusal(&refusal, &words(&refusal));
            }
            let (status, ..) = refusal.row();
            let mut response = json(status, &words(&refusal));
            if let Refusal::WrongMethod(allowed) = refusal {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            }
            // RFC 6749 §5.2: who tried a header is told which scheme it takes.
            if status == StatusCode::UNAUTHORIZED && request.headers.contains_key(http::header::AUTHORIZATION)
            {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"\""));
            }
            response
        }))
    }

    /// A token for `app` to act by itself, with all the roles it was granted.
    ///
    /// # Errors
    /// When the signature cannot be made.
    pub fn mint_application(
        &self,
        app: &Application,
        now: Timestamp,
        lifetime_secs: u32,
    ) -> Result<String, KeyError> {
        self.mint_application_at(&self.config.base_urls[0], app, now, lifetime_secs)
    }

    /// A token for `app` to act for `user`, with exactly these scopes.
    ///
    /// # Errors
    /// When the signature cannot be made.
    pub fn mint_delegated(
        &self,
        user: &User,
        app: &Application,
        scopes: &[&str],
        now: Timestamp,
        lifetime_secs: u32,
    ) -> Result<String, KeyError> {
        self.mint_delegated_at(&self.config.base_urls[0], user, app, scopes, now, lifetime_secs)
    }

    /// As [`mint_application`](Self::mint_application), signed as the issuer at `base_url`.
    pub(crate) fn mint_application_at(
        &self,
        base_url: &str,
        app: &Application,
        now: Timestamp,
        lifetime_secs: u32,
    ) -> Result<String, KeyError> {
        let claims = Claims {
            roles: Some(&app.roles),
            ..self.claims(base_url, app, app.service_principal, now, lifetime_secs)
        };
        self.keys.load().current().sign(&claims)
    }

    /// As [`mint_delegated`](Self::mint_delegated), signed as the issuer at `base_url`.
    pub(crate) fn mint_delegated_at(
        &self,
        base_url: &str,
        user: &User,
        app: &Application,
        scopes: &[&str],
        now: Timestamp,
        lifetime_secs: u32,
    ) -> Result<String, KeyError> {
        let claims = Claims {
            idtyp: "user",
            scp: Some(scopes.join(" ")),
            upn: Some(&user.user_principal_name),
            name: Some(&user.display_name),
            preferred_username: Some(&user.user_principal_name),
            ..self.claims(base_url, app, user.id.as_uuid(), now, lifetime_secs)
        };
        self.keys.load().current().sign(&claims)
    }

    /// Who signed in, for the client alone: no API takes it for an access token, since its audience is the client.
    pub(crate) fn mint_id_token(
        &self,
        base_url: &str,
        user: &User,
        app: &Application,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<String, KeyError> {
        let issued_at = now.as_second();
        self.keys.load().current().sign(&IdClaims {
            aud: app.id.to_string(),
            iss: self.issuer_at(base_url),
            iat: issued_at,
            nbf: issued_at,
            exp: issued_at + i64::from(self.config.access_token_lifetime_secs),
            sub: user.id.to_string(),
            oid: user.id.to_string(),
            tid: self.config.tenant.to_string(),
            preferred_username: &user.user_principal_name,
            name: &user.display_name,
            nonce,
            ver: "2.0",
        })
    }

    pub(crate) fn seal_refresh_token(&self, token: &RefreshToken) -> Option<String> {
        self.keys.load().current().refresh().seal(self.config.tenant, token)
    }

    pub(crate) fn open_refresh_token(&self, text: &str) -> Option<RefreshToken> {
        self.keys.load().open_refresh_token(self.config.tenant, text)
    }

    /// The value of `iss` at one of our addresses. A client that compares it with the address it used (MSAL's
    /// `oidc_authority`, identity B.3) finds its own; an address we do not know gets the first, which the verifier knows.
    pub(crate) fn issuer_at(&self, base_url: &str) -> String {
        let known = self.config.base_urls.iter().find(|url| url.as_str() == base_url);
        let base_url = known.unwrap_or(&self.config.base_urls[0]);
        format!("{base_url}/{}/v2.0", self.config.tenant)
    }

    fn answer(
        &self,
        request: &Request<'_>,
        tenant: &str,
        endpoint: Endpoint,
        registry: &dyn Registry,
        now: Timestamp,
        words: &dyn Fn(&Refusal) -> ErrorBody,
    ) -> Result<Response<Vec<u8>>, Refusal> {
        let base_url = request.base_url.trim_end_matches('/');
        let tenant = discovery::tenant_segment(self, tenant)?;
        check_method(endpoint, request.method)?;
        if endpoint.is_of_sign_in() && !self.config.sign_in {
            return Err(Refusal::NoSignIn);
        }
        let here = Here { issuer: self, base_url, registry, now, words };
        Ok(match endpoint {
            Endpoint::Token => {
                json(StatusCode::OK, &token_endpoint::grant(self, request, base_url, registry, now)?)
            }
            Endpoint::DeviceCode => {
                let answer = token_endpoint::device_code(self, request, base_url, &tenant, registry, now)?;
                json(StatusCode::OK, &answer)
            }
            Endpoint::Authorize => authorize::authorize(&here, request)?,
            Endpoint::DevicePage => authorize::device(&here, request)?,
            Endpoint::Logout => authorize::logout(&here, request)?,
            Endpoint::UserRealm => {
                let user = request.path.rsplit('/').next().unwrap_or_default();
                json(StatusCode::OK, &discovery::user_realm(self, base_url, user))
            }
            Endpoint::ConfigurationV1 => {
                json(StatusCode::OK, &discovery::configuration(self, base_url, &tenant, "discovery/keys"))
            }
            Endpoint::ConfigurationV2 => {
                let keys = "discovery/v2.0/keys";
                json(StatusCode::OK, &discovery::configuration(self, base_url, &tenant, keys))
            }
            Endpoint::Keys => json(StatusCode::OK, &discovery::key_set(&self.keys.load())),
            Endpoint::Instance => json(StatusCode::OK, &discovery::instance(self, base_url, request.query)?),
        })
    }

    fn claims<'a>(
        &'a self,
        base_url: &str,
        app: &Application,
        principal: Uuid,
        now: Timestamp,
        lifetime_secs: u32,
    ) -> Claims<'a> {
        let app = app.id.to_string();
        let issued_at = now.as_second();
        Claims {
            aud: &self.config.audience,
            iss: self.issuer_at(base_url),
            iat: issued_at,
            nbf: issued_at,
            exp: issued_at + i64::from(lifetime_secs),
            tid: self.config.tenant.to_string(),
            oid: principal.to_string(),
            sub: principal.to_string(),
            appid: app.clone(),
            azp: app,
            ver: "2.0",
            idtyp: "app",
            scp: None,
            roles: None,
            upn: None,
            name: None,
            preferred_username: None,
        }
    }
}

/// The claims of a token. Source: identity B.5, "Access-token claims for the development issuer".
#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    tid: String,
    oid: String,
    sub: String,
    appid: String,
    azp: String,
    ver: &'static str,
    idtyp: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<&'a str>,
}

/// The claims of an id_token. Source: identity B.5.
#[derive(Serialize)]
struct IdClaims<'a> {
    aud: String,
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    sub: String,
    oid: String,
    tid: String,
    preferred_username: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    ver: &'static str,
}

fn check_method(endpoint: Endpoint, method: &Method) -> Result<(), Refusal> {
    let allowed = match endpoint {
        Endpoint::Token | Endpoint::DeviceCode => "POST",
        Endpoint::Authorize | Endpoint::DevicePage => "GET, HEAD, POST",
        _ => "GET, HEAD",
    };
    let is_allowed = allowed.split(", ").any(|allowed| allowed == method.as_str());
    if is_allowed { Ok(()) } else { Err(Refusal::WrongMethod(allowed)) }
}

/// A JSON answer with the headers of identity B.5. Discovery has them too: after a restart with a new key nothing stale
/// is left in a cache.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response<Vec<u8>> {
    // Structs of strings and numbers: they always serialize.
    let mut response = Response::new(serde_json::to_vec(body).unwrap_or_default());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

fn client_request_id(headers: &HeaderMap) -> Option<Uuid> {
    headers.get("client-request-id")?.to_str().ok()?.parse().ok()
}
