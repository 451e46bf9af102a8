//! The claims of an access token, and the rule that makes a caller of them (identity A.1).

use presence::{AppId, TenantId, Timestamp, UserId};
use serde::Deserialize;
use uuid::Uuid;

use crate::caller::{Caller, CallerKind, Permissions};
use crate::error::TokenError;

/// The header members that matter.
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
    /// Extensions the reader must understand. We understand none, so a token that has some is refused (RFC 7515 §4.1.11).
    pub(crate) crit: Option<serde::de::IgnoredAny>,
}

/// The claims that every issuer writes alike (RFC 7519 §4.1). One given twice or of another type makes the token malformed.
#[derive(Deserialize)]
pub(crate) struct Registered {
    pub(crate) iss: Option<String>,
    aud: Option<OneOrMany>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// The claims that say who calls, as Entra names them. A member given twice or of another type makes the token malformed.
#[derive(Deserialize)]
pub(crate) struct Claims {
    tid: Option<String>,
    oid: Option<String>,
    scp: Option<String>,
    roles: Option<Vec<String>>,
    idtyp: Option<String>,
    appid: Option<String>,
    azp: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Registered {
    /// Whether the token is meant for one of `audiences`. A token for nobody is not meant for us.
    pub(crate) fn is_for(&self, audiences: &[String]) -> bool {
        match &self.aud {
            None => false,
            Some(OneOrMany::One(audience)) => audiences.contains(audience),
            Some(OneOrMany::Many(several)) => several.iter().any(|audience| audiences.contains(audience)),
        }
    }

    /// The lifetime, without skew.
    pub(crate) fn lifetime(&self) -> Result<Lifetime, TokenError> {
        let not_after = self.exp.and_then(instant).ok_or(TokenError::MissingClaim("exp"))?;
        let not_before = match self.nbf {
            Some(nbf) => Some(instant(nbf).ok_or(TokenError::MissingClaim("nbf"))?),
            None => None,
        };
        Ok(Lifetime { not_before, not_after })
    }
}

impl Claims {
    /// The caller, in the manner of Entra: `oid` is who, `appid` or `azp` is what, `scp` or `roles` is allowed.
    pub(crate) fn into_caller(self, tenant: TenantId, lifetime: Lifetime) -> Result<Caller, TokenError> {
        if self.tid.is_some_and(|tid| tid.parse() != Ok(tenant)) {
            return Err(TokenError::WrongTenant);
        }
        // `scp` makes a token delegated whatever else it says; `idtyp` decides when it is absent.
        let (kind, permissions) = match (self.scp, self.idtyp.as_deref(), self.roles) {
            (Some(scopes), _, _) => (CallerKind::Delegated, scopes.split(' ').collect()),
            (None, Some("app"), roles) => (CallerKind::Application, roles.into_iter().flatten().collect()),
            (None, Some("user"), _) => (CallerKind::Delegated, Permissions::default()),
            (None, _, Some(roles)) => (CallerKind::Application, roles.into_iter().collect()),
            (None, _, None) => return Err(TokenError::MissingClaim("scp")),
        };
        let principal: Uuid = self
            .oid
            .and_then(|oid| oid.parse::<UserId>().ok())
            .map(UserId::as_uuid)
            .ok_or(TokenError::MissingClaim("oid"))?;
        let app: AppId = self
            .appid
            .or(self.azp)
            .and_then(|app| app.parse().ok())
            .ok_or(TokenError::MissingClaim("appid"))?;
        let user = match kind {
            CallerKind::Delegated => Some(UserId::from(principal)),
            CallerKind::Application => None,
        };
        Ok(Caller { tenant, app, principal, user, kind, permissions, token_expires_at: lifetime.not_after })
    }
}

/// When a token counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    not_before: Option<Timestamp>,
    not_after: Timestamp,
}

impl Lifetime {
    /// When it ends.
    pub(crate) fn ends_at(self) -> Timestamp {
        self.not_after
    }

    /// Whether the token counts at `now`, give or take `skew_secs` at both ends; the last second of skew is included.
    pub(crate) fn check(self, now: Timestamp, skew_secs: i64) -> Result<(), TokenError> {
        if now.as_second() > self.not_after.as_second().saturating_add(skew_secs) {
            return Err(TokenError::Expired);
        }
        match self.not_before {
            Some(start) if now.as_second() < start.as_second().saturating_sub(skew_secs) => {
                Err(TokenError::NotYetValid)
            }
            _ => Ok(()),
        }
    }
}

/// A NumericDate. Some libraries write fractions of a second (identity B.4); they are cut off.
fn instant(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_second(seconds.floor() as i64).ok()
}
