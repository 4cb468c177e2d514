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
