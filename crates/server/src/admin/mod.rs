//! Administration without an editor: applications, tenants and users over HTTP.

mod role;

pub(crate) use role::Rights;
pub use role::{ADMIN_ROLE, PROVISIONING_ROLE, is_own_role};
