//! Out of office: an input from a mailbox or calendar, never set through the presence API itself.

use alloc::boxed::Box;

use jiff::Timestamp;

use crate::PresenceError;
use crate::limits::OUT_OF_OFFICE_CHARS_MAX;

/// A window in which the user is out of office, with the text of the automatic reply.
#[derive(Clone, PartialEq, Eq)]
pub struct OutOfOffice {
    message: Option<Box<str>>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
}

impl OutOfOffice {
    /// A window from `starts_at` (`None`: since ever) until just before `ends_at` (`None`: until further notice).
    ///
    /// # Errors
    /// [`PresenceError::EmptyWindow`] when it ends before it starts, [`PresenceError::OutOfOfficeTooLong`].
    pub fn new(
        message: Option<&str>,
        starts_at: Option<Timestamp>,
        ends_at: Option<Timestamp>,
    ) -> Result<Self, PresenceError> {
        if let (Some(starts), Some(ends)) = (starts_at, ends_at)
            && ends <= starts
        {
            return Err(PresenceError::EmptyWindow);
        }
        if message.is_some_and(|text| text.chars().nth(OUT_OF_OFFICE_CHARS_MAX).is_some()) {
            return Err(PresenceError::OutOfOfficeTooLong);
        }
        Ok(Self { message: message.map(Into::into), starts_at, ends_at })
    }

    /// The text of the automatic reply.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// When the window opens; `None` is since ever.
    pub const fn starts_at(&self) -> Option<Timestamp> {
        self.starts_at
    }

    /// When the window closes; `None` is until further notice.
    pub const fn ends_at(&self) -> Option<Timestamp> {
        self.ends_at
    }

    /// Whether `now` lies in the window.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.starts_at.is_none_or(|starts| starts <= now) && !self.is_over(now)
    }

    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|ends| ends <= now)
    }

    pub(crate) fn next_deadline(&self, after: Timestamp) -> Option<Timestamp> {
        [self.starts_at, self.ends_at].into_iter().flatten().filter(|at| *at > after).min()
    }
}

/// Says how long the text is, never what it is: message text does not reach a log.
impl core::fmt::Debug for OutOfOffice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OutOfOffice")
            .field("message_chars", &self.message().map(|text| text.chars().count()))
            .field("starts_at", &self.starts_at)
            .field("ends_at", &self.ends_at)
            .finish()
    }
}

/// What everyone sees of it: both members, always (presence-api §3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutOfOfficeSettings<'a> {
    /// Whether the user is out of office now.
    pub is_out_of_office: bool,
    /// The text of the automatic reply, only while out of office.
    pub message: Option<&'a str>,
}
