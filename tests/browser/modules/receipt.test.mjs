import assert from "node:assert/strict";
import { test } from "node:test";
import {
  dayOf,
  factsOf,
  orderOf,
  runsOf,
  sceneOf,
  tickRows,
} from "../../../static/trading/terminal/receipt.mjs";
import { inRows, priceAxis, timeAxis } from "../../../static/trading/terminal/receiptscale.mjs";
import { caption, leftOut, picture } from "../../../static/trading/terminal/receiptwords.mjs";
import { orderWords } from "../../../static/trading/terminal/strings.mjs";

const time = (second) => `2030-01-15T12:00:${String(second).padStart(2, "0")}.000000Z`;
const ms = (second) => Date.parse(time(second));
const tick = (seq, price, second = seq) => ({ seq, price, at: time(second) });
const level = (agreed, price) => ({ agreed, price });
const TICKS = ["100.00", "100.01", "99.99", "100.00", "100.20", "99.00", "100.85"].map((price, index) =>
  tick(index + 1, price),
);

function receiptOf({ terms = {}, ...more } = {}) {
  return {
    order: "01a21c5d-2910-7173-9573-3da52cbea154",
    accepted_at: time(4),
    closed_at: time(10),
    known_until: time(9),
    entry: TICKS[3],
    exit: TICKS[5],
    ticks: TICKS,
    voided: [],
    gaps: [],
    way: null,
    sale: null,
    corrections: [],
    record: [],
    transfers: [],
    open_at_end: true,
    rule: "The exit price is compared with the entry price.",
    status: "lost",
    refund_reason: null,
    payout: "0.00",
    signature: { algorithm: "Ed25519", key: "455e4f1714ad31d3", signature: "…" },
    ...more,
    terms: {
      symbol: "VOL100",
      price_decimals: 2,
      contract: "rise_fall",
      side: "up",
      stake: "10.00",
      currency: "USD",
      payout_rate: "0.85",
      duration_seconds: 3,
      duration_ticks: null,
      expires_at: time(7),
      barrier: null,
      low: null,
      high: null,
      digit: null,
      tie_policy: "refund",
      max_exit_age_seconds: 30,
      entry_policy: "latest_tick",
      entry_after: null,
      max_entry_wait_ms: 10_000,
      version: 3,
      ...terms,
    },
  };
}

const sceneWith = (terms, more = {}) => sceneOf(receiptOf({ terms, ...more }));
const marked = ({ marks }) => marks.map(({ name, at, price }) => [name, (at - ms(0)) / 1000, price]);
const facts = (receipt) =>
  new Map(factsOf(receipt).map(([name, ...rest]) => [name, rest.length > 1 ? rest : rest[0]]));

test("rise/fall: its ticks, entry, exit and expiry, the entry's price and where its side wins", () => {
  const scene = sceneOf(receiptOf());
  assert.deepEqual(
    scene.runs.map((run) => run.map(({ seq, price, roles }) => [seq, price, ...roles])),
    [
      [
        [1, 100],
        [2, 100.01],
        [3, 99.99],
        [4, 100, "entry"],
        [5, 100.2],
        [6, 99, "exit"],
        [7, 100.85],
      ],
    ],
  );
  assert.deepEqual(marked(scene), [
    ["accepted", 4, null],
    ["entry", 4, "100.00"],
    ["exit", 6, "99.00"],
    ["expiry", 7, null],
  ]);
  assert.deepEqual(scene.levels, [{ name: "entry", price: 100, text: "100.00" }]);
  assert.deepEqual(scene.wins, [[100, null]]);
  assert.deepEqual(sceneWith({ side: "down" }).wins, [[null, 100]]);
  assert.equal(scene.isDigit, false);
});

