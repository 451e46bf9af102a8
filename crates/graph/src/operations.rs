//! The API table: every operation with its method, its paths, whom it asks for what, and whether it needs a body.
//!
//! The router ([`path`](crate::path)), the permission check ([`Row::authorize`]), the documentation and the test that
//! calls every row read this table; nothing about an operation is registered anywhere else. Sources: §2, §12,
//! identity D.

use presence::UserId;

use crate::permission::{Grant, Permission};
use crate::{GraphError, Permission as P};

/// What a caller can ask for. One operation may have several addresses: `/me`, a user's, and a presence object's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Read one presence.
    GetPresence,
    /// Read the presence of up to 650 users.
    GetPresencesByUserId,
    /// Create or refresh the application's presence session.
    SetPresence,
    /// End the application's presence session.
    ClearPresence,
    /// Choose what to be shown as.
    SetUserPreferredPresence,
    /// Take the choice back.
    ClearUserPreferredPresence,
    /// Publish a note, or take it back.
    SetStatusMessage,
    /// Say where the user works today.
    SetManualLocation,
    /// Report where the application sees the user work today.
    SetAutomaticLocation,
    /// Drop the manual and every automatic location.
    ClearLocation,
    /// Drop every automatic location.
    ClearAutomaticLocation,
    /// Read one directory user; `/me` is the signed-in one.
    GetUser,
    /// Read the directory, page by page.
    ListUsers,
    /// Read what is known about a user's photo.
    GetPhoto,
    /// Read a user's photo itself.
    GetPhotoContent,
    /// Subscribe to changes of presence.
    CreateSubscription,
    /// Show the application's subscriptions.
    ListSubscriptions,
    /// Show one subscription.
    GetSubscription,
    /// Renew a subscription, or send it elsewhere.
    UpdateSubscription,
    /// End a subscription.
    DeleteSubscription,
    /// Authorize a subscription again without renewing it.
    ReauthorizeSubscription,
    /// Ask for the key of Web Push, which there is none of.
    GetVapidPublicKey,
    /// Run up to twenty requests as one.
    Batch,
    /// Read the service's schema.
    Metadata,
}

/// An HTTP method, as far as the API knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD: a GET whose body is not sent.
    Head,
    /// POST.
    Post,
    /// PUT: only on resources of our own.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// Any other; no operation has it.
    Other,
}

impl Method {
    /// Reads a method's name, in any case: batches write them freely (§16).
    pub fn parse(name: &str) -> Self {
        [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete]
            .into_iter()
            .find(|method| method.as_str().eq_ignore_ascii_case(name))
            .unwrap_or(Self::Other)
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Other => "",
        }
    }
}

/// What an operation makes of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    /// The body and its Content-Type are ignored.
    Ignored,
    /// A JSON object with members.
    Required,
}

/// Whom an operation lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without a token.
    Anyone,
    /// Any accepted token: what is inside is checked by itself.
    AnyToken,
    /// A token with a permission, refused in the words of the presence surface.
    Presence(Permissions),
    /// A token with a permission, refused in the words of the directory surface.
    Directory(Permissions),
    /// A token with a permission, refused in the words of the subscription service.
    Subscription(Permissions),
}

/// The permissions of one operation. In each list the least privileged stands first; any one of them is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Delegated, on the signed-in user.
    pub delegated_own: &'static [Permission],
    /// Delegated, on other users or on many; `None` when no permission lets a delegated caller do that.
    pub delegated_other: Option<&'static [Permission]>,
    /// Application; empty when unsupported.
    pub application: &'static [Permission],
}

/// One row of the API table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The operation.
    pub operation: Operation,
    /// Its name in logs, metrics and documentation; for actions, the name on the wire.
    pub name: &'static str,
    /// Its method.
    pub method: Method,
    /// Its path templates below the version root. `{user}` and `{size}` stand for one segment.
    pub paths: &'static [&'static str],
    /// Whom it lets in.
    pub access: Access,
    /// What it makes of a body.
    pub body: BodyRule,
}

