//! Who notifications come from, as receivers can check it: validation tokens for every tenant, and where the keys are that
//! sign them.
//!
//! Tenants with issuers of their own have them too. Their validation tokens are no access tokens: nobody here trusts the
//! name they are issued under, and they grant nothing; nothing else is ever issued for such a tenant.
//! Source: change-notifications §10, identity B.8.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::ALLOW;
use http::{HeaderValue, Method, Response, StatusCode};
use presence::{TenantId, Timestamp};
use serde::Serialize;

use crate::discovery::{self, Endpoint};
use crate::issuer::{Request, json};
use crate::key_ring::KeyRing;
use crate::keys::KeyError;

/// Who publishes change notifications, in the eyes of receivers. Source: change-notifications §10.
pub const CHANGE_NOTIFICATION_PUBLISHER: &str = "0bf30f3b-4a52-48df-9a82-234910c4a086";
/// How long a validation token counts: also for a delivery that is tried again for four hours.
const VALIDATION_TOKEN_LIFETIME_SECS: i64 = 8 * 60 * 60;
/// How much earlier it counts, for receivers whose clocks are behind.
const VALIDATION_TOKEN_SKEW_SECS: i64 = 60;
/// What stands for the tenant where no single one is meant, as in Entra's configuration.
const ANY_TENANT: &str = "{tenantid}";

/// Signs validation tokens.
#[derive(Debug)]
pub struct Publisher {
    base_urls: Vec<String>,
    keys: ArcSwap<KeyRing>,
}

impl Publisher {
    /// A publisher at these addresses, `https://host:port` without a path. The first is in its tokens.
    ///
    /// # Panics
    /// When there is none.
    pub fn new(base_urls: Vec<String>, keys: impl Into<KeyRing>) -> Self {
        assert!(!base_urls.is_empty(), "a publisher has at least one address");
        let base_urls = base_urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        Self { base_urls, keys: ArcSwap::from_pointee(keys.into()) }
    }

    /// Signs with other keys from now on, and publishes exactly these.
    pub fn replace_keys(&self, keys: KeyRing) {
        self.keys.store(Arc::new(keys));
    }

    /// The address by which a client knows us, if it is one of ours; else the first: an address nobody configured must not
    /// come back in links.
    pub fn base_url<'a>(&'a self, used: &'a str) -> &'a str {
        if self.base_urls.iter().any(|url| url == used) { used } else { &self.base_urls[0] }
    }

    /// The proof that notifications come from this service: one for each application and tenant in a POST. `audience` is
    /// the application that subscribed.
    ///
    /// # Errors
    /// When the signature cannot be made.
    pub fn mint_validation_token(
        &self,
        tenant: TenantId,
        audience: &str,
        now: Timestamp,
    ) -> Result<String, KeyError> {
        let now = now.as_second();
        let tenant = tenant.to_string();
        self.keys.load().current().sign(&ValidationClaims {
            aud: audience,
            iss: self.issuer(&tenant),
            iat: now,
            nbf: now - VALIDATION_TOKEN_SKEW_SECS,
            exp: now + VALIDATION_TOKEN_LIFETIME_SECS,
            tid: &tenant,
            appid: CHANGE_NOTIFICATION_PUBLISHER,
            appidacr: "2",
            azp: CHANGE_NOTIFICATION_PUBLISHER,
            azpacr: "2",
            ver: "2.0",
        })
    }

    /// The answer for a tenant that has no embedded issuer, or with `None` for any: the keys, and a configuration that
    /// names nothing else, since nobody gets a token there. `None` for every other path.
    pub fn respond(&self, request: &Request<'_>, tenant: Option<TenantId>) -> Option<Response<Vec<u8>>> {
        let (segment, endpoint) = Endpoint::at(request.path)?;
        let keys = match endpoint {
            Endpoint::ConfigurationV1 => "discovery/keys",
            Endpoint::ConfigurationV2 => "discovery/v2.0/keys",
            Endpoint::Keys => "",
            _ => return None,
        };
        if !matches!(*request.method, Method::GET | Method::HEAD) {
            let mut response = json(StatusCode::METHOD_NOT_ALLOWED, &serde_json::Map::new());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(response);
        }
        if endpoint == Endpoint::Keys {
            return Some(json(StatusCode::OK, &discovery::key_set(&self.keys.load())));
        }
        let named = tenant.map(|tenant| tenant.to_string());
        Some(json(
            StatusCode::OK,
            &Configuration {
                issuer: self.issuer(named.as_deref().unwrap_or(ANY_TENANT)),
                jwks_uri: format!("{}/{segment}/{keys}", request.base_url.trim_end_matches('/')),
                id_token_signing_alg_values_supported: ["RS256"],
                subject_types_supported: ["pairwise"],
                response_types_supported: [],
            },
        ))
    }

    fn issuer(&self, tenant: &str) -> String {
        format!("{}/{tenant}/v2.0", self.base_urls[0])
    }
}

