// What the ticket and the lists may say: pure functions of what the server told us. The server decides.

import { fromMinor, profitMinor, scaleOf, toMinor } from "./money.mjs";
import { parseInstant } from "./clock.mjs";
import { isPast, reaches, rightSide } from "./contracts.mjs";

const DURATIONS = [
  5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 600, 900, 1800, 2700, 3600, 7200, 14400, 28800, 86400,
];
const DURATION_PRESETS = [5, 15, 30, 60, 300, 900];
const TICK_PRESETS = [1, 3, 5, 7, 10, 15, 20];
const STAKE_PRESETS = [1, 5, 10, 25, 50, 100, 250, 500, 1000];
const CLOCK_CHOICES = 6;
const QUOTE_AGE_MS = 5000;
const SELLABLE = ["rise_fall", "higher_lower", "ends_between"];
// Near its strike the value of a one-minute order moves by 7% of itself in half a second: 0.8 / √60 per √s.
const SALE_TOLERANCE = [90n, 100n];

/** Durations a stepper walks through, in seconds, with the instrument's own limits as its ends. */
export function durationLadder({ min_duration_seconds: min, max_duration_seconds: max }) {
  const inside = DURATIONS.filter((seconds) => seconds >= min && seconds <= max);
  return [...new Set([min, ...inside, max])].sort((a, b) => a - b);
}

/** The six durations offered as buttons, within the instrument's limits. */
export function durationPresets(instrument) {
  const ladder = durationLadder(instrument);
  const usual = DURATION_PRESETS.filter((seconds) => ladder.includes(seconds));
  return usual.length >= 3 ? usual : ladder.slice(0, 6);
}

/** The counts of ticks offered as buttons, within the instrument's limits. */
export function tickPresets({ min_duration_ticks: min, max_duration_ticks: max }) {
  const inside = TICK_PRESETS.filter((ticks) => ticks >= min && ticks <= max);
  return inside.length >= 3 ? inside.slice(-6) : [...new Set([min, ...inside, max])];
}

/** The next value of an ascending ladder in a direction (+1, −1); stays at its ends. */
export function step(ladder, value, direction) {
  const further = direction > 0 ? ladder.filter((v) => v > value) : ladder.filter((v) => v < value).reverse();
  return further[0] ?? (direction > 0 ? ladder.at(-1) : ladder[0]);
}

/** Round instants to expire at, soonest first: {expiresAt, deadline} in ms, with the deadline still ahead. */
export function clockChoices(instrument, now) {
  const lead = Math.max(instrument.cutoff_seconds ?? 0, instrument.min_duration_seconds) * 1000;
  const choices = [];
  for (const minutes of [1, 5, 15, 60]) {
    const size = minutes * 60_000;
    let at = Math.floor(now / size) * size + size;
    for (let taken = 0; taken < 3 && choices.length < CLOCK_CHOICES * 2; at += size) {
      if (at - now > instrument.max_duration_seconds * 1000) break;
      if (at - lead <= now) continue;
      taken += 1;
      if (!choices.some(({ expiresAt }) => expiresAt === at))
        choices.push({ expiresAt: at, deadline: at - lead });
    }
  }
  return choices.sort((a, b) => a.expiresAt - b.expiresAt).slice(0, CLOCK_CHOICES);
}

/** The stakes offered as buttons, as decimal strings in the account's scale. */
export function stakePresets(instrument, scale) {
  const [min, max] = stakeLimits(instrument, scale);
  const one = 10n ** BigInt(scale);
  const inside = STAKE_PRESETS.map((n) => BigInt(n) * one).filter((minor) => minor >= min && minor <= max);
  return inside.slice(0, 6).map((minor) => fromMinor(minor, scale));
}

/** The stake one press of − or + away, a round number of a size that suits it. */
export function stakeStep(instrument, stake, scale, direction) {
  const [min, max] = stakeLimits(instrument, scale);
  const one = 10n ** BigInt(scale);
  const value = readStake(stake, scale) ?? min;
  const reference = direction > 0 ? value : value - 1n;
  const sizes = [
    [10n, 1n],
    [50n, 5n],
    [200n, 10n],
    [1000n, 50n],
  ];
  const size = (sizes.find(([below]) => reference < below * one) ?? [0n, 100n])[1] * one;
  const next = direction > 0 ? (value / size) * size + size : ((value + size - 1n) / size) * size - size;
  return fromMinor(next < min ? min : next > max ? max : next, scale);
}

function stakeLimits(instrument, scale) {
  return [toMinor(instrument.min_stake, scale), toMinor(instrument.max_stake, scale)];
}

/** Minor units of what was typed, or null when it is no amount of this scale. */
export function readStake(text, scale) {
  try {
    return toMinor(String(text).replace(",", "."), scale);
  } catch {
    return null;
  }
}

/** What an order would bring: {profit, payout} as decimal strings, or null without a readable stake. */
export function prospect(stake, rate, scale) {
  const minor = readStake(stake, scale);
  if (minor === null || minor <= 0n || !rate) return null;
  const profit = profitMinor(minor, rate);
  return { profit: fromMinor(profit, scale), payout: fromMinor(minor + profit, scale) };
}

