// Using the portal: keyboard, live search, invalid input, a form submitted twice.
import assert from "node:assert/strict";
import { after, before, beforeEach, afterEach, describe, test } from "node:test";
import { closeBrowser, closePage, openPage, signIn, startKeydesk } from "./support.mjs";

after(closeBrowser);

describe("using the portal", () => {
  let keydesk, admin, page;
  before(async () => {
    keydesk = await startKeydesk();
    await keydesk.setUp();
    admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin"]);
    for (const name of ["prod-batch", "prod-web", "ci-smoke"]) {
      await keydesk.call(admin, "/v1/api-keys", { name, scopes: ["inference:read"], expires_in_days: 90 });
    }
  });
  after(() => keydesk.stop());
  beforeEach(async () => {
    page = await openPage(keydesk);
    await signIn(page, keydesk);
  });
  afterEach(() => closePage(page));

  const names = () => page.locator("tbody th a").allInnerTexts();

  test("typing filters the rows and updates the URL", async () => {
    await page.evaluate(() => { window.sameDocument = true; });
    await page.getByRole("searchbox").pressSequentially("prod");
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 2);
    assert.deepEqual((await names()).sort(), ["prod-batch", "prod-web"]);
    await page.waitForURL(/keys\?q=prod$/);
    assert.equal(await page.evaluate(() => window.sameDocument), true);
    assert.equal(await page.evaluate(() => document.activeElement.name), "q");
    await page.waitForFunction(() => document.getElementById("live").textContent === "2 keys found");
    assert.match(await page.getByRole("link", { name: /^Revoked/ }).getAttribute("href"), /q=prod/);
    await page.reload();
    assert.equal((await names()).length, 2);
    await page.getByLabel("Scope").selectOption("admin");
    await page.getByRole("heading", { name: "No matching keys" }).waitFor();
    await page.getByRole("link", { name: "Clear filters" }).click();
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length >= 4);
  });

  test("without scripts the Filter button does the same", async () => {
    const plain = await openPage(keydesk, { javaScriptEnabled: false });
    await signIn(plain, keydesk);
    await plain.getByRole("searchbox").fill("prod");
    await plain.getByRole("button", { name: "Filter" }).click();
    assert.equal(await plain.locator("tbody tr").count(), 2);
    await closePage(plain);
  });

  test("a refused form focuses its summary, which links to the fields", async () => {
    await page.goto(`${keydesk.base}/o/acme-ai/keys/new`);
    await page.getByLabel("Name", { exact: true }).fill("prod-batch");
    await page.getByLabel("Description").fill("kept");
    await page.getByRole("button", { name: "Create API key" }).click();
    await page.getByRole("alert").waitFor();
    assert.match(await page.title(), /^Error: Create API key/);
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("role")), "alert");
    await page.getByRole("link", { name: "The name prod-batch is taken by another key. Choose another name." }).click();
    assert.equal(await page.evaluate(() => document.activeElement.id), "name");
    assert.equal(await page.getByLabel("Description").inputValue(), "kept");
  });

  test("a custom date in the past is refused", async () => {
    await page.goto(`${keydesk.base}/o/acme-ai/keys/new?name=past`);
    await page.getByRole("radio", { name: /Custom date/ }).check();
    await page.getByLabel("Last day").fill("2001-01-01");
    await page.getByRole("button", { name: "Create API key" }).click();
    await page.locator("#expires-error").getByText("Choose a time in the future.").waitFor();
  });

  test("a form submitted twice creates one key and says so", async () => {
    await page.goto(`${keydesk.base}/o/acme-ai/keys/new?name=twice`);
    const fields = await page.evaluate(() => new URLSearchParams(new FormData(document.querySelector("form.with-side"))).toString());
    const send = () => page.evaluate(async (body) => {
      const headers = { "content-type": "application/x-www-form-urlencoded" };
      return (await fetch("/o/acme-ai/keys", { method: "POST", headers, body })).text();
    }, fields);
    assert.match(await send(), /Copy your key now/);
    const second = await send();
    assert.match(second, /This key was already created/);
    assert.doesNotMatch(second, /kd_[0-9A-Za-z]{46}/);
    const found = await (await keydesk.call(admin, "/v1/api-keys?q=twice")).json();
    assert.equal(found.data.length, 1);
  });

  test("a key is created and revoked by keyboard only, with visible focus", async () => {
    const press = (key) => page.keyboard.press(key);
    const reach = async (name, role) => {
      for (let steps = 0; steps < 60; steps += 1) {
        await press("Tab");
        const at = await page.evaluate(() => {
          const element = document.activeElement;
          const style = getComputedStyle(element);
          const label = element.ariaLabel ?? element.labels?.[0]?.innerText ?? element.innerText ?? "";
          const holder = element.closest(".segments label") ?? element;
          const outlined = getComputedStyle(holder).outlineStyle !== "none" || style.outlineStyle !== "none";
          return { label: label.trim(), tag: element.tagName, outlined };
        });
        assert.ok(at.outlined, `the focus on ${at.tag} ${at.label} can be seen`);
        if (at.label.startsWith(name) && (!role || at.tag === role)) return;
      }
      assert.fail(`${name} can't be reached`);
    };
    await reach("Create API key", "A");
    await press("Enter");
    await page.waitForURL(/keys\/new/);
    await reach("Name");
    await page.keyboard.type("by-keyboard");
    await reach("inference:write");
    await press("Space");
    await reach("Create API key", "BUTTON");
    await press("Enter");
    await page.getByRole("heading", { name: "Copy your key now" }).waitFor();
    await reach("I have saved this key");
    await press("Space");
    await reach("Done");
    await press("Enter");
    await page.getByRole("heading", { name: "by-keyboard" }).waitFor();
    await reach("Revoke", "A");
    await press("Enter");
    await page.getByRole("dialog").getByRole("heading", { name: "Revoke by-keyboard?" }).waitFor();
    await press("Escape");
    await page.waitForFunction(() => !document.getElementById("dialog").open);
    assert.equal(await page.evaluate(() => document.activeElement.innerText), "Revoke");
    await press("Enter");
    await page.getByRole("dialog").getByRole("heading").waitFor();
    await reach("Revoke key");
    await press("Enter");
    await page.getByText("by-keyboard was revoked.").waitFor();
  });

  test("tab, sort order and page are in the URL", async () => {
    await page.getByRole("link", { name: /^Active/ }).click();
    await page.waitForURL(/status=active/);
    await page.getByRole("link", { name: "Name" }).click();
    await page.waitForURL(/sort=name/);
    assert.equal(await page.locator("th[aria-sort]").innerText(), "Name");
    const sorted = await names();
    assert.deepEqual(sorted, [...sorted].sort());
  });
});
