// Handles of the barriers on the chart, to be dragged by pointer or moved by keys; lines are the chart's own.

import { h, icon, reconcile, say } from "./dom.mjs";
import * as words from "./strings.mjs";

const KEYS = { ArrowUp: 1, ArrowRight: 1, PageUp: 5, ArrowDown: -1, ArrowLeft: -1, PageDown: -5 };

/** `read()` gives [{name, units, distance, price}]; `yOf` and `priceOf` translate between price and pixels. */
export class LevelHandles {
  #box;
  #options;
  #dragged = null;

  constructor(box, options) {
    this.#box = box;
    this.#options = options;
  }

  /** Name of the barrier under the pointer, null when none is. */
  get dragged() {
    return this.#dragged?.name ?? null;
  }

  /** Put every handle where its price is. */
  place({ width, height }) {
    const { read, yOf } = this.#options;
    this.#box.style.width = `${width}px`;
    reconcile(
      this.#box,
      read(),
      ({ name }) => name,
      ({ name }) => this.#make(name),
      (handle, { name, units, distance, price }) => {
        const y = this.#dragged?.name === name ? this.#dragged.y : yOf(Number(price));
        handle.hidden = y === null;
        if (y === null) return;
        const seen = Math.min(Math.max(y, 0), height);
        handle.style.transform = `translateY(${Math.round(seen)}px)`;
        handle.toggleAttribute("data-beyond", seen !== y);
        handle.setAttribute("aria-valuenow", units);
        handle.setAttribute("aria-valuetext", `${price}, ${words.distance(distance)}`);
        say(handle.querySelector("b"), words.distance(distance));
      },
    );
  }

  #make(name) {
    const handle = h(
      "div",
      {
        class: "handle",
        role: "slider",
        tabindex: "0",
        "aria-orientation": "vertical",
        "aria-label": words.say.levelOnChart(words.LEVELS[name]),
        onkeydown: (event) => this.#key(name, event),
        onpointerdown: (event) => this.#grab(name, event),
        onpointermove: (event) => this.#drag(event),
        onpointerup: () => this.#drop(),
        onlostpointercapture: () => this.#drop(),
      },
      h("span", { class: "grip" }, icon("drag"), words.LEVELS[name], h("b")),
    );
    return handle;
  }

  #key(name, event) {
    const steps = KEYS[event.key];
    if (!steps) return;
    event.preventDefault();
    for (let n = 0; n < Math.abs(steps); n += 1) this.#options.step(name, Math.sign(steps));
  }

  #grab(name, event) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.currentTarget.focus();
    event.currentTarget.setPointerCapture(event.pointerId);
    this.#options.grabbed();
    const { top, height } = event.currentTarget.getBoundingClientRect();
    const y = top + height / 2 - this.#top;
    this.#dragged = { name, y, offset: event.clientY - this.#top - y };
  }

  #drag(event) {
    if (!this.#dragged) return;
    const height = this.#box.parentElement.clientHeight;
    const y = event.clientY - this.#top - this.#dragged.offset;
    this.#dragged.y = Math.min(Math.max(y, 0), height);
    const price = this.#options.priceOf(this.#dragged.y);
    if (price !== null) this.#options.move(this.#dragged.name, price);
  }

  #drop() {
    if (!this.#dragged) return;
    this.#dragged = null;
    this.#options.dropped();
  }

  get #top() {
    return this.#box.getBoundingClientRect().top;
  }
}
