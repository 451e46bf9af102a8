//! The compatibility profile: how far the server goes beyond what the reference documents.
//!
//! Every difference between the two profiles is a function of [`Profile`] below, and a row of the profile table in
//! `docs/parity.md`. Nothing else in the server asks which profile it runs in.

use std::fmt;
use std::str::FromStr;

use presence::UserId;

use crate::operations::Row;
use crate::presence_request::IDS_MAX;
use crate::{Grant, GraphError, Operation, Permission};

/// Users one getPresencesByUserId may ask for in the extended profile, duplicates included. Ours: the answer is then
/// about as large as the largest request body.
pub const EXTENDED_IDS_MAX: usize = 10_000;

/// How far the server goes beyond what the reference documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// What is documented as refused is refused.
    #[default]
    Graph,
    /// Also what those who run a server of their own ask for.
    Extended,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 2] = [Self::Graph, Self::Extended];

    /// The name in configuration files and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Graph => "graph",
            Self::Extended => "extended",
        }
    }

    /// Users one getPresencesByUserId may ask for: 650 as documented (§5), or [`EXTENDED_IDS_MAX`].
    pub const fn ids_max(self) -> usize {
        match self {
            Self::Graph => IDS_MAX,
            Self::Extended => EXTENDED_IDS_MAX,
        }
    }

    /// The application permissions that open an operation besides those of its row. The location actions are documented
    /// without any (§10); the extended profile treats them as the other writes.
    const fn more_application_permissions(self, operation: Operation) -> &'static [Permission] {
        match (self, operation) {
            (
                Self::Extended,
                Operation::SetManualLocation
                | Operation::SetAutomaticLocation
                | Operation::ClearLocation
                | Operation::ClearAutomaticLocation,
            ) => &[Permission::PresenceReadWriteAll],
            _ => &[],
        }
    }

    /// Whether this grant may do this to `target` in this profile; see [`Row::authorize`].
    ///
    /// # Errors
    /// As [`Row::authorize`].
    pub fn authorize(self, row: &Row, grant: &Grant, target: Option<UserId>) -> Result<(), GraphError> {
        match *grant {
            Grant::Application { roles }
                if roles.contains_any(self.more_application_permissions(row.operation)) =>
            {
                Ok(())
            }
            Grant::Application { .. } | Grant::Delegated { .. } => row.authorize(grant, target),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|profile| profile.as_str() == name);
        found.ok_or_else(|| format!("{name:?} is neither \"graph\" nor \"extended\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OPERATIONS, PermissionSet};

    #[test]
    fn the_profiles_differ_for_applications_on_location_actions_and_nowhere_else() {
        let (own, other) = (UserId::from_u128(1), UserId::from_u128(2));
        for row in OPERATIONS {
            for permission in Permission::ALL {
                let set: PermissionSet = [permission].into_iter().collect();
                let grants = [Grant::Delegated { user: own, scopes: set }, Grant::Application { roles: set }];
                for (grant, target) in
                    grants.iter().flat_map(|g| [(g, Some(own)), (g, Some(other)), (g, None)])
                {
                    let graph = Profile::Graph.authorize(row, grant, target);
                    assert_eq!(graph, row.authorize(grant, target));
                    let is_opened = row.name.ends_with("Location")
                        && permission == Permission::PresenceReadWriteAll
                        && matches!(grant, Grant::Application { .. });
                    let extended = Profile::Extended.authorize(row, grant, target);
                    assert_eq!(extended, if is_opened { Ok(()) } else { graph }, "{} {permission}", row.name);
                }
            }
        }
    }

    #[test]
    fn a_profile_is_read_by_its_name() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        assert!("Graph".parse::<Profile>().is_err());
        assert_eq!((Profile::Graph.ids_max(), Profile::Extended.ids_max()), (650, EXTENDED_IDS_MAX));
    }
}
