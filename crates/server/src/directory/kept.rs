//! What of the directory is in the store: imported users, and applications and tenants that were added while the server
//! ran. One document each; its key is the tenant's GUID, and behind it the object's.

use graph::user::User;
use identity::{
    Application, ClientCertificate, IssuerSettings, RedirectUri, Redirects, Secret, SecretDigest,
};
use presence::{AppId, TenantId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use store::{DOCUMENT_BATCH_MAX, Document, DocumentKind, Store, StoreError};
use uuid::Uuid;

use super::{Origin, Tenant};

/// Users put into the store as one piece. Far below the store's own bounds, whatever the users look like.
const USERS_PER_BATCH: usize = if DOCUMENT_BATCH_MAX < 5_000 { DOCUMENT_BATCH_MAX } else { 5_000 };

/// An application as the store keeps it: of its secrets only the digests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptApplication {
    /// A name for people.
    pub display_name: String,
    /// The object id of its service principal.
    pub service_principal: Uuid,
    /// Its secrets, oldest first.
    #[serde(default)]
    pub secrets: Vec<KeptSecret>,
    /// The application permissions it was granted.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The delegated permissions it was granted.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The certificates it may sign assertions with, as PEM.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// Addresses of servers and programs to which a browser may be sent after a sign-in.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Those of pages.
    #[serde(default)]
    pub spa_redirect_uris: Vec<String>,
    /// Whether it may do without a secret.
    #[serde(default)]
    pub is_public_client: bool,
}

/// What is kept of a client secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptSecret {
    /// Tells it from the application's others.
    pub key_id: Uuid,
    /// SHA-256 of the secret.
    pub sha256: [u8; 32],
    /// When it was made, in seconds since the epoch.
    pub created_at: i64,
    /// When it ends, in seconds since the epoch; `None`: never.
    pub expires_at: Option<i64>,
}

/// Never the digest: even a digest lets guesses be tried offline.
impl std::fmt::Debug for KeptSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptSecret").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl KeptApplication {
    /// The application as the issuer knows it.
    pub fn to_application(&self, id: AppId) -> Application {
        let secret = |secret: &KeptSecret| Secret {
            digest: SecretDigest::from_bytes(secret.sha256),
            expires_at: secret.expires_at.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        };
        let uris = |uris: &[String]| uris.iter().filter_map(|uri| RedirectUri::new(uri).ok()).collect();
        Application {
            id,
            display_name: self.display_name.clone(),
            service_principal: self.service_principal,
            secrets: self.secrets.iter().map(secret).collect(),
            // All of these were checked before they were kept.
            certificates: self
                .certificates
                .iter()
                .filter_map(|pem| ClientCertificate::from_pem(pem).ok())
                .collect(),
            redirects: Redirects {
                other: uris(&self.redirect_uris),
                spa: uris(&self.spa_redirect_uris),
                is_public_client: self.is_public_client,
            },
            roles: self.roles.clone(),
            scopes: self.scopes.clone(),
        }
    }
}

/// A tenant as the store keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeptTenant {
    /// A name for people.
    pub name: String,
    /// Domain names by which the tenant may be addressed.
    pub domains: Vec<String>,
    /// Tenants it trusts, as GUIDs.
    pub trusts: Vec<Uuid>,
    /// Requests an application may make in it within the window of the throttle.
    pub requests_max: Option<u32>,
    /// Issuers of its own.
    pub issuers: Vec<IssuerSettings>,
}

impl KeptTenant {
    /// The tenant, empty.
    pub fn to_tenant(&self) -> Tenant {
        Tenant {
            name: self.name.clone(),
            domains: self.domains.clone(),
            trusts: self.trusts.iter().map(|id| TenantId::from_u128(id.as_u128())).collect(),
            requests_max: self.requests_max,
            issuers: self.issuers.clone().into(),
            origin: Origin::Kept,
            ..Tenant::default()
        }
    }
}

/// Imported users as the store keeps them.
///
/// # Errors
/// [`StoreError`] of the store, and [`StoreError::Corrupt`] for a document that is not a user.
pub async fn imported_users(store: &dyn Store) -> Result<Vec<(TenantId, User)>, StoreError> {
    let documents = store.documents(DocumentKind::DirectoryUser).await?;
    documents.iter().map(|document| Ok((tenant_of(document)?, body_of(document)?))).collect()
}

/// Whether a document is a part of the directory.
pub(crate) fn is_of_directory(document: &Document) -> bool {
    use DocumentKind::{Application, DirectoryUser, TenantSettings};
    matches!(document.kind, DirectoryUser | Application | TenantSettings)
}

/// A user's document, read: whose, and the user, or none if it was dropped.
///
/// # Errors
/// [`StoreError::Corrupt`] for a document that is not a user.
pub(crate) fn changed_user(document: &Document) -> Result<(TenantId, UserId, Option<User>), StoreError> {
    let id = document.key.get(16..).and_then(|id| <[u8; 16]>::try_from(id).ok());
    let id = UserId::from_u128(u128::from_be_bytes(id.ok_or_else(|| damaged("a key of the wrong length"))?));
    let user = document.body.as_ref().map(|_| body_of(document)).transpose()?;
    Ok((tenant_of(document)?, id, user))
}

