//! Every route that can change something, from the table of permissions: a successful request writes exactly one
//! audit entry, and one whose entry can't be written changes nothing.

use std::time::{Duration, Instant};

use crate::support::stage::{ELSEWHERE, IN_PASSING, Mark, Stage};
use crate::support::{Desk, TABLE};

#[test]
fn every_changing_route_writes_one_entry_or_changes_nothing() {
    // Mails that a command queues leave at a tick.
    let desk = Desk::new().with("KEYDESK_TICK", "1s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let owner = server.signed_in(&org);
    let mut stage = Stage { desk, server, org, owner };
    let mut proved = Instant::now();
    let mut marks = (0, 0);
    for (method, pattern, _) in TABLE.iter().filter(|(method, _, _)| *method != "GET") {
        // Some acts need a sign-in that is minutes old at most.
        if proved.elapsed() > Duration::from_secs(60) {
            (stage.owner, proved) = (stage.server.signed_in(&stage.org), Instant::now());
        }
        let database = &stage.desk.database;
        let (mark, mut call) = stage.ready(method, pattern);
        stage.rest();
        let Mark::None(reason) = mark else {
            database.refuse_entries();
            let before = database.state(ELSEWHERE, IN_PASSING);
            let failed = call.send();
            assert_eq!(failed.status, 500, "{method} {pattern} without its entry: {}", failed.body);
            let after = database.state(ELSEWHERE, IN_PASSING);
            let changed: Vec<_> = after.iter().filter(|row| !before.contains(row)).collect();
            assert!(before == after, "{method} {pattern} without its entry changed {changed:#?}");
            database.take_entries();
            let entries = stage.entries();
            let done = call.send();
            assert!(
                [200, 201, 204, 303].contains(&done.status),
                "{method} {pattern}: {} {}",
                done.status,
                done.body
            );
            assert_eq!(stage.entries(), entries + 1, "{method} {pattern}");
            assert!(database.state(ELSEWHERE, IN_PASSING) != before, "{method} {pattern}");
            marks.0 += 1;
            continue;
        };
        let entries = stage.entries();
        let done = call.send();
        assert!([200, 303].contains(&done.status), "{method} {pattern}: {} {}", done.status, done.body);
        assert_eq!(stage.entries(), entries, "{method} {pattern}: {reason}");
        marks.1 += 1;
    }
    assert_eq!(marks, (58, 13));
}
