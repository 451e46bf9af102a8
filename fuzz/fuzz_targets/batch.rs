//! A body is a batch or a request, or a Graph error.
#![no_main]

use graph::batch::Batch;
use graph::json::Body;
use graph::path::Root;
use graph::presence_request as request;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use presence::AppId;

fuzz_target!(|bytes: &[u8]| {
    let body = || Body::json(bytes);
    let _ = Batch::parse(body(), Root::V1);
    let _ = request::get_presences_by_user_id(body(), 650);
    let _ = request::set_presence(body(), AppId::from_u128(1));
    let _ = request::clear_presence(body(), AppId::from_u128(1));
    let _ = request::set_user_preferred_presence(body());
    let _ = request::set_status_message(body(), Timestamp::UNIX_EPOCH);
});
