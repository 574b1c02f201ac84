// Calls to the server. Its token comes from the server itself, and is asked for anew when the server has another one.

const PATIENCE_MS = 15_000;

let token = null;

/** An answer that is not 2xx; the message is the server's own text. */
export class Refusal extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function connect() {
  const answer = await fetch("/console.json", { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Refusal(answer.status, `the server answers ${answer.status}`);
  token = (await answer.json()).token;
}

export async function currentToken() {
  if (token === null) await connect();
  return token;
}

async function send(method, path, { headers = {}, body } = {}) {
  const all = new Headers(headers);
  all.set("Authorization", `Bearer ${await currentToken()}`);
  return fetch(path, { method, headers: all, body, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
}

/** The JSON of a 2xx answer. Throws Refusal, or what fetch throws when there is no answer. */
export async function call(method, path, options) {
  let answer = await send(method, path, options);
  if (answer.status === 401) {
    await connect();
    answer = await send(method, path, options);
  }
  const text = await answer.text();
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    content = { error: text };
  }
  if (!answer.ok) throw new Refusal(answer.status, content.error || `the server answers ${answer.status}`);
  return content;
}

export const get = (path) => call("GET", path);

/** What a list holds, or nothing where this server has no such list. */
export async function getList(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error instanceof Refusal && [404, 405].includes(error.status)) return [];
    throw error;
  }
}

/** A text as one segment of a path. */
export const segment = encodeURIComponent;
