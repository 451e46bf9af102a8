//! What only a store over an engine promises: many processes at once, and an engine that may lose things.

use std::sync::Arc;
use std::time::Duration;

use presence::UserKey;
use store::leases::{BEAT, LEASE, LeaseTable, MARGIN};
use store::redis::{Loss, OpenError, Options, PATIENCE, Place, Redis, shard_of_document};
use store::{
    Commit, Document, DocumentKind, LogRead, Position, Retention, Shared, Store, StoreError, Version,
};

use crate::engines::{Engine, Server, apart, is_missing, runtime, wait_for};
use crate::support::{commit, document, marks, second, user};

fn run<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

/// Several stores over the same names.
fn several(engine: &Engine, options: &Options, count: usize) -> Vec<Arc<Redis>> {
    (0..count).map(|_| Arc::new(engine.open(options.clone()))).collect()
}

#[test]
fn what_one_process_commits_every_other_reads_and_all_see_the_same_log() {
    if is_missing() {
        return;
    }
    let engine = Engine::cluster();
    let options = apart();
    let stores = several(&engine, &options, 3);
    run(async {
        let begin = stores[2].log_now().await.unwrap();
        for round in 0..30 {
            for (number, store) in stores.iter().enumerate() {
                let number = number as u64;
                assert_eq!(store.commit(commit(number, round, round)).await.unwrap(), Version(round + 1));
                for other in &stores {
                    let found = marks(other.as_ref(), 3).await.unwrap();
                    assert_eq!(found[number as usize], Some((round + 1, round)), "read through any");
                }
            }
        }
        let mut logs = Vec::new();
        for store in &stores {
            let end = store.log_now().await.unwrap();
            let (mut after, mut all) = (begin, Vec::new());
            while after < end {
                let LogRead::Page { entries, .. } = store.read_log(after, 7).await.unwrap() else { panic!() };
                after = entries.last().unwrap().position;
                all.extend(entries);
            }
            logs.push(all);
        }
        assert_eq!(logs[0].len(), 90, "one in three rounds has none, one has one, one two");
        assert!(logs[0].is_sorted_by_key(|entry| entry.position));
        assert!(logs.iter().all(|log| *log == logs[0]));
        // In the middle of it through any of them: from the streams as from what a process has read itself.
        let middle = logs[0][40].position;
        let late = Arc::new(Redis::open(&engine.place(), options.clone()).await.unwrap());
        for store in stores.iter().chain([&late]) {
            let LogRead::Page { entries, .. } = store.read_log(middle, 10).await.unwrap() else { panic!() };
            assert_eq!(entries, logs[0][41..51]);
        }
    });
}

