//! Presences that say no more than their availability and activity, as most do, written as fast as bytes can be copied.
//!
//! There are as many of them as there are pairs. Each is here as the whole of its JSON, made by the compiler, with room for
//! the two things in which users of one pair differ: the id and the sequence number. To write one is to copy it and to put
//! these two in. Built member by member, 650 of them were a fifth of a batch read.

use presence::{Pair, SequenceNumber, UserId};

use super::sequence_number_text;
use crate::words;

/// What stands before the id, the comma between two presences of a list included.
const BEFORE_ID: &str = ",{\"id\":\"";
const BEFORE_AVAILABILITY: &str = "------------------------------------\",\"availability\":\"";
const BEFORE_ACTIVITY: &str = "\",\"activity\":\"";
const BEFORE_SEQUENCE_NUMBER: &str =
    "\",\"outOfOfficeSettings\":{\"message\":null,\"isOutOfOffice\":false},\"sequenceNumber\":\"";
const AFTER_SEQUENCE_NUMBER: &str = "-----------\",\"statusMessage\":null,\
     \"workLocation\":{\"workLocationType\":\"unspecified\",\"source\":\"none\",\"placeId\":null}}";

/// The JSON of a pair.
struct Form {
    text: [u8; Form::BYTES_MAX],
    length: usize,
    sequence_number_at: usize,
}

/// Of every availability and activity.
static FORMS: [[Form; words::ACTIVITIES.len()]; words::AVAILABILITIES.len()] = {
    let mut forms = [const { [const { Form::EMPTY }; words::ACTIVITIES.len()] }; words::AVAILABILITIES.len()];
    let mut availability = 0;
    while availability < words::AVAILABILITIES.len() {
        let mut activity = 0;
        while activity < words::ACTIVITIES.len() {
            let pair = Pair::new(words::AVAILABILITIES[availability], words::ACTIVITIES[activity]);
            forms[pair.availability as usize][pair.activity as usize] = Form::of(pair);
            activity += 1;
        }
        availability += 1;
    }
    forms
};

impl Form {
    const BYTES_MAX: usize = 320;
    const EMPTY: Self = Self { text: [0; Self::BYTES_MAX], length: 0, sequence_number_at: 0 };

    const fn of(pair: Pair) -> Self {
        Self::EMPTY
            .and(BEFORE_ID)
            .and(BEFORE_AVAILABILITY)
            .and(words::availability(pair.availability))
            .and(BEFORE_ACTIVITY)
            .and(words::activity(pair.activity))
            .and(BEFORE_SEQUENCE_NUMBER)
            .with_sequence_number_here()
            .and(AFTER_SEQUENCE_NUMBER)
    }

    const fn and(mut self, more: &str) -> Self {
        let mut place = 0;
        while place < more.len() {
            self.text[self.length] = more.as_bytes()[place];
            (self.length, place) = (self.length + 1, place + 1);
        }
        self
    }

    const fn with_sequence_number_here(mut self) -> Self {
        self.sequence_number_at = self.length;
        self
    }
}

/// Which part of the form is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The object behind another one.
    Next,
    /// The object.
    Object,
    /// The members between its braces.
    Members,
}

/// Appends the presence of a user.
#[inline]
pub(super) fn write(
    out: &mut Vec<u8>,
    extent: Extent,
    user: UserId,
    pair: Pair,
    sequence_number: SequenceNumber,
) {
    let form = &FORMS[pair.availability as usize][pair.activity as usize];
    let (from, to) = match extent {
        Extent::Next => (0, form.length),
        Extent::Object => (1, form.length),
        Extent::Members => (2, form.length - 1),
    };
    let start = out.len();
    out.extend_from_slice(&form.text[from..to]);
    let written = &mut out[start..];
    let mut put = |at: usize, text: &[u8]| written[at - from..][..text.len()].copy_from_slice(text);
    put(BEFORE_ID.len(), &user.to_chars());
    put(form.sequence_number_at, &sequence_number_text(sequence_number));
}
