// The ticket's contract: which one, its barriers or digit, and in one sentence when which side wins.

import { isPriced, readDistance } from "./contracts.mjs";
import { $, h, icon, radios, reconcile, say } from "./dom.mjs";
import { percent } from "./money.mjs";
import * as words from "./strings.mjs";

const LEVELS = ["barrier", "low", "high"];
const DIGITS = [...Array(10).keys()];

export class ContractField {
  #desk;
  #draft;
  #fields = new Map();

  constructor(desk, draft) {
    this.#desk = desk;
    this.#draft = draft;
    for (const name of LEVELS) this.#fields.set(name, this.#levelField(name));
    $("levels").append(...[...this.#fields.values()].map(({ box }) => box));
    this.drawDigit = radios($("digits"), DIGITS, (digit) => draft.chooseDigit(digit));
  }

  draw(instrument) {
    const { offer } = this.#draft;
    if (!offer) return;
    this.#drawPicker(instrument, offer);
    $("ticket").toggleAttribute("data-takes", offer.takes.length > 0);
    $("ticket").toggleAttribute("data-priced", isPriced(offer));
    $("digit-field").hidden = !offer.takes.includes("digit");
    this.drawDigit(this.#draft.digit);
    this.#drawLevels(instrument, offer);
    say($("explain"), this.#sentence(offer));
  }

  #drawPicker(instrument, offer) {
    say($("contract-name"), words.CONTRACTS[offer.contract]?.name ?? words.plain(offer.contract));
    $("contract").hidden = instrument.offers.length < 2;
    reconcile(
      $("contract-list"),
      instrument.offers,
      ({ contract }) => contract,
      ({ contract }) => this.#option(contract),
      (item, each) => {
        const button = item.firstElementChild;
        button.setAttribute("aria-pressed", String(each.contract === offer.contract));
        const rate = isPriced(each) ? "" : percent(instrument.payout_rate ?? each.payout_rate);
        say(button.lastElementChild, rate);
      },
    );
  }

  #option(contract) {
    const { name, hint } = words.CONTRACTS[contract] ?? { name: words.plain(contract), hint: "" };
    const choose = () => {
      this.#draft.choose(contract);
      $("contracts").hidePopover();
    };
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", class: "option", onclick: choose },
        icon(contract),
        h("span", { class: "option-text" }, h("b", {}, name), h("small", {}, hint)),
        h("span", { class: "option-rate" }),
      ),
    );
  }

  #levelField(name) {
    const id = `level-${name}`;
    const input = h("input", {
      id,
      role: "spinbutton",
      inputmode: "text",
      autocomplete: "off",
      spellcheck: "false",
      "aria-describedby": `${id}-price`,
      onchange: () => this.#type(name),
      onkeydown: (event) => this.#key(name, event),
    });
    const press = (direction, mark, label) =>
      h(
        "button",
        { type: "button", "aria-label": label, onclick: () => this.#draft.stepLevel(name, direction) },
        icon(mark),
      );
    const price = h("span", { class: "level-price", id: `${id}-price` });
    const box = h(
      "div",
      { class: "level" },
      h(
        "div",
        { class: "field-head" },
        h("label", { class: "field-label", for: id }, words.LEVELS[name]),
        price,
      ),
      h(
        "div",
        { class: "stepper" },
        press(-1, "minus", words.say.lower(words.LEVELS[name])),
        input,
        press(1, "plus", words.say.higher(words.LEVELS[name])),
      ),
    );
    return { box, input, price };
  }

  #type(name) {
    const { price_decimals: decimals } = this.#desk.instrument();
    const { input } = this.#fields.get(name);
    const units = readDistance(input.value, decimals);
    if (units !== null) this.#draft.moveLevel(name, units);
    this.#fill(name);
  }

  #key(name, event) {
    const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (direction) {
      event.preventDefault();
      this.#type(name);
      this.#draft.stepLevel(name, direction);
      this.#fill(name);
    } else if (event.key === "Enter") this.#type(name);
  }

  #drawLevels(instrument, offer) {
    const names = offer.takes.filter((name) => name !== "digit");
    $("levels").hidden = !names.length;
    $("levels").toggleAttribute("data-two", names.length > 1);
    for (const [name, { box, input }] of this.#fields) {
      box.hidden = !names.includes(name);
      if (!box.hidden) this.#fill(name, input === document.activeElement);
    }
  }

  // What is being typed stays as it is.
  #fill(name, isBeingTyped = false) {
    const level = this.#draft.levelPrices().find((each) => each.name === name);
    const { input, price } = this.#fields.get(name);
    const text = level ? words.distance(level.distance) : "";
    if (!isBeingTyped) input.value = text;
    input.setAttribute("aria-valuenow", level?.units ?? 0);
    input.setAttribute("aria-valuetext", text);
    say(price, level?.price ?? "—");
  }

  #sentence(offer) {
    const { digit, mode, seconds, expiresAt, ticks } = this.#draft;
    const length = { mode, seconds, expiresAt, ticks };
    const levels = Object.fromEntries(this.#draft.levelPrices().map((level) => [level.name, level]));
    const isKnown = offer.takes.every((name) => name === "digit" || levels[name]);
    return isKnown ? words.explain(offer.contract, { length, digit, ...levels }) : words.say.measuring;
  }
}
