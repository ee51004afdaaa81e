// The settings of an organisation: the key policy with its live preview, and limit requests.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { closeBrowser, closePage, inspect, openPage, person, signIn, startKeydesk } from "./support.mjs";

after(closeBrowser);

describe("the settings", () => {
  let keydesk, key;
  before(async () => {
    keydesk = await startKeydesk();
    await keydesk.setUp();
    const admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin"]);
    const create = async (body) => (await keydesk.call(admin, "/v1/api-keys", { scopes: ["inference:read"], ...body })).json();
    await create({ name: "docs-search", expires_in_days: 300 });
    await create({ name: "partner-feed" });
    await create({ name: "ci-smoke", expires_in_days: 7, requests_per_minute: 5000 });
    key = await create({ name: "web-gateway", scopes: ["inference:read", "inference:write"], expires_in_days: 90 });
  });
  after(() => keydesk.stop());

  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 375, 320]) {
      test(`are sound in ${colorScheme} at ${width} px`, async () => {
        const page = await openPage(keydesk, { colorScheme, viewport: { width, height: 860 } });
        await signIn(page, keydesk);
        const go = (path) => page.goto(`${keydesk.base}/o/acme-ai${path}`);
        await go("/settings");
        await inspect(page, "settings");
        await go("/settings/policy");
        await inspect(page, "policy");
        await page.getByLabel("Maximum key lifetime").selectOption("90");
        await page.getByLabel("Not allowed").check();
        await page.getByLabel("analytics:read").uncheck();
        await page.getByLabel("Maximum limit").fill("1000");
        // The preview and the marks follow the choices.
        await page.getByText("keys would expire earlier").waitFor();
        await page.getByText("1 key would get a lower limit").waitFor();
        await page.getByText("was up to 10 years").waitFor();
        await page.getByText("was on").waitFor();
        await inspect(page, "policy-preview");
        await page.getByLabel("Maximum limit").fill("none");
        await page.getByRole("button", { name: "Save policy" }).click();
        await page.getByText("The policy was not saved").waitFor();
        await inspect(page, "policy-error");
        await go("/settings/models");
        await inspect(page, "models-without-catalogue");
        await go("/settings/requests");
        await inspect(page, "limit-requests");
        await go(`/keys/${key.id}/limit`);
        await page.getByLabel("Requests per minute").fill("900000");
        await page.getByRole("button", { name: "Send request" }).click();
        await page.getByText("Request not sent").waitFor();
        await inspect(page, "limit-ask-error");
        await closePage(page);
      });
    }
  }

  test("a saved policy applies to the form for new keys", async () => {
    const page = await openPage(keydesk);
    await signIn(page, keydesk);
    await page.goto(`${keydesk.base}/o/acme-ai/settings/policy`);
    await page.getByLabel("Maximum key lifetime").selectOption("90");
    await page.getByLabel("Not allowed").check();
    await page.getByText("keys would expire earlier").waitFor();
    await page.getByRole("button", { name: "Save policy" }).click();
    await page.getByText("The key policy was saved.").waitFor();
    await inspect(page, "policy-waiting");
    await page.goto(`${keydesk.base}/o/acme-ai/keys/new`);
    await page.getByText("The key policy allows at most 90 days.").waitFor();
    assert.equal(await page.getByLabel("Never").count(), 0);
    assert.equal(await page.getByRole("radio", { name: /180 days/ }).count(), 0);
    await inspect(page, "create-under-policy");
    await closePage(page);
  });
});
