// Encodings and versions of HTTP, by curl.
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { python } from "../support.mjs";
import { messages, startDesk } from "./desk.mjs";
import { text } from "./upstream-replies.mjs";

const compress = {
  gzip: gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
  zstd(bytes) {
    const script = "import sys, zstandard; sys.stdout.buffer.write(zstandard.compress(sys.stdin.buffer.read()))";
    const done = spawnSync(python, ["-c", script], { input: bytes, maxBuffer: 2 ** 30 });
    assert.equal(done.status, 0, done.stderr.toString());
    return done.stdout;
  },
};

describe("curl", () => {
  let desk, key, folder, number = 0;
  before(async () => {
    desk = await startDesk();
    key = (await desk.create("curl")).key;
    folder = await mkdtemp(path.join(tmpdir(), "keydesk-curl-"));
  });
  after(async () => {
    await rm(folder, { recursive: true });
    await desk.stop();
  });

  /** Sends a body, and returns status, headers and body. */
  async function post(body, { headers = {}, args = [], route = "/chat/completions" } = {}) {
    const file = path.join(folder, String((number += 1)));
    await writeFile(file, body);
    const all = { Authorization: `Bearer ${key}`, "Content-Type": "application/json", ...headers };
    const named = Object.entries(all).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
    const options = ["-sS", "-m", "60", "--data-binary", `@${file}`, "-D", `${file}.head`, ...named, ...args];
    const { stdout } = await promisify(execFile)("curl", [...options, desk.base + route], { maxBuffer: 2 ** 26, encoding: "buffer" });
    // The last head is the answer’s; one before it says “100 Continue”.
    const head = (await readFile(`${file}.head`, "latin1")).trim().split("\r\n\r\n").at(-1).split("\r\n");
    const entries = head.slice(1).map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]);
    return { status: Number(head[0].split(" ")[1]), headers: Object.fromEntries(entries), body: stdout.toString() };
  }
  const ask = (model, more) => JSON.stringify({ model, messages, ...more });

  for (const [name, encode] of Object.entries(compress)) {
    test(`may send a body in ${name}`, async () => {
      const model = `ok@body-${name}`;
      const content = "grüße ".repeat(100_000);
      const sent = encode(Buffer.from(ask(model, { messages: [{ role: "user", content }] })));
      const answer = await post(sent, { headers: { "Content-Encoding": name } });
      assert.equal(answer.status, 200, answer.body);
      const [call] = desk.upstream.calls(model);
      assert.equal(call.body.messages[0].content, content);
      assert.equal(call.headers["content-encoding"], undefined);
    });

    test(`is refused a body in ${name} that is broken or too large when it is decoded`, async () => {
      const right = encode(Buffer.from(ask("ok@broken")));
      const broken = await post(right.subarray(0, right.length - 12), { headers: { "Content-Encoding": name } });
      assert.equal(broken.status, 400, broken.body);
      const bomb = encode(Buffer.alloc(100 * 2 ** 20, " "));
      assert.ok(bomb.length < 2 ** 20);
      const refused = await post(bomb, { headers: { "Content-Encoding": name } });
      assert.equal(refused.status, 413, refused.body);
      assert.equal(desk.upstream.calls("ok@broken").length, 0);
    });
  }

  test("learns which encodings it may send", async () => {
    const answer = await post("x", { headers: { "Content-Encoding": "compress" } });
    assert.equal(answer.status, 415);
    const accepted = answer.headers["accept-encoding"].split(/\s*,\s*/);
    assert.deepEqual(Object.keys(compress).filter((name) => !accepted.includes(name)), []);
  });

  for (const name of Object.keys(compress)) {
    test(`gets plain text if it accepts nothing else, though the upstream answers in ${name}`, async () => {
      for (const stream of [false, true]) {
        const answer = await post(ask(name, { stream }));
        assert.deepEqual([answer.status, answer.headers["content-encoding"]], [200, undefined]);
        const said = stream ? deltas(answer.body) : JSON.parse(answer.body).choices[0].message.content;
        assert.equal(said, text);
      }
    });

    test(`decodes what it accepts, and the upstream answers in ${name}`, async () => {
      const answer = await post(ask(name), { args: ["--compressed"] });
      assert.equal(JSON.parse(answer.body).choices[0].message.content, text);
    });
  }

  test("gets no chunk sizes by HTTP/1.0", async () => {
    const answer = await post(ask("ok", { stream: true }), { args: ["--http1.0", "--raw", "-N"] });
    assert.equal(answer.headers["transfer-encoding"], undefined);
    assert.match(answer.body, /^data: \{/);
    assert.equal(deltas(answer.body), text);
    assert.match(answer.body, /data: \[DONE\]\n\n$/);
  });

  test("gets the deltas of a prompt, whatever the ends of the upstream’s lines", async () => {
    for (const model of ["ok", "bom", "cr-lines", "crlf-lines", "no-space", "comments", "odd-media-type", "gzip"]) {
      const answer = await post(JSON.stringify({ model: `${model}@prompt`, prompt: "Hello", stream: true }), { route: "/inference" });
      const lines = answer.body.split("\n\n").filter((line) => line.startsWith('data: {"delta"'));
      assert.equal(lines.map((line) => JSON.parse(line.slice(6)).delta).join(""), text, model);
      assert.match(answer.body, /"usage":.*\n\ndata: \[DONE\]\n\n$/, model);
    }
  });

  test("gets an error and no end if the stream of a prompt fails", async () => {
    for (const model of ["error-first", "error-mid-stream", "error-then-done", "named-error", "stops", "cut"]) {
      const answer = await post(JSON.stringify({ model: `${model}@prompt`, prompt: "Hello", stream: true }), { route: "/inference" });
      assert.match(answer.body, /"error":/, model);
      assert.doesNotMatch(answer.body, /\[DONE\]/, model);
    }
  });
});

/** The text of the events of a chat. */
function deltas(body) {
  const lines = body.split("\n").filter((line) => line.startsWith("data: {"));
  return lines.map((line) => JSON.parse(line.slice(6)).choices[0].delta.content ?? "").join("");
}
