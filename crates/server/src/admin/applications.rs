//! Applications: added with a generated secret that is shown once, listed, removed; secrets are rotated with overlap.

use graph::GraphError;
use graph::operations::{is_application_permission, is_delegated_permission};
use graph::time::{format_timestamp, parse_duration};
use identity::{
    CLIENT_CERTIFICATES_MAX, ClientCertificate, REDIRECT_URIS_MAX, RedirectUri, SecretDigest, generate_secret,
};
use jiff::SignedDuration;
use presence::{AppId, TenantId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Request, audit, checked_name, created, is_own_role, no_content, reply};
use crate::app::App;
use crate::directory::{
    APPLICATIONS_PER_TENANT_MAX, KeptApplication, KeptSecret, Tenant, drop_application, keep_application,
};
use crate::http::error::Refusal;
use crate::http::reply::Reply;
use crate::own::only;

/// How long the secrets there were go on after a rotation when nobody says.
const OVERLAP_DEFAULT: SignedDuration = SignedDuration::from_hours(24);
/// How long they may: a year.
const OVERLAP_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);
/// Secrets of one application at most. Ours: two, while a rotation is under way, would do.
const SECRETS_MAX: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewApplication {
    /// The client id; a new one when left out.
    id: Option<Uuid>,
    display_name: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    certificates: Vec<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
    #[serde(default)]
    spa_redirect_uris: Vec<String>,
    #[serde(default)]
    is_public_client: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// How long the secrets there are go on.
    overlap: Option<String>,
}

impl App {
    /// `GET applications`, `POST applications`.
    pub(super) async fn all_applications(
        &self,
        request: &mut Request<'_>,
        tenant: TenantId,
    ) -> Result<Reply, Refusal> {
        only(request.method(), &["GET", "POST"], || Ok(()))?;
        if request.method() == "POST" {
            return self.add_application(request, tenant).await;
        }
        let of = self.tenant(tenant)?;
        let mut ids: Vec<AppId> = of.applications.keys().copied().collect();
        ids.sort_unstable();
        let applications: Vec<Value> = ids.into_iter().filter_map(|id| describe(&of, id)).collect();
        Ok(reply(&json!({ "value": applications })))
    }

    async fn add_application(&self, request: &mut Request<'_>, tenant: TenantId) -> Result<Reply, Refusal> {
        let new: NewApplication = request.json().await?;
        let display_name = checked_name(new.display_name, "DisplayName")?;
        let is_role = |name: &str| is_application_permission(name) || is_own_role(name);
        check_names(&new.roles, "Roles", is_role)?;
        check_names(&new.scopes, "Scopes", is_delegated_permission)?;
        check_redirects(&new.redirect_uris, "RedirectUris")?;
        check_redirects(&new.spa_redirect_uris, "SpaRedirectUris")?;
        check_certificates(&new.certificates)?;
        let id = AppId::from_u128(new.id.unwrap_or_else(|| self.ids.guid()).as_u128());
        let (secret, kept_secret) = self.new_secret()?;
        let kept = KeptApplication {
            display_name,
            service_principal: self.ids.guid(),
            secrets: vec![kept_secret],
            roles: new.roles,
            scopes: new.scopes,
            certificates: new.certificates,
            redirect_uris: new.redirect_uris,
            spa_redirect_uris: new.spa_redirect_uris,
            is_public_client: new.is_public_client,
        };
        let _turn = self.directory_change.lock().await;
        let old = self.tenant(tenant)?;
        if old.applications.contains_key(&id) {
            return Err(GraphError::conflict(format!("There is an application {id} already.")).into());
        }
        if old.applications.len() >= APPLICATIONS_PER_TENANT_MAX {
            let why = format!("A tenant has at most {APPLICATIONS_PER_TENANT_MAX} applications.");
            return Err(GraphError::conflict(why).into());
        }
        keep_application(self.engine.store().as_ref(), tenant, id, &kept).await?;
        let new = old.with_application(id, kept);
        let mut document = describe(&new, id).unwrap_or_default();
        document["clientSecret"] = secret.into();
        self.put_tenant(tenant, new);
        audit(request.visitor, tenant, "add application", &id.to_string());
        Ok(created(&document))
    }

    /// `GET applications/{id}`, `DELETE applications/{id}`.
    pub(super) async fn one_application(
        &self,
        request: &mut Request<'_>,
        tenant: TenantId,
        id: &str,
    ) -> Result<Reply, Refusal> {
        only(request.method(), &["GET", "DELETE"], || Ok(()))?;
        let id = application_id(id)?;
        if request.method() != "DELETE" {
            let of = self.tenant(tenant)?;
            return Ok(reply(&describe(&of, id).ok_or_else(not_found)?));
        }
        let _turn = self.directory_change.lock().await;
        let old = self.tenant(tenant)?;
        changeable(&old, id)?;
        drop_application(self.engine.store().as_ref(), tenant, id).await?;
        self.put_tenant(tenant, old.without_application(id));
        self.end_subscriptions(tenant, |of| of.app == id).await;
        audit(request.visitor, tenant, "remove application", &id.to_string());
        Ok(no_content())
    }

