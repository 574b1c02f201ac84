import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Destination,
  TOKEN,
  URLS,
  advance,
  ask,
  client,
  deadLetter,
  failing,
  failingFirst,
  fast,
  receiver,
  states,
  untilState,
} from "./desk.mjs";
import { Client } from "./sdk.mjs";

const HOUR = 3600;

test("a message arrives as it was published, and is signed", async (t) => {
  const destination = await Destination.open(t);
  const url = `${destination.url}/jobs//send?to=a%20b&x=1`;
  const { messageId } = await client.publish({
    url,
    body: "größer;1",
    method: "PUT",
    headers: { "X-Trace": "abc", "Content-Type": "text/csv" },
    label: ["mail", "bulk"],
  });
  const [arrival] = await destination.wait();
  assert.match(messageId, /^msg_/);
  assert.equal(arrival.messageId, messageId);
  assert.deepEqual([arrival.method, arrival.target, arrival.body], ["PUT", "/jobs//send?to=a%20b&x=1", "größer;1"]);
  assert.equal(arrival.headers["x-trace"], "abc");
  assert.equal(arrival.headers["content-type"], "text/csv");
  assert.equal(arrival.headers["upstash-label"], "mail,bulk");
  assert.equal(arrival.headers["upstash-retried"], "0");
  assert.equal(arrival.headers["user-agent"], "Upstash-QStash");
  assert.ok(await receiver.verify({ signature: arrival.headers["upstash-signature"], body: arrival.body, url }));
});

test("publishJSON sends JSON as JSON", async (t) => {
  const destination = await Destination.open(t);
  await client.publishJSON({ url: destination.url, body: { n: 1, text: "ä" }, headers: { "X-Trace": "abc" } });
  const [arrival] = await destination.wait();
  assert.deepEqual(JSON.parse(arrival.body), { n: 1, text: "ä" });
  assert.equal(arrival.headers["content-type"], "application/json");
  assert.equal(arrival.headers["x-trace"], "abc");
  assert.equal(arrival.method, "POST");
});

test("nothing of the SDK's own reaches the destination", async (t) => {
  const destination = await Destination.open(t);
  await client.publish({ url: destination.url });
  const [arrival] = await destination.wait();
  assert.equal(arrival.body, "");
  for (const name of [
    "authorization",
    "content-type",
    "upstash-telemetry-sdk",
    "upstash-telemetry-runtime",
    "upstash-method",
  ]) {
    assert.equal(arrival.headers[name], undefined, name);
  }
});

test("every method reaches the destination, with its body", async (t) => {
  const destination = await Destination.open(t);
  const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
  for (const method of methods) await client.publish({ url: destination.url, method, body: method });
  const arrivals = await destination.wait(methods.length);
  assert.deepEqual(arrivals.map((arrival) => arrival.method).sort(), methods.toSorted());
  for (const arrival of arrivals) assert.equal(arrival.body, arrival.method);
});

test("bodies of every kind arrive with their Content-Type", async (t) => {
  const destination = await Destination.open(t);
  const bytes = Uint8Array.from({ length: 256 }, (_, n) => n);
  const form = new FormData();
  form.set("name", "värde");
  const bodies = {
    text: "text",
    blob: new Blob([bytes], { type: "image/png" }),
    query: new URLSearchParams({ a: "1", b: "ä" }),
    form,
  };
  for (const [path, body] of Object.entries(bodies)) await client.publish({ url: `${destination.url}/${path}`, body });
  await destination.wait(4);
  const arrived = Object.fromEntries(destination.arrivals.map((arrival) => [arrival.target.slice(1), arrival]));
  assert.equal(arrived.text.headers["content-type"], "text/plain;charset=UTF-8");
  assert.deepEqual([arrived.blob.headers["content-type"], [...arrived.blob.bytes]], ["image/png", [...bytes]]);
  assert.equal(arrived.query.headers["content-type"], "application/x-www-form-urlencoded;charset=UTF-8");
  assert.equal(arrived.query.body, "a=1&b=%C3%A4");
  const response = new Response(arrived.form.bytes, {
    headers: { "Content-Type": arrived.form.headers["content-type"] },
  });
  assert.equal((await response.formData()).get("name"), "värde");
});

