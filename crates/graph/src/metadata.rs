//! `$metadata`: a static, small schema with only what exists here. Source: §3, §17.

/// The CSDL 4.0 document. Both roots serve the same one.
pub const CSDL: &str = include_str!("metadata.xml");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use presence::AppId;
    use roxmltree::{Document, Node};
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::notification::{About, Encrypted, Lifecycle, Notifications};
    use crate::subscription::Shown;
    use crate::{Method, OPERATIONS, odata, subscription, user, words};

    fn find<'a>(document: &'a Document<'_>, tag: &str, name: &str) -> Node<'a, 'a> {
        document
            .descendants()
            .find(|node| node.tag_name().name() == tag && node.attribute("Name") == Some(name))
            .unwrap_or_else(|| panic!("{tag} {name}"))
    }

    /// `name type`, with `!` for what may not be null and `[]` for what is contained.
    fn members(node: Node<'_, '_>) -> Vec<String> {
        let describe = |member: Node<'_, '_>| {
            let nullable = if member.attribute("Nullable") == Some("false") { "!" } else { "" };
            let contained = if member.attribute("ContainsTarget") == Some("true") { "[]" } else { "" };
            let of = member.attribute("Type").unwrap_or_default();
            format!("{} {of}{nullable}{contained}", member.attribute("Name").unwrap_or_default())
        };
        let kinds = ["Property", "NavigationProperty", "Parameter"];
        node.children().filter(|child| kinds.contains(&child.tag_name().name())).map(describe).collect()
    }

    #[test]
    fn the_document_is_csdl_4_of_namespace_microsoft_graph() {
        let document = Document::parse(CSDL).unwrap();
        let root = document.root_element();
        assert_eq!((root.tag_name().name(), root.attribute("Version")), ("Edmx", Some("4.0")));
        assert_eq!(root.tag_name().namespace(), Some("http://docs.oasis-open.org/odata/ns/edmx"));
        let schema = document.descendants().find(|node| node.tag_name().name() == "Schema").unwrap();
        assert_eq!(schema.attribute("Namespace"), Some("microsoft.graph"));
        assert_eq!(schema.attribute("Alias"), Some("graph"));
    }

    #[test]
    fn the_entity_types_are_those_of_the_contract() {
        let document = Document::parse(CSDL).unwrap();
        let entity = find(&document, "EntityType", "entity");
        assert_eq!(entity.attribute("Abstract"), Some("true"));
        assert_eq!(members(entity), ["id Edm.String!"]);
        assert!(
            entity
                .descendants()
                .any(|node| node.tag_name().name() == "PropertyRef" && node.attribute("Name") == Some("id"))
        );

        let presence = find(&document, "EntityType", "presence");
        assert_eq!(presence.attribute("BaseType"), Some("graph.entity"));
        assert_eq!(
            members(presence),
            [
                "activity Edm.String",
                "availability Edm.String",
                "outOfOfficeSettings graph.outOfOfficeSettings",
                "sequenceNumber Edm.String",
                "statusMessage graph.presenceStatusMessage",
                "workLocation graph.userWorkLocation",
            ]
        );
        let mut replied: Vec<_> =
            odata::PresenceProperty::ALL.iter().map(|property| property.as_str()).collect();
        replied.sort_unstable();
        let declared: Vec<_> =
            members(presence).iter().map(|member| member.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(
            replied.iter().filter(|name| **name != "id").collect::<Vec<_>>(),
            declared.iter().collect::<Vec<_>>()
        );

        let users = members(find(&document, "EntityType", "user"));
        assert!(users.contains(&"presence graph.presence[]".to_owned()));
        for property in user::UserProperty::ALL {
            let name = property.as_str();
            assert!(
                name == "id" || users.iter().any(|member| member.starts_with(&format!("{name} "))),
                "{name}"
            );
        }
        assert_eq!(
            members(find(&document, "EntityType", "cloudCommunications")),
            ["presences Collection(graph.presence)[]"]
        );
    }

    #[test]
    fn the_complex_types_are_those_of_the_contract() {
        let document = Document::parse(CSDL).unwrap();
        for (name, expected) in [
            (
                "presenceStatusMessage",
                &[
                    "expiryDateTime graph.dateTimeTimeZone",
                    "message graph.itemBody",
                    "publishedDateTime Edm.DateTimeOffset",
                ][..],
            ),
            ("itemBody", &["content Edm.String", "contentType graph.bodyType"]),
            ("dateTimeTimeZone", &["dateTime Edm.String!", "timeZone Edm.String"]),
            ("outOfOfficeSettings", &["isOutOfOffice Edm.Boolean", "message Edm.String"]),
            (
                "userWorkLocation",
                &[
                    "placeId Edm.String",
                    "source graph.workLocationSource!",
                    "workLocationType graph.workLocationType!",
                ],
            ),
        ] {
            assert_eq!(members(find(&document, "ComplexType", name)), expected, "{name}");
        }
    }

    /// Of `members`, the names alone, in order.
    fn names(members: &[String]) -> Vec<&str> {
        members.iter().filter_map(|member| member.split(' ').next()).collect()
    }

    /// The members of these objects, each once and in order, without annotations.
    fn keys<'a>(values: &[&'a Value]) -> Vec<&'a str> {
        let keys = values.iter().flat_map(|value| value.as_object().unwrap().keys().map(String::as_str));
        keys.filter(|name| !name.contains('@')).collect::<BTreeSet<_>>().into_iter().collect()
    }

    #[test]
    fn a_subscription_has_just_the_members_that_are_written() {
        let document = Document::parse(CSDL).unwrap();
        let declared = members(find(&document, "EntityType", "subscription"));
        let required: Vec<_> = declared.iter().filter(|member| member.ends_with('!')).collect();
        assert_eq!(
            required,
            [
                "changeType Edm.String!",
                "expirationDateTime Edm.DateTimeOffset!",
                "notificationUrl Edm.String!",
                "resource Edm.String!"
            ]
        );
        let shown = Shown {
            id: Uuid::from_u128(1),
            resource: "r",
            change_type: "updated",
            notification_url: "https://r.example",
            lifecycle_notification_url: None,
            client_state: None,
            include_resource_data: false,
            encryption_certificate_id: None,
            notification_url_app_id: None,
            latest_supported_tls_version: None,
            notification_content_type: None,
            expires_at: jiff::Timestamp::UNIX_EPOCH,
            application: AppId::from_u128(2),
            creator: Uuid::from_u128(3),
        };
        let service = odata::ServiceRoot::new("https://p.example", crate::path::Root::V1);
        let written: Value = serde_json::from_slice(&subscription::write_one(&service, &shown)).unwrap();
        let mut written = keys(&[&written]);
        written.retain(|name| *name != "id");
        assert_eq!(written, names(&declared));
    }

    #[test]
    fn a_notification_has_just_the_members_that_are_written() {
        let document = Document::parse(CSDL).unwrap();
        let about = About {
            subscription: Uuid::from_u128(1),
            expires_at: jiff::Timestamp::UNIX_EPOCH,
            client_state: None,
            tenant: presence::TenantId::from_u128(2),
        };
        let content =
            Encrypted { data: "", data_signature: "", data_key: "", certificate_id: "", thumbprint: "" };
        let mut body = Notifications::default();
        body.change(&about, Some("1"), presence::UserId::from_u128(3), Some(&content));
        body.lifecycle(&about, Lifecycle::Missed);
        let body: Value = serde_json::from_slice(&body.finish(&["token".to_owned()])).unwrap();
        let (change, lifecycle) = (&body["value"][0], &body["value"][1]);
        for (name, written) in [
            ("changeNotificationCollection", keys(&[&body])),
            ("changeNotification", keys(&[change, lifecycle])),
            ("changeNotificationEncryptedContent", keys(&[&change["encryptedContent"]])),
            ("resourceData", keys(&[&change["resourceData"]])),
        ] {
            assert_eq!(names(&members(find(&document, "ComplexType", name))), written, "{name}");
        }
        // What both kinds of item have may not be missing, and only that.
        let required: Vec<_> = members(find(&document, "ComplexType", "changeNotification"))
            .into_iter()
            .filter(|member| member.ends_with('!'))
            .collect();
        assert_eq!(names(&required), ["subscriptionExpirationDateTime", "subscriptionId", "tenantId"]);
    }

    #[test]
    fn the_enums_have_their_members_and_numbers() {
        let document = Document::parse(CSDL).unwrap();
        let values = |name: &str| {
            let node = find(&document, "EnumType", name);
            let members = node.children().filter(|child| child.tag_name().name() == "Member");
            members
                .map(|member| {
                    format!("{}={}", member.attribute("Name").unwrap(), member.attribute("Value").unwrap())
                })
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            values("workLocationType"),
            "unspecified=0 office=1 remote=2 timeOff=3 unknownFutureValue=4"
        );
        assert_eq!(
            values("workLocationSource"),
            "none=0 manual=1 scheduled=2 automatic=3 unknownFutureValue=4"
        );
        assert_eq!(values("changeType"), "created=0 updated=1 deleted=2");
        let events = [Lifecycle::Missed, Lifecycle::SubscriptionRemoved, Lifecycle::ReauthorizationRequired];
        let numbered =
            events.iter().enumerate().map(|(number, event)| format!("{}={number}", event.as_str()));
        assert_eq!(values("lifecycleEventType"), numbered.collect::<Vec<_>>().join(" "));
        assert_eq!(values("bodyType"), format!("{}=0 {}=1", words::TEXT, words::HTML));
    }

    #[test]
    fn the_actions_are_bound_and_have_the_parameters_of_the_contract() {
        let document = Document::parse(CSDL).unwrap();
        let bound = "bindingParameter graph.presence";
        let states = ["availability Edm.String!", "activity Edm.String!", "expirationDuration Edm.Duration"];
        let location = ["workLocationType graph.workLocationType!", "placeId Edm.String"];
        let expected: &[(&str, Vec<&str>)] = &[
            ("setPresence", [&[bound, "sessionId Edm.String"], &states[..]].concat()),
            ("clearPresence", vec![bound, "sessionId Edm.String"]),
            ("setUserPreferredPresence", [&[bound], &states[..]].concat()),
            ("clearUserPreferredPresence", vec![bound]),
            ("setStatusMessage", vec![bound, "statusMessage graph.presenceStatusMessage"]),
            ("setManualLocation", [&[bound], &location[..]].concat()),
            ("setAutomaticLocation", [&[bound], &location[..]].concat()),
            ("clearLocation", vec![bound]),
            ("clearAutomaticLocation", vec![bound]),
            (
                "getPresencesByUserId",
                vec!["bindingParameter graph.cloudCommunications", "ids Collection(Edm.String)!"],
            ),
            ("reauthorize", vec!["bindingParameter graph.subscription"]),
        ];
        let actions: Vec<_> =
            document.descendants().filter(|node| node.tag_name().name() == "Action").collect();
        assert_eq!(actions.len(), expected.len());
        for (name, parameters) in expected {
            let action = find(&document, "Action", name);
            assert_eq!(action.attribute("IsBound"), Some("true"), "{name}");
            assert_eq!(&members(action), parameters, "{name}");
            let is_last = |path: &str| path.rsplit('/').next() == Some(*name);
            let row = OPERATIONS.iter().find(|row| row.paths.iter().any(|path| is_last(path)));
            assert_eq!(row.map(|row| row.method), Some(Method::Post), "{name} is in the API table");
        }
        let function = find(&document, "Function", "getVapidPublicKey");
        assert_eq!(members(function), ["bindingParameter Collection(graph.subscription)"]);
        assert!(OPERATIONS.iter().any(|row| row.name == "getVapidPublicKey" && row.method == Method::Get));
        let returns = find(&document, "Action", "getPresencesByUserId")
            .children()
            .find(|child| child.tag_name().name() == "ReturnType")
            .and_then(|child| child.attribute("Type"));
        assert_eq!(returns, Some("Collection(graph.presence)"));
    }

    #[test]
    fn the_container_has_me_communications_users_and_subscriptions() {
        let document = Document::parse(CSDL).unwrap();
        let container = find(&document, "EntityContainer", "GraphService");
        let of = |tag: &str, name: &str| {
            let child = container
                .children()
                .find(|child| child.tag_name().name() == tag && child.attribute("Name") == Some(name));
            child.and_then(|child| child.attribute("Type").or(child.attribute("EntityType")))
        };
        assert_eq!(of("Singleton", "me"), Some("graph.user"));
        assert_eq!(of("Singleton", "communications"), Some("graph.cloudCommunications"));
        assert_eq!(of("EntitySet", "users"), Some("graph.user"));
        assert_eq!(of("EntitySet", "subscriptions"), Some("graph.subscription"));
    }

    #[test]
    fn the_sequence_number_is_computed() {
        let document = Document::parse(CSDL).unwrap();
        let annotations = document
            .descendants()
            .find(|node| node.attribute("Target") == Some("microsoft.graph.presence/sequenceNumber"))
            .unwrap();
        assert!(
            annotations.children().any(|child| child.attribute("Term") == Some("Org.OData.Core.V1.Computed")
                && child.attribute("Bool") == Some("true"))
        );
    }
}
