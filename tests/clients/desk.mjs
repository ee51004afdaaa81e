// A Keydesk in front of the stand-in, and what tests need of both.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { startKeydesk } from "../support.mjs";
import { credential, startUpstream } from "./upstream.mjs";

export { credential } from "./upstream.mjs";

/** What every client has to make of the stand-in's behaviours. */
export const faults = JSON.parse(await readFile(new URL("faults.json", import.meta.url), "utf8"));

export const messages = [{ role: "user", content: "Hello" }];

/** A tool that a model may call. */
export const weather = {
  name: "weather",
  description: "The weather in a city",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
};

/** A value that a model may have to answer with. */
export const tripSchema = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};

/** Starts both, with an organisation and a key that may manage and read. */
export async function startDesk(settings = {}) {
  const upstream = await startUpstream();
  const keydesk = await startKeydesk({ KEYDESK_UPSTREAM_URL: upstream.url, KEYDESK_UPSTREAM_KEY: credential, ...settings });
  await keydesk.setUp();
  const admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin,analytics:read"]);

  /** Creates a key that may call models. */
  async function create(name, body = {}) {
    const request = { name, scopes: ["inference:read", "inference:write"], requests_per_minute: 100_000, ...body };
    const created = await keydesk.call(admin, "/v1/api-keys", request);
    assert.equal(created.status, 201);
    return created.json();
  }

  /** The usage of a key, as soon as so many of its requests are counted. */
  async function usage(id, requests) {
    const deadline = Date.now() + 15_000;
    for (;;) {
      const { data } = await (await keydesk.call(admin, "/v1/usage?group_by=key")).json();
      const own = data.filter((row) => row.group === id);
      const total = own.reduce((sum, row) => add(sum, row), {});
      if (total.requests >= requests || Date.now() > deadline) {
        assert.equal(total.requests, requests, "each request is counted once");
        return total;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  return {
    keydesk,
    upstream,
    admin,
    credential,
    base: `${keydesk.base}/v1`,
    create,
    usage,
    /** What a program needs in its environment to find both. */
    env: {
      ...process.env,
      KEYDESK_BASE: keydesk.base,
      KEYDESK_ADMIN_KEY: admin,
      UPSTREAM_BASE: upstream.url,
      UPSTREAM_CREDENTIAL: credential,
    },
    async stop() {
      await keydesk.stop();
      await upstream.stop();
    },
  };
}

function add(sum, row) {
  const numbers = Object.entries(row).filter(([, value]) => typeof value === "number");
  return { ...sum, ...Object.fromEntries(numbers.map(([name, value]) => [name, (sum[name] ?? 0) + value])) };
}

/** Asserts that the upstream reported the tokens of so many calls, and that a key was counted with exactly these. */
export function assertCounted(counted, reported, calls) {
  assert.equal(reported.calls, calls, "the upstream reported the usage of every call");
  assert.deepEqual([counted.input_tokens, counted.output_tokens], [reported.input, reported.output], "input and output tokens");
}
