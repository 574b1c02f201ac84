// QSTASH_DEV=true: the SDK looks for a server on QSTASH_DEV_PORT with the well-known token and keys, and uses it;
// only when there is none would it download and start Upstash's own.
import assert from "node:assert/strict";
import childProcess from "node:child_process";
import https from "node:https";
import { createRequire, syncBuiltinESMExports } from "node:module";
import { before, mock, test } from "node:test";

import { Destination, URLS, ask } from "./desk.mjs";
import { Client, Receiver, startDevServer } from "./sdk.mjs";

const download = mock.method(https, "get", () => {
  throw new Error("this would download");
});
const spawn = mock.method(childProcess, "spawn", () => {
  throw new Error("this would start a program");
});
const warn = mock.method(console, "warn", () => {});

before(() => {
  syncBuiltinESMExports();
  process.env.QSTASH_DEV = "true";
  process.env.QSTASH_DEV_PORT = new URL(URLS.real).port;
  for (const name of ["URL", "TOKEN", "CURRENT_SIGNING_KEY", "NEXT_SIGNING_KEY"]) delete process.env[`QSTASH_${name}`];
});

test("this server is taken for the development server, and nothing is downloaded", async (t) => {
  const destination = await Destination.open(t);
  await startDevServer();
  const client = new Client({ retry: false });
  const { messageId } = await client.publishJSON({ url: destination.url, body: { n: 1 } });
  const [arrival] = await destination.wait();
  assert.equal(arrival.messageId, messageId);
  const signature = arrival.headers["upstash-signature"];
  assert.ok(await new Receiver().verify({ signature, body: arrival.body, url: destination.url }));
  assert.deepEqual([download.mock.callCount(), spawn.mock.callCount(), warn.mock.callCount()], [0, 0, 0]);
});

test("development mode can be chosen for one client, and its own settings are ignored", async (t) => {
  process.env.QSTASH_DEV = "false";
  t.after(() => (process.env.QSTASH_DEV = "true"));
  const destination = await Destination.open(t);
  const client = new Client({ devMode: true, baseUrl: "http://127.0.0.1:9", token: "wrong", retry: false });
  await client.publish({ url: destination.url, body: "x" });
  const [arrival] = await destination.wait();
  const receiver = new Receiver({ devMode: true, currentSigningKey: "sig_other", nextSigningKey: "sig_another" });
  assert.ok(await receiver.verify({ signature: arrival.headers["upstash-signature"], body: "x" }));
  assert.deepEqual([download.mock.callCount(), spawn.mock.callCount()], [0, 0]);
});

test("a server with keys of its own is not taken for it", async () => {
  warn.mock.resetCalls();
  await ask("POST", "/v2/keys/rotate", { base: URLS.fast });
  process.env.QSTASH_DEV_PORT = new URL(URLS.fast).port;
  // The answer for the server that was found first is kept, so this takes another copy of the SDK.
  const require = createRequire(`${process.env.SDK_FOLDER}/package.json`);
  delete require.cache[require.resolve("@upstash/qstash")];
  await require("@upstash/qstash").startDevServer();
  assert.equal(download.mock.callCount(), 1);
  assert.match(String(warn.mock.calls[0].arguments), /Could not start dev server/);
});
