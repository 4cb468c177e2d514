// Every sentence the scripts say, but those about receipts.

const two = (n) => String(n).padStart(2, "0");

export const SIDES = {
  up: "Up",
  down: "Down",
  touch: "Touch",
  no_touch: "No touch",
  in: "In",
  out: "Out",
  matches: "Matches",
  differs: "Differs",
  over: "Over",
  under: "Under",
  even: "Even",
  odd: "Odd",
};
export const CONTRACTS = {
  rise_fall: { name: "Rise / fall", hint: "Ends above or below the entry price" },
  higher_lower: { name: "Higher / lower", hint: "Ends above or below a barrier" },
  touch: { name: "Touch / no touch", hint: "Some price reaches a barrier, or none does" },
  ends_between: { name: "Ends between", hint: "Ends inside or outside two barriers" },
  stays_between: { name: "Stays between", hint: "Never reaches two barriers, or reaches one" },
  digit_match: { name: "Digit matches", hint: "The last digit is yours, or another" },
  digit_over: { name: "Digit over / under", hint: "The last digit is over or under yours" },
  digit_even: { name: "Digit even / odd", hint: "The last digit is even or odd" },
  asian: { name: "Against the average", hint: "Ends above or below the average of its ticks" },
};
export const LEVELS = { barrier: "Barrier", low: "Low barrier", high: "High barrier" };
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
  sold: "Early sale",
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

/** A count of ticks: "1 tick", "5 ticks". */
export function ticks(count) {
  return count === 1 ? "1\u202ftick" : `${count}\u202fticks`;
}

/** A distance as people read it: "+0.00050", with a true minus sign. */
export function distance(text) {
  return text.replace("-", "\u2212");
}

/** In one sentence when which side wins. A barrier is {price, distance}, a length what the ticket chose. */
export function explain(contract, { length: asked, barrier, low, high, digit }) {
  const after = endPhrase(asked);
  const within = asked.mode === "clock" ? `until ${timeOfDay(asked.expiresAt, false)}` : withinPhrase(asked);
  const at = (level) => `${level.price} (entry ${distance(level.distance)})`;
  switch (contract) {
    case "rise_fall":
      return `Up wins if the price ${after} is above the entry price, Down if it is below.`;
    case "higher_lower":
      return `Up wins if the price ${after} is above ${at(barrier)}, Down if it is below.`;
    case "touch":
      return `Touch wins if some price touches ${at(barrier)} ${within}, No touch if none does.`;
    case "ends_between":
      return `In wins if the price ${after} is between ${at(low)} and ${at(high)}, Out if it is outside.`;
    case "stays_between":
      return (
        `In wins if every price ${within} stays between ${at(low)} and ${at(high)}, ` +
        "Out if one reaches either."
      );
    case "digit_match":
      return `Matches wins if the price ${after} ends in the digit ${digit}, Differs if in another.`;
    case "digit_over":
      return `Over wins if the last digit of the price ${after} is above ${digit}, Under if it is below.`;
    case "digit_even":
      return `Even wins if the last digit of the price ${after} is even, Odd if it is odd.`;
    case "asian":
      return (
        `Up wins if the price ${after} is above the average of all prices from the entry on, ` +
        "Down if below."
      );
    default:
      return "";
  }
}

function endPhrase({ mode, seconds, expiresAt, ticks: count }) {
  if (mode === "clock") return `at ${timeOfDay(expiresAt, false)}`;
  return `after ${mode === "ticks" ? ticks(count) : length(seconds)}`;
}

function withinPhrase({ mode, seconds, ticks: count }) {
  return `within ${mode === "ticks" ? ticks(count) : length(seconds)}`;
}

