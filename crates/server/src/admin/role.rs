//! The roles of this server's own, beside the permissions of Graph.

use identity::Permissions;

/// May manage applications, users and, in the host tenant, tenants.
pub const ADMIN_ROLE: &str = "Presenced.Admin";
/// May manage users over SCIM: for an identity provider, which needs no more.
pub const PROVISIONING_ROLE: &str = "Presenced.Provisioning";

/// Whether this is a role of the server's own.
pub fn is_own_role(name: &str) -> bool {
    [ADMIN_ROLE, PROVISIONING_ROLE].iter().any(|role| role.eq_ignore_ascii_case(name))
}

/// What the roles of a token open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) administer: bool,
    pub(crate) provision: bool,
}

impl Rights {
    /// An administrator may do what a provisioner may.
    pub(crate) fn of(roles: &Permissions) -> Self {
        let administer = roles.has(ADMIN_ROLE);
        Self { administer, provision: administer || roles.has(PROVISIONING_ROLE) }
    }
}
