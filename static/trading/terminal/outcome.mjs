// What an order brought, or would bring now, in one cell.

import { h, icon, say } from "./dom.mjs";
import { compare } from "./money.mjs";
import { result } from "./rules.mjs";
import * as words from "./strings.mjs";

const ICONS = {
  won: "won",
  ahead: "up",
  lost: "lost",
  behind: "down",
  refunded: "refund",
  level: "pause",
  waiting: "clock",
  settling: "clock",
  unknown: "clock",
  sold: "sold",
};
const STAKE_SHOWN = ["refunded", "level", "waiting", "settling", "unknown"];

/** Arrow or mark, amount and word together: the colour is never the only sign. */
export function fillOutcome(cell, order, lean, money) {
  if (cell.dataset.lean !== lean) {
    cell.dataset.lean = lean;
    cell.replaceChildren(h("span", { class: "outcome" }, icon(ICONS[lean]), h("b"), h("small")));
  }
  const [, amount, word] = cell.firstChild.children;
  const changed = result(order, lean);
  if (lean === "sold") cell.dataset.sign = compare(changed, "0");
  const isStake = STAKE_SHOWN.includes(lean);
  say(amount, isStake ? money(order, order.stake) : money(order, changed, { sign: true }));
  say(word, outcomeWord(order, lean, money));
}

function outcomeWord(order, lean, money) {
  if (lean === "refunded") return words.say.stakeBack(words.refundReason(order));
  if (lean === "sold") return words.say.soldFor(money(order, order.payout));
  return {
    won: "Won",
    lost: "Lost",
    ahead: "ahead",
    behind: "behind",
    level: "level",
    waiting: "waiting",
    settling: "settling",
    unknown: "open",
  }[lean];
}
