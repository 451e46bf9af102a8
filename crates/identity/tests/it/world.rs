//! What the tests share: one tenant with an application and a user, an issuer with a known key, and a way to forge.

use std::cell::Cell;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use identity::{
    Application, Caller, ClientCertificate, Issuer, IssuerConfig, RedirectUri, Redirects, Registry, Request,
    Secret, SecretDigest, SigningKey, TokenError, User, Verifier,
};
use jsonwebtoken::{Algorithm, EncodingKey};
use presence::{AppId, TenantId, Timestamp, UserId};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

pub(crate) const BASE_URL: &str = "https://localhost:8443";
pub(crate) const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
pub(crate) const APP: &str = "11112222-3333-4444-5555-666677778888";
pub(crate) const SERVICE_PRINCIPAL: &str = "99990000-aaaa-bbbb-cccc-ddddeeeeffff";
pub(crate) const USER: &str = "fa8bf3dc-eca7-46b7-bad1-db199b62afc3";
pub(crate) const SECRET: &str = "a~secret.of_the+build%robot";

/// 2026-03-02T08:15:30Z.
pub(crate) const NOW: i64 = 1_772_439_330;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

pub(crate) fn now() -> Timestamp {
    at(NOW)
}

pub(crate) fn tenant() -> TenantId {
    TENANT.parse().unwrap()
}

/// A key of which the tests hold the private half.
pub(crate) struct TestKey {
    pub(crate) pem: String,
    pub(crate) signing: SigningKey,
}

impl TestKey {
    fn new() -> Self {
        let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_pem();
        Self { signing: SigningKey::from_pem(&pem).unwrap(), pem }
    }
}

/// The issuer's key.
pub(crate) fn key() -> &'static TestKey {
    static KEY: OnceLock<TestKey> = OnceLock::new();
    KEY.get_or_init(TestKey::new)
}

/// A key the issuer knows nothing of.
pub(crate) fn other_key() -> &'static TestKey {
    static KEY: OnceLock<TestKey> = OnceLock::new();
    KEY.get_or_init(TestKey::new)
}

pub(crate) fn issuer() -> Issuer {
    let mut config = IssuerConfig::new(tenant(), BASE_URL, key().signing.clone());
    config.domains = vec!["contoso.example".to_owned()];
    config.base_urls.push("https://127.0.0.1:8443/".to_owned());
    Issuer::new(config)
}

pub(crate) fn verifier() -> Verifier {
    Verifier::new([issuer().trusted()])
}

pub(crate) fn application() -> Application {
    Application {
        id: APP.parse().unwrap(),
        display_name: "Build robot".to_owned(),
        service_principal: SERVICE_PRINCIPAL.parse().unwrap(),
        secrets: vec![
            Secret { digest: SecretDigest::of("yesterday"), expires_at: Some(at(NOW)) },
            Secret { digest: SecretDigest::of(SECRET), expires_at: Some(at(NOW + 1)) },
        ],
        certificates: vec![client_certificate().1.clone()],
        redirects: Redirects {
            other: uris(&["http://localhost", "https://app.example.org/back"]),
            spa: uris(&["https://page.example.org/"]),
            is_public_client: false,
        },
        roles: vec!["Presence.ReadWrite.All".to_owned()],
        scopes: ["Presence.Read", "Presence.ReadWrite", "User.Read"].map(str::to_owned).to_vec(),
    }
}

fn uris(uris: &[&str]) -> Vec<RedirectUri> {
    uris.iter().map(|uri| RedirectUri::new(*uri).unwrap()).collect()
}

/// A key of the application's, and the certificate that is registered for it.
pub(crate) fn client_certificate() -> &'static (TestKey, ClientCertificate, Vec<u8>) {
    static CERTIFICATE: OnceLock<(TestKey, ClientCertificate, Vec<u8>)> = OnceLock::new();
    CERTIFICATE.get_or_init(|| {
        let key = TestKey::new();
        let pair = rcgen::KeyPair::from_pem(&key.pem).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let der = params.self_signed(&pair).unwrap().der().to_vec();
        (key, ClientCertificate::from_der(&der).unwrap(), der)
    })
}

pub(crate) const PUBLIC_APP: &str = "22223333-4444-5555-6666-777788889999";

/// A program on a desk.
pub(crate) fn public_application() -> Application {
    Application {
        id: PUBLIC_APP.parse().unwrap(),
        display_name: "<script>alert('x')</script> & \"Desk\"".to_owned(),
        secrets: Vec::new(),
        certificates: Vec::new(),
        redirects: Redirects { is_public_client: true, ..application().redirects },
        ..application()
    }
}

