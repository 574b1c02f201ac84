// Dead letters: what could not be delivered, and may be sent again.

import { call, get, segment } from "./api.js";
import { actionButton, ask, changed, doesWork, say } from "./actions.js";
import { at, element } from "./dom.js";
import { address, ago, bytesOfBase64, shownBody } from "./format.js";
import { lines, table } from "./table.js";

const PAGE = 50;
let wanted = PAGE;
let total = 0;

function status({ responseStatus }) {
  return element("span", { class: "status bad", text: responseStatus ? `HTTP ${responseStatus}` : "no answer" });
}

function target(letter) {
  const link = element("a", { href: `#/messages/${segment(letter.messageId)}`, class: "to", "data-action": "open" },
    element("span", { class: "verb", text: letter.method }), address(letter.url));
  const tags = (letter.labels ?? []).map((label) => element("span", { class: "tag", text: label }));
  return lines(link, ...(tags.length ? [element("span", {}, ...tags)] : []));
}

function response(letter) {
  const text = letter.responseBody ?? (letter.responseBodyBase64 ? shownBody(bytesOfBase64(letter.responseBodyBase64)) : "");
  const headers = Object.entries(letter.responseHeader ?? {}).flatMap(([name, values]) => values.map((value) => `${name}: ${value}`));
  if (!text && !headers.length) return element("span", { class: "soft", text: "empty" });
  const first = text.split("\n", 1)[0].slice(0, 200) || "(no body)";
  return element("details", { class: "response" },
    element("summary", { "data-action": "response" }, element("code", { text: first })),
    element("pre", { class: "content", text: shownBody(new TextEncoder().encode(text)) }),
    headers.length ? element("pre", { class: "content soft", text: headers.join("\n") }) : null);
}

function actions({ dlqId: id, url }) {
  return [
    actionButton("Retry", "retry", async () => {
      const { messageId } = await call("POST", `/v2/dlq/retry/${segment(id)}`);
      say("Sent again, as a new message.", { href: `#/messages/${segment(messageId)}`, text: "Look at it" });
    }, { label: `Retry ${url}` }),
    actionButton("Delete", "delete", async () => {
      await call("DELETE", `/v2/dlq/${segment(id)}`);
      say("Deleted.");
    }, { label: `Delete ${url}`, kind: "plain" }),
  ];
}

// An id begins with the time when the message came here.
const failed = ({ dlqId }) => ago(Number(dlqId.split("-", 1)[0]));

const fill = table("dead-letters", { Status: status, Destination: target, Response: response, Failed: failed, "": actions }, (one) => one.dlqId);

/** The newest `most` dead letters; the server gives at most a hundred at once. */
async function newest(most) {
  const found = [];
  let cursor = "";
  do {
    const page = await get(`/v2/dlq?count=${Math.min(most - found.length, 100)}${cursor && `&cursor=${segment(cursor)}`}`);
    found.push(...page.messages);
    cursor = page.cursor ?? "";
  } while (cursor && found.length < most);
  return { found, more: Boolean(cursor) };
}

export async function refresh(overview) {
  const { found, more } = await newest(wanted);
  total = overview.deadLetters;
  fill(found);
  at("more-dead-letters").hidden = !more;
  at("retry-all").disabled = found.length === 0;
}

/** Page by page, from the newest to the oldest: what fails again meanwhile is newer, and not sent twice. */
async function retryAll() {
  const count = total === 1 ? "1 message" : `${total} messages`;
  const text = `${count} will be sent again, each as a new message, and taken off this list.`;
  if (!(await ask({ title: "Retry all dead letters?", text, yes: `Retry ${count}` }))) return;
  let cursor = "";
  let sent = 0;
  do {
    const page = await call("POST", `/v2/dlq/retry${cursor && `?cursor=${segment(cursor)}`}`);
    sent += page.responses.length;
    cursor = page.cursor ?? "";
  } while (cursor);
  say(`Sent ${sent === 1 ? "1 message" : `${sent} messages`} again.`);
}

export function prepareDeadLetters() {
  doesWork(at("retry-all"), retryAll);
  at("more-dead-letters").addEventListener("click", () => {
    wanted += PAGE;
    changed();
  });
}
