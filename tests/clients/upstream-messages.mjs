// What the stand-in answers on Anthropic's routes.
import { example, pieces, text } from "./upstream-replies.mjs";

/** Anthropic counts what it reads from its cache, and writes to it, apart from the rest of the input. */
const input = ({ usage }) => ({
  input_tokens: usage.input - usage.cached - 1,
  cache_read_input_tokens: usage.cached,
  cache_creation_input_tokens: 1,
});

/** A call of the first tool, unless the request has the result of one; else a text. */
function content({ body: { tools: [tool] = [], messages } }) {
  const results = messages.flatMap((one) => one.content).filter((block) => block.type === "tool_result");
  if (!tool || results.length > 0) return { type: "text", text };
  return { type: "tool_use", id: "toolu_1", name: tool.name, input: example(tool.input_schema) };
}

/** A whole message. */
export function message(call) {
  const block = content(call);
  return {
    id: `msg_${call.number}`,
    type: "message",
    role: "assistant",
    model: call.body.model,
    content: [block],
    stop_reason: block.type === "tool_use" ? "tool_use" : "end_turn",
    stop_sequence: null,
    usage: { ...input(call), output_tokens: call.usage.output },
  };
}

/** A message as events. */
export function messageEvents(call) {
  const { usage, stop_reason, content: [block], ...head } = message(call);
  const list = [];
  const add = (type, value) => list.push({ event: type, data: JSON.stringify({ type, ...value }) });
  add("message_start", { message: { ...head, content: [], stop_reason: null, usage: { ...input(call), output_tokens: 1 } } });
  add("content_block_start", { index: 0, content_block: block.type === "text" ? { ...block, text: "" } : { ...block, input: {} } });
  add("ping", {});
  const deltas =
    block.type === "text"
      ? pieces.map((piece) => ({ type: "text_delta", text: piece }))
      : [{ type: "input_json_delta", partial_json: JSON.stringify(block.input) }];
  for (const delta of deltas) add("content_block_delta", { index: 0, delta });
  add("content_block_stop", { index: 0 });
  add("message_delta", { delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: usage.output_tokens } });
  add("message_stop", {});
  return list;
}

const kinds = {
  400: "invalid_request_error",
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  529: "overloaded_error",
};

/** An error in Anthropic's format. */
export const messageError = (status, description) => ({
  type: "error",
  error: { type: kinds[status] ?? (status < 500 ? "invalid_request_error" : "api_error"), message: description },
});
