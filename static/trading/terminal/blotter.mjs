// Open orders with their countdown, closed ones with both prices, and the statement.

import { rows } from "./api.mjs";
import { toast } from "./chrome.mjs";
import { counter, parseInstant } from "./clock.mjs";
import { tickProgress } from "./contracts.mjs";
import { $, h, icon, reconcile, say } from "./dom.mjs";
import { format } from "./money.mjs";
import { fillOutcome } from "./outcome.mjs";
import { fillSale, makeSale } from "./salecell.mjs";
import { Sales } from "./sales.mjs";
import { closedOrders } from "./store.mjs";
import * as words from "./strings.mjs";

const PAGE = 30;

export class Blotter {
  #desk;
  #tab = "open";
  #pages = new Map();
  #seen = new Set();
  #sales;
  #watch;
  #money = (order, text, options) =>
    format(text, this.#desk.state.accounts[order.account]?.currency ?? "", options);

  constructor(desk, { onReceipt }) {
    this.#desk = desk;
    this.#sales = new Sales(desk, {
      seen: this.#seen,
      onChange: () => this.#drawOpen(),
      onRefused: tellRefusal,
    });
    this.#watch = new IntersectionObserver((changes) => this.#noteSeen(changes));
    const tabs = [...document.querySelectorAll("[role=tab]")];
    for (const tab of tabs) tab.addEventListener("click", () => this.open(tab.dataset.tab));
    tabs[0].parentElement.addEventListener("keydown", (event) => moveBetween(tabs, event));
    for (const [name, columns] of [
      ["open", OPEN],
      ["history", HISTORY],
      ["statement", STATEMENT],
    ]) {
      $(`panel-${name}`).append(...skeleton(name, columns, () => this.#more(name)));
    }
    $("history-rows").addEventListener("click", (event) => openReceipt(event, desk, onReceipt));
    desk.on("orders", () => this.draw());
    desk.on("accounts", () => this.draw());
    desk.on("price", () => this.#drawOpen());
    desk.on("second", () => this.#drawOpen());
    desk.on("healed", () => {
      this.#pages.clear();
      this.draw();
    });
  }

  /** Show a tab; its first page is read when it is first looked at. */
  open(name) {
    this.#tab = name;
    for (const tab of document.querySelectorAll("[role=tab]")) {
      const chosen = tab.dataset.tab === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      $(`panel-${tab.dataset.tab}`).hidden = !chosen;
    }
    this.draw();
  }

  draw() {
    this.#drawOpen();
    if (this.#tab === "history") {
      if (!this.#page("history").started) this.#more("history");
      this.#drawHistory();
    }
    if (this.#tab === "statement") this.#keepStatement();
  }

  #page(name) {
    const key = `${name}/${this.#desk.accountId}`;
    if (!this.#pages.has(key))
      this.#pages.set(key, { rows: [], next: null, started: false, loading: false, failed: null });
    return this.#pages.get(key);
  }

  // The newest lines are read again whenever the account has moved past them.
  #keepStatement() {
    const page = this.#page("statement");
    const version = this.#desk.account()?.version;
    if (page.loading || page.failed || page.version === version) return;
    Object.assign(page, { version, rows: [], next: null });
    this.#more("statement");
  }

  async #more(name) {
    const page = this.#page(name);
    if (page.loading || !this.#desk.accountId) return;
    Object.assign(page, { loading: true, started: true, failed: null });
    this.#drawPaged(name);
    try {
      const account = this.#desk.accountId;
      const answer = await (name === "history"
        ? this.#desk.api.get("/orders", { account, status: "closed", limit: PAGE, cursor: page.next })
        : this.#desk.api.get(`/accounts/${account}/statement`, { limit: PAGE, cursor: page.next }));
      page.next = answer.next ?? null;
      if (name === "history") rows(answer).forEach((order) => this.#desk.dispatch({ type: "order", order }));
      else page.rows.push(...rows(answer));
    } catch (problem) {
      page.failed = problem;
    }
    page.loading = false;
    this.#drawPaged(name);
  }

  #drawPaged(name) {
    if (name === "history") this.#drawHistory();
    else this.#drawStatement();
  }

  #drawOpen() {
    const orders = this.#desk.openOrders();
    say($("open-count"), String(orders.length));
    $("open-count").toggleAttribute("data-some", orders.length > 0);
    reconcile(
      $("open-rows"),
      orders,
      ({ id }) => id,
      () => this.#makeOpen(),
      (tr, order) => this.#fillOpen(tr, order),
    );
    const isSellable = orders.some((order) => this.#sales.of(order).state !== "never");
    $("panel-open").toggleAttribute("data-sells", isSellable);
    note("open", orders.length ? null : [words.say.noOpen, words.say.noOpenHint]);
    this.#drawStrip(orders);
  }

  #makeOpen() {
    const tr = row(OPEN);
    makeSale(tr.lastChild, {
      onSell: () => this.#sales.sell(this.#desk.state.orders[tr.dataset.key]),
      onAimed: (isAimed) => this.#sales.aim(isAimed ? tr.dataset.key : null),
    });
    this.#watch.observe(tr);
    return tr;
  }

  // Prices are asked for what is on the screen: not behind a tab, in a closed sheet or scrolled away.
  #noteSeen(changes) {
    for (const { target, isIntersecting } of changes) {
      if (isIntersecting) this.#seen.add(target.dataset.key);
      else this.#seen.delete(target.dataset.key);
      if (!target.isConnected) this.#watch.unobserve(target);
    }
  }

  #fillOpen(tr, order) {
    const desk = this.#desk;
    const instrument = desk.instruments.get(order.symbol);
    const lean = desk.standing(order);
    tr.dataset.standing = lean;
    fillSide(tr.children[0], order);
    say(tr.children[1], this.#money(order, order.stake));
    fillPrice(tr.children[2], order.entry, words.say.waitingEntry);
    say(tr.children[3], instrument?.last?.price ?? "—");
    const ends = tr.children[4];
    if (!ends.firstChild) ends.append(h("span", { class: "ends" }), h("span", { class: "bar" }, h("i")));
    const { text, share } = this.#left(order);
    say(ends.firstChild, text);
    ends.title = words.utc(order.expires_at);
    ends.lastChild.firstChild.style.transform = `scaleX(${Math.max(0, Math.min(1, share))})`;
    fillOutcome(tr.children[5], order, lean, this.#money);
    fillSale(tr.children[6], order, this.#sales.of(order), this.#money);
  }

  /** How much of an order is left, in words and as a share: of its ticks, or of its time. */
  #left(order) {
    const progress = tickProgress(order, this.#desk.instruments.get(order.symbol)?.last);
    if (progress) {
      const { done, of } = progress;
      return { text: done < of ? words.say.progress(progress) : words.say.settling, share: 1 - done / of };
    }
    if (order.duration_ticks) return { text: words.ticks(order.duration_ticks), share: 1 };
    const left = parseInstant(order.expires_at) - this.#desk.clock.now();
    const whole = parseInstant(order.expires_at) - parseInstant(order.accepted_at);
    return { text: left > 0 ? counter(left) : words.say.settling, share: left / whole };
  }

  #drawStrip(orders) {
    const strip = $("strip");
    const first = orders[0];
    const key = first ? "some" : "none";
    if (strip.dataset.key !== key) {
      strip.dataset.key = key;
      strip.replaceChildren(
        h("span"),
        h("span", { class: "strip-result" }),
        h("span", { class: "strip-time" }),
        icon("chevron"),
      );
    }
    const [count, outcome, time] = strip.children;
    say(count, first ? words.say.stripOpen(orders.length) : words.say.stripNone);
    if (!first) return;
    fillOutcome(outcome, first, this.#desk.standing(first), this.#money);
    say(time, this.#left(first).text);
  }

  #drawHistory() {
    const orders = closedOrders(this.#desk.state, this.#desk.accountId);
    reconcile(
      $("history-rows"),
      orders,
      ({ id }) => id,
      () => row(HISTORY),
      (tr, order) => {
        if (tr.dataset.done === order.status) return;
        tr.dataset.done = order.status;
        fillSide(tr.children[0], order);
        say(tr.children[1], this.#money(order, order.stake));
        fillPrice(tr.children[2], order.entry, "—");
        fillPrice(tr.children[3], order.exit, "—");
        fillTime(tr.children[4], order.closed_at, this.#desk.clock.now());
        fillOutcome(tr.children[5], order, order.status, this.#money);
        fillReceipt(tr.children[6], order);
      },
    );
    this.#paging("history", orders.length, [words.say.noHistory, words.say.noHistoryHint]);
  }

  #drawStatement() {
    const page = this.#page("statement");
    const account = this.#desk.account();
    reconcile(
      $("statement-rows"),
      page.rows,
      ({ id }) => id,
      () => row(STATEMENT),
      (tr, line) => {
        say(tr.children[0], words.STATEMENT_CODES[line.code] ?? words.plain(line.code));
        fillTime(tr.children[1], line.at, this.#desk.clock.now());
        say(tr.children[2], format(line.amount, account.currency, { sign: true }));
        say(tr.children[3], format(line.balance, account.currency));
      },
    );
    this.#paging("statement", page.rows.length, [words.say.noStatement, words.say.noStatementHint]);
  }

  #paging(name, count, empty) {
    const page = this.#page(name);
    const more = $(`${name}-more`);
    more.hidden = !page.next && !page.failed;
    more.disabled = page.loading;
    say(more, page.failed ? words.say.retry : words.say.loadMore);
    $(`panel-${name}`).toggleAttribute("data-loading", page.loading && !count);
    const failed = page.failed ? [words.say.offline, page.failed.title] : null;
    note(name, page.failed && !count ? failed : count || page.loading || !page.started ? null : empty);
  }
}

function tellRefusal(order, problem) {
  const told = problem.isPassing
    ? { title: words.say.saleStillUnsure, text: words.say.saleStillUnsureText }
    : { title: problem.title || words.say.offline, text: problem.detail };
  toast({ tone: "plain", mark: "warning", ...told });
}

const c = words.say.headers;
const OPEN = [
  ["order", c.order],
  ["stake", c.stake],
  ["entry", c.entry],
  ["now", c.now],
  ["ends", c.ends],
  ["result", c.result],
  ["sale", c.sale],
];
const HISTORY = [
  ["order", c.order],
  ["stake", c.stake],
  ["entry", c.entry],
  ["exit", c.exit],
  ["time", c.time],
  ["result", c.result],
  ["receipt", c.receipt],
];
const STATEMENT = [
  ["what", c.what],
  ["time", c.when],
  ["amount", c.amount],
  ["balance", c.balance],
];

function skeleton(name, columns, more) {
  const head = h(
    "tr",
    {},
    columns.map(([key, label]) => h("th", { scope: "col", class: `c-${key}` }, label)),
  );
  return [
    h("table", { class: `rows rows-${name}` }, h("thead", {}, head), h("tbody", { id: `${name}-rows` })),
    h("div", { class: "empty", id: `${name}-note`, hidden: true }),
    h(
      "button",
      { type: "button", class: "button small more", id: `${name}-more`, hidden: true, onclick: more },
      words.say.loadMore,
    ),
  ];
}

function row(columns) {
  return h(
    "tr",
    {},
    columns.map(([key]) => h("td", { class: `c-${key}` })),
  );
}

function note(name, lines) {
  const box = $(`${name}-note`);
  box.hidden = !lines;
  box.previousElementSibling.hidden = Boolean(lines);
  if (lines) box.replaceChildren(h("strong", {}, lines[0]), h("span", {}, lines[1]));
}

function fillSide(cell, order) {
  if (!cell.firstChild) {
    const mark = h("span", { class: `side-mark ${order.side}` }, icon(order.side));
    cell.append(h("span", { class: "order-name" }, mark, h("b", {}, order.symbol), h("small")));
  }
  // The barriers of a delayed entry become known with it.
  say(cell.firstChild.lastChild, words.orderWords(order));
}

function fillPrice(cell, tick, otherwise) {
  say(cell, tick?.price ?? otherwise);
  if (tick) cell.title = `${words.utc(tick.at)}, tick ${tick.seq}`;
}

function fillTime(cell, iso, now) {
  say(cell, words.moment(parseInstant(iso), now));
  cell.title = words.utc(iso);
}

function fillReceipt(cell, order) {
  const address = `/api/v1/orders/${order.id}/receipt`;
  const label = words.say.receiptOf(order);
  cell.replaceChildren(
    h(
      "a",
      { class: "receipt", href: address, "aria-haspopup": "dialog", "aria-label": label },
      words.say.receipt,
    ),
  );
}

// The whole row opens it; the link is for the keyboard, and with a modifier still leads to the file.
function openReceipt(event, desk, onReceipt) {
  const tr = event.target.closest("tr");
  const isModified = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey;
  const link = tr?.querySelector(".receipt");
  const isCopying = event.target !== link && !getSelection().isCollapsed;
  if (!link || isModified || isCopying) return;
  event.preventDefault();
  link.focus();
  onReceipt(desk.state.orders[tr.dataset.key]);
}

function moveBetween(tabs, event) {
  const direction = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!direction) return;
  const next = tabs[(tabs.indexOf(document.activeElement) + direction + tabs.length) % tabs.length];
  next.focus();
  next.click();
}
