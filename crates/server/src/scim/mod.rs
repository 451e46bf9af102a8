//! SCIM 2.0: an identity provider keeps the users of a tenant in step (RFC 7643, RFC 7644).
//!
//! Users only, and of them what the directory keeps; whatever else a provider sends is accepted and dropped, as the
//! specification allows. [`attributes`] maps a user to a SCIM resource and back, [`filter`] reads and evaluates filters,
//! [`patch`] applies patches to the resource, [`users`] answers requests.

mod attributes;
mod discovery;
mod filter;
mod patch;
mod users;

use graph::GraphError;
use serde_json::json;

/// `Content-Type` of every answer (RFC 7644 §8.1).
pub(crate) const CONTENT_TYPE: &str = "application/scim+json;charset=utf-8";
/// The schema of a user.
pub(crate) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The schema of what an employer adds to a user.
pub(crate) const ENTERPRISE_USER: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// Resources on a page when `count` names no number.
pub(crate) const PAGE_DEFAULT: usize = 100;
/// Resources on a page at most.
pub(crate) const PAGE_MAX: usize = 1_000;
/// Operations in one patch. Ours: a provider sends one for each attribute that changed.
const PATCH_OPERATIONS_MAX: usize = 1_000;
/// Longest value of an attribute, in characters. Ours.
const VALUE_CHARS_MAX: usize = 1_024;
/// Values of one attribute that has several. Ours.
const VALUES_MAX: usize = 100;

/// What SCIM calls an error (RFC 7644 §3.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScimType {
    InvalidFilter,
    TooMany,
    Uniqueness,
    Mutability,
    InvalidSyntax,
    InvalidPath,
    NoTarget,
    InvalidValue,
}

impl ScimType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidFilter => "invalidFilter",
            Self::TooMany => "tooMany",
            Self::Uniqueness => "uniqueness",
            Self::Mutability => "mutability",
            Self::InvalidSyntax => "invalidSyntax",
            Self::InvalidPath => "invalidPath",
            Self::NoTarget => "noTarget",
            Self::InvalidValue => "invalidValue",
        }
    }
}

/// A request that SCIM has a name for refusing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScimError {
    pub(crate) scim_type: ScimType,
    pub(crate) detail: String,
}

impl ScimError {
    fn new(scim_type: ScimType, detail: impl Into<String>) -> Self {
        Self { scim_type, detail: detail.into() }
    }
}

/// An error in SCIM's words.
pub(crate) fn error_body(error: &GraphError, scim_type: Option<ScimType>) -> Vec<u8> {
    let mut body = json!({
        "schemas": [ERROR],
        // A string, says the specification.
        "status": error.status.to_string(),
        "detail": if error.message.is_empty() { error.code.as_str() } else { &error.message },
    });
    if let Some(scim_type) = scim_type {
        body["scimType"] = scim_type.as_str().into();
    }
    serde_json::to_vec(&body).unwrap_or_default()
}
