"""What the load generator knows: every request it made, and every change it asked for."""

import dataclasses
import threading
import time

# Statuses of requests without an answer. A refused connection reached no one; after a lost one no one knows.
UNREACHED = 0
LOST = -1

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def id_digits(public_id):
    """The hexadecimal digits, in capitals, under which the database holds an identifier."""
    value = 0
    for letter in public_id.split("_", 1)[1]:
        value = value << 5 | ALPHABET.index(letter)
    return f"{value:032X}"


@dataclasses.dataclass(slots=True)
class Request:
    """A request and its answer. Times are of the monotonic clock, in seconds."""

    what: str
    replica: int
    begin: float
    end: float
    status: int
    # The code of a problem document, or the name of the error that lost the answer.
    code: str
    # What is wrong with the form of the answer, or nothing.
    fault: str
    # The key and the secret that it was made with; the admin key makes the changes.
    key: object = None
    secret: object = None
    scope: str = ""
    # For how long its connection had been without a request.
    idle: float = 0.0


@dataclasses.dataclass(slots=True, eq=False)
class Secret:
    """A secret that an answer showed."""

    text: str
    # When that answer arrived.
    made: float
    # When the old secret of a rotation stops working.
    ends: float = None
    # The rotation that replaced it.
    replaced_by: object = None


@dataclasses.dataclass(slots=True, eq=False)
class Change:
    """A change, with all attempts to make it."""

    what: str
    begin: float
    # When it was acknowledged, and by which replica.
    acknowledged: float = None
    replica: int = None
    # Whether an attempt may have made it although no one acknowledged it.
    may_be_made: bool = False
    overlap: int = 0
    # Other replicas that acknowledged the same change when it was sent again, and when.
    repeated: dict = dataclasses.field(default_factory=dict)

    def is_known(self):
        return self.acknowledged is not None or not self.may_be_made

    def is_possible(self):
        return self.acknowledged is not None or self.may_be_made


class Key:
    """A key that the load generator asked for."""

    def __init__(self, name, scopes):
        self.name, self.scopes = name, scopes
        self.id, self.made, self.secrets, self.changes = None, None, [], []
        # Whoever changes the key holds this.
        self.lock = threading.Lock()
        # An idempotency key under which its creation is retried until it is acknowledged.
        self.idempotency = None

    def current(self):
        return self.secrets[-1]

    def state(self):
        """active, disabled, revoked, or unknown when a change got no answer."""
        state = "active"
        for change in self.changes:
            if not change.is_known():
                return "unknown"
            if change.acknowledged is not None and change.what in ("revoke", "disable", "enable"):
                state = {"revoke": "revoked", "disable": "disabled", "enable": "active"}[change.what]
        return state

    def may_be(self, mark):
        """The truth values that the key's row may have in the column of revocation or disabling."""
        values = {False}
        for change in self.changes:
            value = {("revoked", "revoke"): True, ("disabled", "disable"): True, ("disabled", "enable"): False}
            if (mark, change.what) in value and change.is_possible():
                new = value[mark, change.what]
                values = {new} if change.acknowledged is not None else values | {new}
        return values


class Books:
    """Everything, in memory. Appending to a list needs no lock in Python."""

    def __init__(self, admin):
        self.admin = Secret(admin, 0.0)
        self.requests, self.keys, self.violations, self.timeline = [], [], [], []
        # Keys whose creation was acknowledged.
        self.known = []
        # Secrets that stopped working lately: (key, secret, when).
        self.closed = []
        self.began = time.monotonic()

    def note(self, text):
        """Adds a line to the timeline of faults."""
        self.timeline.append(f"{time.monotonic() - self.began:8.2f} s  {text}")

    def violate(self, check, text):
        self.violations.append((check, text))

    def at(self, moment):
        return f"{moment - self.began:.3f} s"


class Windows:
    """Spans of time in which a fault may show, each for one replica or, with None, for all of them."""

    def __init__(self):
        self.errors, self.database, self.frozen, self.kills = [], [], [], []

    def excuse(self, replica, begin, end):
        """Whether an error of this replica between the two times may come from a fault."""
        return any(which in (None, replica) and first <= end and begin <= last for which, first, last in self.errors)

    def thawed(self, replica, begin):
        """The earliest time at which a replica can have decided about a request that began then."""
        ends = [last for which, first, last in self.frozen if which == replica and first <= begin < last]
        return max([begin, *ends])
