//! Subscriptions: what a client may ask for, in which order it is refused, and how one is shown. Source:
//! change-notifications §1 to §4; the numbers are there, and here once.
//!
//! Whether the endpoint answers, whether a certificate is one, and whose subscription it is are decided elsewhere.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use percent_encoding::percent_decode_str;
use presence::{AppId, UserId};
use uuid::Uuid;

use crate::json::{self, Body, Members};
use crate::odata::ServiceRoot;
use crate::presence_request::IDS_MAX;
use crate::{GraphError, time};

/// Longest `clientState` and `encryptionCertificateId`, in characters (§2).
pub const TEXT_CHARS_MAX: usize = 128;
/// Longest URL of an endpoint and longest `resource`, in bytes. Ours: 650 quoted ids take 26 KiB, percent-encoded less
/// than twice that.
pub const RESOURCE_BYTES_MAX: usize = 128 * 1024;
/// Longest URL of an endpoint, in bytes. Ours.
pub const URL_BYTES_MAX: usize = 8 * 1024;
/// The kind of change a presence subscription is for (§1).
const UPDATED: &str = "updated";
/// The TLS versions a client may name, and which of them are too old (§2).
const TLS_VERSIONS: [(&str, bool); 4] = [("v1_0", false), ("v1_1", false), ("v1_2", true), ("v1_3", true)];
/// What is shown when a client named no TLS version (§2).
const TLS_VERSION_DEFAULT: &str = "v1_2";
/// Notification URLs that are no webhooks (§12).
const OTHER_CHANNELS: [&str; 3] = ["eventhub:", "eventgrid:", "websockets:"];
/// Members that only Web Push targets have (§11).
const WEB_PUSH: [&str; 3] = ["vapidPublicKey", "webPushEncryptionP256dhPublicKey", "webPushEncryptionSecret"];

/// What of the rules can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The shortest life: who asks for less gets this (§1).
    pub lifetime_min: SignedDuration,
    /// The longest life, from now (§1).
    pub lifetime_max: SignedDuration,
    /// How much more than the longest is taken for a difference of clocks, and clamped (§4).
    pub slack: SignedDuration,
    /// Whether `http:` to a loopback address will do: in an emulator.
    pub plain_http_on_loopback: bool,
}

/// As documented: 45 to 60 minutes (§1), a minute of slack (§4).
impl Default for Rules {
    fn default() -> Self {
        Self {
            lifetime_min: SignedDuration::from_mins(45),
            lifetime_max: SignedDuration::from_mins(60),
            slack: SignedDuration::from_mins(1),
            plain_http_on_loopback: false,
        }
    }
}

/// The certificate of a rich subscription, as the client wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// `encryptionCertificate`: to be read by whoever encrypts.
    pub certificate: String,
    /// `encryptionCertificateId`.
    pub id: String,
}

/// A subscription to be created; everything in it is legal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSubscription {
    /// `resource`, as sent.
    pub resource: String,
    /// The users it names, each once.
    pub users: Vec<UserId>,
    /// `changeType`, as sent.
    pub change_type: String,
    /// `notificationUrl`.
    pub notification_url: String,
    /// `lifecycleNotificationUrl`.
    pub lifecycle_notification_url: Option<String>,
    /// `clientState`.
    pub client_state: Option<String>,
    /// `includeResourceData`.
    pub include_resource_data: bool,
    /// The certificate, whenever there is resource data.
    pub encryption: Option<Encryption>,
    /// `notificationUrlAppId`.
    pub notification_url_app_id: Option<String>,
    /// `latestSupportedTlsVersion`.
    pub latest_supported_tls_version: Option<String>,
    /// `notificationContentType`.
    pub notification_content_type: Option<String>,
    /// When it ends, between the shortest and the longest life from now.
    pub expires_at: Timestamp,
}

/// What to change of a subscription; one of the first two at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateSubscription {
    /// `expirationDateTime`.
    pub expires_at: Option<Timestamp>,
    /// `notificationUrl`.
    pub notification_url: Option<String>,
    /// The certificate and its id, together.
    pub encryption: Option<Encryption>,
}