test("every option of a message can be read from it", async (t) => {
  const destination = await Destination.open(t);
  const { messageId } = await client.publishJSON({
    url: `${destination.url}/a`,
    body: { n: 1 },
    method: "PATCH",
    headers: { "X-Trace": "abc" },
    delay: HOUR,
    retries: 2,
    retryDelay: "1000 * pow(2, retried)",
    timeout: 30,
    callback: `${destination.url}/callback`,
    failureCallback: `${destination.url}/failure`,
    label: ["one", "two"],
    flowControl: { key: "options", parallelism: 3, rate: 7, period: "1m" },
  });
  const message = await client.messages.get(messageId);
  assert.deepEqual(
    { ...message, createdAt: 0, notBefore: message.notBefore - message.createdAt, callerIP: undefined },
    {
      messageId,
      url: `${destination.url}/a`,
      urlGroup: undefined,
      method: "PATCH",
      header: { "Content-Type": ["application/json"], "X-Trace": ["abc"] },
      body: '{"n":1}',
      maxRetries: 2,
      retryDelayExpression: "1000 * pow(2, retried)",
      notBefore: HOUR * 1000,
      createdAt: 0,
      callback: `${destination.url}/callback`,
      failureCallback: `${destination.url}/failure`,
      label: "one",
      labels: ["one", "two"],
      flowControlKey: "options",
      parallelism: 3,
      rate: 7,
      ratePerSecond: 7,
      period: 60,
      callerIP: undefined,
    },
  );
  assert.ok(Math.abs(message.createdAt - Date.now()) < 60_000);
  const { logs } = await client.logs({ messageIds: [messageId] });
  assert.equal(logs[0].timeout, 30_000);
});

test("a delay is a number of seconds or a duration", async (t) => {
  const destination = await Destination.open(t);
  for (const [delay, seconds] of [
    [90, 90],
    ["90s", 90],
    ["2m", 120],
    ["3h", 3 * HOUR],
    ["1d", 24 * HOUR],
  ]) {
    const { messageId } = await client.publish({ url: destination.url, delay });
    const { notBefore, createdAt } = await client.messages.get(messageId);
    assert.equal(notBefore - createdAt, seconds * 1000, String(delay));
  }
  await advance(121);
  assert.equal((await destination.wait(3)).length, 3);
});

test("notBefore is a time in unix seconds, and wins over a delay", async (t) => {
  const destination = await Destination.open(t);
  const notBefore = Math.floor(Date.now() / 1000) + HOUR;
  const { messageId } = await client.publish({ url: destination.url, notBefore, delay: "1s" });
  assert.equal((await client.messages.get(messageId)).notBefore, notBefore * 1000);
  await advance(10);
  assert.deepEqual(await states(client, messageId), ["CREATED"]);
  await advance(HOUR);
  await destination.wait();
});

test("retries and their delay are those that were asked for", async (t) => {
  const destination = await Destination.open(t, failingFirst(2));
  const { messageId } = await fast.publish({ url: destination.url, retries: 2, retryDelay: "1000 * (1 + retried)" });
  await untilState(fast, messageId, "DELIVERED");
  assert.deepEqual(
    destination.arrivals.map((arrival) => arrival.headers["upstash-retried"]),
    ["0", "1", "2"],
  );
  assert.equal(new Set(destination.arrivals.map((arrival) => arrival.messageId)).size, 1);
  const { logs } = await fast.logs({ messageIds: [messageId], filter: {} });
  const waits = logs
    .filter((log) => log.state === "RETRY")
    .map((log) => Math.round((log.nextDeliveryTime - log.time) / 1000));
  assert.deepEqual(waits, [2, 1]);
  assert.deepEqual(await states(fast, messageId), [
    "CREATED",
    "ACTIVE",
    "ERROR",
    "RETRY",
    "ACTIVE",
    "ERROR",
    "RETRY",
    "ACTIVE",
    "DELIVERED",
  ]);
});

test("without retries a failure is final", async (t) => {
  const destination = await Destination.open(t, failing(503));
  const { messageId } = await client.publish({ url: destination.url, retries: 0 });
  assert.equal((await deadLetter(client, messageId)).responseStatus, 503);
  assert.deepEqual(await states(client, messageId), ["CREATED", "ACTIVE", "ERROR", "FAILED"]);
});

test("an attempt ends at its timeout", async (t) => {
  const destination = await Destination.open(t, () => new Promise(() => {}));
  const { messageId } = await client.publish({ url: destination.url, retries: 0, timeout: "1s" });
  await deadLetter(client, messageId);
  const { logs } = await client.logs({ messageIds: [messageId], filter: {} });
  assert.match(logs.find((log) => log.state === "ERROR").error, /timeout/);
});

