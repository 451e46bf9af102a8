//! Notifications on the wire: the handshake with an endpoint, and the body of a POST to it. Source: change-notifications
//! §5, §6, §8, §9.

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use presence::{Pair, TenantId, UserId};
use uuid::Uuid;

use crate::{GraphError, json, time, words};

/// Content type of the handshake's request (§5).
pub const CONTENT_TYPE_HANDSHAKE: &str = "text/plain; charset=utf-8";
/// Content type of notifications (§6).
pub const CONTENT_TYPE: &str = "application/json; charset=utf-8";
/// How much of the answer to a handshake is read, in bytes (§5).
pub const HANDSHAKE_ANSWER_BYTES_MAX: usize = 4 * 1024;
/// The query parameter that carries the token (§5).
const VALIDATION_TOKEN: &str = "validationToken";
/// Everything but the unreserved characters: receivers may decode percent signs and nothing else (§5).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The token of a handshake: the characters that live tokens have (§5).
pub fn validation_token(request_id: &str) -> String {
    format!("Validation: Testing client application reachability for subscription Request-Id: {request_id}")
}

/// Where to post the handshake: the endpoint's URL with the token in its query.
pub fn handshake_url(url: &str, token: &str) -> String {
    let (url, fragment) = url.split_once('#').map_or((url, None), |(url, fragment)| (url, Some(fragment)));
    let separator = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    let fragment = fragment.map_or_else(String::new, |fragment| format!("#{fragment}"));
    format!("{url}{separator}{VALIDATION_TOKEN}={}{fragment}", utf8_percent_encode(token, ENCODED))
}

/// Whether an endpoint's answer completes the handshake.
///
/// # Errors
/// 400 `ValidationError`, in the words of §4. `reason` is the name of the status.
pub fn check_handshake(
    status: u16,
    reason: &str,
    content_type: Option<&str>,
    body: &[u8],
    token: &str,
) -> Result<(), GraphError> {
    if status != 200 {
        return Err(GraphError::validation_failed(format!(
            "Subscription validation request failed. HTTP status code is '{reason}'. Notification endpoint must respond \
             with 200 OK to validation request."
        )));
    }
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let end = body.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    let body = &body[..end];
    if essence.eq_ignore_ascii_case("text/plain") && body == token.as_bytes() {
        return Ok(());
    }
    Err(GraphError::validation_failed(
        "Subscription validation request failed. Response must exactly match validationToken query parameter.",
    ))
}

/// The refusal when the endpoint did not answer in time.
pub fn handshake_timed_out() -> GraphError {
    GraphError::validation_failed("Subscription validation request timed out.")
}

/// The refusal when the endpoint could not be reached, or must not be.
pub fn handshake_failed() -> GraphError {
    GraphError::validation_failed(
        "Subscription validation request failed. Notification endpoint must respond with 200 OK to validation request.",
    )
}

/// What all items of one subscription share.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// `subscriptionId`.
    pub subscription: Uuid,
    /// `subscriptionExpirationDateTime`.
    pub expires_at: Timestamp,
    /// `clientState`.
    pub client_state: Option<&'a str>,
    /// `tenantId`, and `organizationId`.
    pub tenant: TenantId,
}

/// `encryptedContent`, made elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Encrypted<'a> {
    /// `data`.
    pub data: &'a str,
    /// `dataSignature`.
    pub data_signature: &'a str,
    /// `dataKey`.
    pub data_key: &'a str,
    /// `encryptionCertificateId`.
    pub certificate_id: &'a str,
    /// `encryptionCertificateThumbprint`.
    pub thumbprint: &'a str,
}

/// The lifecycle events (§8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Token or subscription are about to end.
    ReauthorizationRequired,
    /// The server removed the subscription.
    SubscriptionRemoved,
    /// Something was not delivered.
    Missed,
}

impl Lifecycle {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReauthorizationRequired => "reauthorizationRequired",
            Self::SubscriptionRemoved => "subscriptionRemoved",
            Self::Missed => "missed",
        }
    }
}

/// What is encrypted in a rich notification: exactly the documented members (§9.1).
pub fn resource(user: UserId, pair: Pair) -> Vec<u8> {
    format!(
        "{{\"@odata.id\":\"users/{user}/presence\",\"@odata.type\":\"#microsoft.graph.presence\",\"id\":\"{user}\",\
         \"availability\":\"{}\",\"activity\":\"{}\"}}",
        words::availability(pair.availability),
        words::activity(pair.activity)
    )
    .into_bytes()
}

