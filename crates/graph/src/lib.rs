//! The wire: every path, string, number and JSON shape of the presence API, in both directions.
//!
//! A request's path becomes a [`path::Route`], the route and the verb an [`Operation`], the body a
//! [`presence::Command`] that is already legal; a [`presence::Presence`] becomes the documented bytes. Wire strings
//! exist here and nowhere else, each once.
//!
//! There is no socket here, no store and no clock: "now" is an argument. Section marks (§) are those of the presence
//! API reference sheet this project is built from; "identity" marks those of its companion on tokens and users.
#![warn(missing_docs)]

pub mod batch;
pub mod calendar;
pub mod error;
pub mod explanation;
pub mod feed;
pub mod filter;
pub mod headers;
pub mod history;
pub mod json;
pub mod metadata;
pub mod mqtt;
pub mod notification;
pub mod odata;
pub mod openapi;
pub mod operations;
pub mod path;
mod permission;
pub mod presence_reply;
pub mod presence_request;
mod profile;
pub mod subscription;
pub mod time;
pub mod user;
pub mod user_list;
pub mod words;
pub mod zone;

pub use error::{ErrorCode, GraphError};
pub use operations::{Access, BodyRule, Method, NO_OPERATION_PATHS, OPERATIONS, Operation, Permissions, Row};
pub use permission::{Grant, Permission, PermissionId, PermissionSet};
pub use profile::{EXTENDED_IDS_MAX, Profile};
