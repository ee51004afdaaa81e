// Runs every runnable sample of the guides unchanged.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { python, startKeydesk } from "../support.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const guides = ["keys", "security", "developers", "proxies"];
const characters = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#34;": '"', "&#39;": "'", "&amp;": "&" };
const languages = {
  shell: ["bash", "-euo", "pipefail", "-c"],
  python: [python, "-c"],
  node: ["node", "--input-type=module", "-e"],
};

/** What each sample must print. */
const expected = {
  "create-sample": /"key": *"kd_/,
  fingerprint: /^[0-9a-f]{12}$/m,
  "rotate-sample": /"key": *"kd_/,
  "self-rotate-curl": /"key": *"kd_/,
  "revoke-sample": /"status": *"revoked"/,
  "usage-sample": /"counted_until"/,
  "models-curl": /"echo"/,
  "stream-curl": /data: \[DONE\]/,
  "verify-curl": /"valid": *true/,
};

describe("the samples of the guides", () => {
  let keydesk, env;
  before(async () => {
    keydesk = await startKeydesk();
    await keydesk.setUp();
    const key = (name, scope) => keydesk.run(["key", "create", "--org", "acme-ai", "--name", name, "--scope", scope]);
    env = {
      ...process.env,
      KEYDESK_API_KEY: await key("caller", "inference:read,inference:write,analytics:read"),
      KEYDESK_ADMIN_KEY: await key("admin", "admin"),
      KEYDESK_OLD_KEY: await key("old", "inference:read"),
      KEYDESK_UNUSED_KEY: await key("unused", "inference:read"),
      KEYDESK_VERIFY_KEY: await key("verifier", "keys:verify"),
    };
    const { id } = await (await keydesk.call(env.KEYDESK_API_KEY, "/v1/api-keys/self")).json();
    await keydesk.call(env.KEYDESK_ADMIN_KEY, `/v1/api-keys/${id}`, { self_rotate: true }, "PATCH");
  });
  after(() => keydesk.stop());

  for (const guide of guides) {
    test(`in ${guide}`, async () => {
      const page = await (await fetch(`${keydesk.base}/docs/${guide}`)).text();
      const samples = [...page.matchAll(/<pre id="([^"]+)" data-run="([^"]+)"[^>]*>([^<]*)<\/pre>/g)];
      assert.equal(samples.length, page.split("data-run=").length - 1, "each sample is read");
      for (const [, id, language, text] of samples) {
        const code = text.replace(/&[a-z#0-9]+;/g, (name) => characters[name] ?? assert.fail(`${name} in ${id}`));
        assert.ok(!code.includes("curl") || code.includes(keydesk.base), `${id} names this server`);
        const [program, ...args] = languages[language];
        const { stdout } = await promisify(execFile)(program, [...args, code], { env, cwd: here, timeout: 60_000 });
        assert.match(stdout, expected[id] ?? /Say hello|"echo"|hello/i, id);
      }
    });
  }

  test("are all covered by this test", async () => {
    const pages = await Promise.all(guides.map(async (guide) => (await fetch(`${keydesk.base}/docs/${guide}`)).text()));
    for (const id of Object.keys(expected)) assert.ok(pages.some((page) => page.includes(`id="${id}" data-run`)), id);
  });
});
