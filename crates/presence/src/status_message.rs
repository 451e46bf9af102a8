//! The user's note. Independent of sessions and preferred presence: it stays when the user is offline.

use alloc::boxed::Box;

use jiff::Timestamp;

use crate::PresenceError;
use crate::limits::STATUS_MESSAGE_CHARS_MAX;

/// The words of a status message: not empty, at most [`STATUS_MESSAGE_CHARS_MAX`] characters.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusText(Box<str>);

impl StatusText {
    /// `None` for the empty text, which clears a message (presence-api §9).
    ///
    /// # Errors
    /// [`PresenceError::StatusMessageTooLong`].
    pub fn new(text: &str) -> Result<Option<Self>, PresenceError> {
        if text.chars().nth(STATUS_MESSAGE_CHARS_MAX).is_some() {
            return Err(PresenceError::StatusMessageTooLong);
        }
        Ok((!text.is_empty()).then(|| Self(text.into())))
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Says how long the text is, never what it is: message text does not reach a log.
impl core::fmt::Debug for StatusText {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "StatusText({} characters)", self.0.chars().count())
    }
}

/// A status message as a caller asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStatusMessage {
    /// The words.
    pub text: StatusText,
    /// When it ends; `None` is never.
    pub expires_at: Option<Timestamp>,
}

impl NewStatusMessage {
    /// # Errors
    /// [`PresenceError::StatusMessageExpired`] when it would already have ended at `now`.
    pub fn check(&self, now: Timestamp) -> Result<(), PresenceError> {
        match self.expires_at {
            Some(expires_at) if expires_at <= now => Err(PresenceError::StatusMessageExpired),
            _ => Ok(()),
        }
    }
}

/// A status message as it is kept. Only its owner sees the two instants (presence-api §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusMessage {
    /// The words.
    pub text: StatusText,
    /// When it was set.
    pub published_at: Timestamp,
    /// When it ends; `None` is never.
    pub expires_at: Option<Timestamp>,
}

impl StatusMessage {
    /// Whether the message is shown at `now`. An expired message is none.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}
