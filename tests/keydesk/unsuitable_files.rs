//! SQLite files that Keydesk can't work with: each is refused by name, and nothing in it changes.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::support::{Desk, PASSWORD};
use crate::unsuitable::{refused_by_every_command, works};

/// A user without rights.
const NOBODY: u32 = 65534;

fn desk_with(file: &Path) -> Desk {
    Desk::new().with("KEYDESK_DATABASE_URL", &format!("sqlite:{}", file.display()))
}

fn database_of_another_program(file: &Path) {
    let mut conn = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    conn.batch_execute("CREATE TABLE posts (id INT); INSERT INTO posts VALUES (1)").unwrap();
}

#[test]
fn file_that_keydesk_did_not_create_is_refused_and_stays_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let note = place.path().join("note.txt");
    std::fs::write(&note, "Dear Ada,\n".repeat(500)).unwrap();
    let other = place.path().join("other.sqlite3");
    database_of_another_program(&other);
    for (file, sign) in [(&note, "is not an SQLite database"), (&other, "another program")] {
        let before = std::fs::read(file).unwrap();
        refused_by_every_command(&desk_with(file), sign);
        assert!(std::fs::read(file).unwrap() == before, "{}", file.display());
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2, "{}", file.display());
    }
    // An empty file is a new database.
    let empty = place.path().join("empty.sqlite3");
    std::fs::write(&empty, "").unwrap();
    works(&desk_with(&empty));
    works(&desk_with(&place.path().join("new.sqlite3")));
}

/// Runs `setup` by way of a shell, as a user who may write only to the data directory.
fn set_up_as_nobody(file: &Path, data: &Path, before: &str) -> (Option<i32>, String) {
    let desk = desk_with(file);
    let plain =
        desk.command(&["setup", "--org", "A", "--name", "A", "--email", "a@example.com", "--password-stdin"]);
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command
        .args(["sh", "-c", &format!("{before} exec \"$0\" \"$@\"")])
        .arg(plain.get_program())
        .args(plain.get_args());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KEYDESK_")) {
        command.env_remove(name);
    }
    command
        .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("KEYDESK_DATA_DIR", data);
    let mut child = command
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), PASSWORD.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn file_that_can_not_be_written_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (data, fixed) = (place.path().join("data"), place.path().join("fixed"));
    for folder in [&data, &fixed] {
        std::fs::create_dir(folder).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let existing = fixed.join("existing.sqlite3");
    works(&desk_with(&existing));
    let set_mode =
        |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    set_mode(&existing, 0o444);
    set_mode(&fixed, 0o555);
    set_mode(place.path(), 0o755);
    for (file, before) in [
        (fixed.join("new.sqlite3"), ""),
        (existing, ""),
        (data.join("missing/keydesk.sqlite3"), ""),
        (data.clone(), ""),
        // A disk without space: no file may become larger than 20 KiB.
        (data.join("keydesk.sqlite3"), "trap '' XFSZ; ulimit -f 40;"),
    ] {
        let (status, errors) = set_up_as_nobody(&file, &data, before);
        assert_eq!(status, Some(2), "{}: {errors}", file.display());
        let begin = format!("keydesk: KEYDESK_DATABASE_URL: {} can't be written (", file.display());
        assert!(errors.starts_with(&begin) && errors.contains("free space on the disk"), "{errors}");
        assert!(!data.join("secret").exists(), "{}", file.display());
    }
    set_mode(&fixed, 0o755);
    let (status, errors) = set_up_as_nobody(&data.join("keydesk.sqlite3"), &data, "");
    assert_eq!(status, Some(0), "{errors}");
}