/** Age in seconds after which a price is called stale here; the server has the last word. */
export function maxAge(instrument) {
  return (instrument.max_quote_age_ms ?? QUOTE_AGE_MS) / 1000;
}

/** What holds new orders of a contract back on an account: a curb of the instrument in force, or undefined. */
export function curbOn(instrument, account, contract, now) {
  const holds = (effect) => (effect === "event" ? contract !== "rise_fall" : effect !== "stop_sales");
  return curbsOver(instrument, contract, now).find(
    ({ effect, book }) => holds(effect) && (!book || book === account.book),
  );
}

function curbsOver(instrument, contract, now) {
  return (instrument.curbs ?? []).filter(
    ({ contract: named, starts_at, ends_at }) =>
      (!named || named === contract) && !(parseInstant(starts_at) > now) && !(parseInstant(ends_at) <= now),
  );
}

/** Why buying is impossible now: null, or {code, …numbers} for the words. */
export function obstacle({ instrument, account, contract = "rise_fall", stake, now }) {
  if (!instrument) return { code: "loading" };
  if (!account) return { code: "no_account" };
  if (!instrument.is_open && instrument.is_suspended) return { code: "suspended" };
  if (!instrument.is_open) return { code: "closed", opensAt: parseInstant(instrument.opens_at) };
  const curb = curbOn(instrument, account, contract, now);
  if (curb) return { code: curb.effect === "event" ? "event" : "held", until: parseInstant(curb.ends_at) };
  if (!instrument.last) return { code: "no_price" };
  const age = (now - parseInstant(instrument.last.at)) / 1000;
  if (age > maxAge(instrument)) return { code: "stale", age, limit: maxAge(instrument) };
  if (!instrument.payout_rate) return { code: "no_payout" };
  const scale = scaleOf(account.balance);
  const minor = readStake(stake, scale);
  if (minor === null) return { code: "stake_unreadable", scale };
  const [min, max] = stakeLimits(instrument, scale);
  if (minor < min) return { code: "stake_low", limit: instrument.min_stake };
  if (minor > max) return { code: "stake_high", limit: instrument.max_stake };
  if (minor > toMinor(account.balance, scale)) return { code: "funds", balance: account.balance };
  return null;
}

/** How an open order stands on its instrument now: "ahead", "behind", "level" (its stake would come back);
 *  "waiting" for its entry, "settling" after its end, "unknown" where the page cannot compute it.
 *  `hasReached`: an earlier tick reached a barrier that decides it. */
export function standing(order, instrument, hasReached = false) {
  const last = instrument?.last;
  if (!order.entry || !last) return "waiting";
  const isReached = hasReached || reaches(order, last);
  if (!isReached && isPast(order, last)) return "settling";
  const right = rightSide(order, last.price, isReached);
  if (right === undefined) return "unknown";
  const refunds = (order.contract ?? "rise_fall") === "rise_fall" && instrument.tie_policy !== "lose";
  if (right === null) return refunds ? "level" : "behind";
  return right === order.side ? "ahead" : "behind";
}

/** Why an open order cannot be sold now: null, or {state}: "never", "held" by a curb, "waiting" for its entry, "early" by so many
 *  milliseconds `left`, "late" when it is too near its end. */
export function saleObstacle(order, instrument, account, now) {
  const isSellable = SELLABLE.includes(order.contract) && !order.duration_ticks;
  if (!instrument?.offers_sale || !isSellable) return { state: "never" };
  const held = ({ effect, book }) => effect !== "stop_orders" && (!book || book === account?.book);
  if (curbsOver(instrument, order.contract, now).some(held)) return { state: "held" };
  if (!order.entry) return { state: "waiting" };
  const cutoff = instrument.sell_cutoff_seconds * 1000;
  const from = Math.max(parseInstant(order.entry.at), parseInstant(order.accepted_at)) + cutoff;
  const until = parseInstant(order.expires_at) - cutoff;
  if (Math.max(from, now) >= until) return { state: "late" };
  return now < from ? { state: "early", left: from - now } : null;
}

/** The lowest price to sell at after one was shown: 10% of it less, rounded down. */
export function leastPrice(price) {
  const [kept, whole] = SALE_TOLERANCE;
  const scale = scaleOf(price);
  return fromMinor((toMinor(price, scale) * kept) / whole, scale);
}

/** What an order changed for its owner: the profit, the stake lost, nothing for a refund; a decimal string. */
export function result(order, leaning = order.status) {
  const scale = scaleOf(order.stake);
  const stake = toMinor(order.stake, scale);
  if (leaning === "won" || leaning === "ahead") {
    const payout = order.payout
      ? toMinor(order.payout, scale)
      : stake + profitMinor(stake, order.payout_rate);
    return fromMinor(payout - stake, scale);
  }
  if (leaning === "sold") return fromMinor(toMinor(order.payout ?? order.stake, scale) - stake, scale);
  if (leaning === "lost" || leaning === "behind") return fromMinor(-stake, scale);
  return fromMinor(0n, scale);
}
