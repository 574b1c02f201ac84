// The SDK under test, with a record of which of its methods the tests call.
// node_modules lies outside the tests, and imports do not look there, so it is required from its folder.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.SDK_FOLDER, "package.json"));

export const sdk = require("@upstash/qstash");
export const manifest = JSON.parse(
  readFileSync(join(process.env.SDK_FOLDER, "node_modules/@upstash/qstash/package.json")),
);
export const { Client, QstashDailyRatelimitError, QstashRatelimitError, Receiver, decodeBase64, startDevServer } = sdk;

const client = new Client({ baseUrl: "http://127.0.0.1:9", token: "none" });
const classes = {
  Client,
  Receiver,
  Messages: sdk.Messages,
  DLQ: client.dlq.constructor,
  Queue: client.queue().constructor,
  Schedules: sdk.Schedules,
  UrlGroups: sdk.UrlGroups,
  FlowControlApi: sdk.FlowControlApi,
};

// What the SDK offers and these tests leave out.
const LEFT_OUT = new Set([
  // Workflow is a product of its own on top of QStash, with endpoints that this server does not have.
  "Client.workflow",
  // Chat passes requests on to providers of language models; the SDK itself has deprecated it.
  "Client.chat",
  // Private in the SDK's types; `verify` calls both.
  "Receiver.verifyWithKey",
  "Receiver.verifyBodyAndUrl",
]);

const offered = [];
const called = new Set();

for (const [owner, type] of Object.entries(classes)) {
  for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(type.prototype))) {
    const full = `${owner}.${name}`;
    if (name === "constructor" || LEFT_OUT.delete(full)) continue;
    offered.push(full);
    const kind = property.get ? "get" : "value";
    const original = property[kind];
    property[kind] = function (...parameters) {
      called.add(full);
      return original.apply(this, parameters);
    };
    Object.defineProperty(type.prototype, name, property);
  }
}

if (LEFT_OUT.size > 0) throw new Error(`the SDK no longer has ${[...LEFT_OUT].join(", ")}`);

process.on("exit", () => {
  writeFileSync(process.env.METHODS_FILE, JSON.stringify({ offered, called: [...called] }));
});
