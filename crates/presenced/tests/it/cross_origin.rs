//! What a page of another origin gets: of an emulator, whatever its token gives it; of a server, nothing.

use crate::serve::Serving;
use crate::support::{Caller, Server, USER_A};

const PAGE: &str = "http://localhost:3000";

#[test]
fn a_page_of_this_machine_reads_answers_of_an_emulator_and_a_page_of_another_does_not() {
    let server = Server::dev();
    let path = format!("/v1.0/users/{USER_A}/presence");
    let asks = [
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "authorization,sdkversion"),
    ];
    let ask = |origin| server.send("OPTIONS", &path, &[("Origin", origin), asks[0], asks[1]], b"");
    let preflight = ask(PAGE);
    assert_eq!(preflight.status, 204, "{preflight:?}");
    assert_eq!(preflight.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization,sdkversion"));
    assert_eq!(preflight.header("access-control-allow-credentials"), None);

    let caller = Caller::application(&server);
    let read = |origin| server.send("GET", &path, &[caller.authorization(), ("Origin", origin)], b"");
    let answer = read(PAGE);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(PAGE)));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("request-id"));
    // An error without a token can be read too, or the page would never learn what is wrong.
    let refused = server.send("GET", &path, &[("Origin", PAGE)], b"");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some(PAGE)));

    for origin in ["https://evil.example", "http://localhost.evil.example", "null"] {
        assert_eq!(read(origin).header("access-control-allow-origin"), None, "{origin}");
        assert_eq!(ask(origin).header("access-control-allow-origin"), None, "{origin}");
    }
}

#[test]
fn a_server_lets_no_page_of_another_origin_in() {
    let server = Serving::start("");
    let answer = server.plain(&format!("GET /v1.0/me/presence HTTP/1.1\r\nOrigin: {PAGE}\r\n"));
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, None), "{answer:?}");
}
