// A closed order's receipt over the desk: what was agreed, how it ended, the picture, the tables, and the file itself.

import { pause } from "./api.mjs";
import { $, h, icon, say } from "./dom.mjs";
import { format } from "./money.mjs";
import { fillOutcome } from "./outcome.mjs";
import { dayOf, factsOf, orderOf, tickRows } from "./receipt.mjs";
import { drawPicture } from "./receiptpicture.mjs";
import * as said from "./receiptwords.mjs";
import * as words from "./strings.mjs";

const ATTEMPTS = 10;

export class ReceiptView {
  #desk;
  #csrf;
  #dialog = $("receipt");
  #round = 0;

  constructor(desk, csrf) {
    this.#desk = desk;
    this.#csrf = csrf;
    this.#dialog.addEventListener("close", () => {
      this.#round += 1;
      $("receipt-body").replaceChildren();
    });
    this.#dialog.addEventListener("click", ({ target }) => {
      if (target === this.#dialog) this.#dialog.close();
    });
  }

  /** Show the receipt of a closed order; waits for one whose last ticks are still being recorded. */
  async open(order) {
    const round = (this.#round += 1);
    const isGone = () => round !== this.#round;
    say($("receipt-title"), `${order.symbol} ${words.orderWords(order)}`);
    this.#tell(h("span", { class: "spinner" }), said.say.loading);
    if (!this.#dialog.open) this.#dialog.showModal();
    $("receipt-title").focus();
    try {
      const receipt = await this.#read(order, isGone);
      if (!isGone()) this.#fill(receipt);
    } catch (problem) {
      if (!isGone()) this.#fail(order, problem);
    }
  }

  async #read(order, isGone) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#desk.api.get(`/orders/${order.id}/receipt`);
      } catch (problem) {
        const isComing = problem.code === "receipt_not_ready" && problem.retryAfterMs;
        if (!isComing || attempt === ATTEMPTS || isGone()) throw problem;
        this.#tell(h("span", { class: "spinner" }), said.say.notReady);
        await pause(problem.retryAfterMs);
      }
    }
  }

  #tell(...parts) {
    $("receipt-body").replaceChildren(h("div", { class: "receipt-state", role: "status" }, parts));
  }

  #fail(order, { status, title, detail }) {
    const told = status ? [title, detail] : [words.say.offline];
    const again = h(
      "button",
      { type: "button", class: "button small", onclick: () => this.open(order) },
      words.say.retry,
    );
    const text = told.filter(Boolean).map((sentence) => h("span", {}, sentence));
    this.#tell(icon("warning"), h("strong", {}, said.say.failed), ...text, again);
  }

  #fill(receipt) {
    const order = orderOf(receipt);
    say($("receipt-title"), `${order.symbol} ${words.orderWords(order)}`);
    const frame = h("figure", { class: "receipt-figure" });
    $("receipt-body").replaceChildren(
      h("p", { class: "receipt-sentence" }, receipt.sentence),
      figures(order, receipt),
      h("div", { class: "receipt-columns" }, [
        h("div", {}, frame, ticksTable(receipt)),
        h("div", {}, factsList(receipt), transfersTable(receipt)),
      ]),
      this.#actions(receipt),
    );
    drawPicture(frame, receipt);
  }

  // The verifier is given what was read, so that a receipt is checked by one click, and in a page of its own.
  #actions(receipt) {
    const field = (name, value) => h("input", { type: "hidden", name, value });
    return h(
      "form",
      {
        class: "receipt-actions",
        method: "post",
        action: "/receipt/",
        target: "_blank",
        rel: "noopener",
        enctype: "multipart/form-data",
      },
      field("csrfmiddlewaretoken", this.#csrf),
      field("receipt", JSON.stringify(receipt)),
      h(
        "a",
        { class: "button small", href: `/api/v1/orders/${receipt.order}/receipt`, download: true },
        said.say.download,
      ),
      h("button", { class: "button small primary" }, said.say.check),
    );
  }
}

function figures(order, { corrections, terms: { currency } }) {
  const outcome = h("p", { class: "receipt-outcome" });
  const money = (_, text, options) => format(text, currency, options);
  fillOutcome(outcome, order, order.status, money);
  const figure = (name, text) => h("div", {}, h("dt", {}, name), h("dd", {}, text));
  return h("div", { class: "receipt-figures" }, [
    outcome,
    h(
      "dl",
      {},
      figure(said.say.stake, money(order, order.stake)),
      figure(said.say.payout, money(order, order.payout)),
      corrections.length ? figure(said.say.corrected, money(order, corrections.at(-1).payout)) : null,
    ),
  ]);
}

function factsList(receipt) {
  const rows = factsOf(receipt).flatMap(([name, text, address]) => [
    h("dt", {}, name),
    h("dd", {}, address ? h("a", { href: address, target: "_blank", rel: "noopener" }, text) : text),
  ]);
  return h("dl", { class: "receipt-facts" }, rows);
}

function table(title, columns, rows) {
  const heads = columns.map((name) => h("th", { scope: "col", class: `c-${name}` }, said.COLUMNS[name]));
  return h("table", { class: "receipt-rows" }, [
    h("caption", {}, title),
    h("thead", {}, h("tr", {}, heads)),
    h(
      "tbody",
      {},
      rows.map((cells) => line(columns, cells)),
    ),
  ]);
}

function line(columns, { cells, isMarked, whole }) {
  if (whole) return h("tr", { class: "left-out" }, h("td", { colspan: columns.length }, whole));
  const filled = cells.map((text, index) =>
    h(index ? "td" : "th", { class: `c-${columns[index]}`, scope: index ? null : "row" }, text),
  );
  return h("tr", { class: isMarked ? "marked" : null }, filled);
}

function ticksTable(receipt) {
  const day = dayOf(receipt);
  const rows = tickRows(receipt).map(({ leftOut, seq, time, text, roles }) => ({
    whole: leftOut && said.leftOut(leftOut),
    isMarked: roles?.length > 0,
    cells: [
      seq,
      day ? time?.slice(11, -1) : time?.slice(0, -1).replace("T", " "),
      text,
      roles?.map((role) => said.NAMES[role]).join(", "),
    ],
  }));
  return table(day ? `${said.say.ticks}, ${day}` : said.say.ticks, ["tick", "time", "price", "role"], rows);
}

function transfersTable({ transfers, corrections, terms }) {
  const moved = [...transfers, ...corrections.map(({ transfer }) => transfer)];
  const rows = moved.map(({ code, from, to, amount }) => ({
    cells: [
      words.STATEMENT_CODES[code] ?? words.plain(code),
      words.plain(from),
      words.plain(to),
      format(amount, terms.currency),
    ],
  }));
  return table(said.say.transfers, ["what", "from", "to", "amount"], rows);
}
