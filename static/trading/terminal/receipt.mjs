// What a receipt shows: its ticks and what is marked among them, and the rows of its tables. It reads; it decides
// nothing.

import { parseInstant } from "./clock.mjs";
import * as said from "./receiptwords.mjs";
import { LEVELS as LEVEL_NAMES, utc } from "./strings.mjs";

const NEIGHBOURS = 3;
const LEVELS = ["barrier", "low", "high"];

/** The order a receipt is of, as the lists have it. */
export function orderOf({ order: id, terms, status, refund_reason, payout }) {
  const agreed = LEVELS.filter((name) => terms[name]);
  const { symbol, contract, side, stake, payout_rate, digit } = terms;
  return {
    ...{ id, symbol, contract, side, stake, payout_rate, digit, status, refund_reason, payout },
    ...Object.fromEntries(agreed.map((name) => [name, terms[name].price])),
    distances: Object.fromEntries(agreed.map((name) => [name, terms[name].agreed])),
  };
}

/** Everything that is drawn of a receipt, instants in ms; null where it holds no tick that can be drawn. */
export function sceneOf(receipt) {
  const { terms, status } = receipt;
  const ticks = receipt.ticks.map((tick) => pointOf(receipt, tick));
  if (!ticks.length || ticks.some(({ at, price }) => !Number.isFinite(at) || !Number.isFinite(price)))
    return null;
  return {
    status,
    decimals: terms.price_decimals,
    isDigit: terms.digit !== null || terms.contract === "digit_even",
    runs: runsOf(ticks),
    marks: marksOf(receipt),
    levels: levelsOf(receipt),
    wins: winsOf(receipt),
    gaps: receipt.gaps.map((gap) => ({ from: parseInstant(gap.starts_at), to: parseInstant(gap.ends_at) })),
    knownUntil: parseInstant(receipt.known_until),
  };
}

function pointOf(receipt, { seq, at, price }) {
  return {
    seq,
    at: parseInstant(at),
    price: Number(price),
    text: price,
    time: at,
    roles: rolesOf(receipt, seq),
  };
}

function rolesOf({ entry, exit, voided, status }, seq) {
  const roles = [];
  if (seq === entry?.seq) roles.push("entry");
  if (seq === exit?.seq) roles.push(status === "sold" ? "sale" : "exit");
  if (voided.some((tick) => tick.seq === seq)) roles.push("voided");
  return roles;
}

/** Ticks that follow each other by number, in runs: between two runs the receipt leaves some out. */
export function runsOf(ticks) {
  const runs = [];
  ticks.forEach((tick, index) => {
    if (!index || tick.seq !== ticks[index - 1].seq + 1) runs.push([]);
    runs.at(-1).push(tick);
  });
  return runs;
}

/** The instants that are flagged: acceptance, entry, exit or sale, expiry. */
function marksOf({ accepted_at, entry, exit, status, terms }) {
  const mark = (name, at, price = null) => ({ name, at: parseInstant(at), price });
  return [
    mark("accepted", accepted_at),
    entry && mark("entry", entry.at, entry.price),
    exit && mark(status === "sold" ? "sale" : "exit", exit.at, exit.price),
    // An order of so many ticks ended with the last of them; its expiry is only the latest end it could have had.
    !(terms.duration_ticks && exit) && mark("expiry", terms.expires_at),
  ].filter(Boolean);
}

/** The prices that lines are drawn at: what the order is measured by. */
function levelsOf({ terms, entry, way }) {
  const levels = LEVELS.filter((name) => terms[name]?.price).map((name) => ({
    name,
    price: Number(terms[name].price),
    text: terms[name].price,
  }));
  if (terms.contract === "rise_fall" && entry)
    levels.push({ name: "entry", price: Number(entry.price), text: entry.price });
  if (terms.contract === "asian" && way)
    levels.push({ name: "average", price: Number(way.total) / way.ticks, text: null });
  return levels;
}

/** The ranges of prices at which its side wins, as [above, below], null for no bound; none for digits. */
function winsOf(receipt) {
  const { terms, entry } = receipt;
  const [one, other] = levelsOf(receipt).map(({ price }) => price);
  if (!entry || one === undefined) return [];
  if (["ends_between", "stays_between"].includes(terms.contract))
    return terms.side === "in"
      ? [[one, other]]
      : [
          [null, one],
          [other, null],
        ];
  const isAbove =
    terms.contract === "touch" ? one > Number(entry.price) === (terms.side === "touch") : terms.side === "up";
  return [isAbove ? [one, null] : [null, one]];
}

/** The rows of the table of ticks: those that are marked with three around each, the last where there is no exit,
 *  and between them {leftOut} of so many. */
export function tickRows(receipt) {
  const ticks = receipt.ticks.map((tick) => pointOf(receipt, tick));
  const centres = ticks.flatMap(({ roles }, index) => (roles.length ? [index] : []));
  if (!receipt.exit) centres.push(ticks.length - 1);
  if (!receipt.entry) centres.push(0);
  const shown = ticks.filter((_, index) => centres.some((centre) => Math.abs(centre - index) <= NEIGHBOURS));
  return runsOf(shown).flatMap((run, index, runs) => {
    const before = runs[index - 1]?.at(-1);
    return before ? [{ leftOut: run[0].seq - before.seq - 1 }, ...run] : run;
  });
}

/** The day all ticks are of, null where they are of several. */
export function dayOf({ ticks }) {
  const days = new Set(ticks.map(({ at }) => at.slice(0, 10)));
  return days.size === 1 ? [...days][0] : null;
}

/** The rows of the table of facts: [what, words] or [what, words, address]. */
export function factsOf(receipt) {
  const { terms, entry, exit, way, sale, signature } = receipt;
  const isSold = receipt.status === "sold";
  return [
    [said.FACTS.rule, receipt.rule],
    [said.FACTS.accepted, utc(receipt.accepted_at)],
    terms.entry_after && [said.FACTS.entryAfter, utc(terms.entry_after)],
    [said.FACTS.entry, tickWords(entry)],
    [isSold ? said.FACTS.sale : said.FACTS.exit, tickWords(exit)],
    ...LEVELS.filter((name) => terms[name]).map((name) => [LEVEL_NAMES[name], said.level(terms[name])]),
    terms.digit !== null && [said.FACTS.digit, String(terms.digit)],
    [said.FACTS.expiry, said.expiry(terms)],
    [said.FACTS.closed, utc(receipt.closed_at)],
    way && [said.FACTS.way, said.way(way)],
    sale && [said.FACTS.salePrice, said.sale(sale)],
    [said.FACTS.watermark, utc(receipt.known_until)],
    ...receipt.gaps.map((gap) => [said.FACTS.gap, said.gap(gap)]),
    [said.FACTS.market, receipt.open_at_end ? said.say.open : said.say.closed],
    [said.FACTS.terms, said.terms(terms)],
    [said.FACTS.corrections, receipt.corrections.map((each) => said.correction(each, terms)).join("\n") || said.say.none],
    ...receipt.record.map((each) => [said.FACTS.sealed, said.sealed(each), each.page]),
    !receipt.record.length && [said.FACTS.sealed, said.say.notSealed],
    [said.FACTS.signature, said.signature(signature)],
    [said.FACTS.order, receipt.order],
  ].filter(Boolean);
}

function tickWords(tick) {
  return tick ? said.tickLine(tick) : said.say.none;
}
