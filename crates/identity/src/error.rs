//! Why a bearer token is refused. The words a client then reads are the wire's (crate `graph`).

/// Why a bearer token is refused. The display text is for the log, not for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// No `Authorization` header, another scheme, or nothing after `Bearer`.
    #[error("no access token")]
    Empty,
    /// Longer than [`TOKEN_BYTES_MAX`](crate::TOKEN_BYTES_MAX).
    #[error("the access token is too long")]
    TooLarge,
    /// Not three parts of base64url around two JSON objects, or with claims of unexpected types.
    #[error("the access token is not a well-formed JWT")]
    NotAJwt,
    /// The issuer has no key of this `kid`, or the token names none.
    #[error("the access token is signed with a key its issuer does not publish")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the signature of the access token is wrong")]
    BadSignature,
    /// `none`, a symmetric algorithm, or one the issuer is not allowed to use.
    #[error("the access token uses a signature algorithm that is not allowed")]
    WrongAlgorithm,
    /// Not a configured issuer, to the letter.
    #[error("the access token comes from an issuer that is not trusted")]
    WrongIssuer,
    /// Meant for another API.
    #[error("the access token is meant for another audience")]
    WrongAudience,
    /// Past `exp` and the clock skew.
    #[error("the access token has expired")]
    Expired,
    /// Before `nbf` less the clock skew.
    #[error("the access token is not yet valid")]
    NotYetValid,
    /// `tid` is not the tenant its issuer speaks for.
    #[error("the access token names a tenant its issuer does not speak for")]
    WrongTenant,
    /// A claim that is needed is absent or unusable.
    #[error("the access token lacks a usable `{0}` claim")]
    MissingClaim(&'static str),
}

/// The token in an `Authorization` header. The scheme is compared without regard to case. Source: identity A.1.
///
/// # Errors
/// [`TokenError::Empty`] when there is no header, when its scheme is not `Bearer`, or when nothing follows it.
pub fn bearer(authorization: Option<&str>) -> Result<&str, TokenError> {
    let (scheme, token) =
        authorization.and_then(|value| value.trim().split_once(' ')).ok_or(TokenError::Empty)?;
    let token = token.trim_start();
    if scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty() {
        Ok(token)
    } else {
        Err(TokenError::Empty)
    }
}
