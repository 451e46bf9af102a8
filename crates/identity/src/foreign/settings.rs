//! What an operator says about a foreign issuer, in the configuration or over the admin API.

use std::collections::BTreeMap;
use std::fmt;

use presence::TenantId;
use serde::{Deserialize, Serialize};

use super::mapping::Mapping;
use super::path::ClaimPath;
use crate::jwks::{Algorithm, KeySet};
use crate::verify::{ClaimMapping, TrustedIssuer};

/// Issuers of one tenant at most. Ours.
pub const ISSUERS_PER_TENANT_MAX: usize = 8;
/// Audiences of one issuer at most. Ours.
pub const AUDIENCES_MAX: usize = 20;
/// Claims named for one purpose at most, entries of a permission map at most. Ours.
const ENTRIES_MAX: usize = 100;
/// What stands in a recipe's claim for each audience.
const AUDIENCE_PLACE: &str = "{audience}";

/// A foreign issuer. Every member but `issuer` and `audiences` may be left out: then the recipe's value counts, and
/// without a recipe the one that is given here. Members may also be spelled in snake_case, as configuration files are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct IssuerSettings {
    /// The issuer's URL, to the letter as in its tokens: a slash at the end counts.
    pub issuer: String,
    /// The product, for claims as it names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
    /// The accepted values of `aud`; at least one.
    pub audiences: Vec<String>,
    /// The accepted signature algorithms: RS256, PS256, ES256, EdDSA. RS256 when left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<String>,
    /// Claims that say who it is, the first that is there: `oid`, `sub`.
    #[serde(alias = "user_id_claim", skip_serializing_if = "Option::is_none")]
    pub user_id_claim: Option<OneOrMore>,
    /// What that is in the directory: `["id", "externalId"]`.
    #[serde(alias = "user_match", skip_serializing_if = "Option::is_none")]
    pub user_match: Option<Vec<UserMatch>>,
    /// Claims that are compared with user principal names if `user_match` has `userPrincipalName`:
    /// `preferred_username`, `upn`, and `email` where `email_verified` is true.
    #[serde(alias = "user_name_claim", skip_serializing_if = "Option::is_none")]
    pub user_name_claim: Option<OneOrMore>,
    /// Claims that say which application it is, the first that is there: `appid`, `azp`, `client_id`.
    #[serde(alias = "client_claim", skip_serializing_if = "Option::is_none")]
    pub client_claim: Option<OneOrMore>,
    /// Claims with delegated permissions, all that are there: `scp`, `scope`.
    #[serde(alias = "scope_claim", skip_serializing_if = "Option::is_none")]
    pub scope_claim: Option<OneOrMore>,
    /// Claims with application permissions, all that are there: `roles`.
    #[serde(alias = "roles_claim", skip_serializing_if = "Option::is_none")]
    pub roles_claim: Option<OneOrMore>,
    /// Permissions by the issuer's names for them. A name that is not here stands for itself.
    #[serde(alias = "permission_map", skip_serializing_if = "BTreeMap::is_empty")]
    pub permission_map: BTreeMap<String, OneOrMore>,
    /// Delegated permissions of every signed-in user, for issuers whose tokens have no scopes. None when left out.
    #[serde(alias = "default_scopes", skip_serializing_if = "Vec::is_empty")]
    pub default_scopes: Vec<String>,
    /// How a token of an application by itself is told: `["idtyp", "subject-is-client"]`.
    #[serde(alias = "app_only_rule", skip_serializing_if = "Option::is_none")]
    pub app_only_rule: Option<Vec<AppOnlyRule>>,
    /// A claim that tells tenants apart. Left out, `tid` must be the tenant's id where there is one.
    #[serde(alias = "tenant_claim", skip_serializing_if = "Option::is_none")]
    pub tenant_claim: Option<String>,
    /// What `tenant_claim` must be. Needed together with it.
    #[serde(alias = "tenant_value", skip_serializing_if = "Option::is_none")]
    pub tenant_value: Option<String>,
}

/// One text, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

impl OneOrMore {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(one) => std::slice::from_ref(one).iter(),
            Self::More(more) => more.iter(),
        }
        .map(String::as_str)
    }
}

/// A product whose tokens we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// Microsoft Entra ID.
    Entra,
    /// Keycloak.
    Keycloak,
    /// Authentik.
    Authentik,
    /// Zitadel.
    Zitadel,
    /// Dex.
    Dex,
}

/// What of the directory the subject of a token is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UserMatch {
    /// The object id.
    Id,
    /// The external id, to the letter: what SCIM keeps of the provider's own id.
    ExternalId,
    /// The user principal name, in any case. Only for issuers whose users cannot choose their name.
    UserPrincipalName,
}

