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
    #[error("Client assertion is malformed, or in another algorithm than RS256 or PS256.")]
    MalformedAssertion,
    #[error("Client assertion contains an invalid signature. [Reason - {0}] Application '{1}'.")]
    BadAssertion(&'static str, AppId),
    #[error(
        "Client assertion application identifier doesn't match 'client_id' parameter. Application '{0}'."
    )]
    AssertionClient(AppId),
    #[error("Client assertion audience claim does not match Realm issuer. Application '{0}'.")]
    AssertionAudience(AppId),
    #[error("Client assertion is not within its valid time range. Application '{0}'.")]
    AssertionLifetime(AppId),
    #[error(
        "The provided value for the input parameter 'client_assertion_type' is not valid. Expected '{0}'."
    )]
    AssertionType(&'static str),
    #[error(
        "The provided authorization code or refresh token has expired, or was never given out. Send a new \
        interactive authorization request for this user and resource."
    )]
    ExpiredGrant,
    #[error("The authorization code or refresh token was not given to application '{0}'.")]
    GrantOfAnother(AppId),
    #[error(
        "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing \
        refresh token."
    )]
    UsedCode,
    #[error("The Code_Verifier does not match the code_challenge supplied in the authorization request.")]
    WrongVerifier,
    #[error(
        "The refresh token has expired or was not issued here. Send a new interactive authorization request for \
        this user and resource."
    )]
    ExpiredRefreshToken,
    #[error(
        "The reply address '{0}' does not match the reply address provided when requesting Authorization code."
    )]
    OtherReplyAddress(String),
    #[error(
        "The redirect URI '{uri}' specified in the request does not match the redirect URIs configured for the \
        application '{client}'. Make sure the redirect URI sent in the request matches one added to your application."
    )]
    UnregisteredRedirect { uri: String, client: AppId },
    #[error(
        "The user or administrator has not consented to use the application with ID '{client}' for '{scope}'. Send \
        an interactive authorization request for this user and resource."
    )]
    ConsentMissing { client: AppId, scope: String },
    #[error(
        "The application '{client}' asked for scope '{scope}' that it was not granted. Add it to the scopes of the \
        application."
    )]
    ScopeNotGranted { client: AppId, scope: String },
    #[error("The user account '{0}' does not exist in this directory.")]
    UnknownUser(String),
    #[error("OAuth 2.0 device flow error. Authorization is pending. Continue polling.")]
    DevicePending,
    #[error("OAuth 2.0 device flow error. The device asks more often than its interval allows.")]
    DeviceTooSoon,
    #[error(
        "The provided value for the input parameter 'device_code' is not valid. This device code has expired."
    )]
    DeviceExpired,
    #[error("The user has declined the request of the device.")]
    DeviceDeclined,
    #[error("The verification code is not one that was given to application '{0}'.")]
    BadDeviceCode(AppId),
    #[error(
        "The application '{0}' is no public client: it must show a secret or an assertion for this grant."
    )]
    NotPublic(AppId),
    #[error(
        "Proof Key for Code Exchange is required for cross-origin authorization code redemption and for clients \
        that show no secret."
    )]
    ChallengeRequired,
    #[error(
        "Invalid Code_Challenge_method parameter, or a size of Code_Challenge that is not 43 to 128 characters."
    )]
    BadChallenge,
    #[error("'{0}' is not a supported value of 'response_type'.")]
    ResponseType(String),
    #[error("'{0}' is not a supported value of 'response_mode' when requesting a token.")]
    ResponseMode(String),
    #[error("The request must contain the following parameter: 'nonce'.")]
    MissingNonce,
    #[error("Session information is not sufficient for single-sign-on.")]
    LoginRequired,
    #[error("The user has canceled the sign-in.")]
    Canceled,
    #[error("A value of the parameter '{0}' is too long.")]
    TooLong(&'static str),
    #[error("Nobody signs in here: passwordless_sign_in is off in the configuration of this issuer.")]
    NoSignIn,
    #[error("The request came from another site.")]
    OtherSite,
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
            Self::MalformedAssertion => (UNAUTHORIZED, "invalid_client", 50027),
            Self::BadAssertion(..) => (UNAUTHORIZED, "invalid_client", 700_027),
            Self::AssertionClient(_) => (UNAUTHORIZED, "invalid_client", 700_021),
            Self::AssertionAudience(_) => (UNAUTHORIZED, "invalid_client", 700_023),
            Self::AssertionLifetime(_) => (UNAUTHORIZED, "invalid_client", 700_024),
            Self::AssertionType(_) => (BAD, "invalid_request", 90023),
            Self::ExpiredGrant => (BAD, "invalid_grant", 70008),
            Self::GrantOfAnother(_) => (BAD, "invalid_grant", 70000),
            Self::UsedCode => (BAD, "invalid_grant", 54005),
            Self::WrongVerifier => (BAD, "invalid_grant", 501_481),
            Self::ExpiredRefreshToken => (BAD, "invalid_grant", 700_082),
            Self::OtherReplyAddress(_) => (BAD, "invalid_grant", 500_112),
            Self::UnregisteredRedirect { .. } => (BAD, "invalid_request", 50011),
            Self::ConsentMissing { .. } => (BAD, "invalid_grant", 65001),
            Self::ScopeNotGranted { .. } => (BAD, "invalid_scope", 650_053),
            Self::UnknownUser(_) => (BAD, "invalid_grant", 50034),
            Self::DevicePending => (BAD, "authorization_pending", 70016),
            Self::DeviceTooSoon => (BAD, "slow_down", 70016),
            Self::DeviceExpired => (BAD, "expired_token", 70020),
            Self::DeviceDeclined => (BAD, "authorization_declined", 70022),
            Self::BadDeviceCode(_) => (BAD, "bad_verification_code", 70018),
            Self::NotPublic(_) => (UNAUTHORIZED, "invalid_client", 7_000_218),
            Self::ChallengeRequired => (BAD, "invalid_request", 9_002_325),
            Self::BadChallenge => (BAD, "invalid_request", 501_491),
            Self::ResponseType(_) => (BAD, "unsupported_response_type", 700_054),
            Self::ResponseMode(_) => (BAD, "invalid_request", 70007),
            Self::MissingNonce => (BAD, "invalid_request", 90014),
            Self::LoginRequired => (BAD, "login_required", 50058),
            Self::Canceled => (BAD, "access_denied", 65004),
            Self::TooLong(_) => (BAD, "invalid_request", 90015),
            Self::NoSignIn => (BAD, "unauthorized_client", 700_038),
            Self::OtherSite => (StatusCode::FORBIDDEN, "invalid_request", 90100),
        }
    }

    /// What more a library may be told, so that it asks the user again.
    const fn suberror(&self) -> Option<&'static str> {
        match self {
            Self::ConsentMissing { .. } => Some("consent_required"),
            _ => None,
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
            suberror: self.suberror(),
        }
    }
}

/// The JSON of a refusal.
#[derive(Serialize)]
pub(crate) struct ErrorBody {
    pub(crate) error: &'static str,
    pub(crate) error_description: String,
    error_codes: [u32; 1],
    timestamp: String,
    trace_id: String,
    correlation_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    suberror: Option<&'static str>,
}
