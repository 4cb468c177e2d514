// The words of a receipt, around those that are signed.

import { LEVELS, SIDES, distance, length, ticks, utc } from "./strings.mjs";

const IF_EQUAL = { refund: "the stake comes back", lose: "both sides lose" };

/** What is marked in the picture and in the table of ticks. */
export const NAMES = {
  accepted: "Accepted",
  entry: "Entry",
  exit: "Exit",
  sale: "Sale",
  expiry: "Expiry",
  voided: "Voided",
  average: "Average",
  gap: "Gap",
  ...LEVELS,
};

export const FACTS = {
  rule: "Rule applied",
  accepted: "Accepted",
  entryAfter: "Entry after",
  entry: "Entry",
  exit: "Exit",
  sale: "Sold at",
  digit: "Digit",
  expiry: "Expiry",
  closed: "Closed",
  way: "Every tick counts",
  salePrice: "Price of the sale",
  watermark: "Watermark",
  gap: "Gap in the record",
  market: "Market at its end",
  terms: "Terms",
  corrections: "Corrections",
  sealed: "Sealed day",
  signature: "Signature",
  order: "Order",
};

export const COLUMNS = {
  tick: "Tick",
  time: "Time, UTC",
  price: "Price",
  role: "Role",
  what: "What",
  from: "From",
  to: "To",
  amount: "Amount",
};

export const say = {
  stake: "Stake",
  payout: "Paid back",
  corrected: "After correction",
  ticks: "Ticks around entry and exit",
  transfers: "Transfers",
  download: "Download JSON",
  check: "Check it",
  none: "None",
  open: "Open",
  closed: "Closed",
  notSealed: "Soon after the end of the day",
  loading: "Reading the receipt",
  notReady: "The ticks around its end are being recorded. The receipt opens by itself.",
  failed: "The receipt could not be read.",
};

/** The picture in one sentence, for those who do not see it. */
export function picture({ terms, entry, exit }) {
  const [first, last] = [entry, exit].map((tick) => tick?.price ?? "none");
  return `${terms.symbol}: entry ${first}, exit ${last}. The table of ticks says the same.`;
}

export function caption({ winner, hasHole, hasGap }) {
  const sentences = [
    "Times are UTC.",
    winner && `Shaded: where ${SIDES[winner]} wins.`,
    hasHole && "Dashed: ticks the receipt leaves out.",
    hasGap && "Gap: no provable prices.",
  ];
  return sentences.filter(Boolean).join(" ");
}

/** What two operators put right after the end. */
export function correction({ at, payout, reason }, { currency }) {
  return `${payout} ${currency} in all: ${reason}\n${utc(at)}`;
}

/** A count of ticks in two lines, as it fits into a break. */
export function countLines(count) {
  return [count.toLocaleString("en"), count === 1 ? "tick" : "ticks"];
}

export function leftOut(count) {
  return `${countLines(count).join(" ")} between`;
}

export function tickLine({ price, seq, at }) {
  return `${price} · tick ${seq}\n${utc(at)}`;
}

export function tickTitle({ seq, text, time }) {
  return `Tick ${seq}: ${text} at ${utc(time)}`;
}

/** A barrier as a price, with what was agreed where that is a distance. */
export function level({ agreed, price }) {
  if (price === null || price === agreed) return distance(agreed);
  return `${price} (entry ${distance(agreed)})`;
}

export function expiry({ duration_ticks: counted, expires_at: at }) {
  return counted ? `${ticks(counted)} after the entry, at the latest ${utc(at)}` : utc(at);
}

export function way({ ticks: count, total, lowest, highest, is_whole: isWhole }) {
  const all = `${ticks(count)}, from ${lowest.price} to ${highest.price}, sum ${total}`;
  return isWhole ? all : `${all}; too many to be told one by one`;
}

// As many decimals as anybody reads; the file has them all.
export function sale({ probability, tie_probability: tie, margin }) {
  const [won, tied] = [probability, tie].map((fraction) => fraction.slice(0, 6));
  return `Fair probability ${won}, of a tie ${tied}, margin ${margin}`;
}

export function gap({ starts_at: from, ends_at: to, reason }) {
  return `${utc(from)} to ${utc(to)} (${reason.replaceAll("_", " ")})`;
}

export function terms({
  version,
  contract,
  tie_policy,
  max_exit_age_seconds,
  entry_policy,
  max_entry_wait_ms,
}) {
  const wait = length(Math.round(max_entry_wait_ms / 1000));
  const sentences = [
    `Version ${version}.`,
    entry_policy === "delayed" ? `Entry within ${wait} after the delay.` : "Entry at the latest tick.",
    contract === "rise_fall" &&
      `If equal ${IF_EQUAL[tie_policy]}; exit at most ${length(max_exit_age_seconds)} old.`,
  ];
  return sentences.filter(Boolean).join(" ");
}

export function sealed({ day, root }) {
  return `${day}, root ${root}`;
}

export function signature({ algorithm, key }) {
  return `${algorithm}, key ${key}`;
}
