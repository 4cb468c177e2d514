// The tick inspector's chart: what the record says around an instant, on a scale of equal times. It only shows.

import {
  CandlestickSeries,
  ColorType,
  CrosshairMode,
  LineSeries,
  LineType,
  createChart,
} from "../vendor/lightweight-charts/lightweight-charts.mjs";
import { grid, snapped, stretches, timeWords } from "./scale.mjs";

const MANY_POINTS = 400;

const data = JSON.parse(document.getElementById("tick-data").textContent);
const where = document.getElementById("tick-chart");
const whereCandles = document.getElementById("tick-candles");

// Through an element, so that the chart gets rgb() whatever the variable is written in.
function colourOf(name) {
  const probe = document.createElement("i");
  probe.hidden = true;
  document.body.append(probe);
  probe.style.color = `var(--${name})`;
  const drawn = document.createElement("canvas").getContext("2d");
  drawn.fillStyle = getComputedStyle(probe).color;
  probe.remove();
  drawn.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = drawn.getImageData(0, 0, 1, 1).data;
  return `rgba(${r}, ${g}, ${b}, ${a / 255})`;
}

/** Bands for gaps and closed hours, and the line of the instant; `read` gives `[from, to, fill, edge]` in x. */
class Bands {
  #read;

  constructor(read) {
    this.#read = read;
  }

  paneViews() {
    return [{ zOrder: () => "bottom", renderer: () => ({ draw: (target) => this.#draw(target) }) }];
  }

  #draw(target) {
    target.useBitmapCoordinateSpace(({ context, bitmapSize, horizontalPixelRatio: ratio }) => {
      const { bands, instant } = this.#read();
      for (const { from, to, fill, edge } of bands) {
        const x = Math.round(from * ratio);
        const width = Math.max(Math.round(2 * ratio), Math.round((to - from) * ratio));
        context.fillStyle = fill;
        context.fillRect(x, 0, width, bitmapSize.height);
        context.fillStyle = edge;
        context.fillRect(x, 0, Math.max(1, Math.round(ratio)), bitmapSize.height);
      }
      if (instant.x === null) return;
      context.strokeStyle = instant.colour;
      context.lineWidth = Math.max(1, Math.round(1.5 * ratio));
      context.setLineDash([5 * ratio, 4 * ratio]);
      context.beginPath();
      context.moveTo(Math.round(instant.x * ratio), 0);
      context.lineTo(Math.round(instant.x * ratio), bitmapSize.height);
      context.stroke();
    });
  }
}

const slots = grid(data.start, data.end);
const times = slots.times;
const at = (ms) => snapped(slots, ms);

function options(colours, precise) {
  return {
    autoSize: true,
    layout: {
      attributionLogo: precise, // one logo is enough for two charts
      background: { type: ColorType.Solid, color: "transparent" },
      textColor: colours["panel-faint"],
      fontFamily: getComputedStyle(document.body).fontFamily,
      fontSize: 11,
    },
    grid: { vertLines: { color: colours["panel-line"] }, horzLines: { color: colours["panel-line"] } },
    crosshair: { mode: CrosshairMode.Normal },
    rightPriceScale: { borderVisible: false },
    timeScale: {
      borderVisible: false,
      timeVisible: true,
      secondsVisible: true,
      minBarSpacing: 0.001,
      fixLeftEdge: true,
      fixRightEdge: true,
      // The first slot may begin between two seconds: its words would run into those of the next.
      tickMarkFormatter: (time) => (Number.isInteger(time) ? timeWords(time, false) : ""),
    },
    localization: { timeFormatter: (time) => `${timeWords(time, precise)} UTC` },
  };
}

const priceFormat = { type: "price", precision: data.decimals, minMove: 10 ** -data.decimals };
const quiet = { priceFormat, lastValueVisible: false, priceLineVisible: false };

function drawTicks(colours) {
  const chart = createChart(where, options(colours, true));
  // Every slot has a place on the scale, whether or not there is a price in it: equal times are equally long.
  const base = chart.addSeries(LineSeries, quiet);
  base.setData(times.map((time) => ({ time })));
  for (const points of stretches(data.ticks, data.gaps)) {
    const line = chart.addSeries(LineSeries, {
      ...quiet,
      color: colours["tick-line"],
      lineType: LineType.WithSteps,
      lineWidth: 1,
      pointMarkersVisible: data.ticks.length <= MANY_POINTS,
      pointMarkersRadius: 2.5,
    });
    line.setData(perSlot(points));
  }
  if (data.late.length) {
    const late = chart.addSeries(LineSeries, {
      ...quiet,
      color: colours["tick-late"],
      lineVisible: false,
      pointMarkersVisible: true,
      pointMarkersRadius: 3,
    });
    late.setData(perSlot(data.late));
  }
  const scale = chart.timeScale();
  const x = (ms) => scale.timeToCoordinate(at(ms));
  const bands = (list, fill, edge) =>
    list.map(([from, to]) => ({ from: x(from), to: x(to), fill, edge })).filter((each) => each.from !== null);
  base.attachPrimitive(
    new Bands(() => ({
      bands: [
        ...bands(data.closed, colours["tick-closed"], colours["panel-faint"]),
        ...bands(data.gaps, colours["tick-gap"], colours["tick-gap-edge"]),
      ],
      instant: { x: x(data.at), colour: colours["tick-at"] },
    })),
  );
  scale.fitContent();
  new ResizeObserver(() => scale.fitContent()).observe(where);
  return chart;
}

// Of several prices in one slot the last: the line then stands where the table's newest row of it does.
function perSlot(points) {
  const found = new Map();
  for (const [ms, value] of points) found.set(at(ms), value);
  return [...found].map(([time, value]) => ({ time, value }));
}

function drawCandles(colours) {
  const chart = createChart(whereCandles, options(colours, false));
  const candles = chart.addSeries(CandlestickSeries, {
    ...quiet,
    upColor: colours["tick-line"],
    downColor: colours["tick-gap-edge"],
    wickUpColor: colours["tick-line"],
    wickDownColor: colours["tick-gap-edge"],
    borderVisible: false,
  });
  candles.setData(
    data.candles.map(([ms, open, high, low, close]) => ({ time: ms / 1000, open, high, low, close })),
  );
  chart.timeScale().fitContent();
  return chart;
}

let charts = [];

function draw() {
  for (const chart of charts) chart.remove();
  const names = [
    "panel-faint",
    "panel-line",
    "tick-line",
    "tick-late",
    "tick-gap",
    "tick-gap-edge",
    "tick-closed",
    "tick-at",
  ];
  const colours = Object.fromEntries(names.map((name) => [name, colourOf(name)]));
  charts = [drawTicks(colours)];
  if (data.candles.length) charts.push(drawCandles(colours));
}

draw();
const chosen = document.querySelector("#tick-rows .is-chosen");
if (chosen) {
  const rows = chosen.closest(".small-table");
  rows.scrollTop = chosen.offsetTop - rows.clientHeight / 2;
}
new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["class"] });