#[test]
fn readers_that_run_beside_writers_miss_nothing_and_see_one_order() {
    if is_missing() {
        return;
    }
    const WRITES: u64 = 150;
    let engine = Engine::cluster();
    let options = apart();
    let stores = several(&engine, &options, 3);
    run(async {
        let write = |store: Arc<Redis>, of: u64| async move {
            for version in 0..WRITES {
                store.commit(commit(of, version, 1)).await.unwrap();
            }
        };
        let read = |store: Arc<Redis>| async move {
            let (mut after, mut seen, mut end) = (Position(0), Vec::new(), store.log_end());
            while seen.len() < 6 * WRITES as usize {
                match store.read_log(after, 50).await.unwrap() {
                    LogRead::Page { entries, .. } if entries.is_empty() => {
                        end.wait_for(|end| *end > after).await.unwrap();
                    }
                    LogRead::Page { entries, .. } => {
                        after = entries.last().unwrap().position;
                        seen.extend(entries);
                    }
                    behind => panic!("{behind:?}"),
                }
            }
            seen
        };
        let readers: Vec<_> = stores.iter().map(|store| runtime().spawn(read(store.clone()))).collect();
        let writers: Vec<_> =
            (0..6).map(|of| runtime().spawn(write(stores[of as usize % 3].clone(), of))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let mut logs = Vec::new();
        for reader in readers {
            logs.push(reader.await.unwrap());
        }
        assert!(logs.iter().all(|log| *log == logs[0]), "the same for all");
        assert!(logs[0].is_sorted_by_key(|entry| entry.position));
        assert_eq!(logs[0].len(), 6 * WRITES as usize);
    });
}

#[test]
fn reading_650_users_of_a_cluster_is_a_round_trip_to_each_master_and_a_commit_is_one() {
    if is_missing() {
        return;
    }
    let engine = Engine::cluster();
    let store = engine.open(apart());
    run(async {
        let users: Vec<UserKey> = (0..650).map(user).collect();
        store.load(&users).await.unwrap();
        let before = store.round_trips();
        assert_eq!(store.load(&users).await.unwrap().len(), 650);
        assert_eq!(store.round_trips()[0] - before[0], 3);
        store.commit(commit(1, 0, 1)).await.unwrap();
        let before = store.round_trips();
        for version in 1..11 {
            store.commit(commit(1, version, 1)).await.unwrap();
        }
        assert_eq!(store.round_trips()[1] - before[1], 10);
    });
}

/// The simulator plays nodes over the table; the engine does the same by scripts.
#[test]
fn scripts_of_leases_and_fences_do_what_the_table_in_memory_does() {
    if is_missing() {
        return;
    }
    let engine = Engine::single();
    let server = &engine.servers[0];
    let (lease, documents) =
        (include_str!("../../src/redis/lease.lua"), include_str!("../../src/redis/documents.lua"));
    let mut table = LeaseTable::default();
    let mut chance = 7_u64;
    let mut below = |bound: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % bound
    };
    let (mut granted, mut fenced, mut last) = (0, 0, [0; 3]);
    for step in 0..200 {
        let place = below(3) as usize;
        let node = ["a", "b", "c"][place];
        // One that has ended at once, or one that lasts for longer than this test.
        let lasts = Duration::from_millis([0, 3_600_000][below(2) as usize]);
        let is_wanted = below(4) > 0;
        let token = table.lease(node, 5, is_wanted, lasts, Duration::ZERO);
        let expected = token.map_or("0".to_owned(), |token| format!("1\n{token}"));
        let (millis, wanted) = (lasts.as_millis().to_string(), u8::from(is_wanted).to_string());
        let answer = server.cli(&["EVAL", lease, "1", "meta", node, &millis, &wanted]);
        assert_eq!(answer.trim(), expected, "step {step}");
        granted += usize::from(token.is_some());
        last[place] = token.unwrap_or(last[place]);
        let writer = below(3) as usize;
        let whose = [writer, below(3) as usize][below(2) as usize];
        let token = last[whose].to_string();
        let name = ["a", "b", "c"][writer];
        let is_held = table.is_held(name, 5, token.parse().unwrap());
        let written = server.cli(&["EVAL", documents, "2", "meta", "document-log", name, &token, "9"]);
        assert_eq!(written.trim() == "1", is_held, "step {step}: {written}");
        assert!(is_held || written.starts_with("FENCED"), "{written}");
        fenced += usize::from(!is_held);
    }
    assert!((20..180).contains(&granted) && (20..190).contains(&fenced), "{granted}, {fenced}");
}

