//! Errors as callers see them: the catalogue of codes and texts, and the envelope. Sources: §13, identity A.2, A.3, D.3.
//!
//! Clients branch on status and code; messages are for people. Where the reference knows the exact text it is used
//! as it is, because some clients compare it (the unreadable-payload text makes SDKs retry without compression).

use std::borrow::Cow;

use jiff::Timestamp;
use presence::{PresenceError, UserId};

use crate::operations::Method;
use crate::{json, time};

/// The `code` of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A request that cannot be read or routed.
    BadRequest,
    /// A request that was read, with a member that is missing or not allowed.
    InvalidArgument,
    /// The directory's "bad request"; also every 405.
    RequestBadRequest,
    /// A query the directory does not support.
    RequestUnsupportedQuery,
    /// The directory knows no such user.
    RequestResourceNotFound,
    /// No token, or one that is not accepted.
    InvalidAuthenticationToken,
    /// The token's user or application is not in the directory.
    AuthorizationIdentityNotFound,
    /// A delegated caller wrote to another user.
    Unauthorized,
    /// The token lacks the permission (presence surface).
    Forbidden,
    /// The token lacks the permission (directory surface).
    AuthorizationRequestDenied,
    /// There is no such thing.
    NotFound,
    /// What is to be created is there already, or what is to be changed may not be.
    Conflict,
    /// The user has no photo.
    ImageNotFound,
    /// A reader of the change feed is behind what is kept of it.
    ResyncRequired,
    /// A subscription that is not as it must be.
    InvalidRequest,
    /// An endpoint that did not complete the handshake.
    ValidationError,
    /// A refusal by the workload behind the subscription service.
    ExtensionError,
    /// There is no such subscription.
    ResourceNotFound,
    /// The body is too large.
    RequestEntityTooLarge,
    /// A content coding that is not understood.
    UnsupportedMediaType,
    /// A part of a batch whose predecessor failed.
    FailedDependency,
    /// Too many requests.
    TooManyRequests,
    /// A fault of this server.
    InternalServerError,
    /// This server cannot serve now.
    ServiceUnavailable,
    /// Something behind this server did not answer in time.
    GatewayTimeout,
}

impl ErrorCode {
    /// The exact wire string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::InvalidArgument => "InvalidArgument",
            Self::RequestBadRequest => "Request_BadRequest",
            Self::RequestUnsupportedQuery => "Request_UnsupportedQuery",
            Self::RequestResourceNotFound => "Request_ResourceNotFound",
            Self::InvalidAuthenticationToken => "InvalidAuthenticationToken",
            Self::AuthorizationIdentityNotFound => "Authorization_IdentityNotFound",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::AuthorizationRequestDenied => "Authorization_RequestDenied",
            Self::NotFound => "NotFound",
            Self::Conflict => "Conflict",
            Self::ImageNotFound => "ImageNotFound",
            Self::ResyncRequired => "resyncRequired",
            Self::InvalidRequest => "InvalidRequest",
            Self::ValidationError => "ValidationError",
            Self::ExtensionError => "ExtensionError",
            Self::ResourceNotFound => "ResourceNotFound",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::FailedDependency => "FailedDependency",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalServerError => "InternalServerError",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::GatewayTimeout => "GatewayTimeout",
        }
    }
}

/// Why a token was not accepted. Source: identity A.2, the first text of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenProblem {
    /// No `Authorization` header, or an empty token.
    Empty,
    /// Before its time or past it.
    Expired,
    /// Not a JWT.
    Malformed,
    /// Meant for somebody else.
    WrongAudience,
    /// Signature, issuer, algorithm or anything else.
    Invalid,
}

/// An error ready for the wire: what the caller is told, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphError {
    /// The HTTP status.
    pub status: u16,
    /// The machine-readable code.
    pub code: ErrorCode,
    /// The text for people; may be empty.
    pub message: Cow<'static, str>,
    /// For 405: the methods of the `Allow` header, which may be none.
    pub allow: Option<Vec<Method>>,
    /// For 429 and 503: whole seconds for the `Retry-After` header, at least 1.
    pub retry_after_secs: Option<u32>,
}

