import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { Api } from "../../../static/trading/terminal/api.mjs";

const real = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = real;
});

const answer = (status, body) => {
  globalThis.fetch = async () => new Response(JSON.stringify(body), { status });
};

test("a page whose CSRF token was replaced asks to be loaded again", async () => {
  answer(403, { code: "forbidden", title: "Not allowed", detail: "CSRF Failed: CSRF token incorrect." });
  await assert.rejects(new Api("old").post("/orders"), (problem) => {
    assert.equal(problem.code, "page_outdated");
    assert.match(problem.title, /Reload/);
    assert.equal(problem.detail, "");
    assert.equal(problem.isPassing, false);
    return true;
  });
});

test("another refusal keeps the server's words", async () => {
  answer(403, { code: "forbidden", title: "Not allowed", detail: "Not for you." });
  await assert.rejects(new Api("x").post("/orders"), { status: 403, code: "forbidden", detail: "Not for you." });
});
