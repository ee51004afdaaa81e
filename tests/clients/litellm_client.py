"""The SDK of LiteLLM against a running Keydesk, with the stand-in behind it."""

import asyncio
import json
import os
import unittest

# Its list of prices would otherwise come from the internet.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import openai

from desk import BASE, CREDENTIAL, FAULTS, MESSAGES, TEXT, UPSTREAM, WEATHER, assert_counted, books, create, usage

litellm.telemetry = False
litellm.suppress_debug_info = True


def options(key, model, **more):
    return {"model": f"openai/{model}", "api_key": key["key"], "api_base": BASE + "/v1", **more}


class LiteLlm(unittest.TestCase):
    def test_each_kind_of_call_is_answered_and_counted_exactly(self):
        key = create("litellm")
        model = "ok@litellm"
        chat = options(key, model, messages=MESSAGES)
        self.assertEqual(litellm.completion(**chat).choices[0].message.content, TEXT)
        streamed = litellm.completion(**chat, stream=True)
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in streamed), TEXT)
        called = litellm.completion(**chat, tools=[{"type": "function", "function": WEATHER}])
        self.assertEqual(json.loads(called.choices[0].message.tool_calls[0].function.arguments), {"city": "Oslo"})
        self.assertEqual(asyncio.run(litellm.acompletion(**chat)).choices[0].message.content, TEXT)
        vectors = litellm.embedding(**options(key, model, input=["a", "b"]))
        self.assertEqual(len(vectors.data), 2)
        response = litellm.responses(**options(key, model, input="Hello"))
        self.assertEqual(response.output[0].content[0].text, TEXT)
        assert_counted(self, key, model, 6)

    def refused(self, behaviour, **way):
        with self.assertRaises(openai.OpenAIError) as raised:
            litellm.completion(model=f"openai/{behaviour}@litellm", messages=MESSAGES, max_retries=0, **way)
        return raised.exception

    def test_refusals_are_of_the_same_class_as_without_keydesk(self):
        through = {"api_key": create("litellm-refused")["key"], "api_base": BASE + "/v1"}
        direct = {"api_key": CREDENTIAL, "api_base": UPSTREAM}
        for behaviour, (kind, _) in FAULTS["refusals"].items():
            with self.subTest(behaviour):
                error = self.refused(behaviour, **through)
                if behaviour in FAULTS["operators"] or kind == "InternalServerError":
                    # It has a class for each status.
                    self.assertIn(error.status_code, [502, 503])
                else:
                    plain = self.refused(behaviour, **direct)
                    self.assertEqual((type(error), error.status_code), (type(plain), plain.status_code))

    def test_retries_until_the_upstream_answers(self):
        key = create("litellm-waits")
        model = "once-429-ms@litellm"
        answer = litellm.completion(**options(key, model, messages=MESSAGES, max_retries=2))
        self.assertEqual(answer.choices[0].message.content, TEXT)
        first, second = books(model)
        self.assertGreaterEqual(second["at"], first["until"] - 2)

    def test_a_stream_that_fails_raises(self):
        for behaviour in FAULTS["failing"]:
            with self.subTest(behaviour):
                key = create(f"litellm-{behaviour}")
                chat = options(key, f"{behaviour}@litellm", messages=MESSAGES, stream=True, max_retries=0)
                with self.assertRaises(Exception):
                    for _ in litellm.completion(**chat):
                        pass
                counted = usage(key, 1)
                self.assertEqual((counted["ok"], counted["server_errors"]), (0, 1))


if __name__ == "__main__":
    unittest.main()
