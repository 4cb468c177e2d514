// The ticket's time: a timer, a round time of the clock, or a count of ticks.

import { counter } from "./clock.mjs";
import { $, drawChips, say } from "./dom.mjs";
import { durationPresets, tickPresets } from "./rules.mjs";
import * as words from "./strings.mjs";

export class LengthField {
  #desk;
  #draft;

  constructor(desk, draft) {
    this.#desk = desk;
    this.#draft = draft;
    for (const button of document.querySelectorAll("[data-duration]"))
      button.addEventListener("click", () => this.step(Number(button.dataset.duration)));
    for (const button of document.querySelectorAll("[data-mode]"))
      button.addEventListener("click", () => draft.chooseMode(button.dataset.mode));
  }

  step(direction) {
    if (this.#desk.instrument()) this.#draft.stepLength(direction);
  }

  draw(instrument) {
    const { mode, modes } = this.#draft;
    $("ticket").toggleAttribute("data-clock", mode === "clock");
    $("expiry-modes").hidden = modes.length < 2;
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.hidden = !modes.includes(button.dataset.mode);
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
    if (mode === "clock") this.#drawClock();
    else if (mode === "ticks") this.#drawTicks(instrument);
    else this.#drawTimer(instrument);
  }

  #drawTimer(instrument) {
    const { seconds } = this.#draft;
    say($("duration"), words.length(seconds));
    const delay = instrument.entry_delay_ms ?? 0;
    const end = words.timeOfDay(this.#desk.clock.now() + delay + seconds * 1000);
    say($("duration-hint"), delay ? words.say.endsAfterDelay(end, delay) : words.say.endsAbout(end));
    drawChips($("duration-chips"), durationPresets(instrument), seconds, words.length, (v) =>
      this.#draft.chooseSeconds(v),
    );
  }

  #drawTicks(instrument) {
    const { ticks } = this.#draft;
    say($("duration"), words.ticks(ticks));
    say($("duration-hint"), words.say.endsWithTick(words.length(instrument.max_tick_wait_seconds)));
    drawChips($("duration-chips"), tickPresets(instrument), ticks, words.ticks, (v) =>
      this.#draft.chooseTicks(v),
    );
  }

  #drawClock() {
    const { choices, chosen } = this.#draft.clock();
    say($("duration"), chosen ? words.timeOfDay(chosen.expiresAt, false) : "—");
    say(
      $("duration-hint"),
      chosen ? words.say.buyWithin(counter(chosen.deadline - this.#desk.clock.now())) : "",
    );
    drawChips(
      $("duration-chips"),
      choices.map(({ expiresAt }) => expiresAt),
      chosen?.expiresAt,
      (v) => words.timeOfDay(v, false),
      (v) => this.#draft.chooseClock(v),
    );
  }
}
