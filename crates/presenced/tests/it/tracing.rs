//! Traces, received by OpenTelemetry's own definition of OTLP: one write, from its caller to the receiver that is told of it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::site::{Process, Site, eventually};
use crate::support::{APP, BINARY, USER_A, USER_B};

/// OpenTelemetry's Protocol Buffers, from PyPI.
const PROTO: &str = "opentelemetry-proto==1.38.0";

/// A collector that prints what it gets, and a receiver of notifications that prints with which headers they come.
const RECEIVER: &str = r#"
import http.server, json, ssl, sys, threading, urllib.parse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

address, certificate, key = sys.argv[1:]

def say(**what):
    sys.stdout.write(json.dumps(what) + "\n"); sys.stdout.flush()

class Base(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *arguments): pass
    def body(self): return self.rfile.read(int(self.headers.get("Content-Length", 0)))
    def answer(self, status, text=b"", kind="text/plain"):
        self.send_response(status); self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text))); self.end_headers(); self.wfile.write(text)

class Collector(Base):
    refusals = 1
    def do_POST(self):
        request = ExportTraceServiceRequest(); request.ParseFromString(self.body())
        if Collector.refusals:
            Collector.refusals -= 1
            return self.answer(503)
        for resource in request.resource_spans:
            of = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    say(path=self.path, type=self.headers["Content-Type"], key=self.headers["X-Key"], resource=of,
                        trace=span.trace_id.hex(), span=span.span_id.hex(), parent=span.parent_span_id.hex(),
                        name=span.name, kind=span.kind, status=span.status.code,
                        took=span.end_time_unix_nano - span.start_time_unix_nano, started=span.start_time_unix_nano,
                        attributes={a.key: a.value.string_value or a.value.int_value for a in span.attributes})
        self.answer(200, kind="application/x-protobuf")

class Receiver(Base):
    def do_POST(self):
        self.body()
        token = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("validationToken")
        if token: return self.answer(200, token[0].encode())
        say(traceparent=self.headers["traceparent"])
        self.answer(202)

collector = http.server.ThreadingHTTPServer((address, 4318), Collector)
receiver = http.server.ThreadingHTTPServer((address, 4443), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(certificate, key)
receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
threading.Thread(target=receiver.serve_forever, daemon=True).start()
say(ready=True)
collector.serve_forever()
"#;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// The receiver, and what it has printed so far.
fn receiver(site: &Site) -> (Process, Arc<Mutex<Vec<Value>>>) {
    let venv = site.folder.path().join("venv");
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(Path::new("python3"), &["-m", "venv", venv.to_str().unwrap()]);
    let python = venv.join("bin/python");
    run(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PROTO]);
    let mut child = Command::new(&python)
        .args([
            "-c",
            RECEIVER,
            &site.address.to_string(),
            &site.path("certificate.pem"),
            &site.path("key.pem"),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = heard.clone();
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            hearing.lock().unwrap().push(serde_json::from_str(&line).unwrap());
        }
    });
    eventually("the receiver is ready", || (!heard.lock().unwrap().is_empty()).then_some(()));
    (Process(child), heard)
}

