import assert from "node:assert/strict";
import { test } from "node:test";

import { Destination, advance, client, deadLetter, failing, receiver } from "./desk.mjs";

const unknown = { name: "QstashError", status: 404 };

// Makes a group with two endpoints at the destination, of which the first has a name.
async function group(name, destination) {
  const endpoints = [{ url: `${destination.url}/a`, name: "first" }, { url: `${destination.url}/b` }];
  await client.urlGroups.addEndpoints({ name, endpoints });
  return endpoints.map((endpoint) => endpoint.url);
}

const byUrl = (answers) => Object.fromEntries(answers.map((answer) => [answer.url, answer.messageId]));

test("a group is made by its endpoints, listed, and deleted", async (t) => {
  const destination = await Destination.open(t);
  const [a, b] = await group("made.by-hand_1", destination);
  const made = await client.urlGroups.get("made.by-hand_1");
  assert.equal(made.name, "made.by-hand_1");
  assert.deepEqual(made.endpoints, [{ name: "first", url: a }, { url: b }]);
  assert.ok(Math.abs(made.createdAt - Date.now()) < 60_000);
  assert.ok(made.updatedAt >= made.createdAt);
  assert.deepEqual(await client.topics.list(), [made]);
  assert.equal(await client.urlGroups.delete("made.by-hand_1"), undefined);
  await assert.rejects(client.urlGroups.get("made.by-hand_1"), unknown);
  await client.urlGroups.delete("made.by-hand_1");
  assert.deepEqual(await client.urlGroups.list(), []);
});

test("endpoints are added and removed, and the last one takes its group along", async (t) => {
  const destination = await Destination.open(t);
  const [a, b] = await group("changed", destination);
  const c = `${destination.url}/c`;
  await client.urlGroups.addEndpoints({ name: "changed", endpoints: [{ url: b }, { url: c, name: "third" }] });
  const urls = async () => (await client.urlGroups.get("changed")).endpoints.map((endpoint) => endpoint.url).sort();
  assert.deepEqual(await urls(), [a, b, c]);
  await client.urlGroups.removeEndpoints({ name: "changed", endpoints: [{ name: "first" }] });
  assert.deepEqual(await urls(), [b, c]);
  await client.urlGroups.removeEndpoints({ name: "changed", endpoints: [{ url: b }, { name: "third" }] });
  await assert.rejects(client.urlGroups.get("changed"), unknown);
});

test("a message to a group arrives at each endpoint, signed for it", async (t) => {
  const destination = await Destination.open(t);
  const urls = await group("published", destination);
  const answers = await client.publishJSON({ urlGroup: "published", body: { n: 1 }, headers: { "X-Trace": "abc" } });
  assert.deepEqual(answers.map((answer) => answer.url).sort(), urls);
  await destination.wait(2);
  for (const arrival of destination.arrivals) {
    const url = destination.url + arrival.target;
    assert.equal(arrival.messageId, byUrl(answers)[url]);
    assert.deepEqual([arrival.body, arrival.headers["x-trace"]], ['{"n":1}', "abc"]);
    assert.equal(arrival.headers["upstash-topic-name"], "published");
    assert.ok(await receiver.verify({ signature: arrival.headers["upstash-signature"], body: arrival.body, url }));
  }
  await client.urlGroups.delete("published");
});

test("a message knows its group and the name of its endpoint", async (t) => {
  const destination = await Destination.open(t);
  const [a, b] = await group("known", destination);
  const ids = byUrl(await client.publish({ topic: "known", delay: "1h", retries: 1, label: "l" }));
  const [first, second] = [await client.messages.get(ids[a]), await client.messages.get(ids[b])];
  assert.deepEqual([first.url, first.urlGroup, first.topicName, first.endpointName], [a, "known", "known", "first"]);
  assert.deepEqual([second.url, second.urlGroup, second.endpointName], [b, "known", undefined]);
  assert.deepEqual([first.maxRetries, second.label], [1, "l"]);
  const { logs } = await client.logs({ filter: { urlGroup: "known" } });
  assert.deepEqual(
    logs.map((log) => [log.messageId, log.urlGroup]).sort(),
    [
      [ids[a], "known"],
      [ids[b], "known"],
    ].sort(),
  );
  assert.equal((await client.logs({ filter: { topicName: "known" } })).logs.length, 2);
  await client.urlGroups.delete("known");
  assert.equal((await client.messages.get(ids[a])).urlGroup, "known");
  assert.deepEqual(await client.messages.cancel({ filter: { urlGroup: "known" } }), { cancelled: 2 });
});

