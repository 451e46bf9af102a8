//! Changes of a tenant's users, for the admin API and for SCIM alike.

use std::collections::HashSet;

use engine::notify::Subscription;
use graph::GraphError;
use graph::user::User;
use presence::{TenantId, UserId, UserKey};

use super::audit;
use crate::api::Visitor;
use crate::app::App;
use crate::directory::{Directory, Origin, Tenant, drop_user, keep_users};
use crate::http::error::Refusal;
use crate::scim::ScimType;

/// What to do with a user who is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnExisting {
    Replace,
    Refuse,
}

impl App {
    /// Adds users, or replaces them, all or none.
    pub(crate) async fn add_users(
        &self,
        visitor: Visitor,
        tenant: TenantId,
        users: Vec<User>,
        on_existing: OnExisting,
    ) -> Result<(), Refusal> {
        let _turn = self.directory_change.lock().await;
        let old = self.tenant(tenant)?;
        for user in &users {
            check_changeable(&old, user.id)?;
            if on_existing == OnExisting::Refuse && old.user(user.id).is_some() {
                let error = GraphError::conflict(format!("There is a user {} already.", user.id));
                return Err(Refusal { scim_type: Some(ScimType::Uniqueness), ..error.into() });
            }
        }
        let new = old.with_users(users.iter().cloned())?;
        keep_users(self.engine.store().as_ref(), tenant, &users).await?;
        self.put_tenant(tenant, new);
        self.end_those_of_disabled(tenant, &users).await;
        let object =
            if let [user] = &users[..] { user.id.to_string() } else { format!("{} users", users.len()) };
        audit(visitor, tenant, "put users", &object);
        Ok(())
    }

    /// Changes one user from what is there, and answers with the user as changed.
    pub(crate) async fn change_user(
        &self,
        visitor: Visitor,
        tenant: TenantId,
        id: UserId,
        change: impl FnOnce(&User) -> Result<User, Refusal>,
    ) -> Result<User, Refusal> {
        let _turn = self.directory_change.lock().await;
        let old = self.tenant(tenant)?;
        check_changeable(&old, id)?;
        let user = change(old.user(id).ok_or_else(GraphError::user_not_found)?)?;
        let new = old.with_users([user.clone()])?;
        keep_users(self.engine.store().as_ref(), tenant, std::slice::from_ref(&user)).await?;
        self.put_tenant(tenant, new);
        self.end_those_of_disabled(tenant, std::slice::from_ref(&user)).await;
        audit(visitor, tenant, "change user", &id.to_string());
        Ok(user)
    }

    /// Removes a user with everything of theirs.
    pub(crate) async fn remove_user(
        &self,
        visitor: Visitor,
        tenant: TenantId,
        id: UserId,
    ) -> Result<(), Refusal> {
        let _turn = self.directory_change.lock().await;
        let old = self.tenant(tenant)?;
        check_changeable(&old, id)?;
        if old.user(id).is_none() {
            return Err(GraphError::user_not_found().into());
        }
        // Out of the directory first, so that nothing new is written meanwhile; out of the store's directory last, so that
        // whoever is interrupted finds the user still there and can ask again.
        self.put_tenant(tenant, old.without_user(id));
        let gone = async {
            self.forget_user(UserKey { tenant, user: id }).await?;
            Ok::<_, Refusal>(drop_user(self.engine.store().as_ref(), tenant, id).await?)
        };
        if let Err(refusal) = gone.await {
            self.put_tenant(tenant, Tenant::clone(&old));
            return Err(refusal);
        }
        audit(visitor, tenant, "remove user", &id.to_string());
        Ok(())
    }

    /// Drops everything that is kept of a user who is no longer in the directory. The one place for it: whatever keeps
    /// something of a user by its own means is told here.
    pub(crate) async fn forget_user(&self, user: UserKey) -> Result<(), Refusal> {
        self.end_subscriptions(user.tenant, |of| of.delegated == Some(user.user)).await;
        Ok(self.engine.forget(user).await?)
    }

    /// Ends subscriptions whose owner may no longer have them, and tells the owner where that was asked for.
    pub(super) async fn end_subscriptions(&self, tenant: TenantId, is_over: impl Fn(&Subscription) -> bool) {
        for subscription in self.notifier.list_all(Some(tenant), None, usize::MAX) {
            if is_over(&subscription) {
                // Somebody else may have ended it meanwhile.
                let _ = self.notifier.remove(subscription.id).await;
            }
        }
    }

    /// Ends the subscriptions of those among these users who are disabled.
    async fn end_those_of_disabled(&self, tenant: TenantId, users: &[User]) {
        let disabled: HashSet<UserId> =
            users.iter().filter(|user| !user.account_enabled).map(|user| user.id).collect();
        if !disabled.is_empty() {
            self.end_subscriptions(tenant, |of| of.delegated.is_some_and(|user| disabled.contains(&user)))
                .await;
        }
    }

    /// A tenant that is there.
    pub(crate) fn tenant(&self, id: TenantId) -> Result<std::sync::Arc<Tenant>, Refusal> {
        let tenant = self.directory().tenant(id).cloned();
        tenant.ok_or_else(|| GraphError::not_found("There is no such tenant.").into())
    }

    /// Serves a tenant as it is now. Whoever calls holds [`directory_change`](App::directory_change).
    pub(crate) fn put_tenant(&self, id: TenantId, tenant: Tenant) {
        let mut directory = Directory::clone(&self.directory());
        directory.insert(id, tenant);
        self.replace_directory(directory);
    }
}

fn check_changeable(tenant: &Tenant, user: UserId) -> Result<(), Refusal> {
    match tenant.origin_of_user(user) {
        Origin::Kept => Ok(()),
        Origin::Declared => {
            let detail = format!("{user} is declared in the configuration and can only be changed there.");
            Err(Refusal { scim_type: Some(ScimType::Mutability), ..GraphError::conflict(detail).into() })
        }
    }
}
