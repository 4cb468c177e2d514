// What contracts are to the page: who is right at a price, how far an order has come, where barriers lie. The server
// decides. Barriers on their way to an order are distances from the entry, in units of the instrument's last decimal.

import { parseInstant } from "./clock.mjs";
import { compare, fromMinor, toMinor } from "./money.mjs";

const PATH = ["touch", "stays_between"];
const TICKS_FOR_A_MOVE = 12;
const QUIET_MOVE = 2e-5;
// Of one standard deviation over the order's length: where both sides are worth buying.
const USUAL = {
  higher_lower: { barrier: 0.5 },
  touch: { barrier: 1 },
  ends_between: { low: -0.7, high: 0.7 },
  stays_between: { low: -1.2, high: 1.2 },
};
const PRICE_TOLERANCE = [98n, 100n];
const RATE_SCALE = 4;

/** The offer of a contract on an instrument; another where that is not offered, null where nothing is. */
export function offerOf(instrument, contract) {
  const offers = instrument?.offers ?? [];
  const called = (name) => offers.find((offer) => offer.contract === name);
  return called(contract) ?? called("rise_fall") ?? offers[0] ?? null;
}

/** Whether its rate follows from probability, so that it must be asked for. */
export function isPriced(offer) {
  return Boolean(offer) && offer.payout_rate === null;
}

/** Names of the barriers a contract takes. */
export function levelNames(offer) {
  return (offer?.takes ?? []).filter((name) => name !== "digit");
}

/** The lowest rate to accept after one was shown: 2% of itself less, rounded down to four decimals. */
export function leastRate(rate) {
  const [kept, whole] = PRICE_TOLERANCE;
  return fromMinor((toMinor(rate, RATE_SCALE) * kept) / whole, RATE_SCALE);
}

/** How many ticks of an order counted in ticks have come: {done, of}; null while that is not known. */
export function tickProgress(order, last) {
  if (!order.duration_ticks || !order.entry || !last) return null;
  const done = Math.min(order.duration_ticks, Math.max(0, last.seq - order.entry.seq));
  return { done, of: order.duration_ticks };
}

/** Whether a tick is later than the order's end, so that it says nothing of it. */
export function isPast(order, last) {
  if (order.duration_ticks) return last.seq > order.entry.seq + order.duration_ticks;
  return parseInstant(last.at) > parseInstant(order.expires_at);
}

/** Whether a tick decides an open order that watches the path. */
export function reaches(order, last) {
  if (!PATH.includes(order.contract) || !order.entry || !last) return false;
  if (last.seq <= order.entry.seq || isPast(order, last)) return false;
  if (order.contract === "stays_between")
    return compare(last.price, order.low) <= 0 || compare(last.price, order.high) >= 0;
  const direction = compare(order.barrier, order.entry.price);
  return direction === 0 || compare(last.price, order.barrier) * direction >= 0;
}

/** The side that is right if the order ended at this price; null for neither, undefined where no price can tell. */
export function rightSide(order, price, hasReached) {
  const digit = Number(price.at(-1));
  switch (order.contract ?? "rise_fall") {
    case "rise_fall":
      return either(compare(price, order.entry.price), "up", "down");
    case "higher_lower":
      return either(compare(price, order.barrier), "up", "down");
    case "touch":
      return hasReached ? "touch" : "no_touch";
    case "ends_between": {
      const [low, high] = [compare(price, order.low), compare(price, order.high)];
      return low === 0 || high === 0 ? null : low > 0 && high < 0 ? "in" : "out";
    }
    case "stays_between":
      return hasReached ? "out" : "in";
    case "digit_match":
      return digit === order.digit ? "matches" : "differs";
    case "digit_over":
      return either(digit - order.digit, "over", "under");
    case "digit_even":
      return digit % 2 ? "odd" : "even";
    default:
      return undefined; // an average needs every tick, and the page does not hear every tick
  }
}

function either(comparison, first, second) {
  return comparison === 0 ? null : comparison > 0 ? first : second;
}

/** A distance as it is sent: always with its sign. */
export function signed(units, decimals) {
  return (units < 0 ? "-" : "+") + fromMinor(BigInt(Math.abs(units)), decimals);
}

/** The price at a distance from another. */
export function priceAt(price, units, decimals) {
  return fromMinor(toMinor(price, decimals) + BigInt(units), decimals);
}

/** Units of a distance as people type it; null when it is none of these decimals. */
export function readDistance(text, decimals) {
  const plain = text.trim().replace(/^[\u2212-]/, "-").replace(/^\+/, "").replace(",", ".");
  try {
    const units = Number(toMinor(plain, decimals));
    return Number.isSafeInteger(units) ? units : null;
  } catch {
    return null;
  }
}

/** How a price moves: {deviation: price per √second, tickSeconds}, from its latest ticks, oldest first; null when
 *  these are too few to tell. */
export function moveOf(ticks) {
  const seconds = (parseInstant(ticks.at(-1)?.at) - parseInstant(ticks[0]?.at)) / 1000;
  if (ticks.length < TICKS_FOR_A_MOVE || !(seconds > 0)) return null;
  const squares = ticks.slice(1).map((tick, index) => (Number(tick.price) - Number(ticks[index].price)) ** 2);
  const deviation = Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / seconds);
  return deviation ? { deviation, tickSeconds: seconds / squares.length } : null;
}

/** How a price moves that is not known to move: by little. */
export function quietMove(price) {
  return { deviation: Number(price) * QUIET_MOVE, tickSeconds: 1 };
}

/** Where the barriers of a contract stand at first: {name: units}, by how far the price goes in so many seconds. */
export function usualLevels(contract, move, seconds, decimals) {
  const far = Math.max(move.deviation * Math.sqrt(Math.max(1, seconds)) * 10 ** decimals, 1);
  const place = (share) => Math.sign(share) * Math.max(1, rounded(Math.abs(share) * far));
  const usual = Object.entries(USUAL[contract] ?? {});
  return Object.fromEntries(usual.map(([name, share]) => [name, place(share)]));
}

/** What one press moves a barrier by, in units: a tenth of the usual move, as 1, 2 or 5 of something. */
export function levelStep(move, seconds, decimals) {
  const tenth = (move.deviation * Math.sqrt(Math.max(1, seconds)) * 10 ** decimals) / 10;
  const size = 10 ** Math.floor(Math.log10(Math.max(1, tenth)));
  return Math.max(1, [5, 2, 1].find((n) => n * size <= tenth) * size || 1);
}

function rounded(units) {
  const size = 10 ** Math.max(0, Math.floor(Math.log10(units)) - 1);
  return Math.round(units / size) * size;
}

/** The barriers after one was moved: a touch never at the entry itself, low always below high. */
export function moved(contract, levels, name, units) {
  if (name === "low") return { ...levels, low: Math.min(units, levels.high - 1) };
  if (name === "high") return { ...levels, high: Math.max(units, levels.low + 1) };
  if (contract === "touch" && units === 0) return { barrier: levels.barrier > 0 ? -1 : 1 };
  return { barrier: units };
}
