//! The plan of the house, checked: who imports whom, how large files are, and that each says what it is for.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Modules by layer, and the other modules each may name. See `ARCHITECTURE.md`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("limits", &[]),
    ("amqp", &["time", "limits"]),
    ("broker", &["time", "limits"]),
    ("auth", &["limits"]),
    ("selector", &["limits"]),
    ("config", &["broker", "limits"]),
    ("store", &["broker", "limits", "time"]),
    ("management", &["amqp", "broker", "limits", "time"]),
    ("container", &["amqp", "broker", "auth", "management", "selector", "limits", "time"]),
    ("server", &["amqp", "broker", "auth", "config", "management", "container", "store", "limits", "time"]),
    ("cli", &["amqp", "broker", "auth", "config", "container", "store", "server", "limits", "time"]),
];

/// Lines a file may have; more needs the word "lines" with a reason in its header.
const MOST_LINES: usize = 400;

/// The same for a file of tests, where one table or scenario after another is easy to read.
const MOST_TEST_LINES: usize = 500;

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("below src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Names of crate modules that a source file mentions as `crate::name` (also inside `use crate::{…}`).
fn imports(text: &str) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (index, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && depth == 0 && c.is_alphabetic() => {
                        let name = group[index..].split(|c: char| !c.is_alphanumeric() && c != '_').next();
                        names.extend(name.map(str::to_owned));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            names.extend(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned));
        }
    }
    names
}

#[test]
fn imports_go_downward_only() {
    let known: Vec<&str> = MAY_IMPORT.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    for path in sources() {
        let module = module_of(&path);
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else { continue };
        for name in imports(&fs::read_to_string(&path).expect("a readable source")) {
            if known.contains(&&*name) && name != module && !allowed.contains(&&*name) {
                wrong.push(format!("{} imports crate::{name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that go upward or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_layer() {
    let known: Vec<&str> = MAY_IMPORT.iter().map(|(name, _)| *name).collect();
    for path in sources() {
        let module = module_of(&path);
        assert!(
            known.contains(&&*module) || matches!(&*module, "lib" | "main"),
            "{module} is in no layer: say where"
        );
    }
}

#[test]
fn sled_is_imported_in_one_place() {
    let importers: Vec<_> = sources()
        .into_iter()
        .filter(|path| fs::read_to_string(path).expect("a readable source").contains("sled::"))
        .collect();
    assert!(
        importers.iter().all(|path| path.ends_with("store/index.rs")),
        "sled is the index's alone: {importers:?}"
    );
    assert_eq!(importers.len(), 1);
}

#[test]
fn every_file_says_what_it_is_for_and_is_short_or_says_why_not() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).expect("a readable source");
        let header: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        let lines = text.lines().count();
        if header.is_empty() {
            wrong.push(format!("{} does not open with //!", path.display()));
        }
        let most = if path.to_string_lossy().contains("tests") { MOST_TEST_LINES } else { MOST_LINES };
        if lines > most && !header.contains("lines") {
            wrong.push(format!("{} has {lines} lines, expected at most {most}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_import_reader_sees_groups_and_paths() {
    let text = "use crate::{amqp::{Connection, codec::section}, broker::Node};\nfn f() { crate::time::Millis(1); }\n// crate::server";
    assert_eq!(imports(text), ["amqp", "broker", "time"]);
}
