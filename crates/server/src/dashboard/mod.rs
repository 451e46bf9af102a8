//! The dashboard: a page for people, served by the program itself.
//!
//! Files written by hand, compiled in, and sent as they are. What the page shows it asks the API for, with the token of
//! whoever signed in: nothing is served here that needs a permission. The page may load scripts and styles from this
//! server alone, and talk to it and to the issuers where one signs in; the Content-Security-Policy says so, and that text
//! never becomes markup.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, IF_NONE_MATCH, LOCATION, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Method, Response, StatusCode};
use presence::TenantId;
use serde_json::json;

use crate::http::reply::{ResponseBody, full};

/// Where the dashboard is.
pub const DASHBOARD_PATH: &str = "/_presenced/dashboard/";
/// What the page wants to know before anybody has signed in.
const SETTINGS: &str = "settings.json";

/// How one signs in to the dashboard of a tenant: by the authorization code grant with PKCE, as a public client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The tenant.
    pub tenant: TenantId,
    /// What people call it.
    pub name: String,
    /// The issuer's URL; its OpenID configuration is below it.
    pub issuer: String,
    /// The dashboard's client id there.
    pub client_id: String,
    /// What is asked for.
    pub scopes: Vec<String>,
}

/// The dashboard of a server: see the module.
pub struct Dashboard {
    policy: HeaderValue,
    settings: File,
}

