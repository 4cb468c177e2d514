// What open orders would be bought back for, asked for the rows that are seen; and selling them, each once.

import { newId } from "./api.mjs";
import { leastPrice, saleObstacle } from "./rules.mjs";

const SPACING_MS = 500; // one order at a time, so two requests a second at most
const AGAIN_MS = 2000;
const STALE_MS = 6000;

/** Asks for the orders whose ids are in `seen` while the page is; `onChange` when something became known,
 *  `onRefused(order, problem)` when a sale did not come about, or nobody knows whether it did. */
export class Sales {
  #desk;
  #known = new Map();
  #selling = new Map();
  #resumeAt = 0;
  #aimedAt = null;

  constructor(desk, { seen, onChange, onRefused }) {
    this.#desk = desk;
    Object.assign(this, { seen, onChange, onRefused });
    setInterval(() => this.#turn(), SPACING_MS);
  }

  /** How the sale of an open order stands: its `state`, with the `price` or the `problem`.
   *  As in saleObstacle, or loading, fresh, stale, refused, failed; once it was asked for pending, repeating,
   *  unsure. */
  of(order) {
    const sale = this.#selling.get(order.id);
    if (sale) return { state: sale.state, price: sale.price };
    const obstacle = this.#obstacle(order);
    if (obstacle) return obstacle;
    const { at, price, problem, isFailing } = this.#known.get(order.id) ?? {};
    if (at === undefined) return { state: isFailing ? "failed" : "loading" };
    const isOld = Date.now() - at > STALE_MS;
    if (problem) return isOld ? { state: "loading" } : { state: "refused", problem };
    return { state: isOld ? "stale" : "fresh", price };
  }

  /** Ask for this order, or none, as often as the others leave room: somebody is about to sell it. */
  aim(id) {
    this.#aimedAt = id;
  }

  /** Sell at the price shown or little less, once: a press while one is on its way does nothing, and after a
   *  lost answer the same sale is asked for again. */
  async sell(order) {
    const { state, price } = this.of(order);
    if (state !== "fresh" && state !== "unsure") return;
    const asked = this.#selling.get(order.id)?.asked ?? { client_id: newId(), min_price: leastPrice(price) };
    const become = (next) => {
      this.#selling.set(order.id, { state: next, asked, price });
      this.onChange();
    };
    become("pending");
    try {
      await this.#desk.sell(order.id, asked, () => become("repeating"));
      this.#forget(order.id);
    } catch (problem) {
      if (problem.isPassing && this.#isOpen(order.id)) become("unsure");
      else this.#forget(order.id);
      if (!problem.isPassing || this.#isOpen(order.id)) this.onRefused(order, problem);
    }
    this.onChange();
  }

  #obstacle(order) {
    const { instruments, state, clock } = this.#desk;
    return saleObstacle(order, instruments.get(order.symbol), state.accounts[order.account], clock.now());
  }

  #isOpen(id) {
    return this.#desk.state.orders[id]?.status === "open";
  }

  #forget(id) {
    this.#selling.delete(id);
    this.#known.delete(id);
  }

  async #turn() {
    [...this.#known.keys(), ...this.#selling.keys()]
      .filter((id) => !this.#isOpen(id) && this.#selling.get(id)?.state !== "pending")
      .forEach((id) => this.#forget(id));
    if (document.hidden || this.#desk.linkState === "signed_out" || Date.now() < this.#resumeAt) return;
    const order = this.#next();
    if (!order) return;
    this.#note(order.id, { askedAt: Date.now(), isAsked: true });
    try {
      const { price } = await this.#desk.api.get(`/orders/${order.id}/sell`);
      this.#note(order.id, { isAsked: false, at: Date.now(), price, problem: null });
    } catch (problem) {
      this.#resumeAt = Date.now() + (problem.retryAfterMs ?? 0);
      const news = problem.status === 422 ? { at: Date.now(), problem } : { isFailing: true };
      this.#note(order.id, { isAsked: false, ...news });
    }
    this.onChange();
  }

  /** Of the orders seen, sellable and not asked about lately, the one that waited longest. */
  #next() {
    const due = ({ id }) => Date.now() - (id === this.#aimedAt ? 0 : AGAIN_MS);
    const askedAt = ({ id }) => this.#known.get(id)?.askedAt ?? -Infinity;
    const isDue = (order) =>
      this.seen.has(order.id) &&
      askedAt(order) <= due(order) &&
      !this.#known.get(order.id)?.isAsked &&
      !this.#selling.has(order.id) &&
      !this.#obstacle(order);
    return this.#desk
      .openOrders()
      .filter(isDue)
      .reduce((first, order) => (first && askedAt(first) <= askedAt(order) ? first : order), null);
  }

  #note(id, news) {
    this.#known.set(id, { ...this.#known.get(id), ...news });
  }
}
