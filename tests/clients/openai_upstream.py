"""The openai client for Python against an upstream that fails in the ways that upstreams do, with and without Keydesk."""

import asyncio
import json
import unittest

import openai
import pydantic

from desk import BASE, CREDENTIAL, FAULTS, MESSAGES, TEXT, UPSTREAM, WEATHER, assert_counted, books, create, usage

TOOLS = [{"type": "function", "function": WEATHER}]


class Trip(pydantic.BaseModel):
    city: str
    days: int


def client(key, **options):
    return openai.OpenAI(api_key=key["key"], base_url=BASE + "/v1", **options)


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


class Answers(unittest.TestCase):
    def test_lists_and_retrieves_models(self):
        models = client(create("py-models")).models
        self.assertEqual([model.id for model in models.list()], ["ok", "vendor/model"])
        self.assertEqual(models.retrieve("vendor/model").id, "vendor/model")
        with self.assertRaises(openai.NotFoundError):
            models.retrieve("nothing")

    def test_each_kind_of_call_is_answered_and_counted_exactly(self):
        key = create("py-kinds")
        model = "ok@py-kinds"
        ours = client(key)
        chat = ours.chat.completions
        called = chat.create(model=model, messages=MESSAGES, tools=TOOLS).choices[0].message.tool_calls[0]
        self.assertEqual(json.loads(called.function.arguments), {"city": "Oslo"})
        parsed = chat.parse(model=model, messages=MESSAGES, response_format=Trip)
        self.assertEqual(parsed.choices[0].message.parsed, Trip(city="Oslo", days=3))
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        seen = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}]
        self.assertEqual(chat.create(model=model, messages=seen, n=2).choices[1].message.content, TEXT)
        self.assertEqual(books(model)[-1]["body"]["messages"], seen)
        raw = chat.with_raw_response.create(model=model, messages=MESSAGES)
        self.assertRegex(raw.headers["x-request-id"], "^req_")
        self.assertEqual(raw.parse().choices[0].message.content, TEXT)
        vectors = ours.embeddings.create(model=model, input=["a", "b"]).data
        self.assertEqual([vector.embedding[4] for vector in vectors], [4 / 4096] * 2)
        self.assertEqual(ours.responses.create(model=model, input="Hello").output_text, TEXT)
        self.assertEqual(ours.responses.parse(model=model, input="Hello", text_format=Trip).output_parsed.days, 3)
        self.assertEqual(ours.completions.create(model=model, prompt="Hello").choices[0].text, TEXT)
        assert_counted(self, key, model, 8)

    def test_each_kind_of_stream_is_answered_and_counted_exactly(self):
        key = create("py-streams")
        model = "ok@py-streams"
        ours = client(key)
        plain = list(ours.chat.completions.create(model=model, messages=MESSAGES, stream=True))
        self.assertEqual(text_of(plain), TEXT)
        self.assertTrue(all(chunk.choices and chunk.usage is None for chunk in plain))
        asked = ours.chat.completions.create(
            model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        self.assertEqual(len([chunk for chunk in asked if chunk.usage]), 1)
        with ours.chat.completions.stream(model=model, messages=MESSAGES, tools=TOOLS) as stream:
            stream.until_done()
            called = stream.get_final_completion().choices[0].message.tool_calls[0]
        self.assertEqual(json.loads(called.function.arguments), {"city": "Oslo"})
        with ours.responses.stream(model=model, input="Hello") as stream:
            self.assertEqual(stream.get_final_response().output_text, TEXT)
        assert_counted(self, key, model, 4)

    def test_fifty_asynchronous_streams_at_once_are_counted_exactly(self):
        key = create("py-async")
        model = "ok@py-async"

        async def run():
            async with openai.AsyncOpenAI(api_key=key["key"], base_url=BASE + "/v1") as ours:

                async def one():
                    stream = await ours.chat.completions.create(model=model, messages=MESSAGES, stream=True)
                    return text_of([chunk async for chunk in stream])

                return await asyncio.gather(*[one() for _ in range(50)])

        self.assertEqual(set(asyncio.run(run())), {TEXT})
        assert_counted(self, key, model, 50)

    def test_odd_but_right_answers_are_read_and_counted_exactly(self):
        for behaviour in FAULTS["whole"]:
            with self.subTest(behaviour):
                name = f"py-{behaviour}"
                model = f"{behaviour}@{name}"
                key = create(name)
                chat = client(key).chat.completions
                self.assertEqual(text_of(chat.create(model=model, messages=MESSAGES, stream=True)), TEXT)
                self.assertEqual(chat.create(model=model, messages=MESSAGES).choices[0].message.content, TEXT)
                assert_counted(self, key, model, 2)


class Failures(unittest.TestCase):
    def test_a_stream_that_fails_raises(self):
        for behaviour in FAULTS["failing"]:
            with self.subTest(behaviour):
                name = f"py-{behaviour}"
                key = create(name)
                seen = []
                with self.assertRaises(openai.APIError):
                    for chunk in client(key, max_retries=0).chat.completions.create(
                        model=f"{behaviour}@{name}", messages=MESSAGES, stream=True
                    ):
                        seen.append(chunk)
                self.assertTrue(TEXT.startswith(text_of(seen)))
                self.assertEqual(bool(seen), behaviour != "error-first")
                counted = usage(key, 1)
                self.assertEqual((counted["ok"], counted["server_errors"]), (0, 1))

    def test_refusals_are_treated_as_without_keydesk(self):
        key = create("py-refused")
        direct = openai.OpenAI(api_key=CREDENTIAL, base_url=UPSTREAM)
        attempts = 0
        for behaviour, (kind, expected) in FAULTS["refusals"].items():
            with self.subTest(behaviour):
                seen = {}
                for way, using in [("direct", direct), ("through", client(key))]:
                    model = f"{behaviour}@py-{way}"
                    with self.assertRaises(openai.APIStatusError) as raised:
                        using.chat.completions.create(model=model, messages=MESSAGES)
                    seen[way] = (type(raised.exception).__name__, len(books(model)))
                attempts += seen["through"][1]
                self.assertEqual(seen["direct"], (kind, expected))
                if behaviour in FAULTS["operators"]:
                    self.assertEqual(seen["through"], ("InternalServerError", 1))
                    self.assertNotIn("Incorrect API key", str(raised.exception))
                else:
                    self.assertEqual(seen["through"], seen["direct"])
        self.assertEqual(usage(key, attempts)["limited"], 0)

    def test_waits_are_as_long_as_the_upstream_asks(self):
        key = create("py-waits")

        async def run():
            async with openai.AsyncOpenAI(api_key=key["key"], base_url=BASE + "/v1") as ours:
                create = ours.chat.completions.create
                await asyncio.gather(*[create(model=f"{name}@py", messages=MESSAGES) for name in FAULTS["waits"]])

        asyncio.run(run())
        for name in FAULTS["waits"]:
            first, second = books(f"{name}@py")
            self.assertGreaterEqual(second["at"], first["until"] - 2, name)

    def test_a_mistyped_base_url_is_explained(self):
        with self.assertRaises(openai.NotFoundError) as raised:
            openai.OpenAI(api_key=create("py-base")["key"], base_url=BASE).chat.completions.create(
                model="ok", messages=MESSAGES
            )
        self.assertIn("/v1", str(raised.exception))
        self.assertNotIn("<html", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
