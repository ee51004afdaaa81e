"""A client for all replicas that keeps its connections, and says of each request what is known of its outcome."""

import http.client
import json
import socket
import time

from books import LOST, UNREACHED, Request

PATIENCE = 40
# How long a connection is kept without a request, in seconds: a little shorter than KEYDESK_KEEP_ALIVE.
KEEP_ALIVE = 60


class Client:
    """For one thread."""

    def __init__(self, books, replicas):
        self.books, self.replicas = books, replicas
        # Each with how many processes its replica had started by then, and when it was last used.
        self.connections = {}

    def ask(self, replica, what, secret, key=None, scope="", method="GET", path="/v1/authorize", body=None, name=None):
        """Makes a request, enters it in the books and returns it with the object of its answer."""
        headers = {"Authorization": f"Bearer {secret.text}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if name:
            headers["Idempotency-Key"] = name
        begin = time.monotonic()
        request = Request(what, replica, begin, begin, UNREACHED, "", "", key, secret, scope)
        value = {}
        try:
            connection, request.idle = self._connection(replica)
        except OSError:
            request.end = time.monotonic()
            return self._enter(request, value)
        request.begin = time.monotonic()
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            request.end, request.status, request.code = time.monotonic(), LOST, type(error).__name__
            self._drop(replica)
            return self._enter(request, value)
        request.end, request.status = time.monotonic(), answer.status
        value, request.fault = read(answer, content)
        request.code = value.get("code", "") if answer.status >= 400 else ""
        if answer.will_close:
            self._drop(replica)
        else:
            self.connections[replica][2] = request.end
        return self._enter(request, value)

    def _enter(self, request, value):
        self.books.requests.append(request)
        return request, value

    def _connection(self, replica):
        """A connection, and for how long it has been idle."""
        now, starts = time.monotonic(), len(self.replicas[replica].starts)
        if replica in self.connections:
            connection, earlier, used = self.connections[replica]
            # The process that it led to may have ended.
            if earlier == starts and now - used < KEEP_ALIVE:
                return connection, now - used
            self._drop(replica)
        connection = http.client.HTTPConnection("127.0.0.1", self.replicas[replica].port, timeout=PATIENCE)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections[replica] = [connection, starts, now]
        return connection, 0.0

    def _drop(self, replica):
        self.connections.pop(replica)[0].close()


def read(answer, content):
    """The object in an answer, and what is wrong with its form."""
    try:
        value = json.loads(content) if content else {}
    except ValueError:
        return {}, f"the body is not JSON: {content[:80]!r}"
    if answer.status < 400:
        return value, ""
    kind = answer.headers.get("Content-Type", "")
    if not kind.startswith("application/problem+json"):
        return value, f"an error of type {kind!r} is no problem document: {content[:80]!r}"
    missing = [name for name in ("type", "title", "status", "detail", "code") if name not in value]
    if missing or value["status"] != answer.status:
        return value, f"a problem document without {missing}, or with another status: {content[:120]!r}"
    return value, ""
