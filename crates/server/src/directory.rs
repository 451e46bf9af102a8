//! Which users and applications exist: declared in the configuration, or imported and kept in the store.
//!
//! A directory is a value. A change makes a new one, and requests in flight finish with the one they began with.

use std::collections::HashMap;
use std::sync::Arc;

use graph::user::User;
use identity::Application;
use jiff::tz::TimeZone;
use presence::{AppId, TenantId, UserId};
use store::{Document, DocumentKind, Store, StoreError};

/// Users and applications of every tenant.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    tenants: HashMap<TenantId, Arc<Tenant>>,
}

/// Users and applications of one tenant.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    /// Domain names by which the tenant may be addressed.
    pub domains: Vec<String>,
    /// Applications by client id.
    pub applications: HashMap<AppId, Application>,
    /// By object id.
    users: Vec<User>,
    by_id: HashMap<UserId, usize>,
    by_name: HashMap<String, UserId>,
}

/// Why a user cannot be in a directory beside the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Two users of one tenant with the same user principal name.
    #[error("{name} is the user principal name of both {one} and {other}")]
    DuplicateName {
        /// The name.
        name: String,
        /// One of the users.
        one: UserId,
        /// The other one.
        other: UserId,
    },
    /// A time zone nobody knows.
    #[error("{zone:?}, the time zone of {user}, is neither an IANA nor a Windows name")]
    UnknownZone {
        /// The name given.
        zone: String,
        /// Whose it is.
        user: UserId,
    },
    /// A user without a user principal name.
    #[error("{0} has no user principal name")]
    NoName(UserId),
}

impl Tenant {
    /// A tenant with these users; of two with the same id the later one counts.
    ///
    /// # Errors
    /// [`DirectoryError`] for users that contradict each other.
    pub fn new(
        domains: Vec<String>,
        applications: HashMap<AppId, Application>,
        users: impl IntoIterator<Item = User>,
    ) -> Result<Self, DirectoryError> {
        let distinct: HashMap<UserId, User> = users.into_iter().map(|user| (user.id, user)).collect();
        let mut users: Vec<User> = distinct.into_values().collect();
        users.sort_unstable_by_key(|user| user.id);
        let by_id = users.iter().enumerate().map(|(position, user)| (user.id, position)).collect();
        let mut by_name = HashMap::with_capacity(users.len());
        for user in &users {
            check(user)?;
            if let Some(other) = by_name.insert(fold(&user.user_principal_name), user.id) {
                let name = user.user_principal_name.clone();
                return Err(DirectoryError::DuplicateName {
                    name,
                    one: other.min(user.id),
                    other: other.max(user.id),
                });
            }
        }
        Ok(Self { domains, applications, users, by_id, by_name })
    }

    /// The same tenant with these users added or replaced.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_users(&self, users: impl IntoIterator<Item = User>) -> Result<Self, DirectoryError> {
        Self::new(self.domains.clone(), self.applications.clone(), self.users.iter().cloned().chain(users))
    }

    /// Every user, by object id.
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// The user with this object id.
    pub fn user(&self, id: UserId) -> Option<&User> {
        self.by_id.get(&id).map(|position| &self.users[*position])
    }
}

fn check(user: &User) -> Result<(), DirectoryError> {
    if user.user_principal_name.trim().is_empty() {
        return Err(DirectoryError::NoName(user.id));
    }
    match &user.time_zone {
        Some(zone) if graph::zone::zone(zone).is_none() => {
            Err(DirectoryError::UnknownZone { zone: zone.clone(), user: user.id })
        }
        _ => Ok(()),
    }
}

/// User principal names compare without case.
fn fold(name: &str) -> String {
    name.to_lowercase()
}

impl Directory {
    /// Adds a tenant, or replaces it.
    pub fn insert(&mut self, id: TenantId, tenant: Tenant) {
        self.tenants.insert(id, Arc::new(tenant));
    }

    /// A tenant.
    pub fn tenant(&self, id: TenantId) -> Option<&Arc<Tenant>> {
        self.tenants.get(&id)
    }

    pub(crate) fn user(&self, tenant: TenantId, user: UserId) -> Option<&User> {
        self.tenants.get(&tenant)?.user(user)
    }

    pub(crate) fn has_user(&self, tenant: TenantId, user: UserId) -> bool {
        self.tenants.get(&tenant).is_some_and(|tenant| tenant.by_id.contains_key(&user))
    }

    pub(crate) fn may_sign_in(&self, tenant: TenantId, user: UserId) -> bool {
        self.user(tenant, user).is_some_and(|user| user.account_enabled)
    }

