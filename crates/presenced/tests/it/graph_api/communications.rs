//! `/communications/getPresencesByUserId` (§5).

use serde_json::json;

use crate::graph_api::UNKNOWN;
use crate::support::{Caller, shared};

#[test]
fn reading_many_answers_once_for_each_in_the_order_asked_unknown_ones_included() {
    let server = shared();
    let (one, two) = (server.new_user(), server.new_user());
    let me = Caller::user(&server, &one);
    assert_eq!(me.set(&one, "Away", "Away", "PT1H").status, 200);
    let ids = json!({ "ids": [two, UNKNOWN, one.to_uppercase(), two.to_uppercase(), UNKNOWN, one] });
    for caller in [&me, &Caller::application(&server)] {
        let answer = caller.post("/v1.0/communications/getPresencesByUserId", &ids);
        assert_eq!(answer.status, 200);
        let answer = answer.json();
        let members: Vec<&String> = answer.as_object().unwrap().keys().collect();
        assert_eq!(members, ["@odata.context", "value"]);
        let found: Vec<(&str, &str)> = answer["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                assert!(entry.as_object().unwrap().keys().all(|name| !name.starts_with('@')), "{entry}");
                (entry["id"].as_str().unwrap(), entry["availability"].as_str().unwrap())
            })
            .collect();
        assert_eq!(found, [(two.as_str(), "Offline"), (UNKNOWN, "PresenceUnknown"), (one.as_str(), "Away")]);
    }
}
