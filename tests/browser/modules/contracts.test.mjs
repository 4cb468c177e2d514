import assert from "node:assert/strict";
import { test } from "node:test";
import {
  isPast,
  isPriced,
  leastRate,
  levelNames,
  levelStep,
  moved,
  moveOf,
  offerOf,
  priceAt,
  reaches,
  readDistance,
  rightSide,
  signed,
  tickProgress,
  usualLevels,
} from "../../../static/trading/terminal/contracts.mjs";
import { standing, tickPresets } from "../../../static/trading/terminal/rules.mjs";
import { explain, orderWords } from "../../../static/trading/terminal/strings.mjs";

const entry = { at: "2026-01-31T12:00:00Z", seq: 10, price: "1.08512" };
const open = (contract, side, more = {}) => ({
  status: "open",
  contract,
  side,
  entry,
  expires_at: "2026-01-31T12:01:00Z",
  ...more,
});
const tick = (price, seq = 11, at = "2026-01-31T12:00:30Z") => ({ price, seq, at });
const stands = (order, price, hasReached = false) =>
  standing(order, { last: tick(price), tie_policy: "refund" }, hasReached);

test("an instrument's offer is found, another stands in for what it does not offer", () => {
  const offers = [
    { contract: "touch", takes: ["barrier"], payout_rate: null },
    { contract: "rise_fall", takes: [], payout_rate: "0.85" },
  ];
  assert.equal(offerOf({ offers }, "touch"), offers[0]);
  assert.equal(offerOf({ offers }, "asian"), offers[1]);
  assert.equal(offerOf({ offers: offers.slice(0, 1) }, "asian"), offers[0]);
  assert.equal(offerOf({ offers: [] }, "touch"), null);
  assert.equal(offerOf(null, "touch"), null);
  assert.deepEqual(offers.map(isPriced), [true, false]);
  assert.deepEqual(levelNames({ takes: ["low", "high"] }), ["low", "high"]);
  assert.deepEqual(levelNames({ takes: ["digit"] }), []);
});

test("the lowest rate accepted is 2% below the one shown, rounded down", () => {
  assert.deepEqual(["0.9", "2.5063", "0.0555", "0.0001"].map(leastRate), [
    "0.8820",
    "2.4561",
    "0.0543",
    "0.0000",
  ]);
});

test("every contract stands as its settlement would decide at this price", () => {
  for (const [contract, more, price, winner, loser] of [
    ["rise_fall", {}, "1.08513", "up", "down"],
    ["higher_lower", { barrier: "1.08562" }, "1.08563", "up", "down"],
    ["higher_lower", { barrier: "1.08562" }, "1.08561", "down", "up"],
    ["touch", { barrier: "1.08562" }, "1.08562", "touch", "no_touch"],
    ["touch", { barrier: "1.08562" }, "1.08561", "no_touch", "touch"],
    ["touch", { barrier: "1.08462" }, "1.08400", "touch", "no_touch"],
    ["ends_between", { low: "1.08462", high: "1.08562" }, "1.08512", "in", "out"],
    ["ends_between", { low: "1.08462", high: "1.08562" }, "1.08600", "out", "in"],
    ["stays_between", { low: "1.08462", high: "1.08562" }, "1.08561", "in", "out"],
    ["stays_between", { low: "1.08462", high: "1.08562" }, "1.08462", "out", "in"],
    ["digit_match", { digit: 7 }, "1.08517", "matches", "differs"],
    ["digit_match", { digit: 7 }, "1.08510", "differs", "matches"],
    ["digit_over", { digit: 4 }, "1.08515", "over", "under"],
    ["digit_over", { digit: 4 }, "1.08513", "under", "over"],
    ["digit_even", {}, "1.08510", "even", "odd"],
    ["digit_even", {}, "1.08513", "odd", "even"],
  ]) {
    assert.equal(stands(open(contract, winner, more), price), "ahead", `${contract} ${winner} at ${price}`);
    assert.equal(stands(open(contract, loser, more), price), "behind", `${contract} ${loser} at ${price}`);
  }
});

test("equality refunds rise/fall alone", () => {
  assert.equal(stands(open("rise_fall", "up"), "1.08512"), "level");
  for (const [contract, side, more] of [
    ["higher_lower", "up", { barrier: "1.08562" }],
    ["higher_lower", "down", { barrier: "1.08562" }],
    ["ends_between", "in", { low: "1.08462", high: "1.08562" }],
    ["ends_between", "out", { low: "1.08462", high: "1.08562" }],
    ["digit_over", "over", { digit: 2 }],
    ["digit_over", "under", { digit: 2 }],
  ])
    assert.equal(stands(open(contract, side, more), "1.08562"), "behind", `${contract} ${side}`);
});

test("a barrier once reached has decided, wherever the price is now", () => {
  const touch = open("touch", "touch", { barrier: "1.08562" });
  assert.equal(stands(touch, "1.08500"), "behind");
  assert.equal(stands(touch, "1.08500", true), "ahead");
  assert.equal(reaches(touch, tick("1.08562")), true);
  assert.equal(reaches(touch, tick("1.08562", 10)), false); // the entry itself does not count
  assert.equal(reaches(touch, tick("1.08562", 11, "2026-01-31T12:01:00.001Z")), false);
  assert.equal(reaches({ ...touch, entry: null, barrier: undefined }, tick("1.08562")), false);
  assert.equal(reaches(open("higher_lower", "up", { barrier: "1.08562" }), tick("1.08562")), false);
});

