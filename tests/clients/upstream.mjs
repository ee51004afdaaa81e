// A stand-in for an OpenAI-compatible server, and for Anthropic’s. It behaves as the name of the requested model says, such as
// `ok` or `stops`, and keeps books of what it was sent and of the tokens that it reported. What follows
// an `@` in a name tells calls of different tests apart: `503@node`.
import { createServer } from "node:http";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { message, messageError, messageEvents } from "./upstream-messages.mjs";
import { completion, embeddings, events, response } from "./upstream-replies.mjs";

/** What the stand-in accepts as credential; a client that calls it directly sends it, too. */
export const credential = "upstream-credential";

const failure = { error: { message: "The model is overloaded", type: "overloaded_error", param: null, code: "overloaded" } };
const refusal = (message, type, code) => ({ error: { message, type, param: null, code } });
const head = (list) => list.slice(0, 3);
const ends = (item) => /finish_reason":"|response\.completed|\[DONE\]|completion_tokens|message_(delta|stop)/.test(item.data);
const data = (value, event) => ({ event, data: JSON.stringify(value) });

/** How a stream deviates: by its events or by how they are written. */
const streams = {
  ok: {},
  reasoning: {},
  "no-usage": {},
  "zero-usage": { events: (list) => list.flatMap((item) => (/_tokens":\d/.test(item.data) ? [item, zeroes(item)] : [item])) },
  "float-usage": { usage: (text) => text.replaceAll(/(_tokens":\d+)/g, "$1.0") },
  "string-usage": { usage: (text) => text.replaceAll(/_tokens":(\d+)/g, '_tokens":"$1"') },
  "usage-on-finish": { events: (list, call) => onFinish(list, call) },
  "usage-on-each": { events: (list, call) => onEach(list, call) },
  "filter-results": { events: (list) => [data({ id: "", model: "", choices: [], prompt_filter_results: [{ prompt_index: 0 }] }), ...list] },
  "error-first": { events: () => [data(failure)] },
  "error-mid-stream": { events: (list) => [...head(list), data(failure)] },
  "error-then-done": { events: (list) => [...head(list), data(failure), { data: "[DONE]" }] },
  "named-error": { events: (list) => [...head(list), data({ type: "error", ...failure }, "error")] },
  stops: { events: (list) => list.filter((item) => !ends(item)) },
  cut: { events: head, cut: true },
  "no-done": { events: (list) => list.filter((item) => item.data !== "[DONE]") },
  "no-blank-line": { last: "\n" },
  "cr-lines": { eol: "\r" },
  "crlf-lines": { eol: "\r\n" },
  bom: { bom: true },
  "no-space": { space: "" },
  comments: { comment: true },
  bytewise: { bytewise: true },
  "odd-media-type": { type: "Text/Event-Stream; Charset=UTF-8" },
  "silent-mid-stream": { events: head, silent: true },
  drip: { pause: 400 },
  gzip: {},
  deflate: {},
  br: {},
  zstd: {},
};

/** Some servers report the usage together with the reason for the end. */
function onFinish(list, call) {
  const { usage } = completion(call);
  const ended = (item) => (/finish_reason":"/.test(item.data) && usage ? data({ ...JSON.parse(item.data), usage }) : item);
  return list.filter((item) => !/"choices":\[\],/.test(item.data)).map(ended);
}

/** Some report what they used so far with every chunk. */
function onEach(list, call) {
  const { usage } = completion(call);
  return onFinish(list, call).map((item, index) => {
    if (!/"finish_reason":null/.test(item.data)) return item;
    return data({ ...JSON.parse(item.data), usage: { ...usage, completion_tokens: index } });
  });
}

function zeroes(item) {
  return { ...item, data: item.data.replaceAll(/_tokens":\d+/g, '_tokens":0') };
}

const internal = "Incorrect API key provided: up-***ial, of project proj-internal";

/** Answers other than a success. */
const refusals = {
  400: [400, {}, refusal("Unsupported value: 'temperature'", "invalid_request_error", "unsupported_value")],
  401: [401, {}, refusal(internal, "invalid_request_error", "invalid_api_key")],
  "403-credential": [403, {}, refusal(internal, "invalid_request_error", "invalid_api_key")],
  "403-model": [403, {}, refusal("Project does not have access to model", "invalid_request_error", "model_not_found")],
  "404-model": [404, {}, refusal("The model does not exist", "invalid_request_error", "model_not_found")],
  408: [408, { "retry-after-ms": "20" }, refusal("The request timed out", "timeout", "request_timeout")],
  409: [409, { "retry-after-ms": "20" }, refusal("Another request holds the lock", "conflict", "conflict")],
  413: [413, {}, refusal("The prompt is too large", "invalid_request_error", "too_large")],
  422: [422, {}, refusal("The value is invalid", "invalid_request_error", "invalid")],
  429: [429, { "retry-after-ms": "20" }, refusal("Too many requests", "requests", "rate_limit_exceeded")],
  "429-quota": [429, { "x-should-retry": "false" }, refusal("You exceeded your quota", "insufficient_quota", "insufficient_quota")],
  500: [500, { "retry-after-ms": "20" }, refusal("The server had an error", "server_error", null)],
  "500-final": [500, { "x-should-retry": "false" }, refusal("The server had an error", "server_error", null)],
  502: [502, { "retry-after-ms": "20" }, "<html>Bad gateway</html>"],
  503: [503, { "retry-after-ms": "20" }, refusal("The engine is overloaded", "server_error", "overloaded")],
  504: [504, { "retry-after-ms": "20" }, "<html>Gateway timeout</html>"],
  529: [529, { "retry-after-ms": "20" }, failure],
};

/** Waits that a refusal asks for: how they are written, and how long they are in milliseconds. */
const waits = {
  date: () => {
    const until = Math.ceil(Date.now() / 1000) * 1000 + 1000;
    return [{ "retry-after": new Date(until).toUTCString() }, until];
  },
  ms: () => [{ "retry-after-ms": "1300" }, Date.now() + 1300],
  decimal: () => [{ "retry-after": "1.3" }, Date.now() + 1300],
  seconds: () => [{ "retry-after": "2" }, Date.now() + 2000],
};

/** Starts the stand-in on a free port. */
export async function startUpstream() {
  const calls = [];
  const open = new Set();
  const server = createServer((request, res) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => answer(request, Buffer.concat(parts), res).catch((error) => res.destroy(error)));
  });
  server.on("connection", (socket) => open.add(socket.on("close", () => open.delete(socket))));

  async function answer(request, raw, res) {
    const url = new URL(request.url, "http://upstream");
    const route = url.pathname.replace(/^\/v1/, "");
    if (route === "/books") return send(res, 200, {}, calls.filter((call) => call.model === url.searchParams.get("model")));
    res.setHeader("x-request-id", `up_req_${calls.length + 1}`);
    const { authorization, "x-api-key": key } = request.headers;
    if (key !== credential && authorization !== `Bearer ${credential}`) return send(res, 401, {}, refusals[401][2]);
    if (route.startsWith("/models")) return models(res, decodeURIComponent(route.slice("/models/".length)));
    const body = JSON.parse(raw.toString());
    const call = { at: Date.now(), number: calls.length + 1, route, model: body.model, headers: request.headers, body };
    const behaviour = body.model.split("@")[0];
    calls.push(call);
    res.on("close", () => (call.closed = Date.now()));

    const [, kind] = behaviour.match(/^once-429-(\w+)$/) ?? [];
    if (kind && calls.filter((earlier) => earlier.model === body.model).length === 1) {
      const [headers, until] = waits[kind]();
      call.until = until;
      return send(res, 429, headers, refusals[429][2]);
    }
    if (refusals[behaviour]) {
      const [status, headers, error] = refusals[behaviour];
      const anthropic = route.startsWith("/messages") && error.error;
      return send(res, status, headers, anthropic ? messageError(status, error.error.message) : error);
    }
    if (route === "/messages/count_tokens") return send(res, 200, {}, { input_tokens: 42 });
    if (behaviour === "silent") return undefined;
    if (behaviour === "no-stream") body.stream = false;
    const [, pause] = behaviour.match(/^slow-(\d+)$/) ?? [];
    if (pause) await new Promise((resolve) => setTimeout(resolve, Number(pause)));

    call.usage = usage(call, behaviour);
    if (route === "/embeddings") {
      call.reported = { input: call.usage.input, output: 0, cached: 0, reasoning: 0 };
      return send(res, 200, {}, embeddings(call, behaviour === "big"));
    }
    return (body.stream ? sendEvents : sendWhole)(res, call, streams[behaviour] ?? {}, behaviour);
  }

  function models(res, id) {
    const model = (name) => ({ id: name, object: "model", created: 1_700_000_000, owned_by: "upstream" });
    if (!id) return send(res, 200, {}, { object: "list", data: ["ok", "vendor/model"].map(model) });
    return ["ok", "vendor/model"].includes(id) ? send(res, 200, {}, model(id)) : send(res, ...refusals["404-model"]);
  }

  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/v1`,
    /** The calls for a model, in the order in which they arrived. */
    calls: (model) => calls.filter((call) => call.model === model),
    all: () => calls,
    /** The tokens that it reported for models whose names end so. */
    reported: (end) => sum(calls.filter((call) => call.reported && call.model.endsWith(end))),
    async stop() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function sum(calls) {
  const total = { calls: calls.length, input: 0, output: 0, cached: 0, reasoning: 0 };
  for (const { reported } of calls) for (const name of Object.keys(reported)) total[name] += reported[name];
  return total;
}

/** Different for each call, so that a sum shows which one is missing. */
function usage({ number }, behaviour) {
  if (behaviour === "no-usage") return null;
  return { input: 100 + number, output: 10 + (number % 7), cached: number % 5, reasoning: behaviour === "reasoning" ? 4 : 0 };
}

function send(res, status, headers, body) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  res.writeHead(status, { "content-type": text.startsWith("<") ? "text/html" : "application/json", ...headers });
  res.end(text);
}

const encodings = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync, zstd: stored };

/** A zstd frame of one raw block (RFC 8878 §3.1.1), which holds at most 128 KiB. */
function stored(bytes) {
  const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0, 0, 0, 0]);
  frame.writeUInt32LE(bytes.length, 5);
  frame.writeUIntLE(bytes.length * 8 + 1, 9, 3);
  return Buffer.concat([frame, bytes]);
}

/** The encodings in which the stand-in responds, requested or not. */
function encoded(text, behaviour) {
  const encode = encodings[behaviour];
  return encode ? [encode(Buffer.from(text)), { "content-encoding": behaviour }] : [Buffer.from(text), {}];
}

function sendWhole(res, call, how, behaviour) {
  const reply = { "/responses": response, "/messages": message }[call.route] ?? completion;
  const text = JSON.stringify(reply(call, behaviour));
  const [bytes, headers] = encoded(how.usage ? how.usage(text) : text, behaviour);
  res.writeHead(200, { "content-type": "application/json", "content-length": bytes.length, ...headers });
  if (how.cut) {
    res.write(bytes.subarray(0, 20), () => res.destroy());
    return;
  }
  call.reported = call.usage;
  res.end(bytes);
}

async function sendEvents(res, call, how, behaviour) {
  const { eol = "\n", space = " ", type = "text/event-stream", last = eol + eol } = how;
  const asked = ["/responses", "/messages"].includes(call.route) || call.body.stream_options?.include_usage;
  const all = call.route === "/messages" ? messageEvents(call) : events(call, behaviour, asked);
  const list = how.events ? how.events(all, call) : all;
  const texts = list.map(({ event, data: line }, index) => {
    const named = event ? `event:${space}${event}${eol}` : "";
    const noted = how.comment ? `: keep-alive${eol}${eol}` : "";
    return `${noted}${named}data:${space}${how.usage ? how.usage(line) : line}${index === list.length - 1 ? last : eol + eol}`;
  });
  if (how.bom) texts[0] = `\ufeff${texts[0]}`;
  const [bytes, headers] = encoded(texts.join(""), behaviour);
  res.writeHead(200, { "content-type": type, ...headers });
  const parts = how.bytewise ? [...bytes].map((byte) => Buffer.from([byte])) : texts.map((text) => Buffer.from(text));
  for (const part of encodings[behaviour] ? [bytes] : parts) {
    await new Promise((resolve) => res.write(part, resolve));
    if (how.pause) await new Promise((resolve) => setTimeout(resolve, how.pause));
  }
  if (how.silent) return;
  if (how.cut) return res.destroy();
  if (asked && list.some((item) => /_tokens":\d/.test(item.data))) call.reported = call.usage;
  res.end();
}
