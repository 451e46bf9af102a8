//! `POST /{t}/oauth2/v2.0/token` and `…/devicecode`: a client shows who it is and what it has, and gets tokens
//! (identity B.4 and B.5).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use presence::{AppId, Timestamp, UserId};
use serde::Serialize;

use crate::aadsts::Refusal;
use crate::assertion::{self, AssertionProblem};
use crate::discovery;
use crate::form::Form;
use crate::grants::{
    CodeProblem, DEVICE_CODE_LIFETIME, DEVICE_POLL_INTERVAL_SECS, DeviceAnswer, DeviceGrant,
};
use crate::issuer::{Issuer, Request};
use crate::redirect::Platform;
use crate::refresh::{PAGE_REFRESH_TOKEN_LIFETIME_SECS, REFRESH_TOKEN_LIFETIME_SECS, RefreshToken};
use crate::registry::{Application, Registry, User};
use crate::scopes::{self, Scopes};

/// The grant of a device: its name in RFC 8628, and the one that MSAL for Node sends.
const DEVICE_GRANTS: [&str; 2] = ["urn:ietf:params:oauth:grant-type:device_code", "device_code"];

/// A token response. Members of a user's come only with a user.
#[derive(Serialize)]
pub(crate) struct TokenResponse {
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    expires_in: u32,
    ext_expires_in: u32,
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_info: Option<String>,
}

/// The answer to a device that begins.
#[derive(Serialize)]
pub(crate) struct DeviceResponse {
    user_code: String,
    device_code: String,
    verification_uri: String,
    expires_in: i64,
    interval: u32,
    message: String,
}

/// Everything a grant is decided from.
struct Exchange<'a> {
    issuer: &'a Issuer,
    base_url: &'a str,
    registry: &'a dyn Registry,
    now: Timestamp,
    form: Form<'a>,
}

/// The tokens a request is worth. Checked in this order: the form, the grant, the client, its proof, what it has, the scope.
pub(crate) fn grant(
    issuer: &Issuer,
    request: &Request<'_>,
    base_url: &str,
    registry: &dyn Registry,
    now: Timestamp,
) -> Result<TokenResponse, Refusal> {
    let form = Form::of_body(request.headers, request.body)?;
    let exchange = Exchange { issuer, base_url, registry, now, form };
    let credentials = Credentials::read(request.headers, &exchange.form)?;
    match exchange.form.required("grant_type")? {
        "client_credentials" => exchange.application_itself(&credentials),
        "authorization_code" if issuer.config.sign_in => exchange.code(&credentials),
        "refresh_token" if issuer.config.sign_in => exchange.refresh(&credentials),
        grant if issuer.config.sign_in && DEVICE_GRANTS.contains(&grant) => exchange.device(&credentials),
        other => Err(Refusal::UnsupportedGrant(other.chars().take(200).collect())),
    }
}

/// A device code, and the code its user types.
pub(crate) fn device_code(
    issuer: &Issuer,
    request: &Request<'_>,
    base_url: &str,
    tenant: &str,
    registry: &dyn Registry,
    now: Timestamp,
) -> Result<DeviceResponse, Refusal> {
    let form = Form::of_untyped_body(request.headers, request.body)?;
    let exchange = Exchange { issuer, base_url, registry, now, form };
    let app = exchange.known(exchange.form.required("client_id")?)?;
    if !app.redirects.is_public_client {
        return Err(Refusal::NotPublic(app.id));
    }
    let scopes = exchange.scopes_of(&app, exchange.form.required("scope")?)?;
    let grant = DeviceGrant { client: app.id, scopes };
    let (device_code, user_code) = issuer.grants.add_device(grant, now).ok_or(Refusal::NoSignature)?;
    let verification_uri = format!("{base_url}/{tenant}{}", discovery::DEVICE_PAGE);
    Ok(DeviceResponse {
        message: format!(
            "To sign in, use a web browser to open the page {verification_uri} and enter the code {user_code} to \
             authenticate."
        ),
        user_code,
        device_code,
        verification_uri,
        expires_in: DEVICE_CODE_LIFETIME.as_secs(),
        interval: DEVICE_POLL_INTERVAL_SECS,
    })
}