test("what the page cannot compute it does not say", () => {
  assert.equal(stands(open("asian", "up", { duration_ticks: 5 }), "1.08513"), "unknown");
  assert.equal(stands(open("a_new_one", "up"), "1.08513"), "unknown");
  assert.equal(rightSide(open("asian", "up"), "1.08513", false), undefined);
  const late = { last: tick("1.08513", 11, "2026-01-31T12:01:00.001Z"), tie_policy: "refund" };
  assert.equal(standing(open("rise_fall", "up"), late), "settling");
  assert.equal(standing({ ...open("touch", "touch"), entry: null }, late), "waiting");
});

test("an order counted in ticks goes by their numbers", () => {
  const order = open("digit_even", "even", { duration_ticks: 5, expires_at: "2026-01-31T12:05:00Z" });
  assert.deepEqual(tickProgress(order, tick("1", 10)), { done: 0, of: 5 });
  assert.deepEqual(tickProgress(order, tick("1", 13)), { done: 3, of: 5 });
  assert.deepEqual(tickProgress(order, tick("1", 99)), { done: 5, of: 5 });
  assert.equal(tickProgress({ ...order, entry: null }, tick("1", 13)), null);
  assert.equal(tickProgress(open("touch", "touch"), tick("1", 13)), null);
  assert.equal(isPast(order, tick("1", 15)), false);
  assert.equal(isPast(order, tick("1", 16)), true);
  assert.equal(standing(order, { last: tick("1.08510", 16) }), "settling");
  assert.deepEqual(tickPresets({ min_duration_ticks: 1, max_duration_ticks: 20 }), [3, 5, 7, 10, 15, 20]);
  assert.deepEqual(tickPresets({ min_duration_ticks: 2, max_duration_ticks: 4 }), [2, 3, 4]);
});

test("distances keep their sign and every decimal", () => {
  assert.deepEqual([50, -50, 0].map((units) => signed(units, 5)), ["+0.00050", "-0.00050", "+0.00000"]);
  assert.equal(priceAt("1.08512", -12, 5), "1.08500");
  assert.equal(priceAt("998", 3, 0), "1001");
  assert.deepEqual(
    ["+0.0005", "\u22120.00050", "0,5", " -2 ", "", "x", "0.000001"].map((text) => readDistance(text, 5)),
    [50, -50, 50000, -200000, null, null, null],
  );
});

test("barriers begin where the price usually goes, and move by round steps", () => {
  const ticks = [...Array(41).keys()].map((n) => ({
    at: new Date(Date.UTC(2026, 0, 31, 12) + n * 500).toISOString(),
    price: n % 2 ? "1000.10" : "1000.00",
  }));
  const move = moveOf(ticks);
  assert.equal(move.tickSeconds, 0.5);
  assert.ok(Math.abs(move.deviation - 0.1 * Math.SQRT2) < 1e-9);
  assert.equal(moveOf(ticks.slice(0, 5)), null);
  assert.equal(moveOf([]), null);
  assert.deepEqual(usualLevels("touch", move, 50, 2), { barrier: 100 });
  assert.deepEqual(usualLevels("stays_between", move, 50, 2), { low: -120, high: 120 });
  assert.deepEqual(usualLevels("rise_fall", move, 50, 2), {});
  assert.equal(levelStep(move, 50, 2), 10);
  assert.equal(levelStep({ deviation: 1e-9 }, 50, 2), 1);
});

test("a touch is never at the entry, and low stays below high", () => {
  assert.deepEqual(moved("touch", { barrier: 5 }, "barrier", 0), { barrier: -1 });
  assert.deepEqual(moved("touch", { barrier: -5 }, "barrier", 0), { barrier: 1 });
  assert.deepEqual(moved("higher_lower", { barrier: 5 }, "barrier", 0), { barrier: 0 });
  assert.deepEqual(moved("ends_between", { low: -5, high: 5 }, "low", 9), { low: 4, high: 5 });
  assert.deepEqual(moved("ends_between", { low: -5, high: 5 }, "high", -9), { low: -5, high: -4 });
});

test("orders and contracts are said in words, with their barriers and digits", () => {
  const said = (contract, side, more) => orderWords(open(contract, side, more));
  assert.equal(said("rise_fall", "up"), "Up");
  assert.equal(said("touch", "no_touch", { barrier: "1.08562" }), "No touch 1.08562");
  const pending = { distances: { barrier: "-0.00050" } };
  assert.equal(said("higher_lower", "down", pending), "Lower than entry \u22120.00050");
  assert.equal(said("stays_between", "out", { low: "1.0", high: "1.1" }), "Goes out of 1.0 to 1.1");
  assert.equal(said("digit_match", "differs", { digit: 7 }), "Digit differs from 7");
  assert.equal(said("digit_even", "odd"), "Digit odd");
  const barrier = { price: "1.08562", distance: "+0.00050" };
  assert.equal(
    explain("touch", { length: { mode: "timer", seconds: 60 }, barrier }),
    "Touch wins if some price touches 1.08562 (entry +0.00050) within 1\u202fmin, No touch if none does.",
  );
  assert.equal(
    explain("digit_over", { length: { mode: "ticks", ticks: 5 }, digit: 0 }),
    "Over wins if the last digit of the price after 5\u202fticks is above 0, Under if it is below.",
  );
});
