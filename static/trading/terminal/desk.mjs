// The desk: everything the page knows, where it comes from, and who is told when it changes.

import { newId, pause, rows } from "./api.mjs";
import { liveInterval } from "./candles.mjs";
import { parseInstant } from "./clock.mjs";
import { reaches } from "./contracts.mjs";
import { memory } from "./dom.mjs";
import { Link, socketUrl } from "./link.mjs";
import { standing } from "./rules.mjs";
import { EMPTY, openOrders, reduce } from "./store.mjs";

const POLL_MS = 2000;
const QUIET_MS = 3000;
const RESEND_AFTER_MS = [400, 1200, 3000];
const LONGEST_WAIT_MS = 5000;
const QUOTES_AT_ONCE = 40;
const KIND_ORDER = ["demo", "real", "tournament"];

/** Holds state and connections; views listen by topic: instruments, price, subject, orders, accounts, link, settled, draft. */
export class Desk extends EventTarget {
  state = EMPTY;
  instruments = new Map();
  symbol = null;
  accountId = null;
  interval = Number(memory.get("interval", "5"));
  linkState = "connecting";
  latency = null;
  #reached = new Set();
  #corrected = new Map();
  #topics = new Set();
  #flushing = false;
  #refreshing = null;

  constructor({ api, clock, socket }) {
    super();
    Object.assign(this, { api, clock });
    this.link = new Link(socketUrl(socket, location), {
      onState: (state) => this.#linkChanged(state),
      onMessage: (message) => this.hear(message),
      onLatency: (milliseconds, at) => {
        this.latency = milliseconds;
        const now = Date.now();
        clock.sample(parseInstant(at), now - milliseconds, now);
        this.changed("link");
      },
    });
  }

  on(topic, listener) {
    this.addEventListener(topic, ({ detail }) => listener(detail));
  }

