//! `presenced app`, `presenced tenant` and what `presenced users` changes: over the admin API of a running server.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Client, say, say_json, segment};
use crate::args::{AdminArgs, AppCommand, TenantCommand, TenantSettings};

/// The root of administration, of the token's own tenant or of one that its host manages.
pub(super) fn root(args: &AdminArgs) -> String {
    match &args.of_tenant {
        None => "/_presenced/v1/admin".to_owned(),
        Some(tenant) => format!("/_presenced/v1/admin/tenants/{}", segment(tenant)),
    }
}

pub(crate) fn app(command: AppCommand) -> anyhow::Result<()> {
    match command {
        AppCommand::Add { name, id, role, scope, sign_in, admin } => {
            let certificates = sign_in.certificate.iter().map(|path| public_half(path));
            let certificates = certificates.collect::<anyhow::Result<Vec<_>>>()?;
            let client = Client::new(admin.server.clone())?;
            let mut body = json!({ "displayName": name, "roles": role, "scopes": scope,
                "redirectUris": sign_in.redirect_uri, "spaRedirectUris": sign_in.spa_redirect_uri,
                "isPublicClient": sign_in.public_client, "certificates": certificates });
            if let Some(id) = id {
                body["id"] = id.into();
            }
            let added = client.post(&format!("{}/applications", root(&admin)), &body)?;
            if admin.output.json {
                say_json(&added);
            } else {
                say(format_args!("client id      {}", text(&added, "id")));
                say(format_args!("client secret  {}   (shown this once)", text(&added, "clientSecret")));
            }
        }
        AppCommand::List { admin } => {
            let client = Client::new(admin.server.clone())?;
            let list = client.get(&format!("{}/applications", root(&admin)))?;
            if admin.output.json {
                say_json(&list["value"]);
            } else {
                for app in list["value"].as_array().into_iter().flatten() {
                    let declared = if app["isDeclared"] == true { "  (declared)" } else { "" };
                    let roles = names(&app["roles"]);
                    say(format_args!(
                        "{}  {:<30}  {roles}{declared}",
                        text(app, "id"),
                        text(app, "displayName")
                    ));
                }
            }
        }
        AppCommand::Remove { id, admin } => {
            let client = Client::new(admin.server.clone())?;
            client.delete(&format!("{}/applications/{}", root(&admin), segment(&id)))?;
            done(&admin, &id, "removed");
        }
        AppCommand::RotateSecret { id, overlap, admin } => {
            let client = Client::new(admin.server.clone())?;
            let body = overlap.map_or_else(|| json!({}), |overlap| json!({ "overlap": overlap }));
            let path = format!("{}/applications/{}/secrets", root(&admin), segment(&id));
            let secret = client.post(&path, &body)?;
            if admin.output.json {
                say_json(&secret);
            } else {
                say(format_args!("client secret  {}   (shown this once)", text(&secret, "clientSecret")));
            }
        }
    }
    Ok(())
}

pub(crate) fn tenant(command: TenantCommand) -> anyhow::Result<()> {
    const ROOT: &str = "/_presenced/v1/admin/tenants";
    match command {
        TenantCommand::Add { name, id, settings, admin } => {
            let mut body = changes(&settings)?;
            body["name"] = name.into();
            if let Some(id) = id {
                body["id"] = id.into();
            }
            let added = Client::new(admin.server.clone())?.post(ROOT, &body)?;
            if admin.output.json {
                say_json(&added);
            } else {
                say(text(&added, "id"));
            }
        }
        TenantCommand::List { admin } => {
            let list = Client::new(admin.server.clone())?.get(ROOT)?;
            if admin.output.json {
                say_json(&list["value"]);
            } else {
                for tenant in list["value"].as_array().into_iter().flatten() {
                    let declared = if tenant["isDeclared"] == true { "  (declared)" } else { "" };
                    let (id, name) = (text(tenant, "id"), text(tenant, "name"));
                    say(format_args!("{id}  {name:<30}  {} users{declared}", tenant["users"]));
                }
            }
        }
        TenantCommand::Set { id, name, settings, admin } => {
            let mut body = changes(&settings)?;
            if let Some(name) = name {
                body["name"] = name.into();
            }
            let changed =
                Client::new(admin.server.clone())?.patch(&format!("{ROOT}/{}", segment(&id)), &body)?;
            if admin.output.json {
                say_json(&changed);
            } else {
                say(format_args!("{id} changed"));
            }
        }
        TenantCommand::Remove { id, admin } => {
            Client::new(admin.server.clone())?.delete(&format!("{ROOT}/{}", segment(&id)))?;
            done(&admin, &id, "removed");
        }
    }
    Ok(())
}

/// `presenced users remove`.
pub(crate) fn remove_user(user: &str, admin: &AdminArgs) -> anyhow::Result<()> {
    let client = Client::new(admin.server.clone())?;
    client.delete(&format!("{}/users/{}", root(admin), segment(user)))?;
    done(admin, user, "removed");
    Ok(())
}

/// Users of a file into a running server, as an administrator.
pub(crate) fn import_users(admin: &AdminArgs, content_type: &str, bytes: &[u8]) -> anyhow::Result<Value> {
    Client::new(admin.server.clone())?.post_bytes(&format!("{}/users", root(admin)), content_type, bytes)
}

fn changes(settings: &TenantSettings) -> anyhow::Result<Value> {
    let mut body = json!({});
    if let Some(domains) = &settings.domain {
        body["domains"] = domains.as_slice().into();
    }
    if let Some(trusts) = &settings.trust {
        body["trusts"] = trusts.as_slice().into();
    }
    if let Some(requests) = settings.requests_per_30_seconds {
        // 0 says what the API says with null: no limit of the tenant's own.
        body["requestsPer30Seconds"] = if requests == 0 { Value::Null } else { requests.into() };
    }
    if let Some(path) = &settings.issuers {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(default, rename = "issuer")]
            issuers: Vec<identity::IssuerSettings>,
        }
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let file: File = toml::from_str(&text).with_context(|| path.display().to_string())?;
        body["issuers"] = serde_json::to_value(file.issuers)?;
    }
    Ok(body)
}

fn done(admin: &AdminArgs, object: &str, what: &str) {
    if admin.output.json {
        say_json(&json!({ what: object }));
    } else {
        say(format_args!("{object} {what}"));
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn names(list: &Value) -> String {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// The certificate of a PEM file; a private key beside it stays where it is.
fn public_half(path: &std::path::Path) -> anyhow::Result<String> {
    let pem = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let from = pem.find(begin).with_context(|| format!("{} holds no certificate", path.display()))?;
    let length = pem[from..].find(end).with_context(|| format!("{} is cut short", path.display()))?;
    Ok(pem[from..from + length + end.len()].to_owned())
}
