// A server whose plan has three messages a day and that takes five other requests a second.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Destination, TOKEN, URLS } from "./desk.mjs";
import { Client, QstashDailyRatelimitError, QstashRatelimitError } from "./sdk.mjs";

const limited = new Client({ baseUrl: URLS.limited, token: TOKEN, retry: false });

test("the day's limit is an error of its own kind, which says when the next day begins", async (t) => {
  const { url } = await Destination.open(t);
  const message = { url, body: "x" };
  await limited.publish(message);
  const [second, third, fourth] = await limited.batch([message, message, message]);
  assert.deepEqual(
    [Object.keys(second), Object.keys(third), Object.keys(fourth)],
    [["messageId"], ["messageId"], ["error"]],
  );
  const refusal = await limited.publish(message).catch((error) => error);
  assert.ok(refusal instanceof QstashDailyRatelimitError);
  assert.deepEqual([refusal.status, refusal.limit, refusal.remaining], [429, "3", "0"]);
  assert.equal(Number(refusal.reset) % 86_400, 0);
  await assert.rejects(limited.queue({ queueName: "q" }).enqueueJSON(message), QstashDailyRatelimitError);
});

test("the limit of a second is an error of its own kind", async () => {
  const calls = Array.from({ length: 20 }, () => limited.queue().list());
  const refusal = await Promise.all(calls).catch((error) => error);
  assert.ok(refusal instanceof QstashRatelimitError);
  assert.deepEqual([refusal.status, refusal.limit, refusal.remaining], [429, "5", "0"]);
  assert.ok(Math.abs(Number(refusal.reset) - Date.now() / 1000) < 60);
});

test("a token that may only read changes nothing", async (t) => {
  const { url } = await Destination.open(t);
  const reader = new Client({ baseUrl: URLS.real, token: process.env.READ_ONLY_QSTASH_TOKEN, retry: false });
  const refused = { name: "QstashError", status: 403 };
  await assert.rejects(reader.publish({ url }), refused);
  await assert.rejects(reader.queue({ queueName: "q" }).upsert({}), refused);
  await assert.rejects(reader.messages.cancel({ all: true }), refused);
  assert.deepEqual((await reader.logs()).logs, []);
  assert.deepEqual(await reader.queue().list(), []);
});
