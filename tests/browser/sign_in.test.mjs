// Sign-in through a real OpenID provider, in a real browser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { beUser, startProvider } from "./provider.mjs";
import { closeBrowser, closePage, inspect, openPage, signIn, startKeydesk } from "./support.mjs";

let issuer;
let provider;
let keydesk;

before(async () => {
  provider = await startProvider();
  issuer = provider.issuer;
  keydesk = await startKeydesk({
    ...provider.settings,
    // Its name is longer than a button on a phone.
    KEYDESK_OIDC_2_ISSUER: "https://login.partner.example",
    KEYDESK_OIDC_2_CLIENT_ID: "keydesk",
    KEYDESK_OIDC_2_CLIENT_SECRET: "secret",
    KEYDESK_OIDC_2_NAME: "Partner University of Applied Sciences",
    KEYDESK_GITHUB_CLIENT_ID: "keydesk",
    KEYDESK_GITHUB_CLIENT_SECRET: "secret",
  });
  provider.sendBackTo(keydesk);
  await keydesk.setUp();
});
after(async () => {
  await closeBrowser();
  await keydesk.stop();
  provider.stop();
});

test("a person who connects a provider signs in with it and lands on the requested page", async () => {
  const page = await openPage(keydesk, { foreign: [issuer] });
  await signIn(page, keydesk);
  await page.goto(`${keydesk.base}/account`);
  await page.getByRole("link", { name: "Connect Acme SSO" }).click();
  await beUser(page, "mara");
  await page.waitForURL(`${keydesk.base}/account`);
  await page.getByText("Acme SSO is connected.").waitFor();
  assert.equal(await page.getByRole("link", { name: "Connect Acme SSO" }).count(), 0);
  await page.getByText("mara@acme.example", { exact: true }).first().waitFor();
  await page.locator("main").getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/sign-in$/);

  await page.goto(`${keydesk.base}/o/acme-ai/keys/new`);
  await page.waitForURL(/sign-in\?next=/);
  await page.getByRole("link", { name: "Continue with Acme SSO" }).click();
  // The person is still signed in at the provider.
  await page.waitForURL(`${keydesk.base}/o/acme-ai/keys/new`);
  const cookies = await page.context().cookies(keydesk.base);
  assert.deepEqual(
    cookies.map(({ name, httpOnly, sameSite }) => ({ name, httpOnly, sameSite })),
    [{ name: "keydesk", httpOnly: true, sameSite: "Lax" }],
  );
  await closePage(page);
});

test("a matching address opens no account, and a person who declines is not signed in", async () => {
  const page = await openPage(keydesk, { foreign: [issuer] });
  await page.goto(`${keydesk.base}/sign-in`);
  await page.getByRole("link", { name: "Continue with Acme SSO" }).click();
  await beUser(page, "mara2");
  await page.getByRole("heading", { name: "You are not signed in" }).waitFor();
  await inspect(page, "provider-refused");
  await page.goto(`${keydesk.base}/account`);
  assert.match(page.url(), /sign-in\?next=/);
  await closePage(page);

  const other = await openPage(keydesk, { foreign: [issuer] });
  await other.goto(`${keydesk.base}/sign-in`);
  await other.getByRole("link", { name: "Continue with Acme SSO" }).click();
  await beUser(other, "");
  await other.getByText("Acme SSO refused the sign-in").waitFor();
  await closePage(other);
});

test("a person whose sign-in is not fresh confirms their identity with the provider or the password", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const page = await openPage(keydesk, { foreign: [issuer], colorScheme });
    const look = async (name) => {
      for (const width of [1280, 375, 320]) {
        await page.setViewportSize({ width, height: 860 });
        await inspect(page, name);
      }
    };
    await signIn(page, keydesk);
    await keydesk.growStale();
    await page.goto(`${keydesk.base}/account/email`);
    await page.getByRole("heading", { name: "Confirm your identity" }).waitFor();
    await look("confirm");
    await page.getByLabel("Password").fill("not the right one");
    await page.getByRole("button", { name: "Confirm" }).click();
    await page.getByRole("alert").waitFor();
    await look("confirm-error");
    await page.getByRole("link", { name: "Confirm with Acme SSO" }).click();
    // The provider asks again, even after a recent sign-in.
    await beUser(page, "mara");
    await page.getByRole("heading", { name: "Change e-mail address" }).waitFor();

    // A form submitted too late keeps its input while the identity is confirmed in another tab.
    await page.goto(`${keydesk.base}/o/acme-ai/keys/new?name=late-${colorScheme}&scopes=admin`);
    await keydesk.growStale();
    await page.getByRole("button", { name: "Create API key" }).click();
    await page.getByText("Your input is kept.").waitFor();
    await look("confirm-beside");
    const opened = page.context().waitForEvent("page");
    await page.getByRole("link", { name: "Confirm with Acme SSO in a new tab" }).click();
    const tab = await opened;
    await beUser(tab, "mara");
    await tab.getByRole("heading", { name: "Identity confirmed" }).waitFor();
    await inspect(tab, "confirmed");
    await tab.close();
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByRole("heading", { name: "Copy your key now" }).waitFor();
    await closePage(page);
  }
});

test("the sign-in pages look right", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const page = await openPage(keydesk, { foreign: [issuer], colorScheme });
    const at = async (width, name) => {
      await page.setViewportSize({ width, height: 860 });
      await inspect(page, name);
    };
    const everyWidth = async (name) => {
      for (const width of [1280, 375, 320]) await at(width, name);
    };
    await page.goto(`${keydesk.base}/sign-in`);
    await everyWidth("sign-in-providers");
    await page.goto(`${keydesk.base}/reset-password`);
    await everyWidth("reset-password");
    await page.getByRole("button", { name: "Send link" }).click();
    await page.getByRole("alert").waitFor();
    await everyWidth("reset-password-error");
    await page.getByLabel("E-mail").fill("nobody@acme.example");
    await page.getByRole("button", { name: "Send link" }).click();
    await page.getByRole("heading", { name: "Check your e-mail" }).waitFor();
    await everyWidth("reset-password-asked");
    await signIn(page, keydesk);
    for (const [path, name] of [
      ["/account", "account"],
      ["/account/password", "account-password"],
      ["/account/email", "account-email"],
    ]) {
      await page.goto(keydesk.base + path);
      await everyWidth(name);
    }
    await page.goto(`${keydesk.base}/account`);
    const disconnect = page.getByRole("link", { name: "Remove Acme SSO" });
    await disconnect.click();
    await everyWidth("account-disconnect");
    await closePage(page);
  }
});
