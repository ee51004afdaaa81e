// Pages of other origins call the API with fetch, as Chromium lets them.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { closeBrowser, openBrowser, startKeydesk } from "./support.mjs";

let listed, other, keydesk, key;

/** A site with one empty page. */
async function startSite() {
  const server = createServer((_, response) => response.setHeader("content-type", "text/html").end("<title>A site</title>"));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

before(async () => {
  [listed, other] = [await startSite(), await startSite()];
  keydesk = await startKeydesk({ KEYDESK_CORS_ORIGINS: listed.origin });
  await keydesk.setUp();
  key = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "page", "--scope", "inference:read,inference:write"]);
});

after(async () => {
  await Promise.all([listed.stop(), other.stop(), keydesk.stop(), closeBrowser()]);
});

/** Calls the API from a page of a site as the OpenAI client does. */
async function callFrom(site, path, key) {
  const context = await (await openBrowser()).newContext();
  try {
    const page = await context.newPage();
    await page.goto(site.origin);
    return await page.evaluate(async ([url, key]) => {
      const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json", "X-Stainless-Lang": "js" };
      const body = JSON.stringify({ model: "echo", messages: [{ role: "user", content: "Say hello" }] });
      try {
        const response = await fetch(url, { method: "POST", headers, body });
        const left = response.headers.get("x-ratelimit-remaining");
        return { status: response.status, left, request: response.headers.get("x-request-id"), body: await response.json() };
      } catch (error) {
        return { error: String(error) };
      }
    }, [keydesk.base + path, key]);
  } finally {
    await context.close();
  }
}

test("a page of a listed origin can call the API and read its errors", async () => {
  const answer = await callFrom(listed, "/v1/chat/completions", key);
  assert.equal(answer.status, 200, JSON.stringify(answer));
  assert.ok(Number(answer.left) > 0 && answer.request && answer.body.choices[0].message.content);
  const refused = await callFrom(listed, "/v1/chat/completions", "nonsense");
  assert.equal(refused.status, 401, JSON.stringify(refused));
  assert.equal(refused.body.code, "invalid_token");
});

test("a page of another origin can call nothing, and a page of a listed one no page", async () => {
  assert.match((await callFrom(other, "/v1/chat/completions", key)).error, /Failed to fetch/);
  assert.match((await callFrom(listed, "/chat/completions", key)).error, /Failed to fetch/);
  assert.match((await callFrom(listed, "/sign-in", key)).error, /Failed to fetch/);
});