impl GraphError {
    /// An error of this status, code and text.
    pub fn new(status: u16, code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), allow: None, retry_after_secs: None }
    }

    /// 400 `BadRequest` with a text of its own.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, ErrorCode::BadRequest, message)
    }

    /// 400 `InvalidArgument` with a text of its own.
    pub fn invalid_argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, ErrorCode::InvalidArgument, message)
    }

    /// 400: a required member is missing. `member` is in PascalCase.
    pub fn required(member: &str) -> Self {
        Self::invalid_argument(format!("[{member}]: The {member} field is required."))
    }

    /// 400: a value outside its range. `member` is in PascalCase.
    pub fn out_of_range(member: &str) -> Self {
        Self::invalid_argument(format!("The provided [{member}] is out of range."))
    }

    /// 400: not JSON, a wrong type, a wrong Content-Type or a compressed body. The exact text makes SDKs retry
    /// uncompressed (§18).
    pub fn unreadable_payload() -> Self {
        Self::bad_request(
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid \
             JSON format.",
        )
    }

    /// 400: no body where members are needed.
    pub fn empty_payload() -> Self {
        Self::bad_request("Empty Payload. JSON content expected.")
    }

    /// 400: `/me` with an application token.
    pub fn me_needs_delegated() -> Self {
        Self::bad_request("/me request is only valid with delegated authentication flow.")
    }

    /// 400: a path segment that leads nowhere.
    pub fn segment_not_found(segment: &str) -> Self {
        Self::bad_request(format!("Resource not found for the segment '{segment}'."))
    }

    /// 400: the first path segment is neither `v1.0` nor `beta`.
    pub fn invalid_version(version: &str) -> Self {
        Self::bad_request(format!("Invalid version: {version}"))
    }

    /// 400: `$select` of a property that presence does not have.
    pub fn no_such_presence_property(property: &str) -> Self {
        Self::bad_request(format!(
            "Could not find a property named '{property}' on type 'microsoft.graph.presence'."
        ))
    }

    /// 400: `$select` or `$expand` of a property that users do not have.
    pub fn no_such_user_property(property: &str) -> Self {
        Self::bad_request(format!(
            "Parsing OData Select and Expand failed: Could not find a property named '{property}' on type \
             'microsoft.graph.user'."
        ))
    }

    /// 400 `Request_UnsupportedQuery` with a text of its own.
    pub fn unsupported_query(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, ErrorCode::RequestUnsupportedQuery, message)
    }

    /// 400: a `$filter` that cannot be read. `detail` says where and why.
    pub fn invalid_filter(detail: &str) -> Self {
        Self::bad_request(format!("Invalid filter clause: {detail}"))
    }

    /// 401 with the code every client looks for.
    pub fn invalid_token(problem: TokenProblem) -> Self {
        let message = match problem {
            TokenProblem::Empty => "Access token is empty.",
            TokenProblem::Expired => "Access token has expired or is not yet valid.",
            TokenProblem::Malformed => "CompactToken parsing failed with error code: 80049217",
            TokenProblem::WrongAudience => "Access token validation failure. Invalid audience.",
            TokenProblem::Invalid => "Access token validation failure.",
        };
        Self::new(401, ErrorCode::InvalidAuthenticationToken, message)
    }

    /// 401: the token is good, but its user is disabled or not in the directory.
    pub fn identity_not_found() -> Self {
        Self::new(
            401,
            ErrorCode::AuthorizationIdentityNotFound,
            "The identity of the calling application could not be established.",
        )
    }

    /// 401: a delegated caller wrote to another user. The code and the end of the text are assumed (§12.2).
    pub fn presence_of_another_user(caller: UserId) -> Self {
        Self::new(
            401,
            ErrorCode::Unauthorized,
            format!("Cannot set the presence of another user. Authenticated user: {caller}"),
        )
    }

    /// 403 of the presence surface: the message is the empty string.
    pub fn forbidden() -> Self {
        Self::new(403, ErrorCode::Forbidden, "")
    }

    /// 403 of the directory surface.
    pub fn insufficient_privileges() -> Self {
        Self::new(
            403,
            ErrorCode::AuthorizationRequestDenied,
            "Insufficient privileges to complete the operation.",
        )
    }

    /// 409 `Conflict` with a text of its own. Only on resources of this server's own.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(409, ErrorCode::Conflict, message)
    }

    /// 404 of the presence surface with a text of its own.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(404, ErrorCode::NotFound, message)
    }

    /// 404: a write to a user who does not exist, or a strict read of one.
    pub fn user_not_found() -> Self {
        Self::not_found("The user was not found.")
    }

    /// 404 of the directory surface. `key` is the id or UPN as the caller gave it.
    pub fn resource_not_found(key: &str) -> Self {
        Self::new(
            404,
            ErrorCode::RequestResourceNotFound,
            format!(
                "Resource '{key}' does not exist or one of its queried reference-property objects are not present."
            ),
        )
    }

    /// 404: the user exists and has no photo.
    pub fn image_not_found() -> Self {
        Self::new(
            404,
            ErrorCode::ImageNotFound,
            "Exception of type 'Microsoft.Fast.Profile.Core.Exception.ImageNotFoundException' was thrown.",
        )
    }

    /// 400 `InvalidRequest`: a member of a subscription is missing or not allowed (change-notifications §4).
    pub fn invalid_subscription(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, ErrorCode::InvalidRequest, message)
    }

    /// 400: a subscription to more than 650 users (change-notifications §1).
    pub fn too_many_users_in_subscription() -> Self {
        Self::invalid_subscription(format!(
            "resource: a subscription can name at most {} users.",
            crate::presence_request::IDS_MAX
        ))
    }

    /// 400 `ValidationError`: the endpoint did not complete the handshake (change-notifications §4).
    pub fn validation_failed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, ErrorCode::ValidationError, message)
    }

    /// 400 `ExtensionError`: a subscription cannot live that long (change-notifications §4).
    pub fn expires_too_late(minutes_max: i64) -> Self {
        let message = format!("Subscription expiration can only be {minutes_max} minutes in the future.");
        Self::new(400, ErrorCode::ExtensionError, message)
    }

    /// 409: the same application, for the same user, has subscribed to the same already (change-notifications §4).
    pub fn same_subscription_exists(id: uuid::Uuid) -> Self {
        let message = format!("Subscription Id {id} already exists for the requested combination");
        Self::new(409, ErrorCode::InvalidRequest, message)
    }

    /// 409: the same application, for the same user, has a presence subscription. Both typing errors are the original's
    /// (change-notifications §4).
    pub fn another_subscription_exists() -> Self {
        Self::new(
            409,
            ErrorCode::ExtensionError,
            "Operation: Create; Exception: [Status Code: Conflict; Reason: A subscripton already exists. It must be deleted \
             before a another can be made]",
        )
    }

    /// 403: the token lacks the permission to read what is subscribed to. `operation` is `Create` or `Update`
    /// (change-notifications §4).
    pub fn subscription_forbidden(operation: &str) -> Self {
        Self::new(
            403,
            ErrorCode::ExtensionError,
            format!(
                "Operation: {operation}; Exception: [Status Code: Forbidden; Reason: The request is not authorized for \
                 this user or application.]"
            ),
        )
    }

    /// 403: the application has as many subscriptions as it may have (change-notifications §4).
    pub fn too_many_subscriptions(limit: usize) -> Self {
        let message =
            format!("The application has reached its limit of {limit} subscriptions in this tenant.");
        Self::new(403, ErrorCode::Forbidden, message)
    }

    /// 404: no such subscription, or somebody else's (change-notifications §3, §4).
    pub fn subscription_not_found() -> Self {
        Self::new(404, ErrorCode::ResourceNotFound, "The object was not found.")
    }

    /// 410 `resyncRequired`, as Graph's own delta queries say it: what follows the position is no longer kept.
    pub fn resync_required() -> Self {
        Self::new(410, ErrorCode::ResyncRequired, crate::feed::BEHIND)
    }

    /// 405, with the methods that are allowed.
    pub fn method_not_allowed(allow: Vec<Method>) -> Self {
        let message = "Specified HTTP method is not allowed for the request target.";
        Self { allow: Some(allow), ..Self::new(405, ErrorCode::RequestBadRequest, message) }
    }

    /// 413: the body is larger than this server reads.
    pub fn body_too_large() -> Self {
        Self::new(413, ErrorCode::RequestEntityTooLarge, "The request body is too large.")
    }

    /// 415: a `Content-Encoding` that this server cannot undo.
    pub fn unsupported_content_encoding() -> Self {
        Self::new(
            415,
            ErrorCode::UnsupportedMediaType,
            "The content encoding of the request is not supported.",
        )
    }

    /// 424: a part of a batch whose predecessor failed.
    pub fn failed_dependency() -> Self {
        Self::new(424, ErrorCode::FailedDependency, "A request this request depends on failed.")
    }

    /// 429. Zero seconds become one: zero sends one client back to its own timing (§15).
    pub fn too_many_requests(retry_after_secs: u32) -> Self {
        Self {
            retry_after_secs: Some(retry_after_secs.max(1)),
            ..Self::new(429, ErrorCode::TooManyRequests, "Too many requests.")
        }
    }

    /// 500. The cause belongs in the log.
    pub fn internal() -> Self {
        Self::new(500, ErrorCode::InternalServerError, "The server encountered an error.")
    }

    /// 503: not now.
    pub fn unavailable(retry_after_secs: u32) -> Self {
        Self {
            retry_after_secs: Some(retry_after_secs.max(1)),
            ..Self::new(503, ErrorCode::ServiceUnavailable, "The service is temporarily unavailable.")
        }
    }

    /// 504: something behind this server did not answer in time.
    pub fn gateway_timeout() -> Self {
        Self::new(504, ErrorCode::GatewayTimeout, "The request timed out.")
    }

    /// Appends the envelope of §13.1: `{"error":{"code","message","innerError":{…}}}`.
    pub fn write(&self, out: &mut Vec<u8>, inner: &InnerError<'_>) {
        out.extend_from_slice(b"{\"error\":{\"code\":\"");
        out.extend_from_slice(self.code.as_str().as_bytes());
        out.extend_from_slice(b"\",\"message\":");
        json::string(out, &self.message);
        out.extend_from_slice(b",\"innerError\":{\"date\":\"");
        time::write_inner_error_date(out, inner.date);
        out.extend_from_slice(b"\",\"request-id\":");
        json::string(out, inner.request_id);
        out.extend_from_slice(b",\"client-request-id\":");
        json::string(out, inner.client_request_id.unwrap_or(inner.request_id));
        out.extend_from_slice(b"}}}");
    }
}

