// The server behaves as its OpenAPI document says, whatever it receives.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { python, startKeydesk } from "../support.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const scopes = ["inference:read", "inference:write", "analytics:read", "keys:verify", "admin"];

test("schemathesis finds no server error and no deviation in thousands of requests", async () => {
  const keydesk = await startKeydesk();
  try {
    await keydesk.setUp();
    const admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin"]);
    const body = { name: "fuzzer", scopes, requests_per_minute: 1_000_000 };
    const { key } = await (await keydesk.call(admin, "/v1/api-keys", body)).json();
    const args = ["--config-file", path.join(here, "schemathesis.toml"), "run", `${keydesk.base}/v1/openapi.json`];
    const options = ["--header", `Authorization: Bearer ${key}`, "--seed", "1", "--max-examples", "260"];
    const child = spawn(path.join(path.dirname(python), "schemathesis"), [...args, ...options, "--no-color"]);
    let output = "";
    child.stdout.on("data", (part) => (output += part));
    child.stderr.on("data", (part) => (output += part));
    const status = await new Promise((resolve) => child.on("exit", resolve));
    assert.equal(status, 0, output);
    const made = Number(output.match(/([0-9]+) generated/)?.[1]);
    assert.ok(made >= 8_000, `${made} requests are too few:\n${output}`);
  } finally {
    await keydesk.stop();
  }
});