#[test]
fn leases_are_shared_move_when_a_process_goes_and_keep_out_whoever_has_lost_one() {
    if is_missing() {
        return;
    }
    let engine = Engine::single();
    let options = Options { buckets: Some(16), ..apart() };
    let first = engine.open(options.clone());
    let leases = first.leases().borrow().clone();
    assert_eq!(leases.held().count(), 16, "alone with all");
    let second = engine.open(options.clone());
    let held = |store: &Redis| store.leases().borrow().held().count();
    wait_for("a share", || held(&first) + held(&second) == 16 && held(&second) > 0 && held(&first) > 0);
    let shared: Vec<u16> = first.leases().borrow().held().collect();
    assert!(
        second.leases().borrow().held().all(|bucket| !shared.contains(&bucket)),
        "no bucket is with both"
    );
    assert_eq!(run(second.nodes()).unwrap().iter().filter(|node| node.lives).count(), 2);

    // What has gone to the other is written under the old token in vain.
    let gone = second.leases().borrow().held().next().unwrap();
    let cursor = |shard: u16| Document {
        kind: DocumentKind::DeliveryCursor,
        key: shard.to_be_bytes().to_vec(),
        body: Some(vec![1; 8]),
    };
    let stale = first.put_documents_under(gone, leases.token(gone).unwrap(), vec![cursor(gone)]);
    assert!(matches!(run(stale), Err(StoreError::Conflict)));
    assert_eq!(run(first.documents(DocumentKind::DeliveryCursor)).unwrap(), []);
    let token = second.leases().borrow().token(gone).unwrap();
    assert!(token > leases.token(gone).unwrap(), "each owner has a later one");
    run(second.put_documents_under(gone, token, vec![cursor(gone)])).unwrap();

    // One that is dropped without a word is missed soon.
    drop(first);
    wait_for("the rest", || held(&second) == 16);
    wait_for("silence", || run(second.nodes()).unwrap().iter().filter(|node| node.lives).count() == 1);
    run(second.close()).unwrap();
    assert_eq!(
        run(engine.open(options).nodes()).unwrap().len(),
        2,
        "one that lives, one that was never heard of again"
    );
}

/// The test's runtime has a clock of its own, which moves when it is told to, so what is asserted is an order: the beat asks an
/// engine that stands still, the lease ends, and only after that the beat would give up.
#[test]
fn leases_end_when_their_time_has_come_although_the_beat_that_was_to_keep_them_has_no_answer() {
    if is_missing() {
        return;
    }
    let engine = Engine::single();
    let options = Options { buckets: Some(4), ..apart() };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let store = Redis::open(&engine.place(), options).await.unwrap();
        // Nothing else runs on this thread: the leases are those that opening it took.
        engine.servers[0].signal("-STOP");
        tokio::time::pause();
        let (leases, begin) = (store.leases(), tokio::time::Instant::now());
        assert_eq!(leases.borrow().held().count(), 4);
        let trips = store.round_trips()[2];
        let step = Duration::from_millis(5);
        while leases.borrow().held().count() > 0 && begin.elapsed() < 2 * LEASE {
            tokio::time::advance(step).await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        assert!(store.round_trips()[2] > trips, "somebody has asked");
        assert!(begin.elapsed() <= LEASE - MARGIN + step, "{:?} after it was kept", begin.elapsed());
        assert!(LEASE - MARGIN < BEAT + PATIENCE, "a beat that has no answer goes on for longer");
        assert_eq!(
            store.due("9999-01-01T00:00:00Z".parse().unwrap(), 1).await.unwrap(),
            [],
            "and works on none"
        );
        tokio::time::resume();
        engine.servers[0].signal("-CONT");
        store.leases().wait_for(|leases| leases.held().count() == 4).await.unwrap();
    });
}

