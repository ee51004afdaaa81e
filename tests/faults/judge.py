"""Compares the answers with what was acknowledged before them."""

import collections
import dataclasses

from books import LOST, UNREACHED

# KEYDESK_MAX_STALENESS, and how much later than that a replica may accept a request.
STALENESS = 5.0
TOLERANCE = 0.5


@dataclasses.dataclass(slots=True, eq=False)
class Closure:
    """Why a secret stops working, from when it may and from when it must be refused."""

    change: object
    may: float
    # For the replica that acknowledged it, and for others; None if no one did.
    must: float = None
    must_elsewhere: float = None
    # The change that lets the secret work again.
    reopened: object = None


def closures(key, secret):
    found, disabled = [], None
    for change in key.changes:
        if not change.is_possible():
            continue
        sure = change.acknowledged
        closure = Closure(change, change.begin, sure, sure and sure + STALENESS + TOLERANCE)
        if change.what == "revoke":
            found.append(closure)
        elif change.what == "disable":
            found.append(closure)
            disabled = closure
        elif change.what == "enable" and disabled:
            disabled.reopened = change
        elif change is secret.replaced_by:
            found.append(overlapping(closure, secret) if change.overlap else closure)
    return found


def overlapping(closure, secret):
    """The end of an overlap, which the database holds in whole seconds."""
    if secret.ends is None:
        return Closure(closure.change, closure.may + closure.change.overlap - 1.05)
    return Closure(
        closure.change, secret.ends - 0.05, max(secret.ends, closure.must), max(secret.ends, closure.must_elsewhere)
    )


class Judge:
    """Goes through all requests."""

    def __init__(self, books, windows, replicas):
        self.books, self.windows, self.replicas = books, windows, replicas
        self.closures = {}
        # The longest time after its acknowledgement for which another replica still accepted, by closure and replica.
        self.lags = collections.defaultdict(float)
        # Requests that were accepted too late, by check, closure and replica: how many, and the latest.
        self.stale = {}
        self.errors_in_faults = 0

    def run(self):
        for request in self.books.requests:
            self.check_form(request)
            if request.key is not None:
                self.check_decision(request)
        self.report_stale()
        self.note_silence()

    def violate(self, check, request, text):
        name = request.key.name if request.key else "admin"
        self.books.violate(
            check,
            f"{request.what} with {name} at replica {request.replica}, from {self.books.at(request.begin)} to "
            f"{self.books.at(request.end)}: {request.status} {request.code}: {text}",
        )

    def check_form(self, request):
        if request.fault:
            self.violate("form", request, request.fault)
        if request.status >= 500 and request.status != 503:
            self.violate("5xx", request, "only 503 is allowed")
        is_error = request.status in (UNREACHED, LOST, 408) or request.status >= 500
        if not is_error:
            return
        if self.windows.excuse(request.replica, request.begin, request.end):
            self.errors_in_faults += 1
        else:
            is_idle = request.status == LOST and request.idle > 5
            self.violate(
                "idle connection cut" if is_idle else "error without fault",
                request,
                f"no fault explains it; its connection had been idle for {request.idle:.1f} s",
            )

    def check_decision(self, request):
        key, secret = request.key, request.secret
        if secret not in self.closures:
            self.closures[secret] = closures(key, secret)
        if 0 < request.status < 400:
            for closure in self.closures[secret]:
                self.check_acceptance(request, closure)
        elif request.status == 401:
            if not any(self.may_refuse(request, closure) for closure in self.closures[secret]):
                self.violate("false refusal", request, "nothing had ended this secret")
        elif request.status not in (UNREACHED, LOST, 408, 503):
            self.violate("unexpected answer", request, "no request of the load is answered so")

    def check_acceptance(self, request, closure):
        if closure.must is None or (closure.reopened and closure.reopened.begin < request.end):
            return
        change, replica = closure.change, self.replicas[request.replica]
        # A frozen replica decides after it goes on.
        decided = self.windows.thawed(request.replica, request.begin)
        if decided <= closure.must:
            return
        own = request.replica == change.replica
        fresh = max((start for start in replica.starts if start <= request.begin), default=0) > change.acknowledged
        limit = closure.must if own or fresh else closure.must_elsewhere
        repeated = change.repeated.get(request.replica)
        if decided > limit:
            self.note_stale("stale accept", request, closure, decided - closure.must)
        elif repeated and decided > repeated:
            self.note_stale("stale accept after a repeated change", request, closure, decided - repeated)
        if not own:
            place = closure, request.replica
            self.lags[place] = max(self.lags[place], decided - closure.must)

    def note_stale(self, check, request, closure, late):
        place = check, closure, request.replica
        count, latest, last = self.stale.get(place, (0, 0, None))
        self.stale[place] = (count + 1, *max((latest, last), (late, request), key=lambda found: found[0]))

    def report_stale(self):
        """One violation for each change and replica."""
        for (check, closure, number), (count, late, request) in self.stale.items():
            change = closure.change
            told = f"replica {change.replica} at {self.books.at(change.acknowledged)}"
            if number in change.repeated:
                told += f" and by replica {number} at {self.books.at(change.repeated[number])}"
            text = f"accepted {count} times, until {late * 1000:.0f} ms late; {change.what} was acknowledged by {told}"
            self.violate(check, request, text)

    def may_refuse(self, request, closure):
        if request.end < closure.may:
            return False
        reopened = closure.reopened
        if reopened is None or reopened.acknowledged is None:
            return True
        delay = 0 if reopened.replica == request.replica else STALENESS + TOLERANCE
        return request.begin <= reopened.acknowledged + delay

    def note_silence(self):
        """Enters a lag of nothing for replicas that accepted no secret after its end."""
        for found in self.closures.values():
            for closure in found:
                if closure.must is not None and closure.change.overlap == 0:
                    for replica in self.replicas:
                        if replica.number != closure.change.replica:
                            self.lags[closure, replica.number] += 0.0

    def describe_lags(self):
        lags = sorted(self.lags.values())
        if not lags:
            return "none measured"
        part = lambda share: f"{lags[min(len(lags) - 1, int(len(lags) * share))] * 1000:.0f}"
        stale = sum(lag > 0 for lag in lags)
        parts = f"p50 {part(0.5)}, p90 {part(0.9)}, p99 {part(0.99)}, max {lags[-1] * 1000:.0f}"
        return f"{stale} of {len(lags)} times; ms: {parts}"
