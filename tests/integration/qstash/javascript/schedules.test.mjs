import assert from "node:assert/strict";
import { test } from "node:test";

import { Destination, TOKEN, advance, client, failing, fast, untilState, URLS } from "./desk.mjs";
import { Client } from "./sdk.mjs";

const DAY = 86_400;
const unknown = { name: "QstashError", status: 404, message: /schedule [\w.-]+ not found/ };

test("every option of a schedule can be read from it", async (t) => {
  const destination = await Destination.open(t);
  const { scheduleId } = await client.schedules.create({
    destination: destination.url,
    cron: " */10 * * * * ",
    scheduleId: "every.option_1",
    body: '{"n":1}',
    method: "PUT",
    headers: { "X-Trace": "abc" },
    delay: 90,
    retries: 2,
    retryDelay: "1000",
    timeout: "30s",
    callback: `${destination.url}/callback`,
    failureCallback: `${destination.url}/failure`,
    queueName: "scheduled",
    flowControl: { key: "scheduled", parallelism: 2, ratePerSecond: 5, period: "1m" },
    label: ["a", "b"],
  });
  assert.equal(scheduleId, "every.option_1");
  const schedule = await client.schedules.get(scheduleId);
  const { createdAt, nextScheduleTime, callerIP, ...rest } = schedule;
  assert.deepEqual(rest, {
    scheduleId,
    destination: destination.url,
    cron: "*/10 * * * *",
    isPaused: false,
    body: '{"n":1}',
    method: "PUT",
    header: { "Content-Type": ["application/json"], "X-Trace": ["abc"] },
    delay: 90,
    retries: 2,
    retryDelayExpression: "1000",
    timeout: 30,
    callback: `${destination.url}/callback`,
    failureCallback: `${destination.url}/failure`,
    queueName: "scheduled",
    flowControlKey: "scheduled",
    parallelism: 2,
    rate: 5,
    ratePerSecond: 5,
    period: 60,
    label: "a",
    labels: ["a", "b"],
  });
  assert.ok(Math.abs(createdAt - Date.now()) < 60_000);
  assert.equal(nextScheduleTime % 600_000, 0);
  assert.deepEqual(await client.schedules.list(), [schedule]);
  await client.schedules.delete(scheduleId);
  await assert.rejects(client.schedules.get(scheduleId), unknown);
  assert.deepEqual(await client.schedules.list(), []);
});

test("the same id replaces a schedule as a whole", async (t) => {
  const destination = await Destination.open(t);
  const create = (options) =>
    client.schedules.create({ destination: destination.url, scheduleId: "replaced", ...options });
  await create({ cron: "* * * * *", body: "old", delay: "10s", label: "old" });
  await create({ cron: "0 5 * * 1", headers: { "Content-Type": "text/x" } });
  const schedule = await client.schedules.get("replaced");
  assert.deepEqual(
    [schedule.cron, schedule.body, schedule.delay, schedule.label],
    ["0 5 * * 1", undefined, undefined, undefined],
  );
  assert.deepEqual([schedule.method, schedule.retries, schedule.header], ["POST", 3, { "Content-Type": ["text/x"] }]);
  assert.equal((await client.schedules.list()).length, 1);
  await client.schedules.delete("replaced");
});

test("a schedule sends its message at its times", async (t) => {
  const destination = await Destination.open(t);
  const { scheduleId } = await client.schedules.create({
    destination: `${destination.url}/tick`,
    cron: "CRON_TZ=Asia/Kolkata 0 12 * * *",
    body: "tick",
    method: "PUT",
    headers: { "X-Trace": "abc" },
  });
  assert.match(scheduleId, /^scd_/);
  await advance(DAY);
  const [arrival] = await destination.wait();
  assert.deepEqual(
    [arrival.method, arrival.target, arrival.body, arrival.headers["x-trace"]],
    ["PUT", "/tick", "tick", "abc"],
  );
  assert.equal(arrival.headers["upstash-schedule-id"], scheduleId);
  await untilState(client, arrival.messageId, "DELIVERED");
  const schedule = await client.schedules.get(scheduleId);
  assert.deepEqual(schedule.lastScheduleStates, { [arrival.messageId]: "SUCCESS" });
  assert.equal(new Date(schedule.lastScheduleTime).toISOString().slice(11), "06:30:00.000Z");
  assert.equal(schedule.nextScheduleTime - schedule.lastScheduleTime, DAY * 1000);
  const { logs } = await client.logs({ filter: { scheduleId } });
  assert.deepEqual([...new Set(logs.map((log) => log.messageId))], [arrival.messageId]);
  await client.schedules.delete(scheduleId);
});

