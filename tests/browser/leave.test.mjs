// A membership from start to end, with sign-in through a provider: invited, joined, signed in, a key created,
// removed by an admin with the key handed over. Takes screenshots of every step and e-mail.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startGitHub } from "./github.mjs";
import { beUser, startProvider } from "./provider.mjs";
import { closeBrowser, closePage, inspect, openPage, person, pictureOfMail, signIn, startKeydesk } from "./support.mjs";

after(closeBrowser);

const widths = [1280, 375];
const email = "bo@acme.example";

/** OpenID Connect, by a certified provider. */
async function bySso() {
  const provider = await startProvider();
  return {
    name: "Acme SSO",
    called: "Bo of SSO",
    origin: provider.issuer,
    settings: provider.settings,
    ready: provider.sendBackTo,
    // The second time, the person is still signed in at the provider.
    sayYes: async (page, again) => again || beUser(page, "bo"),
    stop: provider.stop,
  };
}

async function byGitHub() {
  const mail = (address, more) => ({ email: address, primary: false, verified: true, visibility: null, ...more });
  const users = { bo: { id: 4711, name: "Bo of GitHub", emails: [mail("bo@home.example"), mail(email, { primary: true })] } };
  const secret = "a secret & more";
  const github = await startGitHub({ client: "keydesk", secret, users });
  return {
    name: "GitHub",
    called: "Bo of GitHub",
    origin: github.url,
    settings: { KEYDESK_GITHUB_URL: github.url, KEYDESK_GITHUB_CLIENT_ID: "keydesk", KEYDESK_GITHUB_CLIENT_SECRET: secret },
    ready: () => {},
    sayYes: (page) => page.getByRole("button", { name: "Authorize" }).click(),
    stop: github.stop,
  };
}

for (const [kind, start] of [["sso", bySso], ["github", byGitHub]]) {
  describe(`joining and leaving by ${kind}`, () => {
    let provider, keydesk;
    before(async () => {
      provider = await start();
      keydesk = await startKeydesk(provider.settings);
      provider.ready(keydesk);
      await keydesk.setUp();
    });
    after(async () => {
      await keydesk.stop();
      provider.stop();
    });

    for (const colorScheme of ["light", "dark"]) {
      test(`invite, accept, sign in, make a key, be removed, in ${colorScheme}`, async () => {
        const open = () => openPage(keydesk, { colorScheme, foreign: [provider.origin] });
        const look = async (page, step) => {
          for (const width of widths) {
            await page.setViewportSize({ width, height: 860 });
            await inspect(page, `walk-${kind}-${step}`);
          }
          await page.setViewportSize({ width: 1280, height: 860 });
        };
        const mail = async (event, to, step) => {
          const found = await keydesk.mail(to, event);
          await pictureOfMail(found, `walk-${kind}-${step}`, colorScheme);
          return found;
        };
        const owner = await open();
        await signIn(owner, keydesk);
        await owner.getByRole("link", { name: "Members" }).click();
        await owner.getByLabel("E-mail").fill(email);
        await owner.getByRole("button", { name: "Invite" }).click();
        await owner.getByText(`${email} was invited.`).waitFor();
        await look(owner, "1-invited");

        const invitation = await mail("invitation", email, "2-mail-invitation");
        const guest = await open();
        await guest.goto(invitation.link);
        await guest.getByRole("heading", { name: "Join Acme AI" }).waitFor();
        await look(guest, "3-invitation");
        const goOn = guest.getByRole("link", { name: `Continue with ${provider.name}` });
        await goOn.click();
        await provider.sayYes(guest, false);
        await guest.getByRole("button", { name: "Accept" }).waitFor();
        await look(guest, "4-accept");
        await guest.getByRole("button", { name: "Accept" }).click();
        await guest.getByText("Welcome to Acme AI.").waitFor();
        await guest.getByRole("heading", { name: "No API keys yet" }).waitFor();
        await look(guest, "5-joined");
        await guest.goto(`${keydesk.base}/account`);
        await guest.locator("main").getByRole("button", { name: "Sign out" }).click();

        await guest.goto(`${keydesk.base}/o/acme-ai/keys/new?name=bos-key-${colorScheme}&scopes=inference:read`);
        await guest.waitForURL(/sign-in\?next=/);
        await look(guest, "6-sign-in");
        await goOn.click();
        await provider.sayYes(guest, true);
        await guest.waitForURL(/keys\/new\?name=bos-key/);
        await guest.getByRole("button", { name: "Create API key" }).click();
        const secret = await guest.locator("[data-secret]").inputValue();
        await look(guest, "7-created");
        await guest.getByLabel("I have saved this key in a safe place").check();
        await guest.getByRole("button", { name: "Done" }).click();
        assert.equal((await keydesk.call(secret, "/v1/models")).status, 200);
        // The e-mail about the previous round's key is there already.
        let created = await mail("key_created", email, "8-mail-created");
        for (let tries = 0; tries < 100 && !created.subject.includes(`bos-key-${colorScheme}`); tries += 1) {
          await new Promise((resolve) => setTimeout(resolve, 100));
          created = await mail("key_created", email, "8-mail-created");
        }
        assert.match(created.subject, new RegExp(`bos-key-${colorScheme}`));
        assert.ok(!created.raw.includes(secret), "no mail has a key");
        await guest.goto(`${keydesk.base}/account`);
        await guest.getByText(`${provider.called}`).first().waitFor();
        await look(guest, "9-account");

        await owner.goto(`${keydesk.base}/o/acme-ai/members`);
        await owner.getByRole("link", { name: provider.called }).click();
        await look(owner, "10-member");
        await owner.getByRole("link", { name: "Remove" }).click();
        await owner.getByRole("heading", { name: `Remove ${provider.called}?` }).waitFor();
        await owner.getByLabel(`What happens to bos-key-${colorScheme}`).selectOption({ label: `Hand over to ${person.name} (owner)` });
        await look(owner, "11-remove");
        await owner.getByRole("button", { name: "Remove member" }).click();
        await owner.getByText(`${provider.called} was removed. 1 key was handed over.`).waitFor();
        await look(owner, "12-removed");

        // The key keeps working under its new owner; the former member's session gives no access here any more.
        const itself = await (await keydesk.call(secret, "/v1/api-keys/self")).json();
        assert.deepEqual([itself.owner.email, itself.status], [person.email, "active"]);
        assert.equal((await keydesk.call(secret, "/v1/models")).status, 200);
        await guest.goto(`${keydesk.base}/o/acme-ai/keys`);
        await guest.getByRole("heading", { name: "Page not found" }).waitFor();
        await look(guest, "13-gone");
        await guest.goto(keydesk.base);
        await guest.getByText("You are not a member of any organisation.").waitFor();
        await look(guest, "14-no-organisation");
        await closePage(guest);
        await closePage(owner);
      });
    }
  });
}
