//! The issuer's errors: AADSTS numbers, their words and the shape they come in (identity B.7).

use http::StatusCode;
use presence::{AppId, Timestamp};
use serde::Serialize;
use uuid::Uuid;

/// What the issuer refuses. The display text is what follows `AADSTS<number>: `, in Entra's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "Tenant '{0}' not found. Check to make sure you have the correct tenant ID and are signing into the correct \
         cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for \
         the tenant."
    )]
    UnknownTenant(String),
    #[error("The authorization_endpoint '{0}' is not of this instance.")]
    UnknownInstance(String),
    #[error("The request body must contain the following parameter: '{0}'.")]
    MissingParameter(&'static str),
    #[error("The parameter '{0}' is given more than once, or in more than one place.")]
    RepeatedParameter(&'static str),
    #[error("The request body is too long.")]
    BodyTooLong,
    #[error("The endpoint only accepts {0} requests.")]
    WrongMethod(&'static str),
    #[error("The app requested an unsupported grant type '{0}'.")]
    UnsupportedGrant(String),
    #[error(
        "Application with identifier '{client}' was not found in the directory '{tenant}'. This can happen if the \
         application has not been installed by the administrator of the tenant or consented to by any user in the \
         tenant. You may have sent your authentication request to the wrong tenant."
    )]
    UnknownClient { client: String, tenant: String },
    #[error("The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")]
    MissingSecret,
    #[error(
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not \
         the client secret ID, for a secret added to app '{0}'."
    )]
    WrongSecret(AppId),
    #[error("The provided client secret keys for app '{0}' are expired.")]
    ExpiredSecret(AppId),
    #[error(
        "The provided request must include a 'scope' input parameter. The provided value for the input parameter \
         'scope' is not valid. The scope {0} is not valid."
    )]
    InvalidScope(String),
    #[error(
        "The provided value for scope {0} is not valid. Client credential flows must have a scope value with /.default \
         suffixed to the resource identifier (application ID URI)."
    )]
    ScopeNotDefault(String),
    #[error(
        "The resource principal named {resource} was not found in the tenant named {tenant}. This can happen if the \
         application has not been installed by the administrator of the tenant or consented to by any user in the \
         tenant. You might have sent your authentication request to the wrong tenant."
    )]
    UnknownResource { resource: String, tenant: String },
    #[error("The service is temporarily unavailable.")]
    NoSignature,
}

impl Refusal {
    /// HTTP status, `error` and number.
    pub(crate) const fn row(&self) -> (StatusCode, &'static str, u32) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
        match self {
            Self::UnknownTenant(_) => (BAD, "invalid_request", 90002),
            Self::UnknownInstance(_) => (BAD, "invalid_instance", 50049),
            Self::MissingParameter(_) => (BAD, "invalid_request", 900_144),
            Self::RepeatedParameter(_) => (BAD, "invalid_request", 90100),
            Self::BodyTooLong => (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", 90015),
            Self::WrongMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request", 900_561),
            Self::UnsupportedGrant(_) => (BAD, "unsupported_grant_type", 70003),
            Self::UnknownClient { .. } => (BAD, "unauthorized_client", 700_016),
            Self::MissingSecret => (UNAUTHORIZED, "invalid_client", 7_000_218),
            Self::WrongSecret(_) => (UNAUTHORIZED, "invalid_client", 7_000_215),
            Self::ExpiredSecret(_) => (UNAUTHORIZED, "invalid_client", 7_000_222),
            Self::InvalidScope(_) => (BAD, "invalid_scope", 70011),
            Self::ScopeNotDefault(_) => (BAD, "invalid_scope", 1_002_012),
            Self::UnknownResource { .. } => (BAD, "invalid_resource", 500_011),
            Self::NoSignature => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", 90033),
        }
    }

    /// The body of the answer. Libraries show `error_description` to people, so it carries everything.
    pub(crate) fn body(&self, trace_id: Uuid, correlation_id: Uuid, now: Timestamp) -> ErrorBody {
        let (_, error, number) = self.row();
        let timestamp = now.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        ErrorBody {
            error,
            error_description: format!(
                "AADSTS{number}: {self} Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {timestamp}"
            ),
            error_codes: [number],
            timestamp,
            trace_id: trace_id.to_string(),
            correlation_id: correlation_id.to_string(),
        }
    }
}

/// The JSON of a refusal.
#[derive(Serialize)]
pub(crate) struct ErrorBody {
    error: &'static str,
    error_description: String,
    error_codes: [u32; 1],
    timestamp: String,
    trace_id: String,
    correlation_id: String,
}
