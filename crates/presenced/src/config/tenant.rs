//! `[[tenant]]`: users, applications and issuers.

use std::fmt;
use std::path::PathBuf;

use graph::operations::{is_application_permission, is_delegated_permission};
use identity::{CLIENT_CERTIFICATES_MAX, ClientCertificate, IssuerSettings, REDIRECT_URIS_MAX, RedirectUri};
use presence::TenantId;
use serde::Deserialize;
use server::directory::TRUSTS_MAX;
use server::is_own_role;
use server::mqtt::MqttSettings;

use super::dashboard::Dashboard;
use super::{decode_sha256, is_guid};

/// `[[tenant]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tenant {
    /// The tenant's GUID.
    pub(crate) id: String,
    /// A name for people.
    pub(crate) name: String,
    /// Domain names by which clients may address the tenant when they ask for a token.
    pub(crate) domains: Vec<String>,
    /// Tenants of this server whose users may read the presence of this one's, if those trust this one too.
    pub(crate) trusts: Vec<String>,
    /// As in `[throttle]`, for this tenant alone.
    pub(crate) requests_per_30_seconds: Option<u32>,
    /// CSV or JSON files of users, read at start.
    pub(crate) user_files: Vec<PathBuf>,
    /// Users written here.
    #[serde(rename = "user")]
    pub(crate) users: Vec<graph::user::User>,
    /// Applications.
    #[serde(rename = "application")]
    pub(crate) applications: Vec<Application>,
    /// Issuers of the organisation's own, whose tokens are accepted. With one of them the embedded issuer is off for the
    /// tenant.
    #[serde(rename = "issuer")]
    pub(crate) issuers: Vec<IssuerSettings>,
    /// The tenant's MQTT broker; left out: none.
    pub(crate) mqtt: Option<MqttSettings>,
    /// How one signs in to the dashboard.
    pub(crate) dashboard: Option<Dashboard>,
}

/// `[[tenant.application]]`.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Application {
    /// The application (client) id, a GUID.
    pub(crate) id: String,
    /// A name for people.
    pub(crate) name: String,
    /// SHA-256 of the client secret, in hex: `printf %s SECRET | sha256sum`.
    pub(crate) secret_sha256: Option<String>,
    /// A file that holds the client secret, for systems that hand out secrets as files.
    pub(crate) secret_file: Option<PathBuf>,
    /// PEM files of certificates that the application may sign assertions with instead of showing a secret.
    pub(crate) certificate_files: Vec<PathBuf>,
    /// Application permissions, such as `Presence.ReadWrite.All`.
    pub(crate) roles: Vec<String>,
    /// Delegated permissions that users may give it, such as `Presence.ReadWrite`.
    pub(crate) scopes: Vec<String>,
    /// Where servers and programs are sent users back to after a sign-in. On `http://localhost` the port does not count.
    pub(crate) redirect_uris: Vec<String>,
    /// The same for pages. Their origins may read the API's answers, too.
    pub(crate) spa_redirect_uris: Vec<String>,
    /// Whether it signs users in without a secret, as programs on a desk and devices do.
    pub(crate) is_public_client: bool,
}

/// Never the secret, not even its digest.
impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("id", &self.id)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

impl Application {
    fn check_sign_in(&self, place: &str, problems: &mut Vec<String>) {
        for scope in self.scopes.iter().filter(|scope| !is_delegated_permission(scope)) {
            problems
                .push(format!("{place}: scopes: {scope:?} is not a delegated permission that exists here"));
        }
        for (key, uris) in
            [("redirect_uris", &self.redirect_uris), ("spa_redirect_uris", &self.spa_redirect_uris)]
        {
            if uris.len() > REDIRECT_URIS_MAX {
                problems.push(format!("{place}: {key}: at most {REDIRECT_URIS_MAX}"));
            }
            for uri in uris {
                if let Err(error) = RedirectUri::new(uri) {
                    problems.push(format!("{place}: {key}: {uri:?} {error}"));
                }
            }
        }
        if self.certificate_files.len() > CLIENT_CERTIFICATES_MAX {
            problems.push(format!("{place}: certificate_files: at most {CLIENT_CERTIFICATES_MAX}"));
        }
        for path in &self.certificate_files {
            let shown = path.display();
            match std::fs::read_to_string(path) {
                Err(error) => problems.push(format!("{place}: certificate_files: {shown}: {error}")),
                Ok(pem) => {
                    if let Err(error) = ClientCertificate::from_pem(&pem) {
                        problems.push(format!("{place}: certificate_files: {shown} {error}"));
                    }
                }
            }
        }
    }
}

