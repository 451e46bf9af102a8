//! Stored bytes are a record or are refused; and a log in which some bytes are others opens or names its damage.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use store::disk::{Disk, SimulatedDisk};
use store::{Embedded, Options};

fuzz_target!(|bytes: &[u8]| {
    let _ = store::is_record(bytes);
    let disk = SimulatedDisk::new(1);
    let options = Options { preallocate_bytes: 1_024, ..Options::default() };
    // What a store leaves on an empty disk, overwritten from where the first byte says.
    let Ok((store, mut writer, _)) = Embedded::open_in_steps(Arc::new(disk.clone()), options) else { return };
    let document = store::Document {
        kind: store::DocumentKind::DirectoryUser,
        key: b"key".to_vec(),
        body: Some(bytes.get(..64).unwrap_or(bytes).to_vec()),
    };
    let mut put = Box::pin(store::Store::put_documents(&store, vec![document]));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = put.as_mut().poll(&mut context);
    writer.step();
    let _ = put.as_mut().poll(&mut context);
    drop(put);
    drop((store, writer));
    for name in disk.list().unwrap_or_default() {
        let Some((from, rest)) = bytes.split_first() else { return };
        let Some(mut content) = disk.read(&name) else { continue };
        let from = usize::from(*from).min(content.len());
        let to = content.len().min(from + rest.len());
        content[from..to].copy_from_slice(&rest[..to - from]);
        disk.replace(&name, Some(content));
    }
    let _ = Embedded::open_in_steps(Arc::new(disk), options);
});
