//! The documentation names only what exists.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every document of the repository, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let folders = [Path::new("."), Path::new("docs")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    let documents = files.filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    documents.map(|file| (file.clone(), fs::read_to_string(file).unwrap())).collect()
}

/// The anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> HashSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        heading.chars().filter(kept).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    headings.map(anchor).collect()
}

/// The texts between `begin` and the next `end`.
fn between<'a>(text: &'a str, begin: &'a str, end: char) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).filter_map(move |rest| rest.split_once(end)).map(|(inside, _)| inside)
}

/// The texts in backticks, without blocks of code.
fn code(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_link_in_the_documentation_leads_somewhere() {
    for (file, text) in documents() {
        for link in between(&text, "](", ')').filter(|link| !link.contains(':')) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link}", file.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                assert!(anchors(&text).contains(anchor), "{}: {link}", file.display());
            }
        }
    }
}

#[test]
fn every_file_that_the_documentation_names_exists() {
    let folders = ["src/", "tests/", "templates/", "static/", "migrations/", "benches/", "docs/"];
    for (file, text) in documents() {
        let names = code(&text).into_iter().filter(|name| folders.iter().any(|folder| name.starts_with(folder)));
        // `tests/run sqlite` is a command, and `<name>` stands for many.
        for name in names.filter(|name| !name.contains('<')) {
            let path = name.split_whitespace().next().unwrap();
            assert!(Path::new(path).exists(), "{}: {name}", file.display());
        }
    }
}

#[test]
fn every_name_of_the_code_in_the_glossary_exists() {
    let glossary = fs::read_to_string("docs/glossary.md").unwrap();
    let mut code = String::new();
    read_all(Path::new("src"), &mut code);
    let words: HashSet<&str> = code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).collect();
    for row in glossary.lines().filter(|line| line.starts_with("| **")) {
        let names = row.rsplit('|').nth(1).unwrap();
        for name in names.split('`').skip(1).step_by(2) {
            let mut parts = name.split(['.', ':']).filter(|part| !part.is_empty());
            assert!(parts.all(|part| words.contains(part)), "{name}: {row}");
        }
    }
}

fn read_all(folder: &Path, text: &mut String) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            read_all(&path, text);
        } else {
            text.push_str(&fs::read_to_string(&path).unwrap_or_default());
        }
        // A module is named by its file.
        text.push_str(&format!(" {} ", path.file_stem().unwrap().to_string_lossy()));
    }
}
