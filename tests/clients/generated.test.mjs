// A typed client, generated from the OpenAPI document of the running server.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { test } from "node:test";
import { promisify } from "node:util";
import { startKeydesk } from "../support.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const bin = (name) => path.join(here, "node_modules/.bin", name);
const run = (program, args, cwd) =>
  promisify(execFile)(program, args, { cwd, timeout: 120_000 }).catch((error) => assert.fail(error.stdout + error.stderr));

test("a client that openapi-typescript generates creates, lists, rotates and revokes a key", async () => {
  const keydesk = await startKeydesk();
  await mkdir(path.join(here, "node_modules/.cache"), { recursive: true });
  const folder = await mkdtemp(path.join(here, "node_modules/.cache/generated-"));
  try {
    await keydesk.setUp();
    const admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin"]);
    const document = await (await fetch(`${keydesk.base}/v1/openapi.json`)).text();
    await writeFile(path.join(folder, "openapi.json"), document);
    await writeFile(path.join(folder, "package.json"), '{ "type": "module" }');
    await run(bin("openapi-typescript"), ["openapi.json", "-o", "schema.d.ts"], folder);
    await copyFile(path.join(here, "generated-client.ts"), path.join(folder, "client.ts"));
    await run(bin("tsc"), ["--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext", "client.ts", "schema.d.ts"], folder);

    const { liveOneLife } = await import(pathToFileURL(path.join(folder, "client.js")));
    const { secret, listed, rotated, patched, revoked, refused } = await liveOneLife(keydesk.base, admin, "generated");
    assert.match(secret, /^kd_/);
    assert.deepEqual(listed.map((key) => key.name), ["generated", "admin"]);
    assert.match(rotated.key, /^kd_/);
    assert.notEqual(rotated.key, secret);
    assert.ok(rotated.rotation.old.hint.endsWith(secret.slice(-4)));
    assert.equal(patched.description, "From a generated client");
    assert.deepEqual([revoked.status, revoked.revoked.reason], ["revoked", "done"]);
    assert.deepEqual([refused.status, refused.code, refused.errors[0].field], [422, "validation_failed", "name"]);
  } finally {
    await rm(folder, { recursive: true });
    await keydesk.stop();
  }
});