/// Read one's own or another's presence (§12.1). `Presence.ReadWrite` includes reading one's own: assumed (§12.2).
const READ: Access = Access::Presence(Permissions {
    delegated_own: &[P::PresenceRead, P::PresenceReadWrite, P::PresenceReadAll],
    delegated_other: Some(&[P::PresenceReadAll]),
    application: &[P::PresenceReadAll, P::PresenceReadWriteAll],
});

/// Read many: being one of them oneself makes no difference (§5).
const READ_MANY: Access = Access::Presence(Permissions {
    delegated_own: &[P::PresenceReadAll],
    delegated_other: Some(&[P::PresenceReadAll]),
    application: &[P::PresenceReadAll, P::PresenceReadWriteAll],
});

/// Write: a delegated caller only ever writes its own (§12.2).
const WRITE: Access = Access::Presence(Permissions {
    delegated_own: &[P::PresenceReadWrite],
    delegated_other: None,
    application: &[P::PresenceReadWriteAll],
});

/// Write the work location: no application permission exists (§10).
const WRITE_LOCATION: Access = Access::Presence(Permissions {
    delegated_own: &[P::PresenceReadWrite],
    delegated_other: None,
    application: &[],
});

/// Read one's own or another's directory entry (identity D).
const READ_USER: Access = Access::Directory(Permissions {
    delegated_own: &[P::UserRead, P::UserReadBasicAll, P::UserReadAll, P::DirectoryReadAll],
    delegated_other: Some(&[P::UserReadBasicAll, P::UserReadAll, P::DirectoryReadAll]),
    application: &[P::UserReadBasicAll, P::UserReadAll, P::DirectoryReadAll],
});

/// Subscribe to presence: reading is what is needed, writing alone is not enough (change-notifications §1). Applications
/// may, although the cloud does not let them: assumed, as self-hosting has no reason against it.
const SUBSCRIBE: Access = Access::Subscription(Permissions {
    delegated_own: &[P::PresenceReadAll],
    delegated_other: Some(&[P::PresenceReadAll]),
    application: &[P::PresenceReadAll, P::PresenceReadWriteAll],
});

macro_rules! subscription {
    ($operation:ident, $name:literal, $method:ident $path:literal, $access:expr, $body:ident) => {
        Row {
            operation: Operation::$operation,
            name: $name,
            method: Method::$method,
            paths: &[$path],
            access: $access,
            body: BodyRule::$body,
        }
    };
}

macro_rules! action {
    ($operation:ident, $name:literal, $access:expr, $body:expr) => {
        Row {
            operation: Operation::$operation,
            name: $name,
            method: Method::Post,
            paths: &[
                concat!("/me/presence/", $name),
                concat!("/users/{user}/presence/", $name),
                concat!("/communications/presences/{user}/", $name),
            ],
            access: $access,
            body: $body,
        }
    };
}

macro_rules! get {
    ($operation:ident, $name:literal, $access:expr, [$($path:literal),+ $(,)?]) => {
        Row {
            operation: Operation::$operation,
            name: $name,
            method: Method::Get,
            paths: &[$($path),+],
            access: $access,
            body: BodyRule::Ignored,
        }
    };
}

