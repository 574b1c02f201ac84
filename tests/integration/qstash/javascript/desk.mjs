// What every test needs: clients of the two servers, and a destination that records what it is sent.
import { EventEmitter, once } from "node:events";
import { createServer } from "node:http";

import { Client, Receiver } from "./sdk.mjs";

const PATIENCE_MS = 15_000;

export const TOKEN = process.env.QSTASH_TOKEN;
export const URLS = {
  real: process.env.QSTASH_URL,
  fast: process.env.FAST_QSTASH_URL,
  limited: process.env.LIMITED_QSTASH_URL,
};

// The server in real time, as the SDK finds it in the environment, and one whose waits pass a thousand times faster.
export const client = new Client({ retry: false });
export const fast = new Client({ baseUrl: URLS.fast, token: TOKEN, retry: false });
export const receiver = new Receiver();

// A request that no method of the SDK makes.
export async function ask(method, path, { base = URLS.real, body } = {}) {
  const headers = { Authorization: `Bearer ${TOKEN}` };
  const response = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

export const advance = (seconds, base = URLS.real) => ask("POST", `/admin/advance?seconds=${seconds}`, { base });

// The first true value of `condition`.
export async function until(condition) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`it did not happen in time: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

// What happened to a message, the oldest first.
export async function states(from, messageId) {
  const { logs } = await from.logs({ messageIds: [messageId] });
  return logs.map((log) => log.state).reverse();
}

export const untilState = (from, messageId, state) =>
  until(async () => (await states(from, messageId)).includes(state));

// The dead letter of a message, once there is one.
export const deadLetter = (from, messageId) =>
  until(async () => (await from.dlq.listMessages({ filter: { messageId } })).messages[0]);

const OK = { status: 200, body: "ok" };

export class Destination {
  // Listens until the test `t` is over. `answer` decides what a request is answered; it may wait.
  static async open(t, answer = () => OK) {
    const destination = new Destination(answer);
    destination.server.listen(0, "127.0.0.1");
    await once(destination.server, "listening");
    destination.url = `http://127.0.0.1:${destination.server.address().port}`;
    t.after(() => {
      destination.server.closeAllConnections();
      destination.server.close();
    });
    return destination;
  }

  constructor(answer) {
    this.answer = answer;
    this.arrivals = [];
    this.news = new EventEmitter();
    this.server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      const arrival = { method: request.method, target: request.url, headers: request.headers, bytes: body };
      arrival.body = body.toString();
      arrival.messageId = request.headers["upstash-message-id"];
      this.arrivals.push(arrival);
      this.news.emit("arrival");
      const answer = await this.answer(arrival, this.arrivals.length);
      response.writeHead(answer.status, answer.headers).end(answer.body);
    });
  }

  below(path) {
    return this.arrivals.filter((arrival) => arrival.target.startsWith(path));
  }

  // The arrivals below `path`, once there are `count`.
  async wait(count = 1, path = "/") {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    while (this.below(path).length < count) {
      await once(this.news, "arrival", { signal }).catch(() => {
        throw new Error(`${this.below(path).length} of ${count} requests arrived at ${path}`);
      });
    }
    return this.below(path);
  }
}

// Answers for destinations.
export const failing =
  (status = 500) =>
  () => ({ status, body: "no" });
export const failingFirst =
  (times, status = 500) =>
  (_, count) =>
    count <= times ? { status, body: "no" } : OK;