pub(crate) fn user() -> User {
    User {
        id: USER.parse().unwrap(),
        user_principal_name: "adele@contoso.example".to_owned(),
        display_name: "Adele".to_owned(),
    }
}

pub(crate) struct TestRegistry;

impl Registry for TestRegistry {
    fn application(&self, id: AppId) -> Option<Application> {
        [application(), public_application()].into_iter().find(|app| app.id == id)
    }

    fn user(&self, id: UserId) -> Option<User> {
        Some(user()).filter(|user| user.id == id)
    }

    fn user_by_name(&self, name: &str) -> Option<User> {
        Some(user()).filter(|user| user.user_principal_name.eq_ignore_ascii_case(name))
    }

    fn some_users(&self, max: usize) -> Vec<User> {
        std::iter::repeat_n(user(), 1.min(max)).collect()
    }

    fn any_application(&self, is_such: &dyn Fn(&Application) -> bool) -> bool {
        is_such(&application()) || is_such(&public_application())
    }
}

/// The claims of a good application token.
pub(crate) fn app_claims() -> Value {
    json!({
        "aud": "https://graph.microsoft.com", "iss": format!("{BASE_URL}/{TENANT}/v2.0"),
        "iat": NOW, "nbf": NOW, "exp": NOW + 3600,
        "tid": TENANT, "oid": SERVICE_PRINCIPAL, "appid": APP, "idtyp": "app", "roles": ["Presence.ReadWrite.All"],
    })
}

/// The claims of a good delegated token.
pub(crate) fn user_claims() -> Value {
    with(
        without(app_claims(), "roles"),
        json!({"oid": USER, "idtyp": "user", "scp": "Presence.Read User.Read"}),
    )
}

/// `claims` with these members put in.
pub(crate) fn with(mut claims: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// `claims` less one member.
pub(crate) fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// A token as the issuer signs it, with any claims.
pub(crate) fn token(claims: &Value) -> String {
    token_with(&json!({"alg": "RS256", "typ": "JWT", "kid": key().signing.kid()}), claims, key())
}

/// A token with any header, signed with RS256 whatever the header says.
pub(crate) fn token_with(header: &Value, claims: &Value, key: &TestKey) -> String {
    let message = unsigned(header, claims);
    let private = EncodingKey::from_rsa_pem(key.pem.as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &private, Algorithm::RS256).unwrap();
    format!("{message}.{signature}")
}

/// Header and claims, encoded and joined.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}", part(header), part(claims))
}

pub(crate) fn verify(token: &str) -> Result<Arc<Caller>, TokenError> {
    verifier().verify(token, now())
}

/// One request to the issuer and its whole answer.
pub(crate) fn send(
    method: Method,
    path_and_query: &str,
    headers: &[(&'static str, &str)],
    body: &str,
) -> Option<Response<Vec<u8>>> {
    send_to(BASE_URL, method, path_and_query, headers, body)
}

pub(crate) fn send_to(
    base_url: &str,
    method: Method,
    path_and_query: &str,
    headers: &[(&'static str, &str)],
    body: &str,
) -> Option<Response<Vec<u8>>> {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let request = Request { method: &method, path, query, headers: &map, body: body.as_bytes(), base_url };
    let count = Cell::new(0);
    let new_id = || {
        count.set(count.get() + 1);
        Uuid::from_u128(count.get())
    };
    issuer().respond(&request, &TestRegistry, now(), &new_id)
}

/// An issuer at which users sign in.
pub(crate) fn sign_in_issuer() -> Issuer {
    let mut config = IssuerConfig::new(tenant(), BASE_URL, key().signing.clone());
    config.domains = vec!["contoso.example".to_owned()];
    config.sign_in = true;
    Issuer::new(config)
}

/// One request to an issuer that remembers, at a time.
pub(crate) fn ask(
    issuer: &Issuer,
    now: i64,
    method: Method,
    path_and_query: &str,
    headers: &[(&'static str, &str)],
    form: &[(&str, &str)],
) -> Response<Vec<u8>> {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let mut map = HeaderMap::new();
    map.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    for (name, value) in headers {
        map.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let body = body.as_bytes();
    let request = Request { method: &method, path, query, headers: &map, body, base_url: BASE_URL };
    issuer.respond(&request, &TestRegistry, at(now), &|| Uuid::from_u128(7)).unwrap()
}

pub(crate) fn get(path_and_query: &str) -> (u16, Value) {
    status_and_json(&send(Method::GET, path_and_query, &[], "").unwrap())
}

pub(crate) fn status_and_json(response: &Response<Vec<u8>>) -> (u16, Value) {
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
}
