//! Tables that are generated: the operations of the README.

use std::fs;
use std::path::Path;

use graph::{Access, OPERATIONS, Permission};

/// What stands before and after the table.
const BEGIN: &str = "<!-- operations: written by `cargo xtask docs` -->\n";
const END: &str = "<!-- /operations -->";

/// The README with its table as it should be; `None` when it has no place for one.
pub(crate) fn readme(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{}{END}{after}", table()))
}

/// Writes what is generated.
///
/// # Errors
/// When the README cannot be read or written, or has no place for the table.
pub(crate) fn write(root: &Path) -> Result<(), String> {
    let path = root.join("README.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("README.md: {error}"))?;
    let text = readme(&text).ok_or("README.md: there is no place for the table of operations")?;
    fs::write(path, text).map_err(|error| format!("README.md: {error}"))
}

fn table() -> String {
    let mut table =
        "| operation | request | delegated permission | application permission |\n|---|---|---|---|\n"
            .to_owned();
    for row in OPERATIONS {
        let (delegated, application) = match &row.access {
            Access::Anyone => ("no token needed".to_owned(), "no token needed".to_owned()),
            Access::AnyToken => ("that of each part".to_owned(), "that of each part".to_owned()),
            Access::Presence(permissions)
            | Access::Directory(permissions)
            | Access::Subscription(permissions) => {
                let own = least(permissions.delegated_own);
                let is_of_one = row.paths.iter().any(|path| path.starts_with("/me"));
                let delegated = match permissions.delegated_other.map(least) {
                    Some(other) if other == own || !is_of_one => other,
                    Some(other) => format!("{own}; of others {other}"),
                    None => format!("{own}, own only"),
                };
                let application = match permissions.application {
                    [] => "not supported".to_owned(),
                    permissions => least(permissions),
                };
                (delegated, application)
            }
        };
        let paths = compact(row.paths);
        table +=
            &format!("| {} | `{} {paths}` | {delegated} | {application} |\n", row.name, row.method.as_str());
    }
    table
}

fn least(permissions: &[Permission]) -> String {
    permissions.first().map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// The three addresses of one presence as `P`, `/me` and a user's as `U`.
fn compact(paths: &[&str]) -> String {
    let of_me: Vec<String> = paths
        .iter()
        .filter_map(|path| path.strip_prefix("/me"))
        .map(|rest| {
            rest.strip_prefix("/presence").map_or_else(|| format!("U{rest}"), |rest| format!("P{rest}"))
        })
        .collect();
    if of_me.is_empty() { paths.join(", ") } else { of_me.join(", ") }
}
