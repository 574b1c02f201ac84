// One message: where it stands, what happened to it, what it carries.

import { call, get, segment } from "./api.js";
import { copies, doesWork, say } from "./actions.js";
import { at, element, setText, sync } from "./dom.js";
import { ago, bytesOfBase64, duration, fullTime, preciseTime, shortTime, shownBody, size, textOf, until } from "./format.js";
import { EVENTS, SETTLED, STATES } from "./states.js";
import { openPublish } from "./publish.js";

const MOST_EVENTS = 200;

let chosen = null;
let shown = null;
let content = null;

/** Shows this message from now on; null shows none. */
export async function showDetail(id) {
  if (id === chosen) return;
  chosen = id;
  shown = content = null;
  at("detail").hidden = at("gone").hidden = true;
  if (id === null) return;
  await refreshDetail();
  if (chosen === id && shown) at("detail-url").focus({ preventScroll: true });
}

export async function refreshDetail() {
  const id = chosen;
  if (id === null) return;
  const { messages: [message] } = await get(`/admin/messages?messageId=${segment(id)}`);
  if (chosen !== id) return;
  at("gone").hidden = message !== undefined;
  at("detail").hidden = message === undefined;
  if (!message) return;
  const events = shown?.lastEvent === message.lastEvent ? null
    : (await get(`/v2/events?messageId=${segment(id)}&count=${MOST_EVENTS}`)).events.reverse();
  if (chosen !== id) return;
  showStanding(message);
  if (events?.length) showEvents(events);
  if (events?.length && !content) showContent(message, events[0]);
  shown = message;
}

function showStanding(message) {
  at("detail-state").dataset.state = message.state;
  setText(at("detail-state"), STATES[message.state] ?? message.state);
  setText(at("detail-id"), message.messageId);
  setText(at("detail-url"), `${message.method} ${message.url}`);
  at("cancel").hidden = SETTLED.includes(message.state);
  at("cancel").disabled = Boolean(message.cancelRequested);
  setText(at("cancel"), message.cancelRequested ? "Cancel requested" : "Cancel");
  sync(at("facts"), facts(message).filter(Boolean), ([name]) => name, fact);
}

function facts(message) {
  const filter = (name, value) => ({ text: value, href: `#/messages?${new URLSearchParams({ [name]: value })}` });
  return [
    ["Created", { past: message.createdAt }],
    message.nextDeliveryTime && ["Next delivery", { due: message.nextDeliveryTime }],
    ["Retried", { text: `${message.retried} of ${message.maxRetries}` }],
    message.labels && ["Label", ...message.labels.map((label) => filter("label", label))],
    message.topicName && ["URL group", filter("topicName", message.topicName)],
    message.queueName && ["Queue", filter("queueName", message.queueName)],
    message.scheduleId && ["Schedule", filter("scheduleId", message.scheduleId)],
    message.flowControlKey && ["Flow control", filter("flowControlKey", message.flowControlKey)],
  ];
}

function fact([name, ...values]) {
  return element("div", {}, element("dt", { text: name }), element("dd", {}, ...values.map(value)));
}

function value({ text, href, past, due }) {
  if (past) return ago(past);
  if (due) return element("span", {}, until(due), element("span", { class: "hint", text: ` · ${shortTime(due)}` }));
  return href ? element("a", { class: "tag", href, text }) : element("span", { text });
}

function showEvents(events) {
  let attempts = 0;
  const lines = events.map((event, index) => ({
    kind: event.state,
    attempt: event.state === "ACTIVE" ? (attempts += 1) : null,
    time: event.time,
    since: index ? event.time - events[index - 1].time : null,
    status: event.responseStatus ?? null,
    error: event.error ?? null,
    answer: event.responseBody ?? null,
    next: event.nextDeliveryTime ?? null,
  }));
  sync(at("timeline"), lines.map((line, index) => ({ ...line, index })), (line) => line.index, eventLine);
}

