//! Identity A.2: the words of a 401, and how a token is found in the header.

use identity::{TokenError, bearer, challenge};

#[test]
fn each_refusal_has_the_words_of_its_row() {
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
        assert_eq!(error.graph_message(), words, "{error}");
    }
    assert_eq!(identity::INVALID_AUTHENTICATION_TOKEN, "InvalidAuthenticationToken");
}

#[test]
fn the_bearer_scheme_is_found_in_any_case_and_nothing_else_is() {
    for header in ["Bearer abc", "bearer abc", "BEARER  abc", "Bearer abc "] {
        assert_eq!(bearer(Some(header)), Ok("abc"), "{header}");
    }
    for header in ["", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc"] {
        assert_eq!(bearer(Some(header)), Err(TokenError::Empty), "{header}");
    }
    assert_eq!(bearer(None), Err(TokenError::Empty));
}

#[test]
fn the_challenge_has_graphs_shape_and_no_claims() {
    assert_eq!(
        challenge("https://localhost:8443/"),
        "Bearer realm=\"\", authorization_uri=\"https://localhost:8443/common/oauth2/authorize\", \
         client_id=\"00000003-0000-0000-c000-000000000000\""
    );
}