/// A changeNotificationCollection in the making.
#[derive(Debug)]
pub struct Notifications {
    out: Vec<u8>,
    is_empty: bool,
}

impl Default for Notifications {
    fn default() -> Self {
        Self { out: b"{\"value\":[".to_vec(), is_empty: true }
    }
}

impl Notifications {
    /// Adds a change of a user's presence; rich when there is encrypted content. `id` tells repetitions apart from news.
    pub fn change(
        &mut self,
        about: &About<'_>,
        id: Option<&str>,
        user: UserId,
        content: Option<&Encrypted<'_>>,
    ) {
        self.open(about, Some("updated"));
        let out = &mut self.out;
        out.extend_from_slice(
            format!(
                ",\"resource\":\"communications/presences/{user}\",\"tenantId\":\"{0}\",\"organizationId\":\"{0}\",\
                 \"resourceData\":{{\"@odata.type\":\"#microsoft.graph.presence\",\"@odata.id\":\"users/{user}/presence\",\
                 \"id\":\"{user}\"}}",
                about.tenant
            )
            .as_bytes(),
        );
        if let Some(content) = content {
            out.extend_from_slice(b",\"encryptedContent\":{");
            for (name, value) in [
                ("data", content.data),
                ("dataSignature", content.data_signature),
                ("dataKey", content.data_key),
                ("encryptionCertificateId", content.certificate_id),
                ("encryptionCertificateThumbprint", content.thumbprint),
            ] {
                json::string(out, name);
                out.push(b':');
                json::string(out, value);
                out.push(b',');
            }
            out.pop();
            out.push(b'}');
        }
        if let Some(id) = id {
            out.extend_from_slice(b",\"id\":");
            json::string(out, id);
        }
        out.push(b'}');
    }

    /// Adds a lifecycle event.
    pub fn lifecycle(&mut self, about: &About<'_>, event: Lifecycle) {
        self.open(about, None);
        self.out.extend_from_slice(
            format!(
                ",\"tenantId\":\"{0}\",\"organizationId\":\"{0}\",\"lifecycleEvent\":\"{1}\"}}",
                about.tenant,
                event.as_str()
            )
            .as_bytes(),
        );
    }

    /// The whole body; `tokens` only with encrypted content (§10).
    pub fn finish(mut self, tokens: &[String]) -> Vec<u8> {
        self.out.push(b']');
        if !tokens.is_empty() {
            self.out.extend_from_slice(b",\"validationTokens\":[");
            for token in tokens {
                json::string(&mut self.out, token);
                self.out.push(b',');
            }
            self.out.pop();
            self.out.push(b']');
        }
        self.out.push(b'}');
        self.out
    }

