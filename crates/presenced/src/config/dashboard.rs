//! `[tenant.dashboard]`: how people of a tenant sign in to the dashboard.

use serde::Deserialize;
use server::{DASHBOARD_PATH, SignIn};

use super::Tenant;

/// What is asked for when nothing else is said: to see everybody, and to stay signed in.
const SCOPES: [&str; 5] = ["openid", "profile", "offline_access", "User.ReadBasic.All", "Presence.Read.All"];

/// `[tenant.dashboard]`: off unless configured; without it one looks at the dashboard with an access token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Dashboard {
    /// The dashboard's client id at the issuer: a public client, whose redirect address for pages is the dashboard's own.
    pub(crate) client_id: String,
    /// The issuer's URL, if it is neither the tenant's only issuer nor the embedded one.
    pub(crate) issuer: Option<String>,
    /// What is asked for, as the issuer calls it.
    pub(crate) scopes: Option<Vec<String>>,
}

impl Dashboard {
    /// How one signs in to this tenant's dashboard.
    pub(crate) fn sign_in(&self, tenant: &Tenant, public_url: &str) -> anyhow::Result<SignIn> {
        let embedded = || format!("{}/{}/v2.0", public_url.trim_end_matches('/'), tenant.id);
        let configured = tenant.issuers.first().map(|issuer| issuer.issuer.clone());
        let issuer = self.issuer.clone().or(configured).unwrap_or_else(embedded);
        let scopes = self.scopes.clone().unwrap_or_else(|| SCOPES.map(str::to_owned).to_vec());
        Ok(SignIn {
            tenant: tenant.id.parse()?,
            name: tenant.name.clone(),
            issuer,
            client_id: self.client_id.clone(),
            scopes,
        })
    }

    pub(super) fn check(&self, place: &str, tenant: &Tenant, public_url: &str, problems: &mut Vec<String>) {
        if self.client_id.is_empty() {
            problems
                .push(format!("{place}: client_id: say which application the dashboard is at the issuer"));
        }
        if let Some(issuer) = &self.issuer {
            let url = issuer.parse::<http::Uri>().ok();
            if !url.is_some_and(|url| matches!(url.scheme_str(), Some("https" | "http"))) {
                problems.push(format!("{place}: issuer: {issuer:?} is not a URL"));
            }
        }
        if self.issuer.is_none() && tenant.issuers.len() > 1 {
            problems.push(format!("{place}: issuer: the tenant has several; say which"));
        }
        // Where the embedded issuer signs people in, it is known here whether it will send them back.
        if self.issuer.is_none() && tenant.issuers.is_empty() {
            let page = format!("{}{DASHBOARD_PATH}", public_url.trim_end_matches('/'));
            let mut known =
                tenant.applications.iter().filter(|app| app.id.eq_ignore_ascii_case(&self.client_id));
            if !known.any(|app| app.spa_redirect_uris.contains(&page)) {
                problems.push(format!(
                    "{place}: client_id: no [[tenant.application]] of this tenant has that id and {page:?} in \
                     spa_redirect_uris"
                ));
            }
        }
    }
}