  /** Tell the listeners of a topic, at the next frame; a hidden page gets no frames, so it is told at once. */
  changed(...topics) {
    topics.forEach((topic) => this.#topics.add(topic));
    if (this.#flushing) return;
    this.#flushing = true;
    const flush = () => {
      this.#flushing = false;
      const due = [...this.#topics];
      this.#topics.clear();
      due.forEach((topic) => this.dispatchEvent(new CustomEvent(topic)));
    };
    if (document.hidden) setTimeout(flush);
    else requestAnimationFrame(flush);
  }

  instrument = () => this.instruments.get(this.symbol) ?? null;
  account = () => this.state.accounts[this.accountId] ?? null;
  openOrders = () => openOrders(this.state, this.accountId);
  standing = (order) => standing(order, this.instruments.get(order.symbol), this.#reached.has(order.id));

  /** Read everything once and open the socket; raises Problem when the first reading fails. */
  async load() {
    await Promise.all([this.syncClock(), this.#readInstruments(), this.#readMoney()]);
    this.chooseAccount(this.#firstAccount());
    const wanted = memory.get("symbol");
    const first =
      [...this.instruments.values()].find((instrument) => instrument.is_open) ??
      [...this.instruments.values()][0];
    if (first) this.choose(this.instruments.has(wanted) ? wanted : first.symbol);
    this.link.open();
    setInterval(() => this.#poll(), POLL_MS);
  }

  // REST carries the page while the socket is away, or says nothing of a market that is open.
  async #poll() {
    const { is_open: isOpen, last } = this.instrument() ?? {};
    const isQuiet = isOpen && this.clock.now() - (last ? parseInstant(last.at) : 0) > QUIET_MS;
    if (document.hidden || this.linkState === "signed_out" || (this.link.isLive && !isQuiet)) return;
    await this.refresh();
    this.dispatchEvent(new CustomEvent("polled"));
  }

  async syncClock() {
    const sentAt = Date.now();
    const answer = await this.api.get("/time");
    this.clock.sample(parseInstant(answer.now), sentAt, Date.now());
  }

  /** Read the snapshot again; whoever asks while it is on its way gets the same one. */
  refresh() {
    this.#refreshing ??= Promise.all([this.#readInstruments(), this.#readMoney()])
      .catch((problem) => {
        if (problem.status === 401 || problem.status === 403) this.#linkChanged("signed_out");
      })
      .finally(() => {
        this.#refreshing = null;
      });
    return this.#refreshing;
  }

  choose(symbol) {
    this.symbol = symbol;
    memory.set("symbol", symbol);
    this.#subscribe();
    this.changed("subject", "price", "instruments");
  }

  chooseInterval(interval) {
    this.interval = interval;
    memory.set("interval", interval);
    this.#subscribe();
    this.changed("subject");
  }

  chooseAccount(id) {
    this.accountId = id ?? null;
    if (id) memory.set("account", id);
    this.changed("accounts", "orders");
  }

  /** Send an order; `onUnsure` is told of each lost answer. Raises Problem. */
  place = (order, onUnsure) => this.#command("/orders", order, onUnsure);

  /** Sell an open order back: `sale` is its client id and the least price; else as `place`. */
  sell = (id, sale, onUnsure) => this.#command(`/orders/${id}/sell`, sale, onUnsure);

  // Sent again with the same client id while its fate is unknown.
  async #command(path, body, onUnsure) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const order = await this.api.post(path, body);
        this.dispatch({ type: "order", order });
        if (!this.link.isLive) this.refresh();
        return order;
      } catch (problem) {
        if (!problem.isPassing) this.refresh(); // refused for what the page did not know yet
        if (!problem.isPassing || attempt >= RESEND_AFTER_MS.length) throw problem;
        onUnsure();
        await pause(Math.min(Math.max(problem.retryAfterMs ?? 0, RESEND_AFTER_MS[attempt]), LONGEST_WAIT_MS));
      }
    }
  }

  async refill(accountId) {
    await this.api.post(`/accounts/${accountId}/refill`, {}, { "Idempotency-Key": newId() });
    await this.#readMoney();
  }

  /** Take one message of the socket. */
  hear(message) {
    this.clock.heard(parseInstant(message.at));
    const [channel, symbol, interval] = String(message.channel ?? "").split(":");
    if (channel === "quotes") this.#takeQuote(symbol, message);
    else if (channel === "candles") this.#takeCandle(symbol, Number(interval), message);
    else if (channel === "instruments") this.#takeInstrument(message);
    else this.dispatch(message);
  }

  /** Apply a snapshot, a fact or an order; tells who settled. */
  dispatch(message) {
    if (message.type === "order.corrected") this.#tellCorrection(message);
    const before = this.state;
    this.state = reduce(before, message);
    if (this.state === before) return;
    if (this.state.accounts !== before.accounts) this.changed("accounts");
    if (this.state.orders !== before.orders) this.changed("orders");
    if (this.accountId && !this.account()) this.chooseAccount(this.#firstAccount());
    const order = message.order;
    if (
      order &&
      order.status !== "open" &&
      (before.orders[order.id]?.status === "open" || message.type !== "order")
    ) {
      if (before.orders[order.id]?.status !== order.status)
        this.dispatchEvent(new CustomEvent("settled", { detail: order }));
    }
    if (this.state.gap) this.refresh();
    if (this.state.lost.length && this.state.lost !== before.lost) this.#findLost(this.state.lost);
  }

  // A fact may come twice; it is told once.
  #tellCorrection(message) {
    if (message.version <= this.#corrected.get(message.account)) return;
    this.#corrected.set(message.account, message.version);
    this.dispatchEvent(new CustomEvent("corrected", { detail: message }));
  }

  async #findLost(ids) {
    for (const id of ids) {
      try {
        this.dispatch({ type: "order", order: await this.api.get(`/orders/${id}`) });
      } catch {
        // The next snapshot names it again.
      }
    }
  }

  async #readInstruments() {
    const listed = rows(await this.api.get("/instruments"));
    const gone = new Set(this.instruments.keys());
    for (const instrument of listed) {
      gone.delete(instrument.symbol);
      this.#keep(instrument.symbol, instrument);
    }
    gone.forEach((symbol) => this.instruments.delete(symbol));
    this.changed("instruments", "price");
  }

  async #readMoney() {
    const [accounts, orders] = await Promise.all([this.api.get("/accounts"), this.#readOpenOrders()]);
    this.dispatch({ type: "snapshot", accounts: rows(accounts), open_orders: orders });
  }

  async #readOpenOrders() {
    const orders = [];
    let cursor = null;
    do {
      const answer = await this.api.get("/orders", { status: "open", limit: 200, cursor });
      orders.push(...rows(answer));
      cursor = answer.next;
    } while (cursor);
    return orders;
  }

  #firstAccount() {
    const accounts = Object.values(this.state.accounts);
    const remembered = memory.get("account");
    const sorted = accounts.sort((a, b) => KIND_ORDER.indexOf(a.kind) - KIND_ORDER.indexOf(b.kind));
    return (accounts.find(({ id }) => String(id) === remembered) ?? sorted[0])?.id;
  }

  // The same object stays for a symbol, so that whoever holds it sees the latest; an older price never wins.
  #keep(symbol, news) {
    const known = this.instruments.get(symbol);
    if (!known) {
      this.instruments.set(symbol, { symbol, ...news });
      return;
    }
    const last = !known.last || (news.last && news.last.seq >= known.last.seq) ? news.last : known.last;
    Object.assign(known, news, { last: last ?? known.last });
    this.#noteReached(known);
  }

  // A price that comes back undoes nothing: a barrier once reached has decided.
  #noteReached({ symbol, last }) {
    for (const order of Object.values(this.state.orders))
      if (order.status === "open" && order.symbol === symbol && reaches(order, last))
        this.#reached.add(order.id);
  }

