// A view that is one table: renewed row by row, with something to say when it is empty.

import { at, element, sync } from "./dom.js";

/** `columns`: head -> function that makes a cell's content (one node or several) from an entry. */
export function table(id, columns, keyOf) {
  const section = at(id);
  const heads = Object.keys(columns);
  section.querySelector("thead").replaceChildren(
    element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, element("span", { class: head ? "" : "unseen", text: head || "Actions" })))),
  );
  const row = (entry) => element("tr", {}, ...heads.map((head) => cell(head, columns[head](entry))));
  return (entries) => {
    sync(section.querySelector("tbody"), entries, keyOf, row);
    section.querySelector("table").hidden = entries.length === 0;
    section.querySelector(".nothing").hidden = entries.length > 0;
  };
}

function cell(head, content) {
  const nodes = [content].flat().filter((node) => node !== null);
  return element("td", { "data-head": head || null, class: head ? "" : "actions" }, ...nodes);
}

export const lines = (...nodes) => element("div", { class: "lines" }, ...nodes);
export const number = (value) => element("span", { class: "number", text: String(value) });
export const soft = (text) => element("span", { class: "soft", text });