test("barriers are drawn at their price, and shaded where the side wins", () => {
  const above = level("+0.50", "100.50");
  const around = { low: level("-0.50", "99.50"), high: level("+0.50", "100.50") };
  const wins = (contract, side, levels) => sceneWith({ contract, side, ...levels }).wins;
  assert.deepEqual(sceneWith({ contract: "higher_lower", barrier: above }).levels, [
    { name: "barrier", price: 100.5, text: "100.50" },
  ]);
  assert.deepEqual(wins("higher_lower", "up", { barrier: above }), [[100.5, null]]);
  assert.deepEqual(wins("higher_lower", "down", { barrier: above }), [[null, 100.5]]);
  assert.deepEqual(wins("touch", "touch", { barrier: above }), [[100.5, null]]);
  assert.deepEqual(wins("touch", "no_touch", { barrier: above }), [[null, 100.5]]);
  assert.deepEqual(wins("touch", "touch", { barrier: level("99.50", "99.50") }), [[null, 99.5]]);
  for (const contract of ["ends_between", "stays_between"]) {
    assert.deepEqual(wins(contract, "in", around), [[99.5, 100.5]]);
    assert.deepEqual(wins(contract, "out", around), [
      [null, 99.5],
      [100.5, null],
    ]);
  }
});

test("digits have no price to be measured by, averages have one", () => {
  for (const terms of [{ contract: "digit_match", digit: 7 }, { contract: "digit_even" }]) {
    const scene = sceneWith(terms);
    assert.deepEqual([scene.levels, scene.wins, scene.isDigit], [[], [], true]);
  }
  const way = { is_whole: true, ticks: 3, total: "299.20", lowest: TICKS[5], highest: TICKS[4] };
  const scene = sceneWith({ contract: "asian", side: "down" }, { way });
  assert.deepEqual(scene.levels, [{ name: "average", price: 299.2 / 3, text: null }]);
  assert.deepEqual(scene.wins, [[null, 299.2 / 3]]);
});

test("an order of ticks ends with the last of them; one that got none shows when it had to end", () => {
  const terms = { duration_seconds: null, duration_ticks: 2 };
  assert.deepEqual(
    marked(sceneWith(terms)).map(([name]) => name),
    ["accepted", "entry", "exit"],
  );
  const refunded = sceneWith(terms, { exit: null, status: "refunded", refund_reason: "no_exit" });
  assert.deepEqual(
    marked(refunded).map(([name]) => name),
    ["accepted", "entry", "expiry"],
  );
});

test("a refund without entry marks neither, a sale is called one, a voided tick is marked", () => {
  const none = sceneWith(
    { contract: "higher_lower", barrier: level("+0.50", null) },
    { entry: null, exit: null },
  );
  assert.deepEqual(
    marked(none).map(([name]) => name),
    ["accepted", "expiry"],
  );
  assert.deepEqual([none.levels, none.wins], [[], []]);
  const sold = sceneOf(receiptOf({ status: "sold" }));
  assert.deepEqual(marked(sold)[2], ["sale", 6, "99.00"]);
  assert.deepEqual(sold.runs[0][5].roles, ["sale"]);
  assert.deepEqual(sceneOf(receiptOf({ voided: [TICKS[4]] })).runs[0][4].roles, ["voided"]);
  assert.deepEqual(sceneOf(receiptOf({ exit: TICKS[3] })).runs[0][3].roles, ["entry", "exit"]);
});

test("gaps are drawn; what is no number or holds no tick is not drawn at all", () => {
  const gaps = [{ starts_at: time(5), ends_at: time(8), reason: "feed_down" }];
  assert.deepEqual(sceneOf(receiptOf({ gaps })).gaps, [{ from: ms(5), to: ms(8) }]);
  assert.equal(sceneOf(receiptOf({ ticks: [] })), null);
  assert.equal(sceneOf(receiptOf({ ticks: [tick(1, "<b>")] })), null);
  assert.equal(sceneOf(receiptOf({ ticks: [{ seq: 1, price: "1", at: "noon" }] })), null);
});

test("where numbers jump, ticks are left out", () => {
  const runs = runsOf([4, 5, 6, 60, 61].map((seq) => ({ seq })));
  assert.deepEqual(
    runs.map((run) => run.map(({ seq }) => seq)),
    [
      [4, 5, 6],
      [60, 61],
    ],
  );
});

