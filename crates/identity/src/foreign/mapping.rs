//! What the claims of a foreign issuer say about the caller.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use presence::{AppId, TenantId, Timestamp, UserId};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::path::ClaimPath;
use super::settings::{AppOnlyRule, UserMatch};
use crate::caller::{Caller, CallerKind, Permissions};
use crate::error::TokenError;

/// Makes GUIDs of subjects and clients that have none. Ours; never to be changed, since ids made with it are kept.
const SUBJECT_NAMESPACE: Uuid = Uuid::from_u128(0x3f0a_55c8_6f5e_4c0f_9d0b_6f2b_9c1e_7a41);

/// Who is in the directory, for issuers whose subjects are not object ids.
pub trait People {
    /// Whether there is a user with this object id.
    fn has(&self, tenant: TenantId, user: UserId) -> bool;

    /// The user whom this is the external id of, to the letter.
    fn by_external_id(&self, tenant: TenantId, id: &str) -> Option<UserId>;

    /// The user with this user principal name, in any case.
    fn by_name(&self, tenant: TenantId, name: &str) -> Option<UserId>;
}

/// An empty directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl People for Nobody {
    fn has(&self, _: TenantId, _: UserId) -> bool {
        false
    }

    fn by_external_id(&self, _: TenantId, _: &str) -> Option<UserId> {
        None
    }

    fn by_name(&self, _: TenantId, _: &str) -> Option<UserId> {
        None
    }
}

/// How a foreign issuer's claims are read. [`IssuerSettings::trusted`](super::IssuerSettings::trusted) makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Whose claims they are; a part of the ids that are made for its subjects.
    pub(super) issuer: String,
    pub(super) user_id: Vec<ClaimPath>,
    pub(super) user_match: Vec<UserMatch>,
    pub(super) user_name: Vec<ClaimPath>,
    pub(super) client: Vec<ClaimPath>,
    pub(super) scopes: Vec<ClaimPath>,
    pub(super) roles: Vec<ClaimPath>,
    pub(super) permissions: BTreeMap<String, Vec<String>>,
    pub(super) default_scopes: Vec<String>,
    pub(super) app_only: Vec<AppOnlyRule>,
    /// A claim and the value it must have. None: `tid` must be the tenant, where there is one.
    pub(super) tenant: Option<(ClaimPath, String)>,
}

/// What a token of a foreign issuer says, apart from the directory, which may change while the token lives.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    tenant: TenantId,
    app: AppId,
    id: Option<UserId>,
    external_id: Option<String>,
    names: Vec<String>,
    /// Who it is for us if the directory knows nobody: the GUID the issuer gives, or one that is made.
    principal: UserId,
    app_only: AppOnly,
    scopes: Permissions,
    roles: Permissions,
    token_expires_at: Timestamp,
}

/// Whether the caller is an application that acts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AppOnly {
    No,
    /// A rule says so; but a subject who is a user of the directory is a user.
    UnlessUser,
    Yes,
}

impl Mapping {
    /// Whether these claims, not believed yet, are of this mapping's tenant.
    pub(crate) fn is_of_tenant(&self, tenant: TenantId, claims: &Map<String, Value>) -> bool {
        match &self.tenant {
            Some((path, value)) => path.text(claims) == Some(value),
            None => {
                claims.get("tid").is_none_or(|tid| tid.as_str().is_some_and(|tid| tid.parse() == Ok(tenant)))
            }
        }
    }

    /// What verified claims say.
    ///
    /// # Errors
    /// [`TokenError::WrongTenant`], or [`TokenError::MissingClaim`] where nothing says who or what calls.
    pub(crate) fn read(
        &self,
        tenant: TenantId,
        claims: &Map<String, Value>,
        token_expires_at: Timestamp,
    ) -> Result<Subject, TokenError> {
        if !self.is_of_tenant(tenant, claims) {
            return Err(TokenError::WrongTenant);
        }
        let first = |paths: &[ClaimPath]| paths.iter().find_map(|path| path.text(claims));
        let subject = first(&self.user_id).ok_or(TokenError::MissingClaim("sub"))?;
        let client = self.client(claims).ok_or(TokenError::MissingClaim("azp"))?;
        let id = subject.parse::<UserId>().ok();
        let matches = |kind| self.user_match.contains(&kind);
        let names = match matches(UserMatch::UserPrincipalName) {
            true => self.user_name.iter().filter_map(|path| name(path, claims)).map(str::to_owned).collect(),
            false => Vec::new(),
        };
        Ok(Subject {
            tenant,
            app: client
                .parse()
                .unwrap_or_else(|_| AppId::from_u128(self.made_id("client", client).as_u128())),
            id: id.filter(|_| matches(UserMatch::Id)),
            external_id: matches(UserMatch::ExternalId).then(|| subject.to_owned()),
            names,
            principal: id.unwrap_or_else(|| UserId::from(self.made_id("subject", subject))),
            app_only: self.app_only(claims, subject, client),
            scopes: self.permissions(&self.scopes, claims, &self.default_scopes),
            roles: self.permissions(&self.roles, claims, &[]),
            token_expires_at,
        })
    }