    /// `POST applications/{id}/secrets`: a new secret; those there are go on for a while.
    pub(super) async fn rotate_secret(
        &self,
        request: &mut Request<'_>,
        tenant: TenantId,
        id: &str,
    ) -> Result<Reply, Refusal> {
        only(request.method(), &["POST"], || Ok(()))?;
        let id = application_id(id)?;
        let Rotation { overlap } = request.json().await?;
        let overlap = match overlap {
            None => OVERLAP_DEFAULT,
            Some(text) => parse_duration(&text)
                .filter(|overlap| (SignedDuration::ZERO..=OVERLAP_MAX).contains(overlap))
                .ok_or_else(|| GraphError::out_of_range("Overlap"))?,
        };
        let (secret, kept_secret) = self.new_secret()?;
        let now = self.wall_clock.now().as_second();
        let _turn = self.directory_change.lock().await;
        let old = self.tenant(tenant)?;
        let mut kept = changeable(&old, id)?.clone();
        kept.secrets.retain(|secret| secret.expires_at.is_none_or(|at| at > now));
        for secret in &mut kept.secrets {
            let end = now.saturating_add(overlap.as_secs());
            secret.expires_at = Some(secret.expires_at.map_or(end, |at| at.min(end)));
        }
        if kept.secrets.len() >= SECRETS_MAX {
            let why = format!(
                "An application has at most {SECRETS_MAX} secrets; wait for one to end, or rotate with less overlap."
            );
            return Err(GraphError::conflict(why).into());
        }
        let document = json!({ "keyId": kept_secret.key_id, "clientSecret": secret });
        kept.secrets.push(kept_secret);
        keep_application(self.engine.store().as_ref(), tenant, id, &kept).await?;
        self.put_tenant(tenant, old.with_application(id, kept));
        audit(request.visitor, tenant, "rotate secret", &id.to_string());
        Ok(created(&document))
    }

    fn new_secret(&self) -> Result<(String, KeptSecret), Refusal> {
        let secret = generate_secret().ok_or_else(GraphError::internal)?;
        let kept = KeptSecret {
            key_id: self.ids.guid(),
            sha256: SecretDigest::of(&secret).to_bytes(),
            created_at: self.wall_clock.now().as_second(),
            expires_at: None,
        };
        Ok((secret, kept))
    }
}

/// An application as the API shows it: nothing of a secret but when it was made and when it ends.
fn describe(tenant: &Tenant, id: AppId) -> Option<Value> {
    let application = tenant.applications.get(&id)?;
    let kept = tenant.kept_application(id);
    let instant = |seconds: i64| Timestamp::from_second(seconds).ok().map(format_timestamp);
    let secrets: Vec<Value> = kept.map_or_else(Vec::new, |kept| {
        let secret = |secret: &KeptSecret| {
            json!({ "keyId": secret.key_id, "createdAt": instant(secret.created_at),
                "expiresAt": secret.expires_at.and_then(instant) })
        };
        kept.secrets.iter().map(secret).collect()
    });
    Some(json!({
        "id": id.to_string(),
        "displayName": application.display_name,
        "servicePrincipalId": application.service_principal,
        "roles": application.roles,
        "scopes": application.scopes,
        "certificates": application.certificates.iter().map(certificate).collect::<Vec<Value>>(),
        "redirectUris": application.redirects.other.iter().map(RedirectUri::as_str).collect::<Vec<_>>(),
        "spaRedirectUris": application.redirects.spa.iter().map(RedirectUri::as_str).collect::<Vec<_>>(),
        "isPublicClient": application.redirects.is_public_client,
        "isDeclared": kept.is_none(),
        "secrets": secrets,
    }))
}

fn certificate(certificate: &ClientCertificate) -> Value {
    let thumbprint: String = certificate.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "sha256": thumbprint, "expiresAt": format_timestamp(certificate.not_after()) })
}

fn check_redirects(uris: &[String], member: &str) -> Result<(), Refusal> {
    if uris.len() > REDIRECT_URIS_MAX {
        return Err(GraphError::out_of_range(member).into());
    }
    match uris.iter().find_map(|uri| Some((uri, RedirectUri::new(uri).err()?))) {
        None => Ok(()),
        Some((uri, problem)) => {
            let uri: String = uri.chars().take(64).collect();
            Err(GraphError::invalid_argument(format!("[{member}]: {uri:?} {problem}.")).into())
        }
    }
}

fn check_certificates(certificates: &[String]) -> Result<(), Refusal> {
    if certificates.len() > CLIENT_CERTIFICATES_MAX {
        return Err(GraphError::out_of_range("Certificates").into());
    }
    match certificates.iter().find_map(|pem| ClientCertificate::from_pem(pem).err()) {
        None => Ok(()),
        Some(problem) => Err(GraphError::invalid_argument(format!("[Certificates]: one {problem}.")).into()),
    }
}

fn changeable(tenant: &Tenant, id: AppId) -> Result<&KeptApplication, Refusal> {
    match tenant.kept_application(id) {
        Some(kept) => Ok(kept),
        None if tenant.applications.contains_key(&id) => {
            let why = format!("{id} is declared in the configuration and can only be changed there.");
            Err(GraphError::conflict(why).into())
        }
        None => Err(not_found().into()),
    }
}

fn application_id(text: &str) -> Result<AppId, Refusal> {
    text.parse().map_err(|_| not_found().into())
}

fn not_found() -> GraphError {
    GraphError::not_found("There is no such application.")
}

fn check_names(names: &[String], member: &str, is_known: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    match names.iter().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => {
            let name: String = name.chars().take(64).collect();
            Err(GraphError::invalid_argument(format!(
                "[{member}]: {name:?} is not a permission that exists here."
            ))
            .into())
        }
    }
}
