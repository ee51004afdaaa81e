// The openai client for Python; only the base URL and the key are set.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { promisify } from "node:util";
import { python, startKeydesk } from "../support.mjs";

test("the openai client for Python", async () => {
  const keydesk = await startKeydesk();
  try {
    await keydesk.setUp();
    const admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin"]);
    const env = { ...process.env, KEYDESK_BASE: keydesk.base, KEYDESK_ADMIN_KEY: admin };
    const file = fileURLToPath(new URL("openai_client.py", import.meta.url));
    await promisify(execFile)(python, ["-m", "unittest", "-q", file], { env, timeout: 120_000 });
  } finally {
    await keydesk.stop();
  }
});
