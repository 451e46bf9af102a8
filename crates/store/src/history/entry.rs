//! The bytes of an entry: a format, then the [postcard](https://postcard.jamesmunns.com/wire-format) form of that
//! format's struct, with the record in the store's own stored form.

use presence::{AppId, TenantId, UserId, UserKey};
use serde::{Deserialize, Serialize};

use super::{Action, Author, HistoryEntry};
use crate::{StoreError, record};

/// What an erased entry has in place of a format: it is all zeros.
pub(super) const ERASED: u8 = 0;
/// The only format there is yet.
const FORMAT_1: u8 = 1;
/// Longest entry, in bytes.
pub(super) const ENTRY_BYTES_MAX: usize = record::RECORD_BYTES_MAX + 128;

#[derive(Serialize, Deserialize)]
struct EntryV1<'a> {
    tenant: [u8; 16],
    user: [u8; 16],
    app: Option<[u8; 16]>,
    by: Option<[u8; 16]>,
    action: u8,
    record: &'a [u8],
}

/// Codes that never change their meaning: files keep them.
const CODES: [(Action, u8); 11] = [
    (Action::SetPresence, 1),
    (Action::ClearPresence, 2),
    (Action::SetPreferredPresence, 3),
    (Action::ClearPreferredPresence, 4),
    (Action::SetStatusMessage, 5),
    (Action::SetManualLocation, 6),
    (Action::SetAutomaticLocation, 7),
    (Action::ClearLocation, 8),
    (Action::ClearAutomaticLocation, 9),
    (Action::SetSchedule, 10),
    (Action::SetOutOfOffice, 11),
];

pub(super) fn encode(entry: &HistoryEntry) -> Result<Vec<u8>, StoreError> {
    let record = record::encode(entry.version, None, &entry.presence)?;
    let action = CODES.iter().find(|(action, _)| *action == entry.action).map_or(0, |(_, code)| *code);
    let entry = EntryV1 {
        tenant: entry.user.tenant.as_u128().to_be_bytes(),
        user: entry.user.user.as_u128().to_be_bytes(),
        app: entry.author.app.map(|app| app.as_u128().to_be_bytes()),
        by: entry.author.user.map(|user| user.as_u128().to_be_bytes()),
        action,
        record: &record,
    };
    postcard::to_extend(&entry, vec![FORMAT_1])
        .map_err(|error| StoreError::TooLarge(format!("an entry that cannot be encoded: {error}")))
}

pub(super) fn decode(bytes: &[u8]) -> Result<HistoryEntry, StoreError> {
    let malformed = || StoreError::Corrupt("an entry of the history that is not well formed".into());
    let body = match bytes.split_first() {
        Some((&FORMAT_1, body)) => body,
        Some((&format, _)) if format > FORMAT_1 => {
            return Err(StoreError::Corrupt(format!(
                "an entry of format {format}, newer than {FORMAT_1}, the newest this program reads"
            )));
        }
        _ => return Err(malformed()),
    };
    let (entry, rest): (EntryV1<'_>, _) = postcard::take_from_bytes(body).map_err(|_| malformed())?;
    if !rest.is_empty() {
        return Err(malformed());
    }
    let action = CODES.iter().find(|(_, code)| *code == entry.action).map(|(action, _)| *action);
    let stored = record::decode(entry.record)?;
    Ok(HistoryEntry {
        user: UserKey {
            tenant: TenantId::from_u128(u128::from_be_bytes(entry.tenant)),
            user: UserId::from_u128(u128::from_be_bytes(entry.user)),
        },
        author: Author {
            app: entry.app.map(|app| AppId::from_u128(u128::from_be_bytes(app))),
            user: entry.by.map(|user| UserId::from_u128(u128::from_be_bytes(user))),
        },
        action: action.ok_or_else(malformed)?,
        version: stored.version,
        presence: stored.presence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_code_of_its_own_and_none_is_that_of_an_erased_entry() {
        let codes: std::collections::BTreeSet<u8> = CODES.iter().map(|(_, code)| *code).collect();
        assert_eq!((codes.len(), codes.contains(&0)), (CODES.len(), false));
        let actions: std::collections::HashSet<Action> = CODES.iter().map(|(action, _)| *action).collect();
        assert_eq!(actions.len(), CODES.len());
    }
}
