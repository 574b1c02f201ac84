import assert from "node:assert/strict";
import { test } from "node:test";

import { Destination, client, failingFirst, fast, until, untilState } from "./desk.mjs";

test("a queue is made, changed, listed and deleted", async () => {
  const queue = client.queue({ queueName: "made.by-hand_1" });
  await queue.upsert({ parallelism: 2 });
  const made = await queue.get();
  assert.deepEqual(
    { ...made, createdAt: 0, updatedAt: 0 },
    {
      name: "made.by-hand_1",
      parallelism: 2,
      lag: 0,
      paused: false,
      createdAt: 0,
      updatedAt: 0,
    },
  );
  assert.ok(Math.abs(made.createdAt - Date.now()) < 60_000);
  await queue.upsert({ paused: true });
  const changed = await queue.get();
  assert.deepEqual([changed.parallelism, changed.paused, changed.createdAt], [1, true, made.createdAt]);
  assert.deepEqual(
    (await client.queue().list()).filter(({ name }) => name === made.name),
    [changed],
  );
  await queue.delete();
  assert.equal(
    (await client.queue().list()).find(({ name }) => name === made.name),
    undefined,
  );
  await queue.delete();
});

test("messages of a queue are delivered one after the other, retries included", async (t) => {
  const destination = await Destination.open(t, failingFirst(1));
  const queue = fast.queue({ queueName: "in-order" });
  const sent = [];
  for (const n of [1, 2, 3]) {
    const { messageId } = await queue.enqueueJSON({
      url: destination.url,
      body: { n },
      retries: 1,
      retryDelay: "1000",
    });
    sent.push(messageId);
  }
  const arrivals = await destination.wait(4);
  assert.deepEqual(
    arrivals.map((arrival) => JSON.parse(arrival.body).n),
    [1, 1, 2, 3],
  );
  assert.deepEqual([...new Set(arrivals.map((arrival) => arrival.messageId))], sent);
  assert.equal(arrivals[0].headers["content-type"], "application/json");
});

test("enqueue takes the options of publish", async (t) => {
  const destination = await Destination.open(t);
  const queue = client.queue({ queueName: "options" });
  await queue.upsert({ paused: true });
  const enqueue = () =>
    queue.enqueue({
      url: destination.url,
      body: "raw",
      method: "PUT",
      headers: { "X-Trace": "abc", "Content-Type": "text/x" },
      retries: 1,
      label: ["a", "b"],
      callback: `${destination.url}/callback`,
      deduplicationId: "enqueued-once",
    });
  const { messageId } = await enqueue();
  assert.deepEqual(await enqueue(), { messageId, deduplicated: true });
  const message = await client.messages.get(messageId);
  assert.deepEqual([message.queueName, message.maxRetries, message.labels], ["options", 1, ["a", "b"]]);
  await queue.resume();
  const [arrival] = await destination.wait();
  assert.deepEqual(
    [arrival.method, arrival.body, arrival.headers["x-trace"], arrival.headers["content-type"]],
    ["PUT", "raw", "abc", "text/x"],
  );
  await destination.wait(1, "/callback");
});

test("a paused queue keeps its messages until it is resumed", async (t) => {
  const destination = await Destination.open(t);
  const queue = client.queue({ queueName: "paused" });
  await queue.upsert({ parallelism: 1 });
  for (const _ of [1, 2]) await queue.pause();
  const { messageId } = await queue.enqueue({ url: destination.url });
  const { paused, lag } = await queue.get();
  assert.deepEqual([paused, lag], [true, 1]);
  await client.publish({ url: `${destination.url}/marker` });
  await destination.wait(1, "/marker");
  assert.equal(destination.arrivals.length, 1);
  for (const _ of [1, 2]) await queue.resume();
  await untilState(client, messageId, "DELIVERED");
  await until(async () => (await queue.get()).lag === 0);
});

test("the first message makes its queue", async (t) => {
  const destination = await Destination.open(t);
  const queue = client.queue({ queueName: "by-message" });
  await queue.enqueue({ url: destination.url });
  await destination.wait();
  assert.equal((await queue.get()).parallelism, 1);
});

test("what a queue cannot be is an error", async () => {
  const error = (status, message) => ({ name: "QstashError", status, message });
  await assert.rejects(client.queue({ queueName: "nobodys" }).get(), error(404, /not found/));
  await assert.rejects(client.queue({ queueName: "nobodys" }).pause(), error(404, /not found/));
  await assert.rejects(client.queue({ queueName: "nobodys" }).resume(), error(404, /not found/));
  await assert.rejects(client.queue({ queueName: "a b" }).upsert({}), error(400, /queueName/));
  await assert.rejects(
    client.queue({ queueName: "a b" }).enqueue({ url: "http://127.0.0.1:9/" }),
    error(400, /queueName/),
  );
  await assert.rejects(client.queue({ queueName: "q" }).upsert({ parallelism: 0 }), error(400, /parallelism/));
  await assert.rejects(client.queue({ queueName: "q" }).upsert({ parallelism: 1000 }), error(412, /quota/));
  await assert.rejects(
    client.queue({ queueName: "q" }).enqueue({ url: "nowhere" }),
    error(400, /invalid destination url/),
  );
  for (const call of ["upsert", "get", "delete", "pause", "resume", "enqueue", "enqueueJSON"]) {
    await assert.rejects(client.queue()[call]({ url: "http://127.0.0.1:9/" }), /Please provide a queue name/);
  }
});
