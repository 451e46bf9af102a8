//! What a page of another origin may do (the CORS protocol of the Fetch standard, §3.2).
//!
//! An emulator answers pages that this machine itself serves, whatever their port: that is where applications under
//! development run. Any server answers pages of the origins that its applications have registered as single-page
//! redirect addresses. No answer ever allows credentials, so a browser adds nothing of its own: what a page may see is
//! what its token, or the emulator, would give to any program of this machine.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method, Response, StatusCode, Uri};

use crate::http::reply::{ResponseBody, full};

/// The methods any resource here has.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// What clients read of an answer beyond what every page may see.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("request-id, client-request-id, retry-after, x-ms-ags-diagnostic, location");
/// How long a browser may remember the answer to a preflight, in seconds.
const MAX_AGE_SECS: u32 = 600;

/// The origin to be named in the answer: that of the request, if pages from there are welcome.
pub(crate) fn welcome_origin(headers: &HeaderMap, is_welcome: impl Fn(&str) -> bool) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    is_welcome(origin.to_str().ok()?).then(|| origin.clone())
}

/// The answer to a preflight, if the request is one. It needs no token: browsers send none.
pub(crate) fn preflight(method: &Method, headers: &HeaderMap) -> Option<Response<ResponseBody>> {
    if method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let mut response = Response::new(full(Vec::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let fields = response.headers_mut();
    fields.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    fields.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECS.into());
    // A header grants nothing here by being there, so whichever the page wants to send are fine. `*` would leave out
    // `Authorization`.
    if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    Some(response)
}

/// Lets the page that asked read the answer, and keeps caches from giving it to another.
pub(crate) fn share(response: &mut Response<ResponseBody>, origin: Option<HeaderValue>) {
    let fields = response.headers_mut();
    let vary = if fields.contains_key(VARY) { "Accept-Encoding, Origin" } else { "Origin" };
    fields.insert(VARY, HeaderValue::from_static(vary));
    if let Some(origin) = origin {
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

/// Whether an origin is a page of this machine: scheme, loopback host, any port, and nothing else.
pub(crate) fn is_loopback(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let is_bare =
        origin.split_once("://").is_some_and(|(_, authority)| !authority.contains(['/', '?', '#', '@']));
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    is_bare && is_web && matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn pages_of_this_machine_are_welcome_and_those_that_only_look_like_it_are_not() {
        for origin in
            ["http://localhost:3000", "https://localhost", "http://127.0.0.1:1", "http://[::1]:8080"]
        {
            assert_eq!(welcome_origin(&asking(&[(ORIGIN, origin)]), is_loopback).as_ref().unwrap(), origin);
        }
        for origin in [
            "null",
            "*",
            "",
            "localhost:3000",
            "http://localhost.example.com",
            "http://example.com:80",
            "http://localhost@example.com",
            "http://example.com/http://localhost",
            "http://localhost/path",
            "http://127.0.0.1.example.com",
            "ftp://localhost",
        ] {
            assert_eq!(welcome_origin(&asking(&[(ORIGIN, origin)]), is_loopback), None, "{origin}");
        }
        assert_eq!(welcome_origin(&HeaderMap::new(), is_loopback), None);
    }

    #[test]
    fn a_preflight_is_answered_with_what_it_asked_for_and_never_allows_credentials() {
        let headers = asking(&[
            (ACCESS_CONTROL_REQUEST_METHOD, "POST"),
            (ACCESS_CONTROL_REQUEST_HEADERS, "authorization, content-type"),
        ]);
        let mut response = preflight(&Method::OPTIONS, &headers).unwrap();
        share(&mut response, Some(HeaderValue::from_static("http://localhost:3000")));
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        let fields = response.headers();
        assert_eq!(fields[ACCESS_CONTROL_ALLOW_HEADERS], "authorization, content-type");
        assert_eq!(fields[ACCESS_CONTROL_ALLOW_ORIGIN], "http://localhost:3000");
        assert_eq!(fields[VARY], "Origin");
        assert!(!fields.contains_key(http::header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        // Without the header that makes it one, it is an ordinary request; so is any other method.
        assert!(preflight(&Method::OPTIONS, &HeaderMap::new()).is_none());
        assert!(preflight(&Method::GET, &headers).is_none());
    }

    #[test]
    fn an_answer_to_a_page_that_is_not_welcome_says_nothing_but_that_it_depends_on_the_origin() {
        let mut response = Response::new(full(Vec::new()));
        share(&mut response, None);
        assert_eq!(response.headers().len(), 1);
        assert_eq!(response.headers()[VARY], "Origin");
    }
}
