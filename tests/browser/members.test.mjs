// A person is invited, joins, creates a key, and is removed with the key handed over.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { closeBrowser, closePage, inspect, openPage, person, signIn, startKeydesk } from "./support.mjs";

after(closeBrowser);

describe("members", () => {
  let keydesk;
  before(async () => {
    keydesk = await startKeydesk();
    await keydesk.setUp();
  });
  after(() => keydesk.stop());

  test("a person is invited, accepts, creates a key, and is removed with the key handed over", async () => {
    const owner = await openPage(keydesk);
    await signIn(owner, keydesk);
    await owner.getByRole("link", { name: "Members" }).click();
    await owner.getByLabel("E-mail").fill("bo@example.com");
    await owner.getByRole("button", { name: "Invite" }).click();
    await owner.getByText("bo@example.com was invited.").waitFor();

    const link = await keydesk.mailedLink("bo@example.com", "invitation");
    const guest = await openPage(keydesk);
    await guest.goto(link);
    await guest.getByRole("heading", { name: "Join Acme AI" }).waitFor();
    await guest.getByLabel("Your name").fill("Bo Ek");
    await guest.getByLabel("Password").fill("short");
    await guest.getByRole("button", { name: "Create account" }).click();
    await guest.getByRole("alert").waitFor();
    assert.match(await guest.title(), /^Error: Invitation/);
    assert.equal(await guest.getByLabel("Your name").inputValue(), "Bo Ek");
    await guest.getByLabel("Password").fill("seven purple lanterns sail");
    await guest.getByRole("button", { name: "Create account" }).click();
    await guest.getByRole("button", { name: "Accept" }).click();
    await guest.getByText("Welcome to Acme AI.").waitFor();
    await guest.getByRole("heading", { name: "No API keys yet" }).waitFor();
    await guest.goto(`${keydesk.base}/o/acme-ai/keys/new?name=bos-key&scopes=inference:read`);
    await guest.getByRole("button", { name: "Create API key" }).click();
    const secret = await guest.locator("[data-secret]").inputValue();
    await guest.getByLabel("I have saved this key in a safe place").check();
    await guest.getByRole("button", { name: "Done" }).click();
    assert.equal((await keydesk.call(secret, "/v1/models")).status, 200);

    await owner.goto(`${keydesk.base}/o/acme-ai/members`);
    await owner.getByRole("link", { name: "Bo Ek" }).click();
    await owner.getByRole("link", { name: "Remove" }).click();
    await owner.getByRole("heading", { name: "Remove Bo Ek?" }).waitFor();
    await owner.getByText("1 key was used in the last 24 hours.").waitFor();
    await owner.getByRole("button", { name: "Remove member" }).click();
    await owner.getByText("Choose what happens to bos-key.").waitFor();
    await owner.getByLabel("What happens to bos-key").selectOption({ label: `Hand over to ${person.name} (owner)` });
    await owner.getByRole("button", { name: "Remove member" }).click();
    await owner.getByText("Bo Ek was removed. 1 key was handed over.").waitFor();

    assert.equal((await keydesk.call(secret, "/v1/models")).status, 200, "the key goes on");
    const { owner: heir } = await (await keydesk.call(secret, "/v1/api-keys/self")).json();
    assert.equal(heir.email, person.email);
    await guest.goto(`${keydesk.base}/o/acme-ai/keys`);
    await guest.getByRole("heading", { name: "Page not found" }).waitFor();
    await closePage(guest);
    await closePage(owner);
  });
});