    pub(crate) fn user_by_name(&self, tenant: TenantId, name: &str) -> Option<UserId> {
        self.tenants.get(&tenant)?.by_name.get(&fold(name)).copied()
    }

    pub(crate) fn time_zone(&self, tenant: TenantId, user: UserId) -> Option<TimeZone> {
        graph::zone::zone(self.user(tenant, user)?.time_zone.as_deref()?)
    }
}

/// Imported users as the store keeps them.
///
/// # Errors
/// [`StoreError`] of the store, and [`StoreError::Corrupt`] for a document that is not a user.
pub async fn imported_users(store: &dyn Store) -> Result<Vec<(TenantId, User)>, StoreError> {
    let documents = store.documents(DocumentKind::DirectoryUser).await?;
    documents.into_iter().map(|document| from_document(&document)).collect()
}

/// Keeps imported users.
///
/// # Errors
/// [`StoreError`] of the store.
pub async fn keep_users(store: &dyn Store, tenant: TenantId, users: &[User]) -> Result<(), StoreError> {
    let documents = users.iter().map(|user| to_document(tenant, user)).collect::<Result<_, _>>()?;
    store.put_documents(documents).await
}

fn to_document(tenant: TenantId, user: &User) -> Result<Document, StoreError> {
    let key = [tenant.as_u128().to_be_bytes(), user.id.as_u128().to_be_bytes()].concat();
    let body = serde_json::to_vec(user).map_err(|error| StoreError::TooLarge(error.to_string()))?;
    Ok(Document { kind: DocumentKind::DirectoryUser, key, body: Some(body) })
}

fn from_document(document: &Document) -> Result<(TenantId, User), StoreError> {
    let damaged = |what: String| StoreError::Corrupt(format!("a directory user: {what}"));
    let tenant = document.key.first_chunk::<16>().ok_or_else(|| damaged("short key".to_owned()))?;
    let body = document.body.as_deref().unwrap_or_default();
    let user = serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))?;
    Ok((TenantId::from_u128(u128::from_be_bytes(*tenant)), user))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u128, name: &str) -> User {
        User {
            display_name: Some(name.to_owned()),
            ..User::new(UserId::from_u128(number), format!("{name}@x.example"))
        }
    }

    #[test]
    fn users_are_found_by_id_and_by_name_in_any_case_within_their_tenant() {
        let tenant = Tenant::new(vec![], HashMap::new(), [user(2, "Zoe"), user(1, "ada")]).unwrap();
        let mut directory = Directory::default();
        let id = TenantId::from_u128(7);
        directory.insert(id, tenant);
        assert_eq!(directory.user_by_name(id, "ADA@X.example"), Some(UserId::from_u128(1)));
        assert_eq!(directory.user_by_name(TenantId::from_u128(8), "ada@x.example"), None);
        let names = directory.tenant(id).unwrap().users().iter().map(|u| u.id.as_u128()).collect::<Vec<_>>();
        assert_eq!(names, [1, 2]);
    }

    #[test]
    fn an_import_replaces_by_id_and_refuses_what_contradicts() {
        let tenant = Tenant::new(vec![], HashMap::new(), [user(1, "ada")]).unwrap();
        let renamed = tenant.with_users([user(1, "eva")]).unwrap();
        assert_eq!(renamed.users().len(), 1);
        let twice = tenant.with_users([user(2, "ADA")]).unwrap_err();
        assert!(matches!(twice, DirectoryError::DuplicateName { .. }), "{twice}");
        let lost = User { time_zone: Some("Atlantis Standard Time".to_owned()), ..user(3, "neo") };
        assert!(matches!(tenant.with_users([lost]), Err(DirectoryError::UnknownZone { .. })));
        assert_eq!(tenant.with_users([user(4, "  ")]).map(|_| ()), Ok(()));
        let nameless = User::new(UserId::from_u128(5), " ");
        assert_eq!(
            tenant.with_users([nameless]).map(|_| ()),
            Err(DirectoryError::NoName(UserId::from_u128(5)))
        );
    }

    #[tokio::test]
    async fn imported_users_come_back_from_the_store() {
        let store = store::Memory::default();
        let (tenant, users) = (TenantId::from_u128(7), [user(1, "ada"), user(2, "Zoe")]);
        keep_users(&store, tenant, &users).await.unwrap();
        let kept = imported_users(&store).await.unwrap();
        assert_eq!(kept, users.map(|user| (tenant, user)));
    }
}
