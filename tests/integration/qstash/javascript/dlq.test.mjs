import assert from "node:assert/strict";
import { test } from "node:test";

import { Destination, client, deadLetter, failing } from "./desk.mjs";

const gone = { name: "QstashError", status: 404, message: /not found/ };

// Publishes what fails at once; returns the dead letters in the order of their deaths.
async function kill(destination, count, options = {}) {
  const letters = [];
  for (let n = 0; n < count; n += 1) {
    const { messageId } = await client.publish({ url: `${destination.url}/dead`, retries: 0, ...options });
    letters.push(await deadLetter(client, messageId));
  }
  return letters;
}

const ids = (letters) => letters.map((letter) => letter.dlqId);
const listed = async (filter) => ids((await client.dlq.listMessages({ filter })).messages);

test("a dead letter is the message and its last response", async (t) => {
  const destination = await Destination.open(t, () => ({
    status: 418,
    headers: { "X-Why": "tea" },
    body: "short and stout",
  }));
  const { messageId } = await client.publishJSON({
    url: destination.url,
    body: { n: 1 },
    headers: { "X-Trace": "abc" },
    retries: 0,
    label: ["a", "b"],
    flowControl: { key: "dead", rate: 9 },
  });
  const letter = await deadLetter(client, messageId);
  assert.deepEqual(
    [letter.messageId, letter.url, letter.method, letter.body],
    [messageId, destination.url, "POST", '{"n":1}'],
  );
  assert.deepEqual(letter.header, { "Content-Type": ["application/json"], "X-Trace": ["abc"] });
  assert.deepEqual(
    [letter.responseStatus, letter.responseBody, letter.responseHeader["X-Why"]],
    [418, "short and stout", ["tea"]],
  );
  assert.deepEqual([letter.label, letter.labels, letter.maxRetries], ["a", ["a", "b"], 0]);
  assert.deepEqual([letter.flowControlKey, letter.ratePerSecond, letter.urlGroup], ["dead", 9, undefined]);
});

test("each filter finds its letters and leaves the others out", async (t) => {
  const destination = await Destination.open(t, ({ target }) => ({ status: target === "/404" ? 404 : 500 }));
  const fromDate = Date.now();
  const options = { label: ["f", "g"], flowControl: { key: "filtered", parallelism: 1 } };
  const [first] = await kill(destination, 1, options);
  const [second] = await kill(destination, 1, { url: `${destination.url}/404`, label: "h" });
  const queue = client.queue({ queueName: "dying" });
  const { messageId } = await queue.enqueue({ url: `${destination.url}/queued`, retries: 0 });
  const queued = await deadLetter(client, messageId);
  assert.deepEqual(await listed({ messageId: first.messageId }), [first.dlqId]);
  assert.deepEqual(await listed({ url: first.url }), [first.dlqId]);
  assert.deepEqual(await listed({ label: "g" }), [first.dlqId]);
  assert.deepEqual(await listed({ flowControlKey: "filtered" }), [first.dlqId]);
  assert.deepEqual(await listed({ responseStatus: 404 }), [second.dlqId]);
  assert.deepEqual(await listed({ queueName: "dying" }), [queued.dlqId]);
  assert.deepEqual(await listed({ label: ["f", "h"] }), ids([second, first]));
  assert.deepEqual(await listed({ url: [first.url, second.url], responseStatus: [404, 418] }), [second.dlqId]);
  assert.deepEqual(await listed({ callerIp: "127.0.0.1", fromDate: new Date(fromDate) }), ids([queued, second, first]));
  assert.deepEqual(await listed({ toDate: fromDate - 1, label: "f" }), []);
  assert.deepEqual(await listed({ scheduleId: "none" }), []);
  const byIds = await client.dlq.listMessages({ dlqIds: [first.dlqId, queued.dlqId] });
  assert.deepEqual(ids(byIds.messages), ids([queued, first]));
  assert.deepEqual(ids((await client.dlq.listMessages({ dlqIds: second.dlqId })).messages), [second.dlqId]);
  await assert.rejects(client.dlq.listMessages({ filter: { labeel: "f" } }), { status: 400, message: /labeel/ });
  await assert.rejects(client.dlq.listMessages({ filter: { label: [] } }), { name: "QstashEmptyArrayError" });
});

test("letters come in pages, the newest first, and the last page has no cursor", async (t) => {
  const destination = await Destination.open(t, failing());
  const letters = await kill(destination, 5);
  const seen = [];
  let cursor;
  do {
    const page = await client.dlq.listMessages({ count: 2, cursor, filter: { url: letters[0].url } });
    seen.push(page.messages.length);
    assert.deepEqual(ids(page.messages), ids(letters.splice(-2)).reverse());
    ({ cursor } = page);
  } while (cursor !== undefined);
  assert.deepEqual(seen, [2, 2, 1]);
  assert.deepEqual((await client.dlq.listMessages({ count: 1 })).messages.length, 1);
  await assert.rejects(client.dlq.listMessages({ count: 101 }), { status: 400 });
  await assert.rejects(client.dlq.listMessages({ cursor: "yesterday" }), { status: 400 });
});