/// Keeps imported users.
///
/// # Errors
/// [`StoreError`] of the store. Of more than 5,000 users some may have been kept then; keeping them again is harmless.
pub async fn keep_users(store: &dyn Store, tenant: TenantId, users: &[User]) -> Result<(), StoreError> {
    for users in users.chunks(USERS_PER_BATCH) {
        let documents = users
            .iter()
            .map(|user| document(DocumentKind::DirectoryUser, tenant, user.id.as_u128(), Some(user)));
        store.put_documents(documents.collect::<Result<_, _>>()?).await?;
    }
    Ok(())
}

/// Drops a user.
///
/// # Errors
/// [`StoreError`] of the store.
pub async fn drop_user(store: &dyn Store, tenant: TenantId, user: UserId) -> Result<(), StoreError> {
    let document = document::<()>(DocumentKind::DirectoryUser, tenant, user.as_u128(), None)?;
    store.put_documents(vec![document]).await
}

/// Applications that were added, as the store keeps them.
///
/// # Errors
/// [`StoreError`] of the store, and [`StoreError::Corrupt`] for a document that is not an application.
pub async fn kept_applications(
    store: &dyn Store,
) -> Result<Vec<(TenantId, AppId, KeptApplication)>, StoreError> {
    let documents = store.documents(DocumentKind::Application).await?;
    let read = documents.iter().map(|document| {
        let id = document.key.get(16..).and_then(|id| <[u8; 16]>::try_from(id).ok());
        let id = id.ok_or_else(|| damaged("a key of the wrong length"))?;
        Ok((tenant_of(document)?, AppId::from_u128(u128::from_be_bytes(id)), body_of(document)?))
    });
    read.collect()
}

/// Keeps an application.
///
/// # Errors
/// [`StoreError`] of the store.
pub async fn keep_application(
    store: &dyn Store,
    tenant: TenantId,
    id: AppId,
    application: &KeptApplication,
) -> Result<(), StoreError> {
    let document = document(DocumentKind::Application, tenant, id.as_u128(), Some(application))?;
    store.put_documents(vec![document]).await
}

/// Drops an application.
///
/// # Errors
/// [`StoreError`] of the store.
pub async fn drop_application(store: &dyn Store, tenant: TenantId, id: AppId) -> Result<(), StoreError> {
    let document = document::<()>(DocumentKind::Application, tenant, id.as_u128(), None)?;
    store.put_documents(vec![document]).await
}

/// Tenants that were added, as the store keeps them.
///
/// # Errors
/// [`StoreError`] of the store, and [`StoreError::Corrupt`] for a document that is not a tenant.
pub async fn kept_tenants(store: &dyn Store) -> Result<Vec<(TenantId, KeptTenant)>, StoreError> {
    let documents = store.documents(DocumentKind::TenantSettings).await?;
    documents.iter().map(|document| Ok((tenant_of(document)?, body_of(document)?))).collect()
}

/// Keeps a tenant.
///
/// # Errors
/// [`StoreError`] of the store.
pub async fn keep_tenant(store: &dyn Store, id: TenantId, tenant: &KeptTenant) -> Result<(), StoreError> {
    let body = Some(to_json(tenant)?);
    let key = id.as_u128().to_be_bytes().to_vec();
    store.put_documents(vec![Document { kind: DocumentKind::TenantSettings, key, body }]).await
}

/// Drops a tenant with its users and applications, all of them or nothing as far as one piece reaches.
///
/// # Errors
/// [`StoreError`] of the store.
pub async fn drop_tenant(
    store: &dyn Store,
    id: TenantId,
    users: impl IntoIterator<Item = UserId>,
    applications: impl IntoIterator<Item = AppId>,
) -> Result<(), StoreError> {
    let users = users.into_iter().map(|user| (DocumentKind::DirectoryUser, user.as_u128()));
    let applications = applications.into_iter().map(|app| (DocumentKind::Application, app.as_u128()));
    let gone = users.chain(applications).map(|(kind, object)| document::<()>(kind, id, object, None));
    let gone = gone.collect::<Result<Vec<_>, _>>()?;
    for batch in gone.chunks(USERS_PER_BATCH) {
        store.put_documents(batch.to_vec()).await?;
    }
    // The tenant itself goes last: whoever is interrupted finds it still there and can ask again.
    let key = id.as_u128().to_be_bytes().to_vec();
    store.put_documents(vec![Document { kind: DocumentKind::TenantSettings, key, body: None }]).await
}

fn document<T: Serialize>(
    kind: DocumentKind,
    tenant: TenantId,
    object: u128,
    body: Option<&T>,
) -> Result<Document, StoreError> {
    let key = [tenant.as_u128().to_be_bytes(), object.to_be_bytes()].concat();
    Ok(Document { kind, key, body: body.map(to_json).transpose()? })
}

fn to_json<T: Serialize>(body: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(body).map_err(|error| StoreError::TooLarge(error.to_string()))
}

fn tenant_of(document: &Document) -> Result<TenantId, StoreError> {
    let tenant = document.key.first_chunk::<16>().ok_or_else(|| damaged("a short key"))?;
    Ok(TenantId::from_u128(u128::from_be_bytes(*tenant)))
}

fn body_of<T: for<'de> Deserialize<'de>>(document: &Document) -> Result<T, StoreError> {
    serde_json::from_slice(document.body.as_deref().unwrap_or_default())
        .map_err(|error| damaged(&error.to_string()))
}

fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(format!("a document of the directory: {what}"))
}
