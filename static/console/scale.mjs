// The scale of the tick chart: instants in milliseconds of the epoch, drawn in slots of equal length.

const MOST_SLOTS = 6000;
// Each divides a second or is whole ones, so that seconds begin with a slot and the scale has round times.
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

/** Divide [start, end] into equal slots; `times` are their starts, in seconds as the chart has them. */
export function grid(start, end) {
  const step = STEPS.find((each) => (end - start) / each <= MOST_SLOTS) ?? STEPS.at(-1);
  const first = Math.floor(start / step) * step;
  const count = Math.floor((end - first) / step) + 1;
  return { first, step, count, times: Array.from({ length: count }, (_, n) => (first + n * step) / 1000) };
}

/** The time of the slot that holds an instant, the first or last one's for an instant outside. */
export function snapped({ first, step, count }, ms) {
  const slot = Math.min(count - 1, Math.max(0, Math.floor((ms - first) / step)));
  return (first + slot * step) / 1000;
}

/** Cut points `[ms, price]` where a gap `[from, to]` lies between them: no line is drawn over what is not known. */
export function stretches(points, gaps) {
  const found = [[]];
  for (const point of points) {
    const last = found.at(-1).at(-1);
    if (last && gaps.some(([from, to]) => last[0] <= to && point[0] > from && from >= last[0])) found.push([]);
    found.at(-1).push(point);
  }
  return found.filter((each) => each.length);
}

/** An instant in seconds of the epoch as UTC time of day, with milliseconds where they are asked for. */
export function timeWords(time, precise) {
  const words = new Date(Math.round(time * 1000)).toISOString().slice(11, 23);
  return precise || !words.endsWith(".000") ? words : words.slice(0, 8);
}
