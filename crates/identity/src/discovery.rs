//! How a client finds the issuer: which paths there are, and the documents that name them (identity B.1 and B.3).

use presence::TenantId;
use serde::Serialize;

use crate::aadsts::Refusal;
use crate::issuer::{Issuer, IssuerConfig};
use crate::key_ring::KeyRing;
use crate::keys::JsonWebKey;

/// What a path of the issuer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/{t}/.well-known/openid-configuration`
    ConfigurationV1,
    /// `/{t}/v2.0/.well-known/openid-configuration`
    ConfigurationV2,
    /// `/{t}/discovery/keys` and `/{t}/discovery/v2.0/keys`
    Keys,
    /// `/common/discovery/instance`
    Instance,
    /// `/{t}/oauth2/v2.0/token`
    Token,
    /// `/{t}/oauth2/v2.0/authorize`: where somebody signs in.
    Authorize,
    /// `/{t}/oauth2/v2.0/devicecode`
    DeviceCode,
    /// `/{t}/oauth2/deviceauth`: where somebody answers a device.
    DevicePage,
    /// `/{t}/oauth2/v2.0/logout`
    Logout,
    /// `/common/userrealm/{upn}`
    UserRealm,
}

/// The page of [`Endpoint::DevicePage`], after the tenant: Entra's.
pub(crate) const DEVICE_PAGE: &str = "/oauth2/deviceauth";

impl Endpoint {
    /// The tenant segment and the endpoint `path` names. Paths are fixed: some credentials use them without asking
    /// discovery (identity B.1).
    pub(crate) fn at(path: &str) -> Option<(&str, Self)> {
        let (tenant, rest) = path.strip_prefix('/')?.split_once('/')?;
        let endpoint = match rest {
            ".well-known/openid-configuration" => Self::ConfigurationV1,
            "v2.0/.well-known/openid-configuration" => Self::ConfigurationV2,
            "discovery/keys" | "discovery/v2.0/keys" => Self::Keys,
            "discovery/instance" if tenant.eq_ignore_ascii_case("common") => Self::Instance,
            "oauth2/v2.0/token" => Self::Token,
            "oauth2/v2.0/authorize" => Self::Authorize,
            "oauth2/v2.0/devicecode" => Self::DeviceCode,
            "oauth2/deviceauth" => Self::DevicePage,
            "oauth2/v2.0/logout" => Self::Logout,
            _ if tenant.eq_ignore_ascii_case("common") && user_of_realm(rest).is_some() => Self::UserRealm,
            _ => return None,
        };
        (!tenant.is_empty()).then_some((tenant, endpoint))
    }

    /// Whether people look at it.
    pub(crate) const fn is_page(self) -> bool {
        matches!(self, Self::Authorize | Self::DevicePage | Self::Logout)
    }

    /// Whether it is there only where users can sign in.
    pub(crate) const fn is_of_sign_in(self) -> bool {
        matches!(self, Self::Authorize | Self::DeviceCode | Self::DevicePage | Self::Logout | Self::UserRealm)
    }
}

/// The user a path asks the realm of, percent-encoding left in place.
pub(crate) fn user_of_realm(rest: &str) -> Option<&str> {
    rest.strip_prefix("userrealm/").filter(|user| !user.is_empty() && !user.contains('/'))
}

/// How the tenant a client names is written in the answer: the three fixed aliases as they are, the GUID and domain
/// names as the GUID. Case does not matter.
pub(crate) fn tenant_segment(issuer: &Issuer, named: &str) -> Result<String, Refusal> {
    const ALIASES: [&str; 3] = ["common", "organizations", "consumers"];
    if let Some(alias) = ALIASES.into_iter().find(|alias| alias.eq_ignore_ascii_case(named)) {
        return Ok(alias.to_owned());
    }
    let tenant = issuer.config.tenant;
    let is_ours = named.parse::<TenantId>() == Ok(tenant)
        || issuer.domains.load().iter().any(|domain| domain.eq_ignore_ascii_case(named));
    if is_ours { Ok(tenant.to_string()) } else { Err(Refusal::UnknownTenant(named.to_owned())) }
}

