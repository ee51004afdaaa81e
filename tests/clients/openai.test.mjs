// The openai client; only the base URL and the key are set.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { startKeydesk } from "../support.mjs";

describe("the openai client", () => {
  let keydesk, admin, client;
  const create = async (body) =>
    (await keydesk.call(admin, "/v1/api-keys", { scopes: ["inference:read", "inference:write"], ...body })).json();
  const clientOf = (apiKey, options = {}) => new OpenAI({ apiKey, baseURL: `${keydesk.base}/v1`, ...options });
  const messages = [{ role: "user", content: "Hello" }];

  before(async () => {
    keydesk = await startKeydesk();
    await keydesk.setUp();
    admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin"]);
    client = clientOf((await create({ name: "client" })).key);
  });
  after(() => keydesk.stop());

  test("lists models", async () => {
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    assert.deepEqual(models, ["echo"]);
  });

  test("chats, whole and streamed", async () => {
    const whole = await client.chat.completions.create({ model: "gpt-4", messages });
    assert.match(whole.choices[0].message.content, /You said: Hello$/);
    assert.ok(whole.usage.total_tokens > 0);
    const stream = await client.chat.completions.create({ model: "gpt-4", messages, stream: true });
    let text = "";
    let chunks = 0;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      chunks += 1;
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.ok(chunks > 10);
  });

  test("completes, embeds and responds", async () => {
    const completion = await client.completions.create({ model: "gpt-4", prompt: "Hello" });
    assert.match(completion.choices[0].text, /Hello$/);
    const embeddings = await client.embeddings.create({ model: "e", input: ["a", "b"] });
    assert.deepEqual(embeddings.data.map((entry) => entry.embedding.length), [8, 8]);
    assert.ok(embeddings.data[0].embedding.every((number) => Math.abs(number) <= 1));
    const response = await client.responses.create({ model: "gpt-4", input: "Hello" });
    assert.match(response.output_text, /Hello$/);
    let text = "";
    for await (const event of await client.responses.create({ model: "gpt-4", input: "Hello", stream: true })) {
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    assert.equal(text, response.output_text);
  });

  test("maps each error to its class, with its code and request id", async () => {
    const refused = async (call) => {
      const error = await call().then(() => assert.fail("it was answered"), (thrown) => thrown);
      assert.match(error.requestID, /^req_/);
      return [error.constructor, error.status, error.code];
    };
    const chat = (key, body) => () => clientOf(key, { maxRetries: 0 }).chat.completions.create({ model: "gpt-4", messages, ...body });
    const reader = await create({ name: "reader", scopes: ["inference:read"] });
    const narrow = await create({ name: "narrow", requests_per_minute: 1 });
    const good = await create({ name: "good" });
    assert.deepEqual(await refused(chat("kd_unknown")), [OpenAI.AuthenticationError, 401, "invalid_token"]);
    assert.deepEqual(await refused(chat(reader.key)), [OpenAI.PermissionDeniedError, 403, "insufficient_scope"]);
    assert.deepEqual(await refused(chat(good.key, { model: 5 })), [OpenAI.BadRequestError, 400, "invalid_request"]);
    await chat(narrow.key)();
    assert.deepEqual(await refused(chat(narrow.key)), [OpenAI.RateLimitError, 429, "rate_limited"]);
    const missing = () => clientOf(admin, { maxRetries: 0 }).get("/api-keys/key_00000000000000000000000000");
    assert.deepEqual(await refused(missing), [OpenAI.NotFoundError, 404, "not_found"]);
  });

  test("waits as long as Retry-After says and then succeeds", async () => {
    const slow = await create({ name: "slow", requests_per_minute: 30 });
    const patient = clientOf(slow.key, { maxRetries: 3 });
    const started = performance.now();
    for (let call = 0; call < 31; call += 1) await patient.models.list();
    // The 31st request has to wait for a token; one arrives every two seconds.
    assert.ok(performance.now() - started >= 1000);
  });
});
