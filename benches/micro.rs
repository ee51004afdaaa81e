//! The steps of checking a key, measured separately: shape and checksum, digest, table, limit.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on fails")]

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use keydesk::crypto::{Keyring, Root};
use keydesk::db::{Db, Location};
use keydesk::id::KeyId;
use keydesk::keys::secret::PlainSecret;
use keydesk::time::Time;
use keydesk::verify::limit::Limiter;
use keydesk::verify::table::Table;

/// A stride through a table of any size, in an order that a processor can't predict.
const STRIDE: usize = 7_919;

fn steps(criterion: &mut Criterion) {
    let keyring = Keyring::new(Root::generate().unwrap(), None);
    let secret = PlainSecret::generate("kd").unwrap();
    let noise = secret.expose().replacen("kd_", "kd_0", 1)[..49].to_owned();

    criterion.bench_function("parse", |timer| timer.iter(|| PlainSecret::parse(black_box(secret.expose()))));
    criterion.bench_function("parse noise", |timer| timer.iter(|| PlainSecret::parse(black_box(&noise))));
    criterion.bench_function("digest", |timer| timer.iter(|| black_box(&secret).digest(&keyring.api_keys)));
    criterion.bench_function("limit", |timer| {
        let (limiter, key) = (Limiter::new(Instant::now(), None), KeyId::new(Time::now()));
        timer.iter(|| limiter.take(black_box(key), 1_000_000, Instant::now()).now_or_never());
    });
}

/// Digest and look-up of a cached key, among few and among many.
fn look_ups(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&Location::Sqlite(dir.path().join("keydesk.db"))).unwrap();
    let keyring = Keyring::new(Root::generate().unwrap(), None);
    for count in [1_000, 100_000, 1_000_000] {
        let now = Instant::now();
        let table = Arc::new(Table::new(Duration::from_secs(600), &db, now));
        db.read_now(|conn| table.catch_up(conn, now)).unwrap();
        let secrets: Vec<PlainSecret> = (0..count).map(|_| PlainSecret::generate("kd").unwrap()).collect();
        for (number, secret) in secrets.iter().enumerate() {
            let held = Some(Arc::new(common::key(number)));
            table.fill(secret.digest(&keyring.api_keys), held, table.round(), now);
        }
        let mut place = 0;
        criterion.bench_function(&format!("look up one of {count}"), |timer| {
            timer.iter(|| {
                place = (place + STRIDE) % count;
                let found = table.look_up(&db, &keyring, &secrets[place], now).now_or_never();
                assert!(matches!(found, Some(Ok(Some(_)))), "a key that is held is found at once");
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots();
    targets = steps, look_ups
}
criterion_main!(benches);
