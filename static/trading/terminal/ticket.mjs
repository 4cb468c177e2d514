// The order ticket: what, how long, stake, two buttons. What they promise is what is sent; each press is one order.

import { newId } from "./api.mjs";
import { span } from "./clock.mjs";
import { isPriced, leastRate } from "./contracts.mjs";
import { $, drawChips, icon, memory, say } from "./dom.mjs";
import { LengthField } from "./length.mjs";
import { format, fromMinor, percent, scaleOf } from "./money.mjs";
import { ContractField } from "./parameters.mjs";
import { Previews } from "./previews.mjs";
import { obstacle, prospect, readStake, stakePresets, stakeStep } from "./rules.mjs";
import * as words from "./strings.mjs";

const SHORT_AMOUNT = 7;
const ERROR_STAYS_MS = 9000;
const BOTH_LOSE = ["higher_lower", "ends_between", "digit_over", "asian"];

export class Ticket {
  #desk;
  #draft;
  #fields;
  #previews;
  #buttons = [...document.querySelectorAll("[data-place]")];
  #stake = memory.get("stake", "10.00");
  #pending = null;
  #unsure = null;
  #error = null;
  #told = "";

  constructor(desk, draft, { onPlaced }) {
    this.#desk = desk;
    this.#draft = draft;
    this.onPlaced = onPlaced;
    this.#fields = [new LengthField(desk, draft), new ContractField(desk, draft)];
    this.#previews = new Previews(desk, { isIdle: () => !this.#pending, onChange: () => this.draw() });
    $("stake").value = this.#stake;
    $("stake").addEventListener("input", () => this.#setStake($("stake").value, false));
    $("stake").addEventListener("blur", () => this.#setStake(this.#tidy(this.#stake)));
    for (const button of document.querySelectorAll("[data-stake]")) {
      button.addEventListener("click", () => this.stepStake(Number(button.dataset.stake)));
    }
    this.#buttons.forEach((button, place) => button.addEventListener("click", () => this.buy(place)));
    desk.on("subject", () => this.#fail(null));
    desk.on("draft", () => this.#fail(null));
    ["subject", "price", "accounts", "orders", "second", "draft"].forEach((topic) =>
      desk.on(topic, () => this.draw()),
    );
  }

  get #scale() {
    return scaleOf(this.#desk.account()?.balance ?? "0.00");
  }

  stepStake(direction) {
    const instrument = this.#desk.instrument();
    if (instrument) this.#setStake(stakeStep(instrument, this.#stake, this.#scale, direction));
  }

  stepTime(direction) {
    if (this.#desk.instrument()) this.#draft.stepLength(direction);
  }

  /** Buy the first or the second side, once. A press while one is on its way does nothing; after a lost answer
   *  the same order is asked for again. */
  async buy(place) {
    this.draw(); // what was changed in this very moment counts
    const side = this.#draft.offer?.sides[place];
    if (this.#pending || this.#obstacle() || this.#quote(place).state !== "fresh") return;
    const order = this.#isUnsureOf(side) ? this.#unsure : this.#order(place);
    this.#pending = side;
    this.#fail(null);
    this.draw();
    try {
      const placed = await this.#desk.place(order, () => this.#fail(words.say.unsure));
      this.#unsure = null;
      this.#fail(null);
      this.onPlaced(placed);
    } catch (problem) {
      this.#unsure = problem.isPassing ? order : null;
      this.#fail(problem.isPassing ? words.say.stillUnsure : problemWords(problem));
    } finally {
      this.#pending = null;
      this.draw();
    }
  }

  draw() {
    const instrument = this.#desk.instrument();
    const account = this.#desk.account();
    if (!instrument || !account) {
      this.#drawVerdict();
      return;
    }
    if (
      this.#unsure &&
      Object.values(this.#desk.state.orders).some((order) => order.client_id === this.#unsure.client_id)
    ) {
      this.#unsure = null;
      this.#error = null;
    }
    this.#fields.forEach((field) => field.draw(instrument));
    this.#drawStake(instrument, account);
    this.#askForRates();
    this.#drawSides(instrument, account);
    this.#drawVerdict();
  }

  #isUnsureOf(side) {
    const { side: asked, contract, symbol } = this.#unsure ?? {};
    return asked === side && contract === this.#draft.contract && symbol === this.#desk.symbol;
  }

  #order(place) {
    const { rate } = this.#quote(place);
    const least = isPriced(this.#draft.offer) ? leastRate(rate) : rate;
    return { client_id: newId(), ...this.#asked(place), min_payout_rate: least };
  }

  #asked(place) {
    return {
      account: this.#desk.accountId,
      symbol: this.#desk.symbol,
      side: this.#draft.offer.sides[place],
      stake: this.#tidy(this.#stake),
      ...this.#draft.terms(),
    };
  }

  #askForRates() {
    const isAsking = isPriced(this.#draft.offer) && !this.#obstacle() && this.#draft.isComplete;
    if (!isAsking) {
      this.#previews.want(null);
      return;
    }
    const { accountId, symbol } = this.#desk;
    this.#previews.want({
      scope: `${accountId}/${symbol}/${this.#draft.contract}`,
      key: JSON.stringify(this.#draft.terms()),
      orders: [this.#asked(0), this.#asked(1)],
    });
  }

  /** What a side pays, and whether that may be bought: `state`, `rate`, `problem`. */
  #quote(place) {
    if (isPriced(this.#draft.offer)) return this.#previews.of(place);
    return { state: "fresh", rate: this.#desk.instrument()?.payout_rate };
  }

  #setStake(text, write = true) {
    this.#stake = text.trim();
    if (write) $("stake").value = this.#stake;
    memory.set("stake", this.#stake);
    this.#fail(null);
    this.draw();
  }

  #tidy(text) {
    const minor = readStake(text, this.#scale);
    return minor === null ? text : fromMinor(minor, this.#scale);
  }

  #fail(text) {
    this.#error = text ? { text, until: Date.now() + ERROR_STAYS_MS } : null;
    this.#drawVerdict();
  }

  #obstacle() {
    const found = obstacle({
      instrument: this.#desk.instrument(),
      account: this.#desk.account(),
      contract: this.#draft.offer?.contract,
      stake: this.#stake,
      now: this.#desk.clock.now(),
    });
    if (found) return found;
    if (!this.#draft.offer) return { code: "no_contract" };
    return this.#draft.mode === "clock" && !this.#draft.expiresAt ? { code: "no_clock" } : null;
  }

  #drawStake(instrument, account) {
    const money = (text) => format(text, account.currency);
    say($("stake-sign"), format("0", account.currency).replace(/[\d\s.,]/g, ""));
    say($("stake-hint"), words.say.limits(money(instrument.min_stake), money(instrument.max_stake)));
    const bare = (text) => format(text.replace(/\.0+$/, ""), account.currency);
    drawChips(
      $("stake-chips"),
      stakePresets(instrument, this.#scale),
      this.#tidy(this.#stake),
      bare,
      (v) => this.#setStake(v),
    );
  }

  #drawSides(instrument, account) {
    const { offer, contract } = this.#draft;
    const bothLose = BOTH_LOSE.includes(contract) && "both_lose";
    const ties = contract === "rise_fall" ? instrument.tie_policy : bothLose;
    const stake = readStake(this.#stake, this.#scale) && format(this.#tidy(this.#stake), account.currency);
    say($("odds"), stake ? words.say.ifWrong(stake, ties) : "");
    this.#buttons.forEach((button, place) => {
      if (offer) this.#drawSide(button, place, account);
      button.disabled = Boolean(this.#obstacle() || this.#pending) || this.#quote(place).state !== "fresh";
      const isPending = this.#pending !== null && this.#pending === offer?.sides[place];
      button.setAttribute("aria-busy", String(isPending));
    });
  }

  #drawSide(button, place, account) {
    const side = this.#draft.offer.sides[place];
    if (button.dataset.side !== side) {
      button.dataset.side = side;
      button.firstElementChild.replaceChildren(icon(side), words.SIDES[side] ?? words.plain(side));
    }
    const { state, rate, problem } = this.#quote(place);
    const gain = prospect(this.#stake, rate, this.#scale);
    button.dataset.quote = state;
    const profit = button.querySelector("[data-part=profit]");
    say(profit, gain ? format(gain.profit, account.currency, { sign: true }) : "—");
    profit.toggleAttribute("data-long", profit.textContent.length > SHORT_AMOUNT);
    const pays = gain && words.say.pays(format(gain.payout, account.currency));
    const promise = [rate && percent(rate), pays].filter(Boolean).join(", ");
    const instead = {
      loading: words.say.askingRate,
      stale: words.say.oldRate,
      refused: problem?.title,
      failed: words.say.noRate,
    };
    const isAsked = this.#draft.isComplete && !this.#obstacle();
    say(button.querySelector("[data-part=payout]"), (isAsked && instead[state]) || promise);
  }

  #drawVerdict() {
    if (this.#error && Date.now() > this.#error.until && !this.#pending && !this.#unsure) this.#error = null;
    const found = this.#obstacle();
    const refused = found || !this.#desk.account() ? "" : this.#refusals();
    const text = this.#error?.text ?? (found && found.code !== "loading" ? this.#words(found) : refused);
    const box = $("verdict");
    box.hidden = !text;
    box.dataset.tone = this.#error ? "refusal" : "notice";
    say($("verdict-text"), text);
    // Told once, not with every number that moves in it.
    const reason = this.#error?.text ?? found?.code ?? refused.replace(/[\d.,]+/g, "");
    if (text && reason !== this.#told) say($("announcer"), text);
    this.#told = reason;
  }

  /** Why the server would refuse a side, in its words; said once where it refuses both alike. */
  #refusals() {
    const { offer } = this.#draft;
    const said = (offer?.sides ?? []).map((_, place) => {
      const { state, problem } = this.#quote(place);
      return state === "refused" ? problem.detail || problem.title : "";
    });
    if (said[0] === said[1]) return said[0] ?? "";
    return said
      .map((why, place) => why && words.say.refusedSide(words.SIDES[offer.sides[place]], why))
      .filter(Boolean)
      .join(" ");
  }

  #words(found) {
    const account = this.#desk.account();
    const money = (text) => format(text, account.currency);
    switch (found.code) {
      case "closed": {
        if (Number.isNaN(found.opensAt)) return words.say.closed(null);
        const now = this.#desk.clock.now();
        return words.say.closed({ in: span(found.opensAt - now), at: words.moment(found.opensAt, now) });
      }
      case "suspended":
        return words.say.suspended;
      case "held":
      case "event": {
        const until = found.until && words.moment(found.until, this.#desk.clock.now());
        return words.say[found.code](until);
      }
      case "stale":
        return words.say.stale({ age: span(found.age * 1000), limit: span(found.limit * 1000) });
      case "no_price":
        return words.say.noPrice;
      case "no_payout":
        return words.say.noPayout;
      case "no_account":
        return words.say.noAccount;
      case "no_contract":
        return words.say.noContract;
      case "no_clock":
        return words.say.noClock;
      case "stake_unreadable":
        return words.say.stakeUnreadable(found.scale);
      case "stake_low":
        return words.say.stakeLow(money(found.limit));
      case "stake_high":
        return words.say.stakeHigh(money(found.limit));
      case "funds":
        return words.say.funds(money(this.#tidy(this.#stake)), money(found.balance));
      default:
        return words.say.loading;
    }
  }
}

function problemWords({ title, detail, status }) {
  if (status === 401) return words.say.signedOut;
  const text = [title, detail].filter((part, index, all) => part && all.indexOf(part) === index).join(" ");
  return text || words.say.offline;
}
