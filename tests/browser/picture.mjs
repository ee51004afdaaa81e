// Takes the picture in the README: `node tests/browser/picture.mjs`, with the debug binary or KEYDESK_BINARY.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { closeBrowser, closePage, openPage, signIn, startKeydesk } from "./support.mjs";

const folder = fileURLToPath(new URL(".", import.meta.url));

/** Name, owner, scopes, age and days left (null: never), requests per hour. */
const keys = [
  ["prod-gateway", "jonas", "inference:read,inference:write", 62, 28, 1840],
  ["nightly-batch", "mara", "inference:write", 85, 5, 620],
  ["search-ranking", "priya", "inference:read,inference:write", 30, 60, 2400],
  ["eu-embeddings", "priya", "inference:write", 12, 78, 910],
  ["usage-report", "mara", "analytics:read", 140, 225, 36],
  ["edge-authorizer", "jonas", "keys:verify", 40, 140, 5200],
  ["partner-labs", "mara", "inference:read", 50, 40, 0],
  ["load-test", "jonas", "inference:read,inference:write", 9, 21, 240],
];
const people = { jonas: "Jonas Weber", priya: "Priya Nair" };

/** Gives the keys their age and 7 days of use, behind the server's back. */
const history = String.raw`
  const { DatabaseSync } = require("node:sqlite");
  const database = new DatabaseSync(process.env.FILE, { timeout: 10000 });
  const [hour, day] = [3_600_000_000, 86_400_000_000];
  const now = Date.now() * 1000;
  const add = database.prepare("INSERT OR REPLACE INTO usage_counts (org_id, key_id, secret_id, width, start, scope, model, outcome, requests, input_tokens, output_tokens) SELECT org_id, id, secret_id, 3600, ?, 'inference:write', 'gpt-4', 'ok', ?, 0, 0 FROM api_keys WHERE name = ?");
  const age = database.prepare("UPDATE api_keys SET created_at = created_at - ?, expiring_at = expires_at - ?, last_used_at = ? WHERE name = ?");
  for (const [name, , , days, left, requests] of JSON.parse(process.env.KEYS)) {
    const step = [30, 14, 7, 3, 1].find((step) => 2 * step < days + left) ?? 0;
    age.run(days * day, step * day, requests ? now - 40_000_000 - ((days * 7) % 9) * 60_000_000 : null, name);
    for (let ago = 1; requests && ago < 168; ago += 1) {
      const start = now - (now % hour) - ago * hour;
      const daily = 0.55 + 0.45 * Math.sin((ago / 24 + days) * 1.3);
      add.run(start, Math.round(requests * daily), name);
    }
  }
  database.prepare("UPDATE api_keys SET created_at = created_at - ? WHERE name = 'terraform'").run(20 * day);`;

const keydesk = await startKeydesk();
try {
  await keydesk.setUp();
  const page = await openPage(keydesk);
  await signIn(page, keydesk);
  for (const [user, name] of Object.entries(people)) await join(page, user, name);
  const admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "terraform", "--scope", "admin", "--expires", "90d"]);
  const made = {};
  for (const [name, owner, scopes, , days] of keys) {
    const body = { name, scopes: scopes.split(","), owner: `${owner}@acme.example`, expires_in_days: days };
    const answer = await keydesk.call(admin, "/v1/api-keys", body);
    assert.equal(answer.status, 201, await answer.clone().text());
    made[name] = (await answer.json()).id;
  }
  await keydesk.call(admin, `/v1/api-keys/${made["partner-labs"]}`, { disabled: true }, "PATCH");
  await keydesk.call(admin, `/v1/api-keys/${made["load-test"]}/revoke`, {});
  // Counts arrive a second later.
  await page.waitForTimeout(3000);
  execFileSync(path.join(folder, "node_modules/node/bin/node"), ["--no-warnings", "-e", history], {
    env: { FILE: path.join(keydesk.data, "keydesk.sqlite3"), KEYS: JSON.stringify(keys) },
    stdio: "inherit",
  });
  await page.reload();
  await page.screenshot({ path: path.join(folder, "pictures/keys.png") });
  await closePage(page);
} finally {
  await closeBrowser();
  await keydesk.stop();
}

/** Invites someone and accepts in their place. */
async function join(page, user, name) {
  const headers = { origin: keydesk.base };
  const email = `${user}@acme.example`;
  const invited = await page.request.post(`${keydesk.base}/o/acme-ai/members`, { headers, form: { email, role: "admin" } });
  assert.ok(invited.ok(), await invited.text());
  const link = await keydesk.mailedLink(email, "invitation");
  const other = await openPage(keydesk);
  const form = { name, password: "correct horse battery staple" };
  const accepted = await other.request.post(link, { headers, form });
  assert.ok(accepted.ok(), await accepted.text());
  await other.request.post(`${link}/accept`, { headers });
  await closePage(other);
}
