// The terminal: builds the desk, gives it to its views, and keeps time.

import { Api } from "./api.mjs";
import { Blotter } from "./blotter.mjs";
import { PriceChart } from "./chart.mjs";
import { FRAMES } from "./candles.mjs";
import { closeSheets, setUpAccounts, setUpActions, setUpKeys, setUpLink, sound, toast } from "./chrome.mjs";
import { ServerClock } from "./clock.mjs";
import { Desk } from "./desk.mjs";
import { $, h, memory, say } from "./dom.mjs";
import { Draft } from "./draft.mjs";
import { setUpMarket } from "./market.mjs";
import { compare, format } from "./money.mjs";
import { ReceiptView } from "./receiptview.mjs";
import { result } from "./rules.mjs";
import { Ticket } from "./ticket.mjs";
import * as words from "./strings.mjs";

const NEWEST = 5;
const TICK_MS = 250;
const SLEPT_MS = 5000;

const bootstrap = JSON.parse($("bootstrap").textContent);
const desk = new Desk({
  api: new Api(bootstrap.csrf),
  clock: new ServerClock(),
  socket: bootstrap.socket_url,
});
const draft = new Draft(desk);

function setUpChart() {
  const chart = new PriceChart($("chart"), desk, draft, { onState: veil, onLegend: legend });
  let shown = "";
  let style = memory.get("style", "candles");
  const show = () => {
    const instrument = desk.instrument();
    const key = `${desk.symbol}/${desk.interval}`;
    if (!instrument || key === shown) return;
    shown = key;
    chart.show(instrument, desk.interval, style);
  };
  desk.on("subject", show);
  desk.on("candle", ({ candle, from }) => chart.live(candle, from));
  desk.on("healed", () => chart.instrument && chart.refresh());
  desk.on("polled", () => chart.instrument && chart.refresh(NEWEST));
  ["orders", "price", "second", "accounts", "draft"].forEach((topic) =>
    desk.on(topic, () => chart.instrument && chart.marksChanged()),
  );

  const frames = FRAMES.map((interval) =>
    h(
      "button",
      { type: "button", onclick: () => desk.chooseInterval(interval) },
      words.FRAME_NAMES[interval],
    ),
  );
  $("frames").append(...frames);
  const styles = [...$("styles").children];
  const draw = () => {
    frames.forEach((button, index) =>
      button.setAttribute("aria-pressed", String(FRAMES[index] === desk.interval)),
    );
    styles.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.style === style)));
  };
  styles.forEach((button) =>
    button.addEventListener("click", () => {
      style = button.dataset.style;
      memory.set("style", style);
      if (chart.instrument) chart.restyle(style);
      draw();
    }),
  );
  desk.on("subject", draw);
  draw();
  return chart;
}

function veil(state, problem) {
  const box = $("veil");
  box.dataset.state = state;
  box.hidden = state === "ready";
  if (state === "loading") box.replaceChildren(h("span", { class: "spinner" }), words.say.chartLoading);
  if (state === "empty") box.replaceChildren(words.say.chartEmpty);
  if (state === "failed") {
    const again = h(
      "button",
      { type: "button", class: "button small", onclick: () => chart.refresh() },
      words.say.retry,
    );
    box.replaceChildren(h("span", {}, words.say.chartFailed), problem.title, again);
  }
}

function legend(bar) {
  const decimals = desk.instrument()?.price_decimals ?? 5;
  const parts = bar
    ? ["open", "high", "low", "close"].map(
        (name) => `${name[0].toUpperCase()} ${bar[name].toFixed(decimals)}`,
      )
    : [];
  say($("legend"), parts.join("  "));
}

function setUpSubject() {
  let before = null;
  desk.on("price", () => {
    const instrument = desk.instrument();
    if (!instrument) return;
    say($("symbol"), instrument.symbol);
    say($("symbol-name"), instrument.name ?? "");
    $("simulated").hidden = !instrument.is_simulated;
    const price = instrument.last?.price;
    say($("price"), price ?? "—");
    if (price && before?.symbol === instrument.symbol && before.price !== price) {
      $("price").dataset.moved = compare(price, before.price) > 0 ? "up" : "down";
    } else if (before?.symbol !== instrument.symbol) {
      delete $("price").dataset.moved;
    }
    if (price) before = { symbol: instrument.symbol, price };
    document.title = price ? `${price} ${instrument.symbol} · Tickhouse` : "Tickhouse";
  });
}

function tellResult(order) {
  const currency = desk.state.accounts[order.account]?.currency ?? "";
  const path = order.entry && order.exit ? `${order.entry.price} → ${order.exit.price}` : "";
  const amount = format(result(order), currency, { sign: true });
  const stake = format(order.stake, currency);
  const told = {
    won: { tone: "won", mark: "won", title: words.say.won(order, amount), text: path },
    lost: { tone: "lost", mark: "lost", title: words.say.lost(order, stake), text: path },
    refunded: {
      tone: "plain",
      mark: "refund",
      title: words.say.refunded(order, stake),
      text: words.say.stakeBack(words.refundReason(order)),
    },
    sold: {
      tone: "plain",
      mark: "sold",
      title: words.say.sold(order, format(order.payout ?? order.stake, currency)),
      text: words.say.soldText(stake, amount),
    },
  }[order.status];
  if (!told) return;
  toast(told);
  sound.play(order.status);
}

function tellCorrection({ order, account, amount, reason }) {
  const currency = desk.state.accounts[account]?.currency ?? order.currency;
  const moved = format(amount, currency, { sign: true });
  toast({ tone: "plain", mark: "refund", title: words.say.corrected(order, moved), text: reason });
}

// A page that slept or was hidden trusts nothing it counted meanwhile: clock, snapshot and socket are made sure of.
function setUpTime() {
  let last = Date.now();
  const wake = () => {
    desk.clock.reset();
    desk.syncClock().catch(() => {});
    desk.link.wake();
    desk.dispatchEvent(new CustomEvent("healed"));
  };
  setInterval(() => {
    const now = Date.now();
    if (!document.hidden && Math.abs(now - last - TICK_MS) > SLEPT_MS) wake();
    last = now;
    if (document.hidden) return;
    say($("server-time"), new Date(desk.clock.now()).toISOString().slice(11, 19));
    desk.changed("second");
  }, TICK_MS);
  document.addEventListener("visibilitychange", () => {
    last = Date.now();
    if (!document.hidden) wake();
  });
}

const ticket = new Ticket(desk, draft, {
  onPlaced(order) {
    sound.play("bought");
    say($("announcer"), words.say.opened(order));
  },
});
const chart = setUpChart();
const receipts = new ReceiptView(desk, bootstrap.csrf);
const blotter = new Blotter(desk, { onReceipt: (order) => receipts.open(order) });
const actions = setUpActions(desk, { onTheme: () => chart.instrument && chart.recolour() });
setUpMarket(desk, { onChosen: closeSheets });
setUpSubject();
setUpAccounts(desk);
setUpLink(desk);
setUpKeys({ ticket, actions });
setUpTime();
desk.on("settled", tellResult);
desk.on("corrected", tellCorrection);
desk.on("healed", () => desk.refresh());

async function start() {
  veil("loading");
  try {
    await desk.load();
    blotter.draw();
  } catch (problem) {
    const again = h("button", { type: "button", class: "button small", onclick: start }, words.say.retry);
    const text =
      problem.status === 401 || problem.status === 403
        ? words.say.signedOut
        : problem.title || words.say.offline;
    $("veil").hidden = false;
    $("veil").replaceChildren(h("span", {}, words.say.pageFailed), text, again);
  }
}

start();
