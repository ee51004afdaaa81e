use std::sync::atomic::Ordering::Relaxed;

use std::time::Duration;

use super::connection::WAITING;
use super::*;
use crate::id::{KeyId, OrgId, UserId};
use crate::time::Time;

const KEEP_ALIVE: Duration = Duration::from_secs(75);
const LIMITS: Limits = Limits { total: 8, strangers: 4, per_address: 2, known: 6, per_owner: 2 };

fn from(address: &str) -> Option<SocketAddr> {
    Some(SocketAddr::new(address.parse().expect("an address"), 1))
}

fn new_owner() -> ConnectionOwner {
    let time = Time::from_seconds(0);
    ConnectionOwner { org: Some(OrgId::new(time)), owner: UserId::new(time), key: Some(KeyId::new(time)) }
}

fn cut(connection: &Connection) -> bool {
    connection.is_cut.load(Relaxed)
}

fn begin(connection: &Connection) {
    connection.waiting_since.store(0, Relaxed);
}

#[test]
fn an_address_makes_room_for_itself_and_proxies_are_exempt() {
    let all = Connections::new(LIMITS, vec!["10.0.0.0/8".parse().expect("a network")], KEEP_ALIVE);
    let open = |address| all.admit(from(address));
    let other = open("192.0.2.9");
    let (first, second, third) = (open("2001:db8::1"), open("2001:db8::2"), open("2001:db8::3"));
    assert_eq!([cut(&other), cut(&first), cut(&second), cut(&third)], [false, true, false, false]);
    let proxies = [open("10.0.0.1"), open("10.0.0.1"), open("10.0.0.1")];
    assert!(proxies.iter().all(|proxy| !cut(proxy)));
}

#[test]
fn strangers_make_room_and_known_connections_stay() {
    let all = Connections::new(LIMITS, Vec::new(), KEEP_ALIVE);
    let open = |number: usize| all.admit(from(&format!("192.0.2.{number}")));
    let greedy = new_owner();
    let known: Vec<_> = (1..=6).map(open).inspect(|connection| connection.prove(greedy)).collect();
    assert!(known.iter().all(|connection| connection.is_known()), "one key may have all there is");
    let last = (7..50).fold(None, |_, number| Some(open(number))).expect("one");
    assert!(!cut(&last) && known.iter().all(|connection| !cut(connection)));
    let set = all.lock();
    assert_eq!((set.all.len(), set.strangers.len(), set.by_address.len()), (8, 2, 2));
}

#[test]
fn if_all_are_being_answered_the_largest_owner_makes_room_for_a_newcomer() {
    let all = Connections::new(LIMITS, Vec::new(), KEEP_ALIVE);
    let open = |number: usize| all.admit(from(&format!("192.0.2.{number}")));
    let (greedy, modest) = (new_owner(), new_owner());
    let works_for = |number: usize, works_for| {
        let connection = open(number);
        begin(&connection);
        connection.prove(works_for);
        connection
    };
    let known: Vec<_> =
        (1..=6).map(|number| works_for(number, if number <= 2 { modest } else { greedy })).collect();
    known[4].is_receiving.store(true, Relaxed);
    for number in 7..=8 {
        let newcomer = works_for(number, new_owner());
        assert!(newcomer.is_known() && !cut(&newcomer));
    }
    let state: Vec<bool> = known.iter().map(|connection| cut(connection)).collect();
    assert_eq!(state, [false, false, true, false, true, false]);
}

#[test]
fn proxied_connections_work_for_the_client_of_the_latest_request() {
    let all = Connections::new(LIMITS, vec!["10.0.0.0/8".parse().expect("a network")], KEEP_ALIVE);
    let proxied: Vec<_> = (0..6).map(|_| all.admit(from("10.0.0.1"))).collect();
    let (greedy, modest) = (new_owner(), new_owner());
    proxied.iter().for_each(|connection| connection.prove(modest));
    proxied[3..].iter().for_each(|connection| connection.prove(greedy));
    proxied[..3].iter().for_each(|connection| begin(connection));
    assert!(!cut(&all.admit(from("10.0.0.1"))));
    let state: Vec<bool> = proxied.iter().map(|connection| cut(connection)).collect();
    assert_eq!(state, [false, false, false, true, false, false]);
}

#[test]
fn connections_that_wait_or_block_too_long_are_overdue() {
    let all = Connections::new(LIMITS, Vec::new(), KEEP_ALIVE);
    let one = all.admit(None);
    let now = one.now();
    assert!(!one.is_overdue(now) && one.is_overdue(now + milliseconds(WAITING) + 1));
    // The head of the first request has arrived, and the response was sent.
    one.head_since.store(0, Relaxed);
    let kept = milliseconds(KEEP_ALIVE + WAITING);
    assert!(!one.is_overdue(now + kept - 1_000) && one.is_overdue(now + kept + 1_000));
    one.blocked_until.store(now + 30_000, Relaxed);
    assert!(!one.is_overdue(now + 29_000) && one.is_overdue(now + 31_000));
}

#[test]
fn limits_follow_the_descriptors() {
    let few = Limits { total: 448, strangers: 112, per_address: 56, known: 392, per_owner: 56 };
    assert_eq!(Limits::of_descriptors(1024), few);
    assert_eq!(Limits::of_descriptors(524_288).total, 4096);
    assert_eq!(Limits::of_descriptors(10).total, 64);
}
