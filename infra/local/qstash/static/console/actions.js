// What all views do alike: say something, ask before something, and let a button do something.

import { Refusal } from "./api.js";
import { at, element } from "./dom.js";

const NOTICE_MS = 6_000;
let hiding;

/** A line at the bottom for a while; `link` is `{ href, text }`. */
export function say(text, link, { alarm = false } = {}) {
  const notice = at("notice");
  notice.setAttribute("role", alarm ? "alert" : "status");
  notice.classList.toggle("alarm", alarm);
  notice.replaceChildren(text, ...(link ? [" ", element("a", { href: link.href, text: link.text })] : []));
  notice.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (notice.hidden = true), NOTICE_MS);
}

/** What went wrong: the server's own words, if it has answered. */
export function reason(error) {
  return error instanceof Refusal ? error.message : "The server does not answer.";
}

let refresh = async () => {};
export const onChange = (callback) => (refresh = callback);
/** Show now what has just been changed. */
export const changed = () => refresh();

/** A button whose second click waits for the first one's work, and whose failure is said. */
export function actionButton(text, action, work, { label, kind = "" } = {}) {
  const made = element("button", { type: "button", class: `button ${kind}`, "data-action": action, "aria-label": label, text });
  doesWork(made, work);
  return made;
}

export function doesWork(button, work) {
  button.addEventListener("click", async () => {
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    try {
      await work();
      await changed();
    } catch (error) {
      say(reason(error), null, { alarm: true });
    } finally {
      button.ariaBusy = null;
    }
  });
}

/** Whether the person says yes. */
export function ask({ title, text, yes }) {
  const dialog = at("ask");
  at("ask-title").textContent = title;
  at("ask-text").textContent = text;
  at("ask-yes").textContent = yes;
  return new Promise((resolve) => {
    at("ask-yes").onclick = () => dialog.close("yes");
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });
}

/** Buttons with data-close close their dialog, a click beside it too. */
export function prepareDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("mousedown", (event) => {
      if (event.target === dialog) dialog.close();
    });
    for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
  }
}

export function copies(button, text) {
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      say("Copied.");
    } catch {
      say("The browser does not allow copying: select the text instead.", null, { alarm: true });
    }
  });
}
