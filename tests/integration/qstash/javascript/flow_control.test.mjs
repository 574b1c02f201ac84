import assert from "node:assert/strict";
import { test } from "node:test";

import { Destination, client, fast, until } from "./desk.mjs";

const keys = client.flowControl;
// The service may leave zero and false out.
const waiting = async (key) => (await keys.get(key)).waitListSize ?? 0;

// A destination that answers only once `release` was called; `release` is called at the end in any case.
async function slow(t) {
  let release;
  const released = new Promise((resolve) => (release = resolve));
  t.after(() => release());
  const destination = await Destination.open(t, async () => {
    await released;
    return { status: 200 };
  });
  return [destination, release];
}

test("a key shows the limits of its last message and how far they are used", async (t) => {
  const [destination, release] = await slow(t);
  const publish = (options) =>
    client.publish({
      url: destination.url,
      flowControl: { key: "shown to user:42", parallelism: 1, rate: 9, period: "1m", ...options },
    });
  await publish();
  await publish();
  await destination.wait();
  const shown = await until(async () => {
    const info = await keys.get("shown to user:42");
    return info.waitListSize === 1 && info;
  });
  assert.deepEqual(
    [
      shown.flowControlKey,
      shown.parallelismMax,
      shown.parallelismCount,
      shown.rateMax,
      shown.rateCount,
      shown.ratePeriod,
    ],
    ["shown to user:42", 1, 1, 9, 1, 60],
  );
  assert.ok(Math.abs(shown.ratePeriodStart - Date.now() / 1000) < 60);
  assert.ok(!shown.isPaused && !shown.isPinnedParallelism && !shown.isPinnedRate);
  await publish({ parallelism: 3, period: 90 });
  await destination.wait(3);
  const changed = await keys.get("shown to user:42");
  assert.deepEqual([changed.parallelismMax, changed.ratePeriod, changed.waitListSize ?? 0], [3, 90, 0]);
  release();
  await until(async () => !(await keys.get("shown to user:42")).parallelismCount);
});

test("a paused key keeps its messages until it is resumed", async (t) => {
  const destination = await Destination.open(t);
  const publish = (path) =>
    client.publish({ url: destination.url + path, flowControl: { key: "paused", parallelism: 5 } });
  await publish("/first");
  await destination.wait(1, "/first");
  await keys.pause("paused");
  assert.equal((await keys.get("paused")).isPaused, true);
  await publish("/second");
  await until(async () => (await waiting("paused")) === 1);
  await client.publish({ url: `${destination.url}/marker` });
  await destination.wait(1, "/marker");
  assert.equal(destination.below("/second").length, 0);
  await keys.resume("paused");
  await destination.wait(1, "/second");
  assert.ok(!(await keys.get("paused")).isPaused);
});

test("a pinned key does not heed its messages' limits until it is unpinned", async (t) => {
  const destination = await Destination.open(t);
  const publish = (parallelism, rate) =>
    client.publish({ url: destination.url, flowControl: { key: "pinned", parallelism, rate, period: 10 } });
  const limits = async () => {
    const {
      parallelismMax,
      rateMax,
      ratePeriod,
      isPinnedParallelism = false,
      isPinnedRate = false,
    } = await keys.get("pinned");
    return [parallelismMax, rateMax, ratePeriod, isPinnedParallelism, isPinnedRate];
  };
  await publish(2, 20);
  assert.deepEqual(await limits(), [2, 20, 10, false, false]);
  await keys.pin("pinned", { parallelism: 3 });
  assert.deepEqual(await limits(), [3, 20, 10, true, false]);
  await keys.pin("pinned", { rate: 30, period: 60 });
  assert.deepEqual(await limits(), [3, 30, 60, true, true]);
  await publish(4, 40);
  assert.deepEqual(await limits(), [3, 30, 60, true, true]);
  await keys.unpin("pinned", { parallelism: true });
  assert.deepEqual(await limits(), [3, 30, 60, false, true]);
  await publish(5, 50);
  assert.deepEqual(await limits(), [5, 30, 60, false, true]);
  await keys.unpin("pinned", { rate: true });
  await publish(6, 60);
  assert.deepEqual(await limits(), [6, 60, 10, false, false]);
  await destination.wait(4);
});

test("a pinned limit lets the waiting messages go", async (t) => {
  const [destination] = await slow(t);
  const flowControl = { key: "widened", parallelism: 1 };
  for (const _ of [1, 2, 3]) await client.publish({ url: destination.url, flowControl });
  await destination.wait();
  await until(async () => (await waiting("widened")) === 2);
  await keys.pin("widened", { parallelism: 3 });
  await destination.wait(3);
});

test("resetting the rate begins a new period", async (t) => {
  const destination = await Destination.open(t);
  const flowControl = { key: "reset", rate: 1, period: "1h" };
  for (const _ of [1, 2, 3]) await client.publish({ url: destination.url, flowControl });
  await destination.wait();
  await until(async () => (await waiting("reset")) === 2);
  await keys.resetRate("reset");
  await destination.wait(2);
  await until(async () => (await waiting("reset")) === 1);
  const { rateCount, rateMax, ratePeriod } = await keys.get("reset");
  assert.deepEqual([rateCount, rateMax, ratePeriod], [1, 1, 3600]);
});

test("a rate lets so many messages start in each period", async (t) => {
  const destination = await Destination.open(t);
  const flowControl = { key: "rate", ratePerSecond: 2, period: "5m" };
  await fast.batch(Array.from({ length: 5 }, () => ({ url: destination.url, flowControl })));
  await destination.wait(5);
  const { logs } = await fast.logs({ filter: { flowControlKey: "rate", state: "ACTIVE" } });
  const times = logs.map((log) => log.time).reverse();
  // Five minutes pass in 300 ms there.
  assert.ok(times[2] - times[0] >= 290 && times[4] - times[2] >= 290, String(times));
});

test("the parallelism of all messages together can be read", async (t) => {
  const [destination, release] = await slow(t);
  const before = await keys.getGlobalParallelism();
  assert.ok(before.parallelismMax > 1);
  await client.publish({ url: destination.url });
  await destination.wait();
  await until(async () => (await keys.getGlobalParallelism()).parallelismCount === 1);
  release();
  await until(async () => (await keys.getGlobalParallelism()).parallelismCount === 0);
});

test("what a key cannot be is an error", async (t) => {
  const destination = await Destination.open(t);
  const flowControl = { key: "wrong", parallelism: 1 };
  await client.publish({ url: destination.url, flowControl });
  const error = (status) => ({ name: "QstashError", status });
  await assert.rejects(keys.get("nobodys"), error(404));
  await assert.rejects(keys.get(""), /Flow control key cannot be empty/);
  await assert.rejects(keys.pin("wrong", { parallelism: 0 }), error(400));
  await assert.rejects(keys.pin("wrong", { rate: -1 }), error(400));
  await assert.rejects(keys.pin("wrong", { rate: 1, period: 8 * 86_400 }), error(400));
  const publish = (limits) => client.publish({ url: destination.url, flowControl: { key: "wrong", ...limits } });
  await assert.rejects(publish({ parallelism: -1 }), error(400));
  await assert.rejects(publish({ rate: 1, period: "8d" }), error(400));
});
