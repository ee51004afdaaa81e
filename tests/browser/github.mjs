// A substitute for GitHub Enterprise: the documented web application flow, and the two requests that identify a
// user. It knows the users that it is given.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";

const escape = (text) => text.replace(/[&<>"]/g, (letter) => `&#${letter.codePointAt(0)};`);

/** Starts it; `users` are `{ login: { id, name, emails } }`. */
export async function startGitHub({ client, secret, users }) {
  const [codes, tokens] = [new Map(), new Map()];
  const asked = (query) => {
    assert.equal(query.get("client_id"), client);
    assert.equal(query.get("code_challenge_method"), "S256");
    assert.match(query.get("state"), /^[\w-]{22,}$/);
    return new URL(query.get("redirect_uri"));
  };
  const json = (value, status = 200) => ({ status, headers: { "content-type": "application/json; charset=utf-8" }, body: JSON.stringify(value) });
  const answers = {
    "GET /login/oauth/authorize": ({ query }) => {
      asked(query);
      const choices = Object.keys(users).map((login) => `<option>${login}</option>`).join("");
      const body = `<!doctype html><html lang="en"><title>GitHub</title><link rel="icon" href="data:,"><h1>Authorize Keydesk</h1>
        <form method="post" action="/login/oauth/authorize?${escape(query.toString())}"><label>Account <select name="login">${choices}</select></label>
        <button>Authorize</button> <button name="no" value="1">Cancel</button></form></html>`;
      return { status: 200, headers: { "content-type": "text/html; charset=utf-8" }, body };
    },
    "POST /login/oauth/authorize": ({ query, form }) => {
      const back = asked(query);
      if (form.has("no")) back.searchParams.set("error", "access_denied");
      else {
        const code = randomBytes(10).toString("hex");
        codes.set(code, { login: form.get("login"), challenge: query.get("code_challenge"), redirect: query.get("redirect_uri") });
        back.searchParams.set("code", code);
      }
      back.searchParams.set("state", query.get("state"));
      return { status: 302, headers: { location: back.href } };
    },
    "POST /login/oauth/access_token": ({ form, request }) => {
      assert.equal(request.headers.accept, "application/json");
      const granted = codes.get(form.get("code"));
      codes.delete(form.get("code"));
      const digest = createHash("sha256").update(form.get("code_verifier") ?? "").digest("base64url");
      const right = form.get("client_id") === client && form.get("client_secret") === secret;
      // GitHub reports errors with status 200.
      if (!right) return json({ error: "incorrect_client_credentials" });
      if (granted?.challenge !== digest || granted.redirect !== form.get("redirect_uri")) return json({ error: "bad_verification_code" });
      const token = `gho_${randomBytes(18).toString("hex")}`;
      tokens.set(token, users[granted.login] && granted.login);
      return json({ access_token: token, scope: "user:email", token_type: "bearer" });
    },
    "GET /api/v3/user": ({ login }) => json({ id: users[login].id, login, name: users[login].name }),
    "GET /api/v3/user/emails": ({ login }) => json(users[login].emails),
  };
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, "http://localhost");
    let body = "";
    for await (const chunk of request) body += chunk;
    const login = tokens.get(request.headers.authorization?.replace(/^Bearer /, ""));
    const answer = answers[`${request.method} ${url.pathname}`];
    const known = answer && (login || !url.pathname.startsWith("/api/"));
    const { status, headers, body: text } = known
      ? answer({ query: url.searchParams, form: new URLSearchParams(body), request, login })
      : json({ message: answer ? "Bad credentials" : "Not Found" }, answer ? 401 : 404);
    response.writeHead(status, headers).end(text);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, stop: () => { server.closeAllConnections(); server.close(); } };
}
