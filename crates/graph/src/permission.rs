//! Permissions: their names, their published ids, and what a token brings. Sources: §12, identity A.4 and D.

use std::fmt;

/// A permission that some operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Read one's own presence.
    PresenceRead,
    /// Read everyone's presence.
    PresenceReadAll,
    /// Read and write one's own presence.
    PresenceReadWrite,
    /// Read and write everyone's presence.
    PresenceReadWriteAll,
    /// Read one's own directory entry.
    UserRead,
    /// Read everyone's basic directory entry.
    UserReadBasicAll,
    /// Read everyone's directory entry.
    UserReadAll,
    /// Read the directory.
    DirectoryReadAll,
}

/// The published ids of a permission, for consent screens and application manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermissionId {
    /// As a delegated permission (scope), where it exists as one.
    pub delegated: Option<&'static str>,
    /// As an application permission (role), where it exists as one.
    pub application: Option<&'static str>,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 8] = [
        Self::PresenceRead,
        Self::PresenceReadAll,
        Self::PresenceReadWrite,
        Self::PresenceReadWriteAll,
        Self::UserRead,
        Self::UserReadBasicAll,
        Self::UserReadAll,
        Self::DirectoryReadAll,
    ];

    /// The name in `scp` and `roles`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PresenceRead => "Presence.Read",
            Self::PresenceReadAll => "Presence.Read.All",
            Self::PresenceReadWrite => "Presence.ReadWrite",
            Self::PresenceReadWriteAll => "Presence.ReadWrite.All",
            Self::UserRead => "User.Read",
            Self::UserReadBasicAll => "User.ReadBasic.All",
            Self::UserReadAll => "User.Read.All",
            Self::DirectoryReadAll => "Directory.Read.All",
        }
    }

    /// The permission of this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.as_str().eq_ignore_ascii_case(name))
    }

    /// The published ids; `None` for the directory's, which the reference sheet does not record.
    pub const fn id(self) -> Option<PermissionId> {
        let (delegated, application) = match self {
            Self::PresenceRead => (Some("76bc735e-aecd-4a1d-8b4c-2b915deabb79"), None),
            Self::PresenceReadAll => {
                (Some("9c7a330d-35b3-4aa1-963d-cb2b9f927841"), Some("a70e0c2d-e793-494c-94c4-118fa0a67f42"))
            }
            Self::PresenceReadWrite => (Some("8d3c54a7-cf58-4773-bf81-c0cd6ad522bb"), None),
            Self::PresenceReadWriteAll => (None, Some("83cded22-8297-4ff6-a7fa-e97e9545a259")),
            Self::UserRead | Self::UserReadBasicAll | Self::UserReadAll | Self::DirectoryReadAll => {
                return None;
            }
        };
        Some(PermissionId { delegated, application })
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of permissions, as one token brings them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct PermissionSet(u16);

impl PermissionSet {
    /// Adds a permission.
    pub fn insert(&mut self, permission: Permission) {
        self.0 |= permission.bit();
    }

    /// Whether the set has this permission.
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Whether the set has any of these.
    pub fn contains_any(self, permissions: &[Permission]) -> bool {
        permissions.iter().any(|permission| self.contains(*permission))
    }

    /// The permissions among these names; other names count for nothing.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().filter_map(Permission::parse).collect()
    }

    /// The permissions, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.contains(*permission))
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let mut set = Self::default();
        for permission in permissions {
            set.insert(permission);
        }
        set
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::as_str)).finish()
    }
}

/// On whose behalf a token acts, and what it may do. A name in the wrong claim counts for nothing (§12.2), so the two
/// kinds are told apart once, where the token is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A signed-in user, with the permissions of `scp`.
    Delegated {
        /// The user.
        user: presence::UserId,
        /// The delegated permissions.
        scopes: PermissionSet,
    },
    /// An application by itself, with the permissions of `roles`.
    Application {
        /// The application permissions.
        roles: PermissionSet,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_published_ids_of_the_presence_permissions() {
        let ids: Vec<_> = Permission::ALL
            .iter()
            .filter_map(|permission| permission.id())
            .flat_map(|id| [id.delegated, id.application])
            .flatten()
            .collect();
        assert_eq!(
            ids,
            [
                "76bc735e-aecd-4a1d-8b4c-2b915deabb79",
                "9c7a330d-35b3-4aa1-963d-cb2b9f927841",
                "a70e0c2d-e793-494c-94c4-118fa0a67f42",
                "8d3c54a7-cf58-4773-bf81-c0cd6ad522bb",
                "83cded22-8297-4ff6-a7fa-e97e9545a259",
            ]
        );
    }

    #[test]
    fn names_are_read_in_any_case_and_unknown_ones_count_for_nothing() {
        let set = PermissionSet::from_names(["presence.read.ALL", "openid", "User.Read"]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [Permission::PresenceReadAll, Permission::UserRead]);
        assert!(!set.contains(Permission::PresenceRead));
        assert!(set.contains_any(&[Permission::PresenceRead, Permission::UserRead]));
    }
}
