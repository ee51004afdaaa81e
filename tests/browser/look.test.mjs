// Every page, in both themes and three widths: accessible, nothing clipped, no errors.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { closeBrowser, closePage, inspect, openPage, person, signIn, startKeydesk } from "./support.mjs";

after(closeBrowser);

const long = "a-name-that-uses-all-of-the-sixty-four-characters-it-can-have-ok";

async function fill(keydesk) {
  const admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin"]);
  const create = async (body) => (await keydesk.call(admin, "/v1/api-keys", { scopes: ["inference:read"], ...body })).json();
  const soon = (days) => new Date(Date.now() + days * 86400000).toISOString();
  await create({ name: "ci-smoke", expires_at: soon(5) });
  await create({ name: "prod-batch", scopes: ["inference:read", "inference:write", "analytics:read"], expires_in_days: 90 });
  await create({ name: long, description: "x".repeat(500), expires_in_days: 3000 });
  const paused = await create({ name: "partner-feed" });
  await keydesk.call(admin, `/v1/api-keys/${paused.id}`, { disabled: true }, "PATCH");
  const ended = await create({ name: "load-test" });
  await keydesk.call(admin, `/v1/api-keys/${ended.id}/revoke`, { reason: "No longer needed" });
  for (let call = 0; call < 3; call += 1) await keydesk.call(ended.key, "/v1/models");
  const used = await create({ name: "web-gateway", scopes: ["inference:read", "inference:write"] });
  for (let call = 0; call < 5; call += 1) await keydesk.call(used.key, "/v1/inference", { model: "gpt-4", prompt: "Hello" });
  for (let tries = 0; tries < 50; tries += 1) {
    const { last_used_at } = await (await keydesk.call(admin, `/v1/api-keys/${used.id}`)).json();
    if (last_used_at) break;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return { used, ended, paused };
}

describe("every page", () => {
  let bare, keydesk, keys;
  before(async () => {
    bare = await startKeydesk();
    keydesk = await startKeydesk();
    await keydesk.setUp();
  });
  after(async () => {
    await bare.stop();
    await keydesk.stop();
  });

  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 375, 320]) {
      test(`is sound in ${colorScheme} at ${width} px`, async () => {
        const options = { colorScheme, viewport: { width, height: 860 } };
        const first = await openPage(bare, options);
        await first.goto(bare.link);
        await inspect(first, "setup");
        await first.getByRole("button", { name: "Set up Keydesk" }).click();
        await first.getByText("Keydesk was not set up").waitFor();
        await inspect(first, "setup-error");
        await first.goto(`${bare.base}/setup`);
        await inspect(first, "setup-closed");
        await closePage(first);

        const page = await openPage(keydesk, options);
        const go = (path) => page.goto(`${keydesk.base}${path}`);
        await go("/sign-in");
        await inspect(page, "sign-in");
        await page.getByLabel("E-mail").fill(`nobody-${colorScheme}-${width}@example.com`);
        await page.getByLabel("Password").fill("wrong");
        await page.getByRole("button", { name: "Sign in" }).click();
        await page.getByText("You are not signed in").waitFor();
        await inspect(page, "sign-in-error");
        await signIn(page, keydesk);
        if (!keys) {
          await inspect(page, "keys-empty");
          keys = await fill(keydesk);
        }
        const key = (entry, act = "") => `/o/acme-ai/keys/${entry.id}${act}`;
        await go("/o/acme-ai/keys");
        await inspect(page, "keys");
        if (width < 960) {
          await page.getByText("Menu").click();
          await inspect(page, "menu");
        }
        await go("/o/acme-ai/keys?q=nothing-like-it");
        await inspect(page, "keys-no-match");
        await go("/o/acme-ai/keys/new?name=invoice-parser&scopes=inference:read,inference:write");
        await inspect(page, "create");
        await go("/o/acme-ai/keys/new?name=prod-batch&scopes=&expires=custom&requests_per_minute=0");
        await page.getByRole("button", { name: "Create API key" }).click();
        await page.getByText("The key was not created").waitFor();
        await inspect(page, "create-error");
        await go(`/o/acme-ai/keys/new?name=shown-${colorScheme}-${width}&scopes=inference:write`);
        await page.getByRole("button", { name: "Create API key" }).click();
        await page.getByRole("heading", { name: "Copy your key now" }).waitFor();
        await inspect(page, "reveal");
        await page.getByLabel("I have saved this key in a safe place").check();
        await page.getByRole("button", { name: "Done" }).click();
        await page.getByRole("heading", { name: /^shown/ }).waitFor();
        await go(key(keys.used));
        await inspect(page, "key");
        await go(key(keys.ended));
        await inspect(page, "key-revoked");
        await go(key(keys.used, "/edit"));
        await inspect(page, "edit");
        await go(key(keys.used, "/disable"));
        await inspect(page, "disable");
        await go(key(keys.paused, "/enable"));
        await inspect(page, "enable");
        await go(key(keys.used, "/revoke"));
        await inspect(page, "revoke");
        await go(key(keys.used));
        await page.getByRole("link", { name: "Revoke", exact: true }).click();
        await page.getByRole("dialog").getByRole("heading").waitFor();
        await inspect(page, "revoke-dialog");
        await go("/o/acme-ai/usage?range=24h");
        await page.getByText("Show the numbers").click();
        await inspect(page, "usage");
        await go("/o/acme-ai/usage?range=90d&by=person");
        await inspect(page, "usage-people");
        await go("/o/acme-ai/usage?range=custom&from=2026-01-02&to=2026-01-01&model=gpt-4");
        await inspect(page, "usage-error");
        await go("/o/acme-ai/usage?range=24h&model=none-like-it");
        await inspect(page, "usage-no-match");
        await go("/o/acme-ai/review");
        await inspect(page, "review");
        await go("/o/acme-ai/review?card=scope_unused");
        await inspect(page, "review-nothing");
        await go("/o/acme-ai/review/print");
        await inspect(page, "review-print");
        for (const by of ["scope", "address", "secret"]) {
          await go(`${key(keys.used, "/usage")}?by=${by}`);
          await inspect(page, `usage-key-${by}`);
        }
        await go("/o/acme-ai/audit");
        await inspect(page, "audit");
        await page.locator("main a[href*='/audit/']").filter({ visible: true }).last().click();
        await inspect(page, "audit-entry");
        await go("/o/acme-ai/audit?q=nothing-like-it");
        await inspect(page, "audit-no-match");
        await go("/o/acme-ai/audit?range=custom&from=2026-01-01&q=web");
        await inspect(page, "audit-days");
        await go("/o/acme-ai/audit?range=custom&from=2026-01-02&to=2026-01-01");
        await inspect(page, "audit-days-error");
        await go("/o/acme-ai/audit/proof");
        await inspect(page, "audit-proof");
        await go(key(keys.used, "/refusals"));
        await inspect(page, "refusals-none");
        await go(key(keys.ended, "/refusals"));
        await page.getByText("Latest refused requests").waitFor();
        await inspect(page, "refusals");
        await go("/account");
        await inspect(page, "account");
        await go("/account/notices");
        await inspect(page, "notices");
        await go("/o/acme-ai/mail");
        await inspect(page, "mail");
        await go("/o/acme-ai/mail?state=failed");
        await inspect(page, "mail-empty");
        for (const guide of ["", "/keys", "/security", "/developers", "/proxies", "/audit", "/api"]) {
          await go(`/docs${guide}`);
          await inspect(page, `docs${guide.replace("/", "-")}`);
        }
        await go("/o/acme-ai/keys/key_00000000000000000000000000");
        await inspect(page, "error");
        await closePage(page);
      });
    }
  }
});
