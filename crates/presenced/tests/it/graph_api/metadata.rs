//! `/$metadata` (§17).

use crate::graph_api::{actions, assert_refused};
use crate::support::shared;

#[test]
fn the_schema_needs_no_token_and_describes_every_action() {
    let server = shared();
    for root in ["/v1.0", "/beta"] {
        let answer = server.send("GET", &format!("{root}/$metadata"), &[], b"");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/xml")));
        let text = answer.text();
        assert!(text.contains("Version=\"4.0\"") && text.contains("Namespace=\"microsoft.graph\""));
        for name in ["getPresencesByUserId"].into_iter().chain(actions().into_iter().map(|(name, _)| name)) {
            assert!(text.contains(&format!("<Action Name=\"{name}\" IsBound=\"true\"")), "{name}");
        }
        for member in [
            "sequenceNumber",
            "outOfOfficeSettings",
            "workLocation",
            "statusMessage",
            "Org.OData.Core.V1.Computed",
        ] {
            assert!(text.contains(member), "{member}");
        }
    }
    assert_eq!(server.send("GET", "/v1.0/%24metadata", &[], b"").status, 200);
    let answer = server.send("POST", "/v1.0/$metadata", &[], b"");
    assert_refused(&answer, 405, "Request_BadRequest");
}
