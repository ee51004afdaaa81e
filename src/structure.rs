//! Checks that dependencies only run down, that no files depend on each other in a circle, and that files stay short.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of each layer, from the bottom up. A module may use those of its own layer and of layers below.
const LAYERS: [&[&str]; 7] = [
    &[
        "authority",
        "config",
        "crypto",
        "db",
        "email",
        "error",
        "id",
        "installation",
        "key_text",
        "path",
        "refusal",
        "slow_cache",
        "role",
        "schema",
        "scope",
        "task",
        "text",
        "time",
    ],
    &["audit", "catalogue", "keys", "mail", "notices", "orgs", "people", "review", "usage", "verify"],
    &["web"],
    &["api", "gateway", "portal"],
    &["ticker"],
    &["app"],
    &["cli"],
];

const MAX_LINES: usize = 300;

/// Longer files, and why they are.
const LONG: &[(&str, &str)] = &[
    ("app/routes.rs", "every route, in one table"),
    ("authority.rs", "private fields that only this file may fill guard every change"),
    ("crypto.rs", "all keys are derived from the root secret in one place"),
    ("schema.rs", "as diesel prints it"),
    ("verify/model.rs", "one model, compared with the table step by step"),
];

/// Modules by their paths, such as `mail::outbox`, with their files.
fn modules() -> BTreeMap<String, PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.strip_prefix(&root).expect("a path below src").with_extension("");
                let name = name.to_str().expect("a name in UTF-8").replace('/', "::");
                found.insert(name.strip_suffix("::mod").unwrap_or(&name).to_owned(), path);
            }
        }
    }
    // The roots of the crates, the program that runs before them, and this file.
    for root in ["lib", "main", "build", "structure"] {
        found.remove(root);
    }
    found
}

/// The code of a file, without comments and unit tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a readable file");
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The paths below `crate`, `super` and `self` in the code of a module, as paths from the root of the crate.
fn paths(module: &str, code: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let mut found = BTreeSet::new();
    for start in ["crate::", "super::", "self::"] {
        for (place, _) in code.match_indices(start) {
            if code[..place].ends_with(is_part) {
                continue;
            }
            let rest = &code[place..];
            let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
            let first = &rest[..end];
            let tree = rest[end..].starts_with('{').then(|| &rest[end..]);
            let absolute = absolute(module, first.trim_end_matches(':'));
            match tree {
                Some(tree) => {
                    expand(&absolute, tree, &mut found);
                }
                None => {
                    found.insert(absolute);
                }
            }
        }
    }
    found
}

/// Adds the paths of a use tree, such as `{self, a::{b, c}}`, and returns its length.
fn expand(prefix: &str, tree: &str, found: &mut BTreeSet<String>) -> usize {
    let join = |part: &str| format!("{prefix}::{}", part.trim().split(' ').next().unwrap_or_default());
    let mut start = 1;
    let mut place = 1;
    let mut had_tree = false;
    while let Some(letter) = tree[place..].chars().next() {
        match letter {
            '{' => {
                let part = tree[start..place].trim().trim_end_matches(':').to_owned();
                place += expand(&join(&part), &tree[place..], found);
                had_tree = true;
                continue;
            }
            ',' | '}' => {
                if !had_tree {
                    found.insert(join(&tree[start..place]));
                }
                had_tree = false;
                start = place + 1;
                if letter == '}' {
                    return place + 1;
                }
            }
            _ => {}
        }
        place += letter.len_utf8();
    }
    place
}

fn absolute(module: &str, path: &str) -> String {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut rest: Vec<&str> = path.split("::").collect();
    match rest.remove(0) {
        "crate" => base.clear(),
        "super" => {
            base.pop();
        }
        _ => {}
    }
    while rest.first() == Some(&"super") {
        base.pop();
        rest.remove(0);
    }
    [base, rest].concat().join("::")
}

/// What each module uses. That a part of a module uses what the module itself defines is left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let modules = modules();
    let module_of = |path: &str| {
        let mut path = path;
        loop {
            if modules.contains_key(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::")?.0;
        }
    };
    let used = |(module, file): (&String, &PathBuf)| {
        let paths = paths(module, &code(file));
        let used = paths.iter().filter_map(|path| module_of(path));
        let used = used.filter(|used| used != module && !module.starts_with(&format!("{used}::")));
        (module.clone(), used.collect())
    };
    modules.iter().map(used).collect()
}

fn layer(module: &str) -> usize {
    let top = module.split("::").next().unwrap_or_default();
    let layer = LAYERS.iter().position(|modules| modules.contains(&top));
    layer.unwrap_or_else(|| panic!("add the module {top} to its layer"))
}

#[test]
fn dependencies_point_down() {
    for (module, used) in dependencies() {
        for used in used {
            assert!(layer(&used) <= layer(&module), "{module} uses {used}, which is in a layer above");
        }
    }
}

#[test]
fn no_import_cycles() {
    let mut left = dependencies();
    assert!(left.values().flatten().count() > 500, "the dependencies are found");
    loop {
        let free: Vec<String> =
            left.iter().filter(|(_, used)| used.is_empty()).map(|(module, _)| module.clone()).collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module, _| !free.contains(module));
        for used in left.values_mut() {
            used.retain(|used| !free.contains(used));
        }
    }
    // The remaining files are in a cycle or use one; without unused files, only cycles remain.
    loop {
        let used: BTreeSet<String> = left.values().flatten().cloned().collect();
        let before = left.len();
        left.retain(|module, _| used.contains(module));
        if left.len() == before {
            break;
        }
    }
    assert!(left.is_empty(), "these files depend on each other: {left:#?}");
}

#[test]
fn files_over_300_lines_state_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut long = BTreeSet::new();
    for file in modules().values() {
        let lines = fs::read_to_string(file).expect("a readable file").lines().count();
        if lines > MAX_LINES {
            long.insert(file.strip_prefix(&root).expect("a path below src").to_owned());
        }
    }
    let expected: BTreeSet<PathBuf> = LONG.iter().map(|(file, _)| PathBuf::from(file)).collect();
    assert_eq!(long, expected, "split long files, or add the reason to LONG");
}
