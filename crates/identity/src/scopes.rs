//! What a client asks to be allowed: the words of `scope` (identity B.4 and B.5).

use serde::{Deserialize, Serialize};

use crate::aadsts::Refusal;
use crate::discovery;
use crate::issuer::Issuer;

/// Graph's own application id, which may stand for its address in a scope.
const GRAPH_APP_ID: &str = "00000003-0000-0000-c000-000000000000";
/// Scopes of signing in somebody. MSAL for Java sends them with every grant; where nobody signs in they mean nothing.
const SIGN_IN_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];
/// Words in one `scope` at most. There are eight permissions, in three spellings.
const SCOPES_MAX: usize = 64;
/// What a client adds to a resource for everything it was granted there.
const DEFAULT: &str = ".default";

/// Delegated permissions that a user has agreed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scopes {
    /// The words as the client wrote them, with what its `.default` stands for: libraries look tokens up by them.
    pub(crate) asked: Vec<String>,
    /// The permissions, by their names.
    pub(crate) granted: Vec<String>,
    /// Whether an id_token is wanted.
    pub(crate) openid: bool,
    /// Whether a refresh token is.
    pub(crate) offline: bool,
}

impl Scopes {
    /// Reads a `scope`; what it asks for must be among `allowed`, the names an application may have or a user agreed to.
    /// `refusal` is what is said of a word that is not.
    pub(crate) fn read(
        issuer: &Issuer,
        base_url: &str,
        scope: &str,
        allowed: &[String],
        refusal: impl Fn(&str) -> Refusal,
    ) -> Result<Self, Refusal> {
        let mut scopes = Self { asked: Vec::new(), granted: Vec::new(), openid: false, offline: false };
        let words: Vec<&str> = scope.split_ascii_whitespace().take(SCOPES_MAX + 1).collect();
        if words.is_empty() || words.len() > SCOPES_MAX {
            return Err(Refusal::InvalidScope(shortened(scope)));
        }
        for word in words {
            scopes.ask(word.to_owned());
            let lower = word.to_ascii_lowercase();
            if SIGN_IN_SCOPES.contains(&lower.as_str()) {
                scopes.openid |= lower == "openid";
                scopes.offline |= lower == "offline_access";
                continue;
            }
            let name = match word.rsplit_once('/') {
                None => word,
                Some((resource, name)) => {
                    check_resource(issuer, base_url, resource)?;
                    name
                }
            };
            if name.eq_ignore_ascii_case(DEFAULT) {
                let prefix = &word[..word.len() - name.len()];
                for name in allowed {
                    scopes.grant(name);
                    scopes.ask(format!("{prefix}{name}"));
                }
                continue;
            }
            let known = allowed.iter().find(|known| known.eq_ignore_ascii_case(name));
            scopes.grant(known.ok_or_else(|| refusal(&shortened(word)))?);
        }
        Ok(scopes)
    }

    fn grant(&mut self, name: &str) {
        if !self.granted.iter().any(|granted| granted == name) {
            self.granted.push(name.to_owned());
        }
    }

    fn ask(&mut self, word: String) {
        if !self.asked.contains(&word) {
            self.asked.push(word);
        }
    }

    /// The value of `scope` in an answer.
    pub(crate) fn answered(&self) -> String {
        self.asked.join(" ")
    }
}

/// The scope of an application that asks for itself must be one `<resource>/.default`.
pub(crate) fn check_default(issuer: &Issuer, base_url: &str, scope: &str) -> Result<(), Refusal> {
    let mut scopes = scope.split_whitespace().filter(|one| !SIGN_IN_SCOPES.contains(one));
    let (Some(only), None) = (scopes.next(), scopes.next()) else {
        return Err(Refusal::InvalidScope(scope.to_owned()));
    };
    let resource = only.strip_suffix("/.default").ok_or_else(|| Refusal::ScopeNotDefault(only.to_owned()))?;
    check_resource(issuer, base_url, resource)
}

/// The resource must be us: under Graph's name, under our own, or as `localhost`, which the Python SDK derives from the
/// address of the API (identity B.4).
fn check_resource(issuer: &Issuer, base_url: &str, resource: &str) -> Result<(), Refusal> {
    let host = discovery::host_of(discovery::authority_of(resource));
    let names_us =
        ["graph.microsoft.com", "localhost", GRAPH_APP_ID].iter().any(|own| own.eq_ignore_ascii_case(host))
            || discovery::is_own_host(&issuer.config, base_url, host);
    if names_us {
        return Ok(());
    }
    Err(Refusal::UnknownResource { resource: resource.to_owned(), tenant: issuer.config.tenant.to_string() })
}

/// As much of a client's text as an error repeats.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}