/// What an application needs to hold presence sessions of others.
const WRITES_ALL: &str = "Presence.ReadWrite.All";

/// Whether an application may be given a role of this name: an application permission, or a role of this server's own.
fn is_role(name: &str) -> bool {
    is_application_permission(name) || is_own_role(name)
}

impl Tenant {
    fn check_issuers(&self, place: &str, problems: &mut Vec<String>) {
        let tenant = self.id.parse().unwrap_or(TenantId::from_u128(0));
        let found = server::problems_of(&self.issuers, tenant);
        problems.extend(found.into_iter().map(|problem| format!("{place} {problem}")));
        let has_secret = |app: &&Application| app.secret_sha256.is_some() || app.secret_file.is_some();
        if let Some(app) = self.applications.iter().find(has_secret).filter(|_| !self.issuers.is_empty()) {
            problems.push(format!(
                "{place} application {:?}: its secret would be of no use, since the tenant has issuers of its own",
                app.id
            ));
        }
    }

    fn check_mqtt(&self, place: &str, problems: &mut Vec<String>) {
        let Some(mqtt) = &self.mqtt else { return };
        problems.extend(mqtt.check().into_iter().map(|problem| format!("{place} mqtt: {problem}")));
        for session in &mqtt.sessions {
            let declared =
                self.applications.iter().find(|app| app.id.eq_ignore_ascii_case(&session.application));
            if let Some(app) = declared.filter(|app| !app.roles.iter().any(|role| role == WRITES_ALL)) {
                problems.push(format!(
                    "{place} mqtt: the application {:?} holds no session without the role {WRITES_ALL}",
                    app.id
                ));
            }
        }
    }

    pub(super) fn check(&self, place: &str, issuer: bool, problems: &mut Vec<String>) {
        self.check_issuers(place, problems);
        self.check_mqtt(place, problems);
        for path in &self.user_files {
            if let Err(error) = std::fs::File::open(path) {
                problems.push(format!("{place} user_files: {}: {error}", path.display()));
            }
        }
        if self.requests_per_30_seconds == Some(0) {
            problems.push(format!(
                "{place} requests_per_30_seconds: 0 would refuse everything; leave it out instead"
            ));
        }
        if self.trusts.len() > TRUSTS_MAX {
            problems.push(format!("{place} trusts: at most {TRUSTS_MAX} tenants"));
        }
        for trusted in self.trusts.iter().filter(|trusted| !is_guid(trusted)) {
            problems.push(format!("{place} trusts: {trusted:?} is not the GUID of a tenant"));
        }
        for app in &self.applications {
            let place = format!("{place} application {:?}", app.id);
            if !is_guid(&app.id) {
                problems.push(format!("{place}: the id is not a GUID"));
            }
            for role in app.roles.iter().filter(|role| !is_role(role)) {
                problems.push(format!("{place}: {role:?} is not an application permission that exists here"));
            }
            app.check_sign_in(&place, problems);
            match (&app.secret_sha256, &app.secret_file) {
                (Some(_), Some(_)) => {
                    problems.push(format!("{place}: give secret_sha256 or secret_file, not both"));
                }
                (Some(digest), None) if decode_sha256(digest).is_none() => {
                    problems.push(format!("{place}: secret_sha256 is not 64 hexadecimal digits"));
                }
                (None, Some(path)) if std::fs::File::open(path).is_err() => {
                    problems.push(format!("{place}: secret_file {} cannot be read", path.display()));
                }
                (None, None)
                    if issuer
                        && !app.is_public_client
                        && app.certificate_files.is_empty()
                        && app.spa_redirect_uris.is_empty() =>
                {
                    problems.push(format!("{place}: the embedded issuer needs secret_sha256, secret_file or certificate_files, unless it is a page or a public client"));
                }
                _ => {}
            }
        }
    }
}
