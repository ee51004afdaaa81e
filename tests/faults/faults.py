"""Seeded faults, one after the other, each healed before the next."""

import collections
import random
import signal
import sqlite3
import time

from cluster import READY_WITHIN, signal_pid

# For how long after a process is ready again an error may still come from its fault, in seconds.
GRACE = 2.0


class Faults:
    """Breaks things and puts them right again."""

    def __init__(self, cluster, books, windows, seed):
        self.cluster, self.books, self.windows = cluster, books, windows
        self.rng = random.Random(f"{seed} faults")
        self.kinds = collections.Counter()
        self.slowest = 0.0
        self.deck = []
        self.all = [
            self.kill,
            self.kill,
            self.terminate,
            self.freeze,
            self.freeze,
            self.lose_valkey,
            self.freeze_valkey,
            self.kill_all,
        ]
        if cluster.postgres:
            self.all += [
                self.crash_database,
                self.crash_database,
                self.freeze_database,
                self.freeze_database,
                self.freeze_half_database,
                self.cut_connections,
                self.cut_connections,
                self.kill_in_frozen_database,
            ]
        else:
            self.all += [self.lock_database]

    def play(self, until):
        while True:
            pause = self.rng.uniform(1.5, 5)
            if time.monotonic() + pause + 3 > until:
                return time.sleep(max(0, until - time.monotonic()))
            time.sleep(pause)
            if not self.deck:
                self.deck = self.rng.sample(self.all, len(self.all))
            fault = self.deck.pop()
            self.kinds[fault.__name__] += 1
            fault()

    def replica(self):
        return self.rng.choice(self.cluster.replicas)

    def await_ready(self, replicas):
        for replica in replicas:
            took = replica.await_ready(READY_WITHIN)
            if took is None:
                self.books.violate(
                    "recovery",
                    f"replica {replica.number} is not ready {READY_WITHIN} s later, "
                    f"at {self.books.at(time.monotonic())}",
                )
                replica.await_ready(120)
            self.slowest = max(self.slowest, took or READY_WITHIN)

    def excuse(self, which, begin):
        self.windows.errors.append((which, begin - 0.05, time.monotonic() + GRACE))

    def end_of_database_fault(self, begin):
        self.windows.database.append((begin, time.monotonic()))
        self.await_ready(self.cluster.replicas)
        self.excuse(None, begin)

    def kill(self, replica=None, pause=None):
        replica = replica or self.replica()
        begin = time.monotonic()
        self.windows.kills.append((replica.number, begin))
        replica.kill()
        pause = self.rng.uniform(0.1, 3) if pause is None else pause
        self.books.note(f"kill -9 replica {replica.number}, started again after {pause:.1f} s")
        time.sleep(pause)
        replica.start()
        self.await_ready([replica])
        self.excuse(replica.number, begin)

    def kill_all(self):
        begin = time.monotonic()
        for replica in self.cluster.replicas:
            self.windows.kills.append((replica.number, time.monotonic()))
            replica.kill()
        self.books.note("kill -9 all replicas")
        for replica in self.cluster.replicas:
            replica.start()
        self.await_ready(self.cluster.replicas)
        self.excuse(None, begin)

    def terminate(self):
        replica = self.replica()
        begin = time.monotonic()
        status, took = replica.terminate()
        self.books.note(f"SIGTERM to replica {replica.number}: status {status} after {took:.1f} s")
        if status != 0:
            self.books.violate(
                "stop", f"replica {replica.number} ended with status {status} after SIGTERM, after {took:.1f} s"
            )
        replica.start()
        self.await_ready([replica])
        self.excuse(replica.number, begin)

    def freeze(self):
        replica, pause = self.replica(), self.rng.uniform(1, 8)
        self.books.note(f"freeze replica {replica.number} for {pause:.1f} s")
        begin = time.monotonic()
        replica.signal(signal.SIGSTOP)
        time.sleep(pause)
        self.windows.frozen.append((replica.number, begin, time.monotonic()))
        replica.signal(signal.SIGCONT)
        if self.cluster.postgres:
            self.await_ready([replica])
            return self.excuse(replica.number, begin)
        # It may have held the only lock for writing.
        self.end_of_database_fault(begin)

    def lose_valkey(self):
        pause = self.rng.uniform(0.2, 5)
        self.books.note(f"kill -9 Valkey, started again after {pause:.1f} s")
        self.cluster.valkey.kill()
        time.sleep(pause)
        self.cluster.valkey.start()
        self.await_ready(self.cluster.replicas)

    def freeze_valkey(self):
        pause = self.rng.uniform(0.5, 4)
        self.books.note(f"freeze Valkey for {pause:.1f} s")
        self.cluster.valkey.pause(pause)
        self.await_ready(self.cluster.replicas)

    def crash_database(self):
        pause = self.rng.choice([0, self.rng.uniform(0, 8)])
        self.books.note(f"immediate stop of PostgreSQL, started again after {pause:.1f} s")
        begin = time.monotonic()
        self.cluster.postgres.crash()
        time.sleep(pause)
        self.cluster.postgres.start()
        self.end_of_database_fault(begin)

    def freeze_children(self, act, part=1.0):
        begin = time.monotonic()
        children = self.cluster.postgres.children()
        frozen = self.rng.sample(children, int(len(children) * part))
        for pid in frozen:
            signal_pid(pid, signal.SIGSTOP)
        act()
        for pid in frozen:
            signal_pid(pid, signal.SIGCONT)
        self.end_of_database_fault(begin)

    def freeze_database(self):
        pause = self.rng.uniform(1, 8)
        self.books.note(f"freeze the processes of PostgreSQL for {pause:.1f} s")
        self.freeze_children(lambda: time.sleep(pause))

    def freeze_half_database(self):
        pause = self.rng.uniform(1, 8)
        self.books.note(f"freeze every second process of PostgreSQL for {pause:.1f} s")
        self.freeze_children(lambda: time.sleep(pause), 0.5)

    def kill_in_frozen_database(self):
        replica, pauses = self.replica(), [self.rng.uniform(0.5, 3), self.rng.uniform(0.5, 3)]
        self.books.note(
            f"freeze the processes of PostgreSQL, kill replica {replica.number} after {pauses[0]:.1f} s, "
            f"go on {pauses[1]:.1f} s later"
        )

        def act():
            time.sleep(pauses[0])
            self.windows.kills.append((replica.number, time.monotonic()))
            replica.kill()
            time.sleep(pauses[1])
            replica.start()

        self.freeze_children(act)

    def cut_connections(self):
        self.books.note("pg_terminate_backend of all connections")
        begin = time.monotonic()
        self.cluster.postgres.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        self.end_of_database_fault(begin)

    def lock_database(self):
        pause = self.rng.uniform(1, 8)
        self.books.note(f"hold the lock of SQLite for writing for {pause:.1f} s")
        begin = time.monotonic()
        connection = sqlite3.connect(self.cluster.sqlite_file, timeout=20, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(pause)
        connection.execute("ROLLBACK")
        connection.close()
        self.end_of_database_fault(begin)
