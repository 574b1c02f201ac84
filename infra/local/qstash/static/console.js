// The page: which view is shown, and asking the server again and again while somebody looks.

import { currentToken, get, Refusal } from "./console/api.js";
import { copies, onChange, prepareDialogs } from "./console/actions.js";
import { prepareDeadLetters, refresh as refreshDeadLetters } from "./console/dead-letters.js";
import { at, element, setText } from "./console/dom.js";
import { setClocks, tick } from "./console/format.js";
import { prepareDetail } from "./console/message.js";
import * as messages from "./console/messages.js";
import { preparePublish } from "./console/publish.js";
import { refresh as refreshSchedules } from "./console/schedules.js";
import { prepareTime, showTime } from "./console/time.js";
import { flowControl, queues, urlGroups } from "./console/waits.js";

const POLL_MS = 1_000;
const VIEWS = {
  messages,
  schedules: { refresh: refreshSchedules },
  queues,
  "dead-letters": { refresh: refreshDeadLetters },
  "flow-control": flowControl,
  "url-groups": urlGroups,
};

let view = null;

/** `#/messages/msg_1?state=FAILED` names a view, what is open in it, and what it is narrowed to. */
function readHash() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name, id] = path.split("/", 2);
  return { name: Object.hasOwn(VIEWS, name) ? name : "messages", id: id ? decoded(id) : null, query: new URLSearchParams(query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function follow() {
  const { name, id, query } = readHash();
  const before = view;
  view = name;
  for (const other of Object.keys(VIEWS)) at(other).hidden = other !== name;
  for (const link of document.querySelectorAll(".views a")) {
    if (link.hash === `#/${name}`) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ inline: "center", block: "nearest" });
    } else link.removeAttribute("aria-current");
  }
  const title = at(`${name}-title`);
  document.title = `${title.textContent} · QStash`;
  if (before !== null && before !== name) title.focus({ preventScroll: true });
  const guarded = async () => {
    await VIEWS[name].show?.(id, query);
    await refresh();
  };
  await answering(guarded);
}

function showCounts(overview) {
  const counts = {
    messages: overview.waiting + overview.active,
    schedules: overview.schedules,
    queues: overview.queues,
    "dead-letters": overview.deadLetters,
    "flow-control": overview.flowControlKeys,
    "url-groups": overview.urlGroups,
  };
  for (const [name, count] of Object.entries(counts)) {
    setText(at(`count-${name}`), String(count));
    at(`count-${name}`).hidden = count === 0;
  }
}

async function refresh() {
  const overview = await get("/admin/overview");
  setClocks(overview);
  showTime();
  showCounts(overview);
  setText(at("where"), overview.plan ? `${location.host} · ${overview.plan}` : location.host);
  await VIEWS[view].refresh(overview);
}

/** Does this, and shows whether the server answers. */
async function answering(work) {
  try {
    await work();
    at("trouble").hidden = true;
  } catch (error) {
    const text = error instanceof Refusal ? error.message : "The server does not answer. Trying again…";
    setText(at("trouble"), text);
    at("trouble").hidden = false;
  }
}

async function poll() {
  if (!document.hidden) await answering(refresh);
  setTimeout(poll, POLL_MS);
}

/** What an application is to be told, and a way to copy each snippet. */
async function showConnection() {
  const { current, next } = await get("/v2/keys");
  const environment = [
    `export QSTASH_URL="${location.origin}"`,
    `export QSTASH_TOKEN="${await currentToken()}"`,
    `export QSTASH_CURRENT_SIGNING_KEY="${current}"`,
    `export QSTASH_NEXT_SIGNING_KEY="${next}"`,
  ];
  for (const node of document.querySelectorAll("[data-environment]")) setText(node, environment.join("\n"));
}

function prepareSnippets() {
  for (const snippet of document.querySelectorAll(".snippet")) {
    const button = element("button", { type: "button", class: "button copy", text: "Copy" });
    copies(button, () => snippet.textContent);
    const frame = element("div", { class: "framed" });
    snippet.replaceWith(frame);
    frame.append(snippet, button);
  }
}

prepareDialogs();
prepareSnippets();
prepareTime();
preparePublish();
prepareDetail();
prepareDeadLetters();
onChange(() => answering(refresh));
at("connect").addEventListener("click", async () => {
  await answering(showConnection);
  at("connect-dialog").showModal();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) answering(refresh);
});
window.addEventListener("hashchange", follow);
setInterval(() => {
  tick();
  showTime();
}, POLL_MS / 2);

await answering(showConnection);
await follow();
await poll();
