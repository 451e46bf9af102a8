//! Where people are: `/authorize` and the page for devices, and `/logout` (identity B.1, B.5 and B.7).
//!
//! There are no sessions and no cookies: whoever opens a page says who they are, every time. So nothing can be done in
//! somebody's name by a page of another site that could not be done without them.

use http::{Method, Response};
use presence::Timestamp;

use crate::aadsts::{ErrorBody, Refusal};
use crate::form::Form;
use crate::grants::{Challenge, CodeGrant, Decision};
use crate::issuer::{Issuer, Request};
use crate::pages::{self, Question, USERS_SHOWN_MAX};
use crate::redirect::Platform;
use crate::registry::{Application, Registry, User};
use crate::scopes::Scopes;
use crate::token_endpoint::{client_info, known_client};

/// The longest `state`, in bytes. MSAL's are some hundred.
const STATE_BYTES_MAX: usize = 16 * 1024;
/// The longest `nonce`, in bytes.
const NONCE_BYTES_MAX: usize = 1_024;

/// Where a request arrived, and what it is answered from.
pub(crate) struct Here<'a> {
    pub(crate) issuer: &'a Issuer,
    pub(crate) base_url: &'a str,
    pub(crate) registry: &'a dyn Registry,
    pub(crate) now: Timestamp,
    /// The words of a refusal, with its ids.
    pub(crate) words: &'a dyn Fn(&Refusal) -> ErrorBody,
}

/// How an answer gets to its application.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Query,
    Fragment,
    FormPost,
}

/// A request whose application and address are known: from here on refusals go there.
struct Sender<'a> {
    app: Application,
    platform: Platform,
    redirect_uri: &'a str,
    mode: Mode,
    state: Option<&'a str>,
}

/// What is asked for, once it is known to be right.
struct Asked<'a> {
    scopes: Scopes,
    nonce: Option<&'a str>,
    challenge: Option<Challenge>,
    code: bool,
    id_token: bool,
    token: bool,
    client_info: bool,
}

/// `GET` shows the page; `POST`, with the same query, brings the answer.
pub(crate) fn authorize(here: &Here<'_>, request: &Request<'_>) -> Result<Response<Vec<u8>>, Refusal> {
    let query = Form::of_query(request.query)?;
    let sender = Sender::read(here, &query)?;
    let answer = match Asked::read(here, &query, &sender) {
        Ok(asked) => sender.answer(here, request, &query, asked),
        Err(refusal) => Err(refusal),
    };
    match answer {
        // What is wrong with the page itself is said there, and not to the application.
        Err(refusal @ (Refusal::OtherSite | Refusal::BodyTooLong)) => Err(refusal),
        Err(refusal) => {
            let words = (here.words)(&refusal);
            sender.send(vec![
                ("error", words.error.to_owned()),
                ("error_description", words.error_description.clone()),
            ])
        }
        Ok(response) => Ok(response),
    }
}

impl<'a> Sender<'a> {
    fn read(here: &Here<'_>, query: &'a Form<'_>) -> Result<Self, Refusal> {
        let app = known_client(here.issuer, here.registry, query.required("client_id")?)?;
        let redirect_uri = query.required("redirect_uri")?;
        let unregistered = || Refusal::UnregisteredRedirect {
            uri: redirect_uri.chars().take(200).collect(),
            client: app.id,
        };
        let platform = app.redirects.platform_of(redirect_uri).ok_or_else(unregistered)?;
        let state = query.get("state")?;
        if state.is_some_and(|state| state.len() > STATE_BYTES_MAX) {
            return Err(Refusal::TooLong("state"));
        }
        let is_code_only = query.get("response_type")?.is_none_or(|wanted| wanted == "code");
        let mode = match query.get("response_mode")? {
            None if is_code_only => Mode::Query,
            None | Some("fragment") => Mode::Fragment,
            Some("query") if is_code_only => Mode::Query,
            Some("form_post") => Mode::FormPost,
            Some(other) => return Err(Refusal::ResponseMode(other.chars().take(50).collect())),
        };
        Ok(Self { app, platform, redirect_uri, mode, state })
    }

