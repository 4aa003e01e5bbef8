// Requests to the service: a busy one is asked again, and what it refuses becomes a Refusal with its reason.

const MAX_TRIES = 4;
const LONGEST_WAIT_S = 20;
const LOST_WAIT_S = 0.5; // before a request whose connection was lost is sent again, once

// Why there is no answer. It is put into words when it is shown (words.js), since the language may change meanwhile.
export class Refusal extends Error {
  constructor({ status = null, problem = null, seconds = null, own = null }) {
    super(problem?.title ?? own?.key ?? `HTTP ${status}`);
    Object.assign(this, { status, problem, seconds, own });
  }

  // Whether the same request may be answered later.
  get isPassing() {
    return this.own?.key === "silent" || [401, 429, 500, 502, 503, 504].includes(this.status);
  }
}

const wait = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const end = () => reject(new DOMException("aborted", "AbortError"));
    if (signal?.aborted) end();
    signal?.addEventListener("abort", end, { once: true });
    setTimeout(resolve, 1000 * seconds);
  });

async function refusalOf(response) {
  const { status } = response;
  const seconds = response.headers.get("Retry-After");
  const isProblem = response.headers.get("Content-Type")?.startsWith("application/problem+json");
  return new Refusal({ status, seconds, problem: isProblem ? await response.json().catch(() => null) : null });
}

async function send(path, options, isLast) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (isLast) throw new Refusal({ own: { key: "silent" } });
    await wait(LOST_WAIT_S, options.signal);
    return send(path, options, true);
  }
}

// Return the service's answer to a request.
export async function request(path, options = {}) {
  for (let attempt = 1; ; attempt++) {
    const response = await send(path, options, attempt > 1);
    if (response.ok) return response;
    const refusal = await refusalOf(response);
    const isBusy = response.status === 429 || response.status === 503;
    const seconds = Number(refusal.seconds ?? 2 ** attempt / 4);
    if (!isBusy || attempt === MAX_TRIES || !(seconds <= LONGEST_WAIT_S)) throw refusal;
    await wait(seconds * (1 + Math.random() / 4), options.signal); // not all of those that were refused at once
  }
}

function post(path, file, { signal, accept, ...params }) {
  const known = Object.entries(params).filter(([, value]) => value !== "");
  const query = new URLSearchParams(known).toString();
  return request(query ? `${path}?${query}` : path, {
    method: "POST",
    body: file,
    headers: { "Content-Type": "application/octet-stream", Accept: accept },
    signal,
  });
}

export const predict = async (file, patient, signal) =>
  (await post("/v1/predict", file, { ...patient, signal, accept: "application/json" })).json();

export const explain = async (file, diagnosis, signal) =>
  (await post("/v1/explain", file, { diagnosis, signal, accept: "image/png" })).blob();

// Return the model's description, and whether it was given to a session.
export async function describeModel() {
  const response = await request("/v1/model");
  return { card: await response.json(), isSession: response.headers.has("X-Melanoma-Key") };
}

export const logIn = (key) => request("/login", { method: "POST", headers: { Authorization: `Bearer ${key}` } });
export const logOut = () => request("/logout", { method: "POST" });
