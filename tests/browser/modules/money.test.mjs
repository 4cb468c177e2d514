import assert from "node:assert/strict";
import { test } from "node:test";
import {
  compare,
  format,
  fromMinor,
  minus,
  percent,
  profitMinor,
  scaleOf,
  toMinor,
} from "../../../static/trading/terminal/money.mjs";

test("decimal strings survive the way through minor units exactly", () => {
  for (const [text, scale] of [
    ["0.00", 2],
    ["10000.00", 2],
    ["-3.07", 2],
    ["0.00000001", 8],
    ["7", 0],
    ["99999999999999999999.99", 2],
  ]) {
    assert.equal(fromMinor(toMinor(text, scale), scale), text);
  }
});

test("what is no amount of the scale is refused, never rounded", () => {
  for (const text of ["", "1e3", "1.005", "abc", "--1", "1.", ".5"])
    assert.throws(() => toMinor(text, 2), RangeError);
  assert.equal(toMinor("1.0000", 2), 100n);
});

test("profits round down in every scale", () => {
  assert.equal(profitMinor(1000n, "0.85"), 850n);
  assert.equal(profitMinor(1n, "0.99"), 0n);
  assert.equal(profitMinor(333n, "0.333"), 110n);
  assert.equal(profitMinor(toMinor("0.1", 1) * 3n, "1"), 3n);
});

test("prices compare by value, whatever their decimals", () => {
  assert.equal(compare("1.10", "1.1"), 0);
  assert.equal(compare("1.08512", "1.08513"), -1);
  assert.equal(compare("10", "9.99999"), 1);
  assert.equal(minus("0.3", "0.1"), "0.2");
});

test("rates read as percent", () => {
  assert.deepEqual(["0.85", "0.855", "0.8", "1", "0.90"].map(percent), [
    "85%",
    "85.5%",
    "80%",
    "100%",
    "90%",
  ]);
});

test("amounts are grouped and signed without becoming floats", () => {
  assert.equal(format("10000.00", "USD"), "$10,000.00");
  assert.equal(format("-3.10", "USD"), "\u2212$3.10");
  assert.equal(format("8.50", "USD", { sign: true }), "+$8.50");
  assert.equal(format("0.00", "USD", { sign: true }), "$0.00");
  assert.equal(format("90071992547409931.01", "USD"), "$90,071,992,547,409,931.01");
  assert.equal(format("1250", "JPY"), "¥1,250");
  assert.equal(format("12.50", "POINTS"), "12.50\u00a0POINTS");
  assert.equal(scaleOf("1250"), 0);
});
