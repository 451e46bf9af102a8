//! Records survive, whatever is in them; bytes that are no record are refused.

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A record with something in every field.
fn full() -> UserPresence {
    let office = Location { kind: LocationKind::Office, place: PlaceId::new("building 7").unwrap() };
    let settled_at = at("2026-03-02T09:00:00.1234567Z");
    UserPresence {
        sessions: vec![Session {
            app: AppId::from_u128(0x00112233_4455_6677_8899_aabbccddeeff),
            pair: SessionPair::InACall,
            set_at: settled_at,
            expires_at: at("2026-03-02T10:00:00.1234567Z"),
        }],
        preferred: Some(Preferred {
            pair: PreferredPair::DoNotDisturb,
            set_at: at("2026-03-02T08:00:00Z"),
            expires_at: Timestamp::MAX,
        }),
        status_message: Some(StatusMessage {
            text: StatusText::new("Grüße").unwrap().unwrap(),
            published_at: at("2026-03-02T08:30:00.5Z"),
            expires_at: Some(at("2026-03-03T00:00:00Z")),
        }),
        manual_location: Some(ManualLocation {
            location: office.clone(),
            set_at: settled_at,
            expires_at: at("2026-03-03T00:00:00Z"),
        }),
        automatic_locations: vec![AutomaticLocation {
            app: AppId::from_u128(7),
            location: Location { kind: LocationKind::Remote, place: None },
            set_at: at("2026-03-02T07:00:00Z"),
            expires_at: at("2026-03-03T00:00:00Z"),
        }],
        schedule: Schedule::new(vec![ScheduledLocation {
            location: office,
            starts_at: at("2026-03-04T09:00:00Z"),
            ends_at: at("2026-03-04T17:00:00Z"),
        }])
        .unwrap(),
        out_of_office: Some(OutOfOffice::new(Some("back soon"), None, Some(Timestamp::MAX)).unwrap()),
        sequence_number: SequenceNumber(300),
        settled_at,
    }
}

/// Written by the first release. If this test fails, the code is wrong, not the bytes: files hold them.
const FORMAT_1_BYTES: &str = "\
    012abce8bf818fc4f0fb0101e012ac020100112233445566778899aabbccddeeff010080e101010102b3e8e7f5b008fe\
    9fd1d1b4888bc2a0da0101074772c3bcc39f65b3f497aa980401cc97e89bdd7d0100010a6275696c64696e67203700cc\
    97e89bdd7d01000000000000000000000000000000070100b3e8f4e6e110cc97e89bdd7d0100010a6275696c64696e67\
    2037cc9795b0aa920380880e0101096261636b20736f6f6e00019ed4c3cc98c284c2a0da01";

#[test]
fn the_bytes_of_format_1_are_read_forever() {
    let bytes = from_hex(FORMAT_1_BYTES);
    assert_eq!(decode(&bytes).unwrap(), Stored { presence: full(), version: Version(42) });
    let head = Head {
        version: Version(42),
        settled_at: full().settled_at,
        wake_at: Some(at("2026-03-02T09:05:00.1234567Z")),
    };
    assert_eq!(peek(&bytes).unwrap(), head);
    let written = encode(head.version, head.wake_at, &full()).unwrap();
    assert_eq!(to_hex(&written), FORMAT_1_BYTES, "what is written has changed: it needs a new format number");
}

#[test]
fn one_session_fits_in_a_slot_of_the_table() {
    let mut presence = full();
    presence =
        UserPresence { sessions: presence.sessions, settled_at: presence.settled_at, ..Default::default() };
    presence.sequence_number = SequenceNumber(300);
    let bytes = encode(Version(300), Some(at("2026-03-02T09:05:00.1234567Z")), &presence).unwrap();
    assert!(bytes.len() <= 46, "{} bytes", bytes.len());
}

#[test]
fn a_newer_format_is_named_and_no_format_is_refused() {
    assert_eq!(decode(&[2, 0, 0]), Err(RecordError::Newer(2)));
    assert_eq!(peek(&[9]), Err(RecordError::Newer(9)));
    assert_eq!(decode(&[]), Err(RecordError::Malformed));
    assert_eq!(decode(&[0, 1]), Err(RecordError::Malformed));
}

#[test]
fn damaged_bytes_are_a_record_or_an_error_but_never_a_panic() {
    let bytes = from_hex(FORMAT_1_BYTES);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let _ = decode(&damaged);
        both_peeks_agree(&damaged);
    }
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(decode(&longer), Err(RecordError::Malformed));
}