impl Dashboard {
    /// A dashboard with these ways to sign in. That of an emulator needs none; one of several nodes has a page about them.
    pub fn new(sign_ins: &[SignIn], is_emulator: bool, has_nodes: bool) -> Self {
        let list: Vec<_> = sign_ins
            .iter()
            .map(|sign_in| {
                json!({
                    "tenant": sign_in.tenant.to_string(),
                    "name": sign_in.name,
                    "issuer": sign_in.issuer,
                    "clientId": sign_in.client_id,
                    "scope": sign_in.scopes.join(" "),
                })
            })
            .collect();
        let settings = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "emulator": is_emulator,
            "nodes": has_nodes,
            "signIn": list,
        });
        let settings = serde_json::to_vec(&settings).unwrap_or_default();
        Self { policy: policy(sign_ins), settings: File::new("application/json", settings) }
    }

    /// The answer to a request below [`DASHBOARD_PATH`]; `None` for any other.
    pub(crate) fn respond(&self, head: &http::request::Parts) -> Option<Response<ResponseBody>> {
        let path = head.uri.path();
        if path == DASHBOARD_PATH.trim_end_matches('/') {
            let mut response = self.response(StatusCode::PERMANENT_REDIRECT);
            response.headers_mut().insert(LOCATION, HeaderValue::from_static(DASHBOARD_PATH));
            return Some(response);
        }
        let name = path.strip_prefix(DASHBOARD_PATH)?;
        if !matches!(head.method, Method::GET | Method::HEAD) {
            let mut response = self.response(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(response);
        }
        let file = if name == SETTINGS { Some(&self.settings) } else { find(name) };
        let Some(file) = file else { return Some(self.response(StatusCode::NOT_FOUND)) };
        let is_known = head.headers.get_all(IF_NONE_MATCH).iter().any(|tags| file.is_among(tags));
        let mut response = self.response(if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
        let fields = response.headers_mut();
        fields.insert(ETAG, file.tag.clone());
        if !is_known {
            fields.insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type));
            fields.insert(CONTENT_LENGTH, file.bytes.len().into());
            *response.body_mut() = full(file.bytes.clone());
        }
        Some(response)
    }

    /// An answer without a body, with what every answer here says.
    fn response(&self, status: StatusCode) -> Response<ResponseBody> {
        let mut response = Response::new(full(Bytes::new()));
        *response.status_mut() = status;
        let fields = response.headers_mut();
        fields.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        for (name, value) in FIELDS {
            fields.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// What every answer says besides its policy. Files are asked for again each time, and then mostly not sent: after an
/// upgrade nobody has half of the old page.
const FIELDS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-cache"),
    (VARY, "Accept-Encoding"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// A file of the page.
struct File {
    content_type: &'static str,
    bytes: Bytes,
    /// Weak: what is sent may be compressed.
    tag: HeaderValue,
}

impl File {
    fn new(content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = URL_SAFE_NO_PAD.encode(&digest(&SHA256, &bytes).as_ref()[..12]);
        let tag = HeaderValue::from_str(&format!("W/\"{digest}\""));
        Self { content_type, bytes, tag: tag.unwrap_or_else(|_| HeaderValue::from_static("W/\"\"")) }
    }

    fn is_among(&self, tags: &HeaderValue) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let Ok(mine) = self.tag.to_str().map(opaque) else { return false };
        tags.to_str().is_ok_and(|tags| tags.split(',').any(|tag| opaque(tag) == mine))
    }
}

macro_rules! page {
    ($($name:literal: $content_type:expr,)*) => {
        static FILES: LazyLock<Vec<(&'static str, File)>> = LazyLock::new(|| {
            vec![$(($name, File::new($content_type, &include_bytes!(concat!("page/", $name))[..]))),*]
        });
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

page! {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "app.js": SCRIPT,
    "api.js": SCRIPT,
    "sign-in.js": SCRIPT,
    "feed.js": SCRIPT,
    "people.js": SCRIPT,
    "board.js": SCRIPT,
    "dom.js": SCRIPT,
    "outlook.js": SCRIPT,
    "person.js": SCRIPT,
    "timeline.js": SCRIPT,
    "history.js": SCRIPT,
    "nodes.js": SCRIPT,
    "dev.js": SCRIPT,
    "subscriptions.js": SCRIPT,
}

fn find(name: &str) -> Option<&'static File> {
    let name = if name.is_empty() { "index.html" } else { name };
    FILES.iter().find(|(known, _)| *known == name).map(|(_, file)| file)
}

/// What the page may load and whom it may talk to.
fn policy(sign_ins: &[SignIn]) -> HeaderValue {
    let mut talk = vec!["'self'".to_owned()];
    talk.extend(sign_ins.iter().filter_map(|sign_in| origin(&sign_in.issuer)));
    talk.sort_unstable();
    talk.dedup();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        talk.join(" ")
    );
    HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
}

/// Scheme and authority of a URL: as much of it as stands in a policy.
fn origin(url: &str) -> Option<String> {
    let url = url.parse::<http::Uri>().ok()?;
    let is_plain = |authority: &str| !authority.contains([';', ',', '\'', '*', ' ', '@']);
    let authority = url.authority().map(http::uri::Authority::as_str).filter(|text| is_plain(text))?;
    Some(format!("{}://{authority}", url.scheme_str()?))
}

#[cfg(test)]
mod tests {
    use http_body_util::Either;

    use super::*;

    /// As much as a first look at the board may make a browser load (the project's own figure), before compression.
    const FIRST_LOAD_BYTES_MAX: usize = 150 * 1024;

    fn ask(dashboard: &Dashboard, method: Method, path: &str, tag: Option<&str>) -> Response<ResponseBody> {
        let mut request = http::Request::builder().method(method).uri(path);
        if let Some(tag) = tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        dashboard.respond(&request.body(()).unwrap().into_parts().0).unwrap()
    }

    fn get(path: &str) -> Response<ResponseBody> {
        ask(&Dashboard::new(&[], false, false), Method::GET, path, None)
    }

    #[test]
    fn the_page_and_all_it_names_are_there_and_together_small() {
        let page = std::str::from_utf8(&find("").unwrap().bytes).unwrap();
        let named = page.split(['"']).filter(|text| text.ends_with(".js") || text.ends_with(".css"));
        for name in named {
            assert_eq!(get(&format!("{DASHBOARD_PATH}{name}")).status(), StatusCode::OK, "{name}");
        }
        let all: usize = FILES.iter().map(|(_, file)| file.bytes.len()).sum();
        assert!(all < FIRST_LOAD_BYTES_MAX, "{all}");
    }

    #[test]
    fn nothing_of_the_page_stands_in_line_or_comes_from_elsewhere() {
        let page = std::str::from_utf8(&find("").unwrap().bytes).unwrap();
        for forbidden in ["<style", " style=", " onclick", "javascript:", "http:", "https:", "<script>"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        for (name, file) in FILES.iter().filter(|(name, _)| name.ends_with(".js")) {
            let text = std::str::from_utf8(&file.bytes).unwrap();
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!text.contains(forbidden), "{name}: {forbidden}");
            }
        }
    }

    #[test]
    fn a_page_that_is_known_is_not_sent_again() {
        let dashboard = Dashboard::new(&[], false, false);
        let first = ask(&dashboard, Method::GET, DASHBOARD_PATH, None);
        let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
        let again = ask(&dashboard, Method::GET, DASHBOARD_PATH, Some(&format!("\"other\", {tag}")));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let Either::Left(body) = again.into_body() else { panic!("a stream") };
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(0));
        assert_eq!(ask(&dashboard, Method::GET, DASHBOARD_PATH, Some("\"other\"")).status(), StatusCode::OK);
    }

    #[test]
    fn what_is_not_there_or_not_a_look_is_refused_with_the_same_policy() {
        assert_eq!(get("/_presenced/dashboard").headers()[LOCATION], DASHBOARD_PATH);
        assert_eq!(get("/_presenced/dashboard/../secret").status(), StatusCode::NOT_FOUND);
        let post = ask(&Dashboard::new(&[], true, false), Method::POST, DASHBOARD_PATH, None);
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert!(post.headers().contains_key(CONTENT_SECURITY_POLICY));
    }

    #[test]
    fn the_policy_names_the_issuers_origins_and_lets_nobody_add_to_it() {
        let sign_in = |issuer: &str| SignIn {
            tenant: TenantId::from_u128(1),
            name: "One".to_owned(),
            issuer: issuer.to_owned(),
            client_id: "dashboard".to_owned(),
            scopes: vec!["openid".to_owned()],
        };
        let dashboard = Dashboard::new(&[sign_in("https://id.example/realms/one")], false, false);
        let response = ask(&dashboard, Method::GET, DASHBOARD_PATH, None);
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("connect-src 'self' https://id.example; "), "{policy}");
        assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        for odd in ["https://a;b", "https://*", "nonsense", "https://a'b/", ""] {
            assert_eq!(origin(odd), None, "{odd}");
        }
    }
}