impl Exchange<'_> {
    fn application_itself(&self, credentials: &Credentials<'_>) -> Result<TokenResponse, Refusal> {
        let app = self.known(credentials.client_id()?)?;
        if !self.has_proof(&app, credentials)? {
            return Err(Refusal::MissingSecret);
        }
        scopes::check_default(self.issuer, self.base_url, self.form.required("scope")?)?;
        let lifetime = self.issuer.config.access_token_lifetime_secs;
        let access_token = self
            .issuer
            .mint_application_at(self.base_url, &app, self.now, lifetime)
            .map_err(|_| Refusal::NoSignature)?;
        Ok(TokenResponse {
            token_type: "Bearer",
            scope: None,
            expires_in: lifetime,
            ext_expires_in: lifetime,
            access_token,
            refresh_token: None,
            id_token: None,
            client_info: None,
        })
    }

    fn code(&self, credentials: &Credentials<'_>) -> Result<TokenResponse, Refusal> {
        let app = self.known(credentials.client_id()?)?;
        let is_proven = self.has_proof(&app, credentials)?;
        let code = self.form.required("code")?;
        let redirect_uri = self.form.required("redirect_uri")?;
        // A client that cannot prove itself must not even use a code up.
        if !is_proven && !app.redirects.may_be_public(redirect_uri) {
            return Err(Refusal::MissingSecret);
        }
        let grant = self.issuer.grants.redeem_code(code, self.now).map_err(|problem| match problem {
            CodeProblem::Unknown | CodeProblem::Expired => Refusal::ExpiredGrant,
            CodeProblem::Used => Refusal::UsedCode,
        })?;
        if grant.client != app.id {
            return Err(Refusal::GrantOfAnother(app.id));
        }
        if grant.redirect_uri != redirect_uri {
            return Err(Refusal::OtherReplyAddress(redirect_uri.chars().take(200).collect()));
        }
        let verifier = self.form.get("code_verifier")?;
        match (&grant.challenge, verifier) {
            (Some(challenge), Some(verifier)) if challenge.is_answered_by(verifier) => {}
            (None, None) if is_proven => {}
            (None, None) => return Err(Refusal::ChallengeRequired),
            _ => return Err(Refusal::WrongVerifier),
        }
        let scopes = self.narrowed(&app, grant.scopes)?;
        self.user_tokens(&app, grant.user, scopes, grant.nonce.as_deref(), grant.platform, None)
    }

    fn refresh(&self, credentials: &Credentials<'_>) -> Result<TokenResponse, Refusal> {
        let app = self.known(credentials.client_id()?)?;
        let is_proven = self.has_proof(&app, credentials)?;
        let text = self.form.required("refresh_token")?;
        let token = self.issuer.open_refresh_token(text).ok_or(Refusal::ExpiredRefreshToken)?;
        if token.client != app.id.as_uuid() {
            return Err(Refusal::GrantOfAnother(app.id));
        }
        if self.now.as_second() >= token.expires_at {
            return Err(Refusal::ExpiredRefreshToken);
        }
        if !is_proven && !token.is_page && !app.redirects.is_public_client {
            return Err(Refusal::MissingSecret);
        }
        let platform = if token.is_page { Platform::Page } else { Platform::Other };
        let scopes = self.narrowed(&app, token.scopes.clone())?;
        let scopes = Scopes { offline: true, ..scopes };
        let user = UserId::from_u128(token.user.as_u128());
        self.user_tokens(&app, user, scopes, None, platform, Some(&token))
    }

    fn device(&self, credentials: &Credentials<'_>) -> Result<TokenResponse, Refusal> {
        let app = self.known(credentials.client_id()?)?;
        self.has_proof(&app, credentials)?;
        let code = match self.form.get("device_code")? {
            Some(code) => code,
            None => self.form.required("code")?,
        };
        match self.issuer.grants.ask(code, app.id, self.now) {
            DeviceAnswer::Unknown | DeviceAnswer::OtherClient => Err(Refusal::BadDeviceCode(app.id)),
            DeviceAnswer::Expired => Err(Refusal::DeviceExpired),
            DeviceAnswer::TooSoon => Err(Refusal::DeviceTooSoon),
            DeviceAnswer::Pending => Err(Refusal::DevicePending),
            DeviceAnswer::Declined => Err(Refusal::DeviceDeclined),
            DeviceAnswer::Agreed(grant, user) => {
                self.user_tokens(&app, user, grant.scopes, None, Platform::Other, None)
            }
        }
    }

    /// What the user agreed to, or the part of it that this request asks for. What of it the application may no longer have
    /// is left out.
    fn narrowed(&self, app: &Application, agreed: Scopes) -> Result<Scopes, Refusal> {
        let allowed: Vec<String> =
            agreed.granted.iter().filter(|name| app.scopes.contains(name)).cloned().collect();
        let Some(scope) = self.form.get("scope")? else { return Ok(Scopes { granted: allowed, ..agreed }) };
        let asked = Scopes::read(self.issuer, self.base_url, scope, &allowed, |word| {
            Refusal::ConsentMissing { client: app.id, scope: word.to_owned() }
        })?;
        let granted = if asked.granted.is_empty() { allowed } else { asked.granted };
        Ok(Scopes {
            granted,
            openid: asked.openid || agreed.openid,
            offline: asked.offline || agreed.offline,
            ..asked
        })
    }

    fn scopes_of(&self, app: &Application, scope: &str) -> Result<Scopes, Refusal> {
        Scopes::read(self.issuer, self.base_url, scope, &app.scopes, |word| Refusal::ScopeNotGranted {
            client: app.id,
            scope: word.to_owned(),
        })
    }

    fn user_tokens(
        &self,
        app: &Application,
        user: UserId,
        scopes: Scopes,
        nonce: Option<&str>,
        platform: Platform,
        before: Option<&RefreshToken>,
    ) -> Result<TokenResponse, Refusal> {
        let issuer = self.issuer;
        let user = self.registry.user(user).ok_or_else(|| Refusal::UnknownUser(user.to_string()))?;
        let lifetime = issuer.config.access_token_lifetime_secs;
        let names: Vec<&str> = scopes.granted.iter().map(String::as_str).collect();
        let access_token = issuer.mint_delegated_at(self.base_url, &user, app, &names, self.now, lifetime);
        let id_token =
            scopes.openid.then(|| issuer.mint_id_token(self.base_url, &user, app, nonce, self.now));
        let refresh_token = scopes.offline.then(|| {
            let now = self.now.as_second();
            let expires_at = match (platform, before) {
                (Platform::Page, Some(before)) => before.expires_at,
                (Platform::Page, None) => now + PAGE_REFRESH_TOKEN_LIFETIME_SECS,
                (Platform::Other, _) => now + REFRESH_TOKEN_LIFETIME_SECS,
            };
            issuer.seal_refresh_token(&RefreshToken {
                user: user.id.as_uuid(),
                client: app.id.as_uuid(),
                // A renewal for less does not take back what was agreed to.
                scopes: before.map_or_else(|| scopes.clone(), |before| before.scopes.clone()),
                expires_at,
                is_page: platform == Platform::Page,
            })
        });
        let wants_client_info = self.form.get("client_info")? == Some("1");
        Ok(TokenResponse {
            token_type: "Bearer",
            scope: Some(scopes.answered()),
            expires_in: lifetime,
            ext_expires_in: lifetime,
            access_token: access_token.map_err(|_| Refusal::NoSignature)?,
            refresh_token: refresh_token.map(|token| token.ok_or(Refusal::NoSignature)).transpose()?,
            id_token: id_token.transpose().map_err(|_| Refusal::NoSignature)?,
            client_info: wants_client_info.then(|| client_info(issuer, &user)),
        })
    }

    fn known(&self, client: &str) -> Result<Application, Refusal> {
        known_client(self.issuer, self.registry, client)
    }

    /// Whether the client proved that it is the application; what it shows must be right, and may be nothing.
    fn has_proof(&self, app: &Application, credentials: &Credentials<'_>) -> Result<bool, Refusal> {
        if let Some(assertion) = self.form.get("client_assertion")? {
            if !credentials.secrets.is_empty() {
                return Err(Refusal::RepeatedParameter("client_assertion"));
            }
            if self.form.required("client_assertion_type")? != assertion::ASSERTION_TYPE {
                return Err(Refusal::AssertionType(assertion::ASSERTION_TYPE));
            }
            let is_audience =
                |audience: &str| discovery::is_token_endpoint(self.issuer, self.base_url, audience);
            let checked = assertion::check(assertion, app.id, &app.certificates, is_audience, self.now);
            return checked.map(|()| true).map_err(|problem| match problem {
                AssertionProblem::Malformed => Refusal::MalformedAssertion,
                AssertionProblem::UnknownKey => Refusal::BadAssertion("The key was not found.", app.id),
                AssertionProblem::ExpiredKey => Refusal::BadAssertion("The key used is expired.", app.id),
                AssertionProblem::Signature => Refusal::BadAssertion(
                    "The provided signature value did not match the expected signature value.",
                    app.id,
                ),
                AssertionProblem::Client => Refusal::AssertionClient(app.id),
                AssertionProblem::Audience => Refusal::AssertionAudience(app.id),
                AssertionProblem::Lifetime => Refusal::AssertionLifetime(app.id),
            });
        }
        if credentials.secrets.is_empty() {
            return Ok(false);
        }
        let mut expired = false;
        for secret in &app.secrets {
            if credentials.secrets.iter().any(|candidate| secret.digest.matches(candidate)) {
                if secret.expires_at.is_none_or(|end| self.now < end) {
                    return Ok(true);
                }
                expired = true;
            }
        }
        Err(if expired { Refusal::ExpiredSecret(app.id) } else { Refusal::WrongSecret(app.id) })
    }
}

