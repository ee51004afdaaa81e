// Starts a Keydesk on an empty database.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const binary = path.resolve(root, process.env.KEYDESK_BINARY ?? "target/debug/keydesk");

/** Python with the packages of `clients/requirements.txt`, which `tests/run install` installs. */
export const python = path.join(root, "target/python/bin/python");

export const password = "correct horse battery staple";
export const person = { organization: "Acme AI", name: "Mara Lindqvist", email: "mara@acme.example", password };

/** What changes the database behind the server's back: a newer Node, which reads SQLite. */
const later = {
  node: path.join(root, "tests/browser/node_modules/node/bin/node"),
  script: `const { DatabaseSync } = require("node:sqlite");
    const database = new DatabaseSync(process.argv[1], { timeout: 10000 });
    database.exec(String.raw\`UPDATE sessions SET state = REPLACE(state, '"proved_at":"\\"1', '"proved_at":"\\"0')\`);`,
};

function environment(data, more) {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("KEYDESK_"));
  return { ...Object.fromEntries(own), KEYDESK_LISTEN: "127.0.0.1:0", KEYDESK_DRAIN: "0s", KEYDESK_DATA_DIR: data, ...more };
}

/** Starts Keydesk on an empty database, with these settings. */
export async function startKeydesk(settings = {}) {
  const data = await mkdtemp(path.join(tmpdir(), "keydesk-browser-"));
  const child = spawn(binary, [], { env: environment(data, settings), stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  child.stderr.on("data", (chunk) => (log += chunk));
  const exited = new Promise((resolve) => child.on("exit", resolve));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const listening = (await lines.next()).value;
  assert.match(listening ?? "", /^listening on http:/);
  const link = (await lines.next()).value.match(/http\S+/)[0];
  const base = new URL(link).origin;
  return {
    base,
    link,
    data,
    /** What it has logged so far. */
    log: () => log,
    /** The lines of the log with this text, once there is one. */
    logged: async (text) => {
      const deadline = Date.now() + 20_000;
      for (;;) {
        const lines = log.split("\n").slice(0, -1).filter((line) => line.includes(text));
        if (lines.length || Date.now() > deadline) return lines;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    run: (args, input = "") => run(data, args, input),
    async setUp() {
      const { organization, name, email } = person;
      const args = ["setup", "--org", organization, "--name", name, "--email", email, "--password-stdin"];
      await run(data, args, password);
    },
    /** The latest mail of an event to an address, out of the directory of mails. */
    async mail(email, event) {
      for (let tries = 0; tries < 100; tries += 1) {
        const names = (await readdir(path.join(data, "mail")).catch(() => [])).filter((name) => name.endsWith(".eml")).sort();
        for (const name of names.reverse()) {
          const mail = parse(await readFile(path.join(data, "mail", name), "utf8"), base);
          if (mail.event === event && mail.to.includes(email)) return mail;
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      return assert.fail(`no mail of ${event} to ${email}`);
    },
    /** The link in it. */
    async mailedLink(email, event) {
      return (await this.mail(email, event)).link;
    },
    /** Makes every open session one whose person proved long ago who they are. */
    async growStale() {
      const { node, script } = later;
      const file = path.join(data, "keydesk.sqlite3");
      const child = spawn(node, ["--no-warnings", "-e", script, file], { stdio: "inherit" });
      assert.equal(await new Promise((resolve) => child.on("exit", resolve)), 0);
    },
    async call(key, route, body, method = body ? "POST" : "GET") {
      const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
      return fetch(base + route, { method, headers, body: body && JSON.stringify(body) });
    },
    async stop() {
      child.kill("SIGTERM");
      assert.equal(await exited, 0, "Keydesk stops when asked");
      await rm(data, { recursive: true });
    },
  };
}

async function run(data, args, input) {
  const child = spawn(binary, args, { env: environment(data), stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.end(input);
  let output = "";
  for await (const chunk of child.stdout) output += chunk;
  return output.trim();
}

/** A mail as it was written: its headers, its HTML, and the first link in it. */
function parse(raw, base) {
  const [head, ...rest] = raw.split("\r\n\r\n");
  const header = (name) => head.replaceAll(/\r\n[ \t]/g, " ").match(new RegExp(`^${name}: (.*)$`, "im"))?.[1] ?? "";
  const part = rest.join("\r\n\r\n").split(/^--\S+/m).find((text) => /content-type: text\/html/i.test(text)) ?? "";
  const [about, ...body] = part.trimStart().split("\r\n\r\n");
  const html = decode(body.join("\r\n\r\n"), about.match(/transfer-encoding: (\S+)/i)?.[1] ?? "7bit");
  const link = html.match(/http:\/\/localhost:\d+(\/[^"\s<]*)/)?.[0].replace(/^http:\/\/[^/]*/, base);
  return { raw, to: header("To"), event: header("X-Keydesk-Event"), subject: header("Subject"), html, link };
}

function decode(text, encoding) {
  if (encoding === "base64") return Buffer.from(text, "base64").toString();
  if (encoding !== "quoted-printable") return text;
  const bytes = text.replaceAll("=\r\n", "").replaceAll(/=([0-9A-F]{2})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 16)));
  return Buffer.from(bytes, "latin1").toString();
}