/// The claims of a validation token. Source: change-notifications §10.
#[derive(Serialize)]
struct ValidationClaims<'a> {
    aud: &'a str,
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    tid: &'a str,
    appid: &'static str,
    appidacr: &'static str,
    azp: &'static str,
    azpacr: &'static str,
    ver: &'static str,
}

/// The configuration of an issuer that has keys and nothing else.
#[derive(Serialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
    id_token_signing_alg_values_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    response_types_supported: [&'static str; 0],
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{
        Algorithm, Application, GRAPH_AUDIENCES, Issuer, IssuerConfig, Redirects, SigningKey, TokenError,
        TrustedIssuer, Verifier,
    };

    const URL: &str = "https://p.example";
    const TENANT: TenantId = TenantId::from_u128(7);

    fn ask(publisher: &Publisher, path: &str, tenant: Option<TenantId>) -> Option<(u16, serde_json::Value)> {
        let headers = HeaderMap::new();
        let request =
            Request { method: &Method::GET, path, query: "", headers: &headers, body: b"", base_url: URL };
        let response = publisher.respond(&request, tenant)?;
        Some((response.status().as_u16(), serde_json::from_slice(response.body()).unwrap()))
    }

    #[test]
    fn the_keys_are_where_receivers_look_and_nothing_but_keys_is_there() {
        let publisher = Publisher::new(vec![URL.to_owned()], SigningKey::generate().unwrap());
        for segment in ["common", &TENANT.to_string()] {
            for path in ["discovery/keys", "discovery/v2.0/keys"] {
                let (status, keys) = ask(&publisher, &format!("/{segment}/{path}"), Some(TENANT)).unwrap();
                assert_eq!((status, keys["keys"].as_array().unwrap().len()), (200, 1));
                assert!(keys["keys"][0]["issuer"].is_null(), "C# would compare it");
            }
            for (path, keys) in [("", "discovery/keys"), ("v2.0/", "discovery/v2.0/keys")] {
                let path = format!("/{segment}/{path}.well-known/openid-configuration");
                let (status, document) = ask(&publisher, &path, Some(TENANT)).unwrap();
                assert_eq!(status, 200);
                assert_eq!(document["issuer"], format!("{URL}/{TENANT}/v2.0"));
                assert_eq!(document["jwks_uri"], format!("{URL}/{segment}/{keys}"));
                for absent in ["token_endpoint", "authorization_endpoint", "device_authorization_endpoint"] {
                    assert!(document[absent].is_null(), "{absent}");
                }
            }
            for path in ["oauth2/v2.0/token", "oauth2/v2.0/authorize", "oauth2/v2.0/devicecode"] {
                assert_eq!(ask(&publisher, &format!("/{segment}/{path}"), Some(TENANT)), None, "{path}");
            }
        }
        let (_, document) = ask(&publisher, "/common/.well-known/openid-configuration", None).unwrap();
        assert_eq!(document["issuer"], "https://p.example/{tenantid}/v2.0");
    }

    /// Whoever subscribes chooses the audience of the validation tokens that come: they must be of no use elsewhere.
    #[test]
    fn no_validation_token_is_an_access_token_whatever_its_audience_and_whoever_is_trusted() {
        let key = SigningKey::generate().unwrap();
        let publisher = Publisher::new(vec![URL.to_owned()], key.clone());
        let now: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        let foreign = TrustedIssuer {
            issuers: vec!["https://idp.example".to_owned()],
            tenant: TENANT,
            audiences: GRAPH_AUDIENCES.map(str::to_owned).to_vec(),
            algorithms: vec![Algorithm::Rs256],
            keys: key.public(),
            claims: crate::ClaimMapping::Entra,
        };
        let embedded = Issuer::new(IssuerConfig::new(TENANT, URL, key));
        for (trusted, refusal) in [
            (foreign, TokenError::WrongIssuer),
            // The same keys and the same name: what it does not say makes the difference.
            (embedded.trusted(), TokenError::MissingClaim("scp")),
        ] {
            let verifier = Verifier::new([trusted]);
            for audience in GRAPH_AUDIENCES {
                let token = publisher.mint_validation_token(TENANT, audience, now).unwrap();
                assert_eq!(verifier.verify(&token, now).err(), Some(refusal), "{audience}");
            }
        }
        // The proof that the verifier would believe an access token.
        let app = Application {
            id: presence::AppId::from_u128(1),
            display_name: String::new(),
            service_principal: uuid::Uuid::from_u128(2),
            secrets: Vec::new(),
            certificates: Vec::new(),
            redirects: Redirects::default(),
            roles: vec!["Presence.Read.All".to_owned()],
            scopes: Vec::new(),
        };
        let access = embedded.mint_application(&app, now, 60).unwrap();
        assert!(Verifier::new([embedded.trusted()]).verify(&access, now).is_ok());
    }
}
