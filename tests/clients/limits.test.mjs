// The silence and the sizes that Keydesk bears.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { messages, startDesk } from "./desk.mjs";
import { text } from "./upstream-replies.mjs";

describe("with a timeout of 2 s and bodies of up to 1 MiB", { concurrency: true }, () => {
  let desk, chat, key;
  before(async () => {
    desk = await startDesk({ KEYDESK_UPSTREAM_TIMEOUT: "2s", KEYDESK_MAX_BODY: "1MiB" });
    key = await desk.create("client");
    const client = new OpenAI({ apiKey: key.key, baseURL: desk.base, maxRetries: 0 });
    chat = (body) => client.chat.completions.create({ messages, ...body });
  });
  after(() => desk.stop());
  const failure = (call) => call.then(() => assert.fail("it was answered"), (error) => error);

  test("an upstream may think for a second and stream for longer than two", async () => {
    assert.equal((await chat({ model: "slow-1000" })).choices[0].message.content, text);
    let seen = "";
    const started = performance.now();
    for await (const chunk of await chat({ model: "drip", stream: true })) seen += chunk.choices[0]?.delta.content ?? "";
    assert.equal(seen, text);
    assert.ok(performance.now() - started > 3000);
  });

  test("a silent upstream is given up, and the client learns the time and the setting", async () => {
    const whole = await failure(chat({ model: "silent" }));
    assert.ok(whole instanceof OpenAI.InternalServerError, whole);
    assert.match(whole.message, /\b2 ?s/);
    assert.match(whole.message, /KEYDESK_UPSTREAM_TIMEOUT/);
  });

  test("an upstream that falls silent within a stream is given up with the same words", async () => {
    const streamed = async () => {
      for await (const chunk of await chat({ model: "silent-mid-stream", stream: true })) assert.ok(chunk);
    };
    const error = await failure(streamed());
    assert.ok(error instanceof OpenAI.APIError, error);
    assert.match(error.message, /\b2 ?s.*KEYDESK_UPSTREAM_TIMEOUT/);
  });

  test("a larger body is refused with the size and the setting", async () => {
    const content = "a".repeat(2 ** 20);
    const error = await failure(chat({ model: "ok@large", messages: [{ role: "user", content }] }));
    assert.deepEqual([error.status, error.code], [413, "payload_too_large"]);
    assert.match(error.message, /1 ?MiB/);
    assert.match(error.message, /KEYDESK_MAX_BODY/);
    assert.equal(desk.upstream.calls("ok@large").length, 0);
    const nearly = "a".repeat(2 ** 20 - 1000);
    assert.equal((await chat({ model: "ok@fits", messages: [{ role: "user", content: nearly }] })).choices[0].message.content, text);
  });
});
