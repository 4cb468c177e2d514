import assert from "node:assert/strict";
import { test } from "node:test";
import {
  clockChoices,
  durationLadder,
  durationPresets,
  leastPrice,
  obstacle,
  prospect,
  result,
  saleObstacle,
  stakePresets,
  stakeStep,
  standing,
  step,
} from "../../../static/trading/terminal/rules.mjs";

const NOW = Date.UTC(2026, 0, 31, 12, 0, 20);
const instrument = {
  is_open: true,
  payout_rate: "0.85",
  min_stake: "1.00",
  max_stake: "1000.00",
  min_duration_seconds: 5,
  max_duration_seconds: 3600,
  cutoff_seconds: 30,
  last: { at: new Date(NOW - 400).toISOString(), price: "1.08512", seq: 7 },
};
const account = { id: "a", balance: "100.00", currency: "USD", version: 1 };
const order = {
  status: "open",
  side: "up",
  stake: "10.00",
  payout_rate: "0.85",
  entry: { price: "1.08512" },
  payout: null,
};

test("steppers stay within the instrument's limits", () => {
  const ladder = durationLadder({ min_duration_seconds: 7, max_duration_seconds: 100 });
  assert.deepEqual(ladder, [7, 10, 15, 20, 30, 45, 60, 90, 100]);
  assert.equal(step(ladder, 7, -1), 7);
  assert.equal(step(ladder, 61, 1), 90);
  assert.equal(step(ladder, 100, 1), 100);
  assert.deepEqual(durationPresets(instrument), [5, 15, 30, 60, 300, 900]);
  assert.deepEqual(
    durationPresets({ min_duration_seconds: 14400, max_duration_seconds: 28800 }),
    [14400, 28800],
  );
});

test("stakes step by round amounts", () => {
  const up = (from) => stakeStep(instrument, from, 2, 1);
  const down = (from) => stakeStep(instrument, from, 2, -1);
  assert.deepEqual(["1.00", "9.50", "10.00", "12.00", "990.00", "1000.00"].map(up), [
    "2.00",
    "10.00",
    "15.00",
    "15.00",
    "1000.00",
    "1000.00",
  ]);
  assert.deepEqual(["1.00", "2.50", "10.00", "15.00", "50.00"].map(down), [
    "1.00",
    "2.00",
    "9.00",
    "10.00",
    "45.00",
  ]);
  assert.equal(stakeStep(instrument, "nonsense", 2, 1), "2.00");
  assert.deepEqual(stakePresets(instrument, 2), ["1.00", "5.00", "10.00", "25.00", "50.00", "100.00"]);
});

test("clock expiries carry a deadline that is still ahead", () => {
  const choices = clockChoices(instrument, NOW);
  assert.deepEqual(
    choices.map(({ expiresAt }) => new Date(expiresAt).toISOString().slice(11, 16)),
    ["12:01", "12:02", "12:03", "12:05", "12:10", "12:15"],
  );
  assert.ok(choices.every(({ expiresAt, deadline }) => deadline > NOW && expiresAt - deadline === 30_000));
  assert.equal(clockChoices(instrument, NOW + 10_000)[0].expiresAt, Date.UTC(2026, 0, 31, 12, 2));
  assert.deepEqual(clockChoices({ ...instrument, max_duration_seconds: 20 }, NOW), []);
});

test("the button promises what the backend will pay", () => {
  assert.deepEqual(prospect("10.00", "0.85", 2), { profit: "8.50", payout: "18.50" });
  assert.deepEqual(prospect("3,33", "0.333", 2), { profit: "1.10", payout: "4.43" });
  assert.equal(prospect("0", "0.85", 2), null);
  assert.equal(prospect("abc", "0.85", 2), null);
});

test("buying is possible exactly when nothing stands in its way", () => {
  const at = (changes = {}, stake = "10.00", now = NOW) =>
    obstacle({ instrument: { ...instrument, ...changes }, account, stake, now });
  assert.equal(at(), null);
  assert.equal(at({ is_open: false, opens_at: "2026-02-01T22:00:00Z" }).opensAt, Date.UTC(2026, 1, 1, 22));
  assert.deepEqual(at({ is_open: false, is_suspended: true }), { code: "suspended" });
  assert.equal(at({ last: null }).code, "no_price");
  assert.deepEqual(at({ max_quote_age_ms: 3000 }, "10.00", NOW + 4000), {
    code: "stale",
    age: 4.4,
    limit: 3,
  });
  assert.equal(at({}, "0.99").code, "stake_low");
  assert.equal(at({}, "1000.01").code, "stake_high");
  assert.equal(at({}, "100.01").code, "funds");
  assert.equal(at({}, "100.001").code, "stake_unreadable");
  assert.equal(at({}, "100.00"), null);
  assert.equal(obstacle({ instrument, account: null, stake: "1", now: NOW }).code, "no_account");
  assert.equal(obstacle({ instrument: null }).code, "loading");
});