#[test]
fn while_one_master_of_a_cluster_is_gone_the_leases_and_timers_of_the_others_go_on() {
    if is_missing() {
        return;
    }
    let mut engine = Engine::cluster();
    for server in &engine.servers {
        // The others serve what they have, and nobody takes over before it is asked to.
        server.cli(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
        server.cli(&["CONFIG", "SET", "cluster-replica-no-failover", "yes"]);
    }
    let options = Options { buckets: Some(12), ..apart() };
    let store = engine.open(options.clone());
    for number in 0..60 {
        run(store.commit(Commit { wake_at: Some(second(1)), ..commit(number, 0, 0) })).unwrap();
    }
    let held = || store.leases().borrow().held().collect::<Vec<u16>>();
    let due = || run(store.due(second(2), 100)).unwrap();
    assert_eq!((held().len(), due().len()), (12, 60));

    // The one that has the list of nodes: nobody can say that they live.
    let list = format!("{}:nodes", options.prefix);
    let is_victim = |server: &Server| {
        let is_master = server.cli(&["INFO", "replication"]).contains("role:master");
        is_master && !server.cli(&["HLEN", &list]).starts_with("MOVED")
    };
    let victim = engine.servers.iter().position(is_victim).unwrap();
    let id = engine.servers[victim].cli(&["CLUSTER", "MYID"]);
    engine.servers[victim].kill();
    wait_for("the end of its leases", || held().len() < 12);
    let of_the_others = held();
    assert!(!of_the_others.is_empty(), "all is let go of because one master is gone");
    // For longer than a lease lasts, so they were kept meanwhile.
    let bucket = |user: &UserKey| {
        let key = [user.tenant.as_u128().to_be_bytes(), user.user.as_u128().to_be_bytes()].concat();
        shard_of_document(DocumentKind::DirectoryUser, &key, 12)
    };
    let expected = (0..60).map(user).filter(|user| of_the_others.contains(&bucket(user))).count();
    let since = tokio::time::Instant::now();
    // A replica may be too slow for a beat; then a lease is let go of, and taken again with the next.
    let (mut looks, mut good) = (0, 0);
    wait_for("more time than a lease lasts", || {
        let found = due();
        assert!(found.iter().all(|user| of_the_others.contains(&bucket(user))));
        let is_good = held() == of_the_others && found.len() == expected;
        looks += 1;
        good += u32::from(is_good && run(store.next_wake()).unwrap() == Some(second(1)));
        since.elapsed() > 2 * LEASE
    });
    assert!(good * 10 > looks * 8, "the others work on at {good} of {looks} looks");

    // Its replica takes its place, and it comes back as the replica of that.
    let nodes = engine.servers[(victim + 1) % 6].cli(&["CLUSTER", "NODES"]);
    let replica = nodes.lines().find(|line| line.contains("slave") && line.contains(&id)).unwrap();
    let replica =
        engine.servers.iter().find(|server| replica.contains(&format!(":{}@", server.port))).unwrap();
    assert_eq!(replica.cli(&["CLUSTER", "FAILOVER", "TAKEOVER"]), "OK");
    engine.servers[victim].restart();
    wait_for("all leases", || held().len() == 12);
    assert_eq!(due().len(), 60);
}

#[test]
fn what_one_process_changes_of_documents_the_others_learn() {
    if is_missing() {
        return;
    }
    let engine = Engine::single();
    let options = apart();
    let (one, other) = (engine.open(options.clone()), engine.open(options));
    run(async {
        one.put_documents(vec![document("before", Some("x"))]).await.unwrap();
        let mut seen = other.documents_seen().await.unwrap();
        assert_eq!(other.document_changes(&mut seen).await.unwrap().documents, []);
        let mut changed = other.documents_changed();
        one.put_documents(vec![document("a", Some("1")), document("b", Some("2"))]).await.unwrap();
        one.put_documents(vec![document("a", Some("3")), document("before", None)]).await.unwrap();
        changed.wait_for(|mark| *mark != seen.mark()).await.unwrap();
        let mut changes = other.document_changes(&mut seen).await.unwrap();
        assert_eq!(*changed.borrow(), seen.mark(), "all of them were seen");
        changes.documents.sort_by(|a, b| a.key.cmp(&b.key));
        assert!(changes.is_complete);
        let expected = [document("a", Some("3")), document("b", Some("2")), document("before", None)];
        assert_eq!(changes.documents, expected);
        assert_eq!(other.document_changes(&mut seen).await.unwrap().documents, [], "once");
        for _ in 0..3 {
            let many = (0..3_000).map(|_| document("a", Some("4"))).collect::<Vec<_>>();
            for some in many.chunks(1) {
                one.put_documents(some.to_vec()).await.unwrap();
            }
        }
        let changes = other.document_changes(&mut seen).await.unwrap();
        assert!(!changes.is_complete || changes.documents == [document("a", Some("4"))]);
    });
}

#[test]
fn a_change_of_a_document_that_has_the_number_of_one_that_was_lost_is_noticed() {
    if is_missing() {
        return;
    }
    for replicas in [0, 1] {
        let mut engine = Engine::replicated();
        let accept_loss = if replicas == 0 { Loss::All } else { Loss::None };
        let options = Options { buckets: Some(1), replicas: Some(replicas), accept_loss, ..apart() };
        let (one, other) = (engine.open(options.clone()), engine.open(options));
        let mut seen = run(async {
            one.put_documents(vec![document("kept", Some("1"))]).await.unwrap();
            let mut seen = other.documents_seen().await.unwrap();
            let offset = |server: &Server| {
                let told = server.cli(&["INFO", "replication"]);
                told.lines()
                    .find_map(|line| line.trim().strip_prefix("master_repl_offset:").map(str::to_owned))
            };
            wait_for("all in the replica", || offset(&engine.servers[0]) == offset(&engine.servers[1]));
            // The replica goes on without the master, which does not know it yet.
            engine.servers[1].cli(&["REPLICAOF", "NO", "ONE"]);
            let put = one.put_documents(vec![document("lost", Some("2"))]).await;
            assert_eq!(put.is_ok(), replicas == 0, "{put:?}");
            let changes = other.document_changes(&mut seen).await;
            if replicas == 0 {
                assert_eq!(changes.unwrap().documents, [document("lost", Some("2"))]);
            } else {
                assert!(matches!(changes, Err(StoreError::Unavailable(_))), "no replica has it: {changes:?}");
            }
            seen
        });
        engine.servers[0].kill();
        engine.servers[0].restart();
        let second = engine.servers[1].port.to_string();
        engine.servers[0].cli(&["REPLICAOF", "127.0.0.1", &second]);
        wait_for("the replica", || {
            engine.servers[0].cli(&["INFO", "replication"]).contains("master_link_status:up")
        });
        run(async {
            // Its number was given to what is lost.
            one.put_documents(vec![document("next", Some("3"))]).await.unwrap();
            other.documents_changed().wait_for(|mark| *mark != seen.mark()).await.unwrap();
            let changes = other.document_changes(&mut seen).await.unwrap();
            if replicas == 0 {
                assert!(!changes.is_complete, "what was seen is there no more: {changes:?}");
            } else {
                assert_eq!(changes.documents, [document("next", Some("3"))], "nothing else was ever seen");
            }
            let left = other.documents(DocumentKind::DirectoryUser).await.unwrap();
            assert_eq!(left, [document("kept", Some("1")), document("next", Some("3"))]);
            // Once, or as often as it was tried to put it while the engine came back.
            let changes = other.document_changes(&mut seen).await.unwrap();
            assert!(
                changes.is_complete && changes.documents.iter().all(|next| *next == left[1]),
                "{changes:?}"
            );
            let changes = other.document_changes(&mut seen).await.unwrap();
            assert!(
                changes.is_complete && changes.documents.is_empty(),
                "what was seen is seen: {changes:?}"
            );
            one.put_documents(vec![document("next", None)]).await.unwrap();
            assert_eq!(other.document_changes(&mut seen).await.unwrap().documents, [document("next", None)]);
        });
    }
}

#[test]
fn a_claim_is_one_processs_until_it_is_given_back_dropped_or_too_old() {
    if is_missing() {
        return;
    }
    let engine = Engine::replicated();
    let options = apart();
    let stores = several(&engine, &options, 2);
    run(async {
        let (one, other) = (stores[0].as_ref(), stores[1].as_ref());
        let claim = one.claim(b"owner").await.unwrap();
        drop(other.claim(b"somebody else").await.unwrap());
        // Whoever waits has it when it is given back, and not before.
        let (waiting, ()) = tokio::join!(other.claim(b"owner"), async {
            tokio::task::yield_now().await;
            claim.release().await;
        });
        assert!(matches!(one.claim(b"owner").await, Err(StoreError::Unavailable(_))), "it is the other's");
        drop(waiting.unwrap());
        let dead = one.claim(b"owner").await.unwrap();
        // As when its holder died long ago.
        let bucket = engine.servers[0].cli(&["--scan", "--pattern", &format!("{}:*:claims", options.prefix)]);
        let key =
            bucket.lines().find(|key| engine.servers[0].cli(&["HEXISTS", key, "owner"]) == "1").unwrap();
        assert_eq!(engine.servers[0].cli(&["HSET", key, "owner", "somebody 1"]), "0");
        other.claim(b"owner").await.unwrap().release().await;
        drop(dead);
        assert_eq!(engine.servers[0].cli(&["HEXISTS", key, "owner"]), "0");
    });
}

#[test]
fn an_engine_that_may_lose_what_it_acknowledged_is_refused_unless_that_is_accepted() {
    if is_missing() {
        return;
    }
    let engine = Engine::single();
    let open = |accept_loss| run(Redis::open(&engine.place(), Options { accept_loss, ..apart() }));
    for (name, value, needed) in [
        ("appendfsync", "everysec", Loss::Second),
        ("appendfsync", "no", Loss::All),
        ("appendonly", "no", Loss::All),
    ] {
        engine.servers[0].cli(&["CONFIG", "SET", name, value]);
        for accepted in [Loss::None, Loss::Second, Loss::All] {
            let outcome = open(accepted);
            match accepted >= needed {
                true => drop(outcome.unwrap()),
                false => assert!(matches!(outcome, Err(OpenError::Unsafe(_))), "{name} {value}"),
            }
        }
    }
}

#[test]
fn the_number_of_buckets_is_kept_and_checked() {
    if is_missing() {
        return;
    }
    let engine = Engine::single();
    let options = Options { buckets: Some(7), ..apart() };
    drop(engine.open(options.clone()));
    let open = |buckets| run(Redis::open(&engine.place(), Options { buckets, ..options.clone() }));
    assert!(open(None).is_ok() && open(Some(7)).is_ok());
    for wrong in [Some(8), Some(0), Some(2_000)] {
        assert!(matches!(open(wrong), Err(OpenError::Layout(_))), "{wrong:?}");
    }
}

#[test]
fn an_engine_that_went_back_is_noticed_and_its_log_goes_on_behind_what_was_lost() {
    if is_missing() {
        return;
    }
    let engine = Engine::single();
    let store = engine.open(Options { buckets: Some(1), ..apart() });
    run(async {
        for version in 0..5 {
            store.commit(commit(1, version, 1)).await.unwrap();
        }
        let end = store.log_now().await.unwrap();
        assert_eq!(store.losses(), 0);
        // As after a restart from an older file.
        engine.servers[0].cli(&["FLUSHALL"]);
        store.log_now().await.unwrap();
        assert_eq!(store.losses(), 1);
        store.commit(commit(1, 0, 1)).await.unwrap();
        let later = store.log_now().await.unwrap();
        assert!(later > end);
        let LogRead::Page { entries, .. } = store.read_log(end, 10).await.unwrap() else { panic!() };
        assert_eq!(entries.len(), 1, "whoever had read everything sees what is new");
    });
}

#[test]
fn a_full_engine_refuses_writes_and_serves_reads_until_there_is_room() {
    if is_missing() {
        return;
    }
    let engine = Engine::single();
    let store = engine.open(apart());
    run(async {
        store.commit(commit(1, 0, 4)).await.unwrap();
        engine.servers[0].cli(&["CONFIG", "SET", "maxmemory", "1mb"]);
        let refused = store.commit(commit(1, 1, 4)).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert_eq!(marks(&store, 2).await.unwrap()[1], Some((1, 4)));
        engine.servers[0].cli(&["CONFIG", "SET", "maxmemory", "0"]);
        store.commit(commit(1, 1, 4)).await.unwrap();
    });
}

#[test]
fn what_is_not_retained_is_forgotten_and_a_reader_behind_it_is_told() {
    if is_missing() {
        return;
    }
    let engine = Engine::single();
    let retention = Retention { entries: 20, ..Retention::default() };
    let options = Options { buckets: Some(1), retention, ..apart() };
    let store = engine.open(options.clone());
    run(async {
        for version in 0..60 {
            store.commit(commit(1, version, 1)).await.unwrap();
        }
        let end = store.log_now().await.unwrap();
        let late = Redis::open(&engine.place(), options).await.unwrap();
        let LogRead::Behind { oldest, end: told } = late.read_log(Position(1), 5).await.unwrap() else {
            panic!()
        };
        assert_eq!(told, end);
        let LogRead::Page { entries, .. } = late.read_log(Position(oldest.0 - 1), 100).await.unwrap() else {
            panic!()
        };
        assert!((20..=26).contains(&entries.len()), "{}", entries.len());
        assert_eq!(entries.last().unwrap().position, end);
        let _ = second(1);
    });
}

#[test]
fn a_user_who_may_do_only_what_is_needed_is_enough() {
    if is_missing() {
        return;
    }
    let engine = Engine::single();
    let rules = "on >secret ~test-* resetchannels -@all +evalsha +eval +script|load +hset +hget +hmget +hsetnx +hdel \
                 +hgetall +hscan +hincrby +zadd +zrem +zrange +zrangebyscore +xadd +xrange +xrevrange +xlen +xtrim +time \
                 +info +config|get +wait +cluster|slots +ping";
    let mut setuser = vec!["ACL", "SETUSER", "presenced"];
    setuser.extend(rules.split_whitespace());
    assert_eq!(engine.servers[0].cli(&setuser), "OK");
    let mut place = engine.place();
    (place.user, place.password) = (Some("presenced".to_owned()), Some("secret".to_owned()));
    run(async {
        let store = Redis::open(&place, apart()).await.unwrap();
        store.commit(commit(1, 0, 1)).await.unwrap();
        store.put_documents(vec![document("a", Some("1")), document("b", None)]).await.unwrap();
        store.trim_log(second(1)).await.unwrap();
        store.log_now().await.unwrap();
        assert_eq!(store.documents(DocumentKind::DirectoryUser).await.unwrap().len(), 1);
        store.close().await.unwrap();
        place.password = Some("wrong".to_owned());
        let refused = Redis::open(&place, apart()).await;
        assert!(refused.is_err());
    });
}

#[test]
fn an_engine_behind_tls_is_believed_with_its_authority_alone_and_shown_a_certificate() {
    if is_missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("sh")
        .args(["-ec", CERTIFICATES])
        .current_dir(folder.path())
        .output()
        .expect("openssl is missing: install Debian's package openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let read = |name: &str| Some(std::fs::read(folder.path().join(name)).unwrap());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path("server.pem"),
        "--tls-key-file",
        &path("server.key"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
        "--tls-auth-clients",
        "yes",
    ]);
    let mut place: Place = format!("rediss://127.0.0.1:{port}").parse().unwrap();
    place.authority = read("ca.pem");
    place.client_certificate = read("server.pem").zip(read("server.key"));
    let works = |place: &Place| {
        run(async {
            let Ok(store) = Redis::open(place, apart()).await else { return false };
            store.commit(commit(1, 0, 1)).await.unwrap();
            true
        })
    };
    assert!(works(&place));
    assert!(!works(&Place { authority: read("other.pem"), ..place.clone() }), "another authority");
    assert!(!works(&Place { client_certificate: None, ..place.clone() }), "no certificate to show");
    drop(server);
}

/// An authority, a certificate of it for this machine, and another authority.
const CERTIFICATES: &str = r#"
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
for name in ca other; do openssl req -x509 $key -keyout $name.key -out $name.pem -days 30 -subj /CN=$name; done
openssl req $key -keyout server.key -out server.csr -subj /CN=redis
printf 'subjectAltName=IP:127.0.0.1\n' >server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile server.ext -out server.pem -days 30
"#;
