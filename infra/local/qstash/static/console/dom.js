// Making and renewing elements. Data only ever becomes text here.

const marks = new WeakMap();

export const at = (id) => document.getElementById(id);

/** An element; `attributes` are set as such, but for `class`, `text` and `on…` listeners. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") made.textContent = value;
    else if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Makes `parent` show `items`, and leaves alone what stands for an item that did not change: focus, selection and
 * scroll positions stay where they are. Where a focused element has to go, its successor is focused.
 */
export function sync(parent, items, keyOf, make) {
  const wanted = new Set(items.map((item) => String(keyOf(item))));
  const shown = new Map();
  for (const node of [...parent.children]) {
    if (wanted.has(node.dataset.key)) shown.set(node.dataset.key, node);
    else remove(node);
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    const mark = JSON.stringify(item);
    let node = shown.get(key);
    if (!node || marks.get(node) !== mark) {
      const fresh = make(item);
      fresh.dataset.key = key;
      marks.set(fresh, mark);
      if (node) {
        if (node === place) place = fresh;
        replace(node, fresh);
      }
      node = fresh;
    }
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
}

function replace(node, fresh) {
  const refocus = focusedWithin(node);
  node.replaceWith(fresh);
  if (refocus) refocus(fresh);
}

function remove(node) {
  const refocus = focusedWithin(node);
  const next = node.nextElementSibling ?? node.previousElementSibling;
  node.remove();
  if (refocus && next) refocus(next);
}

/** How to give the focus that `node` has to another element: to the same action there. */
function focusedWithin(node) {
  const focused = document.activeElement;
  if (!node.contains(focused)) return null;
  const action = focused.dataset.action;
  return (other) => (action && other.querySelector(`[data-action="${action}"]`) || other.querySelector("a, button"))?.focus();
}
