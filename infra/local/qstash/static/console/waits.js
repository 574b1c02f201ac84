// What lets messages pass one after the other, and what messages fan out to: queues, flow-control keys, URL groups.

import { call, get, getList, segment } from "./api.js";
import { actionButton } from "./actions.js";
import { element } from "./dom.js";
import { address, duration } from "./format.js";
import { stateChip } from "./states.js";
import { lines, number, soft, table } from "./table.js";

const named = (filter, value) =>
  element("a", { class: "name", href: `#/messages?${new URLSearchParams({ [filter]: value })}`, "data-action": "open", text: value });
const running = (paused) => (paused ? stateChip("CANCELED", "Paused") : stateChip("DELIVERED", "Running"));

function pauseButton(path, name, paused) {
  const text = paused ? "Resume" : "Pause";
  return actionButton(text, "pause", () => call("POST", `${path}/${text.toLowerCase()}`), { label: `${text} ${name}` });
}

const fillQueues = table("queues", {
  Queue: (queue) => named("queueName", queue.name),
  State: (queue) => running(queue.paused),
  Lag: (queue) => number(queue.lag),
  Parallelism: (queue) => number(queue.parallelism),
  "": (queue) => pauseButton(`/v2/queues/${segment(queue.name)}`, queue.name, queue.paused),
}, (queue) => queue.name);

function parallelism(key) {
  return key.parallelismMax ? number(`${key.parallelismCount ?? 0} of ${key.parallelismMax}`) : soft("no limit");
}

function rate(key) {
  if (!key.rateMax) return soft("no limit");
  return lines(number(`${key.rateCount ?? 0} of ${key.rateMax}`), soft(`per ${duration((key.ratePeriod ?? 1) * 1_000)}`));
}

const fillKeys = table("flow-control", {
  Key: (key) => element("span", {}, named("flowControlKey", key.flowControlKey),
    key.isPinnedParallelism || key.isPinnedRate ? element("span", { class: "tag", text: "pinned" }) : ""),
  State: (key) => running(key.isPaused),
  Waiting: (key) => number(key.waitListSize ?? 0),
  "In use": parallelism,
  Rate: rate,
  "": (key) => pauseButton(`/v2/flowControl/${segment(key.flowControlKey)}`, key.flowControlKey, key.isPaused),
}, (key) => key.flowControlKey);

function endpoint({ name, url }) {
  return element("span", { class: "to" }, name ? element("span", { class: "tag", text: name }) : "", address(url));
}

const fillGroups = table("url-groups", {
  Group: (group) => named("topicName", group.name),
  Endpoints: (group) => lines(...(group.endpoints ?? []).map(endpoint)),
}, (group) => group.name);

export const queues = { refresh: async () => fillQueues(await get("/v2/queues")) };
export const flowControl = { refresh: async () => fillKeys(await getList("/v2/flowControl")) };
export const urlGroups = { refresh: async () => fillGroups(await getList("/v2/topics")) };
