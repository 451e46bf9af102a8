//! The few HTML pages of the issuer: choose who you are, agree, done.
//!
//! Text of others gets into a page through [`Html::text`] only, which escapes it: [`Html::raw`] takes nothing that is not
//! written in this program. The pages load nothing, run nothing but one fixed line, and stand in no frame.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION};
use http::{HeaderValue, Response, StatusCode};

use crate::aadsts::{ErrorBody, Refusal};
use crate::registry::{Application, User};

/// Users shown on a page at most; the others are named by their user principal name.
pub(crate) const USERS_SHOWN_MAX: usize = 50;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:2rem auto;padding:0 1rem;\
color:#1b1b1b;background:#fff}h1{font-size:1.5rem}fieldset{border:1px solid #767676;margin:1rem 0;padding:.5rem 1rem}\
label{display:block;padding:.25rem 0}input[type=text]{font:inherit;width:100%;box-sizing:border-box;padding:.25rem}\
button{font:inherit;padding:.5rem 1rem;margin:.5rem .5rem 0 0}.note{background:#fff4ce;padding:.5rem 1rem}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#1b1b1b}.note{background:#433519}}";

/// What a page is for that carries an answer to its application.
const SUBMIT: &str = "document.forms[0].submit()";

/// What a page asks of a user.
pub(crate) struct Question<'a> {
    pub(crate) app: &'a Application,
    pub(crate) scopes: &'a [String],
    pub(crate) users: &'a [User],
    /// Who is chosen already, by user principal name.
    pub(crate) chosen: Option<&'a str>,
    /// The query of the page, which its form repeats.
    pub(crate) query: &'a str,
    /// The code of a device, to be sent with the answer.
    pub(crate) user_code: Option<&'a str>,
    /// What was wrong with the answer before.
    pub(crate) complaint: Option<&'a str>,
    /// Where the answer will lead, for the policy of the page.
    pub(crate) leads_to: Option<&'a str>,
}

/// A page being written.
struct Html(String);

impl Html {
    fn new(title: &'static str) -> Self {
        let mut html = Self(String::with_capacity(4 * 1024));
        html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>")
            .raw(title)
            .raw("</title><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>")
            .raw(STYLE)
            .raw("</style></head><body><main><h1>")
            .raw(title)
            .raw("</h1>");
        html
    }

    /// Markup of this program.
    fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text of somebody else, in a text or in a quoted attribute.
    fn text(&mut self, text: &str) -> &mut Self {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        self
    }

