// Hundreds of calls of all kinds: the API, the CSV file and the database count the tokens that the upstream reported.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { person, python } from "../support.mjs";
import { messages, startDesk, weather } from "./desk.mjs";

const sql = `import json, sqlite3, sys
rows = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True).execute(
    "SELECT model, SUM(requests), SUM(input_tokens), SUM(output_tokens) FROM all_usage_counts WHERE width = 60 "
    "AND scope = 'inference:write' GROUP BY model")
print(json.dumps({row[0]: row[1:] for row in rows}))`;

/** The usage of each model as the portal’s CSV file has it. */
async function csv(keydesk) {
  const form = new URLSearchParams({ email: person.email, password: person.password });
  const headers = { "sec-fetch-site": "same-origin" };
  const entered = await fetch(`${keydesk.base}/sign-in`, { method: "POST", body: form, headers, redirect: "manual" });
  const [cookie] = entered.headers.get("set-cookie").split(";");
  const file = await (await fetch(`${keydesk.base}/o/acme-ai/usage.csv`, { headers: { ...headers, cookie } })).text();
  const [head, ...lines] = file.trim().split(/\r?\n/).map((line) => line.split(","));
  const sums = {};
  for (const line of lines) {
    const row = Object.fromEntries(head.map((name, at) => [name, line[at]]));
    const sum = (sums[row.model] ??= [0, 0, 0]);
    for (const [at, name] of ["requests", "input_tokens", "output_tokens"].entries()) sum[at] += Number(row[name]);
  }
  return sums;
}

test("four hundred calls of all kinds are counted with the tokens that the upstream reported", async () => {
  const desk = await startDesk();
  try {
    const { keydesk, upstream, admin } = desk;
    const key = await desk.create("counts");
    const tools = [{ type: "function", function: weather }];
    const kinds = [
      ["/chat/completions", { messages }],
      ["/chat/completions", { messages, n: 3 }],
      ["/chat/completions", { messages, tools }],
      ["/chat/completions", { messages, stream_options: { include_usage: true }, stream: true }],
      ["/completions", { prompt: "Hello" }],
      ["/responses", { input: "Hello" }],
      ["/inference", { prompt: "Hello" }],
    ];
    const models = ["ok", "reasoning", "zero-usage", "float-usage", "string-usage", "usage-on-each", "usage-on-finish", "cr-lines", "gzip", "br"];
    const calls = [];
    for (let call = 0; call < 400; call += 1) {
      const [route, body] = kinds[call % kinds.length];
      // Seven kinds and ten models: each pair occurs whole and as a stream.
      calls.push([route, { stream: Math.floor(call / 70) % 2 === 1, model: models[call % models.length], ...body }]);
    }
    for (let call = 0; call < 20; call += 1) calls.push(["/embeddings", { model: "ok", input: ["a", "b"] }]);
    // Eight at a time.
    const worker = async () => {
      for (let next = calls.pop(); next; next = calls.pop()) {
        const answer = await keydesk.call(key.key, `/v1${next[0]}`, next[1]);
        assert.equal(answer.status, 200, JSON.stringify(next));
        assert.doesNotMatch(await answer.text(), /"error":\{/, JSON.stringify(next));
      }
    };
    await Promise.all(Array.from({ length: 8 }, worker));

    const expected = {};
    for (const { model, reported, body, route } of upstream.all()) {
      assert.ok(reported, `the upstream was asked for the usage of ${route}: ${JSON.stringify(body)}`);
      const sum = (expected[model] ??= [0, 0, 0]);
      for (const [at, value] of [1, reported.input, reported.output].entries()) sum[at] += value;
    }
    const total = await desk.usage(key.id, 420);
    assert.equal(total.ok, 420);
    const { data } = await (await keydesk.call(admin, "/v1/usage?group_by=model")).json();
    const api = {};
    for (const row of data.filter((one) => one.group)) {
      const sum = (api[row.group] ??= [0, 0, 0]);
      for (const [at, name] of ["requests", "input_tokens", "output_tokens"].entries()) sum[at] += row[name];
    }
    assert.deepEqual(api, expected, "the API");
    const exported = await csv(keydesk);
    assert.deepEqual(Object.fromEntries(models.map((model) => [model, exported[model]])), expected, "the CSV file");
    const { stdout } = await promisify(execFile)(python, ["-c", sql, path.join(keydesk.data, "keydesk.sqlite3")]);
    assert.deepEqual(JSON.parse(stdout), expected, "the database");
  } finally {
    await desk.stop();
  }
});