    fn open(&mut self, about: &About<'_>, change_type: Option<&str>) {
        let out = &mut self.out;
        if !self.is_empty {
            out.push(b',');
        }
        self.is_empty = false;
        out.extend_from_slice(format!("{{\"subscriptionId\":\"{}\"", about.subscription).as_bytes());
        if let Some(change_type) = change_type {
            out.extend_from_slice(format!(",\"changeType\":\"{change_type}\"").as_bytes());
        }
        out.extend_from_slice(b",\"clientState\":");
        json::string_or_null(out, about.client_state);
        out.extend_from_slice(b",\"subscriptionExpirationDateTime\":\"");
        time::write_timestamp(out, about.expires_at);
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use presence::{Activity, Availability};

    use super::*;

    const TOKEN: &str =
        "Validation: Testing client application reachability for subscription Request-Id: 1-2";

    #[test]
    fn a_token_is_encoded_so_that_a_plain_percent_decoder_gets_it_back() {
        assert_eq!(validation_token("1-2"), TOKEN);
        let encoded = "validationToken=Validation%3A%20Testing%20client%20application%20reachability%20for%20\
                       subscription%20Request-Id%3A%201-2";
        for (url, expected) in [
            ("https://r.example/a", format!("https://r.example/a?{encoded}")),
            ("https://r.example/a?", format!("https://r.example/a?{encoded}")),
            ("https://r.example/a?b=c%20d", format!("https://r.example/a?b=c%20d&{encoded}")),
            ("https://r.example/a#f", format!("https://r.example/a?{encoded}#f")),
        ] {
            assert_eq!(handshake_url(url, TOKEN), expected);
        }
    }

    #[test]
    fn only_200_with_the_very_token_as_plain_text_completes_the_handshake() {
        let check = |status, content_type, body: &str| {
            check_handshake(status, "Reason", content_type, body.as_bytes(), TOKEN)
        };
        for body in [TOKEN.to_owned(), format!("{TOKEN}\n"), format!("{TOKEN}\r\n")] {
            assert_eq!(check(200, Some("text/plain"), &body), Ok(()));
            assert_eq!(check(200, Some("Text/Plain; charset=UTF-8"), &body), Ok(()));
        }
        for (status, content_type, body) in [
            (202, Some("text/plain"), TOKEN.to_owned()),
            (302, Some("text/plain"), TOKEN.to_owned()),
            (200, Some("application/json"), TOKEN.to_owned()),
            (200, None, TOKEN.to_owned()),
            (200, Some("text/plain"), format!("\"{TOKEN}\"")),
            (200, Some("text/plain"), TOKEN.replace(' ', "%20")),
            (200, Some("text/plain"), format!("{TOKEN} ")),
            (200, Some("text/plain"), String::new()),
        ] {
            let error = check(status, content_type, &body).unwrap_err();
            assert_eq!((error.status, error.code.as_str()), (400, "ValidationError"), "{body}");
        }
    }

    /// The complete body of the sheet's worked example (§13), with its own members and order.
    #[test]
    fn the_worked_example_is_written_with_every_member_it_has() {
        let user: UserId = "11111111-2222-3333-4444-555555555555".parse().unwrap();
        let about = About {
            subscription: Uuid::parse_str("76222963-cc7b-42d2-882d-8aaa69cb2ba3").unwrap(),
            expires_at: "2026-01-01T01:00:00Z".parse().unwrap(),
            client_state: Some("secret"),
            tenant: "84bd8158-6d4d-4958-8b9f-9d6445542f95".parse().unwrap(),
        };
        let content = Encrypted {
            data: "<data>",
            data_signature: "<dataSignature>",
            data_key: "<dataKey>",
            certificate_id: "cert-1",
            thumbprint: "DE6A74DA17C63F41B25B56FB827508067215A154",
        };
        let mut body = Notifications::default();
        body.change(&about, None, user, Some(&content));
        let body = body.finish(&["<JWT>".to_owned()]);
        let expected = r##"{"value":[{"subscriptionId":"76222963-cc7b-42d2-882d-8aaa69cb2ba3","changeType":"updated","clientState":"secret","subscriptionExpirationDateTime":"2026-01-01T01:00:00.0000000Z","resource":"communications/presences/11111111-2222-3333-4444-555555555555","tenantId":"84bd8158-6d4d-4958-8b9f-9d6445542f95","organizationId":"84bd8158-6d4d-4958-8b9f-9d6445542f95","resourceData":{"@odata.type":"#microsoft.graph.presence","@odata.id":"users/11111111-2222-3333-4444-555555555555/presence","id":"11111111-2222-3333-4444-555555555555"},"encryptedContent":{"data":"<data>","dataSignature":"<dataSignature>","dataKey":"<dataKey>","encryptionCertificateId":"cert-1","encryptionCertificateThumbprint":"DE6A74DA17C63F41B25B56FB827508067215A154"}}],"validationTokens":["<JWT>"]}"##;
        assert_eq!(String::from_utf8(body).unwrap(), expected);

        let pair = Pair { availability: Availability::Busy, activity: Activity::InACall };
        let plain = r##"{"@odata.id":"users/11111111-2222-3333-4444-555555555555/presence","@odata.type":"#microsoft.graph.presence","id":"11111111-2222-3333-4444-555555555555","availability":"Busy","activity":"InACall"}"##;
        assert_eq!(String::from_utf8(resource(user, pair)).unwrap(), plain);
    }

    #[test]
    fn a_basic_item_and_a_lifecycle_item_say_nothing_they_should_not() {
        let about = About {
            subscription: Uuid::from_u128(1),
            expires_at: "2026-01-01T01:00:00Z".parse().unwrap(),
            client_state: None,
            tenant: TenantId::from_u128(2),
        };
        let mut body = Notifications::default();
        body.change(&about, Some("n1"), UserId::from_u128(3), None);
        body.lifecycle(&about, Lifecycle::Missed);
        let value: serde_json::Value = serde_json::from_slice(&body.finish(&[])).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 1, "no validation tokens");
        let (change, lifecycle) = (&value["value"][0], &value["value"][1]);
        assert_eq!(change["id"], "n1");
        assert!(change["clientState"].is_null() && change.get("encryptedContent").is_none());
        assert!(!change.to_string().contains("availability"));
        assert_eq!(lifecycle["lifecycleEvent"], "missed");
        for absent in ["changeType", "resource", "resourceData"] {
            assert!(lifecycle.get(absent).is_none(), "{absent}");
        }
    }
}
