// The official JavaScript `openai` client, unchanged but for baseURL: streamed replies with silences
// of LLORCH_PAUSES_S (a JSON list of seconds) between them share one connection. Run by
// test_keepalive.py against LLORCH_E2E_URL; a process for each list, as its pool is the process's.
import assert from "node:assert/strict";
import diagnostics from "node:diagnostics_channel";
import { test } from "node:test";
import { setTimeout as silence } from "node:timers/promises";
import OpenAI from "openai";

const pauses = JSON.parse(process.env.LLORCH_PAUSES_S);
const client = new OpenAI({ baseURL: process.env.LLORCH_E2E_URL, apiKey: "unused", maxRetries: 0 });

async function stream() {
  const reply = await client.completions.create({ prompt: "Hi", stream: true, model: "any", max_tokens: 1 });
  let last;
  for await (const chunk of reply) last = chunk;
  assert.equal(last.choices[0].finish_reason, "length");
}

// clause: W-39
test(`pauses of ${pauses} s leave one connection`, { timeout: 120_000 }, async () => {
  let connections = 0;
  diagnostics.subscribe("undici:client:connected", () => { connections += 1; });
  await stream();
  for (const pause of pauses) {
    await silence(pause * 1000);
    await stream();
  }
  assert.equal(connections, 1);
});
