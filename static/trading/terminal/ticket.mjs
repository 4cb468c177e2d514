// The order ticket: time, stake, two buttons. What they promise is what is sent, and each press is one order.

import { newId } from "./api.mjs";
import { counter, span } from "./clock.mjs";
import { $, h, memory, reconcile, say } from "./dom.mjs";
import { format, fromMinor, percent, scaleOf } from "./money.mjs";
import {
  clockChoices,
  durationLadder,
  durationPresets,
  obstacle,
  prospect,
  readStake,
  stakePresets,
  stakeStep,
  step,
} from "./rules.mjs";
import * as words from "./strings.mjs";

const SHORT_AMOUNT = 7;
const ERROR_STAYS_MS = 9000;

export class Ticket {
  #desk;
  #mode = memory.get("mode", "timer");
  #duration = Number(memory.get("duration", "30"));
  #stake = memory.get("stake", "10.00");
  #expiresAt = null;
  #pending = null;
  #unsure = null;
  #error = null;
  #told = "";

  constructor(desk, { onPlaced }) {
    this.#desk = desk;
    this.onPlaced = onPlaced;
    $("stake").value = this.#stake;
    $("stake").addEventListener("input", () => this.#setStake($("stake").value, false));
    $("stake").addEventListener("blur", () => this.#setStake(this.#tidy(this.#stake)));
    for (const button of document.querySelectorAll("[data-stake]")) {
      button.addEventListener("click", () => this.stepStake(Number(button.dataset.stake)));
    }
    for (const button of document.querySelectorAll("[data-duration]")) {
      button.addEventListener("click", () => this.stepTime(Number(button.dataset.duration)));
    }
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.addEventListener("click", () => this.#setMode(button.dataset.mode));
    }
    for (const button of document.querySelectorAll("[data-side]")) {
      button.addEventListener("click", () => this.buy(button.dataset.side));
    }
    desk.on("subject", () => this.#fail(null));
    ["subject", "price", "accounts", "orders", "second"].forEach((topic) =>
      desk.on(topic, () => this.draw()),
    );
  }

  get #scale() {
    return scaleOf(this.#desk.account()?.balance ?? "0.00");
  }

  get #isClock() {
    return this.#mode === "clock";
  }

  stepStake(direction) {
    const instrument = this.#desk.instrument();
    if (instrument) this.#setStake(stakeStep(instrument, this.#stake, this.#scale, direction));
  }

  stepTime(direction) {
    const instrument = this.#desk.instrument();
    if (!instrument) return;
    if (this.#isClock) {
      const times = this.#choices().map(({ expiresAt }) => expiresAt);
      if (times.length) this.#expiresAt = step(times, this.#expiresAt ?? times[0], direction);
    } else {
      this.#setDuration(step(durationLadder(instrument), this.#duration, direction));
    }
    this.draw();
  }

  /** Buy once. A press while one is on its way does nothing; after a lost answer the same order is asked for again. */
  async buy(side) {
    if (this.#pending || this.#obstacle()) return;
    const order = this.#unsure?.side === side ? this.#unsure : this.#order(side);
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
    this.#drawTime(instrument);
    this.#drawStake(instrument, account);
    this.#drawSides(instrument, account);
    this.#drawVerdict();
  }

  #order(side) {
    const { symbol, payout_rate: rate } = this.#desk.instrument();
    const end = this.#isClock
      ? { expires_at: new Date(this.#expiresAt).toISOString() }
      : { duration_seconds: this.#duration };
    return {
      client_id: newId(),
      account: this.#desk.accountId,
      symbol,
      contract: "rise_fall",
      side,
      stake: this.#tidy(this.#stake),
      min_payout_rate: rate,
      ...end,
    };
  }

  #choices() {
    return clockChoices(this.#desk.instrument(), this.#desk.clock.now());
  }

  #setMode(mode) {
    this.#mode = mode;
    memory.set("mode", mode);
    this.#fail(null);
    this.draw();
  }

  #setDuration(seconds) {
    this.#duration = seconds;
    memory.set("duration", seconds);
    this.#fail(null);
    this.draw();
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
      stake: this.#stake,
      now: this.#desk.clock.now(),
    });
    return found ?? (this.#isClock && !this.#expiresAt ? { code: "no_clock" } : null);
  }

  #drawTime(instrument) {
    $("ticket").toggleAttribute("data-clock", this.#isClock);
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === this.#mode));
    }
    if (this.#isClock) this.#drawClock();
    else this.#drawTimer(instrument);
  }

  #drawTimer(instrument) {
    const ladder = durationLadder(instrument);
    this.#duration = Math.min(Math.max(this.#duration, ladder[0]), ladder.at(-1));
    say($("duration"), words.length(this.#duration));
    const delay = instrument.entry_delay_ms ?? 0;
    const end = words.timeOfDay(this.#desk.clock.now() + delay + this.#duration * 1000);
    say($("duration-hint"), delay ? words.say.endsAfterDelay(end, delay) : words.say.endsAbout(end));
    this.#drawChips($("duration-chips"), durationPresets(instrument), this.#duration, words.length, (v) =>
      this.#setDuration(v),
    );
  }

  #drawClock() {
    const choices = this.#choices();
    const chosen = choices.find(({ expiresAt }) => expiresAt === this.#expiresAt) ?? choices[0];
    this.#expiresAt = chosen?.expiresAt ?? null;
    say($("duration"), chosen ? words.timeOfDay(chosen.expiresAt, false) : "—");
    say(
      $("duration-hint"),
      chosen ? words.say.buyWithin(counter(chosen.deadline - this.#desk.clock.now())) : "",
    );
    this.#drawChips(
      $("duration-chips"),
      choices.map(({ expiresAt }) => expiresAt),
      this.#expiresAt,
      (v) => words.timeOfDay(v, false),
      (v) => {
        this.#expiresAt = v;
        this.draw();
      },
    );
  }

  #drawStake(instrument, account) {
    const money = (text) => format(text, account.currency);
    say($("stake-sign"), format("0", account.currency).replace(/[\d\s.,]/g, ""));
    say($("stake-hint"), words.say.limits(money(instrument.min_stake), money(instrument.max_stake)));
    const bare = (text) => format(text.replace(/\.0+$/, ""), account.currency);
    this.#drawChips(
      $("stake-chips"),
      stakePresets(instrument, this.#scale),
      this.#tidy(this.#stake),
      bare,
      (v) => this.#setStake(v),
    );
  }

  #drawChips(container, values, chosen, label, choose) {
    reconcile(
      container,
      values,
      (value) => value,
      (value) => h("button", { type: "button", class: "chip", onclick: () => choose(value) }),
      (chip, value) => {
        say(chip, label(value));
        chip.setAttribute("aria-pressed", String(String(value) === String(chosen)));
      },
    );
  }

  #drawSides(instrument, account) {
    const gain = prospect(this.#stake, instrument.payout_rate, this.#scale);
    const rate = instrument.payout_rate ? percent(instrument.payout_rate) : "";
    const blocked = Boolean(this.#obstacle());
    say(
      $("odds"),
      gain ? words.say.ifWrong(format(this.#tidy(this.#stake), account.currency), instrument.tie_policy) : "",
    );
    for (const button of document.querySelectorAll("[data-side]")) {
      const profit = button.querySelector("[data-part=profit]");
      say(profit, gain ? format(gain.profit, account.currency, { sign: true }) : "—");
      profit.toggleAttribute("data-long", profit.textContent.length > SHORT_AMOUNT);
      const payout = gain ? `${rate}, ${words.say.pays(format(gain.payout, account.currency))}` : rate;
      say(button.querySelector("[data-part=payout]"), payout);
      const isPending = this.#pending === button.dataset.side;
      button.disabled = blocked || Boolean(this.#pending);
      button.setAttribute("aria-busy", String(isPending));
    }
  }

  #drawVerdict() {
    if (this.#error && Date.now() > this.#error.until && !this.#pending && !this.#unsure) this.#error = null;
    const found = this.#obstacle();
    const text = this.#error?.text ?? (found && found.code !== "loading" ? this.#words(found) : "");
    const box = $("verdict");
    box.hidden = !text;
    box.dataset.tone = this.#error ? "refusal" : "notice";
    say($("verdict-text"), text);
    // Told once, not with every number that moves in it.
    const reason = this.#error?.text ?? found?.code ?? "";
    if (text && reason !== this.#told) say($("announcer"), text);
    this.#told = reason;
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
      case "stale":
        return words.say.stale({ age: span(found.age * 1000), limit: span(found.limit * 1000) });
      case "no_price":
        return words.say.noPrice;
      case "no_payout":
        return words.say.noPayout;
      case "no_account":
        return words.say.noAccount;
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