test("a callback tells of a delivery, as its own headers say", async (t) => {
  const destination = await Destination.open(t, ({ target }) => ({
    status: target === "/job" ? 201 : 200,
    body: "done",
  }));
  const { messageId } = await client.publishJSON({
    url: `${destination.url}/job`,
    body: { n: 1 },
    callback: `${destination.url}/callback`,
    headers: {
      "X-Job": "1",
      "Upstash-Callback-Method": "PUT",
      "Upstash-Callback-Retries": "1",
      "Upstash-Callback-Forward-X-Callback": "2",
    },
  });
  const [arrival] = await destination.wait(1, "/callback");
  const told = JSON.parse(arrival.body);
  assert.deepEqual([arrival.method, arrival.headers["x-callback"], arrival.headers["x-job"]], ["PUT", "2", undefined]);
  assert.equal(arrival.headers["content-type"], "application/json");
  assert.deepEqual(
    [told.status, told.sourceMessageId, told.method, told.url],
    [201, messageId, "POST", `${destination.url}/job`],
  );
  assert.equal(atob(told.body), "done");
  assert.equal(atob(told.sourceBody), '{"n":1}');
  assert.notEqual(arrival.messageId, messageId);
  const signature = arrival.headers["upstash-signature"];
  assert.ok(await receiver.verify({ signature, body: arrival.body, url: `${destination.url}/callback` }));
});

test("a failure callback names the dead letter", async (t) => {
  const destination = await Destination.open(t, ({ target }) => (target === "/job" ? failing()() : { status: 200 }));
  const { messageId } = await client.publish({
    url: `${destination.url}/job`,
    retries: 0,
    failureCallback: `${destination.url}/failure`,
    headers: { "Upstash-Failure-Callback-Forward-X-Callback": "2" },
  });
  const [arrival] = await destination.wait(1, "/failure");
  const told = JSON.parse(arrival.body);
  assert.equal(arrival.headers["x-callback"], "2");
  assert.deepEqual([told.status, told.sourceMessageId, told.maxRetries], [500, messageId, 0]);
  assert.equal(told.dlqId, (await deadLetter(client, messageId)).dlqId);
});

test("a deduplication id is taken once", async (t) => {
  const destination = await Destination.open(t);
  const publish = () => client.publish({ url: destination.url, deduplicationId: "order-1", body: "x" });
  const first = await publish();
  const second = await publish();
  assert.deepEqual([first.deduplicated, second.deduplicated], [undefined, true]);
  assert.equal(second.messageId, first.messageId);
  await client.publish({ url: `${destination.url}/marker` });
  await destination.wait(1, "/marker");
  assert.equal(destination.arrivals.length, 2);
  await assert.rejects(client.publish({ url: destination.url, deduplicationId: "a:b" }), {
    name: "QstashError",
    status: 400,
    message: /DeduplicationId cannot contain ':'/,
  });
});

test("deduplication by content compares body and headers", async (t) => {
  const destination = await Destination.open(t);
  const publish = (body, headers) =>
    client.publishJSON({ url: destination.url, contentBasedDeduplication: true, body, headers });
  const first = await publish({ n: 1 });
  assert.deepEqual(await publish({ n: 1 }), { messageId: first.messageId, deduplicated: true });
  assert.equal((await publish({ n: 2 })).deduplicated, undefined);
  assert.equal((await publish({ n: 1 }, { "X-Other": "1" })).deduplicated, undefined);
  assert.equal((await destination.wait(3)).length, 3);
});

test("the client's own headers go with every message, and those of a message win", async (t) => {
  const destination = await Destination.open(t);
  const own = new Client({ retry: false, headers: { "X-All": "all", "X-Some": "all", "Upstash-Retries": "1" } });
  const { messageId } = await own.publish({ url: destination.url, headers: { "X-Some": "one" } });
  const [arrival] = await destination.wait();
  assert.deepEqual([arrival.headers["x-all"], arrival.headers["x-some"]], ["all", "one"]);
  assert.equal((await own.messages.get(messageId)).maxRetries, 1);
});

test("flow control needs a limit, and goes with the delivery", async (t) => {
  const destination = await Destination.open(t);
  const flowControl = { key: "by-rate", ratePerSecond: 5, period: 10 };
  await client.publish({ url: destination.url, flowControl });
  const [arrival] = await destination.wait();
  assert.equal(arrival.headers["upstash-flow-control-key"], "by-rate");
  assert.equal(arrival.headers["upstash-flow-control-value"], "rate=5,period=10");
  await assert.rejects(client.publish({ url: destination.url, flowControl: { key: "none" } }), /at least one of/);
  await assert.rejects(client.publish({ url: destination.url, flowControl: { key: "zero", rate: -1 } }), {
    status: 400,
  });
});

