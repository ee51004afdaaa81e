// The audit trail, refused requests, and checkpoints by e-mail: every page in both themes and three widths, from
// the confirmation of an external address to its removal.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { closeBrowser, closePage, inspect, openPage, signIn, startKeydesk } from "./support.mjs";

after(closeBrowser);

async function fill(keydesk) {
  const admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin"]);
  const create = async (body) => (await keydesk.call(admin, "/v1/api-keys", { scopes: ["inference:read"], ...body })).json();
  const gateway = await create({ name: "web-gateway", scopes: ["inference:read", "inference:write"], expires_in_days: 90 });
  const path = `/v1/api-keys/${gateway.id}`;
  await keydesk.call(admin, path, { requests_per_minute: 1200 }, "PATCH");
  await keydesk.call(admin, path, { scopes: ["inference:read"], description: "For the chat on our pages" }, "PATCH");
  await keydesk.call(admin, `${path}/rotate`, { overlap: "24h" });
  const ended = await create({ name: "a-name-that-uses-all-of-the-sixty-four-characters-it-can-have-ok" });
  await keydesk.call(admin, `/v1/api-keys/${ended.id}/revoke`, { reason: "Found in a public repository, replaced at once" });
  const denied = await keydesk.call(gateway.key, "/v1/inference", { model: "echo", prompt: "Hello" });
  assert.equal(denied.status, 403);
  await keydesk.call(ended.key, "/v1/models");
  return { gateway, ended, request: denied.headers.get("x-request-id") };
}

// A server per theme: an admin can ask at most five addresses an hour.
for (const colorScheme of ["light", "dark"]) describe(`audit, ${colorScheme}`, () => {
  let keydesk, made;
  before(async () => {
    keydesk = await startKeydesk({ KEYDESK_TICK: "1s" });
    await keydesk.setUp();
    made = await fill(keydesk);
  });
  after(() => keydesk.stop());

  for (const width of [1280, 375, 320]) {
    test(`is sound at ${width} px`, async () => {
      const page = await openPage(keydesk, { colorScheme, viewport: { width, height: 860 } });
      const go = (path) => page.goto(`${keydesk.base}${path}`);
      await signIn(page, keydesk);
      await go("/o/acme-ai/audit");
      for (let tries = 0; tries < 50 && (await page.getByText("Unbroken from entry 1").count()) === 0; tries += 1) {
        await page.waitForTimeout(200);
        await page.reload();
      }
      await inspect(page, "trail");
      await go(`/o/acme-ai/audit?target=${made.gateway.id}&kind=key.updated&range=7d`);
      await inspect(page, "trail-narrowed");
      await go("/o/acme-ai/audit/4");
      await page.getByRole("heading", { name: "Entry 5" }).waitFor();
      await inspect(page, "trail-entry");
      await go(`/o/acme-ai/refusals?request=${made.request}`);
      await page.getByText("Refused").first().waitFor();
      await inspect(page, "why-denied");
      await go("/o/acme-ai/refusals");
      await inspect(page, "why-denied-all");
      await go("/o/acme-ai/refusals?request=req_00000000000000000000000000");
      await inspect(page, "why-denied-unknown");

      const outside = `witness-${colorScheme}-${width}@outside.example`;
      await go("/o/acme-ai/settings/checkpoints");
      await inspect(page, "checkpoints-none");
      await page.getByLabel("External e-mail address").fill("nobody");
      await page.getByRole("button", { name: "Send confirmation" }).click();
      await page.getByText("Confirmation not sent").waitFor();
      await inspect(page, "checkpoints-error");
      await page.getByLabel("External e-mail address").fill(outside);
      await page.getByRole("button", { name: "Send confirmation" }).click();
      await page.getByText("can confirm until").waitFor();
      await inspect(page, "checkpoints-asked");

      const reader = await openPage(keydesk, { colorScheme, viewport: { width, height: 860 } });
      const link = await keydesk.mailedLink(outside, "audit_confirmation");
      await reader.goto(link);
      await inspect(reader, "checkpoints-confirm");
      await reader.getByRole("button", { name: "Confirm this address" }).click();
      await reader.getByRole("heading", { name: "The address is confirmed" }).waitFor();
      await inspect(reader, "checkpoints-confirmed");
      await reader.goto(link);
      await inspect(reader, "checkpoints-spent");
      await closePage(reader);

      await page.reload();
      await inspect(page, "checkpoints-mailed");
      await page.getByRole("button", { name: "Stop sending checkpoints" }).click();
      await page.getByText("Checkpoints are no longer sent by e-mail").waitFor();
      await go("/docs/audit");
      await inspect(page, "docs-audit");
      await closePage(page);
    });
  }
});
