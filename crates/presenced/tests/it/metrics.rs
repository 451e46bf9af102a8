//! The page that Prometheus reads: by a parser that is not ours, and with every name that the dashboard and the alerts use.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Answer, Caller, Server, USER_A, USER_B, read_answer};

/// Version of the Python package `prometheus-client`, whose OpenMetrics parser reads the page.
const PARSER: &str = "prometheus-client==0.22.1";

/// How often the page is looked at again while people are being counted, and how many times at most.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOKS_MAX: usize = 600;

/// What only a server has that shares its store with others.
const OF_A_SHARED_STORE: [&str; 5] = [
    "presenced_nodes",
    "presenced_leases",
    "presenced_buckets",
    "presenced_log_lag_seconds",
    "presenced_store_losses_total",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

struct Measured {
    server: Server,
    metrics: SocketAddr,
    /// Where the server keeps what it keeps, for as long as it runs.
    _folder: tempfile::TempDir,
}

impl Measured {
    fn start() -> Self {
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let server = Server::dev_with(&[
            "--data-dir",
            folder.path().to_str().unwrap(),
            "--metrics",
            &metrics.to_string(),
        ]);
        Self { server, metrics, _folder: folder }
    }

    fn get(&self, method: &str, path: &str) -> Answer {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        read_answer(&mut stream)
    }

    /// The page, once people have been counted.
    fn page(&self) -> String {
        for _ in 0..LOOKS_MAX {
            let page = self.get("GET", "/metrics").text();
            if page.contains("presenced_census_timestamp_seconds ") {
                return page;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        panic!("nobody was counted");
    }
}

/// The value of a sample, written out with its labels.
fn value(page: &str, sample: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn requests_people_and_the_store_are_counted_on_a_listener_of_their_own() {
    let measured = Measured::start();
    let app = Caller::application(&measured.server);
    assert_eq!(app.set(USER_A, "Busy", "InACall", "PT1H").status, 200);
    assert_eq!(app.get(&format!("/v1.0/users/{USER_A}/presence")).status, 200);
    assert_eq!(app.get(&format!("/v1.0/users/{USER_A}/presence")).status, 200);
    assert_eq!(app.get("/v1.0/nothing").status, 400);
    let page = measured.page();
    let get = |sample: &str| value(&page, sample);
    assert_eq!(
        get("presenced_requests_total{operation=\"getPresence\",status=\"200\"}"),
        Some(2.0),
        "{page}"
    );
    assert_eq!(get("presenced_requests_total{operation=\"setPresence\",status=\"200\"}"), Some(1.0));
    assert_eq!(get("presenced_requests_total{operation=\"none\",status=\"400\"}"), Some(1.0));
    assert_eq!(get("presenced_request_duration_seconds_count{operation=\"getPresence\"}"), Some(2.0));
    assert_eq!(get("presenced_log_position"), Some(1.0));
    // Of the presence one; what delivery notes down now and then is committed, too.
    assert!(get("presenced_store_commit_seconds_count").unwrap() >= 1.0);
    assert!(get("presenced_store_changes_total").unwrap() >= 2.0);
    assert!(get("presenced_store_groups_total").unwrap() >= 1.0);
    assert!(get("presenced_token_cache_hits_total").unwrap() >= 2.0);
    assert_eq!(get("presenced_token_cache_misses_total"), Some(1.0));
    assert_eq!(get("presenced_store_write_failing"), Some(0.0));
    assert!(get("presenced_directory_users").unwrap() >= 2.0);
    assert!(page.contains(concat!("presenced_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")));
    // Who, from where and with what is nobody's business here.
    for secret in [USER_A, USER_B, "presenced.example"] {
        assert!(!page.contains(secret), "{secret}");
    }
    assert_eq!(measured.get("GET", "/v1.0/$metadata").status, 404);
    assert_eq!(measured.get("GET", "/").status, 404);
    let posted = measured.get("POST", "/metrics");
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET")));
    let head = measured.get("GET", "/metrics");
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(head.header("content-type"), Some(content_type));
    // The other listener does not have it.
    assert_ne!(measured.server.send("GET", "/metrics", &[], b"").status, 200);
}

#[test]
fn people_are_counted_as_they_are_shown() {
    let measured = Measured::start();
    let app = Caller::application(&measured.server);
    assert_eq!(app.set(USER_A, "Busy", "InACall", "PT1H").status, 200);
    assert_eq!(app.set(USER_B, "Available", "Available", "PT1H").status, 200);
    // The census that is under way may have passed them.
    for _ in 0..LOOKS_MAX {
        if value(&measured.page(), "presenced_sessions") == Some(2.0) {
            break;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let page = measured.page();
    let users = value(&page, "presenced_directory_users").unwrap();
    let count = |availability: &str| {
        value(&page, &format!("presenced_users{{availability=\"{availability}\"}}")).unwrap()
    };
    assert_eq!((count("Busy"), count("Available"), count("Offline")), (1.0, 1.0, users - 2.0));
}

#[test]
fn the_openmetrics_parser_of_prometheus_reads_the_page() {
    let measured = Measured::start();
    let app = Caller::application(&measured.server);
    assert_eq!(app.set(USER_A, "Busy", "InACall", "PT1H").status, 200);
    let page = measured.page();
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let venv = folder.path().join("venv");
    run(Path::new("python3"), &["-m", "venv", venv.to_str().unwrap()]);
    let python = venv.join("bin/python");
    run(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PARSER]);
    let program = "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
                   for family in read(sys.stdin.read()):\n    print(family.name, family.type, len(family.samples))\n";
    let mut child = Command::new(&python)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let families: Vec<String> =
        BufReader::new(child.stdout.take().unwrap()).lines().collect::<Result<_, _>>().unwrap();
    assert!(child.wait().unwrap().success(), "{page}");
    for family in [
        "presenced_requests counter",
        "presenced_request_duration_seconds histogram",
        "presenced_users gauge",
    ] {
        assert!(families.iter().any(|line| line.starts_with(family)), "{family}: {families:?}");
    }
}

#[test]
fn a_real_prometheus_scrapes_the_page_and_evaluates_every_rule() {
    let measured = Measured::start();
    let app = Caller::application(&measured.server);
    assert_eq!(app.set(USER_A, "Busy", "InACall", "PT1H").status, 200);
    let folder = tempfile::tempdir().unwrap();
    let deploy = root().join("deploy/prometheus");
    std::fs::copy(deploy.join("alerts.yml"), folder.path().join("alerts.yml")).unwrap();
    // The file that is shipped, but for the address and the pace.
    let config = std::fs::read_to_string(deploy.join("prometheus.yml")).unwrap();
    let config = config.replace("127.0.0.1:9464", &measured.metrics.to_string());
    let config =
        format!("global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n{config}");
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let site = crate::site::own_address();
    let listen = SocketAddr::from((site, 9090));
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()))
        .arg(format!("--web.listen-address={listen}"))
        .stderr(Stdio::null())
        .spawn()
        .expect("install the package prometheus");
    let _prometheus = crate::site::Process(child);
    let ask = |path: &str| -> Option<serde_json::Value> {
        let mut stream = TcpStream::connect(listen).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut text).ok()?;
        let body = text.windows(4).position(|window| window == b"\r\n\r\n")?;
        serde_json::from_slice(&text[body + 4..]).ok()
    };
    let value = |query: &str| {
        let answer = ask(&format!("/api/v1/query?query={query}"))?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()
    };
    let busy = "presenced_users%7Bavailability%3D%22Busy%22%7D";
    crate::site::eventually("the census was scraped", || value(busy).filter(|users| *users == 1.0));
    assert_eq!(value("up%7Bjob%3D%22presenced%22%7D"), Some(1.0));
    assert_eq!(value("presenced_requests_total%7Boperation%3D%22setPresence%22%7D"), Some(1.0));
    let p99 = "histogram_quantile(1,presenced_store_commit_seconds_bucket)";
    assert!(value(p99).is_some_and(|seconds| seconds > 0.0));
    let rules = crate::site::eventually("every rule was evaluated", || {
        let answer = ask("/api/v1/rules")?;
        let rules = answer["data"]["groups"][0]["rules"].as_array()?.clone();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    });
    assert!(rules.len() >= 10 && rules.iter().all(|rule| rule["health"] == "ok"), "{rules:?}");
    assert!(rules.iter().all(|rule| rule["state"] == "inactive"), "{rules:?}");
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_is_on_the_page() {
    let measured = Measured::start();
    let app = Caller::application(&measured.server);
    assert_eq!(app.set(USER_A, "Busy", "InACall", "PT1H").status, 200);
    let page = measured.page();
    let known: BTreeSet<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    for file in ["deploy/grafana/presenced.json", "deploy/prometheus/alerts.yml", "docs/operate.md"] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let used: BTreeSet<&str> =
            words.filter(|word| word.starts_with("presenced_") || word.starts_with("process_")).collect();
        assert!(used.len() > 5, "{file}");
        for name in used.into_iter().filter(|name| !OF_A_SHARED_STORE.contains(name)) {
            assert!(known.contains(name), "{file} uses {name}, which is not on the page");
        }
    }
    let dashboard = std::fs::read_to_string(root().join("deploy/grafana/presenced.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
}
