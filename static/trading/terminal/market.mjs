// The instrument list: search, price, payout, and when a closed one opens.

import { span, parseInstant } from "./clock.mjs";
import { $, h, reconcile, say } from "./dom.mjs";
import { percent } from "./money.mjs";
import * as words from "./strings.mjs";

/** Build the list; `onChosen` runs when the customer picked one. */
export function setUpMarket(desk, { onChosen }) {
  const search = $("search");
  const matches = () => {
    const text = search.value.trim().toLowerCase();
    return [...desk.instruments.values()]
      .filter(({ symbol, name }) => `${symbol} ${name ?? ""}`.toLowerCase().includes(text))
      .sort((a, b) => Number(b.is_open) - Number(a.is_open) || a.symbol.localeCompare(b.symbol));
  };
  const choose = (symbol) => {
    search.value = "";
    desk.choose(symbol);
    onChosen();
  };

  const draw = () => {
    const found = matches();
    reconcile(
      $("instruments"),
      found,
      ({ symbol }) => symbol,
      (instrument) => makeRow(instrument, choose),
      (row, instrument) => update(row, instrument, desk),
    );
    $("instruments").removeAttribute("aria-busy");
    $("no-instruments").hidden = found.length > 0;
    say($("no-instruments"), search.value ? words.say.noMatch(search.value) : words.say.noInstruments);
  };
  search.addEventListener("input", draw);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && matches()[0]) {
      event.preventDefault(); // the focus moves on, and Enter must not press what gets it
      choose(matches()[0].symbol);
      search.blur();
    }
  });
  desk.on("instruments", draw);
}

function makeRow({ symbol }, choose) {
  return h(
    "li",
    {},
    h(
      "button",
      { type: "button", class: "instrument", onclick: () => choose(symbol) },
      h("span", { class: "instrument-symbol" }),
      h("span", { class: "instrument-price" }),
      h("span", { class: "instrument-name" }),
      h("span", { class: "instrument-payout" }),
    ),
  );
}

function update(row, instrument, desk) {
  const button = row.firstElementChild;
  const [symbol, price, name, payout] = button.children;
  button.toggleAttribute("data-closed", !instrument.is_open);
  if (instrument.symbol === desk.symbol) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
  say(symbol, instrument.symbol);
  say(
    name,
    instrument.is_simulated
      ? `${instrument.name}, simulated`.replace(/, simulated(?=.*simulated)/i, "")
      : instrument.name,
  );
  const opens = parseInstant(instrument.opens_at);
  if (instrument.is_open) {
    say(price, instrument.last?.price ?? "—");
    say(payout, instrument.payout_rate ? percent(instrument.payout_rate) : "—");
  } else {
    say(price, "Closed");
    say(
      payout,
      Number.isNaN(opens) ? "" : words.say.opensIn(span(Math.max(60_000, opens - desk.clock.now()))),
    );
  }
}
