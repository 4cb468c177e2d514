// Requests to the REST API with the page's session. Refusals arrive as Problem, in the server's own words.

import * as words from "./strings.mjs";

const TIMEOUT_MS = 8000;

/** A refusal (status 4xx, 5xx) or, with status 0, no answer at all. */
export class Problem extends Error {
  constructor(status, body = {}, retryAfter = null) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
    this.code = body.code ?? (status ? "unknown" : "unreachable");
    this.title = body.title ?? "";
    this.detail = body.detail ?? "";
    this.body = body;
    this.retryAfterMs = retryAfter ? Number(retryAfter) * 1000 : null;
  }

  /** Whether the outcome is unknown or may come by asking again with the same client id. */
  get isPassing() {
    return this.status === 0 || this.status === 409 || this.status >= 500;
  }
}

/** Talks to `/api/v1`, learns the server's time from each answer it is told of. */
export class Api {
  #csrf;

  constructor(csrf) {
    this.#csrf = csrf;
  }

  get(path, parameters = {}) {
    const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value != null));
    return this.#send("GET", `${path}${query.size ? `?${query}` : ""}`);
  }

  post(path, body = {}, headers = {}) {
    return this.#send("POST", path, body, headers);
  }

  async #send(method, path, body, headers = {}) {
    const options = {
      method,
      credentials: "same-origin",
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: { Accept: "application/json", ...headers },
    };
    if (body !== undefined) {
      options.headers["Content-Type"] = "application/json";
      options.headers["X-CSRFToken"] = this.#csrf;
      options.body = JSON.stringify(body);
    }
    let response;
    let data;
    try {
      response = await fetch(`/api/v1${path}`, options);
      data = response.status === 204 ? null : await response.json();
    } catch (error) {
      throw new Problem(response && !response.ok ? response.status : 0, { title: error.message });
    }
    // Whoever signs in, in another tab too, gets a new CSRF token; the page still holds the old one.
    if (response.status === 403 && data?.detail?.startsWith("CSRF"))
      throw new Problem(403, { code: "page_outdated", title: words.say.pageOutdated });
    if (!response.ok) throw new Problem(response.status, data ?? {}, response.headers.get("Retry-After"));
    return data;
  }
}

/** Rows of a list answer, bare or in a page. */
export function rows(answer) {
  return Array.isArray(answer) ? answer : (answer.results ?? []);
}

/** An id nobody else makes; `crypto.randomUUID` exists in secure contexts only. */
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
