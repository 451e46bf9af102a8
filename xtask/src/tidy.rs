//! The rules of the tree that no compiler checks: modules say what they are for, and documents name what exists.

use std::path::Path;

use graph::OPERATIONS;
use graph::json::{Body, Members};

use crate::docs;
use crate::tree::{Item, files, follow, relative, text};

/// Checks the tree.
///
/// # Errors
/// Everything that is not as it should be, one line each.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let problems = problems(root);
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn problems(root: &Path) -> Vec<String> {
    [
        modules(root),
        operations(root),
        paths(root),
        rows(root),
        links(root),
        generated(root),
        names(root),
        openapi(root),
    ]
    .concat()
}

/// Every module opens with what it is for. Test modules are described by the module they test.
fn modules(root: &Path) -> Vec<String> {
    let sources = [root.join("crates"), root.join("xtask")].map(|folder| files(&folder, "rs")).concat();
    let opens = |path: &Path| path.ends_with("tests.rs") || text(path).starts_with("//!") || !is_module(path);
    sources
        .iter()
        .filter(|path| !opens(path))
        .map(|path| format!("{}: no //!", relative(root, path)))
        .collect()
}

fn is_module(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "src")
}

/// Every operation has golden exchanges and stands in the parity table.
fn operations(root: &Path) -> Vec<String> {
    let parity = text(&root.join("docs/parity.md"));
    let mut problems = Vec::new();
    for row in OPERATIONS {
        if files(&root.join("crates/graph/tests/golden").join(row.name), "http").is_empty() {
            problems.push(format!("crates/graph/tests/golden/{}: no golden exchange", row.name));
        }
        if !parity.contains(&format!("`{}`", row.name)) {
            problems.push(format!("docs/parity.md: does not name the operation `{}`", row.name));
        }
    }
    problems
}

/// Every Rust path and every golden file that a document names exists.
fn paths(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for (place, span) in code_spans(root) {
        let exists = match span.strip_prefix("golden:") {
            Some(file) => root.join("crates/graph/tests/golden").join(file).is_file(),
            None => !is_own_path(root, &span) || follow(root, &span).is_some(),
        };
        if !exists {
            problems.push(format!("{place}: `{span}` does not exist"));
        }
    }
    problems
}

/// Every row of a table with a column of witnesses names a test that exists, or says why there is none.
fn rows(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for (file, header) in [("docs/parity.md", "| witness |"), ("ARCHITECTURE.md", "| guarded by |")] {
        let text = text(&root.join(file));
        let mut is_table = false;
        let mut count = 0;
        for (number, line) in text.lines().enumerate() {
            is_table = line.ends_with(header) || (is_table && line.starts_with('|'));
            if !is_table || line.ends_with(header) || line.starts_with("|---") {
                continue;
            }
            count += 1;
            let last = line.trim_end_matches('|').rsplit("| ").next().unwrap_or_default().trim();
            let spans = || last.split('`').skip(1).step_by(2);
            let is_witness =
                |span: &str| span.starts_with("golden:") || follow(root, span) == Some(Item::Test);
            let is_witnessed =
                spans().any(is_witness) && spans().filter(|span| span.contains("::")).all(is_witness);
            let is_excused = last.strip_prefix("not done: ").is_some_and(|reason| !reason.is_empty());
            if !is_witnessed && !is_excused {
                problems.push(format!("{file}:{}: neither a test nor `not done: reason`", number + 1));
            }
        }
        if count == 0 {
            problems.push(format!("{file}: has no table with a column `{header}`"));
        }
    }
    problems
}

/// Every relative link of a document leads to a file.
fn links(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for path in files(root, "md") {
        let mut is_program = false;
        for (number, line) in text(&path).lines().enumerate() {
            is_program ^= line.trim_start().starts_with("```");
            if is_program {
                continue;
            }
            for link in line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
                let is_elsewhere = link.is_empty() || link.contains("://");
                if !is_elsewhere && !path.parent().is_some_and(|folder| folder.join(link).exists()) {
                    problems.push(format!("{}:{}: {link} does not exist", relative(root, &path), number + 1));
                }
            }
        }
    }
    problems
}

/// The README's table is that of the sources.
fn generated(root: &Path) -> Vec<String> {
    let readme = text(&root.join("README.md"));
    let is_current = docs::readme(&readme).is_some_and(|current| current == readme);
    if is_current {
        Vec::new()
    } else {
        vec!["README.md: its table is old; run `cargo xtask docs`".to_owned()]
    }
}

