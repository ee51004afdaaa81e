// A hostile OpenID provider: each forged response is refused for its own reason, never with an internal error, and
// no one is signed in. A valid response in between shows that everything else is correct.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { SignJWT, UnsecuredJWT, base64url, exportJWK, exportSPKI, generateKeyPair } from "jose";
import { password, person, startKeydesk } from "../support.mjs";

const CLIENT = "keydesk";
const SECRET = "a secret of the client";
let server;
let issuer;
let keydesk;
let keys;
/** What the provider does differently; set for each case. */
let forge = {};
/** Nonce and challenge of the way that was begun last. */
let asked = {};

const second = () => Math.floor(Date.now() / 1000);

async function idToken() {
  const now = second();
  const claims = {
    iss: issuer,
    sub: "honest",
    aud: CLIENT,
    iat: now,
    exp: now + 300,
    nonce: asked.nonce,
    email: "mara@acme.example",
    email_verified: true,
    ...forge.claims,
  };
  for (const name of forge.without ?? []) delete claims[name];
  if (forge.token) return forge.token(claims);
  return new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: "one", ...forge.header }).sign(forge.key ?? keys.one.privateKey);
}

const hmacToken = (claims, secret) => {
  const text = [{ alg: "HS256", kid: "one" }, claims].map((part) => base64url.encode(JSON.stringify(part))).join(".");
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
};

async function answer(path) {
  const json = (value, status = 200) => ({ status, type: "application/json", body: JSON.stringify(value) });
  const forged = forge.at?.[path];
  if (forged) return forged();
  switch (path) {
    case "/.well-known/openid-configuration":
      return json({
        issuer,
        authorization_endpoint: `${issuer}/auth`,
        token_endpoint: `${issuer}/token`,
        userinfo_endpoint: `${issuer}/userinfo`,
        jwks_uri: `${issuer}/jwks`,
        response_types_supported: ["code"],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: ["RS256", "HS256", "none"],
        authorization_response_iss_parameter_supported: true,
        ...forge.documents,
      });
    case "/jwks":
      return json({ keys: await Promise.all((forge.published ?? ["one"]).map(async (kid) => ({ ...(await exportJWK(keys[kid].publicKey)), kid, use: "sig", alg: "RS256" }))) });
    case "/token":
      return json({ access_token: "access", token_type: "Bearer", expires_in: 60, id_token: await idToken(), ...forge.tokens });
    case "/userinfo":
      return json({ sub: "honest", email: "mara@acme.example", email_verified: true, ...forge.userinfo });
    default:
      return json({}, 404);
  }
}