/// The API table.
pub const OPERATIONS: &[Row] = &[
    get!(
        GetPresence,
        "getPresence",
        READ,
        ["/me/presence", "/users/{user}/presence", "/communications/presences/{user}"]
    ),
    Row {
        operation: Operation::GetPresencesByUserId,
        name: "getPresencesByUserId",
        method: Method::Post,
        paths: &["/communications/getPresencesByUserId"],
        access: READ_MANY,
        body: BodyRule::Required,
    },
    action!(SetPresence, "setPresence", WRITE, BodyRule::Required),
    action!(ClearPresence, "clearPresence", WRITE, BodyRule::Required),
    action!(SetUserPreferredPresence, "setUserPreferredPresence", WRITE, BodyRule::Required),
    action!(ClearUserPreferredPresence, "clearUserPreferredPresence", WRITE, BodyRule::Ignored),
    action!(SetStatusMessage, "setStatusMessage", WRITE, BodyRule::Required),
    action!(SetManualLocation, "setManualLocation", WRITE_LOCATION, BodyRule::Required),
    action!(SetAutomaticLocation, "setAutomaticLocation", WRITE_LOCATION, BodyRule::Required),
    action!(ClearLocation, "clearLocation", WRITE_LOCATION, BodyRule::Ignored),
    action!(ClearAutomaticLocation, "clearAutomaticLocation", WRITE_LOCATION, BodyRule::Ignored),
    get!(GetUser, "getUser", READ_USER, ["/me", "/users/{user}"]),
    get!(ListUsers, "listUsers", READ_USER, ["/users"]),
    get!(
        GetPhoto,
        "getPhoto",
        READ_USER,
        ["/me/photo", "/users/{user}/photo", "/me/photos/{size}", "/users/{user}/photos/{size}"]
    ),
    get!(
        GetPhotoContent,
        "getPhotoContent",
        READ_USER,
        [
            "/me/photo/$value",
            "/users/{user}/photo/$value",
            "/me/photos/{size}/$value",
            "/users/{user}/photos/{size}/$value",
        ]
    ),
    // Before the keys: it looks like one.
    subscription!(
        GetVapidPublicKey,
        "getVapidPublicKey",
        Get "/subscriptions/getVapidPublicKey()",
        Access::AnyToken,
        Ignored
    ),
    subscription!(CreateSubscription, "createSubscription", Post "/subscriptions", SUBSCRIBE, Required),
    subscription!(ListSubscriptions, "listSubscriptions", Get "/subscriptions", Access::AnyToken, Ignored),
    subscription!(
        GetSubscription,
        "getSubscription",
        Get "/subscriptions/{subscription}",
        Access::AnyToken,
        Ignored
    ),
    subscription!(
        UpdateSubscription,
        "updateSubscription",
        Patch "/subscriptions/{subscription}",
        SUBSCRIBE,
        Required
    ),
    subscription!(
        DeleteSubscription,
        "deleteSubscription",
        Delete "/subscriptions/{subscription}",
        Access::AnyToken,
        Ignored
    ),
    subscription!(
        ReauthorizeSubscription,
        "reauthorizeSubscription",
        Post "/subscriptions/{subscription}/reauthorize",
        SUBSCRIBE,
        Ignored
    ),
    Row {
        operation: Operation::Batch,
        name: "batch",
        method: Method::Post,
        paths: &["/$batch"],
        access: Access::AnyToken,
        body: BodyRule::Required,
    },
    get!(Metadata, "metadata", Access::Anyone, ["/$metadata"]),
];

/// Paths that the schema generates and nobody ever saw working: they exist, and allow no method (§2).
pub const NO_OPERATION_PATHS: &[&str] = &["/communications/presences", "/communications/presences/$count"];

/// Where each operation has its row. The table has an order of its own: it is the order in which paths are tried.
const ROW_NUMBERS: [usize; OPERATIONS.len()] = {
    let mut numbers = [0; OPERATIONS.len()];
    let mut number = 0;
    while number < OPERATIONS.len() {
        numbers[OPERATIONS[number].operation as usize] = number;
        number += 1;
    }
    numbers
};

impl Operation {
    /// The operation's row of the API table.
    pub const fn row(self) -> &'static Row {
        &OPERATIONS[self.row_number()]
    }

    /// The place of that row.
    pub const fn row_number(self) -> usize {
        ROW_NUMBERS[self as usize]
    }

    /// The operation's name in logs, metrics and documentation.
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