/// The body of `POST /subscriptions`.
///
/// # Errors
/// 400, one for each row of §4.
pub fn create(body: Body<'_>, now: Timestamp, rules: &Rules) -> Result<CreateSubscription, GraphError> {
    let members = body.members()?;
    let resource = required(&members, "resource")?;
    let change_type = required(&members, "changeType")?;
    let notification_url = required(&members, "notificationUrl")?;
    let expiration = required(&members, "expirationDateTime")?;

    let users = users(&resource)?;
    if !change_type.split(',').all(|kind| kind.trim().eq_ignore_ascii_case(UPDATED)) {
        return Err(invalid("changeType: a presence can only be 'updated'."));
    }
    check_url("notificationUrl", &notification_url, rules)?;
    let lifecycle_notification_url = optional(&members, "lifecycleNotificationUrl")?;
    if let Some(url) = &lifecycle_notification_url {
        check_url("lifecycleNotificationUrl", url, rules)?;
    }
    let client_state = optional(&members, "clientState")?;
    check_length("clientState", client_state.as_deref())?;
    if let Some(name) = WEB_PUSH.into_iter().find(|name| members.raw(name).is_some_and(|raw| raw != "null")) {
        return Err(invalid(format!("{name} is only allowed when notificationUrl is a Web Push endpoint.")));
    }
    let latest_supported_tls_version = optional(&members, "latestSupportedTlsVersion")?;
    if let Some(version) = &latest_supported_tls_version
        && !TLS_VERSIONS.contains(&(version.as_str(), true))
    {
        return Err(invalid("latestSupportedTlsVersion must be 'v1_2' or 'v1_3'."));
    }
    let notification_url_app_id = optional(&members, "notificationUrlAppId")?;
    // It becomes the audience of a token that is signed here: the id of an application, and nothing else.
    if notification_url_app_id.as_ref().is_some_and(|id| id.parse::<AppId>().is_err()) {
        return Err(invalid("notificationUrlAppId is not the id of an application."));
    }
    let notification_content_type = optional(&members, "notificationContentType")?;
    check_length("notificationContentType", notification_content_type.as_deref())?;
    let include_resource_data = members.get::<bool>("includeResourceData")?.unwrap_or_default();
    let encryption = encryption(&members)?;
    if include_resource_data && encryption.is_none() {
        return Err(invalid("encryptionCertificate is required when includeResourceData is true."));
    }
    Ok(CreateSubscription {
        expires_at: expires_at(&expiration, now, rules)?,
        resource,
        users,
        change_type,
        notification_url,
        lifecycle_notification_url,
        client_state,
        include_resource_data,
        encryption: encryption.filter(|_| include_resource_data),
        notification_url_app_id,
        latest_supported_tls_version,
        notification_content_type,
    })
}

/// The body of `PATCH /subscriptions/{id}`.
///
/// # Errors
/// 400, one for each row of §4.
pub fn update(body: Body<'_>, now: Timestamp, rules: &Rules) -> Result<UpdateSubscription, GraphError> {
    let members = body.members()?;
    let expiration = optional(&members, "expirationDateTime")?;
    let notification_url = optional(&members, "notificationUrl")?;
    if expiration.is_none() && notification_url.is_none() {
        return Err(invalid(
            "Subscription must contain either the 'expirationDateTime' or 'notificationUrl' property and its value.",
        ));
    }
    if let Some(url) = &notification_url {
        check_url("notificationUrl", url, rules)?;
    }
    let encryption = encryption(&members)?;
    let expires_at = expiration.map(|text| expires_at(&text, now, rules)).transpose()?;
    Ok(UpdateSubscription { expires_at, notification_url, encryption })
}

fn required(members: &Members<'_>, name: &str) -> Result<String, GraphError> {
    let value = optional(members, name)?.filter(|value| !value.trim().is_empty());
    value.ok_or_else(|| invalid(format!("{name} is a required property for subscription creation")))
}

