// The server's clock as the page knows it. Every countdown reads it, so a wrong or sleeping device does no harm.

const SAMPLES = 8;

/** Instant in milliseconds of an ISO 8601 string; NaN for null. */
export function parseInstant(iso) {
  return iso ? Date.parse(iso) : NaN;
}

/** Estimates the server's time from round trips, and corrects it by what messages prove. */
export class ServerClock {
  #now;
  #samples = [];
  #offset = 0;
  roundTrip = null;

  constructor(now = Date.now) {
    this.#now = now;
  }

  /** Learn from a request: the server read its clock somewhere between the two local instants. */
  sample(serverAt, sentAt, receivedAt) {
    const roundTrip = receivedAt - sentAt;
    if (!(roundTrip >= 0) || Number.isNaN(serverAt)) return;
    this.#samples.push({ roundTrip, offset: serverAt - (sentAt + receivedAt) / 2 });
    this.#samples = this.#samples.slice(-SAMPLES);
    this.roundTrip = roundTrip;
    this.#offset = this.#samples.reduce((best, s) => (s.roundTrip < best.roundTrip ? s : best)).offset;
  }

  /** Learn from a message: it was sent before it arrived, so the server cannot be behind its stamp. */
  heard(serverAt) {
    const behind = serverAt - this.now();
    if (behind > 0) this.#offset += behind;
  }

  /** Forget what was learned; for when the device's own clock jumped. */
  reset() {
    this.#samples = [];
  }

  now() {
    return this.#now() + this.#offset;
  }
}

/** Time left as a counter: "0:07", "12:30", "1:02:03"; never below zero. */
export function counter(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes}:${two(seconds % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}

/** A span in words, its two largest units: "45 s", "5 min", "1 h 30 min", "2 d 4 h". */
export function span(milliseconds) {
  let seconds = Math.max(0, Math.round(milliseconds / 1000));
  const words = [];
  for (const [size, unit] of [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ]) {
    const count = Math.floor(seconds / size);
    seconds -= count * size;
    if (count) words.push(`${count} ${unit}`);
    else if (words.length) break;
  }
  return words.slice(0, 2).join(" ") || "0 s";
}