describe("pages about members", () => {
  let keydesk, link, paths;
  before(async () => {
    keydesk = await startKeydesk();
    await keydesk.setUp();
    paths = await fill();
  });
  after(() => keydesk.stop());

  async function fill() {
    const page = await openPage(keydesk);
    await signIn(page, keydesk);
    const go = (path) => page.goto(`${keydesk.base}${path}`);
    const invite = async (email, role) => {
      await go("/o/acme-ai/members");
      await page.getByLabel("E-mail").fill(email);
      await page.getByLabel("Role").selectOption(role);
      await page.getByRole("button", { name: "Invite" }).click();
      await page.getByText(`${email} was invited.`).waitFor();
      return keydesk.mailedLink(email, "invitation");
    };
    const join = async (email, role, name) => {
      const where = await invite(email, role);
      const guest = await openPage(keydesk);
      await guest.goto(where);
      await guest.getByLabel("Your name").fill(name);
      await guest.getByLabel("Password").fill("seven purple lanterns sail");
      await guest.getByRole("button", { name: "Create account" }).click();
      await guest.getByRole("button", { name: "Accept" }).click();
      await guest.getByText("Welcome to Acme AI.").waitFor();
      await closePage(guest);
    };
    await join("bo@example.com", "admin", "Bo Ek");
    await join("a.very.long.address.of.someone.whose.name.is.long@subdomain.of.a.long.example.com", "auditor", "Maximiliane Auguste von und zu Unaussprechlich-Langname");
    link = await invite("cy@example.com", "member");
    await go("/o/acme-ai/service-accounts/new");
    await page.getByLabel("Name", { exact: true }).fill("nightly-batch");
    await page.getByRole("checkbox", { name: /Bo Ek/ }).check();
    await page.getByRole("checkbox", { name: /Mara/ }).uncheck();
    await page.getByRole("button", { name: "Create service account" }).click();
    await page.getByText("nightly-batch was created.").waitFor();
    const admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin"]);
    const make = async (name, owner, backup) => (await keydesk.call(admin, "/v1/api-keys", { name, scopes: ["inference:read", "inference:write"], owner, backup })).json();
    const used = await make("prod-batch", "bo@example.com", person.email);
    await make("ci-smoke", "bo@example.com", null);
    await make("weekly-report", person.email, "bo@example.com");
    for (let call = 0; call < 3; call += 1) await keydesk.call(used.key, "/v1/models");
    await go("/o/acme-ai/members");
    const bo = await page.getByRole("link", { name: "Bo Ek" }).getAttribute("href");
    const account = await page.getByRole("link", { name: "nightly-batch" }).getAttribute("href");
    await closePage(page);
    return { bo, account, key: `/o/acme-ai/keys/${used.id}` };
  }

  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 375, 320]) {
      test(`are sound in ${colorScheme} at ${width} px`, async () => {
        const page = await openPage(keydesk, { colorScheme, viewport: { width, height: 860 } });
        const go = (path) => page.goto(`${keydesk.base}${path}`);
        await page.goto(link);
        await inspect(page, "invitation");
        await page.getByRole("button", { name: "Create account" }).click();
        await page.getByRole("alert").waitFor();
        await inspect(page, "invitation-error");
        await go("/invitations/unknown");
        await inspect(page, "invitation-closed");
        await signIn(page, keydesk);
        await page.goto(link);
        await inspect(page, "invitation-other");
        await go("/o/acme-ai/members");
        await inspect(page, "members");
        await page.getByLabel("E-mail").fill("no address");
        await page.getByRole("button", { name: "Invite" }).click();
        await page.getByRole("alert").waitFor();
        await inspect(page, "members-error");
        await go("/o/acme-ai/members/roles");
        await inspect(page, "roles");
        await go(paths.bo);
        await inspect(page, "member");
        await go(paths.account);
        await inspect(page, "service-account");
        await go(`${paths.bo}/disable`);
        await inspect(page, "member-disable");
        await go(`${paths.bo}/remove`);
        await page.getByRole("button", { name: "Remove member" }).click();
        await page.getByRole("alert").waitFor();
        await inspect(page, "member-remove");
        await go("/o/acme-ai/service-accounts/new");
        await inspect(page, "service-account-new");
        await go(paths.key);
        await page.getByRole("link", { name: "Change owner and backup" }).click();
        await page.getByRole("heading", { name: /^Owner and backup of/ }).waitFor();
        await inspect(page, "key-owner");
        await go("/o/acme-ai/leave");
        await inspect(page, "leave");
        await closePage(page);
      });
    }
  }
});