test("a batch is answered in order, and a refused entry keeps nothing back", async (t) => {
  const destination = await Destination.open(t);
  const answers = await client.batch([
    { url: `${destination.url}/1`, body: "one", headers: { "Content-Type": "text/x" }, method: "PUT", label: "l" },
    { url: "nowhere", body: "two" },
    { url: `${destination.url}/3`, queueName: "from-batch" },
    { url: `${destination.url}/4`, delay: "1h", retries: 1 },
  ]);
  assert.equal(answers.length, 4);
  assert.match(answers[1].error, /invalid destination url/);
  await destination.wait(2);
  const arrived = Object.fromEntries(destination.arrivals.map((arrival) => [arrival.target, arrival]));
  assert.deepEqual([arrived["/1"].messageId, arrived["/3"].messageId], [answers[0].messageId, answers[2].messageId]);
  assert.deepEqual(
    [
      arrived["/1"].method,
      arrived["/1"].body,
      arrived["/1"].headers["content-type"],
      arrived["/1"].headers["upstash-label"],
    ],
    ["PUT", "one", "text/x", "l"],
  );
  assert.equal(arrived["/3"].body, "");
  assert.equal((await client.messages.get(answers[2].messageId)).queueName, "from-batch");
  assert.equal((await client.messages.get(answers[3].messageId)).maxRetries, 1);
});

test("batchJSON sends each body as JSON", async (t) => {
  const destination = await Destination.open(t);
  const answers = await client.batchJSON([
    { url: destination.url, body: { n: 1 }, headers: { "X-Trace": "a" }, deduplicationId: "batch-1" },
    { url: destination.url, body: { n: 1 }, deduplicationId: "batch-1" },
    { url: `${destination.url}/list`, body: [1, "ä"] },
  ]);
  assert.deepEqual(
    answers.map((answer) => answer.deduplicated),
    [undefined, true, undefined],
  );
  assert.equal(answers[1].messageId, answers[0].messageId);
  await destination.wait(2);
  const [one] = destination.arrivals.filter((arrival) => arrival.target === "/");
  const [list] = destination.below("/list");
  assert.deepEqual(
    [one.body, one.headers["content-type"], one.headers["x-trace"]],
    ['{"n":1}', "application/json", "a"],
  );
  assert.deepEqual(JSON.parse(list.body), [1, "ä"]);
});

test("a refused message is an error with the status and the server's words", async () => {
  const url = "http://127.0.0.1:9/";
  const error = (status, message) => ({ name: "QstashError", status, message });
  await assert.rejects(
    client.publish({ url: "nowhere" }),
    error(400, /endpoint has invalid scheme, add http:\/\/ or https:\/\//),
  );
  await assert.rejects(client.publish({ url, delay: "soon" }), error(400, /Upstash-Delay/));
  await assert.rejects(client.publish({ url, method: "TRACE" }), error(400, /Upstash-Method/));
  await assert.rejects(client.publish({ url, timeout: 0 }), error(400, /Upstash-Timeout/));
  await assert.rejects(client.publish({ url, retryDelay: "wait()" }), error(400, /Upstash-Retry-Delay/));
  await assert.rejects(client.publish({ url, callback: "nowhere" }), error(400, /Upstash-Callback/));
  await assert.rejects(client.publish({ url, failureCallback: "nowhere" }), error(400, /Upstash-Failure-Callback/));
  await assert.rejects(client.publish({ url, retries: 1000 }), error(412, /quota maxRetries exceeded/));
  await assert.rejects(client.publish({ url, delay: "400d" }), error(412, /quota maxDelay exceeded/));
  await assert.rejects(client.publish({ body: "to nobody" }), {
    name: "QstashError",
    message: /Failed to infer request path/,
  });
});

test("a wrong token is an error with status 401", async () => {
  const stranger = new Client({ baseUrl: URLS.real, token: "wrong", retry: false });
  const expected = { name: "QstashError", status: 401, message: /unable to authenticate: invalid token/ };
  await assert.rejects(stranger.publish({ url: "http://127.0.0.1:9/" }), expected);
  await assert.rejects(stranger.logs(), expected);
});

test("trouble of the server is an error with its status", async (t) => {
  const faults = (refusePublishes) => ask("POST", "/admin/faults", { body: { refusePublishes } });
  t.after(() => faults(null));
  await faults(503);
  const expected = { name: "QstashError", status: 503 };
  await assert.rejects(client.publish({ url: "http://127.0.0.1:9/" }), expected);
  await assert.rejects(client.batch([{ url: "http://127.0.0.1:9/" }]), expected);
});

test("a server that cannot be reached is asked again as often as the client says", async () => {
  const waits = [];
  const backoff = (count) => waits.push(count);
  const lost = new Client({ baseUrl: "http://127.0.0.1:9", token: TOKEN, retry: { retries: 2, backoff } });
  await assert.rejects(lost.publish({ url: "http://127.0.0.1:9/" }), TypeError);
  assert.deepEqual(waits, [0, 1]);
});
