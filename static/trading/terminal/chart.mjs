// The chart: history from REST, the forming candle from the socket, orders on top. It shows; it decides nothing.

import {
  AreaSeries,
  CandlestickSeries,
  ColorType,
  CrosshairMode,
  LastPriceAnimationMode,
  LineStyle,
  createChart,
} from "lightweight-charts";
import { parseInstant } from "./clock.mjs";
import { applyLive, logicalOf, toBar, union } from "./candles.mjs";
import { rows } from "./api.mjs";
import { $ } from "./dom.mjs";
import { LevelHandles } from "./levels.mjs";
import { markOf, rangeOf } from "./marks.mjs";
import { LEVELS, timeOfDay } from "./strings.mjs";
import { OrderMarks } from "./overlay.mjs";

const PAGE = 500;
const NEAR_THE_START = 30;
const ROOM_FOR_FLAGS = { true: 92, false: 150 };
const BAR_SPACING = [9, 26];
const narrow = matchMedia("(max-width: 900px)");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function colourOf(name) {
  const probe = document.createElement("i");
  probe.hidden = true;
  document.body.append(probe);
  probe.style.color = `var(--${name})`;
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

const faded = (colour, alpha) => colour.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);

/** Draws one instrument in one frame and style; `desk` gives the API, the clock and the open orders, `draft` the
 *  barriers that are being chosen. */
export class PriceChart {
  #desk;
  #draft;
  #chart;
  #series = null;
  #marks;
  #handles;
  #lines = new Map();
  #range = null;
  #bars = [];
  #early = [];
  #ready = false;
  #exhausted = false;
  #loading = null;
  #heard = null;
  #round = 0;
  #colours = {};

