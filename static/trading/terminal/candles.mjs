// Bars of the chart: history pages and live candles joined by sequence number, without a gap or an overlap.
// A bar is {time (s, UTC), open, high, low, close, lastSeq}; lists are ascending by time and never changed in place.

export const FRAMES = [5, 60, 300, 900, 3600];

/** The stored frame whose live candle feeds `interval`. */
export function liveInterval(interval) {
  return interval < 60 ? 5 : 60;
}

/** Start of the bucket of `interval` seconds that holds `time`, both in seconds. */
export function bucket(time, interval) {
  return Math.floor(time / interval) * interval;
}

/** A bar from a candle as REST and the socket send it. */
export function toBar(candle) {
  return {
    time: Math.floor(Date.parse(candle.start) / 1000),
    open: Number(candle.open),
    high: Number(candle.high),
    low: Number(candle.low),
    close: Number(candle.close),
    lastSeq: Number(candle.last_seq ?? 0),
  };
}

/** Union of two lists; where both have a bar, the one that knows more ticks stays. */
export function union(bars, page) {
  const byTime = new Map(bars.map((bar) => [bar.time, bar]));
  for (const bar of page) {
    const known = byTime.get(bar.time);
    if (!known || bar.lastSeq >= known.lastSeq) byTime.set(bar.time, bar);
  }
  return [...byTime.values()].sort((a, b) => a.time - b.time);
}

/** Add a live candle of frame `from` to the bars of frame `interval`.
 *  `change` is "none", "update" (the last bar), "append" (a new bar) or "rewrite" (an older bar). */
export function applyLive(bars, candle, from, interval) {
  const live = toBar(candle);
  const time = bucket(live.time, interval);
  const index = bars.findLastIndex((bar) => bar.time <= time);
  const known = index >= 0 && bars[index].time === time ? bars[index] : null;
  if (!known) {
    if (index !== bars.length - 1) return { bars, change: "none" };
    return { bars: [...bars, { ...live, time }], change: "append" };
  }
  if (live.lastSeq <= known.lastSeq) return { bars, change: "none" };
  const next = from === interval ? live : widen(known, live);
  const last = index === bars.length - 1;
  const head = bars.slice(0, index);
  return { bars: [...head, next, ...bars.slice(index + 1)], change: last ? "update" : "rewrite" };
}

// The live candle is whole each time, so taking it in twice changes nothing.
function widen(bar, live) {
  return {
    ...bar,
    high: Math.max(bar.high, live.high),
    low: Math.min(bar.low, live.low),
    close: live.close,
    lastSeq: live.lastSeq,
  };
}

/** Where an instant (s) lies on an axis of bars, as a fractional index; beyond the ends by the interval. */
export function logicalOf(bars, time, interval) {
  if (!bars.length) return null;
  const last = bars.length - 1;
  if (time >= bars[last].time) return last + (time - bars[last].time) / interval;
  const index = bars.findLastIndex((bar) => bar.time <= time);
  if (index < 0) return (time - bars[0].time) / interval;
  return index + Math.min(1, (time - bars[index].time) / interval);
}
