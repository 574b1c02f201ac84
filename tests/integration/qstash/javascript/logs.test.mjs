import assert from "node:assert/strict";
import { test } from "node:test";

import { Destination, client, deadLetter, failing, failingFirst, fast, untilState } from "./desk.mjs";
import { decodeBase64 } from "./sdk.mjs";

test("the log tells all that happened to a message, the newest first", async (t) => {
  const destination = await Destination.open(t, failingFirst(1, 503));
  const { messageId } = await fast.publishJSON({
    url: destination.url,
    body: { text: "größer" },
    headers: { "X-Trace": "abc" },
    label: ["a", "b"],
    retryDelay: "1000",
  });
  await untilState(fast, messageId, "DELIVERED");
  const { logs, events, cursor } = await fast.logs({ messageIds: [messageId] });
  assert.deepEqual(events, logs);
  assert.equal(cursor, undefined);
  assert.deepEqual(
    logs.map((log) => log.state),
    ["DELIVERED", "ACTIVE", "RETRY", "ERROR", "ACTIVE", "CREATED"],
  );
  for (const log of logs) {
    assert.deepEqual([log.messageId, log.url, log.urlGroup, log.label], [messageId, destination.url, undefined, "a"]);
    assert.deepEqual([log.labels, log.header["X-Trace"]], [["a", "b"], ["abc"]]);
    assert.ok(Math.abs(log.time - Date.now()) < 60_000);
    assert.deepEqual(JSON.parse(decodeBase64(log.body)), { text: "größer" });
  }
  const error = logs.find((log) => log.state === "ERROR");
  assert.deepEqual([error.responseStatus, decodeBase64(error.responseBody)], [503, "no"]);
  assert.equal(typeof error.error, "string");
});

test("events is the old name of logs", async (t) => {
  const destination = await Destination.open(t);
  const { messageId } = await client.publish({ url: destination.url });
  await untilState(client, messageId, "DELIVERED");
  const { events } = await client.events({ filter: { messageId } });
  assert.deepEqual(
    events.map((event) => event.state),
    ["DELIVERED", "ACTIVE", "CREATED"],
  );
});

test("each filter finds its events and leaves the others out", async (t) => {
  const destination = await Destination.open(t, ({ target }) => (target === "/bad" ? failing()() : { status: 200 }));
  const fromDate = new Date();
  const options = { label: ["f", "g"], flowControl: { key: "logged", parallelism: 1 } };
  const { messageId: good } = await client.publish({ url: `${destination.url}/good`, ...options });
  const { messageId: bad } = await client.publish({ url: `${destination.url}/bad`, retries: 0 });
  const { messageId: queued } = await client
    .queue({ queueName: "logged" })
    .enqueue({ url: `${destination.url}/queued` });
  await untilState(client, good, "DELIVERED");
  await deadLetter(client, bad);
  await untilState(client, queued, "DELIVERED");
  const found = async (filter) => [...new Set((await client.logs({ filter })).logs.map((log) => log.messageId))];
  const { host } = new URL(destination.url);
  assert.deepEqual(await found({ messageId: good }), [good]);
  assert.deepEqual(await found({ url: `${destination.url}/good` }), [good]);
  assert.deepEqual(await found({ label: "g" }), [good]);
  assert.deepEqual(await found({ flowControlKey: "logged" }), [good]);
  assert.deepEqual(await found({ queueName: "logged" }), [queued]);
  assert.deepEqual(await found({ host, path: "/bad" }), [bad]);
  assert.deepEqual(await found({ host, state: "FAILED" }), [bad]);
  assert.deepEqual((await found({ host, state: "DELIVERED" })).sort(), [good, queued].sort());
  assert.deepEqual((await found({ host, path: ["/good", "/bad"] })).sort(), [good, bad].sort());
  assert.deepEqual((await found({ host, callerIp: "127.0.0.1", fromDate })).length, 3);
  assert.deepEqual(await found({ host, toDate: fromDate.getTime() - 1 }), []);
  assert.deepEqual(await found({ scheduleId: "none" }), []);
  const inProgress = await client.logs({ filter: { messageId: bad, state: "IN_PROGRESS" } });
  assert.deepEqual(
    inProgress.logs.map((log) => log.state),
    ["ERROR", "ACTIVE"],
  );
  await assert.rejects(client.logs({ filter: { state: "LOST" } }), { status: 400, message: /LOST/ });
  await assert.rejects(client.logs({ messageIds: [] }), { name: "QstashEmptyArrayError" });
});

test("a cancelled message is logged as the SDK spells it", async (t) => {
  const destination = await Destination.open(t);
  const { messageId } = await client.publish({ url: destination.url, delay: "1h" });
  await client.messages.cancel(messageId);
  const { logs } = await client.logs({ filter: { messageId, state: "CANCELED" } });
  assert.deepEqual(
    logs.map((log) => log.state),
    ["CANCELED"],
  );
});

test("events come in pages", async (t) => {
  const destination = await Destination.open(t);
  const { messageId } = await client.publish({ url: destination.url });
  await untilState(client, messageId, "DELIVERED");
  const seen = [];
  let cursor;
  do {
    const page = await client.logs({ count: 2, cursor, filter: { url: destination.url } });
    seen.push(page.logs.map((log) => log.state));
    ({ cursor } = page);
  } while (cursor !== undefined);
  assert.deepEqual(seen, [["DELIVERED", "ACTIVE"], ["CREATED"]]);
  assert.equal((await client.logs({ filter: { url: destination.url, count: 1 } })).logs.length, 1);
  await assert.rejects(client.logs({ cursor: "yesterday" }), { status: 400 });
});
