//! `POST /{t}/oauth2/v2.0/token`: a client shows its secret and gets a token (identity B.4 and B.5).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use presence::Timestamp;
use serde::Serialize;

use crate::aadsts::Refusal;
use crate::discovery;
use crate::issuer::{Issuer, Request};
use crate::registry::{Application, Registry};

/// The longest body that is looked at. A client assertion with its certificate chain is some 8 KiB.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Graph's own application id, which may stand for its address in a scope.
const GRAPH_APP_ID: &str = "00000003-0000-0000-c000-000000000000";

/// A token response without a user.
#[derive(Serialize)]
pub(crate) struct TokenResponse {
    token_type: &'static str,
    expires_in: u32,
    ext_expires_in: u32,
    access_token: String,
}

/// The token a request is worth. Checked in this order: the form, the grant, the client, its secret, the scope.
pub(crate) fn grant(
    issuer: &Issuer,
    request: &Request<'_>,
    base_url: &str,
    registry: &dyn Registry,
    now: Timestamp,
) -> Result<TokenResponse, Refusal> {
    let form = Form::read(request.headers, request.body)?;
    let credentials = Credentials::read(request.headers, &form)?;
    let grant_type = form.required("grant_type")?;
    // An assertion is a grant of its own to us, and not built yet; neither are those of signed-in users.
    if grant_type != "client_credentials" || form.get("client_assertion")?.is_some() {
        return Err(Refusal::UnsupportedGrant(grant_type.to_owned()));
    }
    let app = authenticate(issuer, &credentials, registry, now)?;
    let scope = form.required("scope")?;
    check_scope(issuer, base_url, scope)?;

    let lifetime = issuer.config.access_token_lifetime_secs;
    let access_token =
        issuer.mint_application_at(base_url, &app, now, lifetime).map_err(|_| Refusal::NoSignature)?;
    Ok(TokenResponse { token_type: "Bearer", expires_in: lifetime, ext_expires_in: lifetime, access_token })
}

fn authenticate(
    issuer: &Issuer,
    credentials: &Credentials<'_>,
    registry: &dyn Registry,
    now: Timestamp,
) -> Result<Application, Refusal> {
    let client = credentials.client_id.as_deref().ok_or(Refusal::MissingParameter("client_id"))?;
    let app = client.parse().ok().and_then(|id| registry.application(id)).ok_or_else(|| {
        Refusal::UnknownClient { client: client.to_owned(), tenant: issuer.config.tenant.to_string() }
    })?;
    if credentials.secrets.is_empty() {
        return Err(Refusal::MissingSecret);
    }
    let mut expired = false;
    for secret in &app.secrets {
        if credentials.secrets.iter().any(|candidate| secret.digest.matches(candidate)) {
            if secret.expires_at.is_none_or(|end| now < end) {
                return Ok(app);
            }
            expired = true;
        }
    }
    Err(if expired { Refusal::ExpiredSecret(app.id) } else { Refusal::WrongSecret(app.id) })
}

/// Scopes of signing in somebody. MSAL for Java sends them with every grant; where nobody signs in they mean nothing.
const SIGN_IN_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// The scope must be one `<resource>/.default`, and the resource must be us: under Graph's name, under our own, or as
/// `localhost`, which the Python SDK derives from the address of the API (identity B.4).
fn check_scope(issuer: &Issuer, base_url: &str, scope: &str) -> Result<(), Refusal> {
    let mut scopes = scope.split_whitespace().filter(|one| !SIGN_IN_SCOPES.contains(one));
    let (Some(only), None) = (scopes.next(), scopes.next()) else {
        return Err(Refusal::InvalidScope(scope.to_owned()));
    };
    let resource = only.strip_suffix("/.default").ok_or_else(|| Refusal::ScopeNotDefault(only.to_owned()))?;
    let host = discovery::host_of(discovery::authority_of(resource));
    let names_us =
        ["graph.microsoft.com", "localhost", GRAPH_APP_ID].iter().any(|own| own.eq_ignore_ascii_case(host))
            || discovery::is_own_host(&issuer.config, base_url, host);
    if names_us {
        Ok(())
    } else {
        Err(Refusal::UnknownResource {
            resource: resource.to_owned(),
            tenant: issuer.config.tenant.to_string(),
        })
    }
}

/// The form's fields. Unknown ones are ignored (`client_info`, `claims`, …); one of ours given twice is refused, so that
/// no two readers can see different requests.
struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    fn read(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Refusal> {
        if body.len() > BODY_BYTES_MAX {
            return Err(Refusal::BodyTooLong);
        }
        let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        // A body of another kind has no fields as far as Entra can see, and that is what it says.
        if !media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Refusal::MissingParameter("grant_type"));
        }
        Ok(Self(form_urlencoded::parse(body).collect()))
    }

    /// The field's value; an empty one counts as absent.
    fn get(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_ref());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Refusal::RepeatedParameter(name)),
            (value, None) => Ok(value.filter(|value| !value.is_empty())),
        }
    }

    fn required(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name)?.ok_or(Refusal::MissingParameter(name))
    }
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
            return Ok(Self {
                client_id: client_id.map(Cow::Borrowed),
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
