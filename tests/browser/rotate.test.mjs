// A key is rotated in the portal, its clients are watched, and the old secret is ended.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { closeBrowser, closePage, inspect, openPage, signIn, startKeydesk } from "./support.mjs";

after(closeBrowser);

for (const javaScriptEnabled of [true, false]) {
  describe(`rotating a key ${javaScriptEnabled ? "with" : "without"} scripts`, () => {
    let keydesk, page, old, secret;
    before(async () => {
      keydesk = await startKeydesk();
      await keydesk.setUp();
      old = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "web-gateway", "--scope", "inference:read", "--expires", "90d"]);
      assert.equal((await keydesk.call(old, "/v1/models")).status, 200);
      page = await openPage(keydesk, { javaScriptEnabled });
      await signIn(page, keydesk);
    });
    after(async () => {
      await closePage(page);
      await keydesk.stop();
    });

    test("the list links to the form, which explains the effect", async () => {
      await page.getByRole("link", { name: "Rotate web-gateway" }).click();
      await page.getByRole("heading", { name: "Rotate web-gateway" }).waitFor();
      assert.equal(await page.getByRole("radio", { name: /^24 hours/ }).isChecked(), true);
      await page.getByRole("radio", { name: /^Custom/ }).check();
      await page.getByLabel("Last day").fill("2001-01-01");
      await page.getByRole("button", { name: "Rotate key" }).click();
      await page.getByText("The key was not rotated: 1 problem").waitFor();
      assert.equal(await page.getByLabel("Last day").inputValue(), "2001-01-01");
      await page.getByRole("radio", { name: /^24 hours/ }).check();
      await page.getByRole("button", { name: "Rotate key" }).click();
      await page.getByRole("heading", { name: "Copy your key now" }).waitFor();
      secret = await page.locator("[data-secret]").inputValue();
      assert.match(secret, /^kd_[0-9A-Za-z]{46}$/);
      assert.notEqual(secret, old);
      await page.getByText(/^The old secret works until \d+ \w+ 20\d\d, \d\d:\d\d\.$/).waitFor();
    });

    test("the key's page names the clients that still use the old secret", async () => {
      await page.getByLabel("I have saved this key in a safe place").check();
      await page.getByRole("button", { name: "Done" }).click();
      await page.getByRole("heading", { name: "web-gateway", level: 1 }).waitFor();
      const cockpit = page.getByRole("region", { name: /^Rotation: the old secret works for another 2[34] h/ });
      await cockpit.waitFor();
      await cockpit.getByText("has not switched yet").waitFor();
      assert.equal((await keydesk.call(old, "/v1/models")).headers.get("x-key-superseded"), "true");
      if (javaScriptEnabled) {
        await page.evaluate(() => { window.sameDocument = true; document.getElementById("rotation-end").focus(); });
      }
      // A request in the second of the rotation may count as earlier, and counts are written once a second, so
      // keep sending requests.
      const told = cockpit.getByText("If you end it now, this client gets");
      for (let tries = 0; tries < 100 && !(await told.isVisible()); tries++) {
        await keydesk.call(old, "/v1/models");
        if (javaScriptEnabled) {
          await told.waitFor({ timeout: 1000 }).catch(() => {});
        } else {
          await page.reload();
          await cockpit.waitFor();
        }
      }
      await told.waitFor();
      await cockpit.getByRole("row", { name: /127\.0\.0\.1/ }).waitFor();
      if (javaScriptEnabled) {
        assert.equal(await page.evaluate(() => window.sameDocument), true, "the page was not loaded again");
        assert.equal(await page.evaluate(() => document.activeElement.id), "rotation-end", "the focus stays");
        assert.equal(await cockpit.locator("[hx-trigger]").count() + (await page.locator("#rotation[hx-trigger]").count()), 1);
      }
    });

    test("the old secret is extended, and ended after a confirmation", async () => {
      await page.getByRole("link", { name: "Extend" }).click();
      await page.getByRole("radio", { name: /^3 days/ }).check();
      await page.getByRole("button", { name: "Extend old secret" }).click();
      await page.getByText(/^The old secret of web-gateway works until/).waitFor();
      await page.getByRole("link", { name: "End the old secret now" }).click();
      const place = javaScriptEnabled ? page.getByRole("dialog") : page;
      await place.getByRole("heading", { name: "End the old secret of web-gateway?" }).waitFor();
      assert.equal((await keydesk.call(old, "/v1/models")).status, 200);
      if (javaScriptEnabled) await inspect(page, "rotation-end-dialog");
      await place.getByRole("button", { name: "End the old secret now" }).click();
      await page.getByText("The old secret of web-gateway has ended.").waitFor();
      assert.equal((await keydesk.call(old, "/v1/models")).status, 401);
      assert.equal((await keydesk.call(secret, "/v1/models")).status, 200);
      assert.equal(await page.locator("#rotation").count(), 0);
      await page.getByRole("link", { name: "Rotate", exact: true }).waitFor();
    });

    test("a calendar address is created, shown once, and revoked", async () => {
      await page.goto(`${keydesk.base}/o/acme-ai/keys`);
      await page.getByRole("link", { name: "Expiry calendar" }).click();
      await page.getByRole("button", { name: "Create address" }).click();
      const address = await page.getByLabel("Calendar address").inputValue();
      const read = async () => (await fetch(address)).status;
      assert.equal(await read(), 200);
      await page.goto(`${keydesk.base}/o/acme-ai/calendar`);
      assert.equal(await page.getByLabel("Calendar address").count(), 0);
      await page.getByRole("button", { name: "Revoke address" }).click();
      await page.getByText("Your calendar address no longer works.").waitFor();
      assert.equal(await read(), 404);
    });
  });
}

