// Runs the OpenID provider of `oidc_provider.mjs` in its own process.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Starts it. It answers once it has been told where people are sent back to. */
export async function startProvider() {
  const child = spawn(here("node_modules/node/bin/node"), [here("oidc_provider.mjs")], { stdio: ["pipe", "pipe", "ignore"] });
  const issuer = (await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next()).value;
  return {
    issuer,
    settings: {
      KEYDESK_OIDC_ISSUER: issuer,
      KEYDESK_OIDC_CLIENT_ID: "keydesk",
      KEYDESK_OIDC_CLIENT_SECRET: "a secret & more",
      KEYDESK_OIDC_NAME: "Acme SSO",
    },
    sendBackTo: (keydesk) => child.stdin.write(`${keydesk.base}/sign-in/oidc/callback\n`),
    stop: () => child.kill(),
  };
}

/** Says there who one is. */
export async function beUser(page, user) {
  await page.getByRole("heading", { name: "Acme SSO" }).waitFor();
  await page.getByLabel("User").fill(user);
  await page.getByRole("button", { name: "Go on" }).click();
}
