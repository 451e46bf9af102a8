//! `kill -9` at random moments while presences change, time moves, a stream is read, and receivers misbehave in every way
//! receivers do: afterwards each receiver, de-duplicated, has every change of its users in order and none invented, and the
//! stream that resumed has no gap.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::Duration;

use identity::{ContentKey, EncryptedContent};
use serde_json::{Value, json};

use crate::notifications::read_request;
use crate::support::{APP, HUNG, JSON, Server, USER_A, USER_B};

const CERTIFICATE: &str = include_str!("../../../identity/tests/vectors/certificate.base64");
const PRIVATE_KEY: &str = include_str!("../../../identity/tests/vectors/private-key.pem");
/// Crashes in one run.
const ROUNDS: usize = 100;
/// After so many of them the receivers are well for a while: what has waited for more than four hours is `missed`, as documented,
/// and what is asked here is that before that nothing is.
const ROUNDS_BETWEEN_RESTS: usize = 20;
/// Users whose presence changes; the receivers watch overlapping parts of them.
const USERS: usize = 6;
const WRITERS: usize = 3;
/// A round ends after a random number of writes, at most this many.
const WRITES_MAX: u64 = 40;
/// How long a receiver is gone that comes back.
const GONE_FOR: Duration = Duration::from_millis(50);
/// How long an answer takes that still counts, and one that does not: a first attempt has 3 s.
const LATE: Duration = Duration::from_millis(150);
const TOO_LATE: Duration = Duration::from_millis(3_500);
const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
/// How far the clock moves in one round, in seconds: all rounds together stay within a day, for which the log is kept.
const SECONDS_MAX: u64 = 6 * 60;

#[test]
fn every_change_reaches_every_receiver_once_or_more_and_in_order_whatever_fails() {
    let seed = seed();
    println!("seed {seed}: PRESENCED_FAULT_SEED repeats it");
    let mut random = seed;
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), None);
    let address = server.http;
    import_users(&server);
    let receivers: Vec<Arc<Receiver>> =
        (0..3).map(|number| Receiver::start(next(&mut random) ^ number)).collect();
    let watched = [vec![0, 1, 2], vec![2, 3, 4], vec![0, 5]];
    let callers = [None, Some(USER_A), Some(USER_B)];
    let subscriptions: Vec<String> = receivers
        .iter()
        .zip(&watched)
        .zip(callers)
        .map(|((receiver, users), caller)| subscribe(&server, caller, users, receiver))
        .collect();
    for receiver in &receivers {
        receiver.is_healthy.store(false, Ordering::SeqCst);
    }
    let begin = changes(&server, None).0;

    let stream = Mutex::new(Stream { from: begin.clone(), seen: Vec::new() });
    let mut server = Some(server);
    let mut writes = 0;
    let mut log = Vec::new();
    for round in 1..=ROUNDS {
        let running = server.take().unwrap_or_else(|| start(folder.path(), Some(address)));
        renew(&running, &subscriptions, &callers);
        writes += one_round(running, &mut random, &stream);
        if !round.is_multiple_of(ROUNDS_BETWEEN_RESTS) {
            continue;
        }
        let rested = start(folder.path(), Some(address));
        renew(&rested, &subscriptions, &callers);
        receivers.iter().for_each(|receiver| receiver.is_healthy.store(true, Ordering::SeqCst));
        log = settle(&rested, &receivers, &watched, &begin, || renew(&rested, &subscriptions, &callers));
        for ((receiver, users), subscription) in receivers.iter().zip(&watched).zip(&subscriptions) {
            assert_same(&receiver.told(subscription), &of_users(&log, users), subscription);
        }
        receivers.iter().for_each(|receiver| receiver.is_healthy.store(false, Ordering::SeqCst));
        server = Some(rested);
    }

    let survivor = server.unwrap();
    let total = log.len();
    let stream = stream.into_inner().unwrap();
    let missed = read_rest(&survivor, stream, total);
    assert_eq!(missed, log, "the stream resumed with a gap, or with something nobody did");
    let posts: u64 = receivers.iter().map(|receiver| receiver.posts.load(Ordering::SeqCst)).sum();
    println!("{ROUNDS} crashes, {writes} writes, {total} changes in {posts} requests: all there, in order");
}

