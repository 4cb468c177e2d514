// What the server would pay for each side, asked before the click: after a change, and again every two seconds.

const SETTLED_MS = 250;
const AGAIN_MS = 2000;
const SPACING_MS = 1000; // two sides at a time, so two requests a second at most
const STALE_MS = 6000;

/** Asks for what it is given last; tells `onChange` when an answer or a failure arrived.
 *  It asks only while the page is seen and `isIdle()`. */
export class Previews {
  #desk;
  #wanted = null;
  #answers = [];
  #timer = null;
  #askedAt = -Infinity;
  #failure = null;

  constructor(desk, { isIdle, onChange }) {
    this.#desk = desk;
    Object.assign(this, { isIdle, onChange });
    document.addEventListener("visibilitychange", () => !document.hidden && this.#plan(0));
  }

  /** Want previews of these orders, one for each side; null for none.
   *  Answers to another `key` are out of date, answers to another `scope` are forgotten. */
  want(wanted) {
    const before = this.#wanted;
    this.#wanted = wanted;
    if (!wanted || wanted.scope !== before?.scope) {
      this.#answers = [];
      this.#failure = null;
    }
    const asks = (each) => JSON.stringify(each?.orders);
    if (wanted && asks(wanted) !== asks(before)) this.#plan(SETTLED_MS);
  }

  /** What is known of a side: its `state` (loading, fresh, stale, refused, failed), `rate` or `problem`. */
  of(place) {
    const known = this.#answers[place];
    if (!known) return this.#failure ? { state: "failed", problem: this.#failure } : { state: "loading" };
    const isOld = known.key !== this.#wanted?.key || Date.now() - known.at > STALE_MS;
    return isOld ? { ...known, state: "stale" } : known;
  }

  #plan(after) {
    clearTimeout(this.#timer);
    const wait = Math.max(after, this.#askedAt + SPACING_MS - Date.now());
    this.#timer = setTimeout(() => this.#ask(), wait);
  }

  async #ask() {
    const wanted = this.#wanted;
    if (!wanted || document.hidden) return;
    if (!this.isIdle()) {
      this.#plan(SETTLED_MS);
      return;
    }
    this.#askedAt = Date.now();
    const asked = wanted.orders.map((order) => this.#desk.api.post("/orders/preview", order));
    const answers = await Promise.allSettled(asked);
    if (wanted.scope !== this.#wanted?.scope) return;
    const at = Date.now();
    answers.forEach((answer, place) => this.#take(place, answer, { key: wanted.key, at }));
    this.onChange();
    // Whoever changed something meanwhile has planned the next one.
    if (JSON.stringify(wanted.orders) === JSON.stringify(this.#wanted.orders)) this.#plan(AGAIN_MS);
  }

  #take(place, { status, value, reason }, heard) {
    if (status === "rejected" && reason.status !== 400) {
      this.#failure = reason;
      return;
    }
    this.#failure = null;
    const problem = status === "rejected" ? reason : value.refusals[0];
    this.#answers[place] = problem
      ? { ...heard, state: "refused", problem }
      : { ...heard, state: "fresh", rate: value.payout_rate };
  }
}
