//! Identifiers as types, so that a user cannot be passed where an application is meant.

use core::fmt;
use core::str::FromStr;

use uuid::Uuid;

use crate::guid;

macro_rules! guid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The identifier with these 128 bits, most significant first.
            pub const fn from_u128(bits: u128) -> Self {
                Self(Uuid::from_u128(bits))
            }

            /// The 128 bits, most significant first: the form in which tables and files keep an identifier.
            pub const fn as_u128(self) -> u128 {
                self.0.as_u128()
            }

            /// The GUID itself.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }

            /// The identifier with this text, as [`FromStr`] reads it.
            #[inline]
            pub fn from_chars(text: &[u8; guid::CHARS]) -> Option<Self> {
                guid::read(text).map(Self::from_u128)
            }

            /// The characters of its text: lower case, hyphenated.
            #[inline]
            pub fn to_chars(self) -> [u8; guid::CHARS] {
                guid::write(self.as_u128())
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        /// Reads the hyphenated form only, in either case: `fa8bf3dc-eca7-46b7-bad1-db199b62afc3`. Other spellings
        /// of a UUID (braces, URN, no hyphens) are not GUIDs to a Graph client and are refused.
        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text.as_bytes().try_into().ok().and_then(Self::from_chars) {
                    Some(id) => Ok(id),
                    // The library says what is wrong.
                    None => Ok(Self(text.parse::<uuid::fmt::Hyphenated>()?.into_uuid())),
                }
            }
        }

        /// Lower case, hyphenated.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.as_hyphenated())
            }
        }
    };
}

guid! {
    /// A user's object id. A presence object's id *is* this id. Source: presence-api §2.
    UserId
}
guid! {
    /// An application (client) id: the `sessionId` of the sessions it keeps. Source: presence-api §6.
    AppId
}
guid! {
    /// A tenant: users, applications and presence of one never touch those of another.
    TenantId
}

/// Whose presence: a user within a tenant. Two tenants may hold the same object id and never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey {
    /// The tenant the user belongs to.
    pub tenant: TenantId,
    /// The user's object id within it.
    pub user: UserId,
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn only_the_hyphenated_spelling_is_a_guid_and_case_does_not_matter() {
        let id: UserId = "FA8BF3DC-eca7-46b7-bad1-db199b62afc3".parse().unwrap();
        assert_eq!(id.to_string(), "fa8bf3dc-eca7-46b7-bad1-db199b62afc3");
        assert_eq!(UserId::from_u128(id.as_u128()), id);
        for other in [
            "",
            "fa8bf3dceca746b7bad1db199b62afc3",
            "{fa8bf3dc-eca7-46b7-bad1-db199b62afc3}",
            "urn:uuid:fa8bf3dc-eca7-46b7-bad1-db199b62afc3",
            "fa8bf3dc-eca7-46b7-bad1-db199b62afc3 ",
            "fa8bf3dc-eca7-46b7-bad1-db199b62afcg",
        ] {
            assert!(other.parse::<UserId>().is_err(), "{other:?}");
        }
    }
}
