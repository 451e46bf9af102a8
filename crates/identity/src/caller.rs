//! Who calls: what a verified token says, and nothing a caller merely claims.

use std::fmt;

use presence::{AppId, TenantId, Timestamp, UserId};
use uuid::Uuid;

/// The caller a verified token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The tenant whose data the caller may see.
    pub tenant: TenantId,
    /// The client application: `applicationId` of what it creates, and the key of its quota.
    pub app: AppId,
    /// The object id of who acts: the user, or the application's service principal.
    pub principal: Uuid,
    /// The signed-in user; none for an application acting by itself.
    pub user: Option<UserId>,
    /// Which kind of permission counts.
    pub kind: CallerKind,
    /// Delegated scopes (`scp`) or application roles (`roles`), by [`kind`](Self::kind). A name in the other claim
    /// counts for nothing. Source: presence-api §12.2.
    pub permissions: Permissions,
    /// When the token ends, clock skew not included.
    pub token_expires_at: Timestamp,
}

/// How an application acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// For a signed-in user.
    Delegated,
    /// By itself.
    Application,
}

/// Permission names, compared without regard to case (identity A.1: "be lenient about case").
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Permissions(Vec<String>);

impl Permissions {
    /// Whether `name` was granted.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|granted| granted.eq_ignore_ascii_case(name))
    }

    /// The names as the token spells them, in its order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether nothing was granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Into<String>> FromIterator<T> for Permissions {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).filter(|name| !name.is_empty()).collect())
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
