import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { Previews } from "../../../static/trading/terminal/previews.mjs";

globalThis.document = { hidden: false, addEventListener() {} };
let asked;
let answer;
let previews;
let isIdle;

// Timers are ours, promises the engine's: let those that are due run.
const settle = async () => {
  for (let n = 0; n < 10; n += 1) await Promise.resolve();
};
const pass = async (milliseconds) => {
  for (let left = milliseconds; left > 0; left -= 50) {
    mock.timers.tick(Math.min(50, left));
    await settle();
  }
};
const wanted = (key, scope = "touch") => ({ scope, key, orders: [{ key, side: 0 }, { key, side: 1 }] });
const problem = (status) => Object.assign(new Error(), { status, title: "No.", detail: "" });

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  asked = [];
  isIdle = true;
  document.hidden = false;
  answer = () => ({ payout_rate: "0.9", refusals: [] });
  const api = {
    post: async (_path, order) => {
      asked.push(order);
      return answer(order);
    },
  };
  previews = new Previews({ api }, { isIdle: () => isIdle, onChange() {} });
});

test("both sides are asked for after a pause, and again every two seconds", async () => {
  previews.want(wanted("a"));
  assert.equal(previews.of(0).state, "loading");
  await pass(200);
  assert.equal(asked.length, 0);
  await pass(100);
  assert.deepEqual(asked.map(({ side }) => side), [0, 1]);
  assert.equal(previews.of(0).state, "fresh");
  assert.equal(previews.of(1).rate, "0.9");
  await pass(4100);
  assert.equal(asked.length, 6);
});

test("whatever is changed however often, two requests go out a second", async () => {
  for (let n = 0; n < 100; n += 1) {
    previews.want(wanted(`${n}`));
    await pass(50 + (n % 7) * 50);
  }
  const seconds = (Date.now() - 1_000_000) / 1000;
  assert.ok(asked.length <= 2 * (seconds + 1), `${asked.length} in ${seconds} s`);
  assert.ok(asked.length >= 4);
});

test("an answer to something else is out of date, one to another contract is forgotten", async () => {
  previews.want(wanted("a"));
  await pass(300);
  previews.want(wanted("b"));
  assert.deepEqual([previews.of(0).state, previews.of(0).rate], ["stale", "0.9"]);
  await pass(1300);
  assert.equal(previews.of(0).state, "fresh");
  previews.want(wanted("b", "asian"));
  assert.equal(previews.of(0).state, "loading");
  previews.want(null);
  await pass(5000);
  assert.equal(previews.of(0).state, "loading");
});

test("an answer that comes after the contract was changed says nothing", async () => {
  const late = [];
  answer = () => new Promise((resolve) => late.push(resolve));
  previews.want(wanted("a"));
  await pass(300);
  previews.want(wanted("a", "asian"));
  late.forEach((resolve) => resolve({ payout_rate: "9", refusals: [] }));
  await settle();
  assert.equal(previews.of(1).state, "loading");
});

test("refusals are a side's own; a failure keeps what is known until that is old", async () => {
  answer = ({ side }) => {
    if (side === 1) return { payout_rate: "0.9", refusals: [] };
    return { payout_rate: null, refusals: [{ code: "barrier_out_of_range", title: "Too far." }] };
  };
  previews.want(wanted("a"));
  await pass(300);
  assert.deepEqual([previews.of(0).state, previews.of(0).problem.title], ["refused", "Too far."]);
  assert.equal(previews.of(1).state, "fresh");
  answer = () => Promise.reject(problem(503));
  await pass(4000);
  assert.equal(previews.of(1).state, "fresh");
  await pass(4000);
  assert.deepEqual([previews.of(1).state, previews.of(1).rate], ["stale", "0.9"]);
  answer = () => Promise.reject(problem(400));
  await pass(2100);
  assert.equal(previews.of(1).state, "refused");
});

test("nothing known and no answer is a failure", async () => {
  answer = () => Promise.reject(problem(0));
  previews.want(wanted("a"));
  await pass(300);
  assert.equal(previews.of(0).state, "failed");
});

test("nobody asks for a page that is not seen, or while an order is on its way", async () => {
  document.hidden = true;
  previews.want(wanted("a"));
  await pass(3000);
  assert.equal(asked.length, 0);
  document.hidden = false;
  isIdle = false;
  previews.want(wanted("b"));
  await pass(3000);
  assert.equal(asked.length, 0);
  isIdle = true;
  await pass(1100);
  assert.equal(asked.length, 2);
});
