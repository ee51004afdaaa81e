// What the stand-in answers: completions, responses, embeddings, whole and as events.

/** The pieces in which a text is streamed. */
export const pieces = ["Hello", " from", " the", " upstream", ": ", "grüße", " 你好", "!"];
export const text = pieces.join("");

/** A value that fits a JSON schema, with what it requires. */
export function example(schema = {}) {
  const kind = [schema.type ?? "object"].flat()[0];
  if (schema.enum) return schema.enum[0];
  if (kind === "object") return Object.fromEntries((schema.required ?? []).map((name) => [name, example(schema.properties[name])]));
  if (kind === "array") return [example(schema.items)];
  return { string: "Oslo", integer: 3, number: 1.5, boolean: true }[kind] ?? null;
}

/** The tool that a request offers, unless it reports the result of one. */
function tool({ tools = [], messages = [], input = [] }) {
  const [offered] = tools.filter((one) => one.type === "function");
  if (!offered || messages.some((one) => one.role === "tool")) return null;
  if (Array.isArray(input) && input.some((one) => one.type === "function_call_output")) return null;
  const { name, parameters } = offered.function ?? offered;
  return { name, arguments: JSON.stringify(example(parameters)) };
}

/** The pieces of the text of an answer. */
function said(body) {
  const schema = body.response_format?.json_schema?.schema ?? body.text?.format?.schema;
  if (!schema) return pieces;
  const json = JSON.stringify(example(schema));
  return [json.slice(0, 5), json.slice(5)];
}

const long = JSON.stringify({ text: "x".repeat(4000) });
const calledTool = ({ body }, behaviour) => {
  const called = tool(body);
  return called && behaviour === "no-usage" ? { ...called, arguments: long } : called;
};

const chatUsage = ({ usage }) =>
  usage && {
    prompt_tokens: usage.input,
    completion_tokens: usage.output,
    total_tokens: usage.input + usage.output,
    prompt_tokens_details: { cached_tokens: usage.cached },
    completion_tokens_details: { reasoning_tokens: usage.reasoning },
  };

const reportedOf = (call) => (chatUsage(call) ? { usage: chatUsage(call) } : {});

const headOf = ({ number, body }, object) => ({ id: `upstream-${number}`, object, created: 1_700_000_000, model: body.model });

/** A chat completion, or one of the older kind. */
export function completion(call, behaviour) {
  const { body, route } = call;
  const indices = [...Array(body.n ?? 1).keys()];
  if (route === "/completions") {
    const choices = indices.map((index) => ({ index, text, finish_reason: "stop", logprobs: null }));
    return { ...headOf(call, "text_completion"), choices, ...reportedOf(call) };
  }
  const called = calledTool(call, behaviour);
  const choices = indices.map((index) => {
    const message = { role: "assistant", content: called ? null : said(body).join(""), refusal: null };
    if (called) message.tool_calls = [{ id: "call_1", type: "function", function: called }];
    if (behaviour === "reasoning") message.reasoning_content = "First I think.";
    return { index, message, logprobs: null, finish_reason: called ? "tool_calls" : "stop" };
  });
  return { ...headOf(call, "chat.completion"), choices, ...reportedOf(call) };
}

/** The events of a stream on any route. */
export function events(call, behaviour, asked) {
  if (call.route === "/responses") return responseEvents(call);
  const { body, route } = call;
  const indices = [...Array(body.n ?? 1).keys()];
  const chat = route === "/chat/completions";
  const head = headOf(call, chat ? "chat.completion.chunk" : "text_completion");
  const list = [];
  const add = (choice) => list.push({ ...head, choices: [{ logprobs: null, finish_reason: null, ...choice }] });
  const delta = (index, value) => add(chat ? { index, delta: value } : { index, text: value.content });
  const called = chat && calledTool(call, behaviour);
  for (const index of indices) {
    if (chat) delta(index, { role: "assistant", content: called ? null : "" });
    if (behaviour === "reasoning") for (const part of ["First", " I", " think."]) delta(index, { reasoning_content: part });
  }
  if (called) {
    const { name, arguments: given } = called;
    delta(0, { tool_calls: [{ index: 0, id: "call_1", type: "function", function: { name, arguments: "" } }] });
    for (let at = 0; at < given.length; at += 500) {
      delta(0, { tool_calls: [{ index: 0, function: { arguments: given.slice(at, at + 500) } }] });
    }
  } else {
    for (const content of said(body)) for (const index of indices) delta(index, { content });
  }
  for (const index of indices) {
    add({ index, ...(chat ? { delta: {} } : { text: "" }), finish_reason: called ? "tool_calls" : "stop" });
  }
  if (asked && call.usage) list.push({ ...head, choices: [], ...reportedOf(call) });
  return [...list.map((value) => ({ data: JSON.stringify(value) })), { data: "[DONE]" }];
}

