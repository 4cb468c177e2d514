// The cell of an open order's early sale: a button with its price, or words why there is none.

import { counter } from "./clock.mjs";
import { h, say } from "./dom.mjs";
import { leastPrice } from "./rules.mjs";
import * as words from "./strings.mjs";

const LABELS = {
  loading: words.say.sell,
  fresh: words.say.sell,
  stale: words.say.sellOld,
  pending: words.say.selling,
  unsure: words.say.sellAgain,
};

/** Put button and words into an empty cell; `onAimed` is told when pointer or focus come to it and leave. */
export function makeSale(cell, { onSell, onAimed }) {
  const button = h("button", { type: "button", class: "sell", onclick: onSell }, h("span"), h("b"));
  cell.append(button, h("small"));
  for (const name of ["pointerenter", "focusin"]) cell.addEventListener(name, () => onAimed(true));
  for (const name of ["pointerleave", "focusout"]) cell.addEventListener(name, () => onAimed(false));
}

/** Draw how the sale of an order stands, in words of which the colour is never the only sign. */
export function fillSale(cell, order, sale, money) {
  const [button, text] = cell.children;
  const label = LABELS[sale.state];
  cell.dataset.sale = sale.state;
  button.hidden = !label;
  button.disabled = !["fresh", "unsure"].includes(sale.state);
  text.hidden = Boolean(label);
  say(text, label ? "" : why(sale));
  if (!label) return;
  const price = sale.price ? money(order, sale.price) : "…";
  say(button.firstChild, label);
  say(button.lastChild, price);
  button.setAttribute("aria-busy", String(sale.state === "pending"));
  const least = sale.price ? money(order, leastPrice(sale.price)) : "";
  button.setAttribute("aria-label", sale.state === "fresh" ? words.say.sellFor(order, price, least) : label);
  button.title = button.getAttribute("aria-label");
}

function why({ state, left, problem }) {
  const said = {
    waiting: words.say.sellWaiting,
    held: words.say.sellHeld,
    late: words.say.sellLate,
    failed: words.say.noSalePrice,
    repeating: words.say.saleUnsure,
  };
  if (state === "early") return words.say.sellEarly(counter(left));
  return state === "refused" ? problem.detail || problem.title : (said[state] ?? "");
}
