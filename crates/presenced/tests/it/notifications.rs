//! Subscriptions and their notifications against the real binary: by the official clients with real receivers, and point
//! by point as documented.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::sdk::install;
use crate::support::{Answer, Caller, HUNG, JSON, Server, USER_A, USER_B, exec};

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/notifications");
const CERTIFICATE: &str = include_str!("../../../identity/tests/vectors/certificate.base64");
const MORNING: &str = "2030-01-07T08:00:00Z";

#[track_caller]
fn passes(interpreter: &Path, program: &Path) {
    let mut command = Command::new(interpreter);
    let (output, _) = exec(command.arg(program).env_remove("PYTHONDONTWRITEBYTECODE"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.trim_end().ends_with(": passed"), "{said}");
}

fn python(program: &str) {
    passes(&install::python().unwrap(), Path::new(&format!("{PROGRAMS}/python/{program}")));
}

#[test]
fn the_python_sdk_subscribes_and_its_receiver_validates_and_decrypts() {
    python("subscriptions.py");
}

#[test]
fn a_working_day_is_told_exactly_as_the_model_says() {
    python("working_day.py");
}

#[test]
fn the_node_receiver_validates_and_decrypts() {
    let (sources, folder) = (format!("{PROGRAMS}/node"), install::cache("notifications"));
    install::once(&folder, &[&format!("{sources}/package-lock.json")], || {
        install::copy(Path::new(&sources), &folder);
        let install = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"];
        install::run(
            Command::new("npm").args(install).current_dir(&folder),
            "npm and its registry are needed",
        )
    })
    .unwrap();
    install::copy(Path::new(&sources), &folder);
    install::copy(Path::new(&format!("{}/node", install::SOURCES)), &folder);
    passes(Path::new("node"), &folder.join("receiver.mjs"));
}

/// How an endpoint answers a handshake; the token is what it was sent.
type Manners = fn(token: &str) -> String;

fn polite(token: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{token}", token.len())
}

/// An endpoint on loopback; what it is told comes through the channel.
struct Endpoint {
    address: SocketAddr,
    told: mpsc::Receiver<(String, Value)>,
}

impl Endpoint {
    fn new(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let tell = tell.clone();
                std::thread::spawn(move || serve(stream, manners, &tell));
            }
        });
        Self { address, told }
    }

    fn url(&self) -> String {
        format!("http://{}/notify", self.address)
    }

    /// Target and body of the next notification.
    fn next(&self) -> (String, Value) {
        self.told.recv_timeout(HUNG).expect("a notification")
    }

    /// The items of the next POST.
    fn items(&self) -> Vec<Value> {
        self.next().1["value"].as_array().unwrap().clone()
    }
}

fn serve(stream: TcpStream, manners: Manners, tell: &mpsc::Sender<(String, Value)>) {
    let mut answer_to = stream.try_clone().unwrap();
    let mut stream = BufReader::new(stream);
    while let Some((target, body)) = read_request(&mut stream) {
        let answer = match target.split_once("validationToken=") {
            Some((_, token)) => manners(&percent_encoding::percent_decode_str(token).decode_utf8().unwrap()),
            None => {
                let _ = tell.send((target, serde_json::from_slice(&body).unwrap()));
                "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned()
            }
        };
        if answer_to.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Target and body of the next request of a connection.
pub(crate) fn read_request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    if stream.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let target = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some((_, value)) =
            line.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case("content-length"))
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((target, body))
}

fn of(users: &[&str]) -> String {
    let ids: Vec<String> = users.iter().map(|user| format!("'{user}'")).collect();
    format!("communications/presences?$filter=id in ({})", ids.join(","))
}

fn body(endpoint: &str, users: &[&str], expires: &str) -> Value {
    json!({ "changeType": "updated", "resource": of(users), "notificationUrl": endpoint, "expirationDateTime": expires })
}

fn patch(caller: &Caller<'_>, id: &str, body: &Value) -> Answer {
    caller.send("PATCH", &format!("/v1.0/subscriptions/{id}"), &[JSON], body.to_string().as_bytes())
}

fn delete(caller: &Caller<'_>, id: &str) -> Answer {
    caller.send("DELETE", &format!("/v1.0/subscriptions/{id}"), &[], b"")
}

fn frozen() -> Server {
    let server = Server::dev();
    server.freeze_at(MORNING);
    server
}

