//! Files of other releases: older ones are read forever, newer ones are refused by name.

use store::disk::SimulatedDisk;
use store::{OpenError, Options, Store};

use crate::support::{SMALL, commit, document, marks, open, run};

const LOG: &str = "log-00000000000000000001";

/// The file with another format number and a header that is right otherwise.
fn of_format(mut bytes: Vec<u8>, format: u32) -> Vec<u8> {
    bytes[8..12].copy_from_slice(&format.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn a_newer_format_is_refused_and_both_are_named() {
    let disk = SimulatedDisk::new(1);
    let options = Options { compact_at_bytes: 2000, ..SMALL };
    let (store, _) = open(&disk, options).unwrap();
    let mut version = 0;
    run(async {
        while store.status().compactions == 0 {
            version = store.commit(commit(1, version, 3)).await.unwrap().0;
        }
    });
    drop(store);
    for name in store::disk::Disk::list(&disk).unwrap() {
        let bytes = disk.read(&name).unwrap();
        disk.replace(&name, Some(of_format(bytes.clone(), 7)));
        let error = open(&disk, SMALL).err().unwrap();
        assert!(matches!(error, OpenError::Format { found: 7, supported: 2, .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.contains(&name) && message.contains("format 7") && message.contains("format 2"),
            "{message}"
        );
        disk.replace(&name, Some(bytes));
    }
    open(&disk, SMALL).unwrap();
}

/// Written by the first release: a log, up to the zeros behind it.
const LOG_1: &str = "\
    895072734c6f670a010000000100000000000000010000000000000033d4ce35f7501da5450000000100000000000000\
    15bc0669608ac224000000000000000000000000000000000101000000000000000000000000000000002201019090fe\
    d43201e012020100000000000000000000000000000002000080e10100f7501da552000000020000000000000085bf09\
    9f31b6bee4000000000000000000000000000000000101000000000000000000000000000000002f01029890fed43201\
    e012030100000000000000000000000000000003000080e1010100010478787878000000000000f7501da51300000003\
    00000000000000844465f8fa4f4ed50201036b657904626f64790301056f74686572f7501da501000000040000000000\
    0000fe3e831227477ff805";
/// Written by the first release: a snapshot of that log.
const SNAPSHOT_3: &str = "\
    89507273536e610a01000000030000000000000005000000000000000a3bd843f7501da5690000000000000000000000\
    fde6ac61d130b90b0601000000000000000000000000000000000101000000000000000000000000000000002f010298\
    90fed43201e012030100000000000000000000000000000003000080e10101000104787878780000000000000201036b\
    657904626f64790701010186c49fd50c00";

/// The same with a log of changes: format 2.
const LOG_2: &str = "\
    895072734c6f670a0200000001000000000000000100000000000000f999679af7501da55b0000000100000000000000\
    f7822f8c3fcbb852000000000000000000000000000000000101000000000000000000000000000000002201019090fe\
    d43201e012020100000000000000000000000000000002000080e1010009019090fed4320407010209028890fed43204\
    070002f7501da552000000020000000000000085bf099f31b6bee4000000000000000000000000000000000101000000\
    000000000000000000000000002f01029890fed43201e012030100000000000000000000000000000003000080e10101\
    00010478787878000000000000f7501da5130000000300000000000000844465f8fa4f4ed50201036b657904626f6479\
    0301056f74686572f7501da5010000000400000000000000fe3e831227477ff805";
/// A snapshot of that log.
const SNAPSHOT_2: &str = "\
    89507273536e610a0200000003000000000000000500000000000000c07671ecf7501da5810000000000000000000000\
    eb93352f8630e6f00601000000000000000000000000000000000101000000000000000000000000000000002f010298\
    90fed43201e012030100000000000000000000000000000003000080e10101000104787878780000000000000201036b\
    657904626f647909019090fed4320407010209028890fed432040700020a020701010186c49fd50c00";

const SNAPSHOT: &str = "snapshot-00000000000000000003";

#[test]
fn a_log_of_format_1_is_read_forever() {
    let disk = SimulatedDisk::new(1);
    disk.replace(LOG, Some(with_zeros(from_hex(LOG_1))));
    let (store, recovery) = open(&disk, SMALL).unwrap();
    assert_eq!((recovery.groups, recovery.torn_tail, recovery.was_closed), (3, None, true));
    check(&store);
}

#[test]
fn a_snapshot_of_format_1_is_read_forever() {
    let disk = SimulatedDisk::new(1);
    disk.replace(SNAPSHOT, Some(from_hex(SNAPSHOT_3)));
    // The log after it: only its header, for the fifth group.
    let mut header = from_hex(LOG_1)[..32].to_vec();
    header[12] = 3;
    header[20] = 5;
    disk.replace("log-00000000000000000003", Some(with_zeros(of_format(header, 1))));
    let (store, recovery) = open(&disk, SMALL).unwrap();
    assert_eq!((recovery.groups, recovery.torn_tail), (0, None));
    check(&store);
}

fn check(store: &dyn Store) {
    run(async {
        assert_eq!(marks(store, 2).await.unwrap(), [None, Some((2, 3))]);
        let documents = store.documents(store::DocumentKind::DirectoryUser).await.unwrap();
        assert_eq!(documents, [document("key", Some("body"))]);
    });
}

#[test]
fn what_is_written_is_still_format_2() {
    let disk = SimulatedDisk::new(1);
    let (store, _) = open(&disk, SMALL).unwrap();
    run(async {
        store.commit(commit(1, 0, 2)).await.unwrap();
        store.commit(commit(1, 1, 3)).await.unwrap();
        store.put_documents(vec![document("key", Some("body")), document("other", None)]).await.unwrap();
        store.close().await.unwrap();
    });
    drop(store);
    let log = disk.read(LOG).unwrap();
    let length = log.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert_eq!(to_hex(&log[..length]), LOG_2, "what is written has changed: it needs a new format number");

    // A snapshot is due at once: of the second log, which holds the fourth group.
    let (store, _) = open(&disk, Options { compact_at_bytes: 0, ..SMALL }).unwrap();
    run(store.put_documents(vec![document("other", None)])).unwrap();
    let snapshot = loop {
        match disk.read(SNAPSHOT) {
            Some(snapshot) => break snapshot,
            None => std::thread::yield_now(),
        }
    };
    assert_eq!(to_hex(&snapshot), SNAPSHOT_2, "what is written has changed: it needs a new format number");
}

fn with_zeros(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(1024, 0);
    bytes
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
