// The AI SDK of Vercel: its provider for OpenAI, on both routes, and the one for compatible servers.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, embedMany, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { assertCounted, faults, startDesk, tripSchema, weather } from "./desk.mjs";
import { text } from "./upstream-replies.mjs";

const prompt = "Hello";
const trip = jsonSchema(tripSchema);

describe("the AI SDK", { concurrency: true }, () => {
  let desk;
  before(async () => (desk = await startDesk()));
  after(() => desk.stop());

  const providers = {
    chat: (settings) => (name) => createOpenAI(settings).chat(name),
    responses: (settings) => (name) => createOpenAI(settings).responses(name),
    compatible: (settings) => createOpenAICompatible({ name: "keydesk", supportsStructuredOutputs: true, includeUsage: true, ...settings }),
  };

  for (const [provider, create] of Object.entries(providers)) {
    const start = async (test) => {
      const name = `ai-${provider}-${test}`;
      const key = await desk.create(name);
      const provide = create({ baseURL: desk.base, apiKey: key.key });
      return { key, name, model: (behaviour) => provide(`${behaviour}@${name}`) };
    };

    test(`generates and streams text, objects and tool calls by ${provider}, counted exactly`, async () => {
      const { key, name, model } = await start("kinds");
      const whole = await generateText({ model: model("ok"), prompt });
      assert.equal(whole.text, text);
      const [first] = desk.upstream.calls(`ok@${name}`);
      assert.deepEqual([whole.usage.inputTokens, whole.usage.outputTokens], [first.usage.input, first.usage.output]);

      const streamed = streamText({ model: model("ok"), prompt });
      let seen = "";
      for await (const part of streamed.textStream) seen += part;
      assert.equal(seen, text);
      const second = desk.upstream.calls(`ok@${name}`)[1];
      assert.equal((await streamed.usage).inputTokens, second.usage.input);

      const { output } = await generateText({ model: model("ok"), prompt, output: Output.object({ schema: trip }) });
      assert.deepEqual(output, { city: "Oslo", days: 3 });

      const asked = [];
      const execute = async (input) => {
        asked.push(input);
        return "rain";
      };
      const tools = { weather: tool({ description: weather.description, inputSchema: jsonSchema(weather.parameters), execute }) };
      const agent = await generateText({ model: model("ok"), prompt, tools, stopWhen: stepCountIs(3) });
      assert.deepEqual([asked, agent.text, agent.steps.length], [[{ city: "Oslo" }], text, 2]);
      const agentStream = streamText({ model: model("ok"), prompt, tools, stopWhen: stepCountIs(3) });
      await agentStream.consumeStream();
      assert.deepEqual([asked.length, await agentStream.text], [2, text]);
      assertCounted(await desk.usage(key.id, 7), desk.upstream.reported(`@${name}`), 7);
    });

    test(`reports streams that fail by ${provider}`, async () => {
      const { key, model } = await start("failing");
      for (const behaviour of faults.failing) {
        const errors = [];
        const stream = streamText({ model: model(behaviour), prompt, maxRetries: 0, onError: ({ error }) => errors.push(error) });
        await stream.consumeStream();
        assert.ok(errors.length > 0, `${behaviour} ended without an error`);
      }
      const counted = await desk.usage(key.id, faults.failing.length);
      assert.deepEqual([counted.ok, counted.server_errors], [0, faults.failing.length]);
    });

    test(`retries and gives up by ${provider} as without Keydesk`, async () => {
      const { name, model } = await start("refused");
      const direct = create({ baseURL: desk.upstream.url, apiKey: desk.credential });
      await Promise.all(
        Object.keys(faults.refusals).map(async (behaviour) => {
          const attempt = async (using, called) => {
            const error = await generateText({ model: using, prompt }).then(() => assert.fail("it was answered"), (thrown) => thrown);
            const last = error.lastError ?? error;
            assert.ok(APICallError.isInstance(last), `${behaviour}: ${last}`);
            return { last, seen: [error.name, error.reason, desk.upstream.calls(called).length] };
          };
          const plain = await attempt(direct(`${behaviour}@${name}-direct`), `${behaviour}@${name}-direct`);
          const through = await attempt(model(behaviour), `${behaviour}@${name}`);
          if (faults.operators.includes(behaviour)) {
            assert.deepEqual([through.last.statusCode, desk.upstream.calls(`${behaviour}@${name}`).length > 0], [502, true]);
            assert.doesNotMatch(through.last.responseBody, /Incorrect API key/);
          } else {
            assert.deepEqual([behaviour, ...through.seen], [behaviour, ...plain.seen]);
          }
        }),
      );
    });
  }

  test("reasons and embeds by the compatible provider", async () => {
    const key = await desk.create("ai-more");
    const provider = createOpenAICompatible({ name: "keydesk", baseURL: desk.base, apiKey: key.key });
    const thought = await generateText({ model: provider("reasoning@ai-more"), prompt });
    assert.equal(thought.reasoningText, "First I think.");
    const { embeddings } = await embedMany({ model: provider.embeddingModel("ok@ai-more"), values: ["a", "b"] });
    assert.deepEqual(embeddings.map((numbers) => [numbers.length, numbers[4]]), [[8, 4 / 4096], [8, 4 / 4096]]);
    assertCounted(await desk.usage(key.id, 2), desk.upstream.reported("@ai-more"), 2);
  });
});
