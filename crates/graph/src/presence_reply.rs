//! Presence objects as they are answered: one, or up to 650 in a collection (§3, §5).
//!
//! The bytes are written straight into a buffer by a fixed template: with 650 objects a reply, building a tree of
//! values first would be most of the work.

mod plain;

use std::io::Write;

use presence::{LocationSource, PlaceId, Presence, SequenceNumber, StatusMessage, UserId};

use crate::headers::MetadataLevel;
use crate::odata::{Context, PresenceProperty, PresenceSelect, ServiceRoot, write_context};
use crate::path::Address;
use crate::{json, time, words};
use plain::Extent;

/// Who reads: only the owner sees when a status message was published and when it ends (§3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The signed-in user reads their own presence.
    Owner,
    /// Anybody else, applications included.
    Other,
}

/// What a request asked its answer to look like.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// The service root of the request.
    pub service: &'a ServiceRoot,
    /// Which properties.
    pub select: &'a PresenceSelect,
    /// How much control information.
    pub level: MetadataLevel,
}

/// Appends the reply to a read of one presence. `address` is the one that was asked for; `user` who it turned out to
/// be.
pub fn write_presence(
    out: &mut Vec<u8>,
    shape: &Shape<'_>,
    address: &Address,
    user: UserId,
    presence: &Presence<'_>,
    reader: Reader,
) {
    let context = match address {
        Address::Me | Address::User(_) => Context::UserPresence(user),
        Address::Communications(_) => Context::CommunicationsPresence,
    };
    out.push(b'{');
    shape.write_context(out, context);
    shape.write_members(out, user, presence, reader);
    out.push(b'}');
}

/// A reply to getPresencesByUserId in the making.
#[derive(Debug)]
pub struct PresenceList<'a> {
    shape: Shape<'a>,
    /// What [`Shape::is_plain`] says.
    is_plain: bool,
    out: Vec<u8>,
    is_empty: bool,
}

impl<'a> PresenceList<'a> {
    /// An empty collection, with room for `expected` presences, written into `out`, which is empty.
    pub fn new(shape: Shape<'a>, expected: usize, mut out: Vec<u8>) -> Self {
        const BYTES_PER_PRESENCE: usize = 320;
        out.reserve(256 + expected * BYTES_PER_PRESENCE);
        out.push(b'{');
        shape.write_context(&mut out, Context::Presences);
        out.extend_from_slice(b"\"value\":[");
        Self { is_plain: shape.is_plain(), shape, out, is_empty: true }
    }

    /// Adds an entry. Users nobody knows have one too, [`Presence::UNKNOWN`].
    pub fn push(&mut self, user: UserId, presence: &Presence<'_>, reader: Reader) {
        let is_first = std::mem::replace(&mut self.is_empty, false);
        if self.is_plain && says_no_more_than_its_pair(presence) {
            let extent = if is_first { Extent::Object } else { Extent::Next };
            return plain::write(&mut self.out, extent, user, presence.pair, presence.sequence_number);
        }
        self.out.extend_from_slice(if is_first { b"{" } else { b",{" });
        self.shape.write_members(&mut self.out, user, presence, reader);
        self.out.push(b'}');
    }

    /// The whole body.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(b"]}");
        self.out
    }
}

impl Shape<'_> {
    fn write_context(&self, out: &mut Vec<u8>, context: Context) {
        if self.level == MetadataLevel::None {
            return;
        }
        out.extend_from_slice(b"\"@odata.context\":\"");
        let names =
            self.select.properties().map(|selected| selected.iter().map(|property| property.as_str()));
        write_context(out, self.service, context, names);
        out.extend_from_slice(b"\",");
    }

    /// Whether it is the usual one.
    fn is_plain(&self) -> bool {
        self.level != MetadataLevel::Full && self.select.properties().is_none()
    }

    fn write_members(&self, out: &mut Vec<u8>, user: UserId, presence: &Presence<'_>, reader: Reader) {
        let is_full = self.level == MetadataLevel::Full;
        if self.is_plain() && says_no_more_than_its_pair(presence) {
            return plain::write(out, Extent::Members, user, presence.pair, presence.sequence_number);
        }
        let start = out.len();
        if is_full {
            put(
                out,
                format_args!(
                    "\"@odata.type\":\"#microsoft.graph.presence\",\"@odata.id\":\"users('{user}')/presence\",\
                     \"@odata.editLink\":\"users('{user}')/presence\","
                ),
            );
        }
        for property in PresenceProperty::ALL {
            if !self.select.contains(property) {
                continue;
            }
            put_str(out, "\"");
            put_str(out, property.as_str());
            put_str(out, "\":");
            match property {
                PresenceProperty::Id => {
                    put_str(out, "\"");
                    write_id(out, user);
                    put_str(out, "\"");
                }
                PresenceProperty::Availability => {
                    put_word(out, words::availability(presence.pair.availability));
                }
                PresenceProperty::Activity => put_word(out, words::activity(presence.pair.activity)),
                PresenceProperty::OutOfOfficeSettings => {
                    put_str(
                        out,
                        open(is_full, "{", "{\"@odata.type\":\"#microsoft.graph.outOfOfficeSettings\","),
                    );
                    put_str(out, "\"message\":");
                    json::string_or_null(out, presence.out_of_office.message);
                    put_str(out, ",\"isOutOfOffice\":");
                    put_str(out, if presence.out_of_office.is_out_of_office { "true}" } else { "false}" });
                }
                PresenceProperty::SequenceNumber => {
                    put_str(out, "\"");
                    write_sequence_number(out, presence.sequence_number);
                    put_str(out, "\"");
                }
                PresenceProperty::StatusMessage => match presence.status_message {
                    Some(message) => write_status_message(out, message, reader, is_full),
                    None => put_str(out, "null"),
                },
                PresenceProperty::WorkLocation => write_work_location(out, presence, is_full),
            }
            put_str(out, ",");
        }
        if out.len() > start {
            out.pop();
        }
    }
}

