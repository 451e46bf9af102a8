//! The permission matrix, cell by cell: every operation × kind of token × permission × whose user it is about. What is
//! expected is written here from section 12 of the reference sheet and part D of its companion, and from nothing in the
//! server.

use engine::{Clock, SystemClock};
use graph::{OPERATIONS, Profile};
use presence::{TenantId, UserId};
use serde_json::{Value, json};

use crate::world::{APP, Answer, TENANTS, World, user_of};

/// Every permission name there is, and none.
const PERMISSIONS: [Option<&str>; 11] = [
    None,
    Some("Presence.Read"),
    Some("Presence.Read.All"),
    Some("Presence.ReadWrite"),
    Some("Presence.ReadWrite.All"),
    Some("User.Read"),
    Some("User.ReadBasic.All"),
    Some("User.Read.All"),
    Some("Directory.Read.All"),
    Some("Presenced.Admin"),
    Some("Presenced.Provisioning"),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Delegated,
    Application,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Whose {
    Own,
    Other,
    OtherTenant,
}

/// §12.1 and D: what opens a row. Least privilege first.
struct Expected {
    own: &'static [&'static str],
    other: &'static [&'static str],
    application: &'static [&'static str],
    surface: Surface,
}

#[derive(Clone, Copy, PartialEq)]
enum Surface {
    Read,
    ReadMany,
    Write,
    Directory,
    DirectoryList,
    Photo,
    Open,
}

const READ_ALL: &[&str] = &["Presence.Read.All"];
const READ_APPLICATION: &[&str] = &["Presence.Read.All", "Presence.ReadWrite.All"];
const USERS: &[&str] = &["User.ReadBasic.All", "User.Read.All", "Directory.Read.All"];
const USER: &[&str] = &["User.Read", "User.ReadBasic.All", "User.Read.All", "Directory.Read.All"];

fn expected(operation: &str, profile: Profile) -> Expected {
    let write = &["Presence.ReadWrite"][..];
    match operation {
        "getPresence" => Expected {
            own: &["Presence.Read", "Presence.Read.All", "Presence.ReadWrite"],
            other: READ_ALL,
            application: READ_APPLICATION,
            surface: Surface::Read,
        },
        "getPresencesByUserId" => Expected {
            own: READ_ALL,
            other: READ_ALL,
            application: READ_APPLICATION,
            surface: Surface::ReadMany,
        },
        "setPresence"
        | "clearPresence"
        | "setUserPreferredPresence"
        | "clearUserPreferredPresence"
        | "setStatusMessage" => Expected {
            own: write,
            other: &[],
            application: &["Presence.ReadWrite.All"],
            surface: Surface::Write,
        },
        "setManualLocation" | "setAutomaticLocation" | "clearLocation" | "clearAutomaticLocation" => {
            Expected {
                own: write,
                other: &[],
                application: if profile == Profile::Extended { &["Presence.ReadWrite.All"] } else { &[] },
                surface: Surface::Write,
            }
        }
        "getUser" => Expected { own: USER, other: USERS, application: USERS, surface: Surface::Directory },
        "listUsers" => {
            Expected { own: USERS, other: USERS, application: USERS, surface: Surface::DirectoryList }
        }
        "getPhoto" | "getPhotoContent" => {
            Expected { own: USER, other: USERS, application: USERS, surface: Surface::Photo }
        }
        "batch" | "metadata" => Expected { own: &[], other: &[], application: &[], surface: Surface::Open },
        other => panic!("the sheet says nothing of {other}: add its row here"),
    }
}

/// Status and code of a cell.
fn outcome(
    expected: &Expected,
    kind: Kind,
    permission: Option<&str>,
    whose: Whose,
    is_me: bool,
) -> (u16, &'static str) {
    let has = |list: &[&str]| permission.is_some_and(|permission| list.contains(&permission));
    if expected.surface == Surface::Open {
        return (200, "");
    }
    if is_me && kind == Kind::Application {
        return (400, "BadRequest");
    }
    let denied = match expected.surface {
        Surface::Directory | Surface::DirectoryList | Surface::Photo => (403, "Authorization_RequestDenied"),
        _ => (403, "Forbidden"),
    };
    let is_write = expected.surface == Surface::Write;
    let is_open = match (kind, whose) {
        (Kind::Application, _) => has(expected.application),
        (Kind::Delegated, Whose::Own) => has(expected.own),
        // §12.2: with the scope, another user is 401 and not 403.
        (Kind::Delegated, _) if is_write && has(expected.own) => return (401, "Unauthorized"),
        (Kind::Delegated, _) => has(expected.other),
    };
    if !is_open {
        return denied;
    }
    match (expected.surface, whose) {
        (Surface::Write, Whose::OtherTenant) => (404, "NotFound"),
        (Surface::Directory | Surface::Photo, Whose::OtherTenant) => (404, "Request_ResourceNotFound"),
        (Surface::Photo, _) => (404, "ImageNotFound"),
        _ => (200, ""),
    }
}

