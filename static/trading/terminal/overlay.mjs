// Open orders drawn on the chart: entry point, strike line, band to the price, and a flag at the expiry.

const CHIP_HEIGHT = 20;
const BAND = 0.16;

function shape(x, y, width, height, radius) {
  const path = new Path2D();
  path.roundRect(x, y, width, height, radius);
  return path;
}

/** A series primitive of lightweight-charts; `read()` gives the marks, in chart coordinates, at each draw. */
export class OrderMarks {
  #request = () => {};

  constructor(read) {
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
  for (const mark of shown) if (mark.strikeY != null) drawStrike(context, mark);
  for (const mark of shown) drawFlag(context, size, mark, font, taken);
  context.restore();
}

// Bands lie over each other, so many of them are fainter each.
function drawBand(context, mark, opacity) {
  if (mark.strikeY == null || mark.priceY == null) return;
  context.globalAlpha = opacity;
  context.fillStyle = mark.tint.fill;
  context.fillRect(
    mark.left,
    Math.min(mark.strikeY, mark.priceY),
    mark.right - mark.left,
    Math.abs(mark.priceY - mark.strikeY),
  );
  context.globalAlpha = 1;
}

function drawExpiry(context, size, mark, colour) {
  if (mark.expiryX > size.width) return;
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.setLineDash([2, 4]);
  context.beginPath();
  context.moveTo(Math.round(mark.expiryX) + 0.5, 0);
  context.lineTo(Math.round(mark.expiryX) + 0.5, size.height);
  context.stroke();
  context.setLineDash([]);
}

function drawStrike(context, mark) {
  const { left, right, tint } = mark;
  context.strokeStyle = tint.fill;
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(left, mark.strikeY);
  context.lineTo(right, mark.strikeY);
  context.stroke();
  context.fillStyle = tint.fill;
  context.beginPath();
  const tip = mark.side === "up" ? -1 : 1;
  context.arc(mark.entryX, mark.strikeY, 4, 0, Math.PI * 2);
  context.moveTo(mark.entryX - 6, mark.strikeY + tip * 8);
  context.lineTo(mark.entryX, mark.strikeY + tip * 15);
  context.lineTo(mark.entryX + 6, mark.strikeY + tip * 8);
  context.closePath();
  context.fill();
}

function drawFlag(context, size, mark, font, taken) {
  const { right, tint } = mark;
  context.font = font;
  const width = Math.ceil(context.measureText(mark.text).width) + 16;
  const x = Math.max(4, Math.min(size.width - width - 4, right + 5));
  let y = (mark.strikeY ?? size.height / 2) - CHIP_HEIGHT / 2;
  y = Math.max(4, Math.min(size.height - CHIP_HEIGHT - 4, y));
  while (taken.some((other) => Math.abs(other.y - y) < CHIP_HEIGHT + 2 && Math.abs(other.x - x) < width))
    y += CHIP_HEIGHT + 3;
  taken.push({ x, y });
  context.fillStyle = tint.fill;
  context.fill(shape(x, y, width, CHIP_HEIGHT, CHIP_HEIGHT / 2));
  context.fillStyle = tint.text;
  context.textBaseline = "middle";
  context.fillText(mark.text, x + 8, y + CHIP_HEIGHT / 2 + 0.5);
}
