import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { Destination, advance, client, deadLetter, failing, untilState } from "./desk.mjs";

const SECRET = "correct horse battery staple";
const redacted = (text) => `REDACTED:${createHash("sha256").update(text).digest("hex")}`;
const headers = { "X-Secret": SECRET, "X-Open": "open", "Content-Type": "text/plain" };

// Nothing that the API shows may hold the secret, in clear or in base64.
function assertHidden(...shown) {
  const text = JSON.stringify(shown);
  assert.ok(!text.includes(SECRET) && !text.includes(btoa(SECRET)), text);
}

test("a redacted body is delivered and not shown", async (t) => {
  const destination = await Destination.open(t);
  const { messageId } = await client.publish({ url: destination.url, body: SECRET, headers, redact: { body: true } });
  const [arrival] = await destination.wait();
  assert.deepEqual([arrival.body, arrival.headers["x-secret"]], [SECRET, SECRET]);
  await untilState(client, messageId, "DELIVERED");
  const message = await client.messages.get(messageId);
  assert.equal(message.body, redacted(SECRET));
  assert.deepEqual(message.header["X-Secret"], [SECRET]);
  const { logs } = await client.logs({ messageIds: [messageId] });
  assertHidden(logs.map((log) => log.body));
});

test("redacted headers are delivered and not shown, the others are", async (t) => {
  const destination = await Destination.open(t);
  const redact = { header: ["X-Secret"] };
  const { messageId } = await client.publishJSON({ url: destination.url, body: { n: 1 }, headers, redact });
  const [arrival] = await destination.wait();
  assert.deepEqual([arrival.headers["x-secret"], arrival.headers["upstash-redact-fields"]], [SECRET, undefined]);
  const message = await client.messages.get(messageId);
  assert.deepEqual([message.header["X-Secret"], message.header["X-Open"]], [[redacted(SECRET)], ["open"]]);
  assert.equal(message.body, '{"n":1}');
  assertHidden(message, (await client.logs({ messageIds: [messageId] })).logs);
});

test("all headers can be redacted", async (t) => {
  const destination = await Destination.open(t);
  const redact = { body: true, header: true };
  const { messageId } = await client.publish({ url: destination.url, body: SECRET, headers, redact });
  const [arrival] = await destination.wait();
  assert.deepEqual([arrival.body, arrival.headers["x-secret"], arrival.headers["x-open"]], [SECRET, SECRET, "open"]);
  const message = await client.messages.get(messageId);
  assert.deepEqual([message.header["X-Secret"], message.header["X-Open"]], [[redacted(SECRET)], [redacted("open")]]);
  assertHidden(message, (await client.logs({ messageIds: [messageId] })).logs);
});

test("a dead letter is redacted, and its retry sends the original", async (t) => {
  const destination = await Destination.open(t, failing());
  const redact = { body: true, header: ["x-secret"] };
  const { messageId } = await client.publish({ url: destination.url, body: SECRET, headers, redact, retries: 0 });
  const letter = await deadLetter(client, messageId);
  assert.deepEqual([letter.body, letter.header["X-Secret"]], [redacted(SECRET), [redacted(SECRET)]]);
  assertHidden(letter, (await client.logs({ messageIds: [messageId] })).logs);
  destination.answer = () => ({ status: 200 });
  const { responses } = await client.dlq.retry(letter.dlqId);
  const [, again] = await destination.wait(2);
  assert.deepEqual([again.body, again.headers["x-secret"]], [SECRET, SECRET]);
  assertHidden(await client.messages.get(responses[0].messageId));
});

test("batches and queues redact too", async (t) => {
  const destination = await Destination.open(t);
  const message = { url: destination.url, headers, redact: { body: true, header: ["X-Secret"] } };
  const [batched] = await client.batch([{ ...message, body: SECRET }]);
  const enqueued = await client.queue({ queueName: "redacted" }).enqueue({ ...message, body: SECRET });
  const arrivals = await destination.wait(2);
  assert.deepEqual(
    arrivals.map((arrival) => arrival.body),
    [SECRET, SECRET],
  );
  assertHidden(await client.messages.get(batched.messageId), await client.messages.get(enqueued.messageId));
});

test("a schedule is redacted, and so are its messages", async (t) => {
  const destination = await Destination.open(t);
  const { scheduleId } = await client.schedules.create({
    destination: destination.url,
    cron: "0 0 * * *",
    body: SECRET,
    headers,
    redact: { body: true, header: ["X-Secret"] },
  });
  const schedule = await client.schedules.get(scheduleId);
  assert.deepEqual([schedule.body, schedule.header["X-Secret"]], [redacted(SECRET), [redacted(SECRET)]]);
  assertHidden(schedule, await client.schedules.list());
  await advance(86_400);
  const [arrival] = await destination.wait();
  assert.deepEqual([arrival.body, arrival.headers["x-secret"]], [SECRET, SECRET]);
  assertHidden(await client.messages.get(arrival.messageId), (await client.logs({ filter: { scheduleId } })).logs);
  await client.schedules.delete(scheduleId);
});

test("a field that is unknown is refused", async () => {
  const publish = (fields) =>
    client.publish({ url: "http://127.0.0.1:9/", headers: { "Upstash-Redact-Fields": fields } });
  await assert.rejects(publish("everything"), { name: "QstashError", status: 400, message: /Upstash-Redact-Fields/ });
});
