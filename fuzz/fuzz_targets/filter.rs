//! A query, its `$filter` and its `$search` are read, or refused.
#![no_main]

use graph::filter::Filter;
use graph::odata::{Query, presence_select};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Filter::parse(text, false);
    let _ = Filter::parse(text, true);
    let _ = Filter::parse_search(text);
    if let Ok(query) = Query::parse(text) {
        let _ = presence_select(&query);
        let _ = query.metadata_level(Some(text));
    }
});
