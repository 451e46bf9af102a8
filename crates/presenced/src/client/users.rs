//! `presenced users`: the directory of a running server, or the data folder of one that is not running.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use server::import::{ImportFormat, read_users};

use super::{Client, say, say_json};
use crate::args::{self, AdminArgs, OutputArgs, ServerArgs};
use crate::config::Config;
use crate::serve;

pub(crate) fn import(
    file: &Path,
    format: Option<args::ImportFormat>,
    config: Option<&Path>,
    tenant: Option<&str>,
    admin: &AdminArgs,
) -> anyhow::Result<()> {
    let format = match format {
        Some(args::ImportFormat::Csv) => ImportFormat::Csv,
        Some(args::ImportFormat::Json) => ImportFormat::Json,
        None => match file.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => ImportFormat::Csv,
            Some("json") => ImportFormat::Json,
            _ => bail!("cannot tell the format of {}; give --format csv or --format json", file.display()),
        },
    };
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    }
    let users = read_users(format, &bytes).with_context(|| file.display().to_string())?;
    match config {
        Some(config) => serve::import(Config::read(config)?, tenant, &users)?,
        None => {
            super::admin::import_users(admin, format.content_type(), &bytes)?;
        }
    }
    if admin.output.json {
        say_json(&serde_json::json!({ "imported": users.len() }));
        return Ok(());
    }
    say(format_args!("{} users imported", users.len()));
    Ok(())
}

pub(crate) fn list(server: ServerArgs, output: OutputArgs) -> anyhow::Result<()> {
    let client = Client::new(server)?;
    let mut users = Vec::new();
    let mut path = "/v1.0/users?$top=999".to_owned();
    loop {
        let mut page = client.get(&path)?;
        if let Some(more) = page["value"].as_array_mut() {
            users.append(more);
        }
        // The link is absolute and names the server as it knows itself; only what is behind the host matters here.
        let next = page["@odata.nextLink"]
            .as_str()
            .and_then(|link| link.find("/v1.0/").map(|at| link[at..].to_owned()));
        match next {
            Some(next) => path = next,
            None => break,
        }
    }
    if output.json {
        say_json(&users.into());
        return Ok(());
    }
    for user in users {
        let text = |name: &str| user[name].as_str().unwrap_or_default().to_owned();
        say(format_args!("{}  {:<40}  {}", text("id"), text("userPrincipalName"), text("displayName")));
    }
    Ok(())
}
