// The list of messages, and which of them are shown.

import { get, segment } from "./api.js";
import { at, element, setText, sync } from "./dom.js";
import { address, ago, until } from "./format.js";
import { STATES, stateChip } from "./states.js";
import { refreshDetail, showDetail } from "./message.js";

const FILTERS = { label: "label", topicName: "URL group", queueName: "queue", scheduleId: "schedule", flowControlKey: "flow-control key", url: "address" };

let counted = {};
let route = { id: null, query: new URLSearchParams() };

function link(id, query) {
  const text = query.toString();
  return `#/messages${id ? `/${segment(id)}` : ""}${text ? `?${text}` : ""}`;
}

function queryWith(changes) {
  const query = new URLSearchParams(route.query);
  query.delete("cursor");
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) query.delete(name);
    else query.set(name, value);
  }
  return query;
}

function plural(count, one) {
  return count === 1 ? `1 ${one}` : `${count} ${one === "retry" ? "retries" : `${one}s`}`;
}

/** What comes next, or how it came to its end. */
function prospect(message) {
  const retry = `retry ${message.retried} of ${message.maxRetries}`;
  if (message.cancelRequested) return element("span", { text: "cancel requested" });
  switch (message.state) {
    case "CREATED": return until(message.nextDeliveryTime, { late: waitsFor(message) });
    case "RETRY": return until(message.nextDeliveryTime, { before: `${retry} `, late: `${retry} due now` });
    case "ACTIVE": return element("span", { text: message.retried ? retry : "first attempt" });
    case "CANCELED": return element("span");
    default: return element("span", { text: message.retried ? `after ${plural(message.retried, "retry")}` : "" });
  }
}

function waitsFor(message) {
  if (message.queueName) return `in line in ${message.queueName}`;
  if (message.flowControlKey) return `waits for ${message.flowControlKey}`;
  return "due now";
}

function row(message) {
  const tags = [
    ...(message.labels ?? []).map((label) => element("span", { class: "tag", text: label })),
    ...(message.topicName ? [element("span", { class: "tag kind", text: `group ${message.topicName}` })] : []),
    ...(message.queueName ? [element("span", { class: "tag kind", text: `queue ${message.queueName}` })] : []),
    ...(message.scheduleId ? [element("span", { class: "tag kind", text: `schedule ${message.scheduleId}` })] : []),
  ];
  const made = element("a", { href: link(message.messageId, route.query), "data-action": "open" },
    stateChip(message.state),
    element("span", { class: "to" }, element("span", { class: "verb", text: message.method }), address(message.url)),
    element("span", { class: "tags" }, ...tags),
    element("span", { class: "next" }, prospect(message)),
    ago(message.createdAt, { class: "age" }),
  );
  return element("li", {}, made);
}

function showChips() {
  const chosen = route.query.get("state");
  const chips = [["", "All"], ...Object.entries(STATES)];
  sync(at("chips"), chips.map(([state, text]) => ({
    state, text, chosen: (chosen ?? "") === state, count: state === "ACTIVE" ? counted.active : 0,
    href: link(null, queryWith({ state: state || null })),
  })), (chip) => chip.state, (chip) => element("li", {}, element("a", {
    href: chip.href, "data-action": "chip", "aria-current": String(chip.chosen), "data-state": chip.state || null,
    text: chip.count ? `${chip.text} ${chip.count}` : chip.text,
  })));
}

function showNarrowed() {
  const [name] = Object.keys(FILTERS).filter((key) => route.query.has(key));
  at("narrowed").hidden = !name;
  if (!name) return;
  setText(at("narrowed"), `${FILTERS[name]} ${route.query.get(name)} ✕`);
  at("narrowed").setAttribute("aria-label", `Do not narrow to ${FILTERS[name]} ${route.query.get(name)}`);
  at("narrowed").href = link(null, queryWith({ [name]: null }));
}

function markChosen() {
  for (const item of at("message-list").children) {
    const chosen = item.dataset.key === route.id;
    item.firstElementChild.setAttribute("aria-current", String(chosen));
    item.firstElementChild.setAttribute("href", link(item.dataset.key, route.query));
  }
}

export async function show(id, query) {
  route = { id, query };
  at("messages").classList.toggle("reading", id !== null);
  at("back").href = link(null, query);
  showChips();
  showNarrowed();
  markChosen();
  await showDetail(id);
}

export async function refresh(overview) {
  counted = overview;
  const asked = route;
  const page = await get(`/admin/messages?${asked.query}`);
  if (asked.query === route.query) {
    showList(page);
    markChosen();
  }
  await refreshDetail();
}

function showList(page) {
  showChips();
  sync(at("message-list"), page.messages, (message) => message.messageId, row);
  const older = page.cursor ?? null;
  const paged = route.query.has("cursor");
  at("pages").hidden = !older && !paged;
  at("newest").hidden = !paged;
  at("newest").href = link(null, queryWith({}));
  at("older").hidden = !older;
  if (older) at("older").href = link(null, queryWith({ cursor: older }));
  const nothing = page.messages.length === 0;
  const all = [...route.query.keys()].length === 0;
  at("no-messages").hidden = !nothing || !all;
  at("no-match").hidden = !nothing || all;
}