#[test]
fn the_longest_record_the_rules_allow_is_kept() {
    let text = |chars: usize| "\u{10348}".repeat(chars);
    let location = Location { kind: LocationKind::Office, place: PlaceId::new(&text(256)).unwrap() };
    let mut presence = full();
    presence.sessions = vec![presence.sessions[0]; presence::limits::SESSIONS_PER_USER_MAX];
    presence.status_message.as_mut().unwrap().text = StatusText::new(&text(1024)).unwrap().unwrap();
    presence.out_of_office = Some(OutOfOffice::new(Some(&text(4096)), None, None).unwrap());
    presence.automatic_locations[0].location = location.clone();
    presence.automatic_locations =
        vec![presence.automatic_locations[0].clone(); presence::limits::AUTOMATIC_LOCATIONS_PER_USER_MAX];
    let segment = ScheduledLocation { location, ..presence.schedule.segments()[0].clone() };
    presence.schedule = Schedule::new(vec![segment; presence::limits::SCHEDULE_SEGMENTS_MAX]).unwrap();
    let bytes = encode(Version(u64::MAX), Some(Timestamp::MIN), &presence).unwrap();
    assert_eq!(decode(&bytes).unwrap().presence, presence);
}

fn instant() -> impl Strategy<Value = Timestamp> {
    let (min, max) = (Timestamp::MIN.as_nanosecond(), Timestamp::MAX.as_nanosecond());
    prop_oneof![
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
        (1_700_000_000i64..2_000_000_000).prop_map(|secs| Timestamp::from_second(secs).unwrap()),
        (17_000_000_000_000_000i128..20_000_000_000_000_000)
            .prop_map(|ticks| Timestamp::from_nanosecond(ticks * 100).unwrap()),
        (min..=max).prop_map(|nanos| Timestamp::from_nanosecond(nanos).unwrap()),
    ]
}

fn window() -> impl Strategy<Value = (Timestamp, Timestamp)> {
    (instant(), instant()).prop_filter("not empty", |(a, b)| a != b).prop_map(|(a, b)| (a.min(b), a.max(b)))
}

fn location() -> impl Strategy<Value = Location> {
    let kind =
        prop_oneof![Just(LocationKind::Office), Just(LocationKind::Remote), Just(LocationKind::TimeOff)];
    (kind, ".{0,40}").prop_map(|(kind, place)| Location { kind, place: PlaceId::new(&place).unwrap() })
}

fn session() -> impl Strategy<Value = Session> {
    let pair = proptest::sample::select(SessionPair::ALL.to_vec());
    (any::<u128>(), pair, instant(), instant()).prop_map(|(app, pair, set_at, expires_at)| Session {
        app: AppId::from_u128(app),
        pair,
        set_at,
        expires_at,
    })
}

prop_compose! {
    fn record()(
        sessions in proptest::collection::vec(session(), 0..4),
        preferred in proptest::option::of(
            (proptest::sample::select(PreferredPair::ALL.to_vec()), instant(), instant()),
        ),
        status in proptest::option::of((".{1,60}", instant(), proptest::option::of(instant()))),
        manual in proptest::option::of((location(), instant(), instant())),
        automatic in proptest::collection::vec((any::<u128>(), location(), instant(), instant()), 0..3),
        schedule in proptest::collection::vec((location(), window()), 0..3),
        out in proptest::option::of((proptest::option::of(".{0,60}"), window(), any::<(bool, bool)>())),
        sequence_number in any::<u64>(),
        settled_at in instant(),
    ) -> UserPresence {
        UserPresence {
            sessions,
            preferred: preferred.map(|(pair, set_at, expires_at)| Preferred { pair, set_at, expires_at }),
            status_message: status.map(|(text, published_at, expires_at)| StatusMessage {
                text: StatusText::new(&text).unwrap().unwrap(), published_at, expires_at,
            }),
            manual_location: manual.map(|(location, set_at, expires_at)| {
                ManualLocation { location, set_at, expires_at }
            }),
            automatic_locations: automatic.into_iter().map(|(app, location, set_at, expires_at)| {
                AutomaticLocation { app: AppId::from_u128(app), location, set_at, expires_at }
            }).collect(),
            schedule: Schedule::new(schedule.into_iter().map(|(location, (starts_at, ends_at))| {
                ScheduledLocation { location, starts_at, ends_at }
            }).collect()).unwrap(),
            out_of_office: out.map(|(message, (starts, ends), (has_start, has_end))| {
                OutOfOffice::new(message.as_deref(), has_start.then_some(starts), has_end.then_some(ends)).unwrap()
            }),
            sequence_number: SequenceNumber(sequence_number),
            settled_at,
        }
    }
}

