// What is known of the customer's money and orders: a snapshot, then facts. The higher version wins, always.

import { parseInstant } from "./clock.mjs";

/** The state before anything was heard. */
export const EMPTY = { accounts: {}, orders: {}, gap: false, lost: [] };

/** The state after one message (snapshot, fact, or an order from REST). Pure; repeats and old news change nothing.
 *  `gap`: a version was skipped, so a snapshot must be fetched.
 *  `lost`: ids of orders a snapshot no longer calls open, to be read one by one. */
export function reduce(state, message) {
  switch (message.type) {
    case "snapshot":
      return takeSnapshot(state, message);
    case "account.changed":
      return takeBalance(state, message);
    case "order":
    case "order.opened":
    case "order.entered":
    case "order.won":
    case "order.lost":
    case "order.refunded":
    case "order.sold":
      return takeOrder(state, message.order);
    default:
      return state;
  }
}

function takeSnapshot(state, { accounts, open_orders: openOrders }) {
  // What it does not name is another customer's, who was signed in before: it is not kept.
  const known = Object.fromEntries(
    accounts.map((account) => {
      const before = state.accounts[account.id];
      return [account.id, before?.version > account.version ? before : account];
    }),
  );
  const own = Object.values(state.orders).filter((order) => order.account in known);
  const open = new Set(openOrders.map((order) => order.id));
  const lost = own.filter((order) => order.status === "open" && !open.has(order.id)).map((order) => order.id);
  const orders = Object.fromEntries(own.map((order) => [order.id, order]));
  const next = { ...state, accounts: known, orders, gap: false, lost };
  return openOrders.reduce(takeOrder, next);
}

function takeBalance(state, message) {
  const id = message.account?.id ?? message.account;
  const known = state.accounts[id];
  if (message.version <= known?.version) return state;
  const { book, kind, currency, balance, version } = message;
  const news = kind ? { id, book, kind, currency, balance, version } : { balance, version };
  const accounts = known || kind ? { ...state.accounts, [id]: { ...known, ...news } } : state.accounts;
  return { ...state, accounts, gap: state.gap || !known || message.from_version > known.version };
}

function takeOrder(state, order) {
  const known = state.orders[order.id];
  if (known && stage(known) > stage(order)) return state;
  return {
    ...state,
    orders: { ...state.orders, [order.id]: order },
    lost: state.lost.filter((id) => id !== order.id),
  };
}

// An order only ever moves forward, so its stage stands in for a version.
function stage(order) {
  if (order.status !== "open") return 2;
  return order.entry ? 1 : 0;
}

/** Open orders of an account, the one that ends first on top. */
export function openOrders(state, accountId) {
  return Object.values(state.orders)
    .filter((order) => order.status === "open" && order.account === accountId)
    .sort((a, b) => parseInstant(a.expires_at) - parseInstant(b.expires_at) || (a.id < b.id ? -1 : 1));
}

/** Closed orders of an account, the latest on top. */
export function closedOrders(state, accountId) {
  return Object.values(state.orders)
    .filter((order) => order.status !== "open" && order.account === accountId)
    .sort((a, b) => parseInstant(b.closed_at) - parseInstant(a.closed_at) || (a.id < b.id ? 1 : -1));
}
