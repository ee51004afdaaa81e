//! Tests of links, and a check that none is written as a literal, which the compiler could not check.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::id::{KeyId, OrgSlug};
use crate::path::{Href, Pattern, calendar_feed, docs_audit, home, key_edit, keys, sign_in};
use crate::time::Time;

/// Files that may hold a literal path, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("src/build.rs", "runs before the crate is compiled"),
    ("src/config/page.rs", "the name of a file"),
    ("src/path.rs", "the patterns themselves"),
    ("src/path/href.rs", "tells links from addresses of other servers"),
    ("src/web/assets.rs", "the name of a file"),
];

#[test]
fn links_are_path_functions() {
    let first_segments: HashSet<&str> =
        Pattern::ALL.iter().filter_map(|pattern| pattern.as_str().split('/').nth(1)).collect();
    let is_path = |literal: &str| {
        let segment = literal.split(['/', '?', '#', '{', '"']).next().unwrap_or_default();
        first_segments.contains(segment)
    };
    let mut literals = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, opening) in [("templates", "=\"/"), ("templates", "(\"/"), ("src", "\"/"), ("static", "\"/")]
    {
        visit(&root.join(folder), &mut |file, text| {
            let name = file.strip_prefix(root).unwrap().to_str().unwrap();
            let is_exception = EXCEPTIONS.iter().any(|(exception, _)| *exception == name);
            let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
            if is_exception || is_test || name.ends_with(".min.js") {
                return;
            }
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate() {
                let line = line.split("//").next().unwrap_or_default();
                // In a template an empty path is a link to the start page, elsewhere only a slash.
                let links = line.split(opening).skip(1);
                for link in
                    links.filter(|link| is_path(link) && (folder == "templates" || !link.starts_with('"')))
                {
                    literals.push(format!("{name}:{}: /{link}", number + 1));
                }
            }
        });
    }
    assert!(literals.is_empty(), "use the functions of crate::path:\n{}", literals.join("\n"));
}

#[test]
fn links_are_encoded() {
    let org = OrgSlug::from("acme".to_owned());
    let id = KeyId::new(Time::from_seconds(1_800_000_000));
    assert_eq!(key_edit(&org, &id).as_str(), format!("/o/acme/keys/{id}/edit"));
    assert_eq!(calendar_feed("a/b?c%").as_str(), "/calendar/a%2Fb%3Fc%25.ics");
    let filtered = keys(&org).query("q", "a b&c=ü").query("page", 2);
    assert_eq!(filtered.as_str(), "/o/acme/keys?q=a+b%26c%3D%C3%BC&page=2");
    assert_eq!(docs_audit().fragment("broken").as_str(), "/docs/audit#broken");
    assert_eq!(home().queries([("a", None::<u8>)]).as_str(), "/");
    assert_eq!(sign_in().then(home()).as_str(), "/sign-in");
    assert_eq!(
        sign_in().then(&filtered).as_str(),
        "/sign-in?next=%2Fo%2Facme%2Fkeys%3Fq%3Da%2Bb%2526c%253D%25C3%25BC%26page%3D2"
    );
}

#[test]
fn only_links_within_this_server_are_parsed() {
    for good in ["/", "/o/acme/keys?status=active", "/keys/key_01kb"] {
        assert_eq!(Href::parse(good).expect("is a path").as_str(), good);
    }
    for bad in [
        "",
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "evil",
        "/a\r\nb",
        "/a b",
        "/\u{e9}",
    ] {
        assert_eq!(Href::parse(bad), None, "{bad:?}");
    }
}

/// Calls `look` with every text file below a folder.
fn visit(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, look);
        } else if let Ok(text) = fs::read_to_string(&path) {
            look(&path, &text);
        }
    }
}
