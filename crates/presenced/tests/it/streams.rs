//! The change feed of the real binary: server-sent events, WebSocket and pages, resumed without a gap.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::client::IntoClientRequest;

use crate::support::{Caller, HUNG, JSON, Server, USER_A, USER_B, shared};

const STREAM: &str = "/_presenced/v1/presences/stream";
const CHANGES: &str = "/_presenced/v1/presences/changes";

/// An open stream of server-sent events.
struct Events(BufReader<TcpStream>);

#[derive(Debug)]
struct Event {
    name: String,
    id: Option<String>,
    data: Value,
}

impl Events {
    fn open(server: &Server, token: &str, query: &str, headers: &str) -> Self {
        let mut stream = server.connect();
        let head = format!(
            "GET {STREAM}{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        let mut head = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            head.push_str(&line);
        }
        assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
        Self(reader)
    }

    /// The next event; `None` when the stream has ended.
    fn next(&mut self) -> Option<Event> {
        let (mut name, mut id) = (String::new(), None);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(value) = line.strip_prefix("event: ") {
                value.clone_into(&mut name);
            } else if let Some(value) = line.strip_prefix("id: ") {
                id = Some(value.to_owned());
            } else if let Some(value) = line.strip_prefix("data: ") {
                return Some(Event { name, id, data: serde_json::from_str(value).unwrap() });
            }
        }
    }
}

fn shown(data: &Value) -> (String, String) {
    let text = |name: &str| data[name].as_str().unwrap().to_owned();
    (text("id"), format!("{}/{}", text("availability"), text("activity")))
}

#[test]
fn a_stream_begins_with_a_snapshot_and_tells_every_change_also_those_that_time_makes() {
    let server = Server::dev();
    server.freeze_at("2030-01-07T08:00:00Z");
    let app = Caller::application(&server);
    app.set(USER_B, "Busy", "InACall", "PT1H");
    let mut events = Events::open(&server, &server.token(None), &format!("?ids={USER_A},{USER_B}"), "");
    let snapshot = events.next().unwrap();
    assert_eq!(snapshot.name, "snapshot");
    assert_eq!(snapshot.data["more"], false);
    let mut people: Vec<_> =
        snapshot.data["presences"]["value"].as_array().unwrap().iter().map(shown).collect();
    people.sort();
    let mut expected =
        [(USER_A.to_owned(), "Offline/Offline".to_owned()), (USER_B.to_owned(), "Busy/InACall".to_owned())];
    expected.sort();
    assert_eq!(people, expected);

    app.set(USER_A, "Available", "Available", "PT1H");
    // Two hours at once: each fade and each end on the way is an event of its own, at its own instant.
    server.advance("PT2H");
    let told: Vec<_> = (0..5).map(|_| events.next().unwrap()).collect();
    let of = |user: &str| -> Vec<(String, String)> {
        let changes = told.iter().filter(|event| event.data["id"] == user);
        changes
            .map(|event| (event.data["at"].as_str().unwrap()[11..16].to_owned(), shown(&event.data).1))
            .collect()
    };
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(at, pair)| ((*at).to_owned(), (*pair).to_owned())).collect()
    };
    let faded = [
        ("08:00", "Available/Available"),
        ("08:05", "Available/AvailableInactive"),
        ("08:10", "Away/Away"),
        ("09:00", "Offline/Offline"),
    ];
    assert_eq!(of(USER_A), pairs(&faded));
    assert_eq!(of(USER_B), pairs(&[("09:00", "Offline/Offline")]));
    let numbers: Vec<_> =
        told.iter().filter(|event| event.data["id"] == USER_A).map(|e| &e.data["sequenceNumber"]).collect();
    assert_eq!(numbers, ["A0000000001", "A0000000002", "A0000000003", "A0000000004"]);
}