before(async () => {
  keys = { one: await generateKeyPair("RS256", { extractable: true }), two: await generateKeyPair("RS256", { extractable: true }) };
  server = createServer(async (request, response) => {
    const { status, type, body, headers, never } = await answer(request.url.split("?")[0]);
    if (never) return;
    response.writeHead(status, { "content-type": type, ...headers });
    response.end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  issuer = `http://127.0.0.1:${server.address().port}`;
  keydesk = await startKeydesk({
    // A callback without a sign-in flow is logged only at debug level.
    KEYDESK_LOG: "info,keydesk::portal::entrance::provider=debug",
    KEYDESK_OIDC_ISSUER: issuer,
    KEYDESK_OIDC_CLIENT_ID: CLIENT,
    KEYDESK_OIDC_CLIENT_SECRET: SECRET,
  });
  await keydesk.setUp();
});
after(async () => {
  await keydesk.stop();
  server.closeAllConnections();
  server.close();
});

/** A browser without scripts. */
function browser() {
  const cookies = new Map();
  return async (path, form) => {
    const cookie = [...cookies].map((pair) => pair.join("=")).join("; ");
    const headers = { cookie, "sec-fetch-site": "same-origin" };
    const body = form && new URLSearchParams(form);
    const response = await fetch(keydesk.base + path, { headers, body, method: form ? "POST" : "GET", redirect: "manual" });
    for (const set of response.headers.getSetCookie()) {
      const [name, value] = set.split(";")[0].split(/=(.*)/);
      if (value) cookies.set(name, value);
      else cookies.delete(name);
    }
    return { status: response.status, location: response.headers.get("location") ?? "", text: await response.text() };
  };
}

/** Goes to the provider and back; `query` is what the provider adds or changes. */
async function go(visit, start = "/sign-in/oidc", query = {}) {
  const away = await visit(start);
  if (away.status !== 303) return away;
  const sent = new URL(away.location).searchParams;
  assert.equal(sent.get("code_challenge_method"), "S256");
  asked = { nonce: sent.get("nonce"), challenge: sent.get("code_challenge") };
  const back = { code: "code", state: sent.get("state"), iss: issuer, ...query };
  for (const name of Object.keys(back)) if (back[name] === undefined) delete back[name];
  return visit(`/sign-in/oidc/callback?${new URLSearchParams(back)}`);
}

/** Waits until the server has logged this; it writes its log in batches. */
async function logs(server, reason, from = 0) {
  for (let tries = 0; tries < 200 && !reason.test(server.log().slice(from)); tries++) await sleep(25);
  assert.match(server.log().slice(from), reason);
}

const signedIn = async (visit) => (await visit("/account")).status === 200;

test("the valid response connects, and then signs in", async () => {
  const visit = browser();
  await visit("/sign-in", { email: person.email, password });
  const link = (await visit("/account")).text.match(/\/account\/connect\/oidc\?token=[\w.]+/)[0];
  assert.equal((await go(visit, link)).location, "/account");
  const other = browser();
  assert.equal((await go(other)).status, 303);
  assert.ok(await signedIn(other));
});

test("a token for several audiences signs in if this client requested it", async () => {
  forge = { claims: { aud: [CLIENT, "project"], azp: CLIENT } };
  const visit = browser();
  assert.equal((await go(visit)).status, 303);
  assert.ok(await signedIn(visit));
  forge = {};
});

const tooLarge = () => ({ status: 200, type: "application/json", body: `["${"x".repeat(1_000_000)}"]` });
const html = () => ({ status: 200, type: "text/html", body: "<h1>Hello</h1>" });
const elsewhere = () => ({ status: 302, type: "text/plain", body: "", headers: { location: `${issuer}/elsewhere` } });
const failing = () => ({ status: 500, type: "application/json", body: "{}" });
const silent = () => ({ never: true });

/** What is forged, what is answered, and what the log says. */
const cases = [
  ["alg none", { token: (claims) => new UnsecuredJWT(claims).encode() }, 400, /signature: .*(none|No signature|Disallowed|Unsupported)/i],
  ["HS256 with the public key", { token: async (claims) => hmacToken(claims, await exportSPKI(keys.one.publicKey)) }, 400, /signature: Disallowed.*/],
  ["HS256 with the client's secret", { token: (claims) => hmacToken(claims, SECRET) }, 400, /signature: Disallowed.*/],
  ["a key that is not published", { header: { kid: "two" }, key: () => keys.two.privateKey }, 400, /signature: No matching key/],
  ["the published kid on another key", { key: () => keys.two.privateKey }, 400, /signature: Crypto error/],
  ["another audience", { claims: { aud: "other" } }, 400, /Invalid audiences: .*other/],
  ["a list of audiences without azp", { claims: { aud: [CLIENT, "other"] } }, 400, /Invalid audiences/],
  ["a list of audiences with azp of another client", { claims: { aud: [CLIENT, "other"], azp: "other" } }, 400, /azp is another client/],
  ["a list of other audiences with our azp", { claims: { aud: ["one", "other"], azp: CLIENT } }, 400, /Invalid audiences/],
  ["azp of another client", { claims: { azp: "other" } }, 400, /azp is another client/],
  ["no audience", { without: ["aud"] }, 400, /aud is missing/],
  ["expired", { claims: { exp: second() - 10 } }, 400, /Expired/],
  ["no end", { without: ["exp"] }, 400, /exp is missing/],
  ["issued in the future", { claims: { iat: second() + 3600, exp: second() + 7200 } }, 400, /iat is in the future/],
  ["issued long ago", { claims: { iat: second() - 7200 } }, 400, /iat is too old/],
  ["another nonce", { claims: { nonce: "another" } }, 400, /Invalid nonce: mismatch|Invalid nonce.*/],
  ["no nonce", { without: ["nonce"] }, 400, /Invalid nonce: missing/],
  ["another issuer in the token", { claims: { iss: "https://evil.example" } }, 400, /Invalid issuer/],
  ["no subject", { without: ["sub"] }, 400, /sub is missing/],
  ["an empty subject", { claims: { sub: "" } }, 400, /sub is empty/],
  ["at_hash of another access token", { claims: { at_hash: "AAAAAAAAAAAAAAAAAAAAAA" } }, 400, /at_hash belongs to another/],
  ["no ID token", { tokens: { id_token: undefined } }, 400, /there is no ID token/],
  ["no JWT", { tokens: { id_token: "a.b.c" } }, 400, /can't be parsed/],
  ["a token of another type", { tokens: { token_type: "mac" } }, 400, /type is not bearer/],
  ["userinfo of someone else", { without: ["email"], userinfo: { sub: "other" } }, 400, /userinfo: .*subject/i],
  ["an access token with a line break", { without: ["email"], tokens: { access_token: "a\r\nb" } }, 400, /invalid characters/],
  ["iss of the response is another", { query: { iss: "https://evil.example" } }, 400, /iss of the response is .*evil/],
  ["iss of the response is missing", { query: { iss: undefined } }, 400, /iss of the response is missing/],
  ["another state", { query: { state: "another" } }, 400, /no such state in this browser/],
  ["no state", { query: { state: undefined } }, 400, /no such state in this browser/],
  ["no code", { query: { code: undefined } }, 400, /there is no code/],
  ["the person said no", { query: { code: undefined, error: "access_denied" } }, 403, /refused: access_denied/],
  ["an error with the token", { at: { "/token": () => ({ status: 400, type: "application/json", body: '{"error":"invalid_grant"}' }) } }, 400, /the token endpoint returned invalid_grant/],
  ["a redirect for the token", { at: { "/token": elsewhere } }, 400, /returned a redirect/],
  ["HTML for the token", { at: { "/token": html } }, 400, /unexpected response Content-Type/i],
  ["a huge token", { at: { "/token": tooLarge } }, 400, /its response is too large/],
  ["a failing token endpoint", { at: { "/token": failing } }, 503, /returned status 500/],
  ["a silent token endpoint", { at: { "/token": silent } }, 503, /provider is unreachable/],
];

test("each forged response is refused for its own reason", async (context) => {
  for (const [name, forged, status, reason] of cases) {
    await context.test(name, async () => {
      forge = { ...forged, key: forged.key?.() };
      const seen = keydesk.log().length;
      const visit = browser();
      const page = await go(visit, "/sign-in/oidc", forged.query);
      forge = {};
      assert.equal(page.status, status, page.text);
      await logs(keydesk, reason, seen);
      assert.equal(await signedIn(visit), false);
      assert.match(page.text, /<title>Error: /);
    });
  }
  assert.ok(cases.length >= 20);
});

test("invalid provider documents redirect no one", async (context) => {
  const documents = "/.well-known/openid-configuration";
  for (const [name, forged, status, reason] of [
    ["another issuer", { documents: { issuer: "https://evil.example" } }, 400, /issuer/],
    ["an address without TLS", { documents: { authorization_endpoint: "http://evil.example/auth" } }, 400, /TLS is required/],
    ["keys without TLS", { documents: { jwks_uri: "http://evil.example/jwks" } }, 400, /TLS is required/],
    ["HTML", { at: { [documents]: html } }, 400, /its metadata has status 200 or the wrong type/],
    ["a redirect", { at: { [documents]: elsewhere } }, 400, /returned a redirect/],
    ["a huge document", { at: { [documents]: tooLarge } }, 400, /its response is too large/],
    ["a failing provider", { at: { [documents]: failing } }, 503, /returned status 500/],
  ]) {
    await context.test(name, async () => {
      // A server that has not fetched the provider's documents yet.
      const fresh = await startKeydesk({ KEYDESK_OIDC_ISSUER: issuer, KEYDESK_OIDC_CLIENT_ID: CLIENT, KEYDESK_OIDC_CLIENT_SECRET: SECRET });
      try {
        forge = forged;
        const response = await fetch(`${fresh.base}/sign-in/oidc`, { redirect: "manual" });
        assert.equal(response.status, status);
        await logs(fresh, reason);
        // It recovers by itself.
        forge = {};
        assert.equal((await fetch(`${fresh.base}/sign-in/oidc`, { redirect: "manual" })).status, 303);
      } finally {
        forge = {};
        await fresh.stop();
      }
    });
  }
});

test("confirming requests a new sign-in, and accepts only a fresh one of the same person", async (context) => {
  const visit = browser();
  const isAsked = async () => {
    const { status, location } = await visit("/account/email");
    return status === 303 && location.startsWith("/sign-in/again?next=");
  };
  // An old session at the provider is not a fresh sign-in.
  forge = { claims: { auth_time: second() - 3600 } };
  assert.equal((await go(visit)).status, 303);
  forge = {};
  assert.ok(await signedIn(visit));
  assert.ok(await isAsked());
  const page = await visit("/sign-in/again?next=%2Faccount%2Femail");
  const link = page.text.match(/\/sign-in\/again\/oidc[^"]*/)[0];
  const sent = new URL((await visit(link)).location).searchParams;
  assert.deepEqual([sent.get("prompt"), sent.get("max_age")], ["login", "0"]);
  const plain = new URL((await browser()("/sign-in/oidc")).location).searchParams;
  assert.deepEqual([plain.get("prompt"), plain.get("max_age")], [null, null]);
  for (const [name, claims, reason] of [
    ["an old proof", { auth_time: second() - 120 }, /auth_time is not the time of this sign-in/],
    ["no proof", {}, /auth_time is missing/],
    ["a proof to come", { auth_time: second() + 3600 }, /auth_time is not the time of this sign-in/],
    ["a fresh proof of another account", { auth_time: second(), sub: "another" }, /another identity signed in/],
  ]) {
    await context.test(name, async () => {
      const seen = keydesk.log().length;
      forge = { claims };
      const refused = await go(visit, link);
      forge = {};
      assert.equal(refused.status, 403, refused.text);
      assert.match(refused.text, /<title>Error: Your identity is not confirmed/);
      await logs(keydesk, reason, seen);
      assert.ok(await isAsked(), "it is still to be confirmed");
    });
  }
  forge = { claims: { auth_time: second() } };
  assert.equal((await go(visit, link)).location, "/account/email");
  forge = {};
  assert.equal((await visit("/account/email")).status, 200);
});

test("changed keys of the provider are fetched again", async () => {
  forge = { published: ["two"], header: { kid: "two" }, key: keys.two.privateKey };
  const visit = browser();
  assert.equal((await go(visit)).status, 303);
  assert.ok(await signedIn(visit));
  forge = {};
});

test("a callback is valid once, in the browser that started the flow", async () => {
  const [one, other] = [browser(), browser()];
  const begun = async (visit) => new URL((await visit("/sign-in/oidc")).location).searchParams;
  const [first, second] = [await begun(one), await begun(other)];
  const back = (sent) => {
    asked = { nonce: sent.get("nonce") };
    return `/sign-in/oidc/callback?${new URLSearchParams({ code: "code", state: sent.get("state"), iss: issuer })}`;
  };
  assert.equal((await other(back(first))).status, 400);
  assert.equal((await one(back(second))).status, 400);
  assert.equal(await signedIn(one) || (await signedIn(other)), false);
  assert.equal((await one(back(first))).status, 303);
  assert.equal((await browser()(back(first))).status, 400);
  await one("/sign-out", {});
  assert.equal((await one(back(first))).status, 400);
  assert.equal(await signedIn(one), false);
});
