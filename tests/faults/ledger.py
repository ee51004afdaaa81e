"""Compares the books with the database: keys, counts and the audit log."""

import collections
import json

from books import LOST, id_digits

REFUSED_CODES = ("key_revoked", "key_disabled", "key_superseded", "key_expired")
# How long before a kill counts may be lost: they are written once a second. The longer one is for a database
# that was faulty then.
LOSS = 1.2
LOSS_AFTER_FAULT = 2.0


class Ledger:
    """The database at the end, when no replica is running."""

    def __init__(self, books, windows, cluster):
        self.books, self.windows, self.cluster = books, windows, cluster
        self.lost, self.allowed, self.extra, self.counted = 0, 0, 0, 0
        # When the requests of a key, scope and outcome were answered, where counts are missing.
        self.suspects = {}

    def run(self):
        self.check_keys()
        self.check_counts()
        self.check_audit()

    def check_keys(self):
        rows = self.cluster.query(
            "SELECT HEX(id), name, CASE WHEN revoked_at IS NULL THEN 0 ELSE 1 END,"
            " CASE WHEN disabled_at IS NULL THEN 0 ELSE 1 END FROM api_keys"
        )
        self.rows = {row[0]: row[1:] for row in rows}
        names = collections.Counter(row[1] for row in rows)
        asked = {key.name: key for key in self.books.keys}
        for name, count in names.items():
            if name != "load" and (name not in asked or not asked[name].changes[0].is_possible()):
                self.books.violate(
                    "keys", f"{name} exists, but nobody asked for it, or every answer said that nothing was changed"
                )
            if count > 1:
                self.books.violate("keys", f"{name} exists {count} times")
        for key in self.books.known:
            row = self.rows.get(id_digits(key.id))
            if row is None or row[0] != key.name:
                self.books.violate("keys", f"{key.name} {key.id} was acknowledged and does not exist")
                continue
            for mark, value in (("revoked", row[1]), ("disabled", row[2])):
                if (value == "1") not in key.may_be(mark):
                    history = [
                        (change.what, change.acknowledged and self.books.at(change.acknowledged), change.may_be_made)
                        for change in key.changes
                    ]
                    self.books.violate(
                        "changes",
                        f"{key.name} is {'' if value == '1' else 'not '}{mark} at the end; changes: {history}",
                    )

    def check_counts(self):
        """Compares what was answered with what is counted, by key, scope and outcome."""
        admin = next(digits for digits, row in self.rows.items() if row[0] == "load")
        names = {id_digits(key.id): key.name for key in self.books.known} | {admin: "the admin key"}
        answered, unknown, losable = collections.Counter(), collections.Counter(), collections.Counter()
        times = collections.defaultdict(list)
        spans = [self.loss_of(*kill) for kill in self.windows.kills]
        for request in self.books.requests:
            digits = id_digits(request.key.id) if request.key else admin
            if request.status == LOST:
                unknown[digits, request.scope] += 1
                continue
            outcome = "ok" if 0 < request.status < 400 else "client_errors" if request.code in REFUSED_CODES else None
            if outcome:
                place = digits, request.scope, outcome
                answered[place] += 1
                times[place].append(request.end)
                losable[place] += any(
                    replica == request.replica and first < request.end <= last for replica, first, last in spans
                )
        rows = self.cluster.query(
            "SELECT HEX(key_id), scope, outcome, SUM(requests) FROM all_usage_counts"
            " WHERE width = 86400 GROUP BY key_id, scope, outcome"
        )
        counted = collections.Counter({(digits, scope, outcome): int(count) for digits, scope, outcome, count in rows})
        self.counted, self.allowed = sum(counted.values()), sum(losable.values())
        for place in set(answered) | {place for place in counted if place[2] in ("ok", "client_errors")}:
            digits, scope, outcome = place
            if digits == admin and outcome != "ok" or digits not in names:
                continue
            self.lost += max(0, answered[place] - counted[place])
            self.extra += max(0, counted[place] - answered[place])
            most = answered[place] + unknown[digits, scope]
            if not answered[place] - losable[place] <= counted[place] <= most:
                self.books.violate(
                    "counts",
                    f"{names[digits]}, scope {scope or 'none'}, {outcome}: answered {answered[place]}, "
                    f"counted {counted[place]}; a kill may have lost {losable[place]}, "
                    f"{unknown[digits, scope]} more may be counted",
                )
                if counted[place] < answered[place] - losable[place]:
                    self.suspects[place] = times[place]
        self.explain_loss()

    def explain_loss(self):
        """Names the shortest time in which each key whose counts are missing made a request: the lost batch, if it
        was one."""
        if len(self.suspects) < 3:
            return
        moments = sorted((moment, place) for place, times in self.suspects.items() for moment in times)
        within, first, best = collections.Counter(), 0, None
        for moment, place in moments:
            within[place] += 1
            while within[moments[first][1]] > 1:
                within[moments[first][1]] -= 1
                first += 1
            span = moment - moments[first][0], moments[first][0]
            if len(within) == len(self.suspects) and (best is None or span < best):
                best = span
        length, begin = best
        self.books.note(f"all {len(self.suspects)} missing counts fit into {length:.2f} s from {self.books.at(begin)}")

    def loss_of(self, replica, moment):
        """The span before a kill whose counts may be lost. Freezes and faults of the database lengthen it."""
        first = moment
        for which, begin, end in self.windows.frozen:
            if which == replica and begin <= first <= end:
                first = begin
        allowance = LOSS
        for begin, end in self.windows.database:
            if begin <= first <= end + LOSS_AFTER_FAULT:
                first, allowance = min(first, begin), LOSS_AFTER_FAULT
        return replica, first - allowance, moment + 0.05

    def check_audit(self):
        verified = self.cluster.command("audit", "verify", check=False)
        self.audit = verified.stdout.strip().replace("\n", "; ")
        if verified.returncode != 0:
            self.books.violate("audit", f"keydesk audit verify: status {verified.returncode}: {self.audit}")
        exported = self.cluster.command("audit", "export", "--org", "faults", check=False)
        if exported.returncode != 0:
            return self.books.violate("audit", f"keydesk audit export: status {exported.returncode}")
        entries = [json.loads(line) for line in exported.stdout.splitlines()]
        said = [json.loads(line["entry"]) for line in entries if "entry" in line]
        self.entries = collections.Counter(entry["action"] for entry in said)
        made = collections.Counter(
            (entry["action"], id_digits(entry["target"])) for entry in said if entry["action"].startswith("key.")
        )
        for digits, (name, revoked, _) in self.rows.items():
            if made["key.created", digits] != 1:
                self.books.violate("audit", f"{name} has {made['key.created', digits]} entries key.created")
            if made["key.revoked", digits] != int(revoked):
                self.books.violate(
                    "audit",
                    f"{name} has {made['key.revoked', digits]} entries key.revoked, and its row says {revoked}",
                )
        for action, digits in made:
            if digits not in self.rows:
                self.books.violate("audit", f"an entry {action} is about a key that does not exist: {digits}")
        for key in self.books.known:
            for what, action in (("disable", "key.disabled"), ("enable", "key.enabled"), ("rotate", "key.rotated")):
                changes = [change for change in key.changes if change.what == what]
                least = sum(change.acknowledged is not None for change in changes)
                most = sum(change.is_possible() for change in changes)
                if not least <= made[action, id_digits(key.id)] <= most:
                    self.books.violate(
                        "audit",
                        f"{key.name} has {made[action, id_digits(key.id)]} entries {action}, not {least} to {most}",
                    )