test("a curb holds back exactly what it names, until it ends", () => {
  const [begun, until] = ["2026-01-31T12:00:00Z", "2026-01-31T12:05:00Z"];
  const at = (curb, contract = "rise_fall", now = NOW) =>
    obstacle({
      instrument: {
        ...instrument,
        curbs: [{ effect: "stop_orders", book: null, contract: null, starts_at: begun, ends_at: null, ...curb }],
      },
      account: { ...account, book: "real-usd" },
      contract,
      stake: "10.00",
      now,
    });
  assert.deepEqual(at({}), { code: "held", until: NaN });
  assert.deepEqual(at({ ends_at: until }), { code: "held", until: Date.parse(until) });
  assert.equal(at({ ends_at: until }, "rise_fall", Date.parse(until)).code, "stale"); // and held no more
  assert.equal(at({ effect: "stop_all" }).code, "held");
  assert.equal(at({ effect: "stop_sales" }), null);
  assert.equal(at({ effect: "event" }), null);
  assert.equal(at({ effect: "event" }, "touch").code, "event");
  assert.equal(at({ book: "demo" }), null);
  assert.equal(at({ book: "real-usd" }).code, "held");
  assert.equal(at({ contract: "touch" }), null);
  assert.equal(at({ contract: "touch" }, "touch").code, "held");
  assert.equal(at({ starts_at: until }), null);
});

test("the would-be result follows price and side", () => {
  const at = (price, tie_policy = "refund") => ({ last: { price }, tie_policy });
  assert.equal(standing(order, at("1.08513")), "ahead");
  assert.equal(standing({ ...order, side: "down" }, at("1.08513")), "behind");
  assert.equal(standing(order, at("1.085120")), "level");
  assert.equal(standing(order, at("1.08512", "lose")), "behind");
  assert.equal(standing({ ...order, entry: null }, at("1.1")), "waiting");
  assert.equal(standing(order, { last: null }), "waiting");
  assert.equal(result(order, "ahead"), "8.50");
  assert.equal(result(order, "behind"), "-10.00");
});

test("a refund is no profit", () => {
  assert.equal(result({ ...order, status: "refunded", payout: "10.00" }), "0.00");
  assert.equal(result({ ...order, status: "won", payout: "18.50" }), "8.50");
  assert.equal(result({ ...order, status: "lost", payout: "0.00" }), "-10.00");
  assert.equal(result({ ...order, status: "sold", payout: "7.25" }), "-2.75");
});

test("an order can be sold between its entry and its end, where that is offered", () => {
  const seller = { ...instrument, offers_sale: true, sell_cutoff_seconds: 5 };
  const mine = { book: "usd" };
  const at = (seconds) => new Date(NOW + seconds * 1000).toISOString();
  const running = {
    contract: "rise_fall",
    accepted_at: at(0.25),
    entry: { at: at(-0.4), seq: 7, price: "1.08512" },
    expires_at: at(60.25),
  };
  const after = (seconds, changes) =>
    saleObstacle({ ...running, ...changes }, seller, mine, NOW + seconds * 1000);
  assert.deepEqual(after(1), { state: "early", left: 4250 });
  const held = (effect, more) =>
    saleObstacle(running, { ...seller, curbs: [{ effect, starts_at: at(0), ends_at: at(20), ...more }] }, mine, NOW + 9000);
  assert.deepEqual(["stop_sales", "stop_all", "event"].map((effect) => held(effect)?.state), ["held", "held", "held"]);
  assert.deepEqual(["usd", "eur"].map((book) => held("stop_all", { book })?.state), ["held", undefined]);
  assert.deepEqual([held("stop_orders"), held("event", { starts_at: at(10) }), held("event", { ends_at: at(9) })], [null, null, null]);
  assert.deepEqual(after(5.249), { state: "early", left: 1 });
  assert.equal(after(5.25), null);
  assert.equal(after(55.249), null);
  assert.deepEqual(after(55.25), { state: "late" });
  assert.deepEqual(after(0, { expires_at: at(10.25) }), { state: "late" });
  assert.deepEqual(after(9, { entry: { ...running.entry, at: at(6) } }), { state: "early", left: 2000 });
  assert.deepEqual(after(20, { entry: null }), { state: "waiting" });
  assert.equal(after(20, { contract: "higher_lower" }), null);
  assert.equal(after(20, { contract: "ends_between" }), null);
  for (const contract of ["touch", "stays_between", "digit_match", "asian"])
    assert.deepEqual(after(20, { contract }), { state: "never" });
  assert.deepEqual(after(20, { duration_ticks: 5 }), { state: "never" });
  const keeper = { ...seller, offers_sale: false };
  assert.deepEqual(saleObstacle(running, keeper, mine, NOW + 20_000), { state: "never" });
  assert.deepEqual(saleObstacle(running, undefined, mine, NOW + 20_000), { state: "never" });
});

test("the least price is a tenth below the one shown, rounded down", () => {
  assert.equal(leastPrice("10.00"), "9.00");
  assert.equal(leastPrice("9.85"), "8.86");
  assert.equal(leastPrice("0.01"), "0.00");
  assert.equal(leastPrice("0.00012345"), "0.00011110");
  assert.equal(leastPrice("1500"), "1350");
});