#[test]
fn a_handshake_that_fails_in_any_way_stores_nothing() {
    let server = frozen();
    let app = Caller::application(&server);
    let bad: [(Manners, &str); 6] = [
        (
            |_| "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "HTTP status code is 'Forbidden'",
        ),
        (|_| "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(), "must respond with 200 OK"),
        (|_| "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_owned(), "'Found'"),
        (|token| polite(&token.replace(' ', "%20")), "must exactly match"),
        (|token| polite(token).replace("text/plain", "application/json"), "must exactly match"),
        (|_| "not HTTP at all".to_owned(), "must respond with 200 OK"),
    ];
    for (manners, text) in bad {
        let endpoint = Endpoint::new(manners);
        let answer =
            app.post("/v1.0/subscriptions", &body(&endpoint.url(), &[USER_A], "2030-01-07T08:50:00Z"));
        let (status, code, message) = answer.error();
        assert_eq!((status, &*code), (400, "ValidationError"), "{message}");
        assert!(message.contains(text), "{message}");
        // The lifecycle URL is asked in the same way, after the first.
        let good = Endpoint::new(polite);
        let mut both = body(&good.url(), &[USER_A], "2030-01-07T08:50:00Z");
        both["lifecycleNotificationUrl"] = endpoint.url().into();
        assert_eq!(app.post("/v1.0/subscriptions", &both).error().1, "ValidationError");
    }
    assert_eq!(app.get("/v1.0/subscriptions").json()["value"], json!([]));
    for forbidden in ["http://10.0.0.1/x", "https://169.254.169.254/latest", "https://u:p@localhost/"] {
        let answer = app.post("/v1.0/subscriptions", &body(forbidden, &[USER_A], "2030-01-07T08:50:00Z"));
        assert_eq!((answer.error().0, &*answer.error().1), (400, "InvalidRequest"), "{forbidden}");
    }
}

#[test]
fn life_quota_and_ownership_are_as_documented() {
    let server = frozen();
    let (app, user) = (Caller::application(&server), Caller::user(&server, USER_A));
    let endpoint = Endpoint::new(polite);
    let create = |caller: &Caller<'_>, users: &[&str], expires: &str| {
        caller.post("/v1.0/subscriptions", &body(&endpoint.url(), users, expires))
    };
    assert_eq!(create(&user, &[USER_A], "2030-01-07T09:01:01Z").error().1, "ExtensionError");

    let created = create(&user, &[USER_A], "2030-01-07T08:10:00Z");
    assert_eq!(created.status, 201, "{created:?}");
    let created = created.json();
    let id = created["id"].as_str().unwrap().to_owned();
    assert_eq!(created["expirationDateTime"], "2030-01-07T08:45:00.0000000Z", "raised to 45 minutes");
    assert_eq!(created["creatorId"], USER_A);

    let same = create(&user, &[USER_A], "2030-01-07T08:50:00Z").error();
    assert_eq!((same.0, &*same.1), (409, "InvalidRequest"));
    assert_eq!(same.2, format!("Subscription Id {id} already exists for the requested combination"));
    let second = create(&user, &[USER_B], "2030-01-07T08:50:00Z").error();
    assert_eq!((second.0, &*second.1), (409, "ExtensionError"));
    assert_eq!(
        second.2,
        "Operation: Create; Exception: [Status Code: Conflict; Reason: A subscripton already exists. It must be deleted \
         before a another can be made]"
    );

    // Another caller does not see it, not even the same application by itself.
    let path = format!("/v1.0/subscriptions/{id}");
    for stranger in [&app, &Caller::user(&server, USER_B)] {
        for answer in [
            stranger.get(&path),
            patch(stranger, &id, &json!({ "expirationDateTime": MORNING })),
            delete(stranger, &id),
        ] {
            let error = answer.error();
            assert_eq!(
                (error.0, &*error.1, &*error.2),
                (404, "ResourceNotFound", "The object was not found.")
            );
        }
        assert_eq!(stranger.get("/v1.0/subscriptions").json()["value"], json!([]));
    }
    assert_eq!(user.get(&path).json()["id"], *id);
    assert_eq!(user.get(&format!("/beta/subscriptions('{id}')")).status, 200);

    let renewed = patch(&user, &id, &json!({ "expirationDateTime": "2030-01-07T09:00:00Z" }));
    assert_eq!(
        (renewed.status, &renewed.json()["expirationDateTime"]),
        (200, &json!("2030-01-07T09:00:00.0000000Z"))
    );
    assert_eq!(patch(&user, &id, &json!({ "clientState": "x" })).error().0, 400);
    let reauthorized = user.send("POST", &format!("{path}/reauthorize"), &[], b"");
    assert_eq!((reauthorized.status, reauthorized.body.len()), (204, 0));
    assert_eq!(user.get(&path).json()["expirationDateTime"], "2030-01-07T09:00:00.0000000Z", "not extended");

    let deleted = delete(&user, &id);
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert_eq!(user.get(&path).error().0, 404);
    assert_eq!(create(&user, &[USER_B], "2030-01-07T08:50:00Z").status, 201, "the quota is free again");

    // Ended: gone for every call.
    let next = user.get("/v1.0/subscriptions").json()["value"][0]["id"].as_str().unwrap().to_owned();
    server.advance("PT50M");
    assert_eq!(user.get(&format!("/v1.0/subscriptions/{next}")).error().0, 404);
    assert_eq!(user.get("/v1.0/subscriptions").json()["value"], json!([]));
    assert_eq!(user.get("/v1.0/subscriptions/getVapidPublicKey()").error().0, 400);
}

#[test]
fn a_basic_notification_has_no_content_and_a_rich_one_has_it_encrypted_for_each_user_anew() {
    let server = frozen();
    let (app, user) = (Caller::application(&server), Caller::user(&server, USER_A));
    let (basic, rich) = (Endpoint::new(polite), Endpoint::new(polite));
    let mut ask = body(&format!("{}?a=b%20c", basic.url()), &[USER_A, USER_B], "2030-01-07T08:50:00Z");
    ask["clientState"] = "state".into();
    assert_eq!(app.post("/v1.0/subscriptions", &ask).status, 201);
    let mut ask = body(&rich.url(), &[USER_A, USER_B], "2030-01-07T08:50:00Z");
    ask["includeResourceData"] = true.into();
    ask["encryptionCertificate"] = CERTIFICATE.trim().into();
    ask["encryptionCertificateId"] = "vector".into();
    let created = user.post("/v1.0/subscriptions", &ask);
    assert_eq!((created.status, &created.json()["encryptionCertificate"]), (201, &Value::Null));

    app.set(USER_A, "Busy", "InACall", "PT1H");
    let (target, told) = basic.next();
    assert_eq!(target, "/notify?a=b%20c");
    assert!(told.get("validationTokens").is_none());
    let item = &told["value"][0];
    assert_eq!((&item["clientState"], &item["changeType"]), (&json!("state"), &json!("updated")));
    assert!(item.get("encryptedContent").is_none() && !told.to_string().contains("Busy"));
    let (_, told) = rich.next();
    assert_eq!(told["validationTokens"].as_array().unwrap().len(), 1);
    assert!(!told.to_string().contains("Busy"));
    let first = told["value"][0]["encryptedContent"].clone();
    assert_eq!(first["encryptionCertificateThumbprint"], "DE6A74DA17C63F41B25B56FB827508067215A154");

    app.set(USER_B, "Busy", "InACall", "PT1H");
    let second = rich.items()[0]["encryptedContent"].clone();
    assert!(first["dataKey"] != second["dataKey"] && first["data"] != second["data"]);
    // What shows nothing new is told to nobody: the next thing heard is the next change.
    app.set(USER_B, "Busy", "InACall", "PT2H");
    let note = json!({ "statusMessage": { "message": { "content": "lunch" } } });
    assert_eq!(app.post(&format!("/v1.0/users/{USER_B}/presence/setStatusMessage"), &note).status, 200);
    app.clear(USER_A);
    assert_eq!(rich.items()[0]["resourceData"]["id"], USER_A);
}

#[test]
fn a_failed_notification_is_tried_again_and_nothing_leaves_after_the_end() {
    let server = frozen();
    let app = Caller::application(&server);
    let endpoint = Endpoint::new(polite);
    let created = app.post("/v1.0/subscriptions", &body(&endpoint.url(), &[USER_A], "2030-01-07T08:50:00Z"));
    let id = created.json()["id"].as_str().unwrap().to_owned();
    app.set(USER_A, "Busy", "InACall", "PT4H");
    assert_eq!(endpoint.items().len(), 1);
    assert_eq!(delete(&app, &id).status, 204);
    app.set(USER_A, "Away", "Away", "PT4H");

    // A second subscription hears what comes after it, and nothing of before; when it has ended, nothing.
    let other = Endpoint::new(polite);
    assert_eq!(
        app.post("/v1.0/subscriptions", &body(&other.url(), &[USER_A], "2030-01-07T08:50:00Z")).status,
        201
    );
    app.set(USER_A, "DoNotDisturb", "Presenting", "PT4H");
    assert_eq!(other.items().len(), 1);
    server.advance("PT55M");
    app.set(USER_A, "Busy", "InACall", "PT4H");
    let last = Endpoint::new(polite);
    assert_eq!(
        app.post("/v1.0/subscriptions", &body(&last.url(), &[USER_A], "2030-01-07T09:50:00Z")).status,
        201
    );
    app.set(USER_A, "Away", "Away", "PT4H");
    assert_eq!(last.items().len(), 1);
    assert!(endpoint.told.try_recv().is_err() && other.told.try_recv().is_err());
}
