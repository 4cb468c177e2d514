import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { Sales } from "../../../static/trading/terminal/sales.mjs";

const START = Date.UTC(2026, 0, 31, 12);
const iso = (seconds) => new Date(START + seconds * 1000).toISOString();

globalThis.document = { hidden: false };
let asked;
let answer;
let sent;
let sale;
let told;
let desk;
let seen;
let sales;

const order = (id, changes = {}) => ({
  id,
  status: "open",
  symbol: "VOL100",
  contract: "rise_fall",
  accepted_at: iso(-60),
  entry: { at: iso(-60), seq: 1, price: "100.00" },
  expires_at: iso(3600),
  ...changes,
});
const hold = (...orders) => {
  desk.state.orders = Object.fromEntries(orders.map((each) => [each.id, each]));
  orders.forEach(({ id }) => seen.add(id));
};
const problem = (status, more = {}) => {
  const isPassing = status === 0 || status >= 500;
  return Object.assign(new Error(), { status, isPassing, title: "No.", detail: "Not now.", ...more });
};
// Timers are ours, promises the engine's: let those that are due run.
const settle = async () => {
  for (let n = 0; n < 10; n += 1) await Promise.resolve();
};
const pass = async (milliseconds) => {
  for (let left = milliseconds; left > 0; left -= 50) {
    mock.timers.tick(Math.min(50, left));
    await settle();
  }
};
const state = (id) => sales.of(desk.state.orders[id]).state;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setInterval", "Date"], now: START });
  asked = [];
  sent = [];
  told = [];
  seen = new Set();
  document.hidden = false;
  answer = async () => ({ price: "9.85", currency: "USD" });
  sale = async () => ({});
  desk = {
    state: { orders: {}, accounts: {} },
    instruments: new Map([["VOL100", { offers_sale: true, sell_cutoff_seconds: 5 }]]),
    clock: { now: () => Date.now() },
    openOrders: () => Object.values(desk.state.orders).filter(({ status }) => status === "open"),
    api: {
      get: (path) => {
        asked.push([Date.now() - START, path]);
        return answer(path);
      },
    },
    sell: (id, body, onUnsure) => {
      sent.push([id, body]);
      return sale(onUnsure);
    },
  };
  sales = new Sales(desk, { seen, onChange() {}, onRefused: (...news) => told.push(news) });
});

test("a price is asked for at once, and again every two seconds", async () => {
  hold(order("a"));
  assert.equal(state("a"), "loading");
  await pass(500);
  assert.deepEqual(sales.of(desk.state.orders.a), { state: "fresh", price: "9.85" });
  await pass(6000);
  assert.deepEqual(asked, [500, 2500, 4500, 6500].map((at) => [at, "/orders/a/sell"]));
});

test("however many orders, two requests go out a second, and each has its turn", async () => {
  hold(...Array.from({ length: 12 }, (_, n) => order(`${n}`)));
  await pass(12_000);
  assert.equal(asked.length, 24);
  const turns = ({ id }) => asked.filter(([, path]) => path === `/orders/${id}/sell`).length;
  assert.deepEqual(desk.openOrders().map(turns), Array(12).fill(2));
});

test("an order somebody is about to sell is asked for more often, within the same budget", async () => {
  hold(order("a"), order("b"));
  await pass(1000);
  sales.aim("b");
  await pass(4000);
  const turns = asked.map(([, path]) => path.split("/")[2]).join("");
  assert.equal(turns, "abbbabbbab");
  sales.aim(null);
  await pass(4000);
  assert.equal(asked.length, 14);
});

test("nobody asks for what is not seen, cannot be sold, or on a hidden page", async () => {
  hold(
    order("touch", { contract: "touch" }),
    order("ticks", { duration_ticks: 5 }),
    order("waiting", { entry: null }),
    order("early", { accepted_at: iso(20) }),
    order("late", { expires_at: iso(5) }),
    order("away"),
  );
  seen.delete("away");
  await pass(3000);
  assert.deepEqual(asked, []);
  assert.deepEqual(["touch", "ticks", "waiting", "early", "late"].map(state), [
    "never",
    "never",
    "waiting",
    "early",
    "late",
  ]);
  seen.add("away");
  document.hidden = true;
  await pass(3000);
  assert.deepEqual(asked, []);
  document.hidden = false;
  desk.linkState = "signed_out";
  await pass(3000);
  assert.deepEqual(asked, []);
  desk.linkState = "live";
  await pass(500);
  assert.deepEqual(asked, [[9500, "/orders/away/sell"]]);
});

