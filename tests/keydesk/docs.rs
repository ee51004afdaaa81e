//! The documentation names only what exists.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The files and folders at the top of the repository that documents name.
const FOLDERS: [&str; 7] = ["src/", "tests/", "templates/", "static/", "migrations/", "benches/", "docs/"];

/// Every document of the repository, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let folders = [".", "docs"].map(|folder| fs::read_dir(folder).unwrap());
    let files = folders.into_iter().flatten().map(|file| file.unwrap().path());
    let documents = files.filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    documents.map(|file| (file.clone(), fs::read_to_string(file).unwrap())).collect()
}

/// The anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> HashSet<String> {
    let anchor = |heading: &str| -> String {
        let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        heading.chars().filter(kept).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

/// The targets of links within the repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target).filter(|target| !target.contains(':'))
}

/// The texts in backticks, without blocks of code.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split("```").step_by(2).flat_map(|part| part.split('`').skip(1).step_by(2))
}

/// All words of the code, and the names of its files.
fn words(folder: &Path, found: &mut HashSet<String>) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        found.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
        if path.is_dir() {
            words(&path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let is_separator = |letter: char| !letter.is_alphanumeric() && letter != '_';
            found.extend(text.split(is_separator).map(str::to_owned));
        }
    }
}

#[test]
fn every_link_in_the_documentation_leads_somewhere() {
    let mut broken = Vec::new();
    for (file, text) in documents() {
        for link in links(&text) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let leads = match fs::read_to_string(&target) {
                Ok(text) => anchor.is_empty() || anchors(&text).contains(anchor),
                Err(_) => false,
            };
            if !leads {
                broken.push(format!("{}: {link}", file.display()));
            }
        }
    }
    // The picture in the README is no text.
    broken.retain(|link| !link.ends_with(".png") || !Path::new(link.rsplit(' ').next().unwrap()).exists());
    assert_eq!(broken, [""; 0]);
}

#[test]
fn every_file_that_the_documentation_names_exists() {
    let mut missing = Vec::new();
    for (file, text) in documents() {
        let names = code(&text).filter(|name| FOLDERS.iter().any(|folder| name.starts_with(folder)));
        // `<name>` is a placeholder. Text after a space is the arguments of a command.
        for name in names.filter(|name| !name.contains('<')) {
            if !Path::new(name.split(' ').next().unwrap()).exists() {
                missing.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_code_name_in_the_glossary_exists() {
    let mut known = HashSet::new();
    words(Path::new("src"), &mut known);
    let glossary = fs::read_to_string("docs/glossary.md").unwrap();
    let rows = glossary.lines().filter(|line| line.starts_with("| **"));
    let names = rows.flat_map(|row| code(row.rsplit('|').nth(1).unwrap()));
    let parts = names.flat_map(|name| name.split(['.', ':', '/']).filter(|part| !part.is_empty()));
    let missing: Vec<&str> = parts.filter(|part| !known.contains(*part)).collect();
    assert_eq!(missing, [""; 0]);
}