/// An OpenID configuration. Only what exists is advertised, with one exception: MSAL Python demands an
/// `authorization_endpoint` even of an issuer nobody signs in at.
#[derive(Serialize)]
pub(crate) struct Configuration {
    token_endpoint: String,
    token_endpoint_auth_methods_supported: [&'static str; 3],
    jwks_uri: String,
    response_modes_supported: [&'static str; 3],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: [&'static str; 1],
    response_types_supported: [&'static str; 4],
    scopes_supported: [&'static str; 4],
    issuer: String,
    authorization_endpoint: String,
    #[serde(flatten)]
    sign_in: Option<SignInConfiguration>,
}

/// What there is where somebody can sign in.
#[derive(Serialize)]
struct SignInConfiguration {
    device_authorization_endpoint: String,
    end_session_endpoint: String,
    http_logout_supported: bool,
    code_challenge_methods_supported: [&'static str; 2],
    claims_supported: [&'static str; 12],
}

pub(crate) fn configuration(issuer: &Issuer, base_url: &str, tenant: &str, keys: &str) -> Configuration {
    Configuration {
        token_endpoint: format!("{base_url}/{tenant}/oauth2/v2.0/token"),
        token_endpoint_auth_methods_supported: [
            "client_secret_post",
            "private_key_jwt",
            "client_secret_basic",
        ],
        jwks_uri: format!("{base_url}/{tenant}/{keys}"),
        response_modes_supported: ["query", "fragment", "form_post"],
        subject_types_supported: ["pairwise"],
        id_token_signing_alg_values_supported: ["RS256"],
        response_types_supported: ["code", "id_token", "code id_token", "id_token token"],
        scopes_supported: ["openid", "profile", "email", "offline_access"],
        issuer: issuer.issuer_at(base_url),
        authorization_endpoint: format!("{base_url}/{tenant}/oauth2/v2.0/authorize"),
        sign_in: issuer.config.sign_in.then(|| SignInConfiguration {
            device_authorization_endpoint: format!("{base_url}/{tenant}/oauth2/v2.0/devicecode"),
            end_session_endpoint: format!("{base_url}/{tenant}/oauth2/v2.0/logout"),
            // Nobody has a session, so there is nobody to tell that it ended.
            http_logout_supported: false,
            code_challenge_methods_supported: ["S256", "plain"],
            claims_supported: [
                "aud",
                "exp",
                "iat",
                "iss",
                "name",
                "nbf",
                "nonce",
                "oid",
                "preferred_username",
                "sub",
                "tid",
                "ver",
            ],
        }),
    }
}

/// The keys that verify the issuer's tokens.
#[derive(Serialize)]
pub(crate) struct KeySetDocument {
    keys: Vec<JsonWebKey>,
}

pub(crate) fn key_set(keys: &KeyRing) -> KeySetDocument {
    KeySetDocument { keys: keys.json_web_keys() }
}

/// The answer to instance discovery: yes, this is an authority, and here is its configuration.
#[derive(Serialize)]
pub(crate) struct Instance {
    tenant_discovery_endpoint: String,
    #[serde(rename = "api-version")]
    api_version: &'static str,
    metadata: [InstanceMetadata; 1],
}

#[derive(Serialize)]
struct InstanceMetadata {
    preferred_network: String,
    preferred_cache: String,
    aliases: Vec<String>,
}

/// Instance discovery. The tenant is the first segment of the `authorization_endpoint` asked about. Ports are not
/// compared, since MSAL Python leaves them out there (identity B.2).
pub(crate) fn instance(issuer: &Issuer, base_url: &str, query: &str) -> Result<Instance, Refusal> {
    let config = &issuer.config;
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "authorization_endpoint");
    let tenant = match asked {
        None => "common".to_owned(),
        Some((_, endpoint)) => {
            let unknown = || Refusal::UnknownInstance(endpoint.clone().into_owned());
            let rest = endpoint.strip_prefix("https://").ok_or_else(unknown)?;
            let (authority, path) = rest.split_once('/').unwrap_or((rest, "common"));
            if !is_own_host(config, base_url, host_of(authority)) {
                return Err(unknown());
            }
            tenant_segment(issuer, path.split('/').next().unwrap_or_default())?
        }
    };
    let own = authority_of(base_url).to_owned();
    let mut aliases = vec![own.clone()];
    for url in &config.base_urls {
        let authority = authority_of(url);
        if !aliases.iter().any(|alias| alias == authority) {
            aliases.push(authority.to_owned());
        }
    }
    Ok(Instance {
        tenant_discovery_endpoint: format!("{base_url}/{tenant}/v2.0/.well-known/openid-configuration"),
        api_version: "1.1",
        metadata: [InstanceMetadata { preferred_network: own.clone(), preferred_cache: own, aliases }],
    })
}

/// Whether `url` is one of our token endpoints: at any of our addresses, of any tenant we answer to.
pub(crate) fn is_token_endpoint(issuer: &Issuer, base_url: &str, url: &str) -> bool {
    let config = &issuer.config;
    let mut bases = config.base_urls.iter().map(String::as_str).chain([base_url]);
    bases.any(|base| {
        let path = url.strip_prefix(base).and_then(Endpoint::at);
        path.is_some_and(|(tenant, endpoint)| {
            endpoint == Endpoint::Token && tenant_segment(issuer, tenant).is_ok()
        })
    })
}

/// The answer of user realm discovery: whether the user's password is ours to check.
#[derive(Serialize)]
pub(crate) struct UserRealm {
    ver: &'static str,
    account_type: &'static str,
    domain_name: String,
    cloud_instance_name: String,
    cloud_audience_urn: &'static str,
}

/// Every domain of the tenant is managed here, every other one unknown.
pub(crate) fn user_realm(issuer: &Issuer, base_url: &str, user: &str) -> UserRealm {
    let user: String =
        form_urlencoded::parse(format!("v={user}").as_bytes()).map(|(_, user)| user.into_owned()).collect();
    let domain = user.rsplit_once('@').map_or("", |(_, domain)| domain);
    let domains = issuer.domains.load();
    let domain = domains.iter().find(|known| known.eq_ignore_ascii_case(domain));
    UserRealm {
        ver: "1.0",
        account_type: if domain.is_some() { "Managed" } else { "Unknown" },
        domain_name: domain.cloned().unwrap_or_default(),
        cloud_instance_name: authority_of(base_url).to_owned(),
        cloud_audience_urn: "urn:federation:MicrosoftOnline",
    }
}

/// Whether `host` is that of the address in use or of another of ours.
pub(crate) fn is_own_host(config: &IssuerConfig, base_url: &str, host: &str) -> bool {
    let mut own = config.base_urls.iter().map(String::as_str).chain([base_url]);
    own.any(|url| host_of(authority_of(url)).eq_ignore_ascii_case(host))
}

/// `host:port` of a URL; of anything else, the part before its first slash.
pub(crate) fn authority_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

/// An authority without its port. The brackets of an IPv6 address stay.
pub(crate) fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    }
}
