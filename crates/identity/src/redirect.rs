//! Where a browser may be sent after a sign-in: the addresses an application registered, and the rule that compares them.
//!
//! Everything is compared as it is spelled (RFC 6749 §3.1.2.3), with one exception: of an `http` address on loopback the
//! port does not count, since a program on a desk listens where it finds room (RFC 8252 §7.3, identity B.5).

use std::fmt;

/// The longest redirect address, in bytes.
pub const REDIRECT_URI_BYTES_MAX: usize = 2_048;
/// Redirect addresses of one application at most, of each kind.
pub const REDIRECT_URIS_MAX: usize = 256;

/// The addresses of one application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirects {
    /// Those of a server or of a program on a desk.
    pub other: Vec<RedirectUri>,
    /// Those of pages, whose scripts redeem the code themselves: no secret, PKCE always, and answers that pages from
    /// there may read.
    pub spa: Vec<RedirectUri>,
    /// Whether the application may do without a secret also where it is no page: a program on a desk or on a device.
    pub is_public_client: bool,
}

impl Redirects {
    /// How `uri` is registered, if it is.
    pub(crate) fn platform_of(&self, uri: &str) -> Option<Platform> {
        let is_among = |registered: &[RedirectUri]| registered.iter().any(|one| one.admits(uri));
        if is_among(&self.spa) {
            Some(Platform::Page)
        } else {
            is_among(&self.other).then_some(Platform::Other)
        }
    }

    /// Whether a code that went to `uri` may be redeemed without a secret.
    pub(crate) fn may_be_public(&self, uri: &str) -> bool {
        self.is_public_client || self.platform_of(uri) == Some(Platform::Page)
    }
}

/// Who reads the code that is sent to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Platform {
    /// A script in a page.
    Page,
    /// A server, or a program on a desk.
    Other,
}

/// A registered address.
///
/// An absolute URL without fragment and user name, with the scheme `https`, `http` on loopback, or one of a program's
/// own such as `msal…`. On loopback the path may be `/*` for every path there, for tools that invent theirs.
#[derive(Clone, PartialEq, Eq)]
pub struct RedirectUri(String);

/// Why an address cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectUriError {
    /// Not an absolute URL, too long, or with characters that must be escaped.
    #[error("is not an absolute URL of at most {REDIRECT_URI_BYTES_MAX} bytes")]
    NotAUrl,
    /// With a fragment or a user name.
    #[error("has a fragment or a user name")]
    Decorated,
    /// A scheme that a browser would run instead of going there.
    #[error("has a scheme that browsers run or read themselves")]
    Scheme,
    /// Plain http to another machine.
    #[error("is plain http and not on loopback (localhost, 127.0.0.1 or [::1])")]
    PlainHttp,
    /// A star elsewhere than as the whole path on loopback.
    #[error("has a star; only http://localhost/* and its like may")]
    Star,
}

impl RedirectUri {
    /// Checks an address that somebody registers.
    ///
    /// # Errors
    /// [`RedirectUriError`].
    pub fn new(uri: impl Into<String>) -> Result<Self, RedirectUriError> {
        let uri = uri.into();
        let is_spelled = uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte));
        let (scheme, rest) = uri.split_once(':').ok_or(RedirectUriError::NotAUrl)?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_spelled || !is_scheme || rest.is_empty() || uri.len() > REDIRECT_URI_BYTES_MAX {
            return Err(RedirectUriError::NotAUrl);
        }
        let is_web = ["http", "https"].iter().any(|web| web.eq_ignore_ascii_case(scheme));
        let authority = rest.strip_prefix("//").map(|rest| rest.split(['/', '?']).next().unwrap_or(rest));
        if uri.contains('#') || authority.is_some_and(|authority| authority.contains('@')) {
            return Err(RedirectUriError::Decorated);
        }
        if RUN_BY_BROWSERS.iter().any(|run| run.eq_ignore_ascii_case(scheme)) {
            return Err(RedirectUriError::Scheme);
        }
        if is_web && authority.is_none_or(str::is_empty) {
            return Err(RedirectUriError::NotAUrl);
        }
        let loopback = on_loopback(&uri);
        if scheme.eq_ignore_ascii_case("http") && loopback.is_none() {
            return Err(RedirectUriError::PlainHttp);
        }
        if uri.contains('*') && loopback.is_none_or(|(_, path)| path != "/*") {
            return Err(RedirectUriError::Star);
        }
        Ok(Self(uri))
    }

    /// The address as it was registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn admits(&self, uri: &str) -> bool {
        if uri.len() > REDIRECT_URI_BYTES_MAX {
            return false;
        }
        let loopback = on_loopback(&self.0).zip(on_loopback(uri));
        self.0 == uri && !self.0.contains('*')
            || loopback.is_some_and(|((host, path), (other_host, other_path))| {
                host == other_host
                    && (path == "/*" || path == other_path)
                    && Self::new(uri).is_ok_and(|uri| !uri.0.contains('*'))
            })
    }

    /// Whether it is of that origin, as browsers write origins.
    pub(crate) fn is_at(&self, origin: &str) -> bool {
        if let Some(((host, _), (other, rest))) = on_loopback(&self.0).zip(on_loopback(origin)) {
            return host == other && rest == "/" && !origin.ends_with('/');
        }
        let scheme_end = self.0.find("://").map_or(0, |at| at + 3);
        let end = self.0[scheme_end..].find(['/', '?']).map_or(self.0.len(), |at| scheme_end + at);
        scheme_end > 0 && self.0[..end] == *origin
    }
}

