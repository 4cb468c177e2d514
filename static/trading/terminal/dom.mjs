// Small helpers of the page. Text is always set as text, never parsed as markup.

const SPRITE = document.querySelector("use")?.getAttribute("href").split("#")[0] ?? "";
const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** Make an element: attributes by name, `on…` as listeners, null and false left out, children as text or nodes. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `${SPRITE}#${name}`);
  svg.append(use);
  return svg;
}

/** Set text only where it changed, so that nothing is laid out or announced for nothing. */
export function say(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

/** Keep one element per key in a list, in order, making and updating as little as possible. */
export function reconcile(list, items, key, make, update) {
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const id = String(key(item));
    let child = known.get(id);
    if (!child) {
      child = make(item);
      child.dataset.key = id;
    }
    known.delete(id);
    update?.(child, item);
    if (list.children[index] !== child) list.insertBefore(child, list.children[index] ?? null);
  });
  for (const child of known.values()) child.remove();
}

/** Buttons for a handful of values, of which one is chosen. */
export function drawChips(container, values, chosen, label, choose) {
  reconcile(
    container,
    values,
    (value) => value,
    (value) => h("button", { type: "button", class: "chip", onclick: () => choose(value) }),
    (chip, value) => {
      say(chip, label(value));
      chip.setAttribute("aria-pressed", String(String(value) === String(chosen)));
    },
  );
}

const ARROWS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/** Fill a radio group: arrow keys move and choose, Tab enters at the chosen one. Returns what draws a choice. */
export function radios(group, values, choose) {
  const buttons = values.map((value) =>
    h("button", { type: "button", role: "radio", onclick: () => choose(value) }, String(value)),
  );
  group.append(...buttons);
  group.addEventListener("keydown", (event) => {
    const by = ARROWS[event.key];
    if (!by) return;
    event.preventDefault();
    const next = buttons[(buttons.indexOf(document.activeElement) + by + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
  return (chosen) =>
    buttons.forEach((button, index) => {
      button.setAttribute("aria-checked", String(values[index] === chosen));
      button.tabIndex = values[index] === chosen ? 0 : -1;
    });
}

/** A preference kept on this device; storage may be forbidden. */
export const memory = {
  get(name, otherwise = null) {
    try {
      return localStorage.getItem(`tickhouse.${name}`) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`tickhouse.${name}`, value);
    } catch {
      // The choice lasts for this page then.
    }
  },
};
