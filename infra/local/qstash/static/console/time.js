// The control that shows the timeline's time and moves it forward.

import { call } from "./api.js";
import { changed, reason, say } from "./actions.js";
import { at, setText } from "./dom.js";
import { clockTime, duration, fullTime, readDuration, timelineNow, timeScale, wallNow } from "./format.js";

const NOTHING_MS = 1_500;

/** Shows the time; beside it how far it is ahead of real time, and how fast it runs. */
export function showTime() {
  const now = timelineNow();
  const ahead = now - wallNow();
  const scale = timeScale();
  setText(at("clock"), clockTime(now));
  const differs = Math.abs(ahead) >= NOTHING_MS;
  at("shift").hidden = !differs && scale === 1;
  const parts = [differs ? `${ahead < 0 ? "−" : "+"}${duration(Math.round(Math.abs(ahead) / 1_000) * 1_000)}` : "", scale === 1 ? "" : `${scale}×`];
  setText(at("shift"), parts.filter(Boolean).join(" · "));
  setText(at("time-here"), fullTime(now));
  setText(at("time-real"), fullTime(wallNow()));
  setText(at("time-speed"), scale === 1 ? "as real time" : `${scale} times real time`);
  at("time").querySelector("summary").setAttribute("aria-label", `Time ${clockTime(now)}${differs ? `, ${parts[0]}` : ""}`);
}

async function advance(seconds) {
  at("advance-wrong").hidden = true;
  try {
    await call("POST", `/admin/advance?seconds=${seconds}`);
    say(`Time moved on by ${duration(seconds * 1_000)}.`);
    await changed();
    return true;
  } catch (error) {
    complain(reason(error));
    return false;
  }
}

function complain(text) {
  at("advance-wrong").textContent = text;
  at("advance-wrong").hidden = false;
}

async function submit(event) {
  event.preventDefault();
  const seconds = readDuration(at("advance-by").value);
  if (seconds === null) complain("Write a duration such as 90s, 15m, 6h or 1d12h.");
  else if (await advance(seconds)) at("advance-by").value = "";
}

export function prepareTime() {
  for (const button of document.querySelectorAll("[data-advance]")) {
    button.addEventListener("click", () => advance(Number(button.dataset.advance)));
  }
  at("advance").addEventListener("submit", submit);
  document.addEventListener("click", (event) => {
    if (!at("time").contains(event.target)) at("time").open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !at("time").open) return;
    at("time").open = false;
    at("time").querySelector("summary").focus();
  });
}
