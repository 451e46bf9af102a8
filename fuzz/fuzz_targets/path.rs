//! A path is a route, or a Graph error, whatever its spelling.
#![no_main]

use graph::Method;
use graph::path::Route;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    if let Ok(route) = Route::parse(path) {
        for method in [Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete] {
            let _ = route.operation(method);
        }
    }
});