    fn end(mut self, status: StatusCode, leads_to: Option<&str>) -> Response<Vec<u8>> {
        self.raw("</main></body></html>");
        let mut response = Response::new(self.0.into_bytes());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let policy = policy(leads_to);
        headers.insert(
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'")),
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    }
}

/// The page that asks who signs in, and whether the application may.
pub(crate) fn question(question: &Question<'_>) -> Response<Vec<u8>> {
    let mut html = Html::new("Sign in");
    if let Some(complaint) = question.complaint {
        html.raw("<p class=\"note\" role=\"alert\">").text(complaint).raw("</p>");
    }
    html.raw("<p class=\"note\">This is a development issuer. Nobody has a password here: choose who you want to be.</p>");
    html.raw("<p><strong>")
        .text(&question.app.display_name)
        .raw("</strong> (")
        .text(&question.app.id.to_string());
    html.raw(") asks to act for you with:</p><ul>");
    for scope in question.scopes {
        html.raw("<li>").text(scope).raw("</li>");
    }
    if question.scopes.is_empty() {
        html.raw("<li>nothing but knowing who you are</li>");
    }
    html.raw("</ul><form method=\"post\" action=\"?").text(question.query).raw("\">");
    if let Some(code) = question.user_code {
        html.raw("<input type=\"hidden\" name=\"user_code\" value=\"").text(code).raw("\">");
    }
    html.raw("<fieldset><legend>Who are you?</legend>");
    for user in question.users {
        let is_chosen =
            question.chosen.is_some_and(|chosen| chosen.eq_ignore_ascii_case(&user.user_principal_name));
        html.raw("<label><input type=\"radio\" name=\"user\" value=\"")
            .text(&user.user_principal_name)
            .raw("\"");
        if is_chosen {
            html.raw(" checked");
        }
        html.raw("> ").text(&user.display_name).raw(" (").text(&user.user_principal_name).raw(")</label>");
    }
    html.raw("<label for=\"name\">Somebody else, by user principal name</label>");
    html.raw("<input type=\"text\" id=\"name\" name=\"name\" autocomplete=\"off\" value=\"");
    let is_shown =
        |name: &str| question.users.iter().any(|user| user.user_principal_name.eq_ignore_ascii_case(name));
    if let Some(name) = question.chosen.filter(|name| !is_shown(name)) {
        html.text(name);
    }
    html.raw("\"></fieldset><button name=\"decision\" value=\"agree\">Sign in and agree</button>");
    html.raw("<button name=\"decision\" value=\"cancel\">Cancel</button></form>");
    html.end(StatusCode::OK, question.leads_to)
}

/// The page that asks for the code a device shows.
pub(crate) fn ask_code(complaint: Option<&str>) -> Response<Vec<u8>> {
    let mut html = Html::new("Connect a device");
    if let Some(complaint) = complaint {
        html.raw("<p class=\"note\" role=\"alert\">").text(complaint).raw("</p>");
    }
    html.raw("<form method=\"post\" action=\"?\"><label for=\"code\">The code your device or program shows</label>");
    html.raw("<input type=\"text\" id=\"code\" name=\"user_code\" required autocomplete=\"off\" autocapitalize=\"characters\">");
    html.raw("<button>Next</button></form>");
    html.end(StatusCode::OK, None)
}

/// A page that has nothing to ask.
pub(crate) fn notice(title: &'static str, text: &'static str) -> Response<Vec<u8>> {
    let mut html = Html::new(title);
    html.raw("<p role=\"status\">").raw(text).raw("</p>");
    html.end(StatusCode::OK, None)
}

/// What is said to a person where there is nobody else to tell.
pub(crate) fn refusal(refusal: &Refusal, words: &ErrorBody) -> Response<Vec<u8>> {
    let mut html = Html::new("Sorry, but this does not work");
    html.raw("<p role=\"alert\">").text(&words.error_description).raw("</p>");
    let mut response = html.end(refusal.row().0, None);
    if let Refusal::WrongMethod(allowed) = refusal {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// A page that carries an answer to `uri` in a form of its own, by script or by a button.
pub(crate) fn form_post(uri: &str, fields: &[(&'static str, String)]) -> Response<Vec<u8>> {
    let mut html = Html::new("Signed in");
    html.raw("<form method=\"post\" action=\"").text(uri).raw("\">");
    for (name, value) in fields {
        html.raw("<input type=\"hidden\" name=\"").raw(name).raw("\" value=\"").text(value).raw("\">");
    }
    html.raw("<button>Go on</button></form><script>").raw(SUBMIT).raw("</script>");
    html.end(StatusCode::OK, Some(uri))
}

/// Sends the browser to `uri`.
pub(crate) fn redirect(uri: &str) -> Option<Response<Vec<u8>>> {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_str(uri).ok()?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    Some(response)
}

/// The content security policy. Browsers hold a form to where its answer leads in the end, so that has to be named.
fn policy(leads_to: Option<&str>) -> String {
    static HASHES: LazyLock<(String, String)> = LazyLock::new(|| (hash(STYLE), hash(SUBMIT)));
    let (style, script) = &*HASHES;
    let target = leads_to.and_then(source_of).unwrap_or_default();
    format!(
        "default-src 'none'; style-src '{style}'; script-src '{script}'; form-action 'self'{target}; \
         frame-ancestors 'none'; base-uri 'none'"
    )
}

/// The source expression of a registered address: its origin, or its scheme where it has none. Nothing that would end the
/// directive gets through.
fn source_of(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    let source = match rest.strip_prefix("//") {
        Some(rest) if scheme == "http" || scheme == "https" => {
            format!("{scheme}://{}", rest.split(['/', '?', '#']).next().unwrap_or(rest))
        }
        _ => format!("{scheme}:"),
    };
    let is_plain = source.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/.-+[]_".contains(&byte));
    is_plain.then(|| format!(" {source}"))
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_text_in_a_page() {
        let mut html = Html(String::new());
        html.text("<script>'\"&</script>");
        assert_eq!(html.0, "&lt;script&gt;&#39;&quot;&amp;&lt;/script&gt;");
    }

    #[test]
    fn a_policy_names_where_a_form_leads_and_nothing_can_be_added_to_it() {
        assert!(
            policy(Some("http://localhost:3000/back?x=1"))
                .contains("form-action 'self' http://localhost:3000;")
        );
        assert!(policy(Some("msal1://auth")).contains("form-action 'self' msal1:;"));
        for uri in ["https://a;script-src *", "https://a b/", "x y://", "nothing"] {
            assert!(policy(Some(uri)).contains("form-action 'self';"), "{uri}");
        }
    }
}
