"""LangChain against a running Keydesk, with the stand-in behind it."""

import asyncio
import unittest

import openai
import pydantic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from desk import BASE, FAULTS, TEXT, assert_counted, books, create, usage


class Trip(pydantic.BaseModel):
    """A trip to a city."""

    city: str
    days: int


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"Rain in {city}"


def model(key, name, **options):
    return ChatOpenAI(model=name, api_key=key["key"], base_url=BASE + "/v1", **options)


class LangChain(unittest.TestCase):
    def test_each_kind_of_call_is_answered_and_counted_exactly(self):
        key = create("langchain")
        name = "ok@langchain"
        chat = model(key, name)
        whole = chat.invoke("Hello")
        self.assertEqual(whole.content, TEXT)
        self.assertEqual(whole.usage_metadata["input_tokens"], books(name)[0]["reported"]["input"])
        self.assertEqual("".join(chunk.content for chunk in chat.stream("Hello")), TEXT)
        self.assertEqual([answer.content for answer in chat.batch(["a", "b", "c"])], [TEXT] * 3)
        self.assertEqual(asyncio.run(chat.ainvoke("Hello")).content, TEXT)
        self.assertEqual(chat.with_structured_output(Trip).invoke("Hello"), Trip(city="Oslo", days=3))
        able = chat.bind_tools([weather])
        asked = [HumanMessage("What is the weather?")]
        called = able.invoke(asked)
        result = weather.invoke(called.tool_calls[0])
        self.assertIsInstance(result, ToolMessage)
        self.assertEqual(result.content, "Rain in Oslo")
        self.assertEqual(able.invoke([*asked, called, result]).content, TEXT)
        responses = model(key, name, use_responses_api=True).invoke("Hello")
        self.assertEqual(responses.text, TEXT)
        # Without the check of lengths, which loads a tokenizer from the internet.
        vectors = OpenAIEmbeddings(
            model=name, api_key=key["key"], base_url=BASE + "/v1", check_embedding_ctx_length=False
        ).embed_documents(["a", "b"])
        self.assertEqual([len(vector) for vector in vectors], [8, 8])
        assert_counted(self, key, name, 11)

    def test_refusals_are_those_of_openai(self):
        key = create("langchain-refused")
        for behaviour, (kind, attempts) in FAULTS["refusals"].items():
            if behaviour in FAULTS["operators"]:
                continue
            with self.subTest(behaviour):
                name = f"{behaviour}@langchain"
                with self.assertRaises(getattr(openai, kind)):
                    model(key, name).invoke("Hello")
                self.assertEqual(len(books(name)), attempts)

    def test_a_stream_that_fails_raises(self):
        for behaviour in FAULTS["failing"]:
            with self.subTest(behaviour):
                key = create(f"langchain-{behaviour}")
                with self.assertRaises(Exception):
                    for _ in model(key, f"{behaviour}@langchain", max_retries=0).stream("Hello"):
                        pass
                counted = usage(key, 1)
                self.assertEqual((counted["ok"], counted["server_errors"]), (0, 1))


if __name__ == "__main__":
    unittest.main()