test("a scheduled message that failed can be found by its schedule", async (t) => {
  const destination = await Destination.open(t, failing());
  const { scheduleId } = await fast.schedules.create({ destination: destination.url, cron: "0 0 1 1 *", retries: 0 });
  await advance(366 * DAY, URLS.fast);
  const [{ messageId }] = await destination.wait();
  await untilState(fast, messageId, "FAILED");
  const { messages } = await fast.dlq.listMessages({ filter: { scheduleId } });
  assert.deepEqual(
    messages.map((letter) => [letter.messageId, letter.scheduleId]),
    [[messageId, scheduleId]],
  );
  assert.deepEqual((await fast.schedules.get(scheduleId)).lastScheduleStates, { [messageId]: "FAIL" });
  await fast.schedules.delete(scheduleId);
});

test("a paused schedule skips its times", async (t) => {
  const destination = await Destination.open(t);
  const { scheduleId } = await client.schedules.create({ destination: destination.url, cron: "0 * * * *" });
  for (const _ of [1, 2]) await client.schedules.pause({ schedule: scheduleId });
  assert.equal((await client.schedules.get(scheduleId)).isPaused, true);
  await advance(DAY);
  for (const _ of [1, 2]) await client.schedules.resume({ schedule: scheduleId });
  assert.equal((await client.schedules.get(scheduleId)).isPaused, false);
  await advance(3600);
  await destination.wait();
  await client.publish({ url: `${destination.url}/marker` });
  await destination.wait(1, "/marker");
  assert.equal(destination.arrivals.length, 2);
  await client.schedules.delete(scheduleId);
});

test("the client's own headers go with a schedule", async (t) => {
  const destination = await Destination.open(t);
  const own = new Client({ baseUrl: URLS.real, token: TOKEN, retry: false, headers: { "X-All": "all" } });
  const { scheduleId } = await own.schedules.create({ destination: destination.url, cron: "0 0 1 1 *" });
  assert.deepEqual((await own.schedules.get(scheduleId)).header["X-All"], ["all"]);
  await own.schedules.delete(scheduleId);
});

test("what a schedule cannot be is an error", async () => {
  const error = (status, message) => ({ name: "QstashError", status, message });
  const create = (options) =>
    client.schedules.create({ destination: "http://127.0.0.1:9/", cron: "* * * * *", ...options });
  await assert.rejects(create({ cron: "every minute" }), error(400, /Upstash-Cron/));
  await assert.rejects(create({ cron: "* * * * * *" }), error(400, /Upstash-Cron/));
  await assert.rejects(create({ cron: "CRON_TZ=Mars/Base * * * * *" }), error(400, /Upstash-Cron/));
  await assert.rejects(create({ scheduleId: "a b" }), error(400, /Upstash-Schedule-Id/));
  await assert.rejects(create({ queueName: "a b" }), error(400, /Upstash-Queue-Name/));
  await assert.rejects(create({ destination: "nowhere" }), error(400, /invalid destination url/));
  await assert.rejects(create({ flowControl: { key: "k" } }), /at least one of/);
  for (const call of [
    () => client.schedules.get("unknown"),
    () => client.schedules.delete("unknown"),
    () => client.schedules.pause({ schedule: "unknown" }),
    () => client.schedules.resume({ schedule: "unknown" }),
  ]) {
    await assert.rejects(call, unknown);
  }
  await assert.rejects(client.schedules.get(""), /Schedule id cannot be empty/);
  await assert.rejects(client.schedules.delete(""), /Schedule id cannot be empty/);
  assert.deepEqual(await client.schedules.list(), []);
});
