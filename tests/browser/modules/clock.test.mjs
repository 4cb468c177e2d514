import assert from "node:assert/strict";
import { test } from "node:test";
import { ServerClock, counter, parseInstant, span } from "../../../static/trading/terminal/clock.mjs";

test("the clock follows the server through the quickest round trip", () => {
  let local = 1_000_000;
  const clock = new ServerClock(() => local);
  clock.sample(1_005_100, 1_000_000, 1_000_400);
  clock.sample(1_005_420, 1_000_400, 1_000_420);
  local = 1_000_420;
  assert.equal(clock.now(), 1_005_430);
  assert.equal(clock.roundTrip, 20);
});

test("a message from the future moves it forward, an old one changes nothing", () => {
  const clock = new ServerClock(() => 500);
  clock.heard(800);
  assert.equal(clock.now(), 800);
  clock.heard(700);
  assert.equal(clock.now(), 800);
});

test("samples that cannot be are left out", () => {
  const clock = new ServerClock(() => 500);
  clock.sample(NaN, 0, 10);
  clock.sample(900, 20, 10);
  assert.equal(clock.now(), 500);
});

test("instants keep their milliseconds", () => {
  assert.equal(parseInstant("2026-01-31T12:00:00.123456Z"), Date.UTC(2026, 0, 31, 12, 0, 0, 123));
  assert.ok(Number.isNaN(parseInstant(null)));
});

test("counters round up, so zero means over", () => {
  assert.deepEqual([1, 999, 7000, 61_000, 3_723_000, -5].map(counter), [
    "0:01",
    "0:01",
    "0:07",
    "1:01",
    "1:02:03",
    "0:00",
  ]);
});

test("spans name their two largest units", () => {
  assert.deepEqual([5_000, 300_000, 5_400_000, 187_200_000, 0].map(span), [
    "5 s",
    "5 min",
    "1 h 30 min",
    "2 d 4 h",
    "0 s",
  ]);
});