test("the table of ticks has three around each that is marked, and says how many it leaves out", () => {
  const ticks = Array.from({ length: 30 }, (_, index) => tick(index + 1, "100.00"));
  const rows = (more) => tickRows(receiptOf({ ticks, ...more })).map((row) => row.seq ?? -row.leftOut);
  assert.deepEqual(
    rows({ entry: ticks[4], exit: ticks[20] }),
    [2, 3, 4, 5, 6, 7, 8, -9, 18, 19, 20, 21, 22, 23, 24],
  );
  assert.deepEqual(rows({ entry: ticks[0], exit: null }), [1, 2, 3, 4, -22, 27, 28, 29, 30]);
  assert.deepEqual(tickRows(receiptOf({ ticks: [], entry: null, exit: null })), []);
  assert.equal(dayOf({ ticks }), "2030-01-15");
  assert.equal(dayOf({ ticks: [...ticks, { at: "2030-01-16T00:00:01.000000Z" }] }), null);
});

test("the facts are the receipt's own", () => {
  const told = facts(receiptOf());
  assert.deepEqual(Object.fromEntries(told), {
    "Rule applied": "The exit price is compared with the entry price.",
    Accepted: "2030-01-15 12:00:04.000000 UTC",
    Entry: "100.00 · tick 4\n2030-01-15 12:00:04.000000 UTC",
    Exit: "99.00 · tick 6\n2030-01-15 12:00:06.000000 UTC",
    Expiry: "2030-01-15 12:00:07.000000 UTC",
    Closed: "2030-01-15 12:00:10.000000 UTC",
    Watermark: "2030-01-15 12:00:09.000000 UTC",
    "Market at its end": "Open",
    Terms: "Version 3. Entry at the latest tick. If equal the stake comes back; exit at most 30\u202fs old.",
    Corrections: "None",
    "Sealed day": "Soon after the end of the day",
    Signature: "Ed25519, key 455e4f1714ad31d3",
    Order: "01a21c5d-2910-7173-9573-3da52cbea154",
  });
});

test("a correction says what the order has paid in all, and why", () => {
  const corrections = [
    { at: time(11), payout: "18.50", reason: "A wrong price.", transfer: {} },
    { at: time(12), payout: "10.00", reason: "Only the stake.", transfer: {} },
  ];
  assert.equal(
    facts(receiptOf({ corrections })).get("Corrections"),
    "18.50 USD in all: A wrong price.\n2030-01-15 12:00:11.000000 UTC\n" +
      "10.00 USD in all: Only the stake.\n2030-01-15 12:00:12.000000 UTC",
  );
});

test("facts that only some receipts have", () => {
  const way = { is_whole: false, ticks: 6000, total: "600000.00", lowest: TICKS[5], highest: TICKS[6] };
  const told = facts(
    receiptOf({
      terms: {
        contract: "touch",
        side: "no_touch",
        barrier: level("-0.50", "99.50"),
        entry_policy: "delayed",
        entry_after: time(3),
        duration_ticks: 5,
      },
      status: "sold",
      way,
      sale: { probability: "0.493712345", tie_probability: "0", margin: "0.05" },
      gaps: [{ starts_at: time(5), ends_at: time(8), reason: "feed_down" }],
      record: [{ day: "2030-01-15", root: "ab12", page: "/record/2030-01-15/" }],
    }),
  );
  assert.equal(told.get("Entry after"), "2030-01-15 12:00:03.000000 UTC");
  assert.equal(told.get("Sold at"), "99.00 · tick 6\n2030-01-15 12:00:06.000000 UTC");
  assert.equal(told.get("Barrier"), "99.50 (entry \u22120.50)");
  assert.equal(
    told.get("Expiry"),
    "5\u202fticks after the entry, at the latest 2030-01-15 12:00:07.000000 UTC",
  );
  assert.equal(
    told.get("Every tick counts"),
    "6000\u202fticks, from 99.00 to 100.85, sum 600000.00; too many to be told one by one",
  );
  assert.equal(told.get("Price of the sale"), "Fair probability 0.4937, of a tie 0, margin 0.05");
  assert.equal(
    told.get("Gap in the record"),
    "2030-01-15 12:00:05.000000 UTC to 2030-01-15 12:00:08.000000 UTC (feed down)",
  );
  assert.equal(told.get("Terms"), "Version 3. Entry within 10\u202fs after the delay.");
  assert.deepEqual(told.get("Sealed day"), ["2030-01-15, root ab12", "/record/2030-01-15/"]);
  assert.equal(facts(receiptOf({ entry: null })).get("Entry"), "None");
});

