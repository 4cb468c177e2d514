// The picture of a receipt: its own ticks as the steps they are, entry, exit and expiry, and what they are measured by.

import { inRows, priceAxis, timeAxis } from "./receiptscale.mjs";
import { sceneOf } from "./receipt.mjs";
import * as said from "./receiptwords.mjs";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = { true: 250, false: 300 };
const NARROW = 480;
const FLAG = 22;
const PAD = 14;
const FOOT = 24;
const CHARACTER = 6.5;
const MANY_TICKS = 90;

/** Draw a receipt into an element, again whenever its width changes; nothing where it holds no tick. */
export function drawPicture(frame, receipt) {
  const scene = sceneOf(receipt);
  if (!scene) return;
  const picture = document.createElement("div");
  const caption = document.createElement("figcaption");
  caption.textContent = said.caption({
    hasHole: scene.runs.length > 1,
    hasGap: scene.gaps.length > 0,
    winner: scene.wins.length ? receipt.terms.side : null,
  });
  frame.replaceChildren(picture, caption);
  new ResizeObserver(() => {
    if (!picture.clientWidth) return;
    const svg = paint(scene, picture.clientWidth);
    svg.setAttribute("aria-label", said.picture(receipt));
    picture.replaceChildren(svg);
  }).observe(picture);
}

