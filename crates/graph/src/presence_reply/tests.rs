use presence::{
    Availability, Location, LocationKind, LocationSource, OutOfOfficeSettings, Pair, StatusText, WorkLocation,
};
use serde_json::{Value, json};

use super::*;
use crate::odata::{Query, presence_select};
use crate::path::Root;

const ID: &str = "3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e";

fn message(expires: bool) -> StatusMessage {
    StatusMessage {
        text: StatusText::new("Back at \"three\"").unwrap().unwrap(),
        published_at: "2026-03-02T08:15:30.1234567Z".parse().unwrap(),
        expires_at: expires.then(|| "2026-03-02T15:00:00Z".parse().unwrap()),
    }
}

fn reply(presence: &Presence<'_>, reader: Reader, query: &str, level: MetadataLevel) -> Value {
    let service = ServiceRoot::new("https://presence.example", Root::V1);
    let select = presence_select(&Query::parse(query).unwrap()).unwrap();
    let shape = Shape { service: &service, select: &select, level };
    let mut out = Vec::new();
    write_presence(&mut out, &shape, &Address::Me, ID.parse().unwrap(), presence, reader);
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

fn plain(presence: &Presence<'_>) -> Value {
    reply(presence, Reader::Other, "", MetadataLevel::None)
}

// Section 3: the resource.

#[test]
fn a_presence_of_which_nothing_is_known_has_every_member() {
    assert_eq!(
        plain(&Presence::UNKNOWN),
        json!({
            "id": ID, "availability": "PresenceUnknown", "activity": "PresenceUnknown", "sequenceNumber": "A0000000000",
            "statusMessage": null,
            "outOfOfficeSettings": { "message": null, "isOutOfOffice": false },
            "workLocation": { "workLocationType": "unspecified", "source": "none", "placeId": null },
        })
    );
}

#[test]
fn the_template_for_most_writes_what_is_written_property_by_property() {
    let service = ServiceRoot::new("https://presence.example", Root::V1);
    let all = PresenceProperty::ALL.map(PresenceProperty::as_str).join(",");
    let query = format!("$select={all}");
    let selected = presence_select(&Query::parse(&query).unwrap()).unwrap();
    let write = |select, presence: &Presence<'_>| {
        let shape = Shape { service: &service, select, level: MetadataLevel::None };
        let mut list = PresenceList::new(shape, 2, Vec::new());
        list.push(ID.parse().unwrap(), presence, Reader::Other);
        list.push(UserId::from_u128(u128::MAX), presence, Reader::Owner);
        String::from_utf8(list.finish()).unwrap()
    };
    for availability in words::AVAILABILITIES {
        for activity in words::ACTIVITIES {
            let pair = Pair::new(availability, activity);
            let number = SequenceNumber(availability as u64 * 1_000_000_007 + activity as u64);
            let presence = Presence { pair, sequence_number: number, ..Presence::UNKNOWN };
            assert!(says_no_more_than_its_pair(&presence));
            assert_eq!(write(&PresenceSelect::ALL, &presence), write(&selected, &presence));
        }
    }
}

#[test]
fn only_the_owner_sees_when_a_message_was_published_and_when_it_ends() {
    let content = json!({ "content": "Back at \"three\"", "contentType": "text" });
    for expires in [true, false] {
        let message = message(expires);
        let presence = Presence { status_message: Some(&message), ..Presence::UNKNOWN };
        assert_eq!(plain(&presence)["statusMessage"], json!({ "message": content }));
        let own = reply(&presence, Reader::Owner, "", MetadataLevel::None);
        let mut expected = json!({ "message": content, "publishedDateTime": "2026-03-02T08:15:30.1234567Z" });
        if expires {
            expected["expiryDateTime"] =
                json!({ "dateTime": "2026-03-02T15:00:00.0000000", "timeZone": "UTC" });
        }
        assert_eq!(own["statusMessage"], expected);
    }
}

#[test]
fn out_of_office_settings_carry_their_text() {
    let out_of_office = OutOfOfficeSettings { is_out_of_office: true, message: Some("Gone\nfishing") };
    let value = plain(&Presence { out_of_office, ..Presence::UNKNOWN });
    assert_eq!(value["outOfOfficeSettings"], json!({ "message": "Gone\nfishing", "isOutOfOffice": true }));
}

#[test]
fn the_source_of_a_work_location_names_its_layer() {
    let location = Location { kind: LocationKind::TimeOff, place: PlaceId::new("7d6c").unwrap() };
    for (source, word) in [
        (LocationSource::Manual, "manual"),
        (LocationSource::Automatic, "automatic"),
        (LocationSource::Scheduled, "scheduled"),
    ] {
        let work_location = WorkLocation { source, location: Some(&location) };
        let value = plain(&Presence { work_location, ..Presence::UNKNOWN });
        assert_eq!(
            value["workLocation"],
            json!({ "workLocationType": "timeOff", "source": word, "placeId": "7d6c" })
        );
    }
}

