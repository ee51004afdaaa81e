//! Both sets of migrations create the same tables.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn folder(database: &str) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let read = |folder: &Path, file: &str| fs::read_to_string(folder.join(file)).unwrap();
    entries
        .map(|folder| {
            let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
            (name, format!("{}\n{}", read(&folder, "up.sql"), read(&folder, "down.sql")))
        })
        .collect()
}

#[test]
fn both_databases_have_the_same_tables_and_columns() {
    let (sqlite, postgres) = (folder("sqlite"), folder("postgres"));
    assert!(!sqlite.is_empty());
    assert_eq!(sqlite.keys().collect::<Vec<_>>(), postgres.keys().collect::<Vec<_>>());
    for (name, statements) in &sqlite {
        assert_eq!(statements.replace(" BLOB", " BYTEA"), postgres[name], "{name}");
    }
}

#[test]
fn no_two_migrations_have_the_same_number() {
    // The number is what the database remembers, so the second of two would never run.
    let numbers: Vec<String> =
        folder("sqlite").keys().map(|name| name.split('_').next().unwrap().to_owned()).collect();
    let mut once = numbers.clone();
    once.dedup();
    assert_eq!(numbers, once);
}

#[test]
fn every_table_of_organisation_data_has_an_org_id() {
    let without = [
        "installation",
        "organizations",
        "people",
        "sign_in_methods",
        "sign_in_flows",
        "mailed_links",
        "feed_head",
        "schema_compatibility",
        "usage_writers",
        "feed_readers",
        "sessions",
        "sign_in_attempts",
        "known_clients",
        // A mail about a person alone belongs to no organisation.
        "outbox",
        "notice_preferences",
        "audit_register",
    ];
    for statements in folder("sqlite").values() {
        for table in statements.split("CREATE TABLE ").skip(1) {
            let name = table.split_whitespace().next().unwrap();
            let columns = table.split(");").next().unwrap();
            assert!(without.contains(&name) || columns.contains("org_id BLOB NOT NULL"), "{name}");
        }
    }
}
