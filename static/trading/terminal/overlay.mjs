// Open orders drawn on the chart: entry point, strike line, band to the price, and a flag at the expiry.

const CHIP_HEIGHT = 20;
const BAND = 0.16;

function shape(x, y, width, height, radius) {
  const path = new Path2D();
  path.roundRect(x, y, width, height, radius);
  return path;
}

/** A series primitive of lightweight-charts; `read()` gives the marks, in chart coordinates, at each draw.
 *  `range()` gives {minValue, maxValue} that must be in view, or null; `moved()` hears whenever the chart moved. */
export class OrderMarks {
  #request = () => {};

  constructor({ read, range, moved }) {
    Object.assign(this, { range, moved });
    const renderer = {
      draw: (target) =>
        target.useMediaCoordinateSpace(({ context, mediaSize }) => paint(context, mediaSize, read())),
    };
    this.#views = [{ zOrder: () => "top", renderer: () => renderer }];
  }

  #views;

  attached({ requestUpdate }) {
    this.#request = requestUpdate;
  }

  detached() {
    this.#request = () => {};
  }

  autoscaleInfo() {
    const priceRange = this.range();
    return priceRange && { priceRange };
  }

  updateAllViews() {
    this.moved();
  }

  paneViews() {
    return this.#views;
  }

  refresh() {
    this.#request();
  }
}

function paint(context, size, { marks, colours, font }) {
  const shown = marks
    .map((mark) => ({
      ...mark,
      tint: colours[mark.standing],
      left: Math.max(-10, mark.entryX ?? mark.startX),
      right: Math.min(size.width - 4, mark.expiryX),
    }))
    .filter(({ right }) => right > -40);
  const taken = [];
  context.save();
  for (const mark of shown) drawBand(context, mark, BAND / shown.length);
  for (const mark of shown) drawExpiry(context, size, mark, colours.line);
  for (const mark of shown) drawLevels(context, mark);
  for (const mark of shown) if (mark.strikeY != null) drawStrike(context, mark);
  for (const mark of shown) drawFlag(context, size, mark, font, taken);
  context.restore();
}

// Bands lie over each other, so many of them are fainter each.
function drawBand(context, mark, opacity) {
  const [from, to] = mark.band;
  if (from == null || to == null) return;
  context.globalAlpha = opacity;
  context.fillStyle = mark.tint.fill;
  context.fillRect(mark.left, Math.min(from, to), mark.right - mark.left, Math.abs(to - from));
  context.globalAlpha = 1;
}

function drawExpiry(context, size, mark, colour) {
  if (!mark.hasExpiry || mark.expiryX > size.width) return;
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.setLineDash([2, 4]);
  context.beginPath();
  context.moveTo(Math.round(mark.expiryX) + 0.5, 0);
  context.lineTo(Math.round(mark.expiryX) + 0.5, size.height);
  context.stroke();
  context.setLineDash([]);
}

function drawLevels(context, { left, right, tint, levelYs }) {
  context.strokeStyle = tint.fill;
  context.lineWidth = 1.5;
  context.setLineDash([6, 4]);
  for (const y of levelYs) {
    context.beginPath();
    context.moveTo(left, y);
    context.lineTo(right, y);
    context.stroke();
  }
  context.setLineDash([]);
}

function drawStrike(context, mark) {
  const { left, right, tint } = mark;
  context.fillStyle = tint.fill;
  context.beginPath();
  if (mark.isStrike) {
    context.rect(left, mark.strikeY - 0.75, right - left, 1.5);
    context.fill();
    context.beginPath();
  }
  context.arc(mark.entryX, mark.strikeY, 4, 0, Math.PI * 2);
  const tip = { up: -1, down: 1 }[mark.side];
  if (tip) {
    context.moveTo(mark.entryX - 6, mark.strikeY + tip * 8);
    context.lineTo(mark.entryX, mark.strikeY + tip * 15);
    context.lineTo(mark.entryX + 6, mark.strikeY + tip * 8);
    context.closePath();
  }
  context.fill();
}

function drawFlag(context, size, mark, font, taken) {
  const { right, tint } = mark;
  context.font = font;
  const width = Math.ceil(context.measureText(mark.text).width) + 16;
  const x = Math.max(4, Math.min(size.width - width - 4, right + 5));
  let y = (mark.levelYs[0] ?? mark.strikeY ?? size.height / 2) - CHIP_HEIGHT / 2;
  const lowest = size.height - CHIP_HEIGHT - 4;
  y = Math.max(4, Math.min(lowest, y));
  const isTaken = (at) =>
    taken.some((other) => Math.abs(other.y - at) < CHIP_HEIGHT + 2 && Math.abs(other.x - x) < width);
  const beside = (way) => {
    let at = y;
    while (isTaken(at)) at += way * (CHIP_HEIGHT + 3);
    return at;
  };
  y = beside(1) <= lowest ? beside(1) : beside(-1);
  taken.push({ x, y });
  context.fillStyle = tint.fill;
  context.fill(shape(x, y, width, CHIP_HEIGHT, CHIP_HEIGHT / 2));
  context.fillStyle = tint.text;
  context.textBaseline = "middle";
  context.fillText(mark.text, x + 8, y + CHIP_HEIGHT / 2 + 0.5);
}
