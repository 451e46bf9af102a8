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

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;
    use crate::timeline::check;

    #[test]
    fn the_window_shows_its_text_from_its_start_until_just_before_its_end() {
        check(
            r#"
            00:00     out-of-office "Back on Monday" from 10:00 until 20:00
            00:00     sees in-office #0 next 10:00
            09:59     sees in-office Offline/Offline #0
            10:00     sees out-of-office "Back on Monday" Offline/OutOfOffice #1 next 20:00
            19:59     sees out-of-office "Back on Monday" Offline/OutOfOffice #1
            20:00     sees in-office Offline/Offline #2 next never
            "#,
        );
    }

    #[test]
    fn a_window_may_be_open_at_either_end() {
        check(
            "
            00:00     out-of-office until 10:00
            00:00     sees out-of-office next 10:00
            10:00     sees in-office next never
            20:00     out-of-office from 30:00
            29:59     sees in-office next 30:00
            30:00     sees out-of-office next never
            40:00     out-of-office
            40:00     sees out-of-office next never
            41:00     in-office
            41:00     sees in-office Offline/Offline next never
            ",
        );
    }

    #[test]
    fn available_and_offline_say_out_of_office_and_the_other_states_keep_their_activity() {
        check(
            "
            00:00     out-of-office
            00:00     sees Offline/OutOfOffice
            00:00     desk set Available/Available for 1h
            00:00     sees Available/OutOfOffice
            00:01     desk set Busy/InACall for 1h
            00:01     sees Busy/InACall out-of-office
            00:02     desk set Busy/InAConferenceCall for 1h
            00:02     sees Busy/InAConferenceCall out-of-office
            00:03     desk set Away/Away for 1h
            00:03     sees Away/Away out-of-office
            00:04     desk set DoNotDisturb/Presenting for 1h
            00:04     sees DoNotDisturb/Presenting out-of-office
            00:05     prefer Available/Available
            00:05     sees Available/OutOfOffice
            00:06     prefer Busy/Busy
            00:06     sees Busy/Busy out-of-office
            00:07     prefer BeRightBack/BeRightBack
            00:07     sees BeRightBack/BeRightBack out-of-office
            00:08     prefer Offline/OffWork
            00:08     sees Offline/OffWork out-of-office
            00:09     desk clear
            00:09     sees Offline/OutOfOffice
            ",
        );
    }

    #[test]
    fn the_first_fade_of_an_available_user_out_of_office_is_not_seen() {
        check(
            "
            00:00     out-of-office
            00:00     desk set Available/Available for 1h
            00:00     sees Available/OutOfOffice #2 next 10:00
            05:00     sees Available/OutOfOffice #2
            10:00     sees Away/Away out-of-office #3
            ",
        );
    }

    #[test]
    fn a_window_that_has_passed_is_taken_over_as_none() {
        check(
            "
            00:00     out-of-office
            10:00     out-of-office until 10:00
            10:00     sees in-office #2 next never
            10:00     out-of-office until 10:01
            10:00     sees out-of-office #3
            ",
        );
    }

    #[test]
    fn a_window_ends_after_it_starts() {
        let at = |second: i64| Some(Timestamp::from_second(second).unwrap());
        assert!(OutOfOffice::new(None, at(0), at(1)).is_ok());
        assert_eq!(OutOfOffice::new(None, at(1), at(1)), Err(PresenceError::EmptyWindow));
        assert_eq!(OutOfOffice::new(None, at(2), at(1)), Err(PresenceError::EmptyWindow));
    }

    #[test]
    fn the_text_is_bounded_in_characters_and_does_not_reach_a_log() {
        let longest = "\u{e9}".repeat(OUT_OF_OFFICE_CHARS_MAX);
        let window = OutOfOffice::new(Some(&longest), None, None).unwrap();
        assert_eq!(window.message(), Some(longest.as_str()));
        assert!(!format!("{window:?}").contains('\u{e9}'));
        let too_long = OutOfOffice::new(Some(&format!("{longest}.")), None, None);
        assert_eq!(too_long, Err(PresenceError::OutOfOfficeTooLong));
    }
}
