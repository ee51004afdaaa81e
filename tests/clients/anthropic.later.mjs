// Anthropic’s client, unchanged but for base URL and key. To be named anthropic.test.mjs, with @anthropic-ai/sdk 1.14.0 in
// package.json, as soon as there is POST /v1/messages.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { assertCounted, credential, faults, messages, startDesk, weather } from "./desk.mjs";
import { startUpstream } from "./upstream.mjs";
import { text } from "./upstream-replies.mjs";

const max_tokens = 100;
const tools = [{ name: weather.name, description: weather.description, input_schema: weather.parameters }];

describe("Anthropic’s client", { concurrency: true }, () => {
  let desk, upstream, folder, direct;
  const names = ["ok", ...faults.failing, ...Object.keys(faults.refusals)];

  before(async () => {
    upstream = await startUpstream();
    folder = await mkdtemp(path.join(tmpdir(), "keydesk-models-"));
    const models = names.map((name) => `[[model]]\nname = "${name}"\nupstreams = ["anthropic"]\n`).join("");
    await writeFile(path.join(folder, "key"), credential);
    const head = `[[upstream]]\nname = "anthropic"\nkind = "anthropic"\nurl = "${upstream.url}"\nkey_file = "${folder}/key"\n`;
    await writeFile(path.join(folder, "models.toml"), head + models);
    desk = await startDesk({ KEYDESK_MODELS_FILE: path.join(folder, "models.toml") });
    direct = new Anthropic({ apiKey: credential, baseURL: upstream.url.replace("/v1", "") });
  });
  after(async () => {
    await desk.stop();
    await upstream.stop();
    await rm(folder, { recursive: true });
  });

  const own = async (name, options) => {
    const key = await desk.create(name);
    return { key, client: new Anthropic({ apiKey: key.key, baseURL: desk.keydesk.base, ...options }) };
  };
  const failure = (call) => call.then(() => assert.fail("it was answered"), (error) => error);

  test("talks, streams, calls tools and counts tokens, counted exactly", async () => {
    const { key, client } = await own("anthropic");
    const from = upstream.all().length;
    const ask = { model: "ok", max_tokens, messages };
    const headers = { "anthropic-beta": "beta-1" };
    const whole = await client.messages.create(ask, { headers });
    assert.equal(whole.content[0].text, text);
    const [call] = upstream.all().slice(from);
    assert.deepEqual([call.headers["anthropic-version"], call.headers["anthropic-beta"]], ["2023-06-01", "beta-1"]);
    assert.equal(await client.messages.stream(ask).finalText(), text);
    const called = await client.messages.stream({ ...ask, tools }).finalMessage();
    assert.deepEqual([called.stop_reason, called.content[0].input], ["tool_use", { city: "Oslo" }]);
    const result = { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "rain" }] };
    const turns = [...messages, { role: "assistant", content: called.content }, result];
    assert.equal((await client.messages.create({ ...ask, tools, messages: turns })).content[0].text, text);
    assert.equal((await client.messages.countTokens({ model: "ok", messages })).input_tokens, 42);
    assertCounted(await desk.usage(key.id, 5), upstream.reported("ok"), 4);
  });

  for (const model of faults.failing) {
    test(`learns that ${model} failed`, async () => {
      const { key, client } = await own(`anthropic-${model}`);
      const error = await failure(client.messages.stream({ model, max_tokens, messages }).finalMessage());
      assert.ok(error instanceof Anthropic.AnthropicError, error);
      const counted = await desk.usage(key.id, 1);
      assert.deepEqual([counted.ok, counted.server_errors], [0, 1]);
    });
  }

  for (const model of Object.keys(faults.refusals)) {
    test(`treats ${model} as without Keydesk`, async () => {
      const { client } = await own(`anthropic-refused-${model}`);
      const attempt = async (using) => {
        const from = upstream.calls(model).length;
        const error = await failure(using.messages.create({ model, max_tokens, messages }));
        return { error, seen: [error.constructor.name, upstream.calls(model).length - from] };
      };
      const plain = await attempt(direct);
      const through = await attempt(client);
      // It has classes of its own for 503, 504 and 529.
      if (faults.operators.includes(model)) assert.deepEqual(through.seen, ["InternalServerError", 1]);
      else if (plain.error.status < 500) assert.deepEqual(through.seen, plain.seen);
      else assert.deepEqual([through.error.status >= 500, through.seen[1]], [true, plain.seen[1]]);
      assert.deepEqual([through.error.error.type, typeof through.error.error.error.message], ["error", "string"]);
    });
  }

  test("reads a refusal of Keydesk’s as one of Anthropic’s", async () => {
    const ask = (apiKey) => {
      const client = new Anthropic({ apiKey, baseURL: desk.keydesk.base });
      return failure(client.messages.create({ model: "ok", max_tokens, messages }));
    };
    const error = await ask("kd_unknown");
    assert.ok(error instanceof Anthropic.AuthenticationError);
    assert.deepEqual([error.error.type, error.error.error.type], ["error", "authentication_error"]);
    const { key } = await desk.create("anthropic-reader", { scopes: ["inference:read"] });
    const denied = await ask(key);
    assert.ok(denied instanceof Anthropic.PermissionDeniedError);
    assert.equal(denied.error.error.type, "permission_error");
  });
});