impl fmt::Debug for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const RUN_BY_BROWSERS: [&str; 8] =
    ["javascript", "data", "vbscript", "blob", "file", "about", "view-source", "filesystem"];

/// Host, and path with query, of an `http` address on loopback. An empty path is `/`.
fn on_loopback(uri: &str) -> Option<(&'static str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let host = ["localhost", "127.0.0.1", "[::1]"].into_iter().find(|host| rest.starts_with(host))?;
    let rest = &rest[host.len()..];
    let rest = match rest.strip_prefix(':') {
        None => rest,
        Some(port) => {
            let digits = port.bytes().take_while(u8::is_ascii_digit).count();
            port[..digits].parse::<u16>().ok()?;
            &port[digits..]
        }
    };
    match rest {
        "" => Some((host, "/")),
        path if path.starts_with('/') => Some((host, path)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admits(registered: &str, uri: &str) -> bool {
        RedirectUri::new(registered).unwrap().admits(uri)
    }

    #[test]
    fn only_the_port_of_a_loopback_address_does_not_count() {
        for (registered, uri) in [
            ("https://app.example.org/back", "https://app.example.org/back"),
            ("http://localhost", "http://localhost:51234"),
            ("http://localhost", "http://localhost:51234/"),
            ("http://localhost:3000/auth", "http://localhost:4000/auth"),
            ("http://127.0.0.1/a?b=c", "http://127.0.0.1:1/a?b=c"),
            ("http://[::1]/", "http://[::1]:80"),
            ("http://localhost/*", "http://localhost:5173/any/path?and=query"),
            ("msal2255://auth", "msal2255://auth"),
            ("urn:ietf:wg:oauth:2.0:oob", "urn:ietf:wg:oauth:2.0:oob"),
        ] {
            assert!(admits(registered, uri), "{registered} {uri}");
        }
    }

    #[test]
    fn nobody_is_sent_to_an_address_that_only_looks_registered() {
        for (registered, uri) in [
            ("https://app.example.org/back", "https://app.example.org/back/"),
            ("https://app.example.org/back", "https://app.example.org/back?x=1"),
            ("https://app.example.org/back", "https://app.example.org/BACK"),
            ("https://app.example.org/back", "https://app.example.org:444/back"),
            ("https://app.example.org/back", "http://app.example.org/back"),
            ("https://app.example.org/back", "https://app.example.org.evil.example/back"),
            ("https://app.example.org/back", "https://app.example.org@evil.example/back"),
            ("https://app.example.org/back", "//app.example.org/back"),
            ("http://localhost", "http://localhost.evil.example"),
            ("http://localhost", "http://localhost@evil.example"),
            ("http://localhost", "http://localhost:80@evil.example"),
            ("http://localhost", "http://localhost:99999"),
            ("http://localhost", "http://localhost:"),
            ("http://localhost", "https://localhost"),
            ("http://localhost", "http://127.0.0.1"),
            ("http://localhost", "http://localhost/elsewhere"),
            ("http://localhost/*", "http://localhost:1/a#fragment"),
            ("http://localhost/*", "http://localhost:1/\r\nSet-Cookie:a"),
            ("http://localhost/*", "http://localhost/*"),
            ("http://localhost/*", "http://evil.example/"),
        ] {
            assert!(!admits(registered, uri), "{registered} {uri}");
        }
    }

    #[test]
    fn what_a_browser_would_run_cannot_be_registered() {
        use RedirectUriError::*;
        for (uri, error) in [
            ("javascript:alert(1)", Scheme),
            ("DATA:text/html,x", Scheme),
            ("http://app.example.org/", PlainHttp),
            ("https://app.example.org/*", Star),
            ("http://localhost/a/*", Star),
            ("https://a@app.example.org/", Decorated),
            ("https://app.example.org/#", Decorated),
            ("https:///path", NotAUrl),
            ("https://app.example.org/\"><script>", NotAUrl),
            ("/path", NotAUrl),
            ("", NotAUrl),
        ] {
            assert_eq!(RedirectUri::new(uri).err(), Some(error), "{uri}");
        }
    }

    #[test]
    fn an_origin_is_that_of_a_registered_page_or_it_is_not() {
        let is_at = |registered: &str, origin: &str| RedirectUri::new(registered).unwrap().is_at(origin);
        assert!(is_at("https://app.example.org:8443/back", "https://app.example.org:8443"));
        assert!(is_at("http://localhost/*", "http://localhost:5173"));
        assert!(is_at("http://localhost:3000/back", "http://localhost:3000"));
        for origin in ["https://app.example.org", "https://app.example.org:8443/", "null", "", "https://"] {
            assert!(!is_at("https://app.example.org:8443/back", origin), "{origin}");
        }
        assert!(!is_at("http://localhost/*", "http://localhost:5173/"));
        assert!(!is_at("http://localhost/*", "http://localhost.evil.example"));
        assert!(!is_at("msal1://auth", "msal1:"));
    }

    proptest! {
        #[test]
        fn whatever_is_admitted_is_on_the_registered_host(uri in "(http://localhost|http://localhost:1)[ -~]{0,12}") {
            if admits("http://localhost/*", &uri) {
                let parsed: http::Uri = uri.parse().unwrap();
                prop_assert_eq!(parsed.host(), Some("localhost"));
                prop_assert!(parsed.authority().is_none_or(|authority| !authority.as_str().contains('@')));
            }
        }
    }
}
