// The dialog that publishes a message.

import { call, segment } from "./api.js";
import { changed, reason, say } from "./actions.js";
import { at } from "./dom.js";
import { size } from "./format.js";

const FRESH = { destination: "", method: "POST", headers: [["Content-Type", "application/json"]], text: "{}", retries: "", label: "", queue: "" };

let binary = null;

/** Opens the dialog; with `draft`, filled with that instead of what was last written in it. */
export function openPublish(draft) {
  if (draft || binary) fill(draft ?? FRESH);
  at("publish-wrong").hidden = true;
  at("publish-dialog").showModal();
}

function fill(draft) {
  const fields = at("publish-form").elements;
  for (const name of ["destination", "method", "retries", "label", "queue"]) fields.namedItem(name).value = draft[name];
  fields.namedItem("delay").value = "";
  fields.namedItem("headers").value = draft.headers.map(([name, value]) => `${name}: ${value}`).join("\n");
  fields.namedItem("body").value = draft.text ?? "";
  binary = draft.text === null ? draft.bytes : null;
  fields.namedItem("body").disabled = binary !== null;
  at("binary").hidden = binary === null;
  if (binary) at("binary").textContent = `The body is ${size(binary.length)} that are no text; it is sent as it is.`;
}

/** The request's headers. Throws an Error that says which line is wrong. */
function readHeaders(fields) {
  const headers = new Headers();
  fields.namedItem("headers").value.split("\n").forEach((line, index) => {
    if (!line.trim()) return;
    const [, name, value] = /^\s*([^:\s]+)\s*:\s*(.*)$/.exec(line) ?? [];
    if (!name) throw new Error(`Line ${index + 1} of the headers is not like "Name: value".`);
    add(headers, /^(upstash-|content-type$)/i.test(name) ? name : `Upstash-Forward-${name}`, value.trim());
  });
  const options = { method: "Upstash-Method", delay: "Upstash-Delay", retries: "Upstash-Retries", label: "Upstash-Label" };
  for (const [field, name] of Object.entries(options)) {
    const value = fields.namedItem(field).value.trim();
    if (value) {
      headers.delete(name);
      add(headers, name, value);
    }
  }
  return headers;
}

function add(headers, name, value) {
  try {
    headers.append(name, value);
  } catch {
    throw new Error(`A browser cannot send the header "${name}: ${value}".`);
  }
}

async function publish() {
  const fields = at("publish-form").elements;
  const queue = fields.namedItem("queue").value.trim();
  const destination = fields.namedItem("destination").value.trim();
  const headers = readHeaders(fields);
  // A blob without a type: no Content-Type but the one that was written.
  const body = new Blob([binary ?? fields.namedItem("body").value]);
  const path = queue ? `/v2/enqueue/${segment(queue)}/${destination}` : `/v2/publish/${destination}`;
  return call("POST", path, { headers, body });
}

async function submit(event) {
  event.preventDefault();
  const form = at("publish-form");
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  at("publish-wrong").hidden = true;
  try {
    const receipt = await publish();
    at("publish-dialog").close();
    tell(receipt);
    await changed();
  } catch (error) {
    at("publish-wrong").textContent = error instanceof TypeError || error instanceof DOMException ? reason(error) : error.message;
    at("publish-wrong").hidden = false;
  } finally {
    form.ariaBusy = null;
  }
}

function tell(receipt) {
  if (Array.isArray(receipt)) {
    say(`Published ${receipt.length} messages.`);
    location.hash = "#/messages";
    return;
  }
  say(receipt.deduplicated ? "A message with this deduplication id was there already." : "Published.");
  location.hash = `#/messages/${segment(receipt.messageId)}`;
}

export function preparePublish() {
  fill(FRESH);
  at("publish-form").addEventListener("submit", submit);
  at("publish").addEventListener("click", () => openPublish());
  at("publish-first").addEventListener("click", () => openPublish());
  at("publish-form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("publish-form").requestSubmit();
  });
}