fn optional(members: &Members<'_>, name: &str) -> Result<Option<String>, GraphError> {
    Ok(members.text(name)?.map(std::borrow::Cow::into_owned))
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> GraphError {
    GraphError::invalid_subscription(message)
}

fn check_length(name: &str, value: Option<&str>) -> Result<(), GraphError> {
    match value {
        Some(value) if value.chars().count() > TEXT_CHARS_MAX => {
            Err(invalid(format!("{name} must not be longer than {TEXT_CHARS_MAX} characters.")))
        }
        _ => Ok(()),
    }
}

/// `encryptionCertificate` and its id: both, or neither.
fn encryption(members: &Members<'_>) -> Result<Option<Encryption>, GraphError> {
    let certificate = optional(members, "encryptionCertificate")?.filter(|text| !text.trim().is_empty());
    let id = optional(members, "encryptionCertificateId")?.filter(|text| !text.is_empty());
    check_length("encryptionCertificateId", id.as_deref())?;
    match (certificate, id) {
        (Some(certificate), Some(id)) => Ok(Some(Encryption { certificate, id })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(invalid("encryptionCertificateId is required with encryptionCertificate.")),
        (None, Some(_)) => Err(invalid("encryptionCertificate is required with encryptionCertificateId.")),
    }
}

/// A DateTimeOffset, raised to the shortest life and clamped within the slack of the longest (§1, §4).
fn expires_at(text: &str, now: Timestamp, rules: &Rules) -> Result<Timestamp, GraphError> {
    let asked: Timestamp = text
        .trim()
        .parse()
        .map_err(|_| invalid("expirationDateTime is not a date and time with an offset."))?;
    let after = |duration: SignedDuration| now.saturating_add(duration).unwrap_or(Timestamp::MAX);
    let longest = after(rules.lifetime_max);
    if asked > longest.saturating_add(rules.slack).unwrap_or(Timestamp::MAX) {
        return Err(GraphError::expires_too_late(rules.lifetime_max.as_mins()));
    }
    Ok(asked.clamp(after(rules.lifetime_min).min(longest), longest))
}

/// The rule for the scheme; whether the host is one that may be called is for whoever calls it to say.
fn check_url(name: &str, url: &str, rules: &Rules) -> Result<(), GraphError> {
    let lower = url.get(..16.min(url.len())).unwrap_or_default().to_ascii_lowercase();
    if OTHER_CHANNELS.iter().any(|scheme| lower.starts_with(scheme)) {
        return Err(invalid(format!("{name}: only webhooks are supported; it must be an https URL.")));
    }
    let is_plain = url.len() <= URL_BYTES_MAX && url.bytes().all(|byte| byte.is_ascii_graphic());
    let rest = if lower.starts_with("https://") {
        Some(&url[8..])
    } else if lower.starts_with("http://") && rules.plain_http_on_loopback {
        Some(&url[7..]).filter(|rest| is_loopback(rest))
    } else {
        None
    };
    let has_host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':']));
    if is_plain && has_host { Ok(()) } else { Err(invalid(format!("{name} must be an https URL."))) }
}

fn is_loopback(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The users a `resource` names: `communications/presences/{id}`, or `communications/presences?$filter=id in (…)` (§1).
fn users(resource: &str) -> Result<Vec<UserId>, GraphError> {
    let unknown = || {
        invalid(
            "resource: only 'communications/presences/{id}' and \
             'communications/presences?$filter=id in ('{id}',…)' can be subscribed to.",
        )
    };
    if resource.len() > RESOURCE_BYTES_MAX {
        return Err(too_many());
    }
    let plain = resource.trim().trim_start_matches('/');
    let (path, query) = plain.split_once('?').map_or((plain, None), |(path, query)| (path, Some(query)));
    let path = percent_decode_str(path).decode_utf8().map_err(|_| unknown())?;
    let mut segments = path.trim_end_matches('/').split('/');
    let is_presences = segments.next().is_some_and(|first| first.eq_ignore_ascii_case("communications"));
    let collection = segments.next().unwrap_or_default();
    let id = segments.next();
    let is_named = |text: &str| text.eq_ignore_ascii_case("presences");
    if !is_presences || segments.next().is_some() {
        return Err(unknown());
    }
    match (id, query) {
        (Some(id), None) if is_named(collection) => Ok(vec![guid(id)?]),
        (None, None) => {
            let (name, key) =
                collection.split_once('(').filter(|(name, _)| is_named(name)).ok_or_else(unknown)?;
            debug_assert!(is_named(name));
            Ok(vec![guid(key.strip_suffix(')').ok_or_else(unknown)?.trim_matches('\''))?])
        }
        (None, Some(query)) if is_named(collection) => filtered(query),
        _ => Err(unknown()),
    }
}

fn filtered(query: &str) -> Result<Vec<UserId>, GraphError> {
    // In a query a plus is a space; ids have none.
    let query = query.replace('+', " ");
    let query =
        percent_decode_str(&query).decode_utf8().map_err(|_| invalid("resource is not valid UTF-8."))?;
    let filter = query.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("$filter"));
    let (_, filter) = filter.ok_or_else(|| invalid("resource: the only query option is $filter."))?;
    if filter.contains('&') {
        return Err(invalid("resource: the only query option is $filter."));
    }
    let shape = || invalid("resource: the filter must be of the form id in ('{id}','{id}',…).");
    let mut words = filter.trim();
    for word in ["id", "in"] {
        let start =
            words.get(..word.len()).filter(|start| start.eq_ignore_ascii_case(word)).ok_or_else(shape)?;
        let rest = &words[start.len()..];
        words = rest.trim_start();
        if word == "id" && rest.len() == words.len() {
            return Err(shape());
        }
    }
    let list =
        words.strip_prefix('(').and_then(|list| list.trim_end().strip_suffix(')')).ok_or_else(shape)?;
    let mut users = BTreeSet::new();
    for id in list.split(',') {
        let id = id.trim();
        let id = match id.strip_prefix('\'') {
            Some(quoted) => quoted.strip_suffix('\'').ok_or_else(shape)?,
            None => id,
        };
        users.insert(guid(id)?);
        if users.len() > IDS_MAX {
            return Err(too_many());
        }
    }
    Ok(users.into_iter().collect())
}

