#!/usr/bin/env python3
"""Mixed load with seeded random faults; at the end the load generator's books equal the database.

    tests/faults/run.py --binary target/release/keydesk --database postgres --seconds 40 --seed 1

Exit status: 0 if everything was as promised, 1 after violations, which are printed with the seed and the timeline.
"""

import argparse
import collections
import os
import random
import signal
import sys
import time

from books import LOST, UNREACHED, Books, Windows
from client import Client
from cluster import READY_WITHIN, Cluster
from faults import Faults
from judge import Judge
from ledger import Ledger
from load import Load

# How many violations of each kind are printed.
SHOWN = 15


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--database", choices=["sqlite", "postgres"], required=True)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--seed", default=str(random.randrange(1_000_000)))
    parser.add_argument("--replicas", type=int, help="default: 3, or 2 on SQLite, which takes no more")
    parser.add_argument("--rate", type=float, default=80, help="acts of the load a second")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the logs")
    chosen = parser.parse_args()
    if chosen.replicas is None:
        chosen.replicas = 2 if chosen.database == "sqlite" else 3
    if chosen.database == "sqlite":
        chosen.replicas = min(chosen.replicas, 2)
    chosen.binary = os.path.abspath(chosen.binary)
    return chosen


def check_every_secret(books, cluster):
    """Presents each secret to each replica once more."""
    client = Client(books, cluster.replicas)
    for key in books.known:
        for secret in key.secrets:
            for replica in cluster.replicas:
                client.ask(replica.number, "last", secret, key)


def play(chosen, cluster):
    admin = cluster.start()
    books, windows = Books(admin), Windows()
    load = Load(books, cluster.replicas, chosen.seed, chosen.rate)
    faults = Faults(cluster, books, windows, chosen.seed)
    load.start()
    faults.play(books.began + chosen.seconds)
    load.stop()
    faults.await_ready(cluster.replicas)
    check_every_secret(books, cluster)
    for replica in cluster.replicas:
        status, took = replica.terminate()
        if status != 0:
            books.violate(
                "stop", f"replica {replica.number} ended with status {status} after SIGTERM, after {took:.1f} s"
            )
    judge = Judge(books, windows, cluster.replicas)
    judge.run()
    ledger = Ledger(books, windows, cluster)
    ledger.run()
    check_logs(books, cluster)
    return books, faults, judge, ledger


def check_logs(books, cluster):
    books.log_lines = collections.Counter()
    for replica in cluster.replicas:
        with open(f"{cluster.work}/replica-{replica.number}.log", errors="replace") as log:
            for line in log:
                for level in ("ERROR", "WARN"):
                    books.log_lines[level] += f'"{level}"' in line
                if "panicked" in line or "broken" in line and '"ERROR"' in line:
                    books.violate("log", f"replica {replica.number}: {line.strip()[:400]}")


def report(chosen, books, faults, judge, ledger):
    seconds = time.monotonic() - books.began
    requests = collections.Counter(request.what for request in books.requests)
    statuses = collections.Counter(
        {UNREACHED: "unreached", LOST: "lost"}.get(request.status, str(request.status)) for request in books.requests
    )
    changes = [change for key in books.keys for change in key.changes]
    acknowledged = collections.Counter(change.what for change in changes if change.acknowledged is not None)
    unknown = sum(not change.is_known() for change in changes)
    list_of = lambda counter: ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))
    # Each is a change and a replica that accepted requests too late.
    stale = sum(check.startswith("stale accept") for check, _ in books.violations)
    kinds = collections.Counter(check for check, _ in books.violations)
    print(f"""
Faults:               {list_of(faults.kinds)} (slowest recovery {faults.slowest:.1f} s)
Requests:             {len(books.requests)}: {list_of(requests)}
Answers:              {list_of(statuses)} (errors in fault windows: {judge.errors_in_faults})
Acknowledged changes: {sum(acknowledged.values())}: {list_of(acknowledged)}; keys in the database: {len(ledger.rows)}
Unknown outcomes:     {unknown} changes, {statuses["lost"]} requests
Stale accepts:        {stale} beyond the promise; by other replicas within it: {judge.describe_lags()}
Counts:               {ledger.counted} counted, {ledger.lost} lost of {ledger.allowed} allowed, {ledger.extra} more than answered
Audit log:            {ledger.audit}
Log of the replicas:  {list_of(books.log_lines)}
Duration:             {seconds:.0f} s on {chosen.database}, {chosen.replicas} replicas, seed {chosen.seed}
Violations:           {len(books.violations)}{": " if kinds else ""}{list_of(kinds)}""")
    if books.violations:
        print(f"\nTimeline of seed {chosen.seed}:")
        print("\n".join(books.timeline))
        shown = collections.Counter()
        for check, text in books.violations:
            shown[check] += 1
            if shown[check] <= SHOWN:
                print(f"VIOLATION ({check}, seed {chosen.seed}): {text}")
        for check, count in shown.items():
            if count > SHOWN:
                print(f"… and {count - SHOWN} more of {check}")


def end(*_):
    raise SystemExit(130)


def handle_signals(handler):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def main():
    chosen = options()
    # Threads of the load should not wait long for each other.
    sys.setswitchinterval(0.002)
    cluster = Cluster(chosen.binary, chosen.database, chosen.replicas)
    handle_signals(end)
    keep = True
    try:
        result = play(chosen, cluster)
        report(chosen, *result)
        failed = bool(result[0].violations)
        keep = failed or chosen.keep
    except SystemExit as exit:
        keep = exit.code != 130
        raise
    finally:
        handle_signals(signal.SIG_IGN)
        cluster.stop()
        if keep:
            print(f"The logs are in {cluster.work}.")
        else:
            cluster.remove()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