/** A whole answer of the Responses API. */
export function response(call, _behaviour, status = "completed") {
  const { body, usage } = call;
  const [item] = output(call);
  return {
    id: `resp_${call.number}`,
    object: "response",
    created_at: 1_700_000_000,
    status,
    error: null,
    incomplete_details: null,
    instructions: body.instructions ?? null,
    max_output_tokens: null,
    model: body.model,
    output: status === "completed" ? [item] : [],
    parallel_tool_calls: true,
    previous_response_id: null,
    temperature: 1,
    text: { format: { type: "text" } },
    tool_choice: "auto",
    tools: body.tools ?? [],
    top_p: 1,
    metadata: {},
    usage:
      status === "completed" && usage
        ? {
            input_tokens: usage.input,
            input_tokens_details: { cached_tokens: usage.cached },
            output_tokens: usage.output,
            output_tokens_details: { reasoning_tokens: usage.reasoning },
            total_tokens: usage.input + usage.output,
          }
        : null,
  };
}

function output({ number, body }) {
  const called = tool(body);
  if (called) return [{ id: `fc_${number}`, type: "function_call", status: "completed", call_id: "call_1", ...called }];
  const content = [{ type: "output_text", text: said(body).join(""), annotations: [] }];
  return [{ id: `msg_${number}`, type: "message", status: "completed", role: "assistant", content }];
}

function responseEvents(call) {
  const [item] = output(call);
  const list = [];
  const add = (type, value) => list.push({ event: type, data: JSON.stringify({ type, sequence_number: list.length, ...value }) });
  add("response.created", { response: response(call, null, "in_progress") });
  const at = { item_id: item.id, output_index: 0 };
  if (item.type === "function_call") {
    add("response.output_item.added", { output_index: 0, item: { ...item, status: "in_progress", arguments: "" } });
    add("response.function_call_arguments.delta", { ...at, delta: item.arguments });
    add("response.function_call_arguments.done", { ...at, name: item.name, arguments: item.arguments });
  } else {
    const [part] = item.content;
    add("response.output_item.added", { output_index: 0, item: { ...item, status: "in_progress", content: [] } });
    add("response.content_part.added", { ...at, content_index: 0, part: { ...part, text: "" } });
    for (const delta of said(call.body)) add("response.output_text.delta", { ...at, content_index: 0, delta, logprobs: [] });
    add("response.output_text.done", { ...at, content_index: 0, text: part.text, logprobs: [] });
    add("response.content_part.done", { ...at, content_index: 0, part });
  }
  add("response.output_item.done", { output_index: 0, item });
  add("response.completed", { response: response(call) });
  return list;
}

/** Embeddings as numbers or, as the openai clients request them, in base64. */
export function embeddings({ body, usage }, big) {
  const inputs = [body.input].flat();
  const numbers = Float32Array.from({ length: big ? 3072 : 8 }, (_, at) => at / 4096);
  const encoded = Buffer.from(numbers.buffer).toString("base64");
  const embedding = body.encoding_format === "base64" ? encoded : [...numbers];
  return {
    object: "list",
    data: inputs.map((_, index) => ({ object: "embedding", index, embedding })),
    model: body.model,
    usage: { prompt_tokens: usage.input, total_tokens: usage.input },
  };
}
