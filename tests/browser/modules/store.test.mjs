import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY, closedOrders, openOrders, reduce } from "../../../static/trading/terminal/store.mjs";

const account = (version, balance) => ({ id: "a", kind: "demo", currency: "USD", balance, version });
const open = (id, expires = "2026-01-31T12:01:00Z") => ({
  id,
  account: "a",
  status: "open",
  entry: null,
  expires_at: expires,
  closed_at: null,
});
const entered = (id) => ({ ...open(id), entry: { at: "2026-01-31T12:00:00Z", seq: 1, price: "1.1" } });
const won = (id, closed = "2026-01-31T12:01:01Z") => ({ ...entered(id), status: "won", closed_at: closed });
const snapshot = (version, balance, orders = []) => ({
  type: "snapshot",
  accounts: [account(version, balance)],
  open_orders: orders,
});
const changed = (version, from, balance) => ({
  type: "account.changed",
  account: "a",
  version,
  from_version: from,
  balance,
});
const play = (messages, state = EMPTY) => messages.reduce(reduce, state);

test("snapshot and facts give the same state in any order, however often", () => {
  const facts = [
    changed(2, 1, "90.00"),
    { type: "order.opened", order: open("x") },
    { type: "order.entered", order: entered("x") },
    { type: "order.won", order: won("x") },
    changed(3, 2, "108.50"),
  ];
  const expected = play([snapshot(1, "100.00"), ...facts]);
  assert.equal(expected.accounts.a.balance, "108.50");
  assert.deepEqual(play([snapshot(1, "100.00"), ...facts, ...facts]), expected);
  const shuffled = [facts[3], facts[0], facts[2], facts[4], facts[1], facts[3]];
  assert.deepEqual(play([snapshot(1, "100.00"), ...shuffled]), expected);
  const late = play([snapshot(1, "100.00"), ...facts, snapshot(2, "90.00", [open("x")])]);
  assert.equal(late.accounts.a.balance, "108.50");
  assert.equal(late.orders.x.status, "won");
});

test("a skipped version asks for a snapshot, a batch does not", () => {
  const start = play([snapshot(4, "100.00")]);
  assert.equal(reduce(start, changed(9, 4, "55.00")).gap, false);
  const gap = reduce(start, changed(9, 7, "55.00"));
  assert.equal(gap.gap, true);
  assert.equal(gap.accounts.a.balance, "55.00");
  assert.equal(reduce(gap, snapshot(9, "55.00")).gap, false);
  assert.equal(reduce(start, { ...changed(1, 0, "1.00"), account: "new" }).gap, true);
});

test("an account opened meanwhile is known from its first fact", () => {
  const fact = {
    type: "account.changed",
    account: "b",
    book: "REAL-USD",
    kind: "real",
    currency: "USD",
    balance: "0.00",
    version: 1,
    from_version: 0,
  };
  const state = reduce(play([snapshot(1, "1.00")]), fact);
  assert.deepEqual(state.accounts.b, {
    id: "b",
    book: "REAL-USD",
    kind: "real",
    currency: "USD",
    balance: "0.00",
    version: 1,
  });
  assert.equal(state.gap, true);
});

test("orders that vanished from a snapshot are asked for, until they are known", () => {
  const state = play([snapshot(1, "1.00", [open("x"), open("y")]), snapshot(2, "2.00", [open("y")])]);
  assert.deepEqual(state.lost, ["x"]);
  assert.deepEqual(reduce(state, { type: "order", order: won("x") }).lost, []);
});

test("a snapshot of another customer leaves nothing of the one before", () => {
  const before = play([snapshot(7, "1.00", [open("x")]), { type: "order", order: won("y") }]);
  const theirs = { ...account(1, "5.00"), id: "b" };
  const order = { ...open("z"), account: "b" };
  const state = reduce(before, { type: "snapshot", accounts: [theirs], open_orders: [order] });
  assert.deepEqual(state.accounts, { b: theirs });
  assert.deepEqual(state.orders, { z: order });
  assert.deepEqual(state.lost, []);
});

test("open orders by their end, closed ones by their close, of one account", () => {
  const state = play([
    snapshot(1, "1.00", [
      open("late", "2026-01-31T12:05:00Z"),
      open("soon"),
      { ...open("other"), account: "b" },
    ]),
    { type: "order", order: won("first", "2026-01-31T11:00:00Z") },
    { type: "order", order: won("second") },
  ]);
  assert.deepEqual(
    openOrders(state, "a").map(({ id }) => id),
    ["soon", "late"],
  );
  assert.deepEqual(
    closedOrders(state, "a").map(({ id }) => id),
    ["second", "first"],
  );
});