describe("the rotation", () => {
  let keydesk, id;
  before(async () => {
    keydesk = await startKeydesk();
    await keydesk.setUp();
    const admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin"]);
    const body = { name: "web-gateway", description: "Public gateway, eu-central. Deployed by the platform team.", scopes: ["inference:read", "inference:write", "keys:verify"], expires_in_days: 90, requests_per_minute: 100000 };
    const made = await (await keydesk.call(admin, "/v1/api-keys", body)).json();
    id = made.id;
    const call = (key, agent) => fetch(`${keydesk.base}/v1/models`, { headers: { authorization: `Bearer ${key}`, "user-agent": agent } });
    for (let calls = 0; calls < 30; calls += 1) await call(made.key, "openai-python/2.9.1");
    await call(made.key, "nightly-report/3.1");
    const { key } = await (await keydesk.call(admin, `/v1/api-keys/${id}/rotate`, { overlap: "24h" })).json();
    for (let calls = 0; calls < 60; calls += 1) await call(key, "openai-python/2.9.1");
    for (let calls = 0; calls < 5; calls += 1) await call(made.key, "batch-export/1.4");
    await keydesk.call(admin, "/v1/api-keys", { name: "idle", scopes: ["inference:read"], expires_in_days: 5 });
  });
  after(() => keydesk.stop());

  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 375, 320]) {
      test(`is sound in ${colorScheme} at ${width} px`, async () => {
        const page = await openPage(keydesk, { colorScheme, viewport: { width, height: 860 } });
        await signIn(page, keydesk);
        await inspect(page, "keys-rotating");
        const key = `${keydesk.base}/o/acme-ai/keys/${id}`;
        await page.goto(key);
        await inspect(page, "key-rotating");
        await page.goto(`${key}/rotation/end`);
        await inspect(page, "rotation-end");
        await page.goto(`${key}/rotation/move`);
        await inspect(page, "rotation-move");
        await page.goto(`${keydesk.base}/o/acme-ai/keys?q=idle`);
        const idle = await page.locator("tbody th a").getAttribute("href");
        await page.goto(`${keydesk.base}${idle}/rotate`);
        await inspect(page, "rotate");
        await page.getByRole("radio", { name: /^Custom/ }).check();
        await page.getByRole("button", { name: "Rotate key" }).click();
        await page.getByText("The key was not rotated").waitFor();
        await inspect(page, "rotate-error");
        await page.goto(`${keydesk.base}/o/acme-ai/calendar`);
        await inspect(page, "calendar");
        await page.locator("main form button").first().click();
        await page.getByLabel("Calendar address").waitFor();
        await inspect(page, "calendar-address");
        await closePage(page);
      });
    }
  }
});
