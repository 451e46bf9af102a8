//! The one door: every error of the crates behind becomes a Graph error here, and nowhere else.
//!
//! Each `match` is exhaustive, so a new kind of failure asks its question at compile time. What a caller must not see (a
//! database's words, a path) travels beside the Graph error as its cause, to the log.

use engine::EngineError;
use engine::notify::SubscribeError;
use graph::GraphError;
use graph::error::TokenProblem;
use identity::TokenError;
use presence::PresenceError;
use store::StoreError;

use crate::directory::DirectoryError;
use crate::http::body::BodyError;
use crate::limits::OVERLOAD_RETRY_SECS;
use crate::scim::{ScimError, ScimType};

/// How long a caller should wait before trying a store that did not answer, in seconds.
const STORE_RETRY_SECS: u32 = 1;

/// Why a request was not carried out: what the caller is told, and what only the log is.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: GraphError,
    pub(crate) cause: Option<String>,
    /// What SCIM calls it, where the caller speaks SCIM.
    pub(crate) scim_type: Option<ScimType>,
}

impl Refusal {
    fn because(error: GraphError, cause: impl ToString) -> Self {
        Self { error, cause: Some(cause.to_string()), scim_type: None }
    }
}

impl From<GraphError> for Refusal {
    fn from(error: GraphError) -> Self {
        Self { error, cause: None, scim_type: None }
    }
}

impl From<ScimError> for Refusal {
    fn from(ScimError { scim_type, detail }: ScimError) -> Self {
        let error = match scim_type {
            ScimType::Uniqueness => GraphError::conflict(detail),
            _ => GraphError::bad_request(detail),
        };
        Self { error, cause: None, scim_type: Some(scim_type) }
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        // SCIM wants to know which kind it is, Graph only that it is one. Who has the name already is no secret to somebody
        // who may read the whole tenant; the id that was made for a user who is not to be says nothing to anybody.
        let (scim_type, detail) = match &error {
            DirectoryError::DuplicateName { name, holder, .. } => {
                (ScimType::Uniqueness, format!("{name} is the user principal name of {holder} already"))
            }
            DirectoryError::DuplicateExternalId { id, holder, .. } => {
                (ScimType::Uniqueness, format!("{id:?} is the external id of {holder} already"))
            }
            DirectoryError::UnknownZone { .. } | DirectoryError::NoName(_) => {
                (ScimType::InvalidValue, error.to_string())
            }
            DirectoryError::TooManyUsers => (ScimType::TooMany, error.to_string()),
        };
        ScimError { scim_type, detail }.into()
    }
}

impl From<PresenceError> for Refusal {
    fn from(error: PresenceError) -> Self {
        GraphError::from(error).into()
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Presence(error) => error.into(),
            EngineError::Store(error) => error.into(),
            EngineError::Contention => Self::because(GraphError::unavailable(STORE_RETRY_SECS), error),
        }
    }
}

impl From<SubscribeError> for Refusal {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Conflict { existing, is_same: true } => {
                GraphError::same_subscription_exists(existing.0).into()
            }
            SubscribeError::Conflict { is_same: false, .. } => {
                GraphError::another_subscription_exists().into()
            }
            SubscribeError::QuotaExceeded { limit } => GraphError::too_many_subscriptions(limit).into(),
            SubscribeError::NotFound => GraphError::subscription_not_found().into(),
            SubscribeError::TooManyUsers => GraphError::too_many_users_in_subscription().into(),
            SubscribeError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Conflict => {
                Self::because(GraphError::unavailable(STORE_RETRY_SECS), error)
            }
            StoreError::TooLarge(_) => Self::because(GraphError::body_too_large(), error),
            StoreError::Corrupt(_) => Self::because(GraphError::internal(), error),
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => GraphError::body_too_large().into(),
            BodyError::NoRoom => GraphError::unavailable(OVERLOAD_RETRY_SECS).into(),
            BodyError::UnknownEncoding => GraphError::unsupported_content_encoding().into(),
            // The text makes SDKs that compress try again without (presence-api §18).
            BodyError::Undecodable | BodyError::TooSlow | BodyError::Broken => Self::because(
                GraphError::unreadable_payload(),
                format!("the body could not be read: {error:?}"),
            ),
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        let problem = match error {
            TokenError::Empty => TokenProblem::Empty,
            TokenError::NotAJwt => TokenProblem::Malformed,
            TokenError::Expired | TokenError::NotYetValid => TokenProblem::Expired,
            TokenError::WrongAudience => TokenProblem::WrongAudience,
            TokenError::TooLarge
            | TokenError::UnknownKey
            | TokenError::BadSignature
            | TokenError::WrongAlgorithm
            | TokenError::WrongIssuer
            | TokenError::WrongTenant
            | TokenError::MissingClaim(_) => TokenProblem::Invalid,
        };
        Self::because(GraphError::invalid_token(problem), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refused_token_has_the_words_of_its_row() {
        let plain = "Access token validation failure.";
        for (error, words) in [
            (TokenError::Empty, "Access token is empty."),
            (TokenError::Expired, "Access token has expired or is not yet valid."),
            (TokenError::NotYetValid, "Access token has expired or is not yet valid."),
            (TokenError::NotAJwt, "CompactToken parsing failed with error code: 80049217"),
            (TokenError::WrongAudience, "Access token validation failure. Invalid audience."),
            (TokenError::TooLarge, plain),
            (TokenError::UnknownKey, plain),
            (TokenError::BadSignature, plain),
            (TokenError::WrongAlgorithm, plain),
            (TokenError::WrongIssuer, plain),
            (TokenError::WrongTenant, plain),
            (TokenError::MissingClaim("oid"), plain),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!((refusal.error.status, &*refusal.error.message), (401, words), "{error}");
            assert!(refusal.cause.is_some(), "the log says more");
        }
    }

    #[test]
    fn what_a_store_says_reaches_the_log_and_not_the_caller() {
        for (error, status) in [
            (StoreError::Unavailable("/var/lib/secret-path".to_owned()), 503),
            (StoreError::Conflict, 503),
            (StoreError::Corrupt("/var/lib/secret-path".to_owned()), 500),
            (StoreError::TooLarge("/var/lib/secret-path".to_owned()), 413),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!(refusal.error.status, status);
            assert!(!refusal.error.message.contains("secret-path"));
            assert!(refusal.cause.is_some());
        }
    }
}
