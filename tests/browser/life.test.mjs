// The life of a key through the portal only, from the printed set-up link.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { closeBrowser, closePage, openPage, person, startKeydesk } from "./support.mjs";

after(closeBrowser);

for (const javaScriptEnabled of [true, false]) {
  describe(`the life of a key ${javaScriptEnabled ? "with" : "without"} scripts`, () => {
    let keydesk, page, secret;
    before(async () => {
      keydesk = await startKeydesk();
      page = await openPage(keydesk, { javaScriptEnabled });
    });
    after(async () => {
      await closePage(page);
      await keydesk.stop();
    });

    test("the printed link leads to an organisation without keys", async () => {
      await page.goto(keydesk.link);
      await page.getByLabel("Organisation").fill(person.organization);
      await page.getByLabel("Your name").fill(person.name);
      await page.getByLabel("E-mail").fill(person.email);
      await page.getByLabel("Password").fill(person.password);
      await page.getByRole("button", { name: "Set up Keydesk" }).click();
      await page.getByRole("heading", { name: "No API keys yet" }).waitFor();
    });

    test("a signed-out person is redirected from / to sign-in and back", async () => {
      await page.getByText(person.email).click();
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByRole("heading", { name: "Sign in to Keydesk" }).waitFor();
      await page.goto(keydesk.base);
      await page.getByLabel("E-mail").fill(person.email);
      await page.getByLabel("Password").fill(person.password);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByRole("heading", { name: "API keys", level: 1 }).waitFor();
    });

    test("a key is created and shown once", async () => {
      await page.getByRole("link", { name: "Create API key" }).click();
      await page.getByLabel("Name", { exact: true }).fill("invoice-parser");
      await page.getByLabel("Description").fill("Reads supplier invoices");
      const scopes = page.getByRole("group", { name: "Scopes" });
      assert.equal(await scopes.getByRole("checkbox", { name: "inference:read" }).isChecked(), true);
      assert.equal(await scopes.getByRole("checkbox", { name: "admin" }).isChecked(), false);
      await scopes.getByRole("checkbox", { name: "inference:write" }).check();
      const expiration = page.getByRole("group", { name: "Expiration" });
      assert.equal(await expiration.getByRole("radio", { name: "90 days" }).isChecked(), true);
      if (javaScriptEnabled) {
        const summary = page.locator("[data-summary]");
        assert.match(await summary.innerText(), /^invoice-parser can list models and run models until \d+ \w+ 20\d\d, \d\d:\d\d, limited to 600 requests a minute\.$/);
      }
      await page.getByRole("button", { name: "Create API key" }).click();
      await page.getByRole("heading", { name: "Copy your key now" }).waitFor();
      secret = await page.locator("[data-secret]").inputValue();
      assert.match(secret, /^kd_[0-9A-Za-z]{46}$/);
    });

    if (javaScriptEnabled) {
      test("Copy copies the secret and says so", async () => {
        await page.getByRole("button", { name: "Copy" }).first().click();
        await page.waitForFunction(() => document.getElementById("live").textContent === "Copied");
        assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
      });

      test("the .env file is created in the browser", async () => {
        const waiting = page.waitForEvent("download");
        await page.getByRole("button", { name: "Download .env" }).click();
        const download = await waiting;
        const chunks = [];
        for await (const chunk of await download.createReadStream()) chunks.push(chunk);
        assert.equal(Buffer.concat(chunks).toString(), `ACME_AI_API_KEY=${secret}\n`);
      });

      test("the examples can be switched without leaving the page", async () => {
        await page.getByRole("radio", { name: "Python" }).check();
        await page.locator("#python").waitFor();
        assert.equal(await page.locator("#shell").isVisible(), false);
        assert.ok(!(await page.locator("#python").innerText()).includes(secret));
      });

      test("the first request is noticed", async () => {
        const answer = await keydesk.call(secret, "/v1/inference", { model: "gpt-4", prompt: "Hello" });
        assert.equal(answer.status, 200);
        await page.getByText(/^First used \d\d:\d\d from 127\.0\.0\.1\.$/).waitFor({ timeout: 15000 });
      });

      test("leaving asks for confirmation until the key is marked as saved", async () => {
        let asked = 0;
        page.once("dialog", (dialog) => { asked += 1; return dialog.dismiss(); });
        await page.evaluate(() => { location.href = "/account"; });
        await page.waitForTimeout(300);
        assert.equal(asked, 1);
      });
    } else {
      test("the key works", async () => {
        assert.equal((await keydesk.call(secret, "/v1/inference", { model: "gpt-4", prompt: "Hello" })).status, 200);
      });
    }

    test("Done requires the key to be marked as saved", async () => {
      await page.getByRole("button", { name: "Done" }).click();
      assert.equal(await page.getByRole("heading", { name: "Copy your key now" }).isVisible(), true);
      await page.getByLabel("I have saved this key in a safe place").check();
      await page.getByRole("button", { name: "Done" }).click();
      await page.getByRole("heading", { name: "invoice-parser" }).waitFor();
    });

    test("neither Back nor reload shows the secret again", async () => {
      const holdsIt = () => page.evaluate((text) => document.documentElement.outerHTML.includes(text) ||
        [...document.querySelectorAll("textarea, input")].some((field) => field.value.includes(text)), secret);
      if (!javaScriptEnabled) return;
      await page.goBack().catch(() => {});
      assert.equal(await holdsIt(), false);
      await page.goto(`${keydesk.base}/o/acme-ai/keys`);
      assert.equal(await holdsIt(), false);
      const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
      assert.ok(!kept.includes(secret));
    });

    test("the list shows its last four characters", async () => {
      await page.goto(`${keydesk.base}/o/acme-ai/keys`);
      const row = page.getByRole("row", { name: /invoice-parser/ });
      await row.getByText(`kd_…${secret.slice(-4)}`).waitFor();
      await row.getByText("Active").waitFor();
    });

    test("revoking asks for the name of a key in use", async () => {
      await waitUntilUsed(page);
      await page.getByRole("link", { name: "invoice-parser", exact: true }).click();
      await page.getByRole("link", { name: "Revoke", exact: true }).click();
      await page.getByRole("heading", { name: "Revoke invoice-parser?" }).waitFor();
      await page.getByLabel("Reason").fill("Leaked");
      await page.getByLabel("Type the key's name").fill("something else");
      await page.getByRole("button", { name: "Revoke key" }).click();
      await page.getByText("The key was not revoked: 1 problem").waitFor();
      assert.equal(await page.getByLabel("Reason").inputValue(), "Leaked");
      await page.getByLabel("Type the key's name").fill("invoice-parser");
      await page.getByRole("button", { name: "Revoke key" }).click();
      await page.getByText("invoice-parser was revoked.").waitFor();
      await page.getByRole("row", { name: /invoice-parser/ }).getByText("Revoked", { exact: true }).waitFor();
      assert.equal((await keydesk.call(secret, "/v1/models")).status, 401);
    });
  });
}

// Counts are written once a second.
async function waitUntilUsed(page) {
  for (let tries = 0; tries < 50; tries += 1) {
    const text = await page.getByRole("row", { name: /invoice-parser/ }).innerText();
    if (!text.includes("never")) return;
    await page.waitForTimeout(200);
    await page.reload();
  }
  assert.fail("the use was never counted");
}
