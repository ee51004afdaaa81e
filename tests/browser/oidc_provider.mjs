// A certified OpenID provider with its own sign-in page. Needs a newer Node than the tests. It prints its issuer,
// and starts when it reads the redirect URI from standard input.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Provider } from "oidc-provider";

let handler = (_request, response) => response.writeHead(503).end();
const server = createServer((request, response) => handler(request, response));
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));

const [redirect] = await new Promise((resolve) => {
  createInterface({ input: process.stdin }).once("line", (line) => resolve([line]));
});
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [{ client_id: "keydesk", client_secret: "a secret & more", redirect_uris: [redirect] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  cookies: { keys: ["of a test"] },
  features: { devInteractions: { enabled: false } },
  findAccount: (_context, accountId) => ({
    accountId,
    claims: () => ({
      sub: accountId,
      email: `${accountId}@acme.example`,
      email_verified: !accountId.startsWith("unverified"),
      name: `${accountId[0].toUpperCase()}${accountId.slice(1)} of SSO`,
    }),
  }),
  interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
  // Everyone who signs in here has consented to this client.
  async loadExistingGrant(context) {
    const { client, session } = context.oidc;
    const grant = new context.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope("openid email profile");
    await grant.save();
    return grant;
  },
});
const callback = provider.callback();
handler = async (request, response) => {
  if (!request.url.startsWith("/interaction/")) return callback(request, response);
  if (request.method === "GET") {
    const details = await provider.interactionDetails(request, response);
    response.setHeader("content-type", "text/html; charset=utf-8");
    return response.end(`<!doctype html><html lang="en"><title>Acme SSO</title><link rel="icon" href="data:,"><h1>Acme SSO</h1>
      <p>${details.prompt.name}</p><form method="post"><label>User <input name="user" autofocus></label><button>Go on</button></form></html>`);
  }
  let body = "";
  for await (const chunk of request) body += chunk;
  const accountId = new URLSearchParams(body).get("user");
  const result = accountId
    ? { login: { accountId } }
    : { error: "access_denied", error_description: "End-User aborted interaction" };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
};