/// What the rules refuse, in the words of the wire. The state itself is never told.
impl From<PresenceError> for GraphError {
    fn from(error: PresenceError) -> Self {
        match error {
            PresenceError::SessionNotFound => Self::not_found("Presence session not found."),
            PresenceError::TooManySessions => {
                Self::invalid_argument("The user already has the maximum number of presence sessions.")
            }
            PresenceError::TooManyAutomaticLocations => {
                Self::invalid_argument("The user already has the maximum number of automatic work locations.")
            }
            PresenceError::TooManySegments => {
                Self::invalid_argument("The schedule has more than the maximum number of segments.")
            }
            PresenceError::LifetimeOutOfRange => Self::out_of_range("ExpirationDuration"),
            PresenceError::StatusMessageTooLong => {
                Self::invalid_argument("The provided [StatusMessage] is too long.")
            }
            PresenceError::StatusMessageExpired => {
                Self::invalid_argument("The provided [ExpiryDateTime] is in the past.")
            }
            PresenceError::PlaceIdTooLong => Self::invalid_argument("The provided [PlaceId] is too long."),
            PresenceError::OutOfOfficeTooLong => {
                Self::invalid_argument("The provided out of office message is too long.")
            }
            PresenceError::EmptyWindow => {
                Self::invalid_argument("The provided start is not before the provided end.")
            }
        }
    }
}