fn guid(text: &str) -> Result<UserId, GraphError> {
    text.trim().parse().map_err(|_| invalid("resource: a user is named by an id that is a GUID."))
}

fn too_many() -> GraphError {
    GraphError::too_many_users_in_subscription()
}

/// A subscription as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// `id`.
    pub id: Uuid,
    /// `resource`, as the client sent it.
    pub resource: &'a str,
    /// `changeType`.
    pub change_type: &'a str,
    /// `notificationUrl`.
    pub notification_url: &'a str,
    /// `lifecycleNotificationUrl`.
    pub lifecycle_notification_url: Option<&'a str>,
    /// `clientState`: a secret between client and receiver, left out of lists.
    pub client_state: Option<&'a str>,
    /// `includeResourceData`.
    pub include_resource_data: bool,
    /// `encryptionCertificateId`.
    pub encryption_certificate_id: Option<&'a str>,
    /// `notificationUrlAppId`.
    pub notification_url_app_id: Option<&'a str>,
    /// `latestSupportedTlsVersion`.
    pub latest_supported_tls_version: Option<&'a str>,
    /// `notificationContentType`.
    pub notification_content_type: Option<&'a str>,
    /// `expirationDateTime`.
    pub expires_at: Timestamp,
    /// `applicationId`.
    pub application: AppId,
    /// `creatorId`.
    pub creator: Uuid,
}

/// The answer that shows one subscription.
pub fn write_one(service: &ServiceRoot, shown: &Shown<'_>) -> Vec<u8> {
    let mut out = context(service, "#subscriptions/$entity");
    write_members(&mut out, shown);
    out.push(b'}');
    out
}

/// The answer that shows a page of them; `next` is what follows `$skiptoken=` in the link to the next page.
pub fn write_list(service: &ServiceRoot, page: &[Shown<'_>], next: Option<&str>) -> Vec<u8> {
    let mut out = context(service, "#subscriptions");
    if let Some(next) = next {
        out.extend_from_slice(b"\"@odata.nextLink\":");
        json::string(&mut out, &format!("{}/subscriptions?$skiptoken={next}", service.as_str()));
        out.push(b',');
    }
    out.extend_from_slice(b"\"value\":[");
    for (place, shown) in page.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"{" } else { b",{" });
        write_members(&mut out, &Shown { client_state: None, ..*shown });
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

fn context(service: &ServiceRoot, fragment: &str) -> Vec<u8> {
    let mut out = b"{\"@odata.context\":".to_vec();
    json::string(&mut out, &format!("{}/$metadata{fragment}", service.as_str()));
    out.push(b',');
    out
}

fn write_members(out: &mut Vec<u8>, shown: &Shown<'_>) {
    let id = shown.id.to_string();
    let (application, creator) = (shown.application.to_string(), shown.creator.to_string());
    let expires_at = time::format_timestamp(shown.expires_at);
    let texts = [
        ("id", Some(&*id)),
        ("resource", Some(shown.resource)),
        ("applicationId", Some(&*application)),
        ("changeType", Some(shown.change_type)),
        ("clientState", shown.client_state),
        ("notificationUrl", Some(shown.notification_url)),
        ("notificationQueryOptions", None),
        ("lifecycleNotificationUrl", shown.lifecycle_notification_url),
        ("expirationDateTime", Some(&*expires_at)),
        ("creatorId", Some(&*creator)),
    ];
    for (name, value) in texts {
        write_member(out, name, value);
    }
    let data = if shown.include_resource_data { "true" } else { "null" };
    out.extend_from_slice(format!("\"includeResourceData\":{data},").as_bytes());
    let texts = [
        ("latestSupportedTlsVersion", shown.latest_supported_tls_version.or(Some(TLS_VERSION_DEFAULT))),
        // The certificate itself is never shown again (§2).
        ("encryptionCertificate", None),
        ("encryptionCertificateId", shown.encryption_certificate_id),
        ("notificationUrlAppId", shown.notification_url_app_id),
        ("notificationContentType", shown.notification_content_type),
    ];
    for (name, value) in texts {
        write_member(out, name, value);
    }
    out.pop();
}

fn write_member(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    json::string(out, name);
    out.push(b':');
    json::string_or_null(out, value);
    out.push(b',');
}

#[cfg(test)]
mod tests;
