//! Issuers that are somebody else's: any OpenID provider an organisation has already.
//!
//! - [`IssuerSettings`] is what an operator writes about one, with a [`Recipe`] for each product we know;
//! - [`Mapping`] makes a caller of its claims, whatever they are called;
//! - [`Discovery`] and [`key_set`] read what it publishes;
//! - [`KeyKeeper`] decides when to ask for that, and for how long to go on without an answer.
//!
//! Nothing here opens a socket or looks at a clock: the server fetches, and says what came and when. Contract: the
//! identity sheet, section C.

mod document;
mod keeper;
mod mapping;
mod path;
mod settings;

pub use document::{
    DISCOVERY_BYTES_MAX, Discovery, DocumentProblem, JWKS_BYTES_MAX, KEYS_MAX, compact_key_set, key_set,
};
pub use keeper::{
    ASKED_FETCH_INTERVAL, Asked, FetchProblem, KEYS_FRESH, KEYS_KEPT_MAX, KeyKeeper, KeyState, RETRY_MAX,
    RETRY_MIN,
};
pub(crate) use mapping::Subject;
pub use mapping::{Mapping, Nobody, People};
pub use path::{CLAIM_PATH_CHARS_MAX, ClaimPath, ClaimPathError};
pub use settings::{
    AUDIENCES_MAX, AppOnlyRule, ISSUERS_PER_TENANT_MAX, IssuerSettings, OneOrMore, Recipe, SettingsProblem,
    UserMatch,
};