    fn answer(
        &self,
        here: &Here<'_>,
        request: &Request<'_>,
        query: &Form<'_>,
        asked: Asked<'_>,
    ) -> Result<Response<Vec<u8>>, Refusal> {
        if query.get("prompt")? == Some("none") {
            // Nobody is ever signed in already.
            return Err(Refusal::LoginRequired);
        }
        let users = here.registry.some_users(USERS_SHOWN_MAX);
        let mut question = Question {
            app: &self.app,
            scopes: &asked.scopes.granted,
            users: &users,
            chosen: query.get("login_hint")?,
            query: request.query,
            user_code: None,
            complaint: None,
            leads_to: Some(self.redirect_uri),
        };
        if request.method != Method::POST {
            return Ok(pages::question(&question));
        }
        let form = posted(request)?;
        if form.get("decision")? == Some("cancel") {
            return Err(Refusal::Canceled);
        }
        let Some(user) = chosen_user(here, &form)? else {
            question.complaint = Some(CHOOSE);
            return Ok(pages::question(&question));
        };
        self.send(self.tokens(here, &user, asked)?)
    }

    fn tokens(
        &self,
        here: &Here<'_>,
        user: &User,
        asked: Asked<'_>,
    ) -> Result<Vec<(&'static str, String)>, Refusal> {
        let (issuer, app) = (here.issuer, &self.app);
        let mut fields = Vec::new();
        if asked.token {
            let lifetime = issuer.config.access_token_lifetime_secs;
            let names: Vec<&str> = asked.scopes.granted.iter().map(String::as_str).collect();
            let token = issuer.mint_delegated_at(here.base_url, user, app, &names, here.now, lifetime);
            fields.push(("access_token", token.map_err(|_| Refusal::NoSignature)?));
            fields.push(("token_type", "Bearer".to_owned()));
            fields.push(("expires_in", lifetime.to_string()));
            fields.push(("scope", asked.scopes.answered()));
        }
        if asked.id_token {
            let token = issuer.mint_id_token(here.base_url, user, app, asked.nonce, here.now);
            fields.push(("id_token", token.map_err(|_| Refusal::NoSignature)?));
        }
        if asked.client_info {
            fields.push(("client_info", client_info(issuer, user)));
        }
        if asked.code {
            let grant = CodeGrant {
                client: app.id,
                user: user.id,
                redirect_uri: self.redirect_uri.to_owned(),
                platform: self.platform,
                scopes: asked.scopes,
                nonce: asked.nonce.map(str::to_owned),
                challenge: asked.challenge,
            };
            let code = issuer.grants.add_code(grant, here.now).ok_or(Refusal::NoSignature)?;
            fields.insert(0, ("code", code));
        }
        Ok(fields)
    }

    /// Sends fields to the application, with its state.
    fn send(&self, mut fields: Vec<(&'static str, String)>) -> Result<Response<Vec<u8>>, Refusal> {
        if let Some(state) = self.state {
            fields.push(("state", state.to_owned()));
        }
        if self.mode == Mode::FormPost {
            return Ok(pages::form_post(self.redirect_uri, &fields));
        }
        let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
        let separator = match self.mode {
            Mode::Fragment => '#',
            _ if self.redirect_uri.contains('?') => '&',
            _ => '?',
        };
        let uri = format!("{}{separator}{encoded}", self.redirect_uri);
        pages::redirect(&uri).ok_or(Refusal::TooLong("redirect_uri"))
    }
}

impl<'a> Asked<'a> {
    fn read(here: &Here<'_>, query: &'a Form<'_>, sender: &Sender<'_>) -> Result<Self, Refusal> {
        let wanted = query.required("response_type")?;
        let mut asked = Self {
            scopes: Scopes::read(
                here.issuer,
                here.base_url,
                query.required("scope")?,
                &sender.app.scopes,
                |word| Refusal::ScopeNotGranted { client: sender.app.id, scope: word.to_owned() },
            )?,
            nonce: query.get("nonce")?,
            challenge: challenge(query)?,
            code: false,
            id_token: false,
            token: false,
            client_info: query.get("client_info")? == Some("1"),
        };
        for word in wanted.split_ascii_whitespace() {
            match word {
                "code" => asked.code = true,
                "id_token" => asked.id_token = true,
                "token" => asked.token = true,
                _ => return Err(Refusal::ResponseType(wanted.chars().take(50).collect())),
            }
        }
        // Those of the configuration, and no others.
        if !matches!((asked.code, asked.id_token, asked.token), (true, _, false) | (false, true, _)) {
            return Err(Refusal::ResponseType(wanted.chars().take(50).collect()));
        }
        if asked.nonce.is_some_and(|nonce| nonce.len() > NONCE_BYTES_MAX) {
            return Err(Refusal::TooLong("nonce"));
        }
        if asked.id_token && asked.nonce.is_none() {
            return Err(Refusal::MissingNonce);
        }
        // Early, so that a page is not left with a code that it can never redeem.
        if asked.code && asked.challenge.is_none() && sender.platform == Platform::Page {
            return Err(Refusal::ChallengeRequired);
        }
        Ok(asked)
    }
}

/// The code challenge, if there is one (RFC 7636 §4.3).
fn challenge(query: &Form<'_>) -> Result<Option<Challenge>, Refusal> {
    let method = query.get("code_challenge_method")?;
    let Some(challenge) = query.get("code_challenge")? else { return Ok(None) };
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&challenge.len()) || !challenge.bytes().all(is_unreserved) {
        return Err(Refusal::BadChallenge);
    }
    match method {
        Some("S256") => Ok(Some(Challenge::S256(challenge.to_owned()))),
        None | Some("plain") => Ok(Some(Challenge::Plain(challenge.to_owned()))),
        Some(_) => Err(Refusal::BadChallenge),
    }
}