fn body(operation: &str, user: UserId) -> Option<String> {
    let body = match operation {
        "getPresencesByUserId" => json!({ "ids": [user.to_string()] }),
        "setPresence" => {
            json!({ "sessionId": APP.to_string(), "availability": "Busy", "activity": "InACall" })
        }
        "clearPresence" => json!({ "sessionId": APP.to_string() }),
        "setUserPreferredPresence" => json!({ "availability": "Away", "activity": "Away" }),
        "setStatusMessage" => json!({ "statusMessage": { "message": { "content": "Hello" } } }),
        "setManualLocation" | "setAutomaticLocation" => json!({ "workLocationType": "office" }),
        "batch" => json!({ "requests": [] }),
        _ => return None,
    };
    Some(body.to_string())
}

/// Makes what an operation needs to be there.
async fn prepare(world: &World, operation: &str, tenant: TenantId, user: UserId) {
    if operation == "clearPresence" {
        let token = world.application(tenant, &["Presence.ReadWrite.All"]);
        let path = format!("/v1.0/users/{user}/presence/setPresence");
        let set = world.send(&token, "POST", &path, body("setPresence", user).as_deref()).await;
        assert_eq!(set.status, 200, "{set:?}");
    }
}

/// A subscription to a user's presence.
fn subscribes(world: &World, user: UserId) -> String {
    let expires = SystemClock::new(None).now() + jiff::SignedDuration::from_mins(50);
    let resource = format!("communications/presences/{user}");
    json!({ "changeType": "updated", "resource": resource, "notificationUrl": world.receiver,
        "expirationDateTime": expires.to_string() })
    .to_string()
}

/// The rows of `/subscriptions`, from the sheet on change notifications (§1, §3, §4): whose subscription it is counts, and
/// of a new one nothing but the permission, since ids of others are taken in silence.
async fn subscription_cells(profile: Profile) -> usize {
    let world = World::start(profile, &[]).await;
    let tenant = TENANTS[0];
    let me = user_of(tenant, 1);
    let mut cells = 0;
    for (kind, permission) in
        [Kind::Delegated, Kind::Application].into_iter().flat_map(|k| PERMISSIONS.map(|p| (k, p)))
    {
        let names: Vec<&str> = permission.into_iter().collect();
        let caller = |names: &[&str]| match kind {
            Kind::Delegated => world.delegated(tenant, me, names),
            Kind::Application => world.application(tenant, names),
        };
        let (token, full) = (caller(&names), caller(READ_ALL));
        let opens = match kind {
            Kind::Delegated => READ_ALL,
            Kind::Application => READ_APPLICATION,
        };
        let has = permission.is_some_and(|permission| opens.contains(&permission));
        for whose in [Whose::Own, Whose::Other, Whose::OtherTenant] {
            let (owner, user) = match whose {
                Whose::Own => (full.clone(), me),
                Whose::Other => {
                    let other = user_of(tenant, 2);
                    (world.delegated(tenant, other, READ_ALL), other)
                }
                Whose::OtherTenant => (world.application(TENANTS[1], READ_ALL), user_of(TENANTS[1], 1)),
            };
            let body = subscribes(&world, user);
            let mut check = |name: &str, answer: &Answer, wanted: (u16, &str)| {
                let code = if answer.status < 400 { String::new() } else { answer.code() };
                let cell = format!("{profile} {name} {kind:?} {permission:?} {whose:?}");
                assert_eq!((answer.status, code.as_str()), wanted, "{cell}: {answer:?}");
                cells += 1;
            };
            let id = |answer: &Answer| {
                assert_eq!(answer.status, 201, "{answer:?}");
                serde_json::from_str::<Value>(&answer.body).unwrap()["id"].as_str().unwrap().to_owned()
            };
            let forbidden = (403, "ExtensionError");
            let created = world.send(&token, "POST", "/v1.0/subscriptions", Some(&body)).await;
            check("createSubscription", &created, if has { (201, "") } else { forbidden });
            if has {
                let path = format!("/v1.0/subscriptions/{}", id(&created));
                assert_eq!(world.send(&full, "DELETE", &path, None).await.status, 204);
            }
            let subscription = id(&world.send(&owner, "POST", "/v1.0/subscriptions", Some(&body)).await);
            let path = format!("/v1.0/subscriptions/{subscription}");
            let reauthorize = format!("{path}/reauthorize");
            let absent = (404, "ResourceNotFound");
            let of_owner = |wanted| if whose == Whose::Own { wanted } else { absent };
            let listed = world.send(&token, "GET", "/v1.0/subscriptions", None).await;
            check("listSubscriptions", &listed, (200, ""));
            assert_eq!(
                listed.body.contains(&subscription),
                whose == Whose::Own,
                "{kind:?} {whose:?} {listed:?}"
            );
            let key = world.send(&token, "GET", "/v1.0/subscriptions/getVapidPublicKey()", None).await;
            check("getVapidPublicKey", &key, (400, "BadRequest"));
            let found = world.send(&token, "GET", &path, None).await;
            check("getSubscription", &found, of_owner((200, "")));
            let renewed = world.send(&token, "PATCH", &path, Some(&body)).await;
            check("updateSubscription", &renewed, of_owner(if has { (200, "") } else { forbidden }));
            let reauthorized = world.send(&token, "POST", &reauthorize, None).await;
            check(
                "reauthorizeSubscription",
                &reauthorized,
                of_owner(if has { (204, "") } else { forbidden }),
            );
            let deleted = world.send(&token, "DELETE", &path, None).await;
            check("deleteSubscription", &deleted, of_owner((204, "")));
            world.send(&owner, "DELETE", &path, None).await;
        }
    }
    cells
}