impl Row {
    /// Steps 8 and 9 of §13.3: whether this grant may do this to `target`, `None` being no user or many.
    ///
    /// `/me` with an application token is step 5, before the body is read, and is
    /// [`Route::check_me`](crate::path::Route::check_me)'s business.
    ///
    /// # Errors
    /// 403 without the permission, in the words of the surface; 401 for a delegated write to another user.
    pub fn authorize(&self, grant: &Grant, target: Option<UserId>) -> Result<(), GraphError> {
        let (permissions, denied): (_, fn() -> GraphError) = match &self.access {
            Access::Anyone | Access::AnyToken => return Ok(()),
            Access::Presence(permissions) => (permissions, GraphError::forbidden),
            Access::Directory(permissions) => (permissions, GraphError::insufficient_privileges),
            Access::Subscription(permissions) => match self.operation {
                Operation::CreateSubscription => {
                    (permissions, || GraphError::subscription_forbidden("Create"))
                }
                _ => (permissions, || GraphError::subscription_forbidden("Update")),
            },
        };
        match *grant {
            Grant::Application { roles } => {
                roles.contains_any(permissions.application).then_some(()).ok_or_else(denied)
            }
            Grant::Delegated { user, scopes } => {
                let is_own = target == Some(user);
                match permissions.delegated_other {
                    Some(other) if !is_own => scopes.contains_any(other).then_some(()).ok_or_else(denied),
                    _ if !scopes.contains_any(permissions.delegated_own) => Err(denied()),
                    None if !is_own => Err(GraphError::presence_of_another_user(user)),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Whether some operation is open to applications with a permission of this name.
pub fn is_application_permission(name: &str) -> bool {
    is_asked_for(name, |permissions, wanted| permissions.application.contains(&wanted))
}

/// Whether some operation is open to signed-in users with a permission of this name.
pub fn is_delegated_permission(name: &str) -> bool {
    is_asked_for(name, |permissions, wanted| {
        permissions.delegated_own.contains(&wanted)
            || permissions.delegated_other.is_some_and(|p| p.contains(&wanted))
    })
}

fn is_asked_for(name: &str, asks: impl Fn(&Permissions, Permission) -> bool) -> bool {
    let Some(wanted) = Permission::parse(name) else { return false };
    OPERATIONS.iter().any(|row| match &row.access {
        Access::Anyone | Access::AnyToken => false,
        Access::Presence(permissions)
        | Access::Directory(permissions)
        | Access::Subscription(permissions) => asks(permissions, wanted),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::PermissionSet;

    const SELF: UserId = UserId::from_u128(1);
    const OTHER: UserId = UserId::from_u128(2);

    /// Which permissions open the operation: delegated on oneself, delegated on another, application.
    fn openers(operation: Operation) -> (Vec<P>, Vec<P>, Vec<P>) {
        let row = operation.row();
        let opens = |grant: fn(PermissionSet) -> Grant, target| {
            let one =
                |permission| row.authorize(&grant([permission].into_iter().collect()), Some(target)).is_ok();
            P::ALL.into_iter().filter(|permission| one(*permission)).collect::<Vec<_>>()
        };
        let delegated = |scopes| Grant::Delegated { user: SELF, scopes };
        (opens(delegated, SELF), opens(delegated, OTHER), opens(|roles| Grant::Application { roles }, OTHER))
    }

    #[test]
    fn reading_presence_needs_the_permissions_of_the_matrix() {
        assert_eq!(
            openers(Operation::GetPresence),
            (
                vec![P::PresenceRead, P::PresenceReadAll, P::PresenceReadWrite],
                vec![P::PresenceReadAll],
                vec![P::PresenceReadAll, P::PresenceReadWriteAll],
            )
        );
        assert_eq!(
            openers(Operation::GetPresencesByUserId),
            (
                vec![P::PresenceReadAll],
                vec![P::PresenceReadAll],
                vec![P::PresenceReadAll, P::PresenceReadWriteAll]
            )
        );
    }

    #[test]
    fn writing_presence_needs_read_write_on_oneself_or_read_write_all_as_an_application() {
        use Operation as O;
        for operation in [
            O::SetPresence,
            O::ClearPresence,
            O::SetUserPreferredPresence,
            O::ClearUserPreferredPresence,
            O::SetStatusMessage,
        ] {
            assert_eq!(
                openers(operation),
                (vec![P::PresenceReadWrite], vec![], vec![P::PresenceReadWriteAll]),
                "{operation:?}"
            );
        }
    }

    #[test]
    fn location_actions_are_closed_to_applications() {
        use Operation as O;
        for operation in
            [O::SetManualLocation, O::SetAutomaticLocation, O::ClearLocation, O::ClearAutomaticLocation]
        {
            assert_eq!(openers(operation), (vec![P::PresenceReadWrite], vec![], vec![]), "{operation:?}");
            let all = Grant::Application { roles: P::ALL.into_iter().collect() };
            assert_eq!(operation.row().authorize(&all, Some(OTHER)), Err(GraphError::forbidden()));
        }
    }

    #[test]
    fn the_directory_needs_the_users_permissions_and_refuses_in_its_own_words() {
        let all = vec![P::UserReadBasicAll, P::UserReadAll, P::DirectoryReadAll];
        let own = [&[P::UserRead], &all[..]].concat();
        assert_eq!(openers(Operation::GetUser), (own, all.clone(), all.clone()));
        let scopes = [P::UserRead].into_iter().collect();
        assert_eq!(
            Operation::ListUsers.row().authorize(&Grant::Delegated { user: SELF, scopes }, None),
            Err(GraphError::insufficient_privileges())
        );
    }

    #[test]
    fn a_delegated_write_to_another_user_is_403_without_the_scope_and_401_with_it() {
        let row = Operation::SetPresence.row();
        let with = |scopes: &[P]| Grant::Delegated { user: SELF, scopes: scopes.iter().copied().collect() };
        assert_eq!(row.authorize(&with(&[]), Some(OTHER)), Err(GraphError::forbidden()));
        assert_eq!(
            row.authorize(&with(&[P::PresenceReadWrite]), Some(OTHER)),
            Err(GraphError::presence_of_another_user(SELF))
        );
        assert_eq!(row.authorize(&with(&[P::PresenceReadWrite]), Some(SELF)), Ok(()));
    }

    #[test]
    fn getting_many_with_only_presence_read_is_forbidden_even_for_ones_own_id() {
        let scopes = [P::PresenceRead].into_iter().collect();
        let grant = Grant::Delegated { user: SELF, scopes };
        assert_eq!(
            Operation::GetPresencesByUserId.row().authorize(&grant, None),
            Err(GraphError::forbidden())
        );
    }

    #[test]
    fn every_operation_has_one_row_and_every_method_and_path_one_operation() {
        let mut seen = HashSet::new();
        let mut names = HashSet::new();
        for row in OPERATIONS {
            assert_eq!(row.operation.row(), row);
            assert!(names.insert(row.name), "{}", row.name);
            for path in row.paths {
                assert!(seen.insert((row.method, *path)), "{path}");
                assert!(!NO_OPERATION_PATHS.contains(path), "{path}");
            }
        }
        // One row for each variant: the last variant is the highest.
        assert_eq!(OPERATIONS.len(), Operation::Metadata as usize + 1);
    }

    #[test]
    fn a_permission_is_delegated_application_or_both() {
        for permission in P::ALL {
            let kinds = (
                is_delegated_permission(permission.as_str()),
                is_application_permission(permission.as_str()),
            );
            let expected = match permission {
                P::PresenceRead | P::PresenceReadWrite | P::UserRead => (true, false),
                P::PresenceReadWriteAll => (false, true),
                P::PresenceReadAll | P::UserReadBasicAll | P::UserReadAll | P::DirectoryReadAll => {
                    (true, true)
                }
            };
            assert_eq!(kinds, expected, "{permission}");
        }
        assert!(!is_application_permission("Presence.Write"));
    }
}