  #takeQuote(symbol, message) {
    const known = this.instruments.get(symbol);
    if (!known) return;
    const { is_open: isOpen, opens_at: opensAt } = message;
    const last =
      message.type === "snapshot"
        ? message.last
        : { at: message.tick_at ?? message.at, seq: message.seq, price: message.price };
    const news = { last };
    if (isOpen !== undefined) news.is_open = isOpen;
    if (opensAt !== undefined) news.opens_at = opensAt;
    this.#keep(symbol, news);
    this.changed("instruments");
    if (symbol === this.symbol) this.changed("price");
  }

  #takeCandle(symbol, interval, message) {
    const candle = message.type === "snapshot" ? (message.last ?? message.candle) : message;
    if (!candle?.start || symbol !== this.symbol || interval !== liveInterval(this.interval)) return;
    this.dispatchEvent(new CustomEvent("candle", { detail: { candle, from: interval } }));
  }

  #takeInstrument(message) {
    const listed = message.instruments ?? [message.instrument ?? message];
    for (const { symbol, payout_rate, is_open, opens_at, closes_at, last, offers, curbs } of listed) {
      if (!this.instruments.has(symbol)) continue;
      const news = Object.fromEntries(
        Object.entries({ payout_rate, is_open, opens_at, closes_at, last, offers, curbs }).filter(
          ([, value]) => value !== undefined,
        ),
      );
      this.#keep(symbol, news);
    }
    if (["instrument.changed", "offers.changed"].includes(message.type)) this.refresh();
    this.changed("instruments", "price");
  }

  #linkChanged(state) {
    const healed = state === "live" && this.linkState === "lost";
    this.linkState = state;
    if (state !== "live") this.latency = null;
    this.changed("link");
    if (healed) this.dispatchEvent(new CustomEvent("healed"));
  }

  #subscribe() {
    const symbols = [...this.instruments.keys()].slice(0, QUOTES_AT_ONCE);
    const quotes = new Set([...symbols, this.symbol].filter(Boolean).map((symbol) => `quotes:${symbol}`));
    const candles = this.symbol ? [`candles:${this.symbol}:${liveInterval(this.interval)}`] : [];
    this.link.want(["account", "instruments", ...quotes, ...candles]);
  }
}
