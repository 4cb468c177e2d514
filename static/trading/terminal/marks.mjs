// Where an open order lies on the chart: its entry, its barriers, its end, and what its flag says.

import { counter, parseInstant } from "./clock.mjs";
import { tickProgress } from "./contracts.mjs";
import { format } from "./money.mjs";
import { SIDES } from "./strings.mjs";

const SIGNS = { up: "↑", down: "↓" };
const LEVELS = ["barrier", "low", "high"];
const SHOWN = 60;
// In heights of the bars: what lies beyond would flatten them.
const FARTHEST = { agreed: 3, chosen: 30 };

/** A mark for OrderMarks, with `canvas.x(at)` and `canvas.y(price)`; null for an order that is not on this chart. */
export function markOf(order, canvas, { desk, instrument, currency, isNarrow }) {
  const { last } = instrument;
  const isCounted = Boolean(order.duration_ticks);
  const expiryX = canvas.x(isCounted ? desk.clock.now() : parseInstant(order.expires_at));
  if (order.symbol !== instrument.symbol || expiryX === null) return null;
  const levels = LEVELS.filter((name) => order[name]).map((name) => canvas.y(order[name]));
  const strikeY = order.entry ? canvas.y(order.entry.price) : null;
  const isStrike = order.contract === "rise_fall";
  return {
    side: order.side,
    standing: desk.standing(order),
    startX: canvas.x(parseInstant(order.accepted_at)),
    entryX: order.entry ? canvas.x(parseInstant(order.entry.at)) : null,
    expiryX,
    hasExpiry: !isCounted,
    strikeY,
    isStrike,
    levelYs: levels.filter((y) => y !== null),
    band: bandOf(order.contract, { strikeY, levels, priceY: canvas.y(last?.price) }),
    text: [
      SIGNS[order.side] ?? SIDES[order.side],
      isNarrow ? null : format(order.stake, currency),
      left(order, last, desk.clock.now()),
    ]
      .filter(Boolean)
      .join("  "),
  };
}

function left(order, last, now) {
  const progress = tickProgress(order, last);
  if (progress) return `${progress.done}/${progress.of}`;
  return order.duration_ticks ? null : counter(parseInstant(order.expires_at) - now);
}

// From what an order is measured by to the price, or between its two barriers.
function bandOf(contract, { strikeY, levels, priceY }) {
  if (contract === "rise_fall") return [strikeY, priceY];
  if (levels.length === 2) return levels;
  return contract === "higher_lower" && levels.length ? [levels[0], priceY] : [null, null];
}

/** The prices that should be in view: barriers of orders near the bars, and those being chosen, as
 *  {minValue, maxValue}; null for none. */
export function rangeOf(orders, chosen, bars) {
  const shown = bars.slice(-SHOWN);
  if (!shown.length) return null;
  const low = Math.min(...shown.map((bar) => bar.low));
  const high = Math.max(...shown.map((bar) => bar.high));
  const isWithin = (heights) => (price) => {
    const room = (high - low || high * 1e-4) * heights;
    return price > low - room && price < high + room;
  };
  const agreed = orders.flatMap((order) => LEVELS.map((name) => order[name])).filter(Boolean);
  const near = [
    ...agreed.map(Number).filter(isWithin(FARTHEST.agreed)),
    ...chosen.map(({ price }) => Number(price)).filter(isWithin(FARTHEST.chosen)),
  ];
  return near.length ? { minValue: Math.min(...near), maxValue: Math.max(...near) } : null;
}