/// Every key of the configuration and every bound is explained to whoever operates a server.
fn names(root: &Path) -> Vec<String> {
    let operate = text(&root.join("docs/operate.md"));
    let mut sources: Vec<_> = files(&root.join("crates/presenced/src/config"), "rs")
        .into_iter()
        .map(|path| (path, "pub(crate) "))
        .collect();
    for limits in ["crates/server/src/limits.rs", "crates/presence/src/limits.rs"] {
        sources.push((root.join(limits), "pub const "));
    }
    let mut problems = Vec::new();
    for (path, before) in sources {
        let (file, source) = (relative(root, &path), text(&path));
        if source.is_empty() {
            problems.push(format!("{file}: is not there, and its names are to be explained"));
        }
        let mut renamed = None;
        for line in source.lines().map(str::trim) {
            if let Some(attribute) = line.strip_prefix("#[serde(rename = \"") {
                renamed = attribute.split('"').next();
                continue;
            }
            let declared = line.strip_prefix(before).and_then(|rest| rest.split_once(':'));
            let Some((declared, _)) = declared.filter(|(name, _)| !name.contains(['(', ' '])) else {
                continue;
            };
            let name = renamed.take().unwrap_or(declared);
            if !operate.contains(&format!("`{name}`")) {
                problems.push(format!("docs/operate.md: does not explain `{name}` of {file}"));
            }
        }
    }
    problems
}

/// The description of our own resources is JSON and has each of them.
fn openapi(root: &Path) -> Vec<String> {
    let file = "crates/server/src/openapi.json";
    let text_of_file = text(&root.join(file));
    let Ok(paths) = Body::json(text_of_file.as_bytes()).members().and_then(|members| members.object("paths"))
    else {
        return vec![format!("{file}: is not JSON")];
    };
    let described: Vec<String> =
        paths.as_ref().into_iter().flat_map(Members::iter).map(|(path, _)| path.to_owned()).collect();
    let served = resources(&text(&root.join("crates/server/src/own.rs")));
    let missing = served.iter().filter(|resource| !described.iter().any(|path| is_at(resource, path)));
    let extra = described.iter().filter(|path| !served.iter().any(|resource| is_at(resource, path)));
    missing
        .map(|resource| format!("{file}: does not describe {}", resource.join("/")))
        .chain(extra.map(|path| format!("{file}: describes {path}, which nobody serves")))
        .collect()
}

/// The arms of the router of our own resources: literal segments, and `*` for any.
fn resources(router: &str) -> Vec<Vec<String>> {
    let arms = router.lines().filter_map(|line| line.trim().strip_prefix('[')?.split_once("] =>"));
    let segment = |text: &str| match text.strip_prefix('"') {
        Some(text) => text.trim_end_matches('"').to_owned(),
        // `rest @ ..` is routed elsewhere.
        None if text.ends_with("@ ..") => "**".to_owned(),
        None => "*".to_owned(),
    };
    arms.map(|(arm, _)| arm.split(", ").map(segment).collect()).collect()
}

fn is_at(resource: &[String], path: &str) -> bool {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    if let Some((last, head)) = resource.split_last()
        && last == "**"
    {
        return segments.len() > head.len() && is_at(head, &segments[..head.len()].join("/"));
    }
    segments.len() == resource.len() && resource.iter().zip(segments).all(|(a, b)| a == "*" || a == b)
}

/// Every code span of every document, and where it is.
fn code_spans(root: &Path) -> Vec<(String, String)> {
    let mut spans = Vec::new();
    for path in files(root, "md") {
        for (number, line) in text(&path).lines().enumerate() {
            let place = format!("{}:{}", relative(root, &path), number + 1);
            spans.extend(line.split('`').skip(1).step_by(2).map(|span| (place.clone(), span.to_owned())));
        }
    }
    spans
}

/// Whether a code span is a path into one of our crates.
fn is_own_path(root: &Path, span: &str) -> bool {
    let Some((first, rest)) = span.split_once("::") else { return false };
    let package = first.split('/').next().unwrap_or_default();
    let is_path = rest.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c));
    is_path && !package.is_empty() && (package == "xtask" || root.join("crates").join(package).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    #[test]
    fn the_tree_is_as_its_documents_say() {
        run(&tree::root()).unwrap_or_else(|problems| panic!("\n{problems}\n"));
    }

    #[test]
    fn the_router_is_read() {
        let router = "            [\"users\", key, \"outOfOffice\"] => {\n    [\"clock\"] => only(";
        let resources = resources(router);
        assert_eq!(resources, [vec!["users", "*", "outOfOffice"], vec!["clock"]]);
        assert!(is_at(&resources[0], "/users/{user}/outOfOffice"));
        assert!(!is_at(&resources[0], "/users/outOfOffice"));
        let behind = &super::resources("    [\"scim\", \"v2\", ref rest @ ..] => x")[0];
        assert!(
            is_at(behind, "/scim/v2/Users/{id}")
                && !is_at(behind, "/scim/v1/Users")
                && !is_at(behind, "/scim/v2")
        );
    }
}