function eventLine(event) {
  const head = element("div", { class: "event" },
    element("b", { text: nameOf(event) }),
    event.status ? element("span", { class: "status", text: `HTTP ${event.status}` }) : null,
    element("time", { datetime: new Date(event.time).toISOString(), title: fullTime(event.time), text: preciseTime(event.time) }),
    element("span", { class: "since", text: event.since ? `+${duration(event.since)}` : "" }),
  );
  return element("li", { "data-state": event.kind }, head, ...notes(event));
}

function nameOf(event) {
  if (event.attempt) return `${EVENTS.ACTIVE} ${event.attempt}`;
  if (event.next !== null) return `${EVENTS.RETRY} in ${duration(Math.max(0, event.next - event.time))}`;
  return EVENTS[event.kind] ?? event.kind;
}

function notes(event) {
  const made = [];
  if (event.error && !event.status) made.push(element("p", { class: "note", text: event.error }));
  if (event.status && event.answer) made.push(element("pre", { class: "answer", text: shownBody(bytesOfBase64(event.answer)) }));
  return made;
}

function showContent(message, event) {
  const bytes = bytesOfBase64(event.body);
  content = { message, event, bytes };
  const lines = Object.entries(event.header ?? {}).flatMap(([name, values]) => values.map((one) => ({ name, value: one })));
  const extra = [["Callback", event.callback], ["Failure callback", event.failureCallback], ["Retry delay", event.retryDelayExpression]];
  const options = extra.filter(([, one]) => one).map(([name, one]) => ({ name, value: one, option: true }));
  at("detail-headers").replaceChildren(...[...lines, ...options].map(headerRow));
  at("no-headers").hidden = lines.length + options.length > 0;
  at("detail-body").textContent = bytes.length ? shownBody(bytes) : "";
  at("detail-body").hidden = bytes.length === 0;
  at("body-size").textContent = bytes.length ? size(bytes.length) : "empty";
}

function headerRow({ name, value: text, option }) {
  return element("tr", { class: option ? "option" : "" }, element("th", { scope: "row", text: name }), element("td", { text }));
}

/** What publishing it once more takes; options that have no field of their own become headers. */
function repeat() {
  const { message, event, bytes } = content;
  const flow = ["parallelism", "rate"].filter((name) => event[name]).map((name) => `${name}=${event[name]}`);
  if (event.rate) flow.push(`period=${event.period}`);
  const options = {
    "Upstash-Callback": event.callback,
    "Upstash-Failure-Callback": event.failureCallback,
    "Upstash-Retry-Delay": event.retryDelayExpression,
    "Upstash-Timeout": event.timeout && `${event.timeout / 1_000}s`,
    "Upstash-Flow-Control-Key": event.flowControlKey,
    "Upstash-Flow-Control-Value": event.flowControlKey && flow.join(","),
  };
  const callbackHeaders = (name, headers) =>
    Object.entries(headers ?? {}).flatMap(([key, values]) => values.map((one) => [`Upstash-${name}-Forward-${key}`, one]));
  return {
    destination: message.url,
    method: message.method,
    headers: [
      ...Object.entries(event.header ?? {}).flatMap(([name, values]) => values.map((one) => [name, one])),
      ...Object.entries(options).filter(([, one]) => one),
      ...callbackHeaders("Callback", event.callbackHeader),
      ...callbackHeaders("Failure-Callback", event.failureCallbackHeader),
    ],
    bytes,
    text: textOf(bytes),
    retries: String(message.maxRetries),
    label: (message.labels ?? []).join(","),
    queue: message.queueName ?? "",
  };
}

export function prepareDetail() {
  doesWork(at("cancel"), async () => {
    await call("DELETE", `/v2/messages/${segment(chosen)}`);
    say("Cancel requested.");
  });
  at("again").addEventListener("click", () => content && openPublish(repeat()));
  copies(at("detail-id"), () => chosen);
}
