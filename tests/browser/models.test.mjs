// The model catalogue: its page, the field that chooses models, and the policy for members.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { closeBrowser, closePage, inspect, openPage, signIn, startKeydesk } from "./support.mjs";

after(closeBrowser);

const long = "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8:a-name-that-is-very-long-indeed";

/** A catalogue with models that work, that fail, that work on second choice, and that nobody calls. */
const catalogue = (working) => `currency = "USD"
[[upstream]]
name = "openai"
kind = "openai"
url = "${working}/v1"
key_env = "OPENAI_API_KEY"
[[upstream]]
name = "anthropic"
kind = "anthropic"
url = "https://messages.upstream.example/v1"
[[upstream]]
name = "cluster-in-the-basement"
kind = "openai"
url = "${working}/overloaded/v1"
[[model]]
name = "gpt-4"
upstreams = ["openai"]
upstream_model = "gpt-4-0613"
max_output = 8192
price = { input = "2.50", cached_input = "1.25", output = "10.00" }
[[model]]
name = "claude-sonnet"
upstreams = ["anthropic"]
price = { input = "3.00", cached_input = "0.30", cache_write = "3.75", output = "15.00" }
[[model]]
name = "llama-3.3-70b"
upstreams = ["cluster-in-the-basement"]
price = { input = "0.40", output = "0.60" }
[[model]]
name = "gpt-oss-120b"
upstreams = ["cluster-in-the-basement", "openai"]
[[model]]
name = "${long}"
upstreams = ["openai"]
`;

/** A stand-in for two upstreams, one of which is overloaded. */
function startUpstream() {
  const server = createServer((request, response) => {
    request.resume().on("end", () => {
      const overloaded = request.url.startsWith("/overloaded");
      const message = { role: "assistant", content: "Hi" };
      const body = { id: "chatcmpl-1", object: "chat.completion", choices: [{ index: 0, message, finish_reason: "stop" }] };
      response.writeHead(overloaded ? 503 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify(overloaded ? { error: { message: "overloaded" } } : body));
    });
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

describe("the models of a catalogue", () => {
  let folder, upstream, keydesk, some, many;
  before(async () => {
    upstream = await startUpstream();
    folder = await mkdtemp(path.join(tmpdir(), "keydesk-models-"));
    const file = path.join(folder, "models.toml");
    await writeFile(file, catalogue(`http://127.0.0.1:${upstream.address().port}`));
    keydesk = await startKeydesk({ KEYDESK_MODELS_FILE: file, OPENAI_API_KEY: "sk-never-shown" });
    await keydesk.setUp();
    const admin = await keydesk.run(["key", "create", "--org", "acme-ai", "--name", "admin", "--scope", "admin"]);
    const scopes = ["inference:read", "inference:write"];
    const create = async (body) => (await keydesk.call(admin, "/v1/api-keys", { scopes, expires_in_days: 90, ...body })).json();
    const all = await create({ name: "prod-batch" });
    some = await create({ name: "invoice-parser", models: ["gpt-4", "llama-*"] });
    many = await create({ name: "many-models", models: Array.from({ length: 100 }, (_, place) => `family-${place}/models-*`) });
    for (const [model, status] of [["gpt-4", 200], ["llama-3.3-70b", 503], ["gpt-oss-120b", 200]]) {
      const response = await keydesk.call(all.key, "/v1/chat/completions", { model, messages: [{ role: "user", content: "x" }] });
      assert.equal(response.status, status, model);
    }
  });
  after(async () => {
    await keydesk?.stop();
    upstream.closeAllConnections();
    upstream.close();
    await rm(folder, { recursive: true });
  });

  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 375, 320]) {
      test(`are sound in ${colorScheme} at ${width} px`, async () => {
        const page = await openPage(keydesk, { colorScheme, viewport: { width, height: 860 } });
        await signIn(page, keydesk);
        const go = (to) => page.goto(`${keydesk.base}/o/acme-ai${to}`);
        await go("/settings/models");
        await page.getByText("1 model is failing").waitFor();
        await page.getByText("cluster-in-the-basement has been failing since").waitFor();
        assert.equal((await page.content()).includes("sk-never-shown"), false);
        await inspect(page, "models");
        const limits = page.locator("details.more > summary").first();
        await go("/keys/new?name=a-new-key&scopes=inference:write");
        await limits.click();
        assert.equal(await page.getByLabel("gpt-4", { exact: true }).isVisible(), false);
        await page.getByLabel("Only these").check();
        await page.getByLabel("gpt-4", { exact: true }).check();
        await inspect(page, "create-models");
        await page.getByLabel(/^Other names/).fill("gtp-4\nclaude-*");
        await page.getByRole("button", { name: "Create API key" }).click();
        await page.getByText("The key was not created").waitFor();
        assert.equal(await page.getByLabel("gpt-4", { exact: true }).isChecked(), true);
        await inspect(page, "create-models-error");
        for (const [key, name] of [[some, "some"], [many, "many"]]) {
          await go(`/keys/${key.id}`);
          await inspect(page, `key-${name}-models`);
          await go(`/keys/${key.id}/edit`);
          await limits.click();
          await inspect(page, `edit-${name}-models`);
        }
        await go("/settings/policy");
        await page.getByLabel("Only these").check();
        await page.getByLabel("gpt-4", { exact: true }).check();
        await page.getByText("was every model").waitFor();
        await page.getByText(/^Nothing would change for \d+ keys/).waitFor();
        await inspect(page, "policy-models");
        await page.getByLabel(/^Other names/).fill("g*t");
        await page.getByRole("button", { name: "Save policy" }).click();
        await page.getByText("The policy was not saved").waitFor();
        await inspect(page, "policy-models-error");
        await closePage(page);
      });
    }
  }
});
