// The Codex CLI, which speaks the Responses API: a turn with a command that it runs, and one that fails.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, describe, test } from "node:test";
import { assertCounted, startDesk } from "./desk.mjs";
import { text } from "./upstream-replies.mjs";

const codex = fileURLToPath(new URL("node_modules/.bin/codex", import.meta.url));

describe("the Codex CLI", () => {
  let desk;
  before(async () => (desk = await startDesk()));
  after(() => desk.stop());

  /** Runs one turn in a home of its own, and returns its events. */
  async function turn(key, model) {
    const home = await mkdtemp(path.join(tmpdir(), "keydesk-codex-"));
    const config = `
      model = "${model}"
      model_provider = "keydesk"
      check_for_update_on_startup = false
      analytics.enabled = false
      features.plugins = false
      [model_providers.keydesk]
      name = "Keydesk"
      base_url = "${desk.base}"
      env_key = "KEYDESK_API_KEY"
      wire_api = "responses"
      stream_max_retries = 1
      request_max_retries = 1`;
    try {
      await writeFile(path.join(home, "config.toml"), config);
      const args = ["exec", "--skip-git-repo-check", "--strict-config", "--ephemeral", "--json", "-s", "read-only", "-C", home, "Say hello"];
      const env = { PATH: process.env.PATH, HOME: home, CODEX_HOME: home, KEYDESK_API_KEY: key };
      const child = spawn(codex, args, { env, stdio: ["ignore", "pipe", "pipe"], timeout: 60_000, killSignal: "SIGKILL" });
      const out = [];
      const errors = [];
      child.stdout.on("data", (part) => out.push(part));
      child.stderr.on("data", (part) => errors.push(part));
      const status = await new Promise((resolve, reject) => child.on("close", resolve).on("error", reject));
      const events = Buffer.concat(out).toString().split("\n").filter(Boolean).map((line) => JSON.parse(line));
      return { status, events, errors: Buffer.concat(errors).toString() };
    } finally {
      await rm(home, { recursive: true });
    }
  }

  test("runs the command that the model calls and says what the model says, counted exactly", async () => {
    const key = await desk.create("codex");
    const { status, events, errors } = await turn(key.key, "ok@codex");
    assert.equal(status, 0, errors);
    const said = events.filter((event) => event.item?.type === "agent_message").map((event) => event.item.text);
    assert.deepEqual(said, [text]);
    const [first, second, ...more] = desk.upstream.calls("ok@codex");
    assert.deepEqual([first.route, second.route, more], ["/responses", "/responses", []]);
    const result = second.body.input.find((item) => item.type === "function_call_output");
    assert.equal(result.call_id, "call_1");
    const reported = desk.upstream.reported("@codex");
    const { usage } = events.find((event) => event.type === "turn.completed");
    assert.deepEqual([usage.input_tokens, usage.output_tokens], [reported.input, reported.output]);
    assertCounted(await desk.usage(key.id, 2), reported, 2);
  });

  test("reports a stream that fails, after it tried again", async () => {
    const key = await desk.create("codex-stops");
    const { status, events } = await turn(key.key, "stops@codex");
    assert.notEqual(status, 0);
    assert.ok(events.some((event) => event.type === "turn.failed"), JSON.stringify(events));
    const { length } = desk.upstream.calls("stops@codex");
    assert.equal(length, 2);
    const counted = await desk.usage(key.id, length);
    assert.deepEqual([counted.ok, counted.server_errors], [0, length]);
  });

  test("says why a key is refused", async () => {
    const { status, events } = await turn("kd_unknown", "ok@codex-refused");
    assert.notEqual(status, 0);
    const failed = events.find((event) => event.type === "turn.failed");
    assert.match(failed.error.message, /401/);
    assert.equal(desk.upstream.calls("ok@codex-refused").length, 0);
  });
});