/// How a token of an application by itself is told from a user's. A subject who is a user of the directory is a user,
/// whatever a rule says, except by `idtyp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppOnlyRule {
    /// `idtyp` is `app`, and there is no `scp`.
    Idtyp,
    /// There are roles and no scopes.
    RolesWithoutScopes,
    /// The subject is the client.
    SubjectIsClient,
    /// `preferred_username` is `service-account-` and the client's id.
    KeycloakServiceAccount,
    /// A claim is one of some values, or begins with one: `{ claim = "sub", equals = ["1234"] }`.
    #[serde(untagged)]
    Claim {
        /// Where the claim stands.
        claim: String,
        /// Values it may have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        equals: Option<Vec<String>>,
        /// What it may begin with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<String>,
    },
}

/// Something in the settings of an issuer that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsProblem {
    /// The setting, in snake_case.
    pub setting: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for SettingsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.problem)
    }
}

impl IssuerSettings {
    /// The issuer as the verifier wants it, without keys yet.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn trusted(&self, tenant: TenantId) -> Result<TrustedIssuer, Vec<SettingsProblem>> {
        let mut problems = Problems(Vec::new());
        if let Err(why) = check_url(&self.issuer) {
            problems.add("issuer", why);
        }
        if self.audiences.is_empty() || self.audiences.iter().any(|audience| audience.trim().is_empty()) {
            problems.add("audiences", "say for whom tokens must be: at least one, and none empty".to_owned());
        }
        if self.audiences.len() > AUDIENCES_MAX {
            problems.add("audiences", format!("at most {AUDIENCES_MAX}"));
        }
        let algorithms = self.algorithms(&mut problems);
        let mapping = self.mapping(&mut problems);
        if problems.0.is_empty() {
            Ok(TrustedIssuer {
                issuers: vec![self.issuer.clone()],
                tenant,
                audiences: self.audiences.clone(),
                algorithms,
                keys: KeySet::default(),
                claims: ClaimMapping::Foreign(Box::new(mapping)),
            })
        } else {
            Err(problems.0)
        }
    }

    /// The permissions that the settings give, to be compared with those there are.
    pub fn permissions(&self) -> impl Iterator<Item = &str> {
        let mapped = self.permission_map.values().flat_map(OneOrMore::iter);
        mapped.chain(self.default_scopes.iter().map(String::as_str))
    }

    fn algorithms(&self, problems: &mut Problems) -> Vec<Algorithm> {
        if self.algorithms.is_empty() {
            return vec![Algorithm::Rs256];
        }
        let mut algorithms = Vec::new();
        for name in &self.algorithms {
            match Algorithm::from_header(name) {
                Some(algorithm) => algorithms.push(algorithm),
                None => {
                    problems.add("algorithms", format!("{name:?} is not one of RS256, PS256, ES256, EdDSA"));
                }
            }
        }
        algorithms
    }

    fn mapping(&self, problems: &mut Problems) -> Mapping {
        let defaults = Defaults::of(self.recipe);
        let mut paths = |setting, given: &Option<OneOrMore>, default: &[&str]| {
            let named: Vec<&str> = match given {
                Some(given) => given.iter().collect(),
                None => default.to_vec(),
            };
            let mut paths = Vec::new();
            for name in named.into_iter().flat_map(|name| self.for_each_audience(name)) {
                match name.parse::<ClaimPath>() {
                    Ok(path) => paths.push(path),
                    Err(error) => problems.add(setting, format!("{name:?}: {error}")),
                }
            }
            if paths.len() > ENTRIES_MAX {
                problems.add(setting, format!("at most {ENTRIES_MAX} claims"));
            }
            paths
        };
        let mut mapping = Mapping {
            issuer: self.issuer.clone(),
            user_id: paths("user_id_claim", &self.user_id_claim, defaults.user_id),
            user_match: self.user_match.clone().unwrap_or(vec![UserMatch::Id, UserMatch::ExternalId]),
            user_name: paths(
                "user_name_claim",
                &self.user_name_claim,
                &["preferred_username", "upn", "email"],
            ),
            client: paths("client_claim", &self.client_claim, defaults.client),
            scopes: paths("scope_claim", &self.scope_claim, defaults.scopes),
            roles: paths("roles_claim", &self.roles_claim, defaults.roles),
            permissions: BTreeMap::new(),
            default_scopes: self.default_scopes.clone(),
            app_only: self.app_only_rule.clone().unwrap_or(defaults.app_only),
            tenant: None,
        };
        for (setting, paths) in [("user_id_claim", &mapping.user_id), ("client_claim", &mapping.client)] {
            if paths.is_empty() {
                problems.add(setting, "name at least one claim".to_owned());
            }
        }
        let permissions = self.permission_map.iter();
        mapping.permissions =
            permissions.map(|(name, of)| (name.clone(), of.iter().map(str::to_owned).collect())).collect();
        if self.permission_map.len() > ENTRIES_MAX {
            problems.add("permission_map", format!("at most {ENTRIES_MAX} names"));
        }
        for rule in &mapping.app_only {
            if let AppOnlyRule::Claim { claim, equals, prefix } = rule {
                if let Err(error) = claim.parse::<ClaimPath>() {
                    problems.add("app_only_rule", format!("{claim:?}: {error}"));
                }
                if equals.is_some() == prefix.is_some() || prefix.as_deref() == Some("") {
                    problems
                        .add("app_only_rule", format!("{claim:?}: give `equals` or `prefix`, one of them"));
                }
            }
        }
        mapping.tenant = match (&self.tenant_claim, &self.tenant_value) {
            (None, None) => None,
            (Some(claim), Some(value)) if !value.is_empty() => match claim.parse() {
                Ok(path) => Some((path, value.clone())),
                Err(error) => {
                    problems.add("tenant_claim", format!("{claim:?}: {error}"));
                    None
                }
            },
            _ => {
                problems.add("tenant_claim", "tenant_claim and tenant_value need each other".to_owned());
                None
            }
        };
        mapping
    }

    /// A claim with each audience in the place for one.
    fn for_each_audience(&self, name: &str) -> Vec<String> {
        if !name.contains(AUDIENCE_PLACE) {
            return vec![name.to_owned()];
        }
        let audiences = self.audiences.iter().take(AUDIENCES_MAX);
        audiences.map(|audience| name.replace(AUDIENCE_PLACE, audience)).collect()
    }
}

