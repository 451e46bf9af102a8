//! The smallest server that can answer a golden exchange: one clock that stands still, three users, nothing kept
//! but in memory. It does what the real one does with this crate, in the order of §13.3, and nothing else.

use std::collections::BTreeMap;

use graph::batch::{Batch, Order, PartResponse, write_responses};
use graph::error::InnerError;
use graph::headers::{self, is_eventual};
use graph::json::Body;
use graph::odata::{Query, ServiceRoot, presence_select};
use graph::path::{Address, Key, Route};
use graph::presence_reply::{PresenceList, Reader, Shape, write_presence};
use graph::user::{User, UserShape, user_select, write_photo, write_user, write_users};
use graph::user_list::ListUsers;
use graph::{
    Grant, GraphError, Method, Operation, Permission, PermissionSet, metadata, presence_request as request,
};
use jiff::tz::TimeZone;
use presence::{AppId, Command, Presence, Timestamp, UserId, UserPresence};

use crate::subscriptions::{Call, Subscriptions};

const APP: &str = "22222222-2222-4222-8222-222222222222";
const ADA: &str = "3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e";
const BOB: &str = "9b2d4a60-1c3e-4f58-8a7b-0d1e2f3a4b5c";
const NOW: &str = "2026-03-02T08:15:30.1234567Z";
const REQUEST_ID: &str = "5d3e7f10-0000-4000-8000-000000000001";
const PIXEL: &[u8] = b"not really a photo";

/// A request: its first line is method and target.
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn empty() -> Self {
        Self { status: 200, headers: Vec::new(), body: Vec::new() }
    }

    fn of(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { status: 200, headers, body: body.into() }
    }
}

/// Ada signed in, unless a request says `Authorization: application`, and a list of permissions in `Permissions`.
pub(crate) struct World {
    users: BTreeMap<UserId, User>,
    records: BTreeMap<UserId, UserPresence>,
    subscriptions: Subscriptions,
}

impl Default for World {
    fn default() -> Self {
        let user = |id: &str, name: &str, surname: &str| User {
            display_name: Some(format!("{name} {surname}")),
            given_name: Some(name.into()),
            surname: Some(surname.into()),
            ..User::new(id.parse().unwrap(), format!("{}@presence.example", name.to_lowercase()))
        };
        let ada = User {
            job_title: Some("Analyst".into()),
            business_phones: vec!["+44 20 5550100".into()],
            ..user(ADA, "Ada", "Lovelace")
        };
        let users = [ada, user(BOB, "Bob", "Cratchit")];
        Self {
            users: users.into_iter().map(|user| (user.id, user)).collect(),
            records: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
        }
    }
}

impl World {
    pub(crate) fn answer(&mut self, message: &Message) -> Answer {
        self.call(message).unwrap_or_else(|error| {
            let mut body = Vec::new();
            let inner =
                InnerError { date: NOW.parse().unwrap(), request_id: REQUEST_ID, client_request_id: None };
            error.write(&mut body, &inner);
            let mut answer = Answer { status: error.status, ..Answer::of(headers::CONTENT_TYPE_ERROR, body) };
            if let Some(allow) = &error.allow {
                let names: Vec<_> = allow.iter().map(|method| method.as_str()).collect();
                answer.headers.push(("Allow".into(), names.join(", ")));
            }
            answer
        })
    }