#[test]
fn a_write_is_one_trace_from_its_caller_to_the_receiver_of_its_notification() {
    let mut site = Site::new();
    site.write("headers", "X-Key: a-key-of-the-collector\n");
    let address = site.address;
    let config = format!(
        "outbound.allow = [\"127.0.0.0/8\"]\noutbound.extra_roots = [\"ca.pem\"]\n[tracing]\notlp = \"http://{address}:4318\"\n\
         sample_ratio = 0.0\nheaders_file = \"headers\"\n"
    );
    site.configure(&config, "");
    let (collector, heard) = receiver(&site);
    site.start_server();
    let token = site.token();
    let subscription = json!({
        "changeType": "updated", "notificationUrl": format!("https://{address}:4443/"),
        "resource": format!("/communications/presences/{USER_A}"), "expirationDateTime": "2999-01-01T00:00:00Z",
        "clientState": "a-secret-of-the-client"
    });
    let json_type = format!("{token}Content-Type: application/json\r\n");
    let expires = {
        // The longest life there is: the server says which.
        let (status, body) = site.send("POST", "/v1.0/subscriptions", &json_type, &subscription.to_string());
        assert_eq!(status, 400, "{body}");
        let now = std::fs::metadata(site.path("presenced.toml")).unwrap().modified().unwrap();
        let seconds = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 1_800;
        jiff::Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap().to_string()
    };
    let subscription = json!({ "changeType": "updated", "notificationUrl": subscription["notificationUrl"],
        "resource": subscription["resource"], "expirationDateTime": expires });
    let (status, body) = site.send("POST", "/v1.0/subscriptions", &json_type, &subscription.to_string());
    assert_eq!(status, 201, "{body}");

    let traced = format!("{json_type}traceparent: 00-{TRACE}-{CALLER}-01\r\n");
    let body = json!({ "sessionId": APP, "availability": "Busy", "activity": "InACall" }).to_string();
    let path = format!("/v1.0/users/{USER_A}/presence/setPresence");
    assert_eq!(site.send("POST", &path, &traced, &body).0, 200);
    // Nobody asked for these to be traced.
    site.set(&token, USER_B, ("Busy", "InACall"));

    let spans = eventually("three spans", || {
        let heard = heard.lock().unwrap();
        let spans: Vec<Value> = heard.iter().filter(|it| it["span"].is_string()).cloned().collect();
        (spans.len() >= 3).then_some(spans)
    });
    let named = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap();
    let (request, commit, delivery) =
        (named("setPresence"), named("store commit"), named("deliver notifications"));
    assert_eq!(spans.len(), 3, "{spans:?}");
    for span in &spans {
        assert_eq!((&span["trace"], &span["path"]), (&json!(TRACE), &json!("/v1/traces")));
        assert_eq!(span["key"], "a-key-of-the-collector");
        assert_eq!(span["resource"]["service.name"], "presenced");
        assert!(span["took"].as_i64().unwrap() >= 0, "{span}");
        assert!(
            !span.to_string().contains(USER_A) && !span.to_string().contains("presence.example"),
            "{span}"
        );
    }
    assert_eq!((&request["parent"], &request["kind"]), (&json!(CALLER), &json!(2)));
    assert_eq!(request["attributes"]["http.response.status_code"], 200);
    assert_eq!(request["attributes"]["presenced.application"], APP);
    assert_eq!((&commit["parent"], &commit["kind"]), (&request["span"], &json!(1)));
    assert_eq!(commit["attributes"]["presenced.changes"], 1);
    assert_eq!((&delivery["parent"], &delivery["kind"]), (&commit["span"], &json!(3)));
    assert_eq!(delivery["attributes"]["http.response.status_code"], 202);
    // The receiver can go on with it.
    let told = heard.lock().unwrap().iter().find_map(|it| it["traceparent"].as_str().map(str::to_owned));
    assert_eq!(told, Some(format!("00-{TRACE}-{}-01", delivery["span"].as_str().unwrap())));
    // The collector refused once, and was asked again.
    assert_eq!(site.metric("presenced_trace_spans_total{outcome=\"exported\"}"), 3.0);
    assert!(site.log().contains("the collector of traces does not take them"));
    assert!(!site.log().contains("a-key-of-the-collector"));

    let doctor = || {
        let doctor = Command::new(BINARY).args(["doctor", "--config", &site.path("presenced.toml")]).output();
        String::from_utf8(doctor.unwrap().stdout).unwrap()
    };
    assert!(doctor().contains("4318: the collector takes traces"), "{}", doctor());
    // A collector that is gone costs its spans and nothing else.
    drop(collector);
    for _ in 0..20 {
        assert_eq!(site.send("GET", &format!("/v1.0/users/{USER_A}/presence"), &traced, "").0, 200);
    }
    assert!(doctor().contains(&format!("warning  tracing http://{address}:4318: ")), "{}", doctor());
    site.server.take().unwrap().terminate();
}