fn says_no_more_than_its_pair(presence: &Presence<'_>) -> bool {
    let out_of_office = presence.out_of_office;
    presence.status_message.is_none()
        && !out_of_office.is_out_of_office
        && out_of_office.message.is_none()
        && presence.work_location.source == LocationSource::None
        && presence.work_location.location.is_none()
}

fn write_id(out: &mut Vec<u8>, user: UserId) {
    out.extend_from_slice(&user.to_chars());
}

fn write_status_message(out: &mut Vec<u8>, message: &StatusMessage, reader: Reader, is_full: bool) {
    put_str(out, open(is_full, "{", "{\"@odata.type\":\"#microsoft.graph.presenceStatusMessage\","));
    put_str(out, "\"message\":");
    put_str(out, open(is_full, "{", "{\"@odata.type\":\"#microsoft.graph.itemBody\","));
    put_str(out, "\"content\":");
    json::string(out, message.text.as_str());
    put_str(out, open(is_full, ",", ",\"contentType@odata.type\":\"#microsoft.graph.bodyType\","));
    put_str(out, "\"contentType\":");
    put_word(out, words::TEXT);
    put_str(out, "}");
    if reader == Reader::Owner {
        put_str(out, open(is_full, ",", ",\"publishedDateTime@odata.type\":\"#DateTimeOffset\","));
        put_str(out, "\"publishedDateTime\":\"");
        time::write_timestamp(out, message.published_at);
        put_str(out, "\"");
        if let Some(expires_at) = message.expires_at {
            put_str(out, ",\"expiryDateTime\":");
            put_str(out, open(is_full, "{", "{\"@odata.type\":\"#microsoft.graph.dateTimeTimeZone\","));
            put_str(out, "\"dateTime\":\"");
            time::write_date_time(out, expires_at);
            put_str(out, "\",\"timeZone\":\"UTC\"}");
        }
    }
    put_str(out, "}");
}

fn write_work_location(out: &mut Vec<u8>, presence: &Presence<'_>, is_full: bool) {
    let location = presence.work_location.location;
    let kind = location.map_or(words::UNSPECIFIED, |location| words::location_kind(location.kind));
    put_str(out, open(is_full, "{", "{\"@odata.type\":\"#microsoft.graph.userWorkLocation\","));
    put_str(out, open(is_full, "", "\"workLocationType@odata.type\":\"#microsoft.graph.workLocationType\","));
    put_str(out, "\"workLocationType\":");
    put_word(out, kind);
    put_str(out, open(is_full, ",", ",\"source@odata.type\":\"#microsoft.graph.workLocationSource\","));
    put_str(out, "\"source\":");
    put_word(out, words::location_source(presence.work_location.source));
    put_str(out, ",\"placeId\":");
    json::string_or_null(out, location.and_then(|location| location.place.as_ref()).map(PlaceId::as_str));
    put_str(out, "}");
}

/// Appends a sequence number: a letter and ten digits, so that text order is number order. After `A9999999999` comes
/// `B0000000000`; nobody lives to see the last of `Z` (§3.2).
pub fn write_sequence_number(out: &mut Vec<u8>, number: SequenceNumber) {
    out.extend_from_slice(&sequence_number_text(number));
}

#[inline]
fn sequence_number_text(number: SequenceNumber) -> [u8; 11] {
    const PER_LETTER: u64 = 10_000_000_000;
    const LAST: u64 = 26 * PER_LETTER - 1;
    let mut rest = number.0.min(LAST);
    let mut text = *b"A0000000000";
    text[0] += (rest / PER_LETTER) as u8;
    // By hand: formatting took a tenth of a batch read.
    for digit in text[1..].iter_mut().rev() {
        if rest == 0 {
            break; // As most numbers are: short.
        }
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    text
}

/// Reads what [`write_sequence_number`] has written.
pub fn read_sequence_number(text: &str) -> Option<SequenceNumber> {
    let (letter, digits) = text.split_at_checked(1)?;
    let letter = letter.bytes().next().filter(u8::is_ascii_uppercase)? - b'A';
    let is_written = digits.len() == 10 && digits.bytes().all(|digit| digit.is_ascii_digit());
    let rest: u64 = is_written.then(|| digits.parse().ok())??;
    Some(SequenceNumber(u64::from(letter) * 10_000_000_000 + rest))
}

fn open(is_full: bool, plain: &'static str, full: &'static str) -> &'static str {
    if is_full { full } else { plain }
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// A word of the wire, which never needs an escape.
fn put_word(out: &mut Vec<u8>, word: &str) {
    put_str(out, "\"");
    put_str(out, word);
    put_str(out, "\"");
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes everything");
}

#[cfg(test)]
mod tests;