prop_compose! {
    /// What [`plain`] is for, mostly: instants of this time, nothing but sessions.
    fn plain_record()(
        sessions in proptest::collection::vec((session(), 0..100_000_000i64, 0..14_400_000i64), 0..4),
        settled_at in 1_700_000_000_000..2_000_000_000_000i64,
        sequence_number in any::<u32>(),
    ) -> UserPresence {
        let instant = |millis| Timestamp::from_millisecond(millis).unwrap();
        let sessions = sessions.into_iter().map(|(session, ago, lifetime)| Session {
            set_at: instant(settled_at - ago), expires_at: instant(settled_at - ago + lifetime), ..session
        });
        UserPresence {
            sessions: sessions.collect(),
            sequence_number: SequenceNumber(sequence_number.into()),
            settled_at: instant(settled_at),
            ..UserPresence::default()
        }
    }
}

/// [`decode_over`] a record full of another user's things says what [`decode`] says.
fn both_ways_agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut over = Stored { presence: full(), version: Version(7) };
    let read = decode_over(&mut over, bytes);
    prop_assert_eq!(read.map(|()| over), decode(bytes));
    prop_assert_eq!(peek(bytes), peek_any(bytes));
    if let Some(short) = short(bytes) {
        let stored = decode(bytes).map(|stored| stored.presence.sole());
        prop_assert_eq!(stored, Ok(Some(short)));
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_record_is_the_same_however_it_is_read(
        presence in prop_oneof![plain_record(), record()],
        version in any::<u64>(),
        wake_at in proptest::option::of(instant()),
        damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut bytes = encode(Version(version), wake_at, &presence).unwrap();
        if let Some((place, byte)) = damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        both_ways_agree(&bytes)?;
    }

    #[test]
    fn a_record_is_the_same_however_it_is_written(
        presence in prop_oneof![plain_record(), record()],
        version in any::<u64>(),
        wake_at in proptest::option::of(instant()),
    ) {
        let mut bytes = b"of somebody else".to_vec();
        encode_over(Version(version), wake_at, &presence, &mut bytes).unwrap();
        prop_assert_eq!(bytes, by_serde(Version(version), wake_at, &presence).unwrap());
    }

    #[test]
    fn a_plain_record_is_written_without_serde(presence in plain_record(), version in any::<u32>()) {
        let written = plain::encode(Version(version.into()), None, &presence, &mut Vec::new());
        prop_assert_eq!(written, Some(()));
    }

    #[test]
    fn a_plain_record_is_read_without_serde(presence in plain_record(), version in any::<u32>()) {
        let bytes = encode(Version(version.into()), Some(presence.settled_at), &presence).unwrap();
        let mut over = Stored { presence: full(), version: Version(7) };
        prop_assert_eq!(plain::decode_over(&mut over, &bytes), Some(()));
        prop_assert_eq!(short(&bytes), presence.sole());
        prop_assert_eq!(over, Stored { presence, version: Version(version.into()) });
    }

    #[test]
    fn a_record_survives_being_kept(
        presence in record(),
        version in any::<u64>(),
        wake_at in proptest::option::of(instant()),
    ) {
        let bytes = encode(Version(version), wake_at, &presence).unwrap();
        prop_assert_eq!(
            peek(&bytes).unwrap(),
            Head { version: Version(version), settled_at: presence.settled_at, wake_at }
        );
        prop_assert_eq!(decode(&bytes).unwrap(), Stored { presence, version: Version(version) });
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        both_peeks_agree(&bytes);
        both_ways_agree(&bytes)?;
        bytes.insert(0, FORMAT_1);
        both_peeks_agree(&bytes);
        both_ways_agree(&bytes)?;
    }
}

/// A head is read in a straight line, or left to serde, but never read differently.
#[track_caller]
fn both_peeks_agree(bytes: &[u8]) {
    if let Some(head) = plain::peek(bytes) {
        assert_eq!(peek_any(bytes), Ok(head));
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