test("it is called as the order is in the lists", () => {
  const barrier = level("+0.50", "100.50");
  const order = orderOf(receiptOf({ terms: { contract: "higher_lower", barrier } }));
  assert.equal(orderWords(order), "Higher than 100.50");
  assert.deepEqual([order.status, order.stake, order.payout], ["lost", "10.00", "0.00"]);
  const without = orderOf(
    receiptOf({ terms: { contract: "touch", side: "touch", barrier: level("+0.50", null) } }),
  );
  assert.equal(orderWords(without), "Touch entry +0.50");
});

test("words around the picture", () => {
  assert.equal(picture(receiptOf()), "VOL100: entry 100.00, exit 99.00. The table of ticks says the same.");
  assert.equal(
    picture(receiptOf({ exit: null })),
    "VOL100: entry 100.00, exit none. The table of ticks says the same.",
  );
  assert.equal(caption({}), "Times are UTC.");
  assert.equal(
    caption({ winner: "no_touch", hasHole: true, hasGap: true }),
    "Times are UTC. Shaded: where No touch wins. Dashed: ticks the receipt leaves out. Gap: no provable prices.",
  );
  assert.deepEqual([leftOut(1), leftOut(5980)], ["1 tick between", "5,980 ticks between"]);
});

const close = (got, wanted) => assert.ok(Math.abs(got - wanted) < 1e-9, `${got} is not ${wanted}`);

test("time is even within a run, and breaks where nothing is told", () => {
  const one = timeAxis([[{ at: 0 }, { at: 6000 }]], [4000, 8000]);
  assert.deepEqual(one.stretches, [{ from: 0, to: 8000, left: 0, right: 1 }]);
  assert.deepEqual([0, 2000, 8000].map(one.place), [0, 0.25, 1]);
  const two = timeAxis(
    [
      [{ at: 0 }, { at: 6000 }],
      [{ at: 60_000 }, { at: 66_000 }],
    ],
    [3000, 63_000],
  );
  assert.deepEqual(
    two.stretches.map(({ from, to }) => [from, to]),
    [
      [0, 6000],
      [60_000, 66_000],
    ],
  );
  [
    [6000, 0.435],
    [33_000, 0.5],
    [60_000, 0.565],
    [66_000, 1],
    [-1, 0],
    [70_000, 1],
  ].forEach(([at, share]) => close(two.place(at), share));
});

test("an instant far from all ticks has a stretch of its own, in its order", () => {
  const axis = timeAxis([[{ at: 0 }, { at: 6000 }]], [300_000]);
  assert.deepEqual(
    axis.stretches.map(({ from, to }) => [from, to]),
    [
      [0, 6000],
      [300_000, 300_000],
    ],
  );
  assert.ok(axis.place(6000) < 0.8 && axis.place(300_000) > 0.9 && axis.place(300_000) < 1);
  const single = timeAxis([[{ at: 5000 }]], [5000]);
  assert.equal(single.place(5000), 0.5);
});

test("prices stand at round steps between a lowest and a highest with room", () => {
  assert.deepEqual(priceAxis([99, 101], 2), {
    least: 98.8,
    most: 101.2,
    steps: ["99.00", "99.50", "100.00", "100.50", "101.00"],
  });
  const flat = priceAxis([1.08512], 5);
  assert.deepEqual(flat.steps, ["1.08511", "1.08512", "1.08513"]);
  assert.ok(flat.least < 1.08512 && flat.most > 1.08512);
  assert.deepEqual(priceAxis([64_120, 64_130], 0).steps, ["64120", "64125", "64130"]);
});

test("labels stand beside each other, within the width", () => {
  const label = (name, x, width = 40) => ({ name, x, width });
  const placed = inRows([label("c", 198), label("a", 50), label("b", 60)], 200);
  assert.deepEqual(
    placed.map(({ name, left, row }) => [name, left, row]),
    [
      ["a", 30, 0],
      ["b", 40, 1],
      ["c", 160, 0],
    ],
  );
});
