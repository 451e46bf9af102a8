//! The subscriptions of the golden [`World`](crate::world::World): a list in memory, ids counted up, and endpoints that
//! always complete the handshake because nobody calls them.

use std::collections::BTreeMap;

use graph::json::Body;
use graph::odata::ServiceRoot;
use graph::subscription::{self as wire, CreateSubscription, Rules, Shown};
use graph::{Grant, GraphError, Operation};
use presence::{AppId, Timestamp, UserId};
use uuid::Uuid;

/// The ids that are handed out: this, and one more each time.
const FIRST_ID: u128 = 0x7622_2963_cc7b_42d2_882d_8aaa_69cb_0001;

/// What the list must know of a request.
pub(crate) struct Call<'a> {
    pub(crate) operation: Operation,
    pub(crate) grant: &'a Grant,
    pub(crate) app: AppId,
    pub(crate) now: Timestamp,
    pub(crate) service: &'a ServiceRoot,
    /// The key in the path.
    pub(crate) key: Option<&'a str>,
    pub(crate) body: Body<'a>,
}

struct Kept {
    owner: Option<UserId>,
    app: AppId,
    asked: CreateSubscription,
}

#[derive(Default)]
pub(crate) struct Subscriptions {
    kept: BTreeMap<Uuid, Kept>,
}

impl Subscriptions {
    /// Status and body.
    pub(crate) fn answer(&mut self, call: Call<'_>) -> Result<(u16, Vec<u8>), GraphError> {
        use Operation as O;
        match call.operation {
            O::CreateSubscription => self.create(&call),
            O::ListSubscriptions => {
                let owner = owner(call.grant);
                let own = self.kept.iter().filter(|(_, kept)| (kept.owner, kept.app) == (owner, call.app));
                let page: Vec<_> = own.map(|(id, kept)| shown(*id, kept)).collect();
                Ok((200, wire::write_list(call.service, &page, None)))
            }
            O::GetSubscription => {
                let id = self.own(&call)?;
                Ok((200, wire::write_one(call.service, &shown(id, &self.kept[&id]))))
            }
            O::UpdateSubscription => {
                let asked = wire::update(call.body, call.now, &Rules::default())?;
                let id = self.own(&call)?;
                authorize(&call)?;
                let kept = self.kept.get_mut(&id).expect("it is one's own");
                kept.asked.expires_at = asked.expires_at.unwrap_or(kept.asked.expires_at);
                if let Some(url) = asked.notification_url {
                    kept.asked.notification_url = url;
                }
                kept.asked.encryption = asked.encryption.or(kept.asked.encryption.take());
                Ok((200, wire::write_one(call.service, &shown(id, kept))))
            }
            O::ReauthorizeSubscription => {
                self.own(&call)?;
                authorize(&call)?;
                Ok((204, Vec::new()))
            }
            O::DeleteSubscription => {
                let id = self.own(&call)?;
                self.kept.remove(&id);
                Ok((204, Vec::new()))
            }
            O::GetVapidPublicKey => Err(GraphError::bad_request("Web Push is not supported here.")),
            other => unreachable!("{other:?} is about something else"),
        }
    }

    /// One subscription of a user and an application, as documented.
    fn create(&mut self, call: &Call<'_>) -> Result<(u16, Vec<u8>), GraphError> {
        let asked = wire::create(call.body, call.now, &Rules::default())?;
        authorize(call)?;
        let owner = owner(call.grant);
        let other = self.kept.iter().find(|(_, kept)| (kept.owner, kept.app) == (owner, call.app));
        if let Some((id, kept)) = other {
            return Err(match kept.asked.resource == asked.resource {
                true => GraphError::same_subscription_exists(*id),
                false => GraphError::another_subscription_exists(),
            });
        }
        let id = Uuid::from_u128(FIRST_ID + self.kept.len() as u128);
        let kept = Kept { owner, app: call.app, asked };
        let body = wire::write_one(call.service, &shown(id, &kept));
        self.kept.insert(id, kept);
        Ok((201, body))
    }

    fn own(&self, call: &Call<'_>) -> Result<Uuid, GraphError> {
        let id = call.key.and_then(|key| Uuid::parse_str(key).ok());
        let is_own = |id: &Uuid| {
            self.kept.get(id).is_some_and(|kept| (kept.owner, kept.app) == (owner(call.grant), call.app))
        };
        id.filter(is_own).ok_or_else(GraphError::subscription_not_found)
    }
}

fn authorize(call: &Call<'_>) -> Result<(), GraphError> {
    call.operation.row().authorize(call.grant, None)
}

fn owner(grant: &Grant) -> Option<UserId> {
    match grant {
        Grant::Delegated { user, .. } => Some(*user),
        Grant::Application { .. } => None,
    }
}

fn shown(id: Uuid, kept: &Kept) -> Shown<'_> {
    let asked = &kept.asked;
    Shown {
        id,
        resource: &asked.resource,
        change_type: &asked.change_type,
        notification_url: &asked.notification_url,
        lifecycle_notification_url: asked.lifecycle_notification_url.as_deref(),
        client_state: asked.client_state.as_deref(),
        include_resource_data: asked.include_resource_data,
        encryption_certificate_id: asked.encryption.as_ref().map(|encryption| &*encryption.id),
        notification_url_app_id: asked.notification_url_app_id.as_deref(),
        latest_supported_tls_version: asked.latest_supported_tls_version.as_deref(),
        notification_content_type: asked.notification_content_type.as_deref(),
        expires_at: asked.expires_at,
        application: kept.app,
        creator: kept.owner.map_or(Uuid::nil(), |user| user.to_string().parse().expect("it is a GUID")),
    }
}
