//! `/me/presence`, `/users/{id}/presence`, `/communications/presences/{id}` and `/communications/getPresencesByUserId`.

use engine::EngineError;
use graph::odata::{Query, ServiceRoot, presence_select};
use graph::path::Address;
use graph::presence_reply::{PresenceList, Shape, write_presence};
use graph::presence_request as body;
use graph::{GraphError, Operation};
use jiff::tz::TimeZone;
use presence::{Command, Presence, UserId};

use super::{Request, Visitor};
use crate::app::App;
use crate::http::buffers;
use crate::http::error::Refusal;
use crate::http::reply::Reply;

impl App {
    /// `GET P`.
    pub(super) async fn get_presence(
        &self,
        visitor: Visitor,
        request: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        let query = Query::parse(request.query.unwrap_or_default())?;
        let select = presence_select(&query)?;
        let level = query.metadata_level(request.accept());
        let target = self.resolve(visitor, request.route.address.as_ref());
        self.authorize(request.operation, &visitor.grant, target)?;
        // A user principal name nobody has is 404; an unknown object id is a user of whom nothing is known (§4).
        let target = target.ok_or_else(GraphError::user_not_found)?;
        let address = request.route.address.as_ref().unwrap_or(&Address::Me);
        let service = ServiceRoot::new(request.origin, request.route.root);
        let shape = Shape { service: &service, select: &select, level };
        let reader = visitor.reader(target);
        let mut out = buffers::take();
        let directory = self.directory();
        let visible = directory.visible(visitor.tenant, target);
        if let Some(asked) = visible {
            let write = |_, presence: &Presence<'_>| {
                write_presence(&mut out, &shape, address, target, presence, reader);
            };
            self.engine.show(&[asked], write).await?;
        } else {
            write_presence(&mut out, &shape, address, target, &Presence::UNKNOWN, reader);
        }
        Ok(Reply::odata(level.content_type(), buffers::lend(out)))
    }

    /// `POST /communications/getPresencesByUserId`.
    pub(super) async fn get_presences(
        &self,
        visitor: Visitor,
        request: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        let query = Query::parse(request.query.unwrap_or_default())?;
        let select = presence_select(&query)?;
        let level = query.metadata_level(request.accept());
        let users = body::get_presences_by_user_id(request.json(), self.profile.ids_max())?;
        self.authorize(request.operation, &visitor.grant, None)?;
        let service = ServiceRoot::new(request.origin, request.route.root);
        let shape = Shape { service: &service, select: &select, level };
        let list = self.presences(visitor, &users, shape, buffers::take()).await?;
        Ok(Reply::odata(level.content_type(), buffers::lend(list)))
    }

    /// How these users are shown now, as a collection; written into `out`, which is empty.
    pub(crate) async fn presences(
        &self,
        visitor: Visitor,
        users: &[UserId],
        shape: Shape<'_>,
        out: Vec<u8>,
    ) -> Result<Vec<u8>, EngineError> {
        let directory = self.directory();
        let known = directory.all_visible(visitor.tenant, users);
        let mut list = PresenceList::new(shape, users.len(), out);
        let mut rest = users.iter().copied();
        let write = |place: usize, presence: &Presence<'_>| {
            let found = known[place].user.user;
            for user in rest.by_ref() {
                let reader = visitor.reader(user);
                if user == found {
                    list.push(user, presence, reader);
                    break;
                }
                list.push(user, &Presence::UNKNOWN, reader);
            }
        };
        self.engine.show(&known, write).await?;
        for user in rest {
            list.push(user, &Presence::UNKNOWN, visitor.reader(user));
        }
        Ok(list.finish())
    }

    /// Every `POST P/{action}`.
    pub(super) async fn change_presence(
        &self,
        visitor: Visitor,
        request: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        // Nothing to select from, but what presence has no use for is refused here as on reads (§14.2).
        presence_select(&Query::parse(request.query.unwrap_or_default())?)?;
        let target = self.resolve(visitor, request.route.address.as_ref());
        let command = self.command(visitor, target, request)?;
        self.authorize(request.operation, &visitor.grant, target)?;
        let target = target.filter(|user| self.directory().has_user(visitor.tenant, *user));
        let target = target.ok_or_else(GraphError::user_not_found)?;
        let applied = self.engine.execute_by(visitor.author(), visitor.key(target), command).await?;
        Ok(Reply { outcome: Some(applied.outcome), ..Reply::empty() })
    }

    fn command(
        &self,
        visitor: Visitor,
        target: Option<UserId>,
        request: &Request<'_>,
    ) -> Result<Command, Refusal> {
        use Operation as O;
        let json = request.json();
        let zone = || {
            let zone = target.and_then(|user| self.directory().time_zone(visitor.tenant, user));
            zone.unwrap_or(TimeZone::UTC)
        };
        Ok(match request.operation {
            O::SetPresence => body::set_presence(json, visitor.app)?,
            O::ClearPresence => body::clear_presence(json, visitor.app)?,
            O::SetUserPreferredPresence => body::set_user_preferred_presence(json)?,
            O::ClearUserPreferredPresence => Command::ClearPreferredPresence,
            O::SetStatusMessage => body::set_status_message(json, self.engine.clock().now())?,
            O::SetManualLocation => body::set_manual_location(json, zone())?,
            O::SetAutomaticLocation => body::set_automatic_location(json, visitor.app, zone())?,
            O::ClearLocation => Command::ClearLocation,
            O::ClearAutomaticLocation => Command::ClearAutomaticLocation,
            O::GetPresence
            | O::GetPresencesByUserId
            | O::GetUser
            | O::ListUsers
            | O::GetPhoto
            | O::GetPhotoContent
            | O::CreateSubscription
            | O::ListSubscriptions
            | O::GetSubscription
            | O::UpdateSubscription
            | O::DeleteSubscription
            | O::ReauthorizeSubscription
            | O::GetVapidPublicKey
            | O::Batch
            | O::Metadata => return Err(GraphError::internal().into()),
        })
    }
}