test("one letter can be deleted, once", async (t) => {
  const destination = await Destination.open(t, failing());
  const [letter] = await kill(destination, 1);
  assert.deepEqual(await client.dlq.delete(letter.dlqId), { deleted: 1 });
  await assert.rejects(client.dlq.delete(letter.dlqId), gone);
  await assert.rejects(client.dlq.delete(""), /DLQ id cannot be empty/);
});

test("many letters can be deleted by their ids", async (t) => {
  const destination = await Destination.open(t, failing());
  const [first, second, third, fourth] = ids(await kill(destination, 4));
  assert.equal((await client.dlq.delete([first, "0-0"])).deleted, 1);
  assert.equal((await client.dlq.delete({ dlqIds: second })).deleted, 1);
  assert.equal((await client.dlq.deleteMany({ dlqIds: [third] })).deleted, 1);
  assert.deepEqual(await client.dlq.delete([]), { deleted: 0 });
  await assert.rejects(client.dlq.delete({ dlqIds: [] }), /Empty dlqIds array/);
  assert.deepEqual(await listed({ url: `${destination.url}/dead` }), [fourth]);
});

test("letters can be deleted by a filter, page by page", async (t) => {
  const destination = await Destination.open(t, failing());
  await kill(destination, 3, { label: "deleted" });
  const [kept] = await kill(destination, 1, { label: "kept" });
  const deleted = [];
  let cursor;
  do {
    const page = await client.dlq.delete({
      filter: { url: `${destination.url}/dead`, label: "deleted" },
      count: 2,
      cursor,
    });
    deleted.push(page.deleted);
    ({ cursor } = page);
  } while (cursor);
  assert.deepEqual(deleted, [2, 1]);
  assert.deepEqual(await listed({ url: `${destination.url}/dead` }), [kept.dlqId]);
});

test("a retry is a new message, and the letter is gone", async (t) => {
  const destination = await Destination.open(t, failing());
  const [letter] = await kill(destination, 1, { body: "again", headers: { "X-Trace": "abc" } });
  destination.answer = () => ({ status: 200 });
  const { responses, cursor } = await client.dlq.retry(letter.dlqId);
  assert.deepEqual([responses.length, cursor], [1, undefined]);
  assert.notEqual(responses[0].messageId, letter.messageId);
  const [, arrival] = await destination.wait(2);
  assert.deepEqual(
    [arrival.messageId, arrival.body, arrival.headers["x-trace"]],
    [responses[0].messageId, "again", "abc"],
  );
  assert.deepEqual(await listed({ messageId: letter.messageId }), []);
  assert.deepEqual((await client.dlq.retry(letter.dlqId)).responses, []);
});

test("many letters can be retried by their ids", async (t) => {
  const destination = await Destination.open(t, failing());
  const letters = ids(await kill(destination, 4));
  destination.answer = () => ({ status: 200 });
  assert.equal((await client.dlq.retry(letters.slice(0, 2))).responses.length, 2);
  assert.equal((await client.dlq.retry({ dlqIds: letters[2] })).responses.length, 1);
  assert.deepEqual(await client.dlq.retry([]), { responses: [] });
  await assert.rejects(client.dlq.retry({ dlqIds: [] }), /Empty dlqIds array/);
  assert.deepEqual(await listed({ url: `${destination.url}/dead` }), [letters[3]]);
  await destination.wait(7);
});

test("letters can be retried by a filter, page by page", async (t) => {
  const destination = await Destination.open(t, failing());
  await kill(destination, 3, { label: "again" });
  destination.answer = () => ({ status: 200 });
  const retried = [];
  let cursor;
  do {
    const page = await client.dlq.retry({ filter: { label: "again", responseStatus: 500 }, count: 2, cursor });
    retried.push(page.responses.length);
    ({ cursor } = page);
  } while (cursor !== undefined);
  assert.deepEqual(retried, [2, 1]);
  assert.deepEqual(await listed({ label: "again" }), []);
  await destination.wait(6);
});

test("all letters can be retried, and all deleted", async (t) => {
  const destination = await Destination.open(t, failing());
  await client.dlq.delete({ all: true });
  await kill(destination, 2);
  destination.answer = () => ({ status: 200 });
  assert.equal((await client.dlq.retry({ all: true, count: 1 })).responses.length, 1);
  assert.equal((await client.dlq.retry({ all: true })).responses.length, 1);
  await destination.wait(4);
  destination.answer = failing();
  await kill(destination, 2);
  assert.equal((await client.dlq.delete({ all: true })).deleted, 2);
  assert.deepEqual(await listed({}), []);
});
