//! `presenced get`, `set`, `clear` and `explain`.

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Client, say, say_json, segment};
use crate::args::{ClearArgs, ExplainArgs, GetArgs, OutputArgs, SetArgs};

pub(crate) fn get(args: GetArgs) -> anyhow::Result<()> {
    let client = Client::new(args.server)?;
    let mut presences = Vec::new();
    for user in &args.users {
        let presence = client.get(&format!("/v1.0/users/{}/presence", segment(user)))?;
        if !args.output.json {
            say_presence(user, &presence);
        }
        presences.push(presence);
    }
    if args.output.json {
        let single = if presences.len() == 1 { presences.pop() } else { None };
        say_json(&single.unwrap_or_else(|| presences.into()));
    }
    Ok(())
}

pub(crate) fn set(args: SetArgs) -> anyhow::Result<()> {
    let client = Client::new(args.server)?;
    let (availability, activity) = match args.presence.split_once('/') {
        Some(pair) => pair,
        None => (&*args.presence, &*args.presence),
    };
    let mut body =
        json!({ "sessionId": app_id(&client)?, "availability": availability, "activity": activity });
    if let Some(expiration) = args.expiration {
        body["expirationDuration"] = expiration.into();
    }
    client.post(&format!("/v1.0/users/{}/presence/setPresence", segment(&args.user)), &body)?;
    say_now(&client, &args.user, args.output)
}

pub(crate) fn clear(args: ClearArgs) -> anyhow::Result<()> {
    let client = Client::new(args.server)?;
    let body = json!({ "sessionId": app_id(&client)? });
    client.post(&format!("/v1.0/users/{}/presence/clearPresence", segment(&args.user)), &body)?;
    say_now(&client, &args.user, args.output)
}

pub(crate) fn explain(args: ExplainArgs) -> anyhow::Result<()> {
    let client = Client::new(args.server)?;
    let mut path = format!("/_presenced/v1/users/{}/presence/explanation", segment(&args.user));
    if let Some(at) = &args.at {
        path.push_str(&format!("?at={}", segment(at)));
    }
    let explanation = client.get(&path)?;
    if args.output.json {
        say_json(&explanation);
        return Ok(());
    }
    for line in crate::explanation::lines(&args.user, &explanation) {
        say(line);
    }
    Ok(())
}

/// The session a write is for: that of the application the token was issued to.
fn app_id(client: &Client) -> anyhow::Result<String> {
    if let Some(id) = &client.args.client_id {
        return Ok(id.clone());
    }
    let token = client.token()?;
    let claims = token.split('.').nth(1).context("the token is not a JWT")?;
    let claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).context("the token is not a JWT")?)?;
    match claims["appid"].as_str().or(claims["azp"].as_str()) {
        Some(id) => Ok(id.to_owned()),
        None => bail!("the token names no application; give --client-id"),
    }
}

fn say_now(client: &Client, user: &str, output: OutputArgs) -> anyhow::Result<()> {
    let presence = client.get(&format!("/v1.0/users/{}/presence", segment(user)))?;
    if output.json {
        say_json(&presence);
    } else {
        say_presence(user, &presence);
    }
    Ok(())
}

fn say_presence(user: &str, presence: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut line = format!("{user}  {}/{}", text(&presence["availability"]), text(&presence["activity"]));
    if presence["outOfOfficeSettings"]["isOutOfOffice"] == true {
        line.push_str("  out of office");
    }
    let location = &presence["workLocation"];
    if location["source"] != "none" {
        line.push_str(&format!("  {} ({})", text(&location["workLocationType"]), text(&location["source"])));
    }
    if let Some(message) = presence["statusMessage"]["message"]["content"].as_str() {
        line.push_str(&format!("  {message:?}"));
    }
    say(line);
}