/// What goes into `innerError`.
#[derive(Clone, Copy, Debug)]
pub struct InnerError<'a> {
    /// When the error was made.
    pub date: Timestamp,
    /// The value of the `request-id` response header.
    pub request_id: &'a str,
    /// The caller's `client-request-id`; `None` repeats `request_id`.
    pub client_request_id: Option<&'a str>,
}

/// The `WWW-Authenticate` header of a 401. It never carries `claims`: SDKs would fetch a new token and repeat the
/// request (identity A.2). `authorization_uri` is the issuer's and must be free of quotes.
pub fn www_authenticate(authorization_uri: &str) -> String {
    format!(
        "Bearer realm=\"\", authorization_uri=\"{authorization_uri}\", \
         client_id=\"00000003-0000-0000-c000-000000000000\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(error: &GraphError, client_request_id: Option<&str>) -> String {
        let mut out = Vec::new();
        let date = "2026-03-02T08:15:30.1234567Z".parse().unwrap();
        error.write(&mut out, &InnerError { date, request_id: "r", client_request_id });
        String::from_utf8(out).unwrap()
    }

    #[track_caller]
    fn check(error: &GraphError, status: u16, code: &str, message: &str) {
        assert_eq!((error.status, error.code.as_str(), &*error.message), (status, code, message));
    }

    #[test]
    fn the_envelope_has_a_capital_e_a_date_without_zone_and_both_ids_in_order() {
        assert_eq!(
            envelope(&GraphError::invalid_argument("\"x\""), Some("c")),
            r#"{"error":{"code":"InvalidArgument","message":"\"x\"","innerError":{"date":"2026-03-02T08:15:30","request-id":"r","client-request-id":"c"}}}"#
        );
    }

    #[test]
    fn without_a_client_request_id_the_request_id_is_repeated() {
        assert!(
            envelope(&GraphError::forbidden(), None)
                .ends_with(r#""request-id":"r","client-request-id":"r"}}}"#)
        );
    }

    #[test]
    fn the_catalogue_has_the_known_statuses_codes_and_texts() {
        use GraphError as E;
        check(
            &E::required("SessionId"),
            400,
            "InvalidArgument",
            "[SessionId]: The SessionId field is required.",
        );
        let range = "The provided [ExpirationDuration] is out of range.";
        check(&PresenceError::LifetimeOutOfRange.into(), 400, "InvalidArgument", range);
        check(
            &E::unreadable_payload(),
            400,
            "BadRequest",
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.",
        );
        check(&E::empty_payload(), 400, "BadRequest", "Empty Payload. JSON content expected.");
        check(
            &E::me_needs_delegated(),
            400,
            "BadRequest",
            "/me request is only valid with delegated authentication flow.",
        );
        check(&E::segment_not_found("xyz"), 400, "BadRequest", "Resource not found for the segment 'xyz'.");
        check(&E::invalid_version("xyz"), 400, "BadRequest", "Invalid version: xyz");
        check(
            &E::no_such_presence_property("xyz"),
            400,
            "BadRequest",
            "Could not find a property named 'xyz' on type 'microsoft.graph.presence'.",
        );
        check(&E::forbidden(), 403, "Forbidden", "");
        check(
            &E::method_not_allowed(vec![]),
            405,
            "Request_BadRequest",
            "Specified HTTP method is not allowed for the request target.",
        );
        assert_eq!(E::body_too_large().code.as_str(), "RequestEntityTooLarge");
        assert_eq!(E::too_many_requests(30).code.as_str(), "TooManyRequests");
        assert_eq!(E::internal().code.as_str(), "InternalServerError");
        assert_eq!(E::unavailable(1).code.as_str(), "ServiceUnavailable");
        assert_eq!(E::gateway_timeout().code.as_str(), "GatewayTimeout");
    }

    #[test]
    fn tokens_are_refused_with_the_first_text_of_each_row() {
        for (problem, message) in [
            (TokenProblem::Empty, "Access token is empty."),
            (TokenProblem::Expired, "Access token has expired or is not yet valid."),
            (TokenProblem::Malformed, "CompactToken parsing failed with error code: 80049217"),
            (TokenProblem::WrongAudience, "Access token validation failure. Invalid audience."),
            (TokenProblem::Invalid, "Access token validation failure."),
        ] {
            check(&GraphError::invalid_token(problem), 401, "InvalidAuthenticationToken", message);
        }
    }

    #[test]
    fn directory_errors_have_the_directorys_codes_and_texts() {
        check(
            &GraphError::resource_not_found("Nobody@x"),
            404,
            "Request_ResourceNotFound",
            "Resource 'Nobody@x' does not exist or one of its queried reference-property objects are not present.",
        );
        check(
            &GraphError::insufficient_privileges(),
            403,
            "Authorization_RequestDenied",
            "Insufficient privileges to complete the operation.",
        );
        check(
            &GraphError::image_not_found(),
            404,
            "ImageNotFound",
            "Exception of type 'Microsoft.Fast.Profile.Core.Exception.ImageNotFoundException' was thrown.",
        );
    }

    #[test]
    fn clearing_a_missing_session_is_404_not_found() {
        check(&PresenceError::SessionNotFound.into(), 404, "NotFound", "Presence session not found.");
    }

    #[test]
    fn writing_to_another_user_is_401_and_names_the_caller() {
        let error = GraphError::presence_of_another_user(UserId::from_u128(7));
        assert_eq!((error.status, error.code), (401, ErrorCode::Unauthorized));
        assert_eq!(
            error.message,
            "Cannot set the presence of another user. Authenticated user: 00000000-0000-0000-0000-000000000007"
        );
    }

    #[test]
    fn retry_after_is_at_least_one_second() {
        assert_eq!(GraphError::too_many_requests(0).retry_after_secs, Some(1));
        assert_eq!(GraphError::unavailable(0).retry_after_secs, Some(1));
    }

    #[test]
    fn the_401_challenge_names_realm_issuer_and_client_but_never_claims() {
        assert_eq!(
            www_authenticate("https://id.example/authorize"),
            "Bearer realm=\"\", authorization_uri=\"https://id.example/authorize\", client_id=\"00000003-0000-0000-c000-000000000000\""
        );
    }
}
