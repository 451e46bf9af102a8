//! `presenced migrate` and `presenced nodes`, with real stores on both sides.

use std::process::Command;
use std::sync::Arc;

use presence::{
    AppId, SequenceNumber, Session, SessionPair, TenantId, Timestamp, UserId, UserKey, UserPresence,
};
use store::{Commit, Document, DocumentKind, Embedded, Store, Version};

use crate::engines::{Engine, is_missing};
use crate::support::{BINARY, Server};

const USERS: u64 = 1_200;

fn user(number: u64) -> UserKey {
    UserKey { tenant: TenantId::from_u128(7), user: UserId::from_u128(number.into()) }
}

fn record(number: u64) -> UserPresence {
    let at = Timestamp::from_second(1_700_000_000 + number as i64).unwrap();
    let session = Session {
        app: AppId::from_u128(1),
        pair: SessionPair::Available,
        set_at: at,
        expires_at: at + std::time::Duration::from_secs(3_600),
    };
    UserPresence {
        sessions: vec![session],
        sequence_number: SequenceNumber(number),
        settled_at: at,
        ..UserPresence::default()
    }
}

fn documents() -> Vec<Document> {
    let document =
        |kind, key: u64| Document { kind, key: key.to_be_bytes().to_vec(), body: Some(b"{}".to_vec()) };
    (0..40)
        .map(|number| document(DocumentKind::DirectoryUser, number))
        .chain([document(DocumentKind::Application, 1), document(DocumentKind::TenantSettings, 2)])
        .collect()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn open(folder: &std::path::Path) -> Arc<Embedded> {
    Arc::new(Embedded::open(&folder.join("data/store"), store::Options::default()).unwrap().0)
}

fn presenced(arguments: &[&str], config: &std::path::Path) -> (bool, String) {
    let output = Command::new(BINARY).args(arguments).arg("--config").arg(config).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.success(), text)
}

#[test]
fn everything_goes_to_an_engine_and_back_and_only_differences_are_written() {
    if is_missing() {
        return;
    }
    let engine = Engine::single();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("presenced.toml");
    let text = format!(
        "data_dir = \"data\"\nstore = \"redis://127.0.0.1:{}\"\npublic_url = \"http://127.0.0.1\"\n\
         [listen]\nhttp = [\"127.0.0.1:0\"]\n[[tenant]]\nid = \"84bd8158-6d4d-4958-8b9f-9d6445542f95\"\n",
        engine.servers[0].port
    );
    std::fs::write(&config, text).unwrap();
    std::fs::create_dir_all(folder.path().join("data/store")).unwrap();
    let commit = |number: u64, expected: u64, presence: UserPresence| {
        let wake_at = presence.next_change(presence.settled_at);
        Commit { user: user(number), expected: Version(expected), presence, wake_at, changes: vec![] }
    };
    let store = open(folder.path());
    run(async {
        for number in 1..=USERS {
            store.commit(commit(number, 0, record(number))).await.unwrap();
        }
        store.put_documents(documents()).await.unwrap();
        store.close().await.unwrap();
    });
    drop(store);
    let there = ["migrate", "--from", "embedded", "--to", "redis"];
    let back = ["migrate", "--from", "redis", "--to", "embedded"];
    let (good, said) = presenced(&there, &config);
    assert!(
        good && said.contains("1200 users, 1200 of them written; 42 documents, 42 of them written"),
        "{said}"
    );
    let (good, said) = presenced(&there, &config);
    assert!(
        good && said.contains("1200 users, 0 of them written; 42 documents, 0 of them written"),
        "{said}"
    );
    let store = open(folder.path());
    run(async {
        store.commit(commit(5, 1, record(99))).await.unwrap();
        store.put_documents(vec![Document { body: None, ..documents()[3].clone() }]).await.unwrap();
        store.close().await.unwrap();
    });
    drop(store);
    let (good, said) = presenced(&there, &config);
    assert!(
        good && said.contains("1200 users, 1 of them written; 41 documents, 1 of them written"),
        "{said}"
    );

    std::fs::remove_dir_all(folder.path().join("data/store")).unwrap();
    std::fs::create_dir_all(folder.path().join("data/store")).unwrap();
    let (good, said) = presenced(&back, &config);
    assert!(good && said.contains("1200 users, 1200 of them written"), "{said}");
    let store = open(folder.path());
    run(async {
        let keys: Vec<_> = (1..=USERS).map(user).collect();
        for (number, stored) in (1..).zip(store.load(&keys).await.unwrap()) {
            assert_eq!(stored.presence, record(if number == 5 { 99 } else { number }));
        }
        assert_eq!(store.due(Timestamp::MAX, 5_000).await.unwrap().len(), USERS as usize, "wake-ups too");
        assert_eq!(store.documents(DocumentKind::DirectoryUser).await.unwrap().len(), 39);
    });
    drop(store);
    let (good, said) = presenced(&["migrate", "--from", "redis", "--to", "redis"], &config);
    assert!(!good && said.contains("the same"), "{said}");
}

#[test]
fn nodes_are_listed_with_what_they_work_on() {
    if is_missing() {
        return;
    }
    let engine = Engine::single();
    let url = format!("redis://127.0.0.1:{}", engine.servers[0].port);
    let _node = Server::dev_with(&["--in-memory", "--store", &url, "--store-prefix", "presenced"]);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("presenced.toml");
    let text = format!(
        "data_dir = \"data\"\nstore = \"{url}\"\npublic_url = \"http://127.0.0.1\"\n\
         [listen]\nhttp = [\"127.0.0.1:0\"]\n[[tenant]]\nid = \"84bd8158-6d4d-4958-8b9f-9d6445542f95\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let (good, said) = presenced(&["nodes"], &config);
    let node = said.lines().find(|line| line.starts_with("dev ")).unwrap_or_else(|| panic!("{said}"));
    let words: Vec<&str> = node.split_whitespace().collect();
    assert!(good && matches!(words[..], ["dev", _, _, _, _, "s", _, "ms", "lives"]), "{said}");
    assert_eq!(said.lines().count(), 2, "whoever asks is no node: {said}");
}