#[test]
fn sequence_numbers_are_a_letter_and_ten_digits_and_sort_as_text() {
    let text = |number| {
        let mut out = Vec::new();
        write_sequence_number(&mut out, SequenceNumber(number));
        String::from_utf8(out).unwrap()
    };
    assert_eq!(text(0), "A0000000000");
    assert_eq!(text(129_311_063), "A0129311063");
    assert_eq!(text(9_999_999_999), "A9999999999");
    assert_eq!(text(10_000_000_000), "B0000000000");
    assert_eq!(text(u64::MAX), "Z9999999999");
    assert!(text(9_999_999_999) < text(10_000_000_000));
}

// Section 3.5 and 14.2: context, selection, metadata levels.

#[test]
fn me_and_users_share_a_context_and_communications_has_its_own() {
    let service = ServiceRoot::new("https://presence.example", Root::Beta);
    let shape = Shape { service: &service, select: &PresenceSelect::ALL, level: MetadataLevel::Minimal };
    let context = |path: &str| {
        let address = crate::path::Route::parse(path).unwrap().address.unwrap();
        let mut out = Vec::new();
        write_presence(&mut out, &shape, &address, ID.parse().unwrap(), &Presence::UNKNOWN, Reader::Other);
        serde_json::from_slice::<Value>(&out).unwrap()["@odata.context"].as_str().unwrap().to_owned()
    };
    let user = format!("https://presence.example/beta/$metadata#users('{ID}')/presence/$entity");
    assert_eq!(context("/beta/me/presence"), user);
    assert_eq!(context(&format!("/beta/users/{}/presence", ID.to_uppercase())), user);
    assert_eq!(
        context(&format!("/beta/communications/presences/{ID}")),
        "https://presence.example/beta/$metadata#communications/presences/$entity"
    );
}

#[test]
fn select_leaves_only_what_was_named() {
    let value =
        reply(&Presence::UNKNOWN, Reader::Other, "$select=activity,availability", MetadataLevel::Minimal);
    assert_eq!(
        value,
        json!({
            "@odata.context": format!("https://presence.example/v1.0/$metadata#users('{ID}')/presence(activity,availability)/$entity"),
            "availability": "PresenceUnknown", "activity": "PresenceUnknown",
        })
    );
}

#[test]
fn metadata_none_has_no_context_and_full_has_types_ids_and_links() {
    let message = message(true);
    let presence = Presence { status_message: Some(&message), ..Presence::UNKNOWN };
    let none = reply(&presence, Reader::Owner, "", MetadataLevel::None);
    assert!(none.get("@odata.context").is_none());
    let mut full = reply(&presence, Reader::Owner, "", MetadataLevel::Full);
    assert_eq!(full["@odata.type"], "#microsoft.graph.presence");
    assert_eq!(full["@odata.id"], format!("users('{ID}')/presence"));
    assert_eq!(full["@odata.editLink"], format!("users('{ID}')/presence"));
    for (member, of) in [
        ("/outOfOfficeSettings", "outOfOfficeSettings"),
        ("/statusMessage", "presenceStatusMessage"),
        ("/statusMessage/message", "itemBody"),
        ("/statusMessage/expiryDateTime", "dateTimeTimeZone"),
        ("/workLocation", "userWorkLocation"),
    ] {
        assert_eq!(
            full.pointer(member).unwrap()["@odata.type"],
            format!("#microsoft.graph.{of}"),
            "{member}"
        );
    }
    fn strip(value: &mut Value) {
        if let Value::Object(members) = value {
            members.retain(|name, _| !name.contains("@odata."));
            members.values_mut().for_each(strip);
        }
    }
    strip(&mut full);
    assert_eq!(full, none, "beyond control information, all levels say the same");
}

// Section 5: collections.

#[test]
fn entries_of_a_collection_carry_no_context_and_no_type_and_unknown_users_have_one() {
    let service = ServiceRoot::new("https://presence.example", Root::V1);
    let shape = Shape { service: &service, select: &PresenceSelect::ALL, level: MetadataLevel::Minimal };
    let mut list = PresenceList::new(shape, 2, Vec::new());
    let busy =
        Presence { pair: Pair::new(Availability::Busy, presence::Activity::InACall), ..Presence::UNKNOWN };
    list.push(UserId::from_u128(1), &busy, Reader::Owner);
    list.push(UserId::from_u128(2), &Presence::UNKNOWN, Reader::Other);
    let value: Value = serde_json::from_slice(&list.finish()).unwrap();
    assert_eq!(
        value["@odata.context"],
        "https://presence.example/v1.0/$metadata#Collection(microsoft.graph.presence)"
    );
    assert_eq!(value.as_object().unwrap().len(), 2, "no next link and no count");
    assert_eq!(value["value"][0]["activity"], "InACall");
    assert_eq!(value["value"][1]["availability"], "PresenceUnknown");
    for entry in value["value"].as_array().unwrap() {
        assert!(entry.as_object().unwrap().keys().all(|name| !name.starts_with('@')));
    }
}

#[test]
fn an_empty_collection_has_an_empty_value() {
    let service = ServiceRoot::new("https://presence.example", Root::V1);
    let shape = Shape { service: &service, select: &PresenceSelect::ALL, level: MetadataLevel::None };
    assert_eq!(PresenceList::new(shape, 0, Vec::new()).finish(), b"{\"value\":[]}");
}