  constructor(container, desk, draft, { onState, onLegend }) {
    this.#desk = desk;
    this.#draft = draft;
    Object.assign(this, { onState, onLegend });
    this.#chart = createChart(container, {
      autoSize: true,
      layout: { attributionLogo: false }, // its style element is refused by our policy; the link stands in the footer
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: {
        borderVisible: false,
        secondsVisible: true,
        timeVisible: true,
        rightOffsetPixels: ROOM_FOR_FLAGS[narrow.matches],
        minBarSpacing: 1.5,
        allowBoldLabels: false,
        tickMarkFormatter: (time, type) => tickMark(time, type),
      },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.16, bottom: 0.14 } },
      localization: {
        timeFormatter: (time) =>
          `${timeOfDay(time * 1000)} (${new Date(time * 1000).toISOString().slice(11, 19)} UTC)`,
      },
    });
    this.#handles = new LevelHandles($("handles"), {
      read: () => draft.levelPrices(),
      yOf: (price) => this.#series.priceToCoordinate(price),
      priceOf: (y) => this.#series.coordinateToPrice(y),
      move: (name, price) => draft.moveLevelTo(name, price),
      step: (name, direction) => draft.stepLevel(name, direction),
      // The scale stands still under a finger.
      grabbed: () => (this.#range = this.#rangeInView()),
      dropped: () => this.marksChanged(),
    });
    this.#marks = new OrderMarks({
      read: () => this.#readMarks(),
      range: () => (this.#handles.dragged ? this.#range : this.#rangeInView()),
      moved: () => this.#placeHandles(),
    });
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && range.from < NEAR_THE_START) this.#loadEarlier();
    });
    this.#chart.subscribeCrosshairMove(({ seriesData, time }) => {
      const bar = time === undefined ? null : this.#bars.find((known) => known.time === time);
      this.onLegend(bar && seriesData.size ? bar : null);
    });
  }

  get bars() {
    return this.#bars;
  }

  /** Show an instrument from scratch; live candles heard while history is on its way are kept and joined. */
  async show(instrument, interval, style) {
    this.#round += 1;
    Object.assign(this, { instrument, interval, style });
    this.#bars = [];
    this.#early = [];
    this.#ready = false;
    this.#exhausted = false;
    this.#loading = null;
    this.#heard = null;
    this.#build();
    await this.refresh();
    this.#chart.timeScale().applyOptions({ secondsVisible: interval < 60, barSpacing: this.#spacing() });
    this.#chart.timeScale().resetTimeScale();
  }

  // A market that is minutes old fills the width with wider bars.
  #spacing() {
    const [least, most] = BAR_SPACING;
    const room = this.#chart.timeScale().width() - ROOM_FOR_FLAGS[narrow.matches];
    return Math.max(least, Math.min(most, room / (this.#bars.length + 1)));
  }

  /** Read the latest page again and join it to what is shown: after a reconnect, and when a candle closes. */
  async refresh(limit = PAGE) {
    const round = this.#round;
    if (!this.#ready) this.onState("loading");
    try {
      const page = await this.#fetch({ limit });
      if (round !== this.#round) return;
      const hole = this.#bars.length && page.length && page[0].time > this.#bars.at(-1).time;
      if (hole && limit < PAGE) {
        await this.refresh();
        return;
      }
      this.#bars = hole ? page : union(this.#bars, page);
      this.#ready = true;
      for (const { candle, from } of this.#early.splice(0))
        this.#bars = applyLive(this.#bars, candle, from, this.interval).bars;
      this.#draw();
      this.onState(this.#bars.length ? "ready" : "empty");
    } catch (problem) {
      if (round === this.#round && !this.#ready) this.onState("failed", problem);
    }
  }

  /** Take a live candle of the stored frame `from`. */
  live(candle, from) {
    const before = this.#heard;
    this.#heard = { start: candle.start, isForming: candle.is_forming };
    if (!this.#ready) {
      this.#early.push({ candle, from });
      return;
    }
    const { bars, change } = applyLive(this.#bars, candle, from, this.interval);
    // On a busy channel the end of a candle may be superseded by the beginning of the next.
    const missed = before ? before.isForming && before.start < candle.start : change === "append";
    if (missed) this.refresh(3);
    if (change === "none") return;
    this.#bars = bars;
    if (change === "rewrite") this.#draw();
    else this.#series.update(this.#point(bars.at(-1)));
    if (bars.length === 1) this.onState("ready");
    this.marksChanged();
  }

  marksChanged() {
    this.#drawLines();
    this.#marks.refresh();
  }

  restyle(style) {
    this.style = style;
    this.#build();
    this.#draw();
  }

  recolour() {
    this.restyle(this.style);
  }

  async #fetch(parameters) {
    const answer = await this.#desk.api.get(
      `/instruments/${encodeURIComponent(this.instrument.symbol)}/candles`,
      {
        interval: this.interval,
        ...parameters,
      },
    );
    return union([], rows(answer).map(toBar));
  }

  async #loadEarlier() {
    if (!this.#ready || this.#exhausted || this.#loading || !this.#bars.length) return;
    const round = this.#round;
    this.#loading = this.#fetch({ limit: PAGE, end: new Date(this.#bars[0].time * 1000).toISOString() });
    try {
      const page = await this.#loading;
      if (round !== this.#round) return;
      const before = this.#bars.length;
      this.#bars = union(page, this.#bars);
      this.#exhausted = this.#bars.length === before;
      if (!this.#exhausted) this.#draw();
    } catch {
      // The next scroll asks again.
    } finally {
      if (round === this.#round) this.#loading = null;
    }
  }

  #build() {
    const c = (this.#colours = Object.fromEntries(
      [
        "panel",
        "text",
        "soft",
        "faint",
        "line",
        "line-strong",
        "up-fill",
        "down-fill",
        "on-up",
        "on-down",
        "pressed",
      ].map((name) => [name, colourOf(name)]),
    ));
    if (this.#series) {
      this.#series.detachPrimitive(this.#marks);
      this.#chart.removeSeries(this.#series);
      this.#lines.clear();
    }
    const font = getComputedStyle(document.body).fontFamily;
    this.#chart.applyOptions({
      layout: {
        background: { type: ColorType.Solid, color: "transparent" },
        textColor: c.faint,
        fontFamily: font,
        fontSize: 11,
      },
      grid: { vertLines: { color: faded(c.line, 0.55) }, horzLines: { color: faded(c.line, 0.55) } },
      crosshair: {
        vertLine: { color: c["line-strong"], labelBackgroundColor: c.text, style: LineStyle.Dashed },
        horzLine: { color: c["line-strong"], labelBackgroundColor: c.text, style: LineStyle.Dashed },
      },
    });
    const decimals = this.instrument.price_decimals;
    const common = {
      priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals },
      priceLineColor: c.text,
      priceLineStyle: LineStyle.Dotted,
    };
    this.#series =
      this.style === "line"
        ? this.#chart.addSeries(AreaSeries, {
            ...common,
            lineColor: c.text,
            lineWidth: 2,
            topColor: faded(c.text, 0.1),
            bottomColor: faded(c.text, 0),
            crosshairMarkerBackgroundColor: c.text,
            lastPriceAnimation: calm.matches
              ? LastPriceAnimationMode.Disabled
              : LastPriceAnimationMode.Continuous,
          })
        : this.#chart.addSeries(CandlestickSeries, {
            ...common,
            upColor: c["up-fill"],
            downColor: c["down-fill"],
            wickUpColor: c["up-fill"],
            wickDownColor: c["down-fill"],
            borderVisible: false,
          });
    this.#series.attachPrimitive(this.#marks);
  }

  #point({ time, open, high, low, close }) {
    return this.style === "line" ? { time, value: close } : { time, open, high, low, close };
  }

  #draw() {
    this.#series.setData(this.#bars.map((bar) => this.#point(bar)));
  }

  #x(at) {
    // A candle fills its slot from half a bar left of its centre to half a bar right of it.
    const logical = logicalOf(this.#bars, at / 1000, this.interval);
    if (logical === null) return null;
    const scale = this.#chart.timeScale();
    const slot = Math.floor(logical - 0.5);
    const x = scale.logicalToCoordinate(slot); // whole indices only
    return x === null ? null : x + (logical - 0.5 - slot) * scale.options().barSpacing;
  }

  #readMarks() {
    const c = this.#colours;
    const { openOrders, account } = this.#desk;
    const canvas = {
      x: (at) => this.#x(at),
      y: (price) => (price ? this.#series.priceToCoordinate(Number(price)) : null),
    };
    const context = { desk: this.#desk, instrument: this.instrument, isNarrow: narrow.matches };
    const marks = openOrders()
      .map((order) => markOf(order, canvas, { ...context, currency: account()?.currency ?? "" }))
      .filter(Boolean)
      .sort((a, b) => (a.strikeY ?? 0) - (b.strikeY ?? 0));
    const neutral = { fill: c.soft, text: c.panel };
    const colours = {
      ahead: { fill: c["up-fill"], text: c["on-up"] },
      behind: { fill: c["down-fill"], text: c["on-down"] },
      level: neutral,
      waiting: neutral,
      settling: neutral,
      unknown: neutral,
      line: c["line-strong"],
    };
    return { marks, colours, font: `600 11px ${getComputedStyle(document.body).fontFamily}` };
  }

  #rangeInView() {
    const orders = this.#desk.openOrders().filter(({ symbol }) => symbol === this.instrument.symbol);
    return rangeOf(orders, this.#draft.levelPrices(), this.#bars);
  }

  #drawLines() {
    if (!this.#series) return;
    const levels = this.#draft.levelPrices();
    for (const [name, line] of this.#lines) {
      if (levels.some((level) => level.name === name)) continue;
      this.#series.removePriceLine(line);
      this.#lines.delete(name);
    }
    for (const { name, price } of levels) {
      const options = {
        price: Number(price),
        color: this.#colours.text,
        lineWidth: 1,
        lineStyle: LineStyle.Dashed,
        axisLabelVisible: true,
        axisLabelColor: this.#colours.text,
        axisLabelTextColor: this.#colours.panel,
        title: narrow.matches ? "" : LEVELS[name],
      };
      if (this.#lines.has(name)) this.#lines.get(name).applyOptions(options);
      else this.#lines.set(name, this.#series.createPriceLine(options));
    }
  }

  #placeHandles() {
    const { width, height } = this.#chart.paneSize();
    this.#handles.place({ width, height });
  }
}

const DAY_MARKS = 2; // lightweight-charts: year, month and day marks come first, times after them

function tickMark(time, type) {
  const date = new Date(time * 1000);
  if (type <= DAY_MARKS) return date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return timeOfDay(date, date.getSeconds() !== 0);
}