function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes))
    if (value != null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const widthOf = (text) => text.length * CHARACTER;

function paint(scene, width) {
  const canvas = canvasOf(scene, width);
  return s(
    "svg",
    {
      class: "receipt-picture",
      role: "img",
      width,
      height: canvas.height,
      viewBox: `0 0 ${width} ${canvas.height}`,
    },
    ...drawZones(scene, canvas),
    ...drawHoles(canvas),
    ...drawGrid(scene, canvas),
    ...drawGaps(scene, canvas),
    ...drawMissing(canvas),
    ...drawGuides(canvas),
    ...drawLevels(scene, canvas),
    ...drawLine(scene, canvas),
    ...drawTicks(scene, canvas),
    ...drawFlags(scene, canvas),
  );
}

// Where everything lies, in pixels.
function canvasOf(scene, width) {
  const ticks = scene.runs.flat();
  const times = timeAxis(
    scene.runs,
    scene.marks.map(({ at }) => at),
  );
  const prices = priceAxis(
    [...ticks, ...scene.levels].map(({ price }) => price),
    scene.decimals,
  );
  const right = width - Math.max(...prices.steps.concat(ticks[0].text).map(widthOf)) - 10;
  const share = (part) => PAD + part * (right - 2 * PAD);
  const x = (at) => share(times.place(at));
  const flags = inRows(
    scene.marks.map((mark) => ({ ...mark, x: x(mark.at), width: widthOf(flagText(mark)) + 14 })),
    right,
  );
  const top = Math.max(...flags.map(({ row }) => row + 1)) * FLAG + 10;
  const height = HEIGHT[width < NARROW] + top;
  const bottom = height - FOOT;
  const y = (price) =>
    bottom - 8 - ((price - prices.least) / (prices.most - prices.least)) * (bottom - top - 16);
  return { height, top, bottom, right, x, y, times, prices, flags, holes: holesOf(scene.runs, times, share) };
}

function flagText({ name, price }) {
  return price === null ? said.NAMES[name] : `${said.NAMES[name]} ${price}`;
}

function drawZones({ wins, marks }, { x, y, top, bottom }) {
  const [from, to] = [x(marks.find(({ name }) => name === "entry")?.at ?? marks[0].at), x(marks.at(-1).at)];
  return wins.map(([above, below]) => {
    const [high, low] = [below === null ? top : y(below), above === null ? bottom : y(above)];
    return s("rect", { class: "zone", x: from, y: high, width: Math.max(0, to - from), height: low - high });
  });
}

function holesOf(runs, { stretches }, share) {
  return stretches.slice(1).map(({ from, to, left }, index) => {
    const next = runs.findIndex(([{ at }]) => at >= from && at <= to);
    const missing = next > 0 ? runs[next][0].seq - runs[next - 1].at(-1).seq - 1 : 0;
    return { from: share(stretches[index].right), to: share(left), missing };
  });
}

function drawHoles({ holes, top, bottom }) {
  return holes.map(({ from, to }) =>
    s("rect", {
      class: "hole",
      x: from + 4,
      y: top,
      width: Math.max(0, to - from - 8),
      height: bottom - top,
    }),
  );
}

function drawMissing({ holes, bottom }) {
  return holes.flatMap(({ from, to, missing }) =>
    (missing ? said.countLines(missing) : []).map((text, line) =>
      s("text", { x: (from + to) / 2, y: bottom - 22 + line * 13, "text-anchor": "middle" }, text),
    ),
  );
}

function drawGrid(scene, { x, y, bottom, right, times, prices }) {
  const lines = prices.steps.flatMap((step) => [
    s("line", { class: "grid", x1: 0, x2: right, y1: y(Number(step)), y2: y(Number(step)) }),
    s("text", { x: right + 8, y: y(Number(step)) + 4 }, step),
  ]);
  const instants = times.stretches.flatMap(({ from, to }) => (from === to ? [from] : [from, to]));
  let end = -Infinity;
  const labels = instants.flatMap((at) => {
    const text = new Date(at).toISOString().slice(11, 19);
    const left = Math.max(0, Math.min(right - widthOf(text), x(at) - widthOf(text) / 2));
    if (left < end) return [];
    end = left + widthOf(text) + 8;
    return [s("text", { x: left, y: bottom + 16 }, text)];
  });
  return [...lines, ...labels];
}

function drawGaps({ gaps }, { x, top, bottom }) {
  return gaps.flatMap(({ from, to }) => {
    const [left, right] = [x(from), x(to)];
    return [
      s("rect", { class: "gap", x: left, y: top, width: Math.max(3, right - left), height: bottom - top }),
      s("text", { class: "gap-label", x: left + 6, y: top + 16 }, said.NAMES.gap),
    ];
  });
}

function drawGuides({ flags, y, bottom }) {
  return flags.map(({ name, x, row, price }) =>
    s("line", {
      class: `guide ${name}`,
      x1: x,
      x2: x,
      y1: (row + 1) * FLAG,
      y2: price === null ? bottom : y(Number(price)),
    }),
  );
}

function drawLevels({ levels, marks }, { x, y, right }) {
  return levels.flatMap(({ name, price, text }) => {
    const isEntry = name === "entry";
    const from = isEntry ? x(marks.find((mark) => mark.name === "entry").at) : 0;
    const label = [said.NAMES[name], text].filter(Boolean).join(" ");
    return [
      s("line", {
        class: `level ${name}`,
        x1: from,
        x2: isEntry ? x(marks.at(-1).at) : right,
        y1: y(price),
        y2: y(price),
      }),
      !isEntry && s("text", { class: "level-label", x: 4, y: y(price) + (name === "low" ? 14 : -6) }, label),
    ].filter(Boolean);
  });
}

// A price is in force until the next tick, or as far as the record is complete.
function drawLine({ runs, knownUntil }, { x, y, times }) {
  return runs.flatMap((run, index) => {
    const stretch = times.stretches.find(({ from, to }) => run[0].at >= from && run[0].at <= to);
    const last = Math.max(run.at(-1).at, Math.min(stretch.to, knownUntil));
    const steps = run.map(
      (tick, place) => `${place ? `H${x(tick.at)}V` : `M${x(tick.at)} `}${y(tick.price)}`,
    );
    const lines = [s("path", { class: "line", d: `${steps.join("")}H${x(last)}` })];
    const next = runs[index + 1]?.[0];
    if (next)
      lines.unshift(
        s("path", {
          class: "line left-out",
          d: `M${x(last)} ${y(run.at(-1).price)}L${x(next.at)} ${y(next.price)}`,
        }),
      );
    return lines;
  });
}

function drawTicks({ runs, status }, { x, y }) {
  const ticks = runs.flat();
  const isMarked = ({ roles }) => roles.length > 0;
  const shown = ticks.length > MANY_TICKS ? ticks.filter(isMarked) : ticks;
  return [...shown]
    .sort((a, b) => isMarked(a) - isMarked(b))
    .map((tick) => {
      const [cx, cy] = [x(tick.at), y(tick.price)];
      const title = s("title", {}, said.tickTitle(tick));
      if (tick.roles.includes("voided"))
        return s("path", { class: "tick voided", d: `M${cx - 4} ${cy - 4}l8 8m0 -8l-8 8` }, title);
      const role = tick.roles.at(-1) ?? "";
      return s("circle", { class: `tick ${role} ${role ? status : ""}`, cx, cy, r: role ? 5.5 : 2.5 }, title);
    });
}

function drawFlags({ status, isDigit }, { flags }) {
  return flags.map((flag) => {
    const { name, left, row, width } = flag;
    const text = flagText(flag);
    const digit = isDigit && (name === "exit" || name === "sale") ? text.slice(-1) : "";
    return s(
      "g",
      { class: `flag ${name} ${status}` },
      s("rect", { x: left, y: row * FLAG, width, height: FLAG - 3, rx: 5 }),
      s(
        "text",
        { x: left + width / 2, y: row * FLAG + 13.5, "text-anchor": "middle" },
        digit ? text.slice(0, -1) : text,
        ...(digit ? [s("tspan", { class: "digit" }, digit)] : []),
      ),
    );
  });
}
