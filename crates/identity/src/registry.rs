//! The applications and users the development issuer knows, and how it keeps their secrets.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use presence::{AppId, Timestamp, UserId};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::assertion::ClientCertificate;
use crate::redirect::Redirects;

/// Where the issuer finds applications and users. The server's directory is behind it, so that what an administrator
/// adds is known at once.
pub trait Registry {
    /// The application with this client id.
    fn application(&self, id: AppId) -> Option<Application>;

    /// The user with this object id.
    fn user(&self, id: UserId) -> Option<User>;

    /// The user with this user principal name, in any case.
    fn user_by_name(&self, name: &str) -> Option<User>;

    /// Users to choose from on a page, at most so many.
    fn some_users(&self, max: usize) -> Vec<User>;

    /// Whether one of the applications is such.
    fn any_application(&self, is_such: &dyn Fn(&Application) -> bool) -> bool;
}

/// A registered application.
#[derive(Clone, Debug)]
pub struct Application {
    /// The client id.
    pub id: AppId,
    /// The name people know it by.
    pub display_name: String,
    /// The object id of its service principal: `oid` of the tokens it gets for itself.
    pub service_principal: Uuid,
    /// The secrets it may show. With neither these nor certificates it gets no tokens for itself.
    pub secrets: Vec<Secret>,
    /// The certificates it may sign assertions with.
    pub certificates: Vec<ClientCertificate>,
    /// Where a browser may be sent after a sign-in, and how codes that went there are redeemed.
    pub redirects: Redirects,
    /// The application permissions it was granted: `roles` of the tokens it gets for itself.
    pub roles: Vec<String>,
    /// The delegated permissions it may have for a user who agrees.
    pub scopes: Vec<String>,
}

impl Application {
    /// Whether it has a page that is served from `origin`, which may then read answers.
    pub fn has_page_at(&self, origin: &str) -> bool {
        self.redirects.spa.iter().any(|registered| registered.is_at(origin))
    }
}

/// A user of the tenant.
#[derive(Clone, Debug)]
pub struct User {
    /// The object id.
    pub id: UserId,
    /// The user principal name.
    pub user_principal_name: String,
    /// The display name.
    pub display_name: String,
}

/// A client secret.
#[derive(Clone, Debug)]
pub struct Secret {
    /// What is kept of it.
    pub digest: SecretDigest,
    /// When it ends; none: never.
    pub expires_at: Option<Timestamp>,
}

/// What is kept of a client secret: its SHA-256. Secrets are long and random, so there is nothing a slow hash would
/// protect.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest of `secret`.
    pub fn of(secret: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
        Self(bytes)
    }

    /// A digest made elsewhere, so that a configuration need not hold the secret itself.
    pub const fn from_bytes(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// The 32 bytes, to be kept: [`from_bytes`](Self::from_bytes) reads them again.
    pub const fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Whether `secret` is the one, in a time that does not depend on how much of it is right.
    pub fn matches(&self, secret: &str) -> bool {
        Self::of(secret).0.ct_eq(&self.0).into()
    }
}

/// A new client secret: 256 random bits as text. `None` when the machine has no randomness.
pub fn generate_secret() -> Option<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Hidden: even a digest lets guesses be tried offline.
impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(hidden)")
    }
}
