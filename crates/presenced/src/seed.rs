//! The seed of `presenced dev` and `presenced exec`: the same tenant, users, application and secret on every start.
//!
//! None of it is a secret. The emulator listens on loopback, and whoever can reach it may have any of its tokens.

use std::collections::HashMap;

use graph::operations::is_delegated_permission;
use graph::user::User;
use graph::{Permission, user};
use identity::{Application, RedirectUri, Redirects, Secret, SecretDigest};
use presence::{AppId, TenantId, UserId};
use server::ADMIN_ROLE;
use server::directory::{Directory, Tenant};

/// The tenant.
pub(crate) const TENANT: TenantId = TenantId::from_u128(0x84bd_8158_6d4d_4958_8b9f_9d64_4554_2f95);
/// The tenant's domain name.
pub(crate) const DOMAIN: &str = "presenced.example";
/// The application of the clearPresence document.
pub(crate) const APP: AppId = AppId::from_u128(0x2255_3876_f5ab_4529_bffb_cfe5_0aa8_9f87);
/// Its client secret.
pub(crate) const SECRET: &str = "presenced-dev-secret";
/// The user of the clearPresence document.
pub(crate) const USER_A: UserId = UserId::from_u128(0xfa8b_f3dc_eca7_46b7_bad1_db19_9b62_afc3);
/// Another user.
pub(crate) const USER_B: UserId = UserId::from_u128(0x66825e03_7ef5_42da_9069_724602c31f6b);

/// Delegated permissions of the ready-made user tokens.
pub(crate) const SCOPES: [Permission; 3] =
    [Permission::PresenceReadWrite, Permission::PresenceReadAll, Permission::UserReadAll];
/// Application permissions of the application; it also has the role of an administrator.
pub(crate) const ROLES: [Permission; 2] = [Permission::PresenceReadWriteAll, Permission::UserReadAll];

const USERS: [(UserId, &str, &str, &str, &str); 4] = [
    (USER_A, "ana.fuentes", "Ana", "Fuentes", "Europe/Madrid"),
    (USER_B, "bruno.keller", "Bruno", "Keller", "W. Europe Standard Time"),
    (
        UserId::from_u128(0x3c1f0d0e_5b7a_4a53_9a0e_6a1f2b3c4d5e),
        "chidi.okafor",
        "Chidi",
        "Okafor",
        "Africa/Lagos",
    ),
    (
        UserId::from_u128(0x9d4c7a52_1e6b_4f0d_8a35_7b21c60e94f8),
        "dana.levi",
        "Dana",
        "Levi",
        "Pacific Standard Time",
    ),
];

/// The users.
pub(crate) fn users() -> Vec<User> {
    let users = USERS.into_iter().map(|(id, name, given, surname, zone)| user::User {
        display_name: Some(format!("{given} {surname}")),
        given_name: Some(given.to_owned()),
        surname: Some(surname.to_owned()),
        mail: Some(format!("{name}@{DOMAIN}")),
        time_zone: Some(zone.to_owned()),
        ..User::new(id, format!("{name}@{DOMAIN}"))
    });
    users.collect()
}

/// The application.
pub(crate) fn application() -> Application {
    Application {
        id: APP,
        display_name: "Demo application".to_owned(),
        service_principal: uuid::Uuid::from_u128(0x5e0f_6f0a_7c52_4b1c_9a4e_0d7f_3b2a_1c60),
        secrets: vec![Secret { digest: SecretDigest::of(SECRET), expires_at: None }],
        certificates: Vec::new(),
        redirects: redirects(),
        roles: ROLES.iter().map(|role| role.as_str()).chain([ADMIN_ROLE]).map(str::to_owned).collect(),
        scopes: Permission::ALL
            .map(Permission::as_str)
            .into_iter()
            .filter(|name| is_delegated_permission(name))
            .map(str::to_owned)
            .collect(),
    }
}

/// Whatever runs on this machine may sign users in, as a page or as a program, with the secret or without.
fn redirects() -> Redirects {
    let uris = ["localhost", "127.0.0.1", "[::1]"].map(|host| RedirectUri::new(format!("http://{host}/*")));
    Redirects { other: uris.into_iter().flatten().collect(), spa: Vec::new(), is_public_client: true }
}

/// The directory, of nothing but the seed.
///
/// # Errors
/// None, as long as the seed does not contradict itself.
pub(crate) fn directory() -> anyhow::Result<Directory> {
    let applications = HashMap::from([(APP, application())]);
    let mut directory = Directory::default();
    directory.insert(TENANT, Tenant::new(vec![DOMAIN.to_owned()], applications, users())?);
    Ok(directory)
}