/// One change as anybody may learn of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    user: String,
    sequence_number: String,
    pair: (String, String),
}

impl Change {
    fn read(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
        Self {
            user: text("id"),
            sequence_number: text("sequenceNumber"),
            pair: (text("availability"), text("activity")),
        }
    }
}

type PerUser = HashMap<String, Vec<(String, String)>>;

/// The pairs of each user, one after the other; a change that shows the same pair as before is none to a subscription.
fn per_user<'a>(changes: impl Iterator<Item = &'a Change>) -> PerUser {
    let mut users = PerUser::new();
    for change in changes {
        let pairs = users.entry(change.user.clone()).or_default();
        if pairs.last() != Some(&change.pair) {
            pairs.push(change.pair.clone());
        }
    }
    users
}

/// Where the two first differ is all that a reader of thousands of pairs wants to see.
fn assert_same(told: &PerUser, expected: &PerUser, subscription: &str) {
    for (user, expected) in expected {
        let told = told.get(user).map_or(&[][..], Vec::as_slice);
        let Some(at) = (0..told.len().max(expected.len())).find(|at| told.get(*at) != expected.get(*at))
        else {
            continue;
        };
        let around = |pairs: &[(String, String)]| -> Vec<_> {
            pairs
                .iter()
                .skip(at.saturating_sub(3))
                .take(8)
                .map(|pair| format!("{}/{}", pair.0, pair.1))
                .collect()
        };
        panic!(
            "subscription {subscription}, {user}, change {at}: told {} {:?}, expected {} {:?}",
            told.len(),
            around(told),
            expected.len(),
            around(expected)
        );
    }
    assert_eq!(told.len(), expected.len(), "{subscription} was told of users it does not watch");
}

/// How far the stream was read, and what it told.
struct Stream {
    from: String,
    seen: Vec<Change>,
}

/// Writers, a clock and a reader of the stream, until enough was written; then `kill -9`.
fn one_round(server: Server, random: &mut u64, stream: &Mutex<Stream>) -> u64 {
    let address = server.http;
    let token = server.token(None);
    let enough = 1 + next(random) % WRITES_MAX;
    let (written, moved) = (AtomicU64::new(0), AtomicU64::new(0));
    let signal = (Mutex::new(()), Condvar::new());
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            let mut dice = next(random);
            let (token, written, signal) = (&token, &written, &signal);
            scope.spawn(move || {
                while write(address, token, &mut dice).is_some() {
                    written.fetch_add(1, Ordering::SeqCst);
                    let _locked = signal.0.lock().unwrap();
                    signal.1.notify_all();
                }
            });
        }
        let mut dice = next(random);
        let (moved, token_of_reader) = (&moved, &token);
        scope.spawn(move || {
            while moved.load(Ordering::SeqCst) < SECONDS_MAX {
                let seconds = next(&mut dice) % 240;
                let body = json!({ "duration": format!("PT{seconds}S") }).to_string();
                if post(address, "/_presenced/v1/clock/advance", "", &body).is_none() {
                    return;
                }
                moved.fetch_add(seconds, Ordering::SeqCst);
            }
        });
        scope.spawn(move || follow(address, token_of_reader, stream, usize::MAX));
        let mut locked = signal.0.lock().unwrap();
        while written.load(Ordering::SeqCst) < enough {
            locked = signal.1.wait(locked).unwrap();
        }
        drop(locked);
        server.kill();
    });
    written.load(Ordering::SeqCst)
}

/// Sets or clears somebody's presence; `None` when the server is gone.
fn write(address: SocketAddr, token: &str, dice: &mut u64) -> Option<()> {
    const PAIRS: [(&str, &str); 5] = [
        ("Available", "Available"),
        ("Busy", "InACall"),
        ("Busy", "InAConferenceCall"),
        ("Away", "Away"),
        ("DoNotDisturb", "Presenting"),
    ];
    let user = user((next(dice) % USERS as u64) as usize);
    if next(dice).is_multiple_of(8) {
        let body = json!({ "sessionId": APP }).to_string();
        return post(address, &format!("/v1.0/users/{user}/presence/clearPresence"), token, &body);
    }
    let (availability, activity) = PAIRS[(next(dice) % 5) as usize];
    let minutes = 5 + next(dice) % 20;
    let body = json!({ "sessionId": APP, "availability": availability, "activity": activity,
        "expirationDuration": format!("PT{minutes}M") });
    post(address, &format!("/v1.0/users/{user}/presence/setPresence"), token, &body.to_string())
}

