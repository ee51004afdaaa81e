"""What one thread of the load does: it uses keys at random, changes them, and enters what it learns in the books."""

import calendar
import time

from books import LOST, UNREACHED, Change, Key, Secret
from client import Client

FEWEST_LIVING, MOST_LIVING = 10, 80
# How many of the latest keys are used.
RECENT = 400
# The part of acknowledged changes that are sent once more.
REPEATED = 0.25
SCOPES = ["inference:read", "inference:write"]
# How a 503 says that it left everything as it was.
NOTHING_CHANGED = "Nothing was changed"


class Worker:
    """One thread's part of the load."""

    def __init__(self, load, rng):
        self.load, self.books, self.rng = load, load.books, rng
        self.client = Client(load.books, load.replicas)

    def ask(self, *arguments, replica=None, **named):
        """Asks a random replica, rather one for which few are waiting."""
        order = self.rng.sample(range(len(self.load.slots)), len(self.load.slots)) if replica is None else [replica]
        for number in order:
            if self.load.slots[number].acquire(blocking=False):
                break
        else:
            number = order[0]
            self.load.slots[number].acquire()
        try:
            request, value = self.client.ask(number, *arguments, **named)
        finally:
            self.load.slots[number].release()
        if request.status == UNREACHED:
            time.sleep(0.02)
        return request, value

    def step(self):
        acts = [(62, self.authorize), (22, self.infer), (9, self.create_or_revoke), (4, self.rotate), (3, self.toggle)]
        act = self.rng.choices([act for _, act in acts], [weight for weight, _ in acts])[0]
        act()

    def create_or_revoke(self):
        living = sum(key.state() == "active" for key in self.books.known[-RECENT:])
        likelihood = 1 if living < FEWEST_LIVING else 0.15 if living > MOST_LIVING else 0.55
        if self.rng.random() < likelihood:
            self.create()
        else:
            self.revoke()

    def living(self):
        """A key that works, as far as is known."""
        for _ in range(30):
            key = self.rng.choice(self.books.known[-RECENT:])
            if key.state() == "active":
                return key
        return None

    def authorize(self):
        kind = self.rng.random()
        found = self.load.recently_closed(self.rng) if kind < 0.25 else None
        key = found[0] if found else self.living()
        if not key:
            return
        secret = found[1] if found else self.rng.choice(key.secrets[-2:])
        scope = self.rng.choice(["", "inference:read", "inference:write"])
        self.ask("authorize", secret, key, scope, path=f"/v1/authorize?scope={scope}" if scope else "/v1/authorize")

    def infer(self):
        key = self.living()
        if key:
            body = {"model": "echo", "prompt": "Hello"}
            self.ask(
                "inference",
                self.rng.choice(key.secrets[-2:]),
                key,
                "inference:write",
                method="POST",
                path="/v1/inference",
                body=body,
            )

    def change(self, change, path, body, method="POST", name=None, retry=True):
        """Tries a change until the answer is known, or gives up. Returns the object of the answer."""
        attempts = 200 if retry else 1
        for attempt in range(attempts):
            request, value = self.ask(
                "change", self.books.admin, scope="admin", method=method, path=path, body=body, name=name
            )
            if request.status < 400 and request.status > 0:
                change.acknowledged, change.replica = request.end, request.replica
                return value
            unmade = request.status == UNREACHED or request.status == 503 and NOTHING_CHANGED in value.get("detail", "")
            if request.status == LOST or request.status == 503 and not unmade:
                change.may_be_made = True
            elif not unmade and request.code != "idempotency_conflict":
                self.books.violate(
                    "unexpected answer",
                    f"{change.what} {path}: {request.status} {value} from replica {request.replica}, "
                    f"attempt {attempt + 1}, at {self.books.at(request.end)}",
                )
                return None
            if self.load.stopping.is_set() and not name:
                return None
            time.sleep(self.rng.uniform(0.02, 0.3))
        return None

    def create(self, key=None):
        books, rng = self.books, self.rng
        if key is None:
            with self.load.names:
                self.load.count += 1
                key = Key(f"load-{self.load.count}", SCOPES)
            if rng.random() < 0.6:
                key.idempotency = f"create.{self.load.seed}.{key.name}"
            key.changes.append(Change("create", time.monotonic()))
            books.keys.append(key)
        change = key.changes[0]
        body = {"name": key.name, "scopes": key.scopes, "requests_per_minute": 1000000}
        made = self.change(change, "/v1/api-keys", body, name=key.idempotency, retry=bool(key.idempotency))
        if made and key.made is None:
            key.id, key.made = made["id"], change.acknowledged
            if not made.get("key"):
                return books.violate("create", f"{key.name} was acknowledged without its secret: {made}")
            key.secrets.append(Secret(made["key"], change.acknowledged))
            books.known.append(key)
            if key.idempotency and rng.random() < REPEATED:
                self.create_again(key, body)

    def create_again(self, key, body):
        """Sends an acknowledged creation again: the answer must repeat key and secret."""
        again = Change("repeat", time.monotonic())
        made = self.change(again, "/v1/api-keys", body, name=key.idempotency, retry=False)
        if made and (made["id"], made.get("key")) != (key.id, key.secrets[0].text):
            self.books.violate(
                "create", f"{key.name} was made again by the same Idempotency-Key: {key.id} and {made['id']}"
            )

    def act_on(self, key, what, path, body, method="POST", name=None, retry=None, overlap=0):
        """Makes a change of a key whose lock is held. Returns the change and the object of the answer."""
        change = Change(what, time.monotonic(), overlap=overlap)
        key.changes.append(change)
        retry = self.rng.random() < 0.8 if retry is None else retry
        value = self.change(change, f"/v1/api-keys/{key.id}{path}", body, method, name, retry)
        return change, value

    def repeat(self, key, secret, change, path, body, method="POST", name=None):
        """Sends an acknowledged change to another replica too, which has to refuse the secret from its answer on."""
        others = [replica.number for replica in self.load.replicas if replica.number != change.replica]
        if not others or self.rng.random() > REPEATED:
            return
        other = self.rng.choice(others)
        request, value = self.ask(
            "change",
            self.books.admin,
            replica=other,
            scope="admin",
            method=method,
            path=f"/v1/api-keys/{key.id}{path}",
            body=body,
            name=name,
        )
        if 0 < request.status < 400:
            change.repeated[other] = request.end
            self.ask("probe", secret, key, replica=other)
            if value.get("key", key.current().text) != key.current().text:
                self.books.violate("rotate", f"{key.name} was rotated again by the same Idempotency-Key")
        elif request.status not in (LOST, UNREACHED, 503):
            self.books.violate("unexpected answer", f"{change.what} of {key.name} again: {request.status} {value}")

    def close(self, key, secrets, change):
        """Presents secrets that have just stopped working to every replica."""
        for secret in secrets:
            self.books.closed.append((key, secret, change.acknowledged))
        if secrets:
            self.load.probes.put((key, secrets[-1], change))

    def revoke(self):
        key = self.living()
        if key and key.lock.acquire(blocking=False):
            with Held(key):
                if key.state() != "active":
                    return
                change, value = self.act_on(key, "revoke", "/revoke", None)
                if value:
                    self.repeat(key, key.current(), change, "/revoke", None)
                    self.close(key, key.secrets[-2:], change)

    def toggle(self):
        disabled = [key for key in self.books.known[-RECENT:] if key.state() == "disabled"]
        enable = bool(disabled) and self.rng.random() < 0.55
        key = self.rng.choice(disabled) if enable else self.living()
        if key and key.lock.acquire(blocking=False):
            with Held(key):
                if key.state() != ("disabled" if enable else "active"):
                    return
                what = "enable" if enable else "disable"
                change, value = self.act_on(key, what, "", {"disabled": not enable}, method="PATCH")
                if value and not enable:
                    self.repeat(key, key.current(), change, "", {"disabled": True}, method="PATCH")
                    self.close(key, key.secrets[-1:], change)

    def rotate(self):
        key = self.living()
        if key and key.lock.acquire(blocking=False):
            with Held(key):
                old = key.current()
                before = key.secrets[-2] if len(key.secrets) > 1 else None
                # One rotation is open at a time.
                is_open = before and before.ends and before.ends + 1 > time.monotonic()
                if key.state() != "active" or is_open:
                    return
                overlap = self.rng.choice([0, 0, 2, 4])
                has_name = self.rng.random() < 0.7
                name = f"rotate.{self.load.seed}.{key.name}.{len(key.changes)}" if has_name else None
                change, value = self.act_on(
                    key, "rotate", "/rotate", {"overlap": f"{overlap}s"}, name=name, retry=has_name, overlap=overlap
                )
                old.replaced_by = change if change.is_possible() else None
                if not value:
                    return
                if not value.get("key"):
                    return self.books.violate("rotate", f"{key.name} was rotated without a new secret: {value}")
                if overlap:
                    ends = value["rotation"]["ends_at"] if value["rotation"] else None
                    old.ends = seconds(ends) - self.load.clock if ends else change.acknowledged
                key.secrets.append(Secret(value["key"], change.acknowledged))
                if not overlap:
                    if name:
                        self.repeat(key, old, change, "/rotate", {"overlap": "0s"}, name=name)
                    self.close(key, [old], change)


class Held:
    """Releases a key's lock."""

    def __init__(self, key):
        self.key = key

    def __enter__(self):
        return self.key

    def __exit__(self, *_):
        self.key.lock.release()


def seconds(text):
    """The seconds of a UTC time such as 2026-11-30T08:00:00Z after the Unix epoch."""
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