/// The page that answers a device: first its code, then who one is.
pub(crate) fn device(here: &Here<'_>, request: &Request<'_>) -> Result<Response<Vec<u8>>, Refusal> {
    if request.method != Method::POST {
        return Ok(pages::ask_code(None));
    }
    let form = posted(request)?;
    let Some(code) = form.get("user_code")? else { return Ok(pages::ask_code(Some(WRONG_CODE))) };
    let grants = &here.issuer.grants;
    let Some(grant) = grants.device_waiting(code, here.now) else {
        return Ok(pages::ask_code(Some(WRONG_CODE)));
    };
    let app = known_client(here.issuer, here.registry, &grant.client.to_string())?;
    let decision = match form.get("decision")? {
        Some("cancel") => Some(Decision::Declined),
        Some(_) => chosen_user(here, &form)?.map(|user| Decision::Agreed(user.id)),
        None => None,
    };
    if let Some(decision) = decision {
        let is_noted = grants.decide(code, decision, here.now);
        return Ok(match decision {
            _ if !is_noted => pages::ask_code(Some(WRONG_CODE)),
            Decision::Declined => pages::notice("Declined", "Your device was told that you declined."),
            Decision::Agreed(_) => {
                pages::notice("Signed in", "You have signed in on your device. You may close this window.")
            }
        });
    }
    let users = here.registry.some_users(USERS_SHOWN_MAX);
    Ok(pages::question(&Question {
        app: &app,
        scopes: &grant.scopes.granted,
        users: &users,
        chosen: None,
        query: "",
        user_code: Some(code),
        complaint: form.get("decision")?.map(|_| CHOOSE),
        leads_to: None,
    }))
}

const CHOOSE: &str = "Choose one of the users, or type the user principal name of one there is.";
const WRONG_CODE: &str =
    "That code is not one that a device waits with. Check it, or ask the device for another.";

/// Nobody has a session, so all there is to do is to go back where the application says, if it may say so.
pub(crate) fn logout(here: &Here<'_>, request: &Request<'_>) -> Result<Response<Vec<u8>>, Refusal> {
    let query = Form::of_query(request.query)?;
    let signed_out = || pages::notice("Signed out", "You have signed out. You may close this window.");
    let Some(uri) = query.get("post_logout_redirect_uri")? else { return Ok(signed_out()) };
    if !here.registry.any_application(&|app| app.redirects.platform_of(uri).is_some()) {
        return Ok(signed_out());
    }
    let mut back = uri.to_owned();
    if let Some(state) = query.get("state")?.filter(|state| state.len() <= STATE_BYTES_MAX) {
        back.push(if uri.contains('?') { '&' } else { '?' });
        back.push_str(&form_urlencoded::Serializer::new(String::new()).append_pair("state", state).finish());
    }
    pages::redirect(&back).ok_or(Refusal::TooLong("post_logout_redirect_uri"))
}

/// The form of a page, if it was one of ours that sent it.
fn posted<'a>(request: &Request<'a>) -> Result<Form<'a>, Refusal> {
    let site = request.headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if site.is_some_and(|site| site != "same-origin") {
        return Err(Refusal::OtherSite);
    }
    Form::of_body(request.headers, request.body)
}

/// Who was typed, or else who was chosen.
fn chosen_user(here: &Here<'_>, form: &Form<'_>) -> Result<Option<User>, Refusal> {
    let name = match form.get("name")? {
        Some(typed) => Some(typed),
        None => form.get("user")?,
    };
    Ok(name.and_then(|name| here.registry.user_by_name(name.trim())))
}