/// A POST whose answer, if any came, is not a failure of the server's.
fn post(address: SocketAddr, path: &str, token: &str, body: &str) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(HUNG)).ok()?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    // The server may be killed in the middle of its answer.
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?;
    // Clearing what is not there is a 404.
    assert!(status == "200" || status == "404", "{answer}");
    Some(())
}

/// Reads the stream until it ends or has told `total` changes in all.
fn follow(address: SocketAddr, token: &str, stream: &Mutex<Stream>, total: usize) {
    let mut state = stream.lock().unwrap();
    let Ok(socket) = TcpStream::connect(address) else { return };
    socket.set_read_timeout(Some(HUNG)).unwrap();
    let request = format!(
        "GET /_presenced/v1/presences/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Last-Event-ID: {}\r\n\r\n",
        state.from
    );
    let mut reader = BufReader::new(socket);
    if reader.get_mut().write_all(request.as_bytes()).is_err() {
        return;
    }
    let (mut line, mut id, mut event) = (String::new(), String::new(), String::new());
    while state.seen.len() < total {
        line.clear();
        // A line that was cut off by the kill does not count: it has no end.
        if reader.read_line(&mut line).unwrap_or(0) == 0 || !line.ends_with('\n') {
            return;
        }
        let text = line.trim_end();
        if let Some(value) = text.strip_prefix("id: ") {
            value.clone_into(&mut id);
        } else if let Some(value) = text.strip_prefix("event: ") {
            value.clone_into(&mut event);
        } else if let Some(value) = text.strip_prefix("data: ") {
            assert_eq!(event, "change", "{text}");
            state.seen.push(Change::read(&serde_json::from_str(value).unwrap()));
            state.from.clone_from(&id);
        }
    }
}

/// What the stream has told once it has told everything.
fn read_rest(server: &Server, stream: Stream, total: usize) -> Vec<Change> {
    let stream = Mutex::new(stream);
    follow(server.http, &server.token(None), &stream, total);
    stream.into_inner().unwrap().seen
}

