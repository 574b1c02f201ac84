// Schedules: what is published again and again.

import { call, get, segment } from "./api.js";
import { actionButton, ask, say } from "./actions.js";
import { element } from "./dom.js";
import { address, shortTime, until } from "./format.js";
import { stateChip } from "./states.js";
import { lines, soft, table } from "./table.js";

const RESULTS = { SUCCESS: ["DELIVERED", "Delivered"], FAIL: ["FAILED", "Failed"], IN_PROGRESS: ["ACTIVE", "On its way"] };

function cron({ cron: text }) {
  const [, zone, fields] = /^CRON_TZ=(\S+)\s+(.*)$/.exec(text) ?? [null, "UTC", text];
  return lines(element("code", { text: fields }), soft(zone));
}

function next(schedule) {
  const at = schedule.nextScheduleTime;
  if (schedule.isPaused) return stateChip("CANCELED", "Paused");
  return lines(until(at), soft(shortTime(at)));
}

function last(schedule) {
  if (schedule.error) return lines(stateChip("FAILED", "Not published"), soft(schedule.error));
  // More than one where a URL group is the destination.
  const links = Object.entries(schedule.lastScheduleStates ?? {}).map(([id, state]) =>
    element("a", { href: `#/messages/${segment(id)}`, "data-action": `last-${id}` }, stateChip(...(RESULTS[state] ?? [state]))));
  if (!links.length) return soft("never");
  return lines(...links, schedule.lastScheduleTime ? soft(shortTime(schedule.lastScheduleTime)) : "");
}

function actions({ scheduleId: id, isPaused }) {
  const path = `/v2/schedules/${segment(id)}`;
  const verb = isPaused ? "resume" : "pause";
  const name = isPaused ? "Resume" : "Pause";
  return [
    actionButton(name, "pause", () => call("POST", `${path}/${verb}`), { label: `${name} ${id}` }),
    actionButton("Delete", "delete", async () => {
      const text = "Nothing will be published by it any more. Messages that it made go on.";
      if (!(await ask({ title: `Delete the schedule ${id}?`, text, yes: "Delete" }))) return;
      await call("DELETE", path);
      say(`Deleted ${id}.`);
    }, { label: `Delete ${id}`, kind: "plain" }),
  ];
}

function name({ scheduleId, destination, method, label }) {
  const link = element("a", { class: "name", href: `#/messages?${new URLSearchParams({ scheduleId })}`, "data-action": "open", text: scheduleId });
  return lines(
    element("span", {}, link, label ? element("span", { class: "tag", text: label }) : ""),
    element("span", { class: "to" }, element("span", { class: "verb", text: method }), address(destination)),
  );
}

const fill = table("schedules", { Schedule: name, Cron: cron, Next: next, Last: last, "": actions }, (one) => one.scheduleId);

export async function refresh() {
  fill(await get("/v2/schedules"));
}
