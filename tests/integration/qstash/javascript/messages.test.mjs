import assert from "node:assert/strict";
import { test } from "node:test";

import { Destination, advance, client, fast, states, untilState } from "./desk.mjs";

const HOUR = "1h";
const unknown = { name: "QstashError", status: 404, message: /message msg_\w+ not found/ };

// Publishes so many messages for later.
const plan = (destination, count, options = {}) =>
  Promise.all(
    Array.from({ length: count }, async (_, n) => {
      const { messageId } = await client.publish({ url: `${destination.url}/${n}`, delay: HOUR, ...options });
      return messageId;
    }),
  );

test("a message can be read while it is on its way, and just after", async (t) => {
  const destination = await Destination.open(t);
  const { messageId } = await client.publish({ url: destination.url, body: new Blob([new Uint8Array([255, 0])]) });
  await untilState(client, messageId, "DELIVERED");
  const message = await client.messages.get(messageId);
  assert.equal(message.url, destination.url);
  assert.deepEqual([message.body, message.bodyBase64], [undefined, "/wA="]);
  await assert.rejects(client.messages.get("msg_unknown"), unknown);
  await assert.rejects(client.messages.get(""), /Message id cannot be empty/);
});

test("one message can be cancelled, once", async (t) => {
  const destination = await Destination.open(t);
  const [first, second] = await plan(destination, 2);
  assert.deepEqual(await client.messages.cancel(first), { cancelled: 1 });
  assert.equal(await client.messages.delete(second), undefined);
  for (const id of [first, second]) {
    assert.deepEqual(await states(client, id), ["CREATED", "CANCEL_REQUESTED", "CANCELED"]);
    await assert.rejects(client.messages.get(id), unknown);
    await assert.rejects(client.messages.cancel(id), unknown);
    await assert.rejects(client.messages.delete(id), unknown);
  }
  await advance(3601);
  await client.publish({ url: `${destination.url}/marker` });
  await destination.wait(1, "/marker");
  assert.equal(destination.arrivals.length, 1);
});

test("a delivered message cannot be cancelled", async (t) => {
  const destination = await Destination.open(t);
  const { messageId } = await client.publish({ url: destination.url });
  await untilState(client, messageId, "DELIVERED");
  await assert.rejects(client.messages.cancel(messageId), unknown);
  assert.deepEqual(await client.messages.cancel([messageId]), { cancelled: 0 });
});

test("many messages can be cancelled by their ids", async (t) => {
  const destination = await Destination.open(t);
  const ids = await plan(destination, 6);
  assert.deepEqual(await client.messages.cancel(ids.slice(0, 2)), { cancelled: 2 });
  assert.deepEqual(await client.messages.cancel({ messageIds: [...ids.slice(0, 3), "msg_unknown"] }), { cancelled: 1 });
  assert.equal(await client.messages.deleteMany(ids.slice(3, 5)), 2);
  assert.deepEqual(await client.messages.cancel([]), { cancelled: 0 });
  await assert.rejects(client.messages.cancel({ messageIds: [] }), /Empty messageIds array/);
  assert.equal((await client.messages.get(ids[5])).messageId, ids[5]);
});

test("each filter cancels its messages and spares the others", async (t) => {
  const [mine, other] = [await Destination.open(t), await Destination.open(t)];
  const host = new URL(mine.url).host;
  await client.messages.cancel({ filter: { host } }); // a destination of an earlier test may have had this port
  const queue = client.queue({ queueName: "cancelled" });
  await queue.upsert({ paused: true });
  const filters = {
    url: [{ url: `${mine.url}/here` }, {}],
    label: [{ label: "l" }, { label: ["k", "l"] }],
    labels: [{ label: ["x", "y"] }, { label: ["y"] }],
    flowControlKey: [{ flowControlKey: "f" }, { flowControl: { key: "f", parallelism: 1 } }],
    host: [{ host }, {}],
    path: [{ host, path: "/here" }, {}],
    callerIp: [{ callerIp: "127.0.0.1", url: `${mine.url}/here` }, {}],
    dates: [{ url: `${mine.url}/here`, fromDate: new Date(Date.now() - 1000), toDate: Date.now() + 60_000 }, {}],
  };
  const [kept] = await plan(other, 1);
  for (const [name, [filter, options]] of Object.entries(filters)) {
    const { messageId } = await client.publish({ url: `${mine.url}/here`, delay: HOUR, ...options });
    assert.deepEqual(await client.messages.cancel({ filter }), { cancelled: 1 }, name);
    await assert.rejects(client.messages.get(messageId), unknown);
  }
  await queue.enqueue({ url: mine.url });
  assert.deepEqual(await client.messages.cancel({ filter: { queueName: "cancelled" } }), { cancelled: 1 });
  assert.equal((await client.messages.get(kept)).messageId, kept);
});

test("a scheduled message can be cancelled by its schedule", async (t) => {
  const destination = await Destination.open(t);
  const { scheduleId } = await client.schedules.create({
    destination: destination.url,
    cron: "0 0 1 1 *",
    delay: "2h",
  });
  await advance(366 * 86_400);
  await client.schedules.delete(scheduleId);
  const { cancelled } = await client.messages.cancel({ filter: { scheduleId } });
  assert.ok(cancelled >= 1);
});

test("values of a filter are alternatives, and filters narrow each other", async (t) => {
  const destination = await Destination.open(t);
  const [first, second, third] = await plan(destination, 3, { label: "narrow" });
  const url = [`${destination.url}/0`, `${destination.url}/1`];
  assert.deepEqual(await client.messages.cancel({ filter: { url, label: "wide" } }), { cancelled: 0 });
  assert.deepEqual(await client.messages.cancel({ filter: { url, label: ["narrow", "wide"] } }), { cancelled: 2 });
  for (const id of [first, second]) await assert.rejects(client.messages.get(id), unknown);
  assert.equal((await client.messages.get(third)).label, "narrow");
  await assert.rejects(client.messages.cancel({ filter: { label: [] } }), { name: "QstashEmptyArrayError" });
  await assert.rejects(client.messages.cancel({ filter: { labeel: "narrow" } }), { status: 400, message: /labeel/ });
});

test("all messages can be cancelled", async (t) => {
  const destination = await Destination.open(t);
  await client.messages.deleteAll();
  const ids = await plan(destination, 3);
  assert.deepEqual(await client.messages.cancel({ all: true }), { cancelled: 3 });
  for (const id of ids) await assert.rejects(client.messages.get(id), unknown);
  await plan(destination, 2);
  assert.equal(await client.messages.deleteAll(), 2);
  assert.equal(await client.messages.deleteAll(), 0);
});

test("a message that waits for a retry can be cancelled", async (t) => {
  const destination = await Destination.open(t, () => ({ status: 500 }));
  const { messageId } = await fast.publish({ url: destination.url, retryDelay: "80000000" });
  await untilState(fast, messageId, "RETRY");
  assert.deepEqual(await fast.messages.cancel(messageId), { cancelled: 1 });
  await untilState(fast, messageId, "CANCELED");
  assert.deepEqual((await fast.dlq.listMessages({ filter: { messageId } })).messages, []);
});
