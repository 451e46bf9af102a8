//! `/me`, `/users` and photos: the small directory by which clients find ids (identity D).

use graph::odata::{Query, ServiceRoot};
use graph::path::Address;
use graph::user::{User, UserShape, user_select, write_user, write_users};
use graph::user_list::ListUsers;
use graph::{GraphError, headers};
use presence::UserId;

use super::{Request, Visitor};
use crate::app::App;
use crate::directory::Directory;
use crate::http::error::Refusal;
use crate::http::reply::Reply;

impl App {
    /// `GET /me`, `GET /users/{key}`.
    pub(super) fn get_user(&self, visitor: Visitor, request: &Request<'_>) -> Result<Reply, Refusal> {
        let query = Query::parse(request.query.unwrap_or_default())?;
        let select = user_select(&query)?;
        let level = query.metadata_level(request.accept());
        let target = self.allowed_target(visitor, request)?;
        let directory = self.directory();
        let user = find(&directory, visitor, target, request)?;
        let service = ServiceRoot::new(request.origin, request.route.root);
        let mut out = Vec::with_capacity(512);
        write_user(&mut out, &UserShape { service: &service, select: &select, level }, user);
        Ok(Reply::odata(level.content_type(), out))
    }

    /// `GET /users`.
    pub(super) fn list_users(&self, visitor: Visitor, request: &Request<'_>) -> Result<Reply, Refusal> {
        let query = Query::parse(request.query.unwrap_or_default())?;
        let options =
            ListUsers::parse(&query, headers::is_eventual(request.header(headers::CONSISTENCY_LEVEL)))?;
        let level = query.metadata_level(request.accept());
        self.authorize(request.operation, &visitor.grant, None)?;
        let directory = self.directory();
        let tenant = directory.tenant(visitor.tenant);
        let users = tenant.iter().flat_map(|tenant| tenant.users());
        let service = ServiceRoot::new(request.origin, request.route.root);
        let page = options.page(&service, users);
        let shape = UserShape { service: &service, select: &options.select, level };
        let mut out = Vec::with_capacity(256 + page.users.len() * 512);
        write_users(&mut out, &shape, page.users, page.count, page.next_link.as_deref());
        Ok(Reply::odata(level.content_type(), out))
    }

    /// `GET …/photo`, `GET …/photo/$value`: nobody has one here, and clients know how to live with that.
    pub(super) fn get_photo(&self, visitor: Visitor, request: &Request<'_>) -> Result<Reply, Refusal> {
        let target = self.allowed_target(visitor, request)?;
        find(&self.directory(), visitor, target, request)?;
        Err(GraphError::image_not_found().into())
    }

    fn allowed_target(&self, visitor: Visitor, request: &Request<'_>) -> Result<Option<UserId>, Refusal> {
        let target = self.resolve(visitor, request.route.address.as_ref());
        self.authorize(request.operation, &visitor.grant, target)?;
        Ok(target)
    }
}

fn find<'d>(
    directory: &'d Directory,
    visitor: Visitor,
    target: Option<UserId>,
    request: &Request<'_>,
) -> Result<&'d User, Refusal> {
    let key = match &request.route.address {
        Some(Address::User(key) | Address::Communications(key)) => key.as_str(),
        Some(Address::Me) | None => "me",
    };
    let user = target.and_then(|target| directory.user(visitor.tenant, target));
    user.ok_or_else(|| GraphError::resource_not_found(key).into())
}
