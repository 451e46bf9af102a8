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
    /// Whether the message may still be set at `now`.
    ///
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

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;
    use crate::timeline::check;

    #[test]
    fn a_message_is_shown_until_its_expiry() {
        check(
            r#"
            00:00     status "Back at one" until 10:00
            00:00     sees status "Back at one" #1 next 10:00
            09:59     sees status "Back at one" #1
            10:00     sees unstatus #2 next never
            10:01     sees unstatus #2
            "#,
        );
    }

    #[test]
    fn a_message_without_expiry_stays() {
        check(
            r#"
            00:00     status "Gone fishing"
            00:00     sees status "Gone fishing" #1 next never
            9999-12-30T22:00:00Z sees status "Gone fishing" #1
            "#,
        );
    }

    #[test]
    fn a_message_needs_no_session_and_outlives_them() {
        check(
            r#"
            00:00     status "Here"
            00:00     sees Offline/Offline status "Here"
            00:00     desk set Available/Available
            00:00     prefer Busy/Busy for 2m
            01:00     sees Busy/Busy status "Here"
            05:00     sees Offline/Offline status "Here"
            "#,
        );
    }

    #[test]
    fn a_message_replaces_the_last_with_its_expiry_and_can_be_taken_back() {
        check(
            r#"
            00:00     status "One" until 10:00
            01:00     status "Two"
            01:00     sees status "Two" #2 next never
            02:00     status "Three" until 03:00
            02:00     sees status "Three" #3 next 03:00
            02:30     unstatus
            02:30     sees unstatus #4 next never
            02:31     unstatus
            02:31     sees #4
            "#,
        );
    }

    #[test]
    fn publishing_the_same_words_again_is_a_change_of_when_they_were_published() {
        check(
            r#"
            00:00     status "Here"
            00:00     sees #1
            00:00     status "Here"
            00:00     sees #1
            00:01     status "Here"
            00:01     sees #2
            "#,
        );
    }

    #[test]
    fn an_expiry_that_has_passed_is_refused() {
        check(
            r#"
            10:00     status "Stays"
            10:00     status "Late" until 09:59 refused StatusMessageExpired
            10:00     status "Late" until 10:00 refused StatusMessageExpired
            10:00     sees status "Stays" #1
            10:00     status "In time" until 10:01
            10:00     sees status "In time" #2
            "#,
        );
    }

    #[test]
    fn a_text_is_bounded_in_characters_and_none_when_empty() {
        let longest = "\u{e9}".repeat(STATUS_MESSAGE_CHARS_MAX);
        assert_eq!(StatusText::new(&longest).unwrap().unwrap().as_str(), longest);
        assert_eq!(StatusText::new(&format!("{longest}.")), Err(PresenceError::StatusMessageTooLong));
        assert_eq!(StatusText::new(""), Ok(None));
    }

    #[test]
    fn the_words_do_not_reach_a_log() {
        let text = StatusText::new("a secret").unwrap().unwrap();
        assert_eq!(format!("{text:?}"), "StatusText(8 characters)");
    }
}
