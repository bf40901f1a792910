// Elements from values. Text becomes text nodes and attributes, never markup: names come from users' programs.

/**
 * h("p", {class: "note", on: {click}}, "text", node, [more], null) -> the element.
 * A property that is true stands without a value; false, null and undefined leave it away.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  const none = [null, undefined, false];
  element.append(...children.flat(Infinity).filter((child) => !none.includes(child)));
  return element;
}

/** Writes a text only if it differs, so that a selection and a screen reader's place are left alone. */
export function setText(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** A person's place is not lost when what had it is hidden or ends: the next one has it, or the page's heading. */
export function keepFocus(next = null) {
  const able = (element) => element?.isConnected && !element.disabled && element.getClientRects().length > 0;
  const now = document.activeElement;
  if (now && now !== document.body && able(now)) return;
  (able(next) ? next : document.querySelector("h1"))?.focus({ preventScroll: true });
}

const SVG = "http://www.w3.org/2000/svg";

// Strokes on a grid of 16 x 16.
const ICONS = {
  running: "M8 4.2v7.6M4.2 8h7.6", // replaced by a filled circle below
  finished: "M3 8.5l3.3 3.2L13 4.8",
  failed: "M4 4l8 8M12 4l-8 8",
  stopped: "M4.5 4.5h7v7h-7z",
  late: "M8 4.2V8l2.6 1.8M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8z",
  lost: "M5.6 5.6a2.4 2.4 0 1 1 3.4 2.5c-.7.4-1 .8-1 1.6M8 12.2v.3",
  queued: "M8 3.2a4.8 4.8 0 1 0 0 9.6 4.8 4.8 0 0 0 0-9.6z",
  paused: "M5.6 4v8M10.4 4v8",
  warning: "M8 2.4l6 10.8H2zM8 6.6v3.2M8 11.6v.2",
  sun: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM8 1.2v1.6M8 13.2v1.6M1.2 8h1.6M13.2 8h1.6"
    + "M3.2 3.2l1.1 1.1M11.7 11.7l1.1 1.1M12.8 3.2l-1.1 1.1M4.3 11.7l-1.1 1.1",
  moon: "M13 9.6A5.6 5.6 0 0 1 6.4 3a5.6 5.6 0 1 0 6.6 6.6z",
  settings: "M2 4.5h6M12 4.5h2M2 11.5h2M8 11.5h6M10 2.6v3.8M6 9.6v3.8",
  leave: "M9 2.5H3v11h6M6.5 8H14M11 5l3 3-3 3",
  close: "M4 4l8 8M12 4l-8 8",
  next: "M6 3.5L10.5 8 6 12.5",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.4 10.4L14 14",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", `icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  if (name === "running") {
    const dot = document.createElementNS(SVG, "circle");
    for (const [key, value] of [["cx", 8], ["cy", 8], ["r", 4.6]]) dot.setAttribute(key, value);
    dot.setAttribute("class", "filled");
    svg.append(dot);
    return svg;
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A short message at the page's edge, spoken too. An error stays until it is closed. */
export function toast(message, kind = "done") {
  const shelf = document.getElementById("toasts");
  const note = h("div", { class: `toast ${kind}`, role: kind === "error" ? "alert" : null }, h("span", {}, message),
    h("button", { type: "button", class: "quiet icon", "aria-label": "Close this message",
      on: { click: () => note.remove() } }, icon("close")));
  shelf.append(note);
  while (shelf.children.length > 4) shelf.firstChild.remove();
  if (kind !== "error") setTimeout(() => note.remove(), 6000);
}

/** Says something to a screen reader alone. */
export function announce(message) {
  setText(document.getElementById("announce"), message);
}
