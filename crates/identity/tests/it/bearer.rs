//! Identity A.1: how a token is found in the header.

use identity::{TokenError, bearer};

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