struct Problems(Vec<SettingsProblem>);

impl Problems {
    fn add(&mut self, setting: &'static str, problem: String) {
        self.0.push(SettingsProblem { setting, problem });
    }
}

/// What counts where the settings say nothing. Source: identity C.
struct Defaults {
    user_id: &'static [&'static str],
    client: &'static [&'static str],
    scopes: &'static [&'static str],
    roles: &'static [&'static str],
    app_only: Vec<AppOnlyRule>,
}

impl Defaults {
    fn of(recipe: Option<Recipe>) -> Self {
        let general = Self {
            user_id: &["oid", "sub"],
            client: &["appid", "azp", "client_id"],
            scopes: &["scp", "scope"],
            roles: &["roles"],
            app_only: vec![AppOnlyRule::Idtyp, AppOnlyRule::SubjectIsClient],
        };
        match recipe {
            None => general,
            Some(Recipe::Entra) => Self {
                user_id: &["oid"],
                client: &["appid", "azp"],
                scopes: &["scp"],
                app_only: vec![AppOnlyRule::Idtyp, AppOnlyRule::RolesWithoutScopes],
                ..general
            },
            Some(Recipe::Keycloak) => Self {
                user_id: &["sub"],
                client: &["azp", "client_id"],
                scopes: &["scope"],
                roles: &["resource_access.{audience}.roles", "realm_access.roles"],
                app_only: vec![AppOnlyRule::KeycloakServiceAccount],
            },
            Some(Recipe::Authentik) => Self {
                user_id: &["sub"],
                client: &["azp", "aud"],
                scopes: &["scope"],
                roles: &["groups"],
                ..general
            },
            Some(Recipe::Zitadel) => Self {
                user_id: &["sub"],
                client: &["azp", "client_id"],
                scopes: &["scope"],
                roles: &["urn:zitadel:iam:org:project:roles", "urn:zitadel:iam:org:project:{audience}:roles"],
                ..general
            },
            Some(Recipe::Dex) => Self {
                user_id: &["sub"],
                client: &["azp", "aud"],
                scopes: &["groups"],
                roles: &[],
                app_only: vec![],
            },
        }
    }
}

/// Whether this can be an issuer: `https` (or plain `http` on this machine), no query, no fragment, nobody's password.
/// Source: OpenID Connect Discovery 1.0 §2.
fn check_url(issuer: &str) -> Result<(), String> {
    let not_a_url = || format!("{issuer:?} is not a URL such as https://id.example.org/realms/main");
    let url: http::Uri = issuer.parse().map_err(|_| not_a_url())?;
    let host = url.host().filter(|host| !host.is_empty()).ok_or_else(not_a_url)?;
    let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    match url.scheme_str() {
        Some("https") => {}
        Some("http") if is_here => {}
        _ => return Err("an issuer is an https URL (http only on localhost)".to_owned()),
    }
    if url.query().is_some() || issuer.contains('#') {
        return Err("an issuer has neither query nor fragment".to_owned());
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("an issuer has no user name in its URL".to_owned());
    }
    Ok(())
}
