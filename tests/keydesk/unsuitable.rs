//! PostgreSQL databases that Keydesk can't work with: each is refused by name before anything is created.

use std::process::{Child, Command, Stdio};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tempfile::TempDir;

use crate::support::programs::program;
use crate::support::{Desk, PASSWORD, eventually, text, unique};

const SETUP: [&str; 8] =
    ["setup", "--org", "Größe", "--name", "Łukasz", "--email", "ada@example.com", "--password-stdin"];
const COMMANDS: [&[&str]; 7] = [
    &["serve"],
    &SETUP,
    &["key", "create", "--org", "x", "--name", "n", "--scope", "admin"],
    &["key", "list", "--org", "x"],
    &["user", "list"],
    &["audit", "verify"],
    &["secret", "status"],
];

/// Checks that all commands refuse the database with exit status 2 and this text.
pub fn refused_by_every_command(desk: &Desk, sign: &str) {
    for command in COMMANDS {
        let output = desk.run_with_input(command, PASSWORD);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?}: {errors}");
        assert!(errors.starts_with("keydesk: KEYDESK_DATABASE_URL: "), "{command:?}: {errors}");
        assert!(errors.contains(sign) && errors.lines().count() == 1, "{command:?}: {errors}");
        assert!(output.stdout.is_empty(), "{command:?}");
        assert!(!desk.data.path().join("secret").exists(), "{command:?}");
    }
}

/// Sets up an organisation with a name that is not ASCII.
pub fn works(desk: &Desk) {
    let slug = text(&desk.run_with_input(&SETUP, PASSWORD));
    let names = text(&desk.run(&["user", "list"]));
    assert!(!slug.is_empty() && names.contains("Łukasz"), "{names}");
}