    fn call(&mut self, message: &Message) -> Result<Answer, GraphError> {
        let (method, target) = message.start.split_once(' ').expect("method and target");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |name: &str| {
            message
                .headers
                .iter()
                .find(|(header, _)| header.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.as_str())
        };
        let permissions = match header("Permissions") {
            Some(names) => PermissionSet::from_names(names.split(' ')),
            None => Permission::ALL.into_iter().collect(),
        };
        let grant = match header("Authorization") {
            Some("application") => Grant::Application { roles: permissions },
            _ => Grant::Delegated { user: ADA.parse().unwrap(), scopes: permissions },
        };
        let app: AppId = APP.parse().unwrap();
        let now: Timestamp = NOW.parse().unwrap();
        let body =
            Body { content_type: header("Content-Type"), content_encoding: None, bytes: &message.body };

        let route = Route::parse(path)?;
        let operation = route.operation(Method::parse(method))?;
        route.check_me(&grant)?;
        let query = Query::parse(query)?;
        let service = ServiceRoot::new("https://presence.example", route.root);
        let level = query.metadata_level(header("Accept"));
        let target = route.address.as_ref().and_then(|address| self.resolve(address));
        let allowed = |target| operation.row().authorize(&grant, target);
        let json = |body: Vec<u8>| Answer::of(level.content_type(), body);
        use Operation as O;
        let command = match operation {
            O::GetPresence => {
                let select = presence_select(&query)?;
                allowed(target)?;
                let shape = Shape { service: &service, select: &select, level };
                let user = target.ok_or_else(GraphError::user_not_found)?;
                let mut out = Vec::new();
                let address = route.address.as_ref().unwrap();
                write_presence(
                    &mut out,
                    &shape,
                    address,
                    user,
                    &self.presence(user, now),
                    reader(&grant, user),
                );
                return Ok(json(out));
            }
            O::GetPresencesByUserId => {
                let select = presence_select(&query)?;
                let users = request::get_presences_by_user_id(body, request::IDS_MAX)?;
                allowed(None)?;
                let mut list = PresenceList::new(
                    Shape { service: &service, select: &select, level },
                    users.len(),
                    Vec::new(),
                );
                for user in users {
                    list.push(user, &self.presence(user, now), reader(&grant, user));
                }
                return Ok(json(list.finish()));
            }
            O::GetUser | O::GetPhoto | O::GetPhotoContent => {
                let select = user_select(&query)?;
                allowed(target)?;
                let user = target.and_then(|user| self.users.get(&user));
                let user = user.ok_or_else(|| match &route.address {
                    Some(Address::User(key)) => GraphError::resource_not_found(key.as_str()),
                    _ => GraphError::identity_not_found(),
                })?;
                if operation != O::GetUser && user.id.to_string() != ADA {
                    return Err(GraphError::image_not_found());
                }
                let mut out = Vec::new();
                match operation {
                    O::GetUser => {
                        write_user(&mut out, &UserShape { service: &service, select: &select, level }, user);
                    }
                    O::GetPhoto => {
                        write_photo(&mut out, route.photo_size.unwrap_or(648), "image/jpeg", "\"1\"");
                    }
                    _ => return Ok(Answer::of("image/jpeg", PIXEL)),
                }
                return Ok(json(out));
            }
            O::ListUsers => {
                let list = ListUsers::parse(&query, is_eventual(header("ConsistencyLevel")))?;
                allowed(None)?;
                let page = list.page(&service, self.users.values());
                let mut out = Vec::new();
                let shape = UserShape { service: &service, select: &list.select, level };
                write_users(&mut out, &shape, page.users, page.count, page.next_link.as_deref());
                return Ok(json(out));
            }
            O::CreateSubscription
            | O::ListSubscriptions
            | O::GetSubscription
            | O::UpdateSubscription
            | O::DeleteSubscription
            | O::ReauthorizeSubscription
            | O::GetVapidPublicKey => {
                let key = route.subscription.as_deref();
                let call = Call { operation, grant: &grant, app, now, service: &service, key, body };
                let (status, body) = self.subscriptions.answer(call)?;
                return Ok(match body.is_empty() {
                    true => Answer { status, ..Answer::empty() },
                    false => Answer { status, ..json(body) },
                });
            }
            O::Batch => return self.batch(&Batch::parse(body, route.root)?),
            O::Metadata => return Ok(Answer::of(headers::CONTENT_TYPE_METADATA, metadata::CSDL)),
            O::SetPresence => request::set_presence(body, app)?,
            O::ClearPresence => request::clear_presence(body, app)?,
            O::SetUserPreferredPresence => request::set_user_preferred_presence(body)?,
            O::ClearUserPreferredPresence => Command::ClearPreferredPresence,
            O::SetStatusMessage => request::set_status_message(body, now)?,
            O::SetManualLocation => request::set_manual_location(body, TimeZone::UTC)?,
            O::SetAutomaticLocation => request::set_automatic_location(body, app, TimeZone::UTC)?,
            O::ClearLocation => Command::ClearLocation,
            O::ClearAutomaticLocation => Command::ClearAutomaticLocation,
        };
        allowed(target)?;
        let user =
            target.filter(|user| self.users.contains_key(user)).ok_or_else(GraphError::user_not_found)?;
        self.records.entry(user).or_default().apply(command, now)?;
        Ok(Answer::empty())
    }

    fn batch(&mut self, batch: &Batch) -> Result<Answer, GraphError> {
        let mut responses: Vec<PartResponse> = Vec::new();
        for part in &batch.parts {
            let has_failed = responses.last().is_some_and(|response| response.status >= 400);
            let message = match &part.request {
                Ok(request) => Message {
                    start: format!(
                        "{} {}{}{}",
                        request.method.as_str(),
                        request.path,
                        if request.query.is_empty() { "" } else { "?" },
                        request.query
                    ),
                    headers: request.headers.clone(),
                    body: request.body.clone(),
                },
                Err(error) => return Err(error.clone()),
            };
            let Answer { status, headers, body } = match (batch.order, has_failed) {
                (Order::Sequence, true) => {
                    let mut body = Vec::new();
                    let inner = InnerError {
                        date: NOW.parse().unwrap(),
                        request_id: REQUEST_ID,
                        client_request_id: None,
                    };
                    GraphError::failed_dependency().write(&mut body, &inner);
                    Answer { status: 424, ..Answer::of(headers::CONTENT_TYPE_ERROR, body) }
                }
                _ => self.answer(&message),
            };
            responses.push(PartResponse { id: part.id.clone(), status, headers, body });
        }
        let mut out = Vec::new();
        write_responses(&mut out, &responses);
        Ok(Answer::of(headers::CONTENT_TYPE_BATCH, out))
    }

    fn resolve(&self, address: &Address) -> Option<UserId> {
        let by_name = |key: &Key| {
            let named =
                self.users.values().find(|user| user.user_principal_name.eq_ignore_ascii_case(key.as_str()));
            named.map(|user| user.id)
        };
        match address {
            Address::Me => ADA.parse().ok(),
            Address::User(key) | Address::Communications(key) => key.id().or_else(|| by_name(key)),
        }
    }

    fn presence(&self, user: UserId, now: Timestamp) -> Presence<'_> {
        static NOBODY: std::sync::LazyLock<UserPresence> = std::sync::LazyLock::new(UserPresence::default);
        match self.users.contains_key(&user) {
            true => self.records.get(&user).unwrap_or(&NOBODY).at(now),
            false => Presence::UNKNOWN,
        }
    }
}

fn reader(grant: &Grant, target: UserId) -> Reader {
    match grant {
        Grant::Delegated { user, .. } if *user == target => Reader::Owner,
        _ => Reader::Other,
    }
}
