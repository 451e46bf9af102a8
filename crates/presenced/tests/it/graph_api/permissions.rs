//! Who may do what (§12): each operation with each single permission.

use engine::Clock;
use graph::{Access, Method, OPERATIONS, Permission};
use identity::{Application, Issuer, IssuerConfig, SigningKey};
use serde_json::json;

use crate::graph_api::{act, actions, assert_refused};
use crate::support::{APP, Answer, Caller, JSON, Server, USER_A, USER_B, shared};

#[test]
fn me_is_nobody_to_an_application() {
    let server = shared();
    let app = Caller::application(&server);
    let text = "/me request is only valid with delegated authentication flow.";
    for path in
        ["/v1.0/me/presence", "/v1.0/me", "/v1.0/me/photo", "/v1.0/users/me-token-to-replace/presence"]
    {
        assert_eq!(assert_refused(&app.get(path), 400, "BadRequest"), text, "{path}");
    }
    for (action, body) in actions() {
        let answer = act(&app, &format!("/v1.0/me/presence/{action}"), body.as_ref());
        assert_eq!(assert_refused(&answer, 400, "BadRequest"), text, "{action}");
    }
}

/// Tokens with whatever permissions a test wants, signed with the key of a server that keeps its own in a folder.
pub(super) struct Mint {
    issuer: Issuer,
}

impl Mint {
    pub(super) fn of(server: &Server, folder: &std::path::Path) -> Self {
        let key = SigningKey::load_or_generate(&folder.join("keys")).unwrap();
        let https = server.banner.lines().find_map(|line| line.trim().strip_prefix("HTTPS ")).unwrap();
        let https = https.split_whitespace().next().unwrap().trim_end_matches("/v1.0");
        let tenant = server.banner.lines().find_map(|line| line.trim().strip_prefix("tenant ")).unwrap();
        Self { issuer: Issuer::new(IssuerConfig::new(tenant.trim().parse().unwrap(), https, key)) }
    }

    pub(super) fn token(&self, user: Option<&str>, permissions: &[&str]) -> String {
        self.token_of(APP, user, permissions)
    }

    pub(super) fn token_of(&self, app: &str, user: Option<&str>, permissions: &[&str]) -> String {
        let now = engine::SystemClock::new(None).now();
        let app = Application {
            id: app.parse().unwrap(),
            display_name: "Test".to_owned(),
            service_principal: uuid::Uuid::from_u128(1),
            secrets: Vec::new(),
            certificates: Vec::new(),
            redirects: identity::Redirects::default(),
            roles: permissions.iter().map(ToString::to_string).collect(),
            scopes: Vec::new(),
        };
        let token = match user {
            None => self.issuer.mint_application(&app, now, 3_600),
            Some(user) => {
                let user = identity::User {
                    id: user.parse().unwrap(),
                    user_principal_name: "x".to_owned(),
                    display_name: "x".to_owned(),
                };
                self.issuer.mint_delegated(&user, &app, permissions, now, 3_600)
            }
        };
        token.unwrap()
    }
}

/// Which single permissions open an operation: delegated on oneself, delegated on another (`None`: no permission does
/// that, 401), and application. Source: §12.1, §12.2, identity D.
type Openers = (&'static [&'static str], Option<&'static [&'static str]>, &'static [&'static str]);

fn openers(operation: &str) -> Openers {
    const READ: &[&str] = &["Presence.Read", "Presence.Read.All", "Presence.ReadWrite"];
    const READ_OTHER: &[&str] = &["Presence.Read.All"];
    const READ_APP: &[&str] = &["Presence.Read.All", "Presence.ReadWrite.All"];
    const USERS: &[&str] = &["User.ReadBasic.All", "User.Read.All", "Directory.Read.All"];
    const ME: &[&str] = &["User.Read", "User.ReadBasic.All", "User.Read.All", "Directory.Read.All"];
    match operation {
        "getPresence" => (READ, Some(READ_OTHER), READ_APP),
        "getPresencesByUserId" => (READ_OTHER, Some(READ_OTHER), READ_APP),
        "setPresence"
        | "clearPresence"
        | "setUserPreferredPresence"
        | "clearUserPreferredPresence"
        | "setStatusMessage" => (&["Presence.ReadWrite"], None, &["Presence.ReadWrite.All"]),
        "setManualLocation" | "setAutomaticLocation" | "clearLocation" | "clearAutomaticLocation" => {
            (&["Presence.ReadWrite"], None, &[])
        }
        "getUser" | "getPhoto" | "getPhotoContent" => (ME, Some(USERS), USERS),
        "listUsers" => (USERS, Some(USERS), USERS),
        other => panic!("{other} is not in the matrix"),
    }
}

