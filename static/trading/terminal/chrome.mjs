// The frame around the desk: accounts, connection, theme, sound, sheets, notices, keys.

import { $, h, icon, memory, reconcile, say } from "./dom.mjs";
import { format } from "./money.mjs";
import { play } from "./sound.mjs";
import * as words from "./strings.mjs";

const TOAST_MS = 6000;
const THEMES = ["system", "dark", "light"];

/** The account switch: kind in colour and words, balance, refill where there is one. */
export function setUpAccounts(desk) {
  const draw = () => {
    const account = desk.account();
    document.documentElement.dataset.kind = account?.kind ?? "";
    say($("purse-kind"), account ? (words.KINDS[account.kind] ?? account.kind) : "—");
    say($("purse-balance"), account ? format(account.balance, account.currency) : "—");
    const accounts = Object.values(desk.state.accounts);
    reconcile(
      $("account-list"),
      accounts,
      ({ id }) => id,
      (item) => makeAccount(desk, item),
      (row, item) => {
        const current = item.id === desk.accountId;
        row.firstElementChild.setAttribute("aria-pressed", String(current));
        say(row.querySelector(".account-balance"), format(item.balance, item.currency));
        row.lastElementChild.hidden = !item.is_refillable;
      },
    );
  };
  desk.on("accounts", draw);
}

function makeAccount(desk, { id, kind, book, name: title }) {
  const choose = () => {
    desk.chooseAccount(id);
    $("accounts").hidePopover();
  };
  const name = h("span", { class: "kind" }, words.KINDS[kind] ?? kind);
  const button = h(
    "button",
    { type: "button", class: "account", onclick: choose },
    name,
    h("span", { class: "account-book" }, title || book),
    h("span", { class: "account-balance" }),
  );
  return h("li", { "data-kind": kind }, button, makeRefill(desk, id));
}

function makeRefill(desk, id) {
  const refill = async ({ currentTarget: button }) => {
    button.disabled = true;
    try {
      await desk.refill(id);
      toast({ tone: "plain", mark: "refill", title: words.say.refilled });
    } catch (problem) {
      toast({
        tone: "plain",
        mark: "warning",
        title: problem.title || words.say.offline,
        text: problem.detail,
      });
    } finally {
      button.disabled = false;
    }
  };
  return h(
    "button",
    { type: "button", class: "button small", onclick: refill },
    icon("refill"),
    words.say.refill,
  );
}

/** The connection: in words, with the round trip when it is known. */
export function setUpLink(desk) {
  desk.on("link", () => {
    const state = desk.linkState;
    $("link").dataset.state = state;
    say($("link-text"), words.LINK[state]);
    say($("latency"), state === "live" && desk.latency !== null ? `${desk.latency} ms` : "");
  });
}

export const sound = {
  isOn: memory.get("sound", "on") === "on",
  play(name) {
    if (this.isOn) play(name);
  },
};

/** Buttons named by `data-action`: sound, theme, help, sheets. */
export function setUpActions(desk, { onTheme }) {
  const actions = {
    sound() {
      sound.isOn = !sound.isOn;
      memory.set("sound", sound.isOn ? "on" : "off");
      drawSettings();
      sound.play("bought");
    },
    theme() {
      const next = THEMES[(THEMES.indexOf(memory.get("theme", "system")) + 1) % THEMES.length];
      memory.set("theme", next);
      if (next === "system") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = next;
      drawSettings();
      onTheme();
    },
    help: () => {
      $("menu").hidePopover();
      $("help").showModal();
    },
    "open-market": () => openSheet("market", $("search")),
    "open-blotter": () => openSheet("blotter", null),
    "close-sheets": closeSheets,
  };
  document.addEventListener("click", ({ target }) => {
    const name = target.closest("[data-action]")?.dataset.action;
    if (name) actions[name]();
    if (target === document.body) closeSheets();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onTheme);
  drawSettings();
  return actions;
}

function drawSettings() {
  const theme = memory.get("theme", "system");
  for (const button of document.querySelectorAll("[data-action=sound]")) {
    button.setAttribute("aria-pressed", String(sound.isOn));
    relabel(button, `sound-${sound.isOn ? "on" : "off"}`, words.SOUND[sound.isOn]);
  }
  for (const button of document.querySelectorAll("[data-action=theme]"))
    relabel(button, `theme-${theme}`, words.THEMES[theme]);
}

function relabel(button, mark, text) {
  const inMenu = button.classList.contains("menu-row");
  button.replaceChildren(icon(mark), ...(inMenu ? [text] : []));
  if (!inMenu) {
    button.setAttribute("aria-label", text);
    button.title = text;
  }
}

const BEHIND_A_SHEET = ".topbar, .stage, .ticket, .strip";
const narrow = matchMedia("(max-width: 900px)");
let sheetOpener = null;

function openSheet(id, focus) {
  closeSheets();
  sheetOpener = document.activeElement;
  $(id).dataset.open = "";
  document.body.dataset.sheet = id;
  document.querySelectorAll(BEHIND_A_SHEET).forEach((part) => part.toggleAttribute("inert", narrow.matches));
  focus?.focus();
}

export function closeSheets() {
  for (const sheet of document.querySelectorAll("[data-open]")) delete sheet.dataset.open;
  delete document.body.dataset.sheet;
  document.querySelectorAll(BEHIND_A_SHEET).forEach((part) => part.removeAttribute("inert"));
  sheetOpener?.focus?.();
  sheetOpener = null;
}

/** A notice that goes by itself; its words are also announced. */
export function toast({ tone, mark, title, text = "" }) {
  const box = h(
    "div",
    { class: "toast", "data-tone": tone },
    icon(mark),
    h("div", {}, h("strong", {}, title), text && h("span", {}, text)),
  );
  $("toasts").append(box);
  say($("announcer"), [title, text].filter(Boolean).join(". "));
  setTimeout(() => box.remove(), TOAST_MS);
  while ($("toasts").children.length > 3) $("toasts").firstElementChild.remove();
}

const OWN_ARROWS = "[role=tabpanel], .instruments, [role=radiogroup], [role=slider]";

/** The keyboard: never while typing, never with a modifier, never repeated by a held key. */
export function setUpKeys({ ticket, actions }) {
  const keys = {
    ArrowUp: () => ticket.buy(0),
    ArrowDown: () => ticket.buy(1),
    "[": () => ticket.stepStake(-1),
    "]": () => ticket.stepStake(1),
    ",": () => ticket.stepTime(-1),
    ".": () => ticket.stepTime(1),
    "/": () => actions["open-market"](),
    "?": () => actions.help(),
  };
  const buys = ["ArrowUp", "ArrowDown"];
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    const isCovered = document.querySelector("dialog[open], :popover-open");
    if (key === "Escape" && !isCovered) {
      if (target.matches("input")) target.blur();
      closeSheets();
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (isCovered || target.matches("input, select, textarea")) return;
    if (!keys[key] || (event.repeat && buys.includes(key))) return;
    if (buys.includes(key) && target.closest(OWN_ARROWS)) return;
    event.preventDefault();
    keys[key]();
  });
}
