// Every sentence the scripts say.

const two = (n) => String(n).padStart(2, "0");

export const SIDES = { up: "Up", down: "Down" };
export const KINDS = { real: "Real money", demo: "Demo", tournament: "Tournament" };
export const FRAME_NAMES = { 5: "5s", 60: "1m", 300: "5m", 900: "15m", 3600: "1h" };
export const LINK = {
  connecting: "Connecting",
  live: "Live",
  lost: "Reconnecting",
  signed_out: "Signed out",
};
export const THEMES = { system: "Theme: system", dark: "Theme: dark", light: "Theme: light" };
export const SOUND = { true: "Sound on", false: "Sound off" };

const REFUNDS = {
  tie: "the price was the same at both ends",
  no_entry: "no price came to open it",
  no_exit: "no price came before its end",
  stale_exit: "the last price before its end was too old",
  feed_gap: "prices were missing at its end",
  market_closed: "the market was closed at its end",
  feed_dead: "prices stopped and did not return in time",
  voided: "its deciding price was declared invalid",
};

export const STATEMENT_CODES = {
  stake: "Stake",
  profit: "Profit",
  stake_returned: "Stake back",
  stake_refunded: "Refund",
  opening: "Opening balance",
  refill: "Refill",
};

/** Why the stake came back, as half a sentence. */
export function refundReason(order) {
  return REFUNDS[order.refund_reason] ?? (order.refund_reason ?? "").replaceAll("_", " ");
}

/** A code from the server as a word people read. */
export function plain(code) {
  const words = String(code ?? "").replaceAll(/[._]/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Seconds as the ticket says them: "30 s", "5 min", "1 h 30 min". */
export function length(seconds) {
  const parts = [
    [Math.floor(seconds / 3600), "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  return (
    parts
      .filter(([n]) => n)
      .map(([n, unit]) => `${n}\u202f${unit}`)
      .join(" ") || "0\u202fs"
  );
}

/** The device's local time of day of an instant in ms. */
export function timeOfDay(at, seconds = true) {
  const date = new Date(at);
  const text = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return seconds ? `${text}:${two(date.getSeconds())}` : text;
}

/** Local time of day, with the date in front unless it is today's. */
export function moment(at, now) {
  const date = new Date(at);
  const today = new Date(now).toDateString() === date.toDateString();
  if (today) return timeOfDay(at);
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${timeOfDay(at, false)}`;
}

/** The instant in UTC, for those who want to recompute. */
export function utc(iso) {
  return iso ? `${iso.replace("T", " ").replace("Z", "")} UTC` : "";
}

export const say = {
  waitingEntry: "Waiting for the entry price",
  settling: "Settling",
  noOpen: "No open orders",
  noOpenHint: "Choose a time and a stake, then Up or Down.",
  noHistory: "Nothing closed yet",
  noHistoryHint: "Settled orders appear here with both of their prices.",
  noStatement: "No movements yet",
  noStatementHint: "Every change of the balance appears here.",
  noMatch: (text) => `Nothing is called “${text}”.`,
  noInstruments: "No instruments are listed yet.",
  closed: (opens) =>
    opens ? `Closed. Opens in ${opens.in}, ${opens.at}.` : "Closed. The next opening is not known yet.",
  opensIn: (text) => `opens in ${text}`,
  stale: ({ age, limit }) =>
    `Prices paused: the last is ${age} old, the limit is ${limit}. Buying returns with the next price.`,
  suspended: "Trading in this instrument is suspended. Open orders are settled as usual.",
  noPrice: "Waiting for the first price.",
  noPayout: "No payout is set for this instrument.",
  noAccount: "You have no account to trade with.",
  loading: "Loading the market.",
  stakeUnreadable: (scale) =>
    scale ? `Enter an amount with at most ${scale} decimals.` : "Enter a whole amount.",
  stakeLow: (limit) => `The smallest stake is ${limit}.`,
  stakeHigh: (limit) => `The largest stake is ${limit}.`,
  funds: (stake, balance) => `The stake is ${stake}, but the balance is ${balance}.`,
  noClock: "No round time fits this instrument's limits. Use the timer.",
  buyWithin: (text) => `Buy within ${text}`,
  endsAbout: (text) => `Ends about ${text}`,
  limits: (min, max) => `${min} to ${max} an order`,
  endsAfterDelay: (text, delay) => `Entry ${delay / 1000} s after the click, ends about ${text}`,
  ifWrong: (text, ties) =>
    `If wrong: \u2212${text}. If equal: ${ties === "lose" ? "lost too" : "stake back"}.`,
  pays: (text) => `pays ${text}`,
  unsure: "No answer from the server yet. Sending the same order again; it cannot be bought twice.",
  stillUnsure:
    "We could not reach the server. Press the same button to ask again; the order cannot be bought twice.",
  offline: "The server cannot be reached.",
  retry: "Try again",
  loadMore: "Show older",
  chartLoading: "Loading prices",
  chartEmpty: "No prices stored yet",
  chartFailed: "The chart's prices could not be loaded.",
  pageFailed: "The terminal could not be loaded.",
  signedOut: "You were signed out. Reload the page to sign in again.",
  pageOutdated: "You signed in again elsewhere, so this page is out of date. Reload it to go on.",
  refill: "Refill",
  refilled: "Balance refilled",
  opened: (order) => `Bought ${SIDES[order.side]} on ${order.symbol}`,
  won: (order, profit) => `Won ${profit} on ${order.symbol}`,
  lost: (order, stake) => `Lost ${stake} on ${order.symbol}`,
  refunded: (order, stake) => `Refunded ${stake} on ${order.symbol}`,
  stakeBack: (reason) => `Stake back: ${reason}`,
  stripOpen: (count) => `${count} open`,
  stripNone: "Orders and history",
  headers: {
    order: "Order",
    entry: "Entry",
    exit: "Exit",
    ends: "Ends in",
    stake: "Stake",
    result: "Result",
    now: "Now",
    time: "Closed",
    when: "When",
    what: "What",
    amount: "Amount",
    balance: "Balance after",
  },
};
