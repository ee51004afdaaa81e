// The openai client against an upstream that fails in the ways that upstreams do, with and without Keydesk.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { assertCounted, credential, faults, messages, startDesk, tripSchema, weather } from "./desk.mjs";
import { text } from "./upstream-replies.mjs";

const tools = [{ type: "function", function: weather }];
const response_format = { type: "json_schema", json_schema: { name: "trip", strict: true, schema: tripSchema } };

describe("the openai client with an upstream", { concurrency: true }, () => {
  let desk, direct;
  const clientOf = (apiKey, options = {}) => new OpenAI({ apiKey, baseURL: desk.base, ...options });
  /** A client with a key of its own, and models of its own. */
  const own = async (name, options) => {
    const key = await desk.create(name);
    const client = clientOf(key.key, options);
    const chat = (model, body) => client.chat.completions.create({ model: `${model}@${name}`, messages, ...body });
    const counted = async (requests) => assertCounted(await desk.usage(key.id, requests), desk.upstream.reported(`@${name}`), requests);
    return { key, client, chat, counted };
  };

  before(async () => {
    desk = await startDesk();
    direct = new OpenAI({ apiKey: credential, baseURL: desk.upstream.url });
  });
  after(() => desk.stop());

  const failure = (call) => call.then(() => assert.fail("it was answered"), (error) => error);

  /** The text of a stream, its chunks, and the error that ended it. */
  const read = async (start) => {
    const seen = { text: "", chunks: [], error: null };
    try {
      for await (const chunk of await start()) {
        seen.chunks.push(chunk);
        seen.text += chunk.choices?.[0]?.delta?.content ?? chunk.choices?.[0]?.text ?? "";
      }
    } catch (error) {
      seen.error = error;
    }
    return seen;
  };

  test("lists and retrieves models, with a slash in their name, too", async () => {
    const { client } = await own("models");
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    assert.deepEqual(models, ["ok", "vendor/model"]);
    assert.equal((await client.models.retrieve("vendor/model")).id, "vendor/model");
    await assert.rejects(client.models.retrieve("nothing"), OpenAI.NotFoundError);
  });

  test("calls tools, gets JSON, reasons, chooses and completes, counted exactly", async () => {
    const { client, chat, counted } = await own("kinds");
    const called = await chat("ok", { tools });
    assert.deepEqual(JSON.parse(called.choices[0].message.tool_calls[0].function.arguments), { city: "Oslo" });
    const result = { role: "tool", tool_call_id: "call_1", content: "rain" };
    const answered = await chat("ok", { tools, messages: [...messages, called.choices[0].message, result] });
    assert.equal(answered.choices[0].message.content, text);
    const parsed = await client.chat.completions.parse({ model: "ok@kinds", messages, response_format });
    assert.deepEqual(JSON.parse(parsed.choices[0].message.content), { city: "Oslo", days: 3 });
    assert.equal((await chat("reasoning")).choices[0].message.reasoning_content, "First I think.");
    assert.deepEqual((await chat("ok", { n: 3 })).choices.map((choice) => choice.message.content), [text, text, text]);
    assert.equal((await client.completions.create({ model: "ok@kinds", prompt: "Hello" })).choices[0].text, text);
    const embedded = await client.embeddings.create({ model: "ok@kinds", input: ["a", "b"] });
    assert.deepEqual(embedded.data.map(({ embedding }) => [embedding.length, embedding[4]]), [[8, 4 / 4096], [8, 4 / 4096]]);
    assert.equal((await client.responses.create({ model: "ok@kinds", input: "Hello" })).output_text, text);
    await counted(8);
  });

  test("streams tools, reasoning, choices and completions, counted exactly", async () => {
    const { client, chat, counted } = await own("streams");
    const called = await read(() => chat("ok", { tools, stream: true }));
    const given = called.chunks.map((chunk) => chunk.choices[0].delta.tool_calls?.[0].function.arguments ?? "").join("");
    assert.deepEqual([called.error, JSON.parse(given)], [null, { city: "Oslo" }]);
    const thought = await read(() => chat("reasoning", { stream: true }));
    assert.equal(thought.chunks.map((chunk) => chunk.choices[0].delta.reasoning_content ?? "").join(""), "First I think.");
    assert.equal(thought.text, text);
    const both = await read(() => chat("ok", { n: 2, stream: true }));
    const second = both.chunks.filter((chunk) => chunk.choices[0].index === 1);
    assert.equal(second.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), text);
    assert.equal((await read(() => client.completions.create({ model: "ok@streams", prompt: "Hello", stream: true }))).text, text);
    const types = [];
    const response = client.responses.stream({ model: "ok@streams", input: "Hello" });
    for await (const event of response) types.push(event.type);
    assert.equal(types.at(-1), "response.completed");
    assert.equal((await response.finalResponse()).output_text, text);
    await counted(5);
  });

  test("sees the chunk with the usage only if it asked for it", async () => {
    const { chat, counted } = await own("usage");
    const plain = await read(() => chat("ok", { stream: true }));
    assert.deepEqual(plain.chunks.filter((chunk) => chunk.usage || chunk.choices.length === 0), []);
    const asked = await read(() => chat("ok", { stream: true, stream_options: { include_usage: true } }));
    const [usage, ...more] = asked.chunks.filter((chunk) => chunk.usage).map((chunk) => chunk.usage);
    const [, call] = desk.upstream.calls("ok@usage");
    assert.deepEqual([usage.prompt_tokens, usage.completion_tokens, more], [call.usage.input, call.usage.output, []]);
    const declined = await read(() => chat("ok", { stream: true, stream_options: { include_usage: false } }));
    assert.deepEqual(declined.chunks.filter((chunk) => chunk.usage || chunk.choices.length === 0), []);
    // A chunk without choices may have something else to say.
    const filtered = await read(() => chat("filter-results", { stream: true }));
    const [first, ...rest] = filtered.chunks.filter((chunk) => chunk.choices.length === 0);
    assert.deepEqual([first.prompt_filter_results, rest], [[{ prompt_index: 0 }], []]);
    await counted(4);
  });

  test("gets a whole answer if the upstream does not stream", async () => {
    const { key, counted } = await own("whole");
    const answer = await desk.keydesk.call(key.key, "/v1/chat/completions", { model: "no-stream@whole", messages, stream: true });
    assert.match(answer.headers.get("content-type"), /^application\/json/);
    assert.equal((await answer.json()).choices[0].message.content, text);
    await counted(1);
  });

  for (const model of faults.whole) {
    test(`reads and counts all of ${model}`, async () => {
      const { client, chat, counted } = await own(`whole-${model}`);
      const streamed = await read(() => chat(model, { stream: true }));
      assert.deepEqual([streamed.error, streamed.text], [null, text]);
      const reasons = streamed.chunks.map((chunk) => chunk.choices[0].finish_reason).filter(Boolean);
      assert.deepEqual(reasons, ["stop"], "and why it ended");
      assert.equal((await chat(model)).choices[0].message.content, text);
      assert.equal((await client.responses.create({ model: `${model}@whole-${model}`, input: "Hello" })).output_text, text);
      await counted(3);
    });
  }

  for (const model of faults.failing) {
    test(`learns that ${model} failed, and it is counted as a failure`, async () => {
      const { key, client, chat } = await own(`failing-${model}`, { maxRetries: 0 });
      const streamed = await read(() => chat(model, { stream: true }));
      assert.ok(streamed.error instanceof OpenAI.APIError, `chat ended without an error: ${streamed.text}`);
      assert.ok(text.startsWith(streamed.text));
      assert.equal(streamed.text.length > 0, model !== "error-first", "what arrived is passed on");
      const completed = await read(() => client.completions.create({ model: `${model}@failing-${model}`, prompt: "Hello", stream: true }));
      assert.ok(completed.error instanceof OpenAI.APIError, "completions ended without an error");
      const body = { model: `${model}@failing-${model}`, input: "Hello", stream: true };
      const responded = await read(() => client.responses.create(body));
      const types = responded.chunks.map((event) => event.type);
      assert.ok(responded.error instanceof OpenAI.APIError || types.at(-1) === "error", `responses ended after ${types.at(-1)}`);
      const counted = await desk.usage(key.id, 3);
      assert.deepEqual([counted.ok, counted.server_errors], [0, 3]);
    });
  }

  test("tries a stream that fails at its first event as often as without Keydesk", async () => {
    const { client } = await own("first");
    const attempts = async (using, model) => {
      assert.ok((await read(() => using.chat.completions.create({ model, messages, stream: true }))).error instanceof OpenAI.APIError);
      return desk.upstream.calls(model).length;
    };
    assert.equal(await attempts(client, "error-first@first"), await attempts(direct, "error-first@first-direct"));
  });

  for (const [model, [kind, attempts]] of Object.entries(faults.refusals)) {
    test(`treats ${model} as without Keydesk`, async () => {
      const { key, client } = await own(`refused-${model}`);
      const attempt = async (using, name) => {
        const error = await failure(using.chat.completions.create({ model: name, messages }));
        return { error, seen: [error.constructor.name, desk.upstream.calls(name).length] };
      };
      const plain = await attempt(direct, `${model}@direct`);
      const through = await attempt(client, `${model}@refused-${model}`);
      assert.deepEqual(plain.seen, [kind, attempts]);
      if (faults.operators.includes(model)) {
        assert.deepEqual(through.seen, ["InternalServerError", 1]);
        assert.deepEqual([through.error.status, through.error.code], [502, "upstream_error"]);
        assert.doesNotMatch(JSON.stringify(through.error.error) + through.error.message, /Incorrect|proj-internal/);
      } else {
        assert.deepEqual(through.seen, plain.seen);
      }
      if (plain.error.status < 500 && !faults.operators.includes(model)) {
        assert.deepEqual([through.error.status, through.error.error], [plain.error.status, plain.error.error]);
      }
      assert.match(through.error.requestID, /^req_/);
      const counted = await desk.usage(key.id, attempts);
      assert.equal(counted.limited, 0, "the limit of the upstream is not that of the key");
    });
  }

  test("tries again after 408, too", async () => {
    const { chat } = await own("408");
    await failure(chat("408"));
    assert.equal(desk.upstream.calls("408@408").length, 3);
  });

  for (const model of faults.waits) {
    test(`waits as long as ${model} asks`, async () => {
      const { chat } = await own(model);
      assert.equal((await chat(model)).choices[0].message.content, text);
      const [first, second] = desk.upstream.calls(`${model}@${model}`);
      assert.ok(second.at >= first.until - 2, `${second.at - first.until} ms after the wait`);
    });
  }

  test("has its cached and reasoning tokens counted apart", async () => {
    const { key, chat, counted } = await own("apart");
    for (let call = 0; call < 5; call += 1) await chat("reasoning");
    assert.equal((await read(() => chat("reasoning", { stream: true }))).error, null);
    await counted(6);
    const { cached, reasoning } = desk.upstream.reported("@apart");
    const usage = await desk.usage(key.id, 6);
    assert.ok(cached > 0 && reasoning === 24);
    assert.deepEqual([usage.cached_tokens, usage.reasoning_tokens], [cached, reasoning]);
  });

  test("estimates all output of an upstream that reports no usage", async () => {
    const cases = {
      tools: [(chat, stream) => chat("no-usage", { tools, stream }), 500],
      choices: [(chat, stream) => chat("no-usage", { n: 20, stream }), 100],
    };
    for (const [name, [call, least]] of Object.entries(cases)) {
      for (const stream of [false, true]) {
        const { key, chat } = await own(`estimate-${name}-${stream}`);
        if (stream) assert.equal((await read(() => call(chat, true))).error, null);
        else await call(chat, false);
        const counted = await desk.usage(key.id, 1);
        assert.ok(counted.output_tokens >= least, `${name}, ${stream}: ${counted.output_tokens}`);
        assert.ok(counted.input_tokens > 0);
      }
    }
  });

  test("reaches the upstream with its user agent, trace and beta, and with Keydesk’s request id and credential", async () => {
    const { key, client } = await own("headers");
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const headers = { traceparent, "OpenAI-Beta": "responses=v1", "X-Request-Id": "mine-1", Cookie: "a=b" };
    const { response } = await client.chat.completions.create({ model: "ok@headers", messages }, { headers }).withResponse();
    const [call] = desk.upstream.calls("ok@headers");
    assert.match(call.headers["user-agent"], /^OpenAI\/JS .*keydesk/i);
    // A trace goes on with another span of the same trace.
    assert.match(call.headers.traceparent, /^00-4bf92f3577b34da6a3ce929d0e0e4736-[0-9a-f]{16}-01$/);
    assert.equal(call.headers["openai-beta"], "responses=v1");
    assert.equal(call.headers["x-request-id"], response.headers.get("x-request-id"));
    assert.equal(call.headers.authorization, `Bearer ${credential}`);
    assert.ok(!JSON.stringify(call).includes(key.key), "the key goes no further");
    assert.equal(call.headers.cookie, undefined);
    assert.equal((await desk.keydesk.logged("mine-1")).length, 1);
  });

  test("leaves one log line with the cause of a failure", async () => {
    const { key, chat } = await own("logged", { maxRetries: 0 });
    const error = await failure(chat("403-credential"));
    const [call] = desk.upstream.calls("403-credential@logged");
    const lines = await desk.keydesk.logged(`up_req_${call.number}"`);
    assert.equal(lines.length, 1, "one line names the upstream’s request");
    for (const part of [error.requestID, key.id, "403-credential@logged", "403", "Incorrect API key provided", "org_"]) {
      assert.ok(lines[0].includes(part), `${part} in ${lines[0]}`);
    }
    assert.ok(!lines[0].includes(credential) && !lines[0].includes(key.key));
  });

  test("gets 2,048 embeddings of 3,072 numbers", async () => {
    const { client, counted } = await own("big");
    const { data } = await client.embeddings.create({ model: "big@big", input: Array(2048).fill("a") });
    assert.deepEqual([data.length, data[2047].embedding.length, data[2047].embedding[3071]], [2048, 3072, 3071 / 4096]);
    await counted(1);
  });

  test("may send an image of 12 MB", async () => {
    const { chat, counted } = await own("image");
    const url = `data:image/png;base64,${"A".repeat(12_000_000)}`;
    const content = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url } }];
    await chat("ok", { messages: [{ role: "user", content }] });
    assert.equal(desk.upstream.calls("ok@image")[0].body.messages[0].content[1].image_url.url.length, url.length);
    await counted(1);
  });

  test("that goes away is counted with what it was sent", async () => {
    const { key, client } = await own("leaves");
    const stream = await client.chat.completions.create({ model: "drip@leaves", messages, stream: true });
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
    const counted = await desk.usage(key.id, 1);
    assert.ok(counted.output_tokens > 0 && counted.output_tokens < 10, `${counted.output_tokens}`);
    assert.ok(counted.input_tokens > 0);
  });
});