async fn cells(profile: Profile) -> usize {
    let world = World::start(profile, &[]).await;
    let tenant = TENANTS[0];
    let me = user_of(tenant, 1);
    let mut cells = 0;
    for row in OPERATIONS.iter().filter(|row| !row.paths[0].contains("subscription")) {
        let expected = expected(row.name, profile);
        for (kind, permission) in
            [Kind::Delegated, Kind::Application].into_iter().flat_map(|k| PERMISSIONS.map(|p| (k, p)))
        {
            let names: Vec<&str> = permission.into_iter().collect();
            let token = match kind {
                Kind::Delegated => world.delegated(tenant, me, &names),
                Kind::Application => world.application(tenant, &names),
            };
            for (whose, user, path) in
                [Whose::Own, Whose::Other, Whose::OtherTenant].into_iter().flat_map(|whose| {
                    let user = match whose {
                        Whose::Own => me,
                        Whose::Other => user_of(tenant, 2),
                        Whose::OtherTenant => user_of(TENANTS[1], 1),
                    };
                    row.paths.iter().map(move |path| (whose, user, *path))
                })
            {
                let is_me = path.starts_with("/me");
                if is_me && whose != Whose::Own {
                    continue;
                }
                prepare(
                    &world,
                    row.name,
                    if whose == Whose::OtherTenant { TENANTS[1] } else { tenant },
                    user,
                )
                .await;
                let url =
                    format!("/v1.0{path}").replace("{user}", &user.to_string()).replace("{size}", "48x48");
                let sent = body(row.name, user);
                let answer = world.send(&token, row.method.as_str(), &url, sent.as_deref()).await;
                let mut wanted = outcome(&expected, kind, permission, whose, is_me);
                if row.name == "listUsers" || row.name == "getPresencesByUserId" {
                    // About many: being one of them makes no difference (§5).
                    wanted = outcome(&expected, kind, permission, Whose::Other, false);
                }
                if row.name == "batch" {
                    wanted = (400, "BadRequest"); // An empty batch, read by whoever has a token.
                }
                let cell = format!("{profile} {} {kind:?} {permission:?} {whose:?} {url}", row.name);
                let code = if answer.status < 400 { String::new() } else { answer.code() };
                assert_eq!((answer.status, code.as_str()), wanted, "{cell}: {answer:?}");
                if whose == Whose::OtherTenant && answer.status == 200 && row.name.starts_with("getPresence")
                {
                    assert!(answer.body.contains("PresenceUnknown"), "{cell}: {answer:?}");
                }
                cells += 1;
            }
        }
    }
    cells
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_of_the_permission_matrix_is_as_the_sheet_says_in_both_profiles() {
    let mut all = 0;
    for profile in Profile::ALL {
        let cells = cells(profile).await + subscription_cells(profile).await;
        println!("permission matrix, profile {profile}: {cells} cells");
        all += cells;
    }
    assert!(all > 2_000, "{all} cells");
}
