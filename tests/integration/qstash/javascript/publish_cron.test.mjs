// "Add Upstash-Cron to your publish request": the SDK has no option for that, but lets the header through.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Destination, advance, client } from "./desk.mjs";

test("a published message with a cron expression is a schedule", async (t) => {
  const destination = await Destination.open(t);
  const { scheduleId } = await client.publishJSON({
    url: destination.url,
    body: { n: 1 },
    method: "PUT",
    label: "l",
    headers: { "Upstash-Cron": "0 0 * * *", "Upstash-Schedule-Id": "published" },
  });
  assert.equal(scheduleId, "published");
  const schedule = await client.schedules.get("published");
  assert.deepEqual(
    [schedule.cron, schedule.destination, schedule.body, schedule.method, schedule.label],
    ["0 0 * * *", destination.url, '{"n":1}', "PUT", "l"],
  );
  await advance(86_400);
  const [arrival] = await destination.wait();
  assert.deepEqual([arrival.method, arrival.body], ["PUT", '{"n":1}']);
  assert.equal(arrival.headers["upstash-schedule-id"], "published");
});

test("a published message with a malformed cron expression is refused", async () => {
  const headers = { "Upstash-Cron": "every minute" };
  const expected = { name: "QstashError", status: 400, message: /not a cron expression/ };
  await assert.rejects(client.publish({ url: "http://127.0.0.1:9/", headers }), expected);
});
