"""The load: threads that use keys and change them, and threads that present secrets that have just stopped working."""

import queue
import random
import threading
import time

from books import UNREACHED
from client import Client
from worker import FEWEST_LIVING, Worker

WORKERS = 40
PROBERS = 4
# How many requests wait for one replica at once, so that a frozen one does not stop all workers.
SLOTS = 10
# How long secrets that stopped working are presented again and again, in seconds.
INTEREST = 9


class Load:
    """Runs from start() to stop()."""

    def __init__(self, books, replicas, seed, rate):
        self.books, self.replicas, self.seed, self.rate = books, replicas, seed, rate
        self.slots = [threading.Semaphore(SLOTS) for _ in replicas]
        self.stopping = threading.Event()
        self.probes = queue.Queue()
        self.count = 0
        self.names = threading.Lock()
        # Clock times of answers, such as the end of an overlap, on the monotonic clock.
        self.clock = time.time() - time.monotonic()

    def start(self):
        first = Worker(self, random.Random(f"{self.seed} begin"))
        for _ in range(FEWEST_LIVING):
            first.create()
        acts = [self.work] * WORKERS + [self.probe] * PROBERS
        self.threads = [threading.Thread(target=act, args=(number,), daemon=True) for number, act in enumerate(acts)]
        for thread in self.threads:
            thread.start()

    def stop(self):
        """Ends the load and waits for the last answers. Creations with an idempotency key are brought to an end."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        worker = Worker(self, random.Random(f"{self.seed} end"))
        for key in list(self.books.keys):
            if key.made is None and key.idempotency and key.changes[0].may_be_made:
                worker.create(key)

    def work(self, number):
        rng = random.Random(f"{self.seed} worker {number}")
        worker = Worker(self, rng)
        while not self.stopping.wait(rng.expovariate(self.rate / WORKERS)):
            worker.step()

    def probe(self, number):
        """Asks the replica that acknowledged the end of a secret, then the others until they refuse it."""
        rng = random.Random(f"{self.seed} prober {number}")
        client = Client(self.books, self.replicas)
        while not self.stopping.is_set():
            try:
                key, secret, change = self.probes.get(timeout=0.2)
            except queue.Empty:
                self.probe_any(client, rng)
                continue
            client.ask(change.replica, "probe", secret, key)
            others = [replica.number for replica in self.replicas if replica.number != change.replica]
            end = time.monotonic() + INTEREST
            while others and time.monotonic() < end and not self.stopping.is_set():
                other = rng.choice(others)
                request, _ = client.ask(other, "probe", secret, key)
                # A replica that is down has nothing to forget. One that can't answer yet is asked again.
                if request.status in (401, UNREACHED) or change is not key.changes[-1]:
                    others.remove(other)
                else:
                    time.sleep(0.005)

    def probe_any(self, client, rng):
        closed = self.recently_closed(rng)
        if closed:
            client.ask(rng.randrange(len(self.replicas)), "probe", closed[1], closed[0])

    def recently_closed(self, rng):
        closed = self.books.closed
        if not closed:
            return None
        found = closed[-rng.randint(1, min(60, len(closed)))]
        return found if time.monotonic() - found[2] < INTEREST else None