/** What an order says, in few words: "Up", "No touch 1.08512", "Ends in 1.08400 to 1.08600", "Digit over 7". */
export function orderWords(order) {
  const side = SIDES[order.side] ?? plain(order.side);
  const level = (name) =>
    order[name] ?? (order.distances?.[name] ? `entry ${distance(order.distances[name])}` : "…");
  const between = () => `${level("low")} to ${level("high")}`;
  switch (order.contract) {
    case "higher_lower":
      return `${order.side === "up" ? "Higher than" : "Lower than"} ${level("barrier")}`;
    case "touch":
      return `${side} ${level("barrier")}`;
    case "ends_between":
      return `Ends ${side.toLowerCase()} ${between()}`;
    case "stays_between":
      return `${order.side === "in" ? "Stays in" : "Goes out of"} ${between()}`;
    case "digit_match":
      return `Digit ${side.toLowerCase()} ${order.side === "differs" ? "from " : ""}${order.digit}`;
    case "digit_over":
      return `Digit ${side.toLowerCase()} ${order.digit}`;
    case "digit_even":
      return `Digit ${side.toLowerCase()}`;
    case "asian":
      return `${side} against the average`;
    default:
      return side;
  }
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

const IF_EQUAL = {
  refund: " If equal: stake back.",
  lose: " If equal: lost too.",
  both_lose: " If equal: both sides lose.",
};

export const say = {
  waitingEntry: "Waiting for the entry price",
  settling: "Settling",
  noOpen: "No open orders",
  noOpenHint: "Choose a time and a stake, then a side.",
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
  held: (until) =>
    `New orders are not taken ${until ? `until ${until}` : "at the moment"}. Open orders are settled as usual.`,
  event: (until) => `Around an economic event rise/fall alone is offered${until ? `, until ${until}` : ""}.`,
  noPrice: "Waiting for the first price.",
  noPayout: "No payout is set for this instrument.",
  noAccount: "You have no account to trade with.",
  loading: "Loading the market.",
  stakeUnreadable: (scale) =>
    scale ? `Enter an amount with at most ${scale} decimals.` : "Enter a whole amount.",
  stakeLow: (limit) => `The smallest stake is ${limit}.`,
  stakeHigh: (limit) => `The largest stake is ${limit}.`,
  funds: (stake, balance) => `The stake is ${stake}, but the balance is ${balance}.`,
  noContract: "No contract is offered on this instrument.",
  measuring: "Looking at how the price moves.",
  askingRate: "Asking for the payout",
  oldRate: "Payout out of date, asking again",
  noRate: "The payout could not be asked for. It is asked for again.",
  refusedSide: (side, why) => `${side}: ${why}`,
  lower: (level) => `${level}: lower`,
  higher: (level) => `${level}: higher`,
  levelOnChart: (level) => `${level} on the chart`,
  endsWithTick: (wait) => `Stake back if the last tick takes over ${wait}`,
  progress: ({ done, of }) => `${done} of ${ticks(of)}`,
  noClock: "No round time fits this instrument's limits. Use the timer.",
  buyWithin: (text) => `Buy within ${text}`,
  endsAbout: (text) => `Ends about ${text}`,
  limits: (min, max) => `${min} to ${max} an order`,
  endsAfterDelay: (text, delay) => `Entry ${delay / 1000} s after the click, ends about ${text}`,
  ifWrong: (text, ties) => `If wrong: \u2212${text}.${IF_EQUAL[ties] ?? ""}`,
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
  opened: (order) => `Bought ${orderWords(order)} on ${order.symbol}`,
  won: (order, profit) => `Won ${profit} on ${order.symbol}`,
  lost: (order, stake) => `Lost ${stake} on ${order.symbol}`,
  refunded: (order, stake) => `Refunded ${stake} on ${order.symbol}`,
  corrected: (order, amount) => `Corrected ${order.symbol}: ${amount}`,
  sold: (order, price) => `Sold ${order.symbol} for ${price}`,
  soldText: (stake, amount) => `Stake ${stake}, result ${amount}`,
  soldFor: (price) => `Sold for ${price}`,
  sell: "Sell",
  selling: "Selling",
  sellOld: "Old price",
  sellAgain: "Ask again",
  sellFor: (order, price, least) =>
    `Sell ${orderWords(order)} on ${order.symbol} for ${price}, or for at least ${least} if the price moves`,
  sellWaiting: "Can be sold after its entry",
  sellEarly: (left) => `Can be sold in ${left}`,
  sellHeld: "Early sales are stopped",
  sellLate: "Too near its end to be sold",
  noSalePrice: "Price not available, asking again",
  saleUnsure: "No answer yet, asking again. It cannot be sold twice.",
  saleStillUnsure: "We could not reach the server",
  saleStillUnsureText: "Press “Ask again” to ask for the same sale; the order cannot be sold twice.",
  receipt: "Receipt",
  receiptOf: (order) => `Receipt of ${orderWords(order)} on ${order.symbol}`,
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
    sale: "Early sale",
    receipt: "Proof",
    now: "Now",
    time: "Closed",
    when: "When",
    what: "What",
    amount: "Amount",
    balance: "Balance after",
  },
};
