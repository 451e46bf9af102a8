//! The key ring: bearer tokens in, tokens out, certificates.
//!
//! Five parts that share nothing but their keys:
//! - [`Verifier`] reads a bearer token and says who calls ([`Caller`]);
//! - [`IssuerSettings`], [`Mapping`] and [`KeyKeeper`] are what it takes to believe tokens of somebody else's issuer;
//! - [`Issuer`] is the embedded development issuer: it mints tokens and answers the few paths by which client
//!   libraries find and use it;
//! - [`Publisher`] signs what tells receivers of notifications that these come from here;
//! - [`LocalCa`] and [`ReloadableCertificate`] hold the certificates the server shows.
//!
//! There is no socket here, no clock and no environment: requests, instants and new identifiers are arguments. Whether a
//! caller *may* do something is not decided here either; that is a row of the operations table against
//! [`Caller::permissions`]. Contract: the identity sheet.
#![warn(missing_docs)]

mod aadsts;
mod assertion;
mod authorize;
mod ca;
mod caller;
mod certificate;
mod claims;
mod content;
mod discovery;
mod error;
mod files;
mod foreign;
mod form;
mod grants;
mod issuer;
mod jwks;
mod key_ring;
mod keys;
mod last_token;
mod pages;
mod publisher;
mod redirect;
mod refresh;
mod registry;
mod scopes;
mod tls;
mod token_endpoint;
mod validation;
mod verify;

pub use assertion::{
    ASSERTION_BYTES_MAX, ASSERTION_LIFETIME_MAX_SECS, CLIENT_CERTIFICATES_MAX, ClientCertificate,
    NoClientCertificate,
};
pub use ca::{CaError, LocalCa};
pub use caller::{Caller, CallerKind, Permissions};
pub use certificate::CertificateFacts;
pub use content::{
    CONTENT_KEY_BYTES, CertificateProblem, ContentCertificate, ContentError, ContentKey, EncryptedContent,
};
pub use error::{TokenError, bearer};
pub use foreign::{
    ASKED_FETCH_INTERVAL, AUDIENCES_MAX, AppOnlyRule, Asked, CLAIM_PATH_CHARS_MAX, ClaimPath, ClaimPathError,
    DISCOVERY_BYTES_MAX, Discovery, DocumentProblem, FetchProblem, ISSUERS_PER_TENANT_MAX, IssuerSettings,
    JWKS_BYTES_MAX, KEYS_FRESH, KEYS_KEPT_MAX, KEYS_MAX, KeyKeeper, KeyState, Mapping, Nobody, OneOrMore,
    People, RETRY_MAX, RETRY_MIN, Recipe, SettingsProblem, UserMatch, compact_key_set, key_set,
};
pub use grants::{CODE_LIFETIME, DEVICE_CODE_LIFETIME, DEVICE_POLL_INTERVAL_SECS, GRANTS_MAX};
pub use issuer::{ACCESS_TOKEN_LIFETIME_SECS, Issuer, IssuerConfig, Request};
pub use jwks::{Algorithm, KeySet, VerificationKey};
pub use key_ring::{KEY_OVERLAP_DEFAULT, KEY_OVERLAP_MAX, KeyFolderState, KeyRing, RETIRED_KEYS_MAX};
pub use keys::{KeyError, SigningKey};
pub use last_token::LastToken;
pub use publisher::{CHANGE_NOTIFICATION_PUBLISHER, Publisher};
pub use redirect::{REDIRECT_URI_BYTES_MAX, REDIRECT_URIS_MAX, RedirectUri, RedirectUriError, Redirects};
pub use refresh::{PAGE_REFRESH_TOKEN_LIFETIME_SECS, REFRESH_TOKEN_LIFETIME_SECS};
pub use registry::{Application, Registry, Secret, SecretDigest, User, generate_secret};
pub use tls::{LocalCertificate, ReloadableCertificate, TlsError, server_config};
pub use validation::{NoKeySet, ValidationProblem, ValidationToken, validation_keys};
pub use verify::{
    CLOCK_SKEW_SECS, ClaimMapping, GRAPH_AUDIENCES, Remembrance, TOKEN_BYTES_MAX, TrustedIssuer,
    VERIFIED_TOKENS_MAX, Verifier,
};