/// `client_info`: what makes MSAL's account id (identity B.5).
pub(crate) fn client_info(issuer: &Issuer, user: &User) -> String {
    #[derive(Serialize)]
    struct ClientInfo {
        uid: String,
        utid: String,
    }
    let info = ClientInfo { uid: user.id.to_string(), utid: issuer.config.tenant.to_string() };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&info).unwrap_or_default())
}

/// The application with this client id.
pub(crate) fn known_client(
    issuer: &Issuer,
    registry: &dyn Registry,
    client: &str,
) -> Result<Application, Refusal> {
    let id: Option<AppId> = client.parse().ok();
    id.and_then(|id| registry.application(id)).ok_or_else(|| Refusal::UnknownClient {
        client: client.chars().take(200).collect(),
        tenant: issuer.config.tenant.to_string(),
    })
}

/// Who the client says it is, and what it shows for it. Not `Debug`: it holds secrets in the clear.
struct Credentials<'a> {
    client_id: Option<Cow<'a, str>>,
    /// Ways to read the one secret that was shown; none when none was.
    secrets: Vec<Cow<'a, str>>,
}

impl<'a> Credentials<'a> {
    /// From the form, as every Microsoft library sends them, or from HTTP Basic. Not from both (RFC 6749 §2.3).
    fn read(headers: &HeaderMap, form: &'a Form<'_>) -> Result<Self, Refusal> {
        let client_id = form.get("client_id")?;
        let secret = form.get("client_secret")?;
        let Some(header) = headers.get(AUTHORIZATION) else {
            // RFC 7523 §3 has an assertion say by itself whose it is.
            let claimed = form.get("client_assertion")?.and_then(assertion::claimed_client).map(Cow::Owned);
            return Ok(Self {
                client_id: client_id.map(Cow::Borrowed).or(claimed),
                secrets: secret.map(Cow::Borrowed).into_iter().collect(),
            });
        };
        if secret.is_some() {
            return Err(Refusal::RepeatedParameter("client_secret"));
        }
        let (id, secret) = header.to_str().ok().and_then(basic).ok_or(Refusal::MissingSecret)?;
        let id_decoded = form_decoded(&id);
        if client_id.is_some_and(|in_form| in_form != id_decoded) {
            return Err(Refusal::RepeatedParameter("client_id"));
        }
        // RFC 6749 §2.3.1 has both halves form-encoded first. Many clients skip that, so the bare secret counts as well.
        let decoded = form_decoded(&secret);
        let secrets = if secret.is_empty() { vec![] } else { vec![Cow::Owned(decoded), Cow::Owned(secret)] };
        Ok(Self { client_id: Some(Cow::Owned(id_decoded)), secrets })
    }

    fn client_id(&self) -> Result<&str, Refusal> {
        self.client_id.as_deref().ok_or(Refusal::MissingParameter("client_id"))
    }
}

/// The two halves of HTTP Basic credentials.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, credentials) = header.split_once(' ')?;
    let credentials =
        scheme.eq_ignore_ascii_case("Basic").then(|| STANDARD.decode(credentials.trim()).ok())??;
    let (id, secret) = std::str::from_utf8(&credentials).ok()?.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

fn form_decoded(text: &str) -> String {
    // As the only value of a form, so that `+` and `%xx` mean what they mean there. Text that holds `&` or `=` was never
    // encoded.
    match text.contains(['&', '=']) {
        true => text.to_owned(),
        false => form_urlencoded::parse(format!("v={text}").as_bytes())
            .map(|(_, value)| value.into_owned())
            .collect(),
    }
}
