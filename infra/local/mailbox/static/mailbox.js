// The page: keeps asking for the list and shows what is new. A mail's content only ever becomes text here, or is
// shown in a frame that may run nothing.

const POLL_MS = 500;
const VIEWS = ["html", "text", "headers"];

const at = (id) => document.getElementById(id);
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

let shownTag = null;
let shownMail = null;
let view = "html";

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function briefly(when) {
  return (when.toDateString() === new Date().toDateString() ? time : date).format(when);
}

function row(mail) {
  const link = element("a");
  link.href = `#${mail.id}`;
  const when = element("time", "", briefly(new Date(mail.createdAt)));
  when.dateTime = mail.createdAt;
  link.append(
    element("span", "recipient", mail.to.join(", ")),
    when,
    element("span", "subject", mail.subject || "(no subject)"),
    element("span", "preview", mail.preview),
  );
  const item = element("li");
  item.append(link);
  return item;
}

function showList(mails) {
  const focused = document.activeElement?.getAttribute("href");
  at("list").replaceChildren(...mails.map(row));
  if (focused) document.querySelector(`#list a[href="${CSS.escape(focused)}"]`)?.focus();
  at("count").textContent = mails.length ? String(mails.length) : "";
  at("clear").disabled = mails.length === 0;
  at("main").classList.toggle("empty", mails.length === 0);
  document.title = mails.length ? `Mailbox (${mails.length})` : "Mailbox";
  if (shownMail && !mails.some((mail) => mail.id === shownMail)) location.hash = "";
  markChosen();
}

function markChosen() {
  for (const link of document.querySelectorAll("#list a")) {
    link.setAttribute("aria-current", String(link.hash === `#${shownMail}`));
  }
}

function headerRow([name, value]) {
  const made = element("tr");
  const head = element("th", "", name);
  head.scope = "row";
  made.append(head, element("td", "", value));
  return made;
}

function headersOf(mail) {
  const all = [
    ["From", mail.from],
    ["To", mail.to.join(", ")],
    ["Cc", mail.cc.join(", ")],
    ["Bcc", mail.bcc.join(", ")],
    ["Reply-To", mail.replyTo.join(", ")],
    ["Subject", mail.subject],
    ...Object.entries(mail.headers),
    ...Object.entries(mail.tags).map(([name, value]) => [`Tag: ${name}`, value]),
    ["Attachments", mail.attachments.map((file) => file.filename).join(", ")],
    ["Idempotency-Key", mail.idempotencyKey],
    ["Email id", mail.id],
  ];
  return all.filter(([, value]) => value);
}

function sizeOf(bytes) {
  const [unit, divisor] = bytes < 1000 ? ["byte", 1] : bytes < 1e6 ? ["kilobyte", 1000] : ["megabyte", 1e6];
  const format = { style: "unit", unit, unitDisplay: bytes < 1000 ? "long" : "short", maximumFractionDigits: 1 };
  return new Intl.NumberFormat(undefined, format).format(bytes / divisor);
}

function fileItem(file) {
  const link = element("a", "file");
  link.href = file.path;
  link.download = "";
  link.append(element("span", "filename", file.filename), element("small", "", sizeOf(file.size)));
  const item = element("li");
  item.append(link);
  return item;
}

function frame(mail) {
  const made = element("iframe");
  made.title = "The mail as HTML";
  made.setAttribute("sandbox", "allow-popups allow-popups-to-escape-sandbox");
  made.referrerPolicy = "no-referrer";
  made.src = `/mails/${encodeURIComponent(mail.id)}`;
  return made;
}

function showMail(mail) {
  at("subject").textContent = mail.subject || "(no subject)";
  at("from").textContent = mail.from;
  at("to").textContent = mail.to.join(", ");
  at("received").textContent = full.format(new Date(mail.createdAt));
  at("received").dateTime = mail.createdAt;
  at("files").replaceChildren(...mail.attachments.map(fileItem));
  at("files").hidden = mail.attachments.length === 0;
  at("text").textContent = mail.text ?? "This mail has no plain text.";
  at("headers").replaceChildren(...headersOf(mail).map(headerRow));
  at("tab-html").disabled = mail.html === null;
  at("view-html").replaceChildren(...(mail.html === null ? [] : [frame(mail)]));
  at("apart").href = `/mails/${encodeURIComponent(mail.id)}`;
  choose(mail.html === null && view === "html" ? "text" : view);
}

function choose(name) {
  for (const one of VIEWS) {
    at(`tab-${one}`).setAttribute("aria-selected", String(one === name));
    at(`tab-${one}`).tabIndex = one === name ? 0 : -1;
    at(`view-${one}`).hidden = one !== name;
  }
  at("preview-tools").hidden = name !== "html";
}

async function follow() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  shownMail = wanted || null;
  markChosen();
  const answer = wanted ? await fetch(`/api/mails/${encodeURIComponent(wanted)}`) : null;
  if (shownMail !== (wanted || null)) return;
  const found = answer !== null && answer.ok;
  if (found) showMail(await answer.json());
  at("mail").hidden = !found;
  at("main").classList.toggle("reading", found);
  if (found) at("subject").focus();
}

function showFaults(faults) {
  const count = faults.reduce((sum, fault) => sum + fault.count, 0);
  at("fault-count").textContent = String(count);
  at("fault-count").hidden = at("clear-faults").hidden = count === 0;
  const lines = faults.map((fault) => (fault.count > 1 ? `${fault.status}, ${fault.count} times` : String(fault.status)));
  at("fault-list").replaceChildren(...lines.map((line) => element("li", "", line)));
}

async function refresh() {
  const [mails, faults] = await Promise.all([fetch("/api/mails"), fetch("/api/faults")]);
  if (!mails.ok || !faults.ok) throw new Error(`the mailbox answers ${mails.status} and ${faults.status}`);
  const tag = mails.headers.get("etag");
  if (tag !== shownTag) {
    showList((await mails.json()).mails);
    shownTag = tag;
  }
  showFaults((await faults.json()).faults);
}

async function poll() {
  try {
    if (!document.hidden) await refresh();
    at("trouble").hidden = true;
  } catch {
    at("trouble").hidden = false;
  }
  setTimeout(poll, POLL_MS);
}

async function addFault(status) {
  await fetch("/api/faults", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ status: Number(status) }),
  });
  await refresh();
}

function turn(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const open = VIEWS.filter((name) => !at(`tab-${name}`).disabled);
  view = open[(open.indexOf(event.target.id.slice("tab-".length)) + step + open.length) % open.length];
  choose(view);
  at(`tab-${view}`).focus();
}

for (const name of VIEWS) {
  at(`tab-${name}`).addEventListener("click", () => choose((view = name)));
}
for (const button of document.querySelectorAll("[data-fault]")) {
  button.addEventListener("click", () => addFault(button.dataset.fault));
}
at("tabs").addEventListener("keydown", turn);
at("narrow").addEventListener("click", () => {
  const narrow = at("view-html").classList.toggle("narrow");
  at("narrow").setAttribute("aria-pressed", String(narrow));
});
at("clear").addEventListener("click", async () => {
  await fetch("/api/mails", { method: "DELETE" });
  await refresh();
});
at("clear-faults").addEventListener("click", async () => {
  await fetch("/api/faults", { method: "DELETE" });
  await refresh();
});
document.addEventListener("click", (event) => {
  if (!at("faults").contains(event.target)) at("faults").open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") at("faults").open = false;
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh().catch(() => (at("trouble").hidden = false));
});
window.addEventListener("hashchange", follow);

at("address").textContent = `${location.origin}/emails`;
await follow();
await poll();