fn tables(desk: &Desk) -> i64 {
    desk.database.count("SELECT COUNT(*) AS count FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
}

fn postgres() -> Desk {
    let desk = Desk::new();
    assert!(desk.database.is_postgres(), "run `tests/run postgres` or set KEYDESK_TEST_DATABASE");
    desk
}

/// Runs a statement in the database `postgres` of the same server.
fn administer(statement: &str) {
    let server = std::env::var("KEYDESK_TEST_DATABASE").unwrap();
    let mut admin = PgConnection::establish(&format!("{server}/postgres")).unwrap();
    admin.batch_execute(statement).unwrap();
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A PgBouncer in front of the server; stopped when dropped.
struct Pooler {
    child: Child,
    port: u16,
    _place: TempDir,
}

impl Pooler {
    fn start(mode: &str) -> Pooler {
        let server = std::env::var("KEYDESK_TEST_DATABASE").unwrap();
        let (user, address) = server.strip_prefix("postgres://").unwrap().split_once('@').unwrap();
        let (host, server_port) = address.split_once(':').unwrap();
        let (place, port) = (TempDir::new().unwrap(), free_port());
        let file = place.path().join("pgbouncer.ini");
        let configuration = format!(
            "[databases]\n* = host={host} port={server_port} user={user}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
             ignore_startup_parameters = extra_float_digits,options\ndefault_pool_size = 60\n"
        );
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new(program("pgbouncer"));
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root.
            command.args(["-u", "nobody"]);
        }
        let child = command.arg("-q").arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let pooler = Pooler { child, port, _place: place };
        eventually("PgBouncer listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        pooler
    }

    fn url(&self, desk: &Desk) -> String {
        let name = desk.database.url.rsplit('/').next().unwrap();
        format!("postgres://keydesk@127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs PostgreSQL"]
fn pooler_is_refused_unless_each_connection_keeps_its_session() {
    for mode in ["transaction", "statement"] {
        let pooler = Pooler::start(mode);
        let desk = postgres();
        let url = pooler.url(&desk);
        let desk = desk.with("KEYDESK_DATABASE_URL", &url);
        refused_by_every_command(&desk, "pool_mode = session");
        assert_eq!(tables(&desk), 0, "{mode}");
        // Also where the tables exist, and the pooler has connections on which statements were prepared.
        let desk = postgres();
        works(&desk);
        std::fs::remove_file(desk.data.path().join("secret")).unwrap();
        let url = pooler.url(&desk);
        let desk = desk.with("KEYDESK_DATABASE_URL", &url);
        refused_by_every_command(&desk, "pool_mode = session");
    }
    let pooler = Pooler::start("session");
    let desk = postgres();
    let url = pooler.url(&desk);
    let desk = desk.with("KEYDESK_DATABASE_URL", &url);
    works(&desk);
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    assert_eq!(org.admin.get("/v1/api-keys").status, 200);
    assert_eq!(server.stop(), Some(0));
}

#[test]
#[ignore = "needs PostgreSQL"]
fn encodings_other_than_utf_8_are_refused() {
    for encoding in ["LATIN1", "WIN1252", "EUC_JP", "SQL_ASCII"] {
        let desk = postgres();
        let name = desk.database.url.rsplit('/').next().unwrap();
        administer(&format!("DROP DATABASE {name}"));
        administer(&format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        ));
        refused_by_every_command(&desk, &format!("encoding {encoding}"));
        assert_eq!(tables(&desk), 0, "{encoding}");
    }
    // The encoding of the connection is Keydesk's own affair.
    for query in ["client_encoding=LATIN1", "options=-cclient_encoding%3DSJIS"] {
        let desk = postgres();
        let url = format!("{}?{query}", desk.database.url);
        works(&desk.with("KEYDESK_DATABASE_URL", &url));
    }
}

#[test]
#[ignore = "needs PostgreSQL"]
fn database_that_accepts_no_changes_is_refused() {
    let desk = postgres();
    let name = desk.database.url.rsplit('/').next().unwrap().to_owned();
    let set = |value: &str| {
        administer(&format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}"));
    };
    set("on");
    refused_by_every_command(&desk, "default_transaction_read_only");
    assert_eq!(tables(&desk), 0);
    set("off");
    works(&desk);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn role_that_may_not_create_tables_is_refused() {
    let (desk, role) = (postgres(), format!("visitor_{}", unique()));
    administer(&format!("CREATE ROLE {role} LOGIN"));
    let url = desk.database.url.replacen("keydesk@", &format!("{role}@"), 1);
    let desk = desk.with("KEYDESK_DATABASE_URL", &url);
    let grant = format!("GRANT CREATE ON SCHEMA public TO {role}");
    refused_by_every_command(&desk, &format!("{grant}."));
    let nowhere = format!("{url}?options=-csearch_path%3Dnowhere");
    let desk = desk.with("KEYDESK_DATABASE_URL", &nowhere);
    refused_by_every_command(&desk, "no schema in the search_path");
    assert_eq!(tables(&desk), 0);
    let desk = desk.with("KEYDESK_DATABASE_URL", &url);
    desk.database.execute(&grant);
    works(&desk);
    desk.database.execute(&format!("DROP OWNED BY {role} CASCADE"));
    administer(&format!("DROP ROLE {role}"));
}

#[test]
#[ignore = "needs PostgreSQL"]
fn database_of_another_program_is_refused() {
    for statement in [
        "CREATE TABLE posts (id INT)",
        "CREATE TABLE api_keys (id INT)",
        "CREATE TABLE posts (id INT) PARTITION BY RANGE (id)",
        "CREATE TABLE posts (id INT); CREATE TABLE __diesel_schema_migrations (version TEXT PRIMARY KEY, run_on TIMESTAMP)",
    ] {
        let desk = postgres();
        desk.database.execute(statement);
        let before = tables(&desk);
        refused_by_every_command(&desk, "another program");
        assert_eq!(tables(&desk), before, "{statement}");
        // A schema of its own is enough.
        desk.database.execute("CREATE SCHEMA keydesk");
        let url = format!("{}?options=-csearch_path%3Dkeydesk", desk.database.url);
        works(&desk.with("KEYDESK_DATABASE_URL", &url));
    }
}

#[test]
#[ignore = "needs PostgreSQL"]
fn standby_is_refused() {
    let (place, port) = (TempDir::new().unwrap(), free_port());
    let folder = place.path().join("standby");
    let bin =
        std::fs::read_dir("/usr/lib/postgresql").unwrap().map(|version| version.unwrap().path().join("bin"));
    let bin = bin.max().unwrap();
    let as_postgres = |name: &str| {
        let mut command = Command::new("setpriv");
        if rustix::process::geteuid().is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        }
        command.arg(bin.join(name)).arg("-D").arg(&folder).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir("/");
        command
    };
    std::fs::create_dir(&folder).unwrap();
    let shared = Command::new("chmod").args(["711", &place.path().display().to_string()]).status();
    assert!(shared.unwrap().success());
    if rustix::process::geteuid().is_root() {
        let owned = Command::new("chown").args(["postgres", &folder.display().to_string()]).status();
        assert!(owned.unwrap().success());
    }
    let made =
        as_postgres("initdb").args(["-U", "keydesk", "--auth=trust", "-E", "UTF8", "--no-sync"]).status();
    assert!(made.unwrap().success());
    std::fs::write(folder.join("standby.signal"), "").unwrap();
    let mut standby = as_postgres("postgres")
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
        .args(["-c", &format!("port={port}")])
        .spawn()
        .unwrap();
    let url = format!("postgres://keydesk@127.0.0.1:{port}/postgres");
    eventually("the standby accepts connections", || PgConnection::establish(&url).is_ok());
    refused_by_every_command(&Desk::new().with("KEYDESK_DATABASE_URL", &url), "is a standby");
    let stopped = Command::new("kill").args(["-INT", &standby.id().to_string()]).status();
    assert!(stopped.unwrap().success());
    standby.wait().unwrap();
}
