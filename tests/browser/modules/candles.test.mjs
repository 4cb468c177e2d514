import assert from "node:assert/strict";
import { test } from "node:test";
import {
  applyLive,
  liveInterval,
  logicalOf,
  toBar,
  union,
} from "../../../static/trading/terminal/candles.mjs";

const START = Date.UTC(2026, 0, 31, 12) / 1000;
const candle = (offset, [open, high, low, close], lastSeq) => ({
  start: new Date((START + offset) * 1000).toISOString(),
  open: String(open),
  high: String(high),
  low: String(low),
  close: String(close),
  ticks: 1,
  last_seq: lastSeq,
});
const bar = (offset, prices, lastSeq) => toBar(candle(offset, prices, lastSeq));

test("a live candle of the same frame replaces the forming bar", () => {
  const bars = [bar(0, [1, 2, 1, 2], 10)];
  const { bars: next, change } = applyLive(bars, candle(0, [1, 3, 1, 3], 12), 60, 60);
  assert.equal(change, "update");
  assert.deepEqual(next, [bar(0, [1, 3, 1, 3], 12)]);
  assert.equal(bars[0].high, 2);
});

test("what history already holds is not counted again", () => {
  const bars = [bar(0, [1, 3, 1, 3], 12)];
  assert.equal(applyLive(bars, candle(0, [1, 2, 1, 2], 12), 60, 60).change, "none");
  assert.equal(applyLive(bars, candle(-60, [1, 2, 1, 2], 9), 60, 60).change, "none");
});

test("the next bucket opens a bar, a late end of the last one rewrites it", () => {
  const first = applyLive([bar(0, [1, 2, 1, 2], 10)], candle(60, [2, 2, 2, 2], 11), 60, 60);
  assert.equal(first.change, "append");
  const late = applyLive(first.bars, candle(0, [1, 5, 1, 5], 10.5), 60, 60);
  assert.equal(late.change, "rewrite");
  assert.deepEqual(
    late.bars.map((b) => b.high),
    [5, 2],
  );
});

test("minutes widen the five-minute bar, however often they come", () => {
  let bars = [bar(0, [10, 12, 9, 11], 100)];
  const minute = candle(120, [11, 15, 8, 14], 130);
  for (let i = 0; i < 3; i += 1) bars = applyLive(bars, minute, 60, 300).bars;
  assert.deepEqual(bars, [{ ...bar(0, [10, 15, 8, 14], 130) }]);
  const next = applyLive(bars, candle(300, [14, 14, 13, 13], 140), 60, 300);
  assert.equal(next.change, "append");
  assert.equal(next.bars[1].time, START + 300);
  assert.equal(applyLive([], minute, 60, 300).bars[0].time, START);
});

test("whenever one joins, history and live together are the same bars", () => {
  const stream = [];
  for (let seq = 1; seq <= 400; seq += 1)
    stream.push({ seq, time: Math.floor(seq / 3), price: 100 + ((seq * 7919) % 41) });
  const candleOf = (ticks, start, interval) => {
    const own = ticks.filter(({ time }) => time >= start && time < start + interval);
    const prices = own.map(({ price }) => price);
    return candle(
      start,
      [prices[0], Math.max(...prices), Math.min(...prices), prices.at(-1)],
      own.at(-1).seq,
    );
  };
  const barsOf = (ticks, interval) =>
    [...new Set(ticks.map(({ time }) => Math.floor(time / interval) * interval))].map((start) =>
      toBar(candleOf(ticks, start, interval)),
    );
  for (let joined = 1; joined < 400; joined += 7) {
    for (const interval of [5, 15]) {
      // The page subscribes first, reads history a little later, then applies everything it heard.
      let bars = barsOf(stream.slice(0, Math.min(400, joined + 10)), interval);
      for (let n = joined; n <= 400; n += 1) {
        const seen = stream.slice(0, n);
        const start = Math.floor(seen.at(-1).time / 5) * 5;
        bars = applyLive(bars, candleOf(seen, start, 5), 5, interval).bars;
      }
      assert.deepEqual(bars, barsOf(stream, interval));
    }
  }
});

test("pages of history join at the seam", () => {
  const late = [bar(60, [2, 2, 2, 2], 20), bar(120, [2, 3, 2, 3], 30)];
  const early = [bar(0, [1, 1, 1, 1], 10), bar(60, [2, 2, 2, 2], 15)];
  assert.deepEqual(union(late, early), [early[0], late[0], late[1]]);
});

test("frames above a minute are fed by minutes", () => {
  assert.deepEqual([5, 60, 300, 3600].map(liveInterval), [5, 60, 60, 60]);
});

test("an instant has its place between bars and beyond them", () => {
  const bars = [bar(0, [1, 1, 1, 1], 1), bar(60, [1, 1, 1, 1], 2), bar(300, [1, 1, 1, 1], 3)];
  assert.equal(logicalOf(bars, START + 30, 60), 0.5);
  assert.equal(logicalOf(bars, START + 200, 60), 2);
  assert.equal(logicalOf(bars, START + 360, 60), 3);
  assert.equal(logicalOf(bars, START - 120, 60), -2);
  assert.equal(logicalOf([], START, 60), null);
});
