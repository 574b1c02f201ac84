// The states of a message in words.

import { element } from "./dom.js";

export const STATES = {
  CREATED: "Waiting",
  ACTIVE: "Active",
  RETRY: "Retrying",
  DELIVERED: "Delivered",
  FAILED: "Failed",
  CANCELED: "Canceled",
};

export const EVENTS = {
  CREATED: "Accepted",
  ACTIVE: "Attempt",
  ERROR: "Attempt failed",
  RETRY: "Retry",
  DELIVERED: "Delivered",
  FAILED: "Failed",
  CANCEL_REQUESTED: "Cancel requested",
  CANCELED: "Canceled",
};

export const SETTLED = ["DELIVERED", "FAILED", "CANCELED"];

export function stateChip(state, text = STATES[state] ?? state) {
  return element("span", { class: "state", "data-state": state, text });
}
