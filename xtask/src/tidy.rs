//! The rules of the tree that no compiler checks: modules say what they are for, and documents name what exists.

use std::path::Path;

use graph::OPERATIONS;

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
    [modules(root), operations(root), paths(root), rows(root), links(root)].concat()
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
    for (file, header) in [("docs/parity.md", "| witness |")] {
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
        for (number, line) in text(&path).lines().enumerate() {
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
}
