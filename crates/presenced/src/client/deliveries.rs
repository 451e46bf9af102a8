//! `presenced subscriptions` and `presenced deliveries`: over the admin API of a running server.

use serde_json::{Value, json};

use super::admin::root;
use super::{Client, say, say_json, segment};
use crate::args::{DeliveriesArgs, SubscriptionsArgs};

/// Every page of them.
pub(crate) fn subscriptions(args: &SubscriptionsArgs) -> anyhow::Result<()> {
    let client = Client::new(args.admin.server.clone())?;
    let first = format!("{}/subscriptions", root(&args.admin));
    let mut all: Vec<Value> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let path =
            after.as_ref().map_or_else(|| first.clone(), |after| format!("{first}?after={}", segment(after)));
        let mut page = client.get(&path)?;
        if let Value::Array(page) = page["value"].take() {
            all.extend(page);
        }
        let next = page["next"].as_str().map(str::to_owned);
        // A server that repeats itself is not asked again.
        if next.is_none() || next == after {
            break;
        }
        after = next;
    }
    if args.admin.output.json {
        say_json(&all.into());
    } else {
        all.iter().for_each(say_subscription);
    }
    Ok(())
}

pub(crate) fn deliveries(args: &DeliveriesArgs) -> anyhow::Result<()> {
    let client = Client::new(args.admin.server.clone())?;
    let subscription = format!("{}/subscriptions/{}", root(&args.admin), segment(&args.subscription));
    if let Some(position) = &args.replay_from {
        let replayed = client.post(&format!("{subscription}/replay"), &json!({ "from": position }))?;
        if args.admin.output.json {
            say_json(&replayed);
        } else {
            say_subscription(&replayed);
        }
        return Ok(());
    }
    let deliveries = client.get(&format!("{subscription}/deliveries"))?;
    if args.admin.output.json {
        say_json(&deliveries);
        return Ok(());
    }
    say_subscription(&deliveries["subscription"]);
    for attempt in deliveries["value"].as_array().into_iter().flatten() {
        let status = attempt["status"].as_u64().map_or_else(String::new, |status| format!(" {status}"));
        let next = attempt["nextTry"].as_str().map_or_else(String::new, |at| format!(", again at {at}"));
        say(format_args!(
            "  {}  attempt {}: {} items, {}{status} after {} ms{next}",
            text(attempt, "triedAt"),
            attempt["attempt"],
            attempt["items"],
            text(attempt, "outcome"),
            attempt["milliseconds"],
        ));
        say(format_args!("    from {} to {}", text(attempt, "from"), text(attempt, "to")));
    }
    Ok(())
}

fn say_subscription(subscription: &Value) {
    let kind = if subscription["includeResourceData"] == true { "rich" } else { "basic" };
    say(format_args!(
        "{}  {} users, {kind}, to {}, until {}, {} outstanding",
        text(subscription, "id"),
        subscription["users"],
        text(subscription, "notificationUrl"),
        text(subscription, "expirationDateTime"),
        subscription["outstanding"].as_u64().unwrap_or_default(),
    ));
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}