/// A page of the log: the position after it, and its changes.
fn changes(server: &Server, from: Option<&str>) -> (String, Vec<Change>) {
    let query = from.map_or_else(String::new, |from| format!("?from={from}"));
    let authorization = format!("Bearer {}", server.token(None));
    let path = format!("/_presenced/v1/presences/changes{query}");
    let answer = server.send("GET", &path, &[("Authorization", &authorization)], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    let changes = page["value"].as_array().unwrap().iter().map(Change::read).collect();
    (page["next"].as_str().unwrap().to_owned(), changes)
}

fn all_changes(server: &Server, begin: &str) -> Vec<Change> {
    let (mut all, mut from) = (Vec::new(), begin.to_owned());
    loop {
        let (next, page) = changes(server, Some(&from));
        if page.is_empty() {
            return all;
        }
        all.extend(page);
        from = next;
    }
}

/// What somebody who watches these users is to be told of a log.
fn of_users(log: &[Change], users: &[usize]) -> PerUser {
    per_user(log.iter().filter(|change| users.iter().any(|user| change.user == self::user(*user))))
}

/// Lets time pass until receivers that are well again have what they should have, since what failed is tried again later.
/// Time changes presences too: answers the log that was compared.
fn settle(
    server: &Server,
    receivers: &[Arc<Receiver>],
    watched: &[Vec<usize>],
    begin: &str,
    renew: impl Fn(),
) -> Vec<Change> {
    for _ in 0..24 {
        let log = all_changes(server, begin);
        let have_all = receivers.iter().zip(watched).all(|(receiver, users)| {
            let wanted = of_users(&log, users).values().map(Vec::len).sum::<usize>();
            let lacks = |items: &mut Vec<Value>| Receiver::distinct(items) < wanted;
            let items = receiver.items.lock().unwrap();
            let patience = Duration::from_secs(2);
            !receiver.grown.wait_timeout_while(items, patience, lacks).unwrap().1.timed_out()
        });
        // The clock goes by itself too.
        if have_all && all_changes(server, begin).len() == log.len() {
            return log;
        }
        if !have_all {
            server.advance("PT10M");
            renew();
        }
    }
    all_changes(server, begin)
}

fn subscribe(server: &Server, caller: Option<&str>, users: &[usize], receiver: &Receiver) -> String {
    let ids: Vec<String> = users.iter().map(|number| format!("'{}'", user(*number))).collect();
    let body = json!({
        "changeType": "updated",
        "resource": format!("communications/presences?$filter=id in ({})", ids.join(",")),
        "notificationUrl": format!("http://{}/notify", receiver.address),
        "includeResourceData": true,
        "encryptionCertificate": CERTIFICATE.trim(),
        "encryptionCertificateId": "vector",
        "expirationDateTime": in_an_hour(server),
    });
    let authorization = format!("Bearer {}", server.token(caller));
    let headers = [("Authorization", &*authorization), JSON];
    let answer = server.send("POST", "/v1.0/subscriptions", &headers, body.to_string().as_bytes());
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn renew(server: &Server, subscriptions: &[String], callers: &[Option<&str>]) {
    for (subscription, caller) in subscriptions.iter().zip(callers) {
        let body = json!({ "expirationDateTime": in_an_hour(server) }).to_string();
        let authorization = format!("Bearer {}", server.token(*caller));
        let headers = [("Authorization", &*authorization), JSON];
        let path = format!("/v1.0/subscriptions/{subscription}");
        let answer = server.send("PATCH", &path, &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

fn in_an_hour(server: &Server) -> String {
    let now = server.send("GET", "/_presenced/v1/clock", &[], b"").json();
    let now: jiff::Timestamp = now["time"].as_str().unwrap().parse().unwrap();
    (now + jiff::SignedDuration::from_mins(60)).to_string()
}

/// An endpoint that takes notifications, and mistreats the server in seeded ways while it is not healthy.
struct Receiver {
    address: SocketAddr,
    is_healthy: AtomicBool,
    /// What came, in the order it came, also when it was answered with a failure.
    items: Mutex<Vec<Value>>,
    grown: Condvar,
    posts: AtomicU64,
}

impl Receiver {
    fn start(seed: u64) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            is_healthy: AtomicBool::new(true),
            items: Mutex::default(),
            grown: Condvar::new(),
            posts: AtomicU64::new(0),
        });
        let mut dice = seed;
        let serving = receiver.clone();
        std::thread::spawn(move || {
            let mut listener = listener;
            loop {
                let Ok((stream, _)) = listener.accept() else { continue };
                let (of_stream, dice_of_stream) = (serving.clone(), next(&mut dice));
                std::thread::spawn(move || of_stream.serve(stream, dice_of_stream));
                if !serving.is_healthy.load(Ordering::SeqCst) && next(&mut dice).is_multiple_of(30) {
                    // Gone altogether, and back where it was: meanwhile connections are refused.
                    drop(listener);
                    std::thread::sleep(GONE_FOR);
                    listener = std::iter::repeat_with(|| TcpListener::bind(serving.address))
                        .find_map(Result::ok)
                        .unwrap();
                }
            }
        });
        receiver
    }

    fn serve(&self, stream: TcpStream, mut dice: u64) {
        let Ok(mut answer_to) = stream.try_clone() else { return };
        let mut stream = BufReader::new(stream);
        loop {
            let healthy = self.is_healthy.load(Ordering::SeqCst);
            if !healthy && next(&mut dice).is_multiple_of(20) {
                // Gone: the connection ends before the request is read.
                return;
            }
            let Some((target, body)) = read_request(&mut stream) else { return };
            if let Some(token) = target.split_once("validationToken=").map(|(_, token)| decode(token)) {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ";
                let _ = write!(answer_to, "{head}{}\r\n\r\n{token}", token.len());
                continue;
            }
            self.take(&body);
            let answer = match if healthy { 0 } else { next(&mut dice) % 100 } {
                0..=54 => ACCEPTED,
                // Late, but in time: nothing more comes on this connection meanwhile.
                55..=59 => {
                    wait(&mut stream, LATE);
                    ACCEPTED
                }
                60..=69 => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
                70..=76 => "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n",
                77..=82 => "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
                // Closed in the middle of the body.
                83..=88 => {
                    let _ = answer_to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
                    return;
                }
                89 => {
                    // No answer at all: the server, or its time limit, ends the connection.
                    let _ = stream.read(&mut [0]);
                    return;
                }
                90 => {
                    // Taken, but the answer comes when the server no longer waits for it.
                    wait(&mut stream, TOO_LATE);
                    ACCEPTED
                }
                91..=95 => "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
                _ => return,
            };
            if answer_to.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn take(&self, body: &[u8]) {
        let body: Value = serde_json::from_slice(body).unwrap();
        self.posts.fetch_add(1, Ordering::SeqCst);
        let mut items = self.items.lock().unwrap();
        items.extend(body["value"].as_array().unwrap().iter().cloned());
        self.grown.notify_all();
    }

    /// What this receiver was told of each user, in order, each notification once.
    fn told(&self, subscription: &str) -> PerUser {
        let items = self.items.lock().unwrap();
        let (mut users, mut once) = (PerUser::new(), HashSet::new());
        for item in items.iter().filter(|item| item["lifecycleEvent"].is_null()) {
            assert_eq!(item["subscriptionId"], subscription, "{item}");
            if !once.insert(item["id"].as_str().unwrap_or_else(|| panic!("{item}")).to_owned()) {
                continue;
            }
            let resource = decrypt(&item["encryptedContent"]);
            let text = |name: &str| resource[name].as_str().unwrap().to_owned();
            users.entry(text("id")).or_default().push((text("availability"), text("activity")));
        }
        users
    }

    /// How many different notifications of changes came.
    fn distinct(items: &[Value]) -> usize {
        let changes = items.iter().filter(|item| item["lifecycleEvent"].is_null());
        changes.filter_map(|item| item["id"].as_str()).collect::<HashSet<_>>().len()
    }
}

/// Waits for so long, or until the server ends the connection.
fn wait(stream: &mut BufReader<TcpStream>, how_long: Duration) {
    let _ = stream.get_ref().set_read_timeout(Some(how_long));
    let _ = stream.fill_buf();
    let _ = stream.get_ref().set_read_timeout(None);
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// The resource in an item.
fn decrypt(content: &Value) -> Value {
    static KEY: LazyLock<ContentKey> = LazyLock::new(|| ContentKey::from_pem(PRIVATE_KEY).unwrap());
    let text = |name: &str| content[name].as_str().unwrap_or_else(|| panic!("{content}")).to_owned();
    let content = EncryptedContent {
        data: text("data"),
        data_signature: text("dataSignature"),
        data_key: text("dataKey"),
    };
    serde_json::from_slice(&KEY.decrypt(&content).unwrap()).unwrap()
}

/// A server that leaves out no change; the second one of a run listens where the first one did.
fn start(folder: &Path, address: Option<SocketAddr>) -> Server {
    let address = address.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
    let folder = folder.to_str().unwrap();
    Server::dev_at(&address, &["--data-dir", folder, "--profile", "extended"])
}

fn import_users(server: &Server) {
    let users: Vec<Value> = (0..USERS)
        .map(|number| json!({ "id": user(number), "userPrincipalName": format!("u{number}@presenced.example") }))
        .collect();
    let body = Value::from(users).to_string();
    let answer = server.send("POST", "/_presenced/v1/users", &[JSON], body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn user(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

#[expect(clippy::disallowed_methods, reason = "a failing seed is repeated by naming it")]
fn seed() -> u64 {
    let given = std::env::var("PRESENCED_FAULT_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| RandomState::new().hash_one("seed"))
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
