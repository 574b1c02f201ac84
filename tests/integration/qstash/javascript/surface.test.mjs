// What the package exports. Its methods are compared with those that the tests call, in test_qstash_javascript_sdk.py.
import assert from "node:assert/strict";
import { test } from "node:test";

import { manifest, sdk } from "./sdk.mjs";

const TESTED = [
  "Client",
  "FlowControlApi",
  "Messages",
  "QstashDailyRatelimitError",
  "QstashEmptyArrayError",
  "QstashError",
  "QstashRatelimitError",
  "Receiver",
  "Schedules",
  "SignatureError",
  "UrlGroups",
  "decodeBase64",
  "startDevServer",
];

const LEFT_OUT = [
  // Workflow is a product of its own on top of QStash, with endpoints that this server does not have.
  "QStashWorkflowAbort",
  "QStashWorkflowError",
  "formatWorkflowError",
  // Providers of language models and mail, and with them the option `api`: services of others, outside this machine.
  "Chat",
  "QstashChatRatelimitError",
  "anthropic",
  "custom",
  "openai",
  "resend",
  "setupAnalytics",
  "upstash",
];

// The other entry points hand requests of a web framework to `Receiver`, or are Workflow.
const ENTRY_POINTS = [
  ".",
  "./cloudflare",
  "./dist/nextjs",
  "./h3",
  "./hono",
  "./nextjs",
  "./nuxt",
  "./solidjs",
  "./svelte",
  "./workflow",
];

test("the package exports what is tested and what is left out, and nothing else", () => {
  assert.deepEqual(Object.keys(sdk).sort(), [...TESTED, ...LEFT_OUT].sort());
  assert.deepEqual(Object.keys(manifest.exports).sort(), ENTRY_POINTS);
});