#[test]
fn each_permission_alone_opens_exactly_the_operations_of_the_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev_in(folder.path());
    let mint = Mint::of(&server, folder.path());
    let bodies = actions();
    let in_an_hour = (engine::SystemClock::new(None).now() + jiff::SignedDuration::from_mins(50)).to_string();
    let call = |caller: &Caller<'_>, row: &graph::Row, path: &str, user: &str| {
        let path = format!("/v1.0{}", path.replace("{user}", user).replace("{size}", "48x48"));
        let body = match row.name {
            "getPresencesByUserId" => Some(json!({ "ids": [user] })),
            name => bodies.iter().find(|(action, _)| *action == name).and_then(|(_, body)| body.clone()),
        };
        match row.method {
            Method::Get => caller.get(&path),
            _ => act(caller, &path, body.as_ref()),
        }
    };
    let is_open = |answer: &Answer| match answer.status {
        200 => true,
        404 => ["NotFound", "ImageNotFound"].contains(&answer.error().1.as_str()),
        _ => false,
    };
    for permission in Permission::ALL.map(|permission| Some(permission.as_str())).into_iter().chain([None]) {
        let permissions: Vec<&str> = permission.into_iter().collect();
        let delegated = Caller::with_token(&server, &mint.token(Some(USER_A), &permissions));
        let app = Caller::with_token(&server, &mint.token(None, &permissions));
        let is_of_a_user =
            |row: &&graph::Row| matches!(row.access, Access::Presence(_) | Access::Directory(_));
        for row in OPERATIONS.iter().filter(is_of_a_user) {
            let (own, other, application) = openers(row.name);
            let has = |list: &[&str]| permission.is_some_and(|permission| list.contains(&permission));
            let refused = |answer: &Answer, what: &str| {
                let (status, code, message) = answer.error();
                let expected = match row.paths[0].contains("presence") || row.name == "getPresencesByUserId" {
                    true => (403, "Forbidden", ""),
                    false => (
                        403,
                        "Authorization_RequestDenied",
                        "Insufficient privileges to complete the operation.",
                    ),
                };
                assert_eq!((status, code.as_str(), message.as_str()), expected, "{what}");
            };
            for path in row.paths {
                let what = format!("{} at {path} with {permission:?}", row.name);
                let answer = call(&delegated, row, path, USER_A);
                if has(own) {
                    assert!(is_open(&answer), "own: {what}: {answer:?}");
                } else {
                    refused(&answer, &format!("own: {what}"));
                }
                if path.contains("{user}") {
                    let answer = call(&delegated, row, path, USER_B);
                    match other {
                        Some(list) if has(list) => assert!(is_open(&answer), "other: {what}: {answer:?}"),
                        None if has(own) => {
                            let (status, code, message) = answer.error();
                            assert_eq!((status, code.as_str()), (401, "Unauthorized"), "other: {what}");
                            let start = "Cannot set the presence of another user. Authenticated user: ";
                            assert_eq!(message, format!("{start}{USER_A}"));
                        }
                        _ => refused(&answer, &format!("other: {what}")),
                    }
                }
                let answer = call(&app, row, path, USER_B);
                if path.starts_with("/me") {
                    assert_eq!(answer.error().0, 400, "application: {what}");
                } else if has(application) {
                    assert!(is_open(&answer), "application: {what}: {answer:?}");
                } else {
                    refused(&answer, &format!("application: {what}"));
                }
            }
        }
        for (caller, openers) in [
            (&delegated, &["Presence.Read.All"][..]),
            (&app, &["Presence.Read.All", "Presence.ReadWrite.All"]),
        ] {
            // A receiver that nobody is: the permission is asked for before it is called.
            let body = json!({
                "changeType": "updated",
                "resource": format!("/communications/presences/{USER_A}"),
                "notificationUrl": "http://127.0.0.1:1/",
                "expirationDateTime": in_an_hour,
            });
            let answer = caller.post("/v1.0/subscriptions", &body);
            let is_open = permission.is_some_and(|permission| openers.contains(&permission));
            assert_eq!(answer.status, if is_open { 400 } else { 403 }, "{permission:?}: {answer:?}");
            // Of those of others, nothing is told to anybody.
            let nowhere = format!("/v1.0/subscriptions/{APP}");
            let renewal = json!({ "expirationDateTime": in_an_hour }).to_string();
            assert_eq!(caller.send("PATCH", &nowhere, &[JSON], renewal.as_bytes()).status, 404);
            assert_eq!(caller.send("POST", &format!("{nowhere}/reauthorize"), &[], b"").status, 404);
            assert_eq!(caller.send("DELETE", &nowhere, &[], b"").status, 404);
            assert_eq!(caller.get("/v1.0/subscriptions").status, 200, "one's own list");
            assert_eq!(caller.get(&nowhere).status, 404);
            assert_eq!(caller.get("/v1.0/$metadata").status, 200);
            let batch = json!({ "requests": [{ "id": "1", "method": "GET", "url": "/xyz" }] });
            assert_eq!(caller.post("/v1.0/$batch", &batch).status, 200, "{permission:?}");
        }
    }
}
