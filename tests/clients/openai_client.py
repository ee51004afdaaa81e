"""The openai client for Python against a running Keydesk; python.test.mjs starts both."""

import json
import os
import time
import unittest
import urllib.request

import openai

BASE = os.environ["KEYDESK_BASE"]
MESSAGES = [{"role": "user", "content": "Hello"}]


def create(name, **body):
    """Creates a key and returns its secret."""
    body = {"name": name, "scopes": ["inference:read", "inference:write"], **body}
    headers = {"Authorization": "Bearer " + os.environ["KEYDESK_ADMIN_KEY"], "Content-Type": "application/json"}
    request = urllib.request.Request(BASE + "/v1/api-keys", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["key"]


def client(key, **options):
    return openai.OpenAI(api_key=key, base_url=BASE + "/v1", **options)


class Client(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = client(create("python"))

    def test_lists_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["echo"])

    def test_chats_whole_and_streamed(self):
        whole = self.client.chat.completions.create(model="gpt-4", messages=MESSAGES)
        self.assertTrue(whole.choices[0].message.content.endswith("You said: Hello"))
        self.assertGreater(whole.usage.total_tokens, 0)
        chunks = [
            chunk.choices[0].delta.content or ""
            for chunk in self.client.chat.completions.create(model="gpt-4", messages=MESSAGES, stream=True)
        ]
        self.assertEqual("".join(chunks), whole.choices[0].message.content)
        self.assertGreater(len(chunks), 10)

    def test_completes_embeds_and_responds(self):
        completion = self.client.completions.create(model="gpt-4", prompt="Hello")
        self.assertTrue(completion.choices[0].text.endswith("Hello"))
        embeddings = self.client.embeddings.create(model="e", input=["a", "b"])
        self.assertEqual([len(entry.embedding) for entry in embeddings.data], [8, 8])
        response = self.client.responses.create(model="gpt-4", input="Hello")
        self.assertTrue(response.output_text.endswith("Hello"))
        events = self.client.responses.create(model="gpt-4", input="Hello", stream=True)
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        self.assertEqual(text, response.output_text)

    def refused(self, kind, status, code, key, **body):
        with self.assertRaises(kind) as raised:
            client(key, max_retries=0).chat.completions.create(**{"model": "gpt-4", "messages": MESSAGES, **body})
        self.assertEqual((raised.exception.status_code, raised.exception.code), (status, code))
        self.assertRegex(raised.exception.request_id, "^req_")

    def test_maps_each_refusal_to_its_class(self):
        narrow = create("narrow", requests_per_minute=1)
        self.refused(openai.AuthenticationError, 401, "invalid_token", "kd_unknown")
        reader = create("reader", scopes=["inference:read"])
        self.refused(openai.PermissionDeniedError, 403, "insufficient_scope", reader)
        self.refused(openai.BadRequestError, 400, "invalid_request", create("good"), model=5)
        client(narrow).models.list()
        self.refused(openai.RateLimitError, 429, "rate_limited", narrow)
        admin = client(os.environ["KEYDESK_ADMIN_KEY"], max_retries=0)
        with self.assertRaises(openai.NotFoundError):
            admin.get("/api-keys/key_00000000000000000000000000", cast_to=object)
        with self.assertRaises(openai.ConflictError):
            admin.post("/api-keys", body={"name": "narrow", "scopes": ["inference:read"]}, cast_to=object)
        with self.assertRaises(openai.UnprocessableEntityError):
            admin.post("/api-keys", body={"name": "none", "scopes": []}, cast_to=object)

    def test_waits_as_long_as_it_is_told_and_then_succeeds(self):
        patient = client(create("slow", requests_per_minute=30), max_retries=3)
        started = time.monotonic()
        for _ in range(31):
            patient.models.list()
        # The thirty-first has to wait for a token, of which one comes every two seconds.
        self.assertGreaterEqual(time.monotonic() - started, 1)


if __name__ == "__main__":
    unittest.main()
