// Times, durations, addresses and bodies as people read them.

import { element, setText } from "./dom.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const UNITS = [["d", DAY], ["h", HOUR], ["min", MINUTE], ["s", SECOND]];
const ADVANCE_SECONDS = { d: 86_400, h: 3_600, min: 60, m: 60, s: 1 };
const MOST_SHOWN = 200_000;

const formatter = (parts) => new Intl.DateTimeFormat(undefined, { hourCycle: "h23", hour: "2-digit", minute: "2-digit", ...parts });
const time = formatter({ second: "2-digit" });
const precise = formatter({ second: "2-digit", fractionalSecondDigits: 3 });
const short = formatter({ weekday: "short", day: "numeric", month: "short" });
const full = formatter({ weekday: "short", day: "numeric", month: "short", year: "numeric", second: "2-digit" });

export const clockTime = (ms) => time.format(new Date(ms));
export const preciseTime = (ms) => precise.format(new Date(ms));
export const shortTime = (ms) => short.format(new Date(ms));
export const fullTime = (ms) => full.format(new Date(ms));

/** The two largest units of a duration: `2 min 28 s`. */
export function duration(ms) {
  if (ms < SECOND) return `${Math.round(ms)} ms`;
  if (ms < 10 * SECOND && ms % SECOND) return `${(ms / SECOND).toFixed(1)} s`;
  let rest = Math.round(ms / SECOND) * SECOND;
  const first = UNITS.findIndex(([, size]) => rest >= size);
  const parts = [];
  for (const [name, size] of UNITS.slice(first, first + 2)) {
    const count = Math.floor(rest / size);
    if (count) parts.push(`${count} ${name}`);
    rest -= count * size;
  }
  return parts.join(" ");
}

function largest(ms) {
  const [name, size] = UNITS.find(([, unit]) => ms >= unit) ?? UNITS.at(-1);
  return `${Math.floor(ms / size)} ${name}`;
}

/** Seconds of `90s`, `6h`, `1d 12h` or a plain number; null if it is none of these. */
export function readDuration(text) {
  const plain = text.trim().toLowerCase();
  if (/^\d+(\.\d+)?$/.test(plain)) return Number(plain);
  if (!/^(\d+(\.\d+)?\s*(d|h|min|m|s)\s*)+$/.test(plain)) return null;
  return [...plain.matchAll(/(\d+(?:\.\d+)?)\s*(d|h|min|m|s)/g)]
    .reduce((sum, [, amount, unit]) => sum + Number(amount) * ADVANCE_SECONDS[unit], 0);
}

// What the server's clocks show now, told by the last overview.
const clocks = { now: Date.now(), wall: Date.now(), scale: 1, at: performance.now() };

export function setClocks({ now, wall, scale }) {
  Object.assign(clocks, { now, wall, scale, at: performance.now() });
  tick();
}

/** The timeline, where all that is due is. */
export const timelineNow = () => clocks.now + (performance.now() - clocks.at) * clocks.scale;
export const wallNow = () => clocks.wall + (performance.now() - clocks.at);
export const timeScale = () => clocks.scale;

/** `12 s ago`, kept right while it is shown. */
export function ago(ms, attributes = {}) {
  return moment(ms, { ...attributes, "data-past": "" });
}

/** `in 12 s`, kept right while it is shown; `late` is said once the time has come. */
export function until(ms, { before = "", late = "due now" } = {}) {
  return moment(ms, { "data-before": before, "data-late": late });
}

function moment(ms, attributes) {
  const made = element("time", {
    ...attributes, "data-at": ms, datetime: new Date(ms).toISOString(), title: fullTime(ms),
  });
  setText(made, wording(made));
  return made;
}

function wording(node) {
  const moment = Number(node.dataset.at);
  if (node.dataset.past !== undefined) {
    const past = wallNow() - moment;
    return past < 2 * SECOND ? "just now" : `${largest(past)} ago`;
  }
  const left = moment - timelineNow();
  if (left <= 0) return node.dataset.late;
  return `${node.dataset.before}in ${duration(Math.ceil(left / SECOND) * SECOND)}`;
}

export function tick() {
  for (const node of document.querySelectorAll("time[data-at]")) setText(node, wording(node));
}

/** An address with its host apart, so that the part that tells them from each other stands out. */
export function address(url) {
  const [, host, path] = /^([a-z][a-z0-9+.-]*:\/\/[^/?#]*)(.*)$/i.exec(url) ?? [null, "", url];
  return element("span", { class: "address", title: url }, element("i", { text: host }), element("span", { text: path }));
}

export function bytesOfBase64(text) {
  return Uint8Array.from(atob(text ?? ""), (character) => character.charCodeAt(0));
}

/** The text of these bytes, or null if they are none. */
export function textOf(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** Bytes as a person can look at them; long ones are cut. */
export function shownBody(bytes) {
  const text = textOf(bytes);
  if (text === null) return `${size(bytes.length)} that are no text`;
  return text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…\n\n(cut: ${size(bytes.length)} in all)` : text;
}

export function size(bytes) {
  if (bytes < 1_024) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
  return bytes < 1_048_576 ? `${(bytes / 1_024).toFixed(1)} KB` : `${(bytes / 1_048_576).toFixed(1)} MB`;
}
