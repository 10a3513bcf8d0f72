// The official JavaScript `openai` client, unchanged but for baseURL, against the worker at
// LLORCH_E2E_URL. Run by test_openai_js.py; by hand: node --test openai_client.test.mjs
import assert from "node:assert/strict";
import diagnostics from "node:diagnostics_channel";
import { test } from "node:test";
import OpenAI from "openai";

const baseURL = process.env.LLORCH_E2E_URL;
const client = new OpenAI({ baseURL, apiKey: "unused", maxRetries: 0, timeout: 90_000 });
const messages = [{ role: "user", content: "Tell me about the sea." }];
const short = { model: "gpt-4o-mini", max_tokens: 16, seed: 5, temperature: 0 };
const limit = { timeout: 120_000 };
const tools = [{
  type: "function",
  function: {
    name: "set_light",
    parameters: {
      type: "object", additionalProperties: false, required: ["on"],
      properties: { on: { type: "boolean" } },
    },
  },
}];

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}
const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

// clause: W-31
test("chat, whole and streamed, says the same", limit, async () => {
  const whole = await client.chat.completions.create({ messages, ...short });
  assert.equal(whole.model, "smollm2");
  assert.equal(whole.choices[0].finish_reason, "length");
  assert.equal(whole.usage.completion_tokens, 16);
  const chunks = await collect(await client.chat.completions.create({ messages, stream: true, ...short }));
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.equal(textOf(chunks), whole.choices[0].message.content);
});

// clause: W-35
test("usage comes in one last frame", limit, async () => {
  const chunks = await collect(await client.chat.completions.create({
    messages, stream: true, stream_options: { include_usage: true }, ...short,
  }));
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, 16);
});

// clause: W-34
test("a required tool is called, streamed by the SDK's runner of events", limit, async () => {
  // The answer is a toss-up, and only a deterministic job says the same from a cached prefix.
  const fields = { messages, tools, tool_choice: "required", ...short, max_tokens: 150, deterministic: true };
  const whole = await client.chat.completions.create(fields);
  assert.equal(whole.choices[0].finish_reason, "tool_calls");
  const call = whole.choices[0].message.tool_calls[0];
  assert.equal(call.function.name, "set_light");
  assert.equal(typeof JSON.parse(call.function.arguments).on, "boolean");
  const final = await client.chat.completions.stream(fields).finalChatCompletion();
  assert.equal(final.choices[0].message.tool_calls[0].function.arguments, call.function.arguments);
});

// clause: W-29
test("a JSON schema binds the output", limit, async () => {
  const schema = {
    type: "object", required: ["n"], additionalProperties: false,
    properties: { n: { type: "integer" } },
  };
  const reply = await client.chat.completions.create({
    messages, ...short, max_tokens: 100,
    response_format: { type: "json_schema", json_schema: { name: "n", schema, strict: true } },
  });
  const value = JSON.parse(reply.choices[0].message.content);
  assert.deepEqual(Object.keys(value), ["n"]);
  assert.ok(Number.isInteger(value.n));
});

// clause: W-35
test("logprobs name each token", limit, async () => {
  const reply = await client.chat.completions.create({ messages, logprobs: true, top_logprobs: 2, ...short });
  const rows = reply.choices[0].logprobs.content;
  assert.equal(rows.length, 16);
  assert.equal(Buffer.from(rows.flatMap((row) => row.bytes)).toString(), reply.choices[0].message.content);
  assert.ok(rows.every((row) => row.top_logprobs.length === 2 && row.logprob <= 0));
});

// clause: W-23, W-15
test("stop and seed are obeyed", limit, async () => {
  const whole = await client.chat.completions.create({ messages, ...short });
  const text = whole.choices[0].message.content;
  const stop = text.slice(12, 17);
  const cut = await client.chat.completions.create({ messages, stop, ...short });
  assert.equal(cut.choices[0].message.content, text.slice(0, text.indexOf(stop)));
  assert.equal(cut.choices[0].finish_reason, "stop");
  const say = async (seed) => (await client.chat.completions.create(
    { messages, ...short, seed, temperature: 1.3 })).choices[0].message.content;
  assert.equal(await say(1), await say(1));
  assert.notEqual(await say(1), await say(2));
});

// clause: W-37
test("embeddings come as numbers, whatever travels", limit, async () => {
  for (const encoding_format of ["float", "base64", undefined]) {
    const reply = await client.embeddings.create({ model: "any", input: ["one", "two"], encoding_format });
    assert.equal(reply.data.length, 2);
    if (encoding_format === "base64") continue;  // given as the text it is
    const norm = Math.hypot(...reply.data[0].embedding);
    assert.ok(Math.abs(norm - 1) < 1e-3, `norm ${norm}`);
  }
});

// clause: W-31
test("completions and models", limit, async () => {
  const reply = await client.completions.create({ prompt: "The sea is", ...short });
  assert.equal(reply.object, "text_completion");
  assert.ok(reply.choices[0].text);
  const list = await client.models.list();
  assert.deepEqual(list.data.map((model) => model.id), ["smollm2"]);
});

// clause: E-2
test("errors have the SDK's own classes", limit, async () => {
  await assert.rejects(client.chat.completions.create({ messages, ...short, temperature: 9 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature");
  await assert.rejects(client.chat.completions.create({ messages, ...short, n: 2, stream: true }),
    OpenAI.BadRequestError);
  await assert.rejects(client.models.retrieve("no-such-model"), OpenAI.NotFoundError);
  await assert.rejects(
    client.chat.completions.create({ messages, ...short, max_tokens: 1500, ignore_eos: true }, { timeout: 500 }),
    OpenAI.APIConnectionTimeoutError);
});

// clause: W-25
test("an aborted stream ends in the client and frees the slot", limit, async () => {
  const stream = await client.chat.completions.create(
    { messages, stream: true, ...short, max_tokens: 1500, ignore_eos: true });
  for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
  stream.controller.abort();
  const health = new URL("/health", baseURL);
  const deadline = Date.now() + 5_000;
  let busy = 1;
  while (busy > 0 && Date.now() < deadline) busy = (await (await fetch(health)).json()).slots_busy;
  assert.equal(busy, 0);
});

// clause: W-39
test("500 streams one after another reuse one connection, none fails", limit, async () => {
  let connections = 0;
  const count = () => { connections += 1; };
  diagnostics.subscribe("undici:client:connected", count);
  for (let number = 0; number < 500; number += 1) {
    const stream = await client.completions.create({ prompt: "Hi", stream: true, model: "any", max_tokens: 1 });
    const chunks = await collect(stream);
    assert.equal(chunks.at(-1).choices[0].finish_reason, "length");
  }
  diagnostics.unsubscribe("undici:client:connected", count);
  assert.ok(connections <= 2, `${connections} connections; one may replace the aborted stream's`);
});