test("an order whose answer is out is not asked about again", async () => {
  answer = () => new Promise(() => {});
  hold(order("a"));
  await pass(9000);
  assert.equal(asked.length, 1);
  assert.equal(state("a"), "loading");
});

test("a refusal is told in words; a failure keeps the price until it is old", async () => {
  hold(order("a"));
  answer = async () => Promise.reject(problem(0));
  await pass(500);
  assert.equal(state("a"), "failed");
  answer = async () => Promise.reject(problem(422, { detail: "VOL100 is closed." }));
  await pass(2000);
  assert.equal(state("a"), "refused");
  assert.equal(sales.of(desk.state.orders.a).problem.detail, "VOL100 is closed.");
  answer = async () => ({ price: "9.85" });
  await pass(2000);
  assert.equal(state("a"), "fresh");
  answer = async () => Promise.reject(problem(503));
  await pass(6000);
  assert.equal(state("a"), "fresh");
  await pass(50);
  assert.deepEqual(sales.of(desk.state.orders.a), { state: "stale", price: "9.85" });
  await sales.sell(desk.state.orders.a);
  assert.deepEqual(sent, []);
});

test("whoever was told to wait waits", async () => {
  hold(order("a"), order("b"));
  answer = async () => Promise.reject(problem(429, { retryAfterMs: 5000 }));
  await pass(5450);
  assert.equal(asked.length, 1);
  await pass(50);
  assert.equal(asked.length, 2);
});

test("an order is sold once, at the price shown less a tenth", async () => {
  hold(order("a"));
  await pass(500);
  let done;
  sale = () => new Promise((resolve) => (done = resolve));
  const selling = sales.sell(desk.state.orders.a);
  sales.sell(desk.state.orders.a);
  assert.deepEqual(sales.of(desk.state.orders.a), { state: "pending", price: "9.85" });
  await pass(5000);
  assert.equal(asked.length, 1);
  desk.state.orders.a = { ...desk.state.orders.a, status: "sold" };
  done();
  await selling;
  assert.deepEqual(
    sent.map(([id, { min_price }]) => [id, min_price]),
    [["a", "8.86"]],
  );
  assert.deepEqual(told, []);
});

test("after a lost answer the same sale is asked for, whatever the price is now", async () => {
  hold(order("a"));
  await pass(500);
  sale = async (onUnsure) => {
    onUnsure();
    assert.equal(state("a"), "repeating");
    throw problem(0);
  };
  await sales.sell(desk.state.orders.a);
  assert.deepEqual(sales.of(desk.state.orders.a), { state: "unsure", price: "9.85" });
  assert.equal(told.length, 1);
  answer = async () => ({ price: "3.00" });
  await pass(4000);
  sale = async () => ({});
  await sales.sell(desk.state.orders.a);
  assert.equal(sent.length, 2);
  assert.deepEqual(sent[0], sent[1]);
});

test("a lost answer to a sale that was heard of otherwise says nothing", async () => {
  hold(order("a"));
  await pass(500);
  sale = async () => {
    desk.state.orders.a = { ...desk.state.orders.a, status: "sold" };
    throw problem(0);
  };
  await sales.sell(desk.state.orders.a);
  assert.deepEqual(told, []);
});

test("a refused sale is told, and the next one is another", async () => {
  hold(order("a"));
  await pass(500);
  const refused = problem(422, { code: "sale_price_changed", detail: "The order is worth 9.12 now." });
  sale = async () => Promise.reject(refused);
  await sales.sell(desk.state.orders.a);
  assert.deepEqual(told, [[desk.state.orders.a, refused]]);
  assert.equal(state("a"), "loading");
  answer = async () => ({ price: "9.12" });
  await pass(500);
  sale = async () => ({});
  await sales.sell(desk.state.orders.a);
  assert.notEqual(sent[0][1].client_id, sent[1][1].client_id);
  assert.deepEqual(sent.map(([, { min_price }]) => min_price), ["8.86", "8.20"]);
});
