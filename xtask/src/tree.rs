//! The source tree: which files there are, and which file a Rust path names.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders of the root that are not ours to judge.
const FOREIGN: [&str; 2] = ["target", ".git"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Every file below a folder with this extension, sorted.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !FOREIGN.contains(&&*name) {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A file's text; a file that cannot be read has none.
pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The path of a file as documents write it.
pub(crate) fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// What a Rust path such as `presence::session::tests::no_other_pair_fades` or `store/it::crash::commit_until_killed`
/// leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A test function.
    Test,
    /// A module, or another item of one.
    Other,
}

/// Follows a path that begins with one of our crates; `None` when it leads nowhere.
pub(crate) fn follow(root: &Path, path: &str) -> Option<Item> {
    let mut segments: Vec<&str> = path.split("::").collect();
    let (name, crate_name) = (segments.pop()?, segments.first().copied()?);
    let modules = &segments[1..];
    let (package, folder, top) = match crate_name.split_once("/it") {
        Some((package, "")) => (package, "tests/it", "main.rs"),
        Some(_) => return None,
        None if root.join("crates").join(crate_name).join("src/main.rs").exists() => {
            (crate_name, "src", "main.rs")
        }
        None => (crate_name, "src", "lib.rs"),
    };
    let folder = match package {
        "xtask" => root.join(package).join(folder),
        _ => root.join("crates").join(package).join(folder),
    };
    // As deep as there are files; the modules that remain stand in the last of them.
    let (depth, file) = (0..=modules.len()).rev().find_map(|depth| {
        let modules = &modules[..depth];
        let below = folder.join(modules.join("/"));
        let tests_beside = (modules.last() == Some(&"tests"))
            .then(|| below.parent().map(|parent| PathBuf::from(format!("{}_tests.rs", parent.display()))))
            .flatten();
        let candidates = match modules {
            [] => vec![folder.join(top)],
            _ => [Some(below.with_extension("rs")), Some(below.join("mod.rs")), tests_beside]
                .into_iter()
                .flatten()
                .collect(),
        };
        candidates.into_iter().find(|file| file.is_file()).map(|file| (depth, file))
    })?;
    let source = text(&file);
    modules[depth..].iter().all(|module| source.contains(&format!("mod {module} {{"))).then_some(())?;
    kind_of(&source, name)
}

/// What `name` is in a source text.
fn kind_of(source: &str, name: &str) -> Option<Item> {
    let lines: Vec<&str> = source.lines().collect();
    let is_word_at_end = |text: &str| text.strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_word));
    for (number, line) in lines.iter().enumerate() {
        let Some((_, rest)) = line.split_once("fn ") else { continue };
        if is_word_at_end(rest) && rest[name.len()..].starts_with(['(', '<']) {
            let attributes = lines[number.saturating_sub(4)..=number].iter();
            let is_test = attributes.clone().any(|line| line.contains("#[test]") || line.contains("::test"));
            // Or one of a list that a macro makes tests of.
            let is_listed = lines.iter().any(|line| line.trim().trim_end_matches(',') == name);
            return Some(if is_test || is_listed { Item::Test } else { Item::Other });
        }
    }
    let keywords = ["struct ", "enum ", "trait ", "const ", "static ", "type ", "mod "];
    let is_item = lines.iter().any(|line| {
        keywords.iter().any(|keyword| line.split_once(keyword).is_some_and(|(_, rest)| is_word_at_end(rest)))
    });
    is_item.then_some(Item::Other)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_a_test_to_another_item_or_nowhere() {
        let root = root();
        for (path, expected) in [
            ("xtask::tree::tests::a_path_leads_to_a_test_to_another_item_or_nowhere", Some(Item::Test)),
            ("presence::session::tests::no_other_pair_fades", Some(Item::Test)),
            ("graph::presence_request::tests::no_body_panics", Some(Item::Test)),
            ("store::record::tests::a_record_survives_being_kept", Some(Item::Test)),
            ("store/it::conformance::embedded::concurrent_writers_lose_nothing", Some(Item::Test)),
            ("graph/it::golden::every_golden_exchange_is_answered_byte_for_byte", Some(Item::Test)),
            ("presence::limits::FADE_STEP", Some(Item::Other)),
            ("presence::limits", Some(Item::Other)),
            ("presence::session::tests::no_other_pair", None),
            ("presence::session::others::no_other_pair_fades", None),
            ("presence::nowhere::tests::no_other_pair_fades", None),
            ("presence/of::session::tests::no_other_pair_fades", None),
        ] {
            assert_eq!(follow(&root, path), expected, "{path}");
        }
    }
}
