// What is about to be bought, but for side and stake: the contract, what it takes, and how it ends.

import { pause, rows } from "./api.mjs";
import {
  levelNames,
  levelStep,
  moved,
  moveOf,
  offerOf,
  priceAt,
  quietMove,
  signed,
  usualLevels,
} from "./contracts.mjs";
import { memory } from "./dom.mjs";
import { clockChoices, durationLadder, step } from "./rules.mjs";

const TICKS_LOOKED_AT = 300;
const ATTEMPTS = 6;
const PAUSE_MS = 2000;
const LENGTHS = { timer: "seconds", clock: "clock", ticks: "ticks" };

/** The customer's choices, each within what the instrument offers; the topic `draft` tells of changes. */
export class Draft {
  #desk;
  #contract = memory.get("contract", "rise_fall");
  #mode = memory.get("mode", "timer");
  #seconds = Number(memory.get("duration", "30"));
  #ticks = Number(memory.get("ticks", "5"));
  #expiresAt = null;
  #digit = 5;
  #chosen = new Map();
  #usual = { key: null, levels: null };
  #moves = new Map();
  #learning = new Set();

  constructor(desk) {
    this.#desk = desk;
    desk.on("subject", () => this.#learnMove());
  }

  get offer() {
    return offerOf(this.#desk.instrument(), this.#contract);
  }

  get contract() {
    return this.offer?.contract ?? this.#contract;
  }

  get digit() {
    return this.#digit;
  }

  /** The ways of counting its length that are offered, as the ticket names them. */
  get modes() {
    return Object.keys(LENGTHS).filter((mode) => this.offer?.lengths.includes(LENGTHS[mode]));
  }

  get mode() {
    const modes = this.modes;
    return modes.includes(this.#mode) ? this.#mode : (modes[0] ?? this.#mode);
  }

  get seconds() {
    const ladder = durationLadder(this.#desk.instrument());
    return Math.min(Math.max(this.#seconds, ladder[0]), ladder.at(-1));
  }

  get ticks() {
    const { min_duration_ticks: least, max_duration_ticks: most } = this.#desk.instrument();
    return Math.min(Math.max(this.#ticks, least), most);
  }

  get expiresAt() {
    return this.#expiresAt;
  }

  /** The round instants on offer and the one chosen; what is shown here is what is sent. */
  clock() {
    const choices = clockChoices(this.#desk.instrument(), this.#desk.clock.now());
    const chosen = choices.find(({ expiresAt }) => expiresAt === this.#expiresAt) ?? choices[0] ?? null;
    this.#expiresAt = chosen?.expiresAt ?? null;
    return { choices, chosen };
  }

  /** Distances of the barriers by name, in units; null until it is known how the price moves. */
  get levels() {
    const names = levelNames(this.offer);
    if (!names.length) return {};
    return this.#chosen.get(this.#place) ?? this.#usualLevels();
  }

  /** The barriers as prices, from the latest one: [{name, units, price}]; the entry may be another. */
  levelPrices() {
    const { last, price_decimals: decimals } = this.#desk.instrument() ?? {};
    const levels = last && this.levels;
    if (!levels) return [];
    return Object.entries(levels).map(([name, units]) => ({
      name,
      units,
      distance: signed(units, decimals),
      price: priceAt(last.price, units, decimals),
    }));
  }

  /** Whether all is known that an order of this contract says. */
  get isComplete() {
    return Boolean(this.offer) && this.levels !== null && (this.mode !== "clock" || Boolean(this.#expiresAt));
  }

  /** The fields of an order that say what is bought. Requires `isComplete`. */
  terms() {
    const { price_decimals: decimals } = this.#desk.instrument();
    const levels = Object.entries(this.levels).map(([name, units]) => [name, signed(units, decimals)]);
    return {
      contract: this.contract,
      ...this.#end(),
      ...Object.fromEntries(levels),
      ...(this.offer.takes.includes("digit") ? { digit: this.#digit } : {}),
    };
  }

  choose(contract) {
    this.#contract = contract;
    memory.set("contract", contract);
    this.#learnMove();
    this.#changed();
  }

  chooseMode(mode) {
    this.#mode = mode;
    memory.set("mode", mode);
    this.#changed();
  }

  chooseSeconds(seconds) {
    this.#seconds = seconds;
    memory.set("duration", seconds);
    this.#changed();
  }

  chooseTicks(ticks) {
    this.#ticks = ticks;
    memory.set("ticks", ticks);
    this.#changed();
  }

  chooseClock(expiresAt) {
    this.#expiresAt = expiresAt;
    this.#changed();
  }

  chooseDigit(digit) {
    this.#digit = digit;
    this.#changed();
  }

  stepLength(direction) {
    if (this.mode === "ticks") this.chooseTicks(this.ticks + direction);
    else if (this.mode === "timer")
      this.chooseSeconds(step(durationLadder(this.#desk.instrument()), this.seconds, direction));
    else {
      const times = this.clock().choices.map(({ expiresAt }) => expiresAt);
      if (times.length) this.chooseClock(step(times, this.#expiresAt, direction));
    }
  }

  /** Move a barrier to a distance from the entry, in units. */
  moveLevel(name, units) {
    const levels = this.levels;
    if (!levels || !(name in levels)) return;
    this.#chosen.set(this.#place, moved(this.contract, levels, name, units));
    this.#changed();
  }

  /** Move a barrier to where a price is now. */
  moveLevelTo(name, price) {
    const { last, price_decimals: decimals } = this.#desk.instrument();
    this.moveLevel(name, Math.round((price - Number(last.price)) * 10 ** decimals));
  }

  /** Move a barrier to the next round distance up or down. */
  stepLevel(name, direction) {
    const levels = this.levels;
    if (!levels) return;
    const { price_decimals: decimals } = this.#desk.instrument();
    const size = levelStep(this.#moves.get(this.#desk.symbol), this.#lastingSeconds(), decimals);
    const round = direction > 0 ? Math.floor(levels[name] / size) : Math.ceil(levels[name] / size);
    this.moveLevel(name, (round + direction) * size);
  }

  get #place() {
    return `${this.#desk.symbol}/${this.contract}`;
  }

  #end() {
    if (this.mode === "clock") return { expires_at: new Date(this.#expiresAt).toISOString() };
    if (this.mode === "ticks") return { duration_ticks: this.ticks };
    return { duration_seconds: this.seconds };
  }

  #lastingSeconds() {
    if (this.mode === "clock") return (this.#expiresAt - this.#desk.clock.now()) / 1000;
    if (this.mode === "ticks") return this.ticks * (this.#moves.get(this.#desk.symbol)?.tickSeconds ?? 1);
    return this.seconds;
  }

  // They stay where they are until something else is chosen: time that passes does not move them.
  #usualLevels() {
    const move = this.#moves.get(this.#desk.symbol);
    if (!move || (this.mode === "clock" && !this.#expiresAt)) return null;
    const key = `${this.#place}/${JSON.stringify(this.#end())}`;
    if (this.#usual.key !== key) {
      const { price_decimals: decimals } = this.#desk.instrument();
      const levels = usualLevels(this.contract, move, this.#lastingSeconds(), decimals);
      this.#usual = { key, levels };
    }
    return this.#usual.levels;
  }

  async #learnMove() {
    const instrument = this.#desk.instrument();
    if (!instrument || !levelNames(this.offer).length || this.#learning.has(instrument.symbol)) return;
    const { symbol } = instrument;
    this.#learning.add(symbol);
    const address = `/instruments/${encodeURIComponent(symbol)}/ticks`;
    let move = null;
    for (let attempt = 0; !move && attempt < ATTEMPTS; attempt += 1) {
      if (attempt) await pause(PAUSE_MS);
      // Without an answer a quiet market's distances do; the server says what it thinks of them.
      const ticks = await this.#desk.api.get(address, { limit: TICKS_LOOKED_AT }).then(rows, () => []);
      move = moveOf(ticks);
    }
    this.#moves.set(symbol, move ?? quietMove(instrument.last?.price ?? 1));
    this.#changed();
  }

  #changed() {
    this.#desk.changed("draft");
  }
}