#[test]
fn a_stream_resumes_after_a_kill_where_it_ended_and_pages_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev_in(folder.path());
    let app = Caller::application(&server);
    let mut events = Events::open(&server, &server.token(None), "", "");
    let start = events.next().unwrap().id.unwrap();
    for activity in ["InACall", "InAConferenceCall", "InACall"] {
        app.set(USER_A, "Busy", activity, "PT1H");
    }
    let first = events.next().unwrap();
    assert_eq!(shown(&first.data).1, "Busy/InACall");
    let last_seen = first.id.unwrap();
    server.kill();
    assert!(
        std::iter::from_fn(|| events.next()).count() <= 2,
        "what was sent before the kill, and then the end"
    );

    let server = Server::dev_in(folder.path());
    let token = server.token(None);
    Caller::application(&server).clear(USER_A);
    // What a browser's EventSource does by itself is worth more than what the URL said at first.
    let header = format!("Last-Event-ID: {last_seen}\r\n");
    let mut events = Events::open(&server, &token, &format!("?from={start}"), &header);
    let rest: Vec<_> = (0..3).map(|_| shown(&events.next().unwrap().data).1).collect();
    assert_eq!(rest, ["Busy/InAConferenceCall", "Busy/InACall", "Offline/Offline"]);

    let page = Caller::application(&server).get(&format!("{CHANGES}?from={start}")).json();
    let all: Vec<_> = page["value"].as_array().unwrap().iter().map(|change| shown(change).1).collect();
    assert_eq!(all, ["Busy/InACall", "Busy/InAConferenceCall", "Busy/InACall", "Offline/Offline"]);
    let next = page["next"].as_str().unwrap();
    let empty = Caller::application(&server).get(&format!("{CHANGES}?from={next}")).json();
    assert_eq!(empty, json!({ "next": next, "value": [] }));
}

#[test]
fn a_page_is_waited_for_and_comes_with_the_first_change() {
    let server = shared();
    let app = Caller::application(&server);
    let user = server.new_user();
    let from = app.get(CHANGES).json()["next"].as_str().unwrap().to_owned();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| app.get(&format!("{CHANGES}?from={from}&wait=60&ids={user}")).json());
        app.set(&user, "DoNotDisturb", "Presenting", "PT1H");
        let page = waiting.join().unwrap();
        assert_eq!(shown(&page["value"][0]), (user.clone(), "DoNotDisturb/Presenting".to_owned()));
    });
}

#[test]
fn a_socket_tells_the_same_and_takes_its_token_as_a_subprotocol() {
    let server = shared();
    let app = Caller::application(&server);
    let user = server.new_user();
    let mut request = format!("ws://{}{STREAM}?ids={user}", server.http).into_client_request().unwrap();
    let protocols = format!("presenced.v1, bearer.{}", server.token(None));
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocols.parse().unwrap());
    let stream = server.connect();
    stream.set_read_timeout(Some(HUNG)).unwrap();
    let (mut socket, response) = tungstenite::client(request, stream).unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "presenced.v1");
    let mut next = || loop {
        match socket.read().unwrap() {
            Message::Text(text) => return serde_json::from_str::<Value>(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let snapshot = next();
    assert_eq!(snapshot["event"], "snapshot");
    assert_eq!(snapshot["data"]["presences"]["value"][0]["id"], *user);
    app.set(&user, "Away", "Away", "PT1H");
    let change = next();
    assert_eq!(
        (change["event"].as_str(), shown(&change["data"]).1),
        (Some("change"), "Away/Away".to_owned())
    );
}

#[test]
fn what_is_wrong_with_a_request_for_the_feed_is_told() {
    let server = shared();
    let answer = server.send("GET", STREAM, &[], b"");
    assert_eq!(answer.error().0, 401);
    for (query, status) in [
        ("?ids=nonsense", 400),
        ("?from=nonsense", 400),
        ("?from=AAAAAAAAAAAAAAAAAAAAAA", 400),
        ("?wat=1", 400),
    ] {
        let answer = Caller::application(&server).get(&format!("{STREAM}{query}"));
        assert_eq!(answer.error().0, status, "{query}");
    }
    let answer = Caller::application(&server).get(&format!("{CHANGES}?wait=3600"));
    assert_eq!(answer.error().0, 400);
    for path in [STREAM, CHANGES] {
        let answer = Caller::application(&server).send("POST", path, &[JSON], b"{}");
        assert_eq!((answer.error().0, answer.header("allow")), (405, Some("GET")), "{path}");
    }
}

#[test]
fn a_stream_ends_with_a_word_when_the_server_stops() {
    let server = Server::dev();
    let mut events = Events::open(&server, &server.token(None), "", "");
    assert_eq!(events.next().unwrap().name, "snapshot");
    let pid = rustix::process::Pid::from_raw(server.child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let end = events.next().unwrap();
    assert_eq!((end.name.as_str(), end.data["reason"].as_str()), ("end", Some("serverStopping")));
    assert!(events.next().is_none());
}