    /// The client's id: a text, or an array of one (`aud` of an id token).
    fn client<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a str> {
        self.client.iter().find_map(|path| match path.find(claims)? {
            Value::Array(only) if only.len() == 1 => only[0].as_str(),
            value => value.as_str().filter(|text| !text.is_empty()),
        })
    }

    fn permissions(
        &self,
        paths: &[ClaimPath],
        claims: &Map<String, Value>,
        always: &[String],
    ) -> Permissions {
        let granted = paths.iter().flat_map(|path| path.names(claims));
        let mapped = granted.flat_map(|name| match self.permissions.get(name) {
            Some(permissions) => permissions.iter().map(String::as_str).collect(),
            None => vec![name],
        });
        mapped.chain(always.iter().map(String::as_str)).collect()
    }

    fn app_only(&self, claims: &Map<String, Value>, subject: &str, client: &str) -> AppOnly {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let has_scopes = || self.scopes.iter().any(|path| path.find(claims).is_some());
        let holds = |rule: &AppOnlyRule| match rule {
            AppOnlyRule::Idtyp => false,
            AppOnlyRule::RolesWithoutScopes => {
                !has_scopes() && self.roles.iter().any(|path| path.find(claims).is_some())
            }
            AppOnlyRule::SubjectIsClient => subject == client,
            AppOnlyRule::KeycloakServiceAccount => text("preferred_username")
                .and_then(|name| name.strip_prefix(KEYCLOAK_SERVICE_ACCOUNT))
                .is_some_and(|name| name.eq_ignore_ascii_case(client)),
            AppOnlyRule::Claim { claim, equals, prefix } => {
                claim.parse::<ClaimPath>().ok().and_then(|path| path.text(claims)).is_some_and(|found| {
                    equals.iter().flatten().any(|value| value == found)
                        || prefix.as_ref().is_some_and(|prefix| found.starts_with(prefix.as_str()))
                })
            }
        };
        // As Entra: a scope makes a token delegated whatever else it says, then `idtyp` decides.
        let is_delegated = text("scp").is_some();
        match text("idtyp") {
            Some("app") if !is_delegated && self.app_only.contains(&AppOnlyRule::Idtyp) => AppOnly::Yes,
            Some("user") => AppOnly::No,
            _ if self.app_only.iter().any(holds) => AppOnly::UnlessUser,
            _ => AppOnly::No,
        }
    }

    /// A GUID for what has none: always the same one for the same issuer and name.
    fn made_id(&self, kind: &str, name: &str) -> Uuid {
        // No part contains a line break but the last one, so different parts never make the same text.
        let text = format!("{kind}\n{}\n{name}", self.issuer);
        let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        context.update(SUBJECT_NAMESPACE.as_bytes());
        context.update(text.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&context.finish().as_ref()[..16]);
        // Version 5 of RFC 9562: SHA-1 of a namespace and a name.
        uuid::Builder::from_sha1_bytes(bytes).into_uuid()
    }
}

/// How Keycloak calls the user behind a client: this, and the client's id in lower case.
const KEYCLOAK_SERVICE_ACCOUNT: &str = "service-account-";

/// A name to be looked up. An address that nobody verified is no name: whoever may write it would be whom they like.
fn name<'a>(path: &ClaimPath, claims: &'a Map<String, Value>) -> Option<&'a str> {
    let is_verified = || claims.get("email_verified") == Some(&Value::Bool(true));
    path.text(claims).filter(|_| path.to_string() != "email" || is_verified())
}

impl Subject {
    /// The caller, as the directory is now.
    pub(crate) fn caller(&self, people: &(impl People + ?Sized)) -> Caller {
        let user = match self.app_only {
            AppOnly::Yes => None,
            AppOnly::UnlessUser => self.user(people),
            AppOnly::No => Some(self.user(people).unwrap_or(self.principal)),
        };
        Caller {
            tenant: self.tenant,
            app: self.app,
            principal: user.unwrap_or(self.principal).as_uuid(),
            user,
            kind: if user.is_some() { CallerKind::Delegated } else { CallerKind::Application },
            permissions: if user.is_some() { self.scopes.clone() } else { self.roles.clone() },
            token_expires_at: self.token_expires_at,
        }
    }

    /// Whether [`caller`](Self::caller) would still be of this user.
    pub(crate) fn is_still(&self, caller: &Caller, people: &(impl People + ?Sized)) -> bool {
        match self.app_only {
            AppOnly::Yes => true,
            AppOnly::UnlessUser => self.user(people) == caller.user,
            AppOnly::No => Some(self.user(people).unwrap_or(self.principal)) == caller.user,
        }
    }

    fn user(&self, people: &(impl People + ?Sized)) -> Option<UserId> {
        let tenant = self.tenant;
        let by_id = || self.id.filter(|id| people.has(tenant, *id));
        let by_external_id = || people.by_external_id(tenant, self.external_id.as_deref()?);
        let by_name = || self.names.iter().find_map(|name| people.by_name(tenant, name));
        // Somebody may have been entered under the id that is made of issuer and subject.
        let by_made_id = || Some(self.principal).filter(|id| self.id.is_none() && people.has(tenant, *id));
        by_id().or_else(by_external_id).or_else(by_made_id).or_else(by_name)
    }
}