test("a group can be told a message twice and hear it once", async (t) => {
  const destination = await Destination.open(t);
  await group("deduplicated", destination);
  const publish = () => client.publish({ urlGroup: "deduplicated", deduplicationId: "told-once" });
  const first = await publish();
  const second = await publish();
  assert.deepEqual(byUrl(second), byUrl(first));
  assert.deepEqual(
    second.map((answer) => answer.deduplicated),
    [true, true],
  );
  await client.publish({ url: `${destination.url}/marker` });
  await destination.wait(1, "/marker");
  await destination.wait(3);
  assert.equal(destination.arrivals.length, 3);
  await client.urlGroups.delete("deduplicated");
});

test("a batch and a queue take groups", async (t) => {
  const destination = await Destination.open(t);
  const urls = await group("taken", destination);
  const [grouped, single] = await client.batchJSON([
    { urlGroup: "taken", body: { n: 1 } },
    { url: `${destination.url}/single`, body: { n: 2 } },
  ]);
  assert.deepEqual(grouped.map((answer) => answer.url).sort(), urls);
  assert.match(single.messageId, /^msg_/);
  const enqueued = await client.queue({ queueName: "of-groups" }).enqueue({ urlGroup: "taken", body: "x" });
  assert.deepEqual(enqueued.map((answer) => answer.url).sort(), urls);
  assert.equal((await client.messages.get(enqueued[0].messageId)).queueName, "of-groups");
  await destination.wait(5);
  await client.urlGroups.delete("taken");
});

test("a schedule sends to a group", async (t) => {
  const destination = await Destination.open(t);
  await group("scheduled", destination);
  const { scheduleId } = await client.schedules.create({ destination: "scheduled", cron: "0 0 * * *", body: "x" });
  assert.equal((await client.schedules.get(scheduleId)).destination, "scheduled");
  await advance(86_400);
  await destination.wait(2);
  assert.deepEqual(destination.arrivals.map((arrival) => arrival.target).sort(), ["/a", "/b"]);
  for (const arrival of destination.arrivals) assert.equal(arrival.headers["upstash-schedule-id"], scheduleId);
  await client.schedules.delete(scheduleId);
  await client.urlGroups.delete("scheduled");
});

test("dead letters can be found, retried and deleted by their group", async (t) => {
  const destination = await Destination.open(t, failing());
  await group("dying", destination);
  const answers = await client.publish({
    urlGroup: "dying",
    retries: 0,
    failureCallback: `${destination.url}/failure`,
  });
  for (const { messageId } of answers) {
    const letter = await deadLetter(client, messageId);
    assert.deepEqual([letter.urlGroup, letter.topicName], ["dying", "dying"]);
  }
  const told = (await destination.wait(2, "/failure")).map((arrival) => JSON.parse(arrival.body));
  assert.deepEqual(
    told.map((body) => body.topicName),
    ["dying", "dying"],
  );
  assert.equal(told.find((body) => body.url.endsWith("/a")).endpointName, "first");
  const filter = { urlGroup: "dying" };
  assert.equal((await client.dlq.listMessages({ filter })).messages.length, 2);
  assert.equal((await client.dlq.delete({ filter, count: 1 })).deleted, 1);
  destination.answer = () => ({ status: 200 });
  const { responses } = await client.dlq.retry({ filter });
  assert.equal(responses.length, 1);
  assert.equal((await client.messages.get(responses[0].messageId)).urlGroup, "dying");
  assert.deepEqual((await client.dlq.listMessages({ filter })).messages, []);
  await client.urlGroups.delete("dying");
});

test("what a group cannot be is an error", async () => {
  const endpoints = [{ url: "http://127.0.0.1:9/" }];
  const invalid = { name: "QstashError", status: 400 };
  await assert.rejects(client.urlGroups.addEndpoints({ name: "a b", endpoints }), invalid);
  await assert.rejects(client.urlGroups.addEndpoints({ name: "bad", endpoints: [{ url: "nowhere" }] }), invalid);
  await assert.rejects(client.urlGroups.get("bad"), unknown);
  await assert.rejects(client.publish({ urlGroup: "nobodys" }), { name: "QstashError" });
  await assert.rejects(client.urlGroups.get(""), /Url group name cannot be empty/);
  await assert.rejects(client.urlGroups.delete(""), /Url group name cannot be empty/);
});
