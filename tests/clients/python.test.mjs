// Clients for Python. Each file is a table of tests of its own, against a Keydesk of its own.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { promisify } from "node:util";
import { python, startKeydesk } from "../support.mjs";
import { startDesk } from "./desk.mjs";

const cwd = fileURLToPath(new URL(".", import.meta.url));

async function unittest(module, env) {
  const { stderr } = await promisify(execFile)(python, ["-B", "-m", "unittest", module], { cwd, env, timeout: 300_000 });
  assert.match(stderr, /^Ran [1-9]\d* tests? in .*\n\nOK$/m);
}

test("the openai client for Python, with the echo", async () => {
  const keydesk = await startKeydesk();
  try {
    await keydesk.setUp();
    const admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin"]);
    await unittest("openai_client", { ...process.env, KEYDESK_BASE: keydesk.base, KEYDESK_ADMIN_KEY: admin });
  } finally {
    await keydesk.stop();
  }
});

for (const [name, module] of [
  ["the openai client for Python", "openai_upstream"],
  ["LangChain", "langchain_client"],
  ["the SDK of LiteLLM", "litellm_client"],
  ["Authlib", "authlib_client"],
  ["a client that openapi-python-client generates", "generated_client"],
]) {
  test(`${name}, with an upstream`, async () => {
    const desk = await startDesk();
    const home = await mkdtemp(path.join(tmpdir(), "keydesk-client-"));
    try {
      await unittest(module, { ...desk.env, HOME: home });
    } finally {
      await desk.stop();
      await rm(home, { recursive: true });
    }
  });
}
