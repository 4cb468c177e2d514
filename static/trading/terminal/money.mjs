// Decimal strings in, decimal strings out. Arithmetic is on integer minor units, never on floats.

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?$/;

/** Count the digits after the point: the scale an amount is written in. */
export function scaleOf(text) {
  return (String(text).split(".")[1] ?? "").length;
}

/** Read a decimal string as minor units; throws RangeError when it is no decimal or finer than `scale`. */
export function toMinor(text, scale) {
  const match = DECIMAL.exec(String(text).trim());
  if (!match) throw new RangeError(`not a decimal: ${text}`);
  const [, sign, whole, fraction = ""] = match;
  if (/[^0]/.test(fraction.slice(scale))) throw new RangeError(`finer than ${scale} decimals: ${text}`);
  const minor = BigInt(whole + fraction.slice(0, scale).padEnd(scale, "0"));
  return sign ? -minor : minor;
}

/** Write minor units as a decimal string with exactly `scale` decimals. */
export function fromMinor(minor, scale) {
  const digits = (minor < 0n ? -minor : minor).toString().padStart(scale + 1, "0");
  const sign = minor < 0n ? "-" : "";
  return scale === 0 ? sign + digits : `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

/** Profit of a stake at a payout rate, in minor units, rounded down as the backend does. */
export function profitMinor(stakeMinor, rate) {
  const scale = scaleOf(rate);
  return (stakeMinor * toMinor(rate, scale)) / 10n ** BigInt(scale);
}

/** Compare two decimal strings of any scales: negative, zero or positive. */
export function compare(a, b) {
  const scale = Math.max(scaleOf(a), scaleOf(b));
  const difference = toMinor(a, scale) - toMinor(b, scale);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** Subtract decimal strings, exactly, at the finer of the two scales. */
export function minus(a, b) {
  const scale = Math.max(scaleOf(a), scaleOf(b));
  return fromMinor(toMinor(a, scale) - toMinor(b, scale), scale);
}

/** A payout rate as people say it: "0.85" is "85%", "0.855" is "85.5%". */
export function percent(rate) {
  const scale = Math.max(scaleOf(rate), 2);
  const text = fromMinor(toMinor(rate, scale), scale - 2);
  return `${text.includes(".") ? text.replace(/\.?0+$/, "") : text}%`;
}

const patterns = new Map();

function pattern(currency, locale) {
  const key = `${locale}/${currency}`;
  if (!patterns.has(key)) {
    let parts;
    try {
      const style = { style: "currency", currency, currencyDisplay: "narrowSymbol" };
      parts = new Intl.NumberFormat(locale, style).formatToParts(1.5);
    } catch {
      parts = [...new Intl.NumberFormat(locale, { minimumFractionDigits: 1 }).formatToParts(1.5)];
      parts.push({ type: "literal", value: "\u00a0" }, { type: "currency", value: currency });
    }
    patterns.set(key, parts);
  }
  return patterns.get(key);
}

/** Format an amount for people; `sign: true` puts + or − in front, a true minus sign either way. */
export function format(text, currency, { sign = false, locale = "en" } = {}) {
  const [whole, fraction] = String(text).replace("-", "").split(".");
  const grouped = new Intl.NumberFormat(locale).format(BigInt(whole));
  const body = pattern(currency, locale)
    .map(({ type, value }) => {
      if (type === "integer") return grouped;
      if (type === "decimal") return fraction ? value : "";
      return type === "fraction" ? (fraction ?? "") : value;
    })
    .join("");
  const isZero = !/[1-9]/.test(String(text));
  const negative = String(text).startsWith("-") && !isZero;
  return (negative ? "\u2212" : sign && !isZero ? "+" : "") + body;
}
