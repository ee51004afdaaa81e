"""What the Python clients need of the running Keydesk and of the stand-in; python.test.mjs starts both."""

import json
import os
import time
import urllib.parse
import urllib.request

BASE = os.environ["KEYDESK_BASE"]
ADMIN = os.environ["KEYDESK_ADMIN_KEY"]
UPSTREAM = os.environ["UPSTREAM_BASE"]
CREDENTIAL = os.environ["UPSTREAM_CREDENTIAL"]
MESSAGES = [{"role": "user", "content": "Hello"}]
TEXT = "Hello from the upstream: grüße 你好!"
WEATHER = {
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

with open(os.path.join(os.path.dirname(__file__), "faults.json"), encoding="utf-8") as file:
    FAULTS = json.load(file)


def call(path, body=None, key=ADMIN):
    """Calls the API as an administrator."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(BASE + path, data, headers)) as answer:
        return json.load(answer)


def create(name, **body):
    """Creates a key that may call models."""
    scopes = ["inference:read", "inference:write"]
    return call("/v1/api-keys", {"name": name, "scopes": scopes, "requests_per_minute": 100_000, **body})


def books(model):
    """The calls that the stand-in received for a model."""
    with urllib.request.urlopen(UPSTREAM + "/books?model=" + urllib.parse.quote(model)) as answer:
        return json.load(answer)


def usage(key, requests):
    """The usage of a key, as soon as so many of its requests are counted."""
    deadline = time.monotonic() + 15
    while True:
        rows = [row for row in call("/v1/usage?group_by=key")["data"] if row["group"] == key["id"]]
        total = {}
        for row in rows:
            for name, value in row.items():
                if isinstance(value, int):
                    total[name] = total.get(name, 0) + value
        if total.get("requests", 0) >= requests or time.monotonic() > deadline:
            assert total.get("requests") == requests, f"{total}: each of {requests} requests is counted once"
            return total
        time.sleep(0.1)


def assert_counted(test, key, model, requests):
    """Asserts that a key was counted with exactly the tokens that the stand-in reported for its model."""
    counted = usage(key, requests)
    calls = books(model)
    test.assertEqual(len([one for one in calls if "reported" in one]), requests, "the upstream was asked for usage")
    for name in ["input", "output"]:
        test.assertEqual(counted[f"{name}_tokens"], sum(one["reported"][name] for one in calls), name)
