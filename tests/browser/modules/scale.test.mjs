import assert from "node:assert/strict";
import { test } from "node:test";

import { grid, snapped, stretches, timeWords } from "../../../static/console/scale.mjs";

const START = Date.UTC(2030, 2, 5, 12) + 0.25;

test("a window is divided into equal slots that whole seconds begin with", () => {
  for (const [span, step] of [
    [10, 2],
    [30, 5],
    [60, 10],
    [120, 20],
    [300, 50],
    [600, 100],
  ]) {
    const slots = grid(START, START + span * 1000);
    assert.equal(slots.step, step);
    assert.equal(slots.first % 1000, 0);
    assert.equal(slots.times.length, slots.count);
    assert.ok(slots.count <= 6001, `${slots.count}`);
    assert.ok(slots.times.at(-1) * 1000 <= START + span * 1000);
    assert.ok(slots.times.every((time, n) => n === 0 || time > slots.times[n - 1]));
  }
});

test("every instant has a slot, one outside that of the edge", () => {
  const slots = grid(START, START + 10_000);
  assert.equal(snapped(slots, START), slots.times[0]);
  assert.equal(snapped(slots, START + 1999.9), (Math.floor(START) + 2000) / 1000);
  assert.equal(snapped(slots, START - 5000), slots.times[0]);
  assert.equal(snapped(slots, START + 99_000), slots.times.at(-1));
  assert.ok(slots.times.includes(snapped(slots, START + 3333.3)));
});

test("no line is drawn over a gap", () => {
  const points = [1, 2, 5, 6, 9].map((ms) => [ms, 1.085]);
  const cut = (gaps) => stretches(points, gaps).map((each) => each.map(([ms]) => ms));
  assert.deepEqual(cut([]), [[1, 2, 5, 6, 9]]);
  assert.deepEqual(cut([[2, 4]]), [
    [1, 2],
    [5, 6, 9],
  ]);
  assert.deepEqual(
    cut([
      [2, 4],
      [7, 8],
    ]),
    [[1, 2], [5, 6], [9]],
  );
  assert.deepEqual(stretches([], [[1, 2]]), []);
});

test("a time of day is written in UTC, with milliseconds where there are some", () => {
  const noon = Date.UTC(2030, 2, 5, 12) / 1000;
  assert.equal(timeWords(noon, false), "12:00:00");
  assert.equal(timeWords(noon, true), "12:00:00.000");
  assert.equal(timeWords(noon + 0.25, false), "12:00:00.250");
});
