// What the engine drew, as SVG elements.  All text goes in as text; colours are classes.

import { inOrder } from "./ordered.js";

const SVG_SPACE = "http://www.w3.org/2000/svg";
const DASHES = ["", "5 3", "1.5 2.5"];
const NAME_SIZE = 11; // points, of the names of modules
const NOTE_SIZE = 9; // of what is said below them
const LEAST_SIZE = 7.5;
const WIDE_LETTERS = /[\u2e80-\u9fff\uf900-\uffef]/g;

/** Make an SVG element. */
export function svgElement(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG_SPACE, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== "") made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/**
 * Draw rectangles and texts; texts stand on their middle, or else on their start.  `say` tells a line
 * in the reader's language; `parts` is for what may be half a sentence.
 */
export function drawnShapes(shapes, centred, say, parts = false) {
  return shapes.map((one) => (typeof one[2] === "string" ? drawnText(one, centred, say, parts) : drawnRectangle(one)));
}

/** A line as it is said; names of modules, which have this size, are not ours. */
function saidText([, , words, size], say, parts) {
  return size === NAME_SIZE ? words : say(words, parts || size === NOTE_SIZE);
}

/** The size of letters at which other words have the room of the original ones. */
function fittingSize(words, original, size, width) {
  if (words === original) return size;
  const wide = words.match(WIDE_LETTERS)?.length ?? 0;
  const needed = size * (wide + 0.54 * (words.length - wide));
  return Math.max(LEAST_SIZE, Math.min(size, Math.floor((20 * size * (width + 8)) / needed) / 20));
}

function drawnText(text, centred, say, parts) {
  const [x, y, original, full, ink, bold, width] = text;
  const words = saidText(text, say, parts);
  const size = fittingSize(words, original, full, width);
  const made = svgElement("text", {
    x: centred ? x + width / 2 : x,
    y,
    "font-size": size,
    class: `fill-${ink}${bold ? " bold" : ""}`,
    "text-anchor": centred ? "middle" : null,
  });
  made.textContent = inOrder(words);
  return made;
}

function drawnRectangle([x, y, width, height, fill, stroke, thick, dash, radius]) {
  return svgElement("rect", {
    x,
    y,
    width,
    height,
    rx: radius || null,
    class: `${fill ? `fill-${fill}` : "no-fill"}${stroke ? ` line-${stroke}` : ""}`,
    "stroke-width": thick === 1 ? null : thick,
    "stroke-dasharray": DASHES[dash],
  });
}

/** The words in a drawing, for a label. */
export function wordsIn(shapes, say = (words) => words, parts = false) {
  return shapes.filter((one) => typeof one[2] === "string").map((one) => saidText(one, say, parts));
}

/** Whether what stands in a box is no name: `input`, `from features.0`. */
export function isSign(data) {
  return /^(terminal|sign)\b/.test(data.c);
}

function hint(words) {
  const made = svgElement("title");
  made.textContent = inOrder(words);
  return made;
}

/** Draw a box around its middle, with a sign where it opens. */
export function drawnBox(one, say) {
  const { data } = one;
  const made = svgElement("g", {
    class: `box ${data.c}`,
    transform: `translate(${(one.x + one.w / 2).toFixed(1)} ${(one.y + one.h / 2).toFixed(1)})`,
  });
  made.append(hint(say(data.t)), outline(-one.w / 2, -one.h / 2, one.w, one.h), ...drawnShapes(data.d, true, say, isSign(data)));
  if (one.opens) made.append(sign(one.w / 2 + 4, -one.h / 2 + 5, false));
  return made;
}

/** Draw a frame: what it is at its top, a sign that closes it. */
export function drawnFrame(one, say) {
  if (one.fixed) return drawnBox(one, say);
  const made = svgElement("g", { class: `box frame ${one.data.c}`, transform: `translate(${one.x.toFixed(1)} ${one.y.toFixed(1)})` });
  const title = svgElement("g", { transform: `translate(${one.pad} ${one.pad - 4})` }, ...drawnShapes(one.title, false, say));
  const ground = svgElement("rect", {
    width: one.w.toFixed(1),
    height: one.h.toFixed(1),
    rx: 8,
    class: `ground fill-cluster${(one.deep + 1) % 2} line-frame`,
  });
  made.append(hint(say(one.data.t)), ground, outline(0, 0, one.w, one.h), title, sign(one.w, 11, true));
  return made;
}

/** What shows that a box is the current one, or has the focus. */
function outline(x, y, w, h) {
  return svgElement("rect", { class: "outline", x: x - 3, y: y - 3, width: w + 6, height: h + 6, rx: 8 });
}

function sign(x, y, opened) {
  const made = svgElement("g", { class: "sign", transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` });
  made.append(
    svgElement("circle", { r: 11, class: "reach" }),
    svgElement("circle", { r: 6.5, class: "fill-paper line-ink" }),
    svgElement("path", { d: opened ? "M-3.5 0H3.5" : "M-3.5 0H3.5M0 -3.5V3.5", class: "line-ink" }),
  );
  return made;
}

/** Draw an arrow with its words. */
export function drawnArrow(way, say) {
  const { arrow } = way;
  const made = svgElement("g", { class: `arrow ${arrow.c}` });
  if (arrow.t) made.append(hint(arrow.t.split("; ").map((one) => say(one, true)).join("; ")));
  const colour = arrow.s || "line";
  if (arrow.q !== undefined) made.append(svgElement("path", { d: way.d, class: "reach" }));
  made.append(
    svgElement("path", {
      d: way.d,
      class: `no-fill line-${colour}`,
      "stroke-width": arrow.g === 1 ? null : arrow.g,
      "stroke-dasharray": DASHES[arrow.dash ?? 0],
    }),
    svgElement("path", { d: way.tips, class: `tip fill-${colour}` }),
  );
  if (way.words) {
    const [x, y] = [way.words.x + way.words.w / 2, way.words.y + way.words.h / 2];
    const place = `translate(${x.toFixed(1)} ${y.toFixed(1)})`;
    made.append(svgElement("g", { transform: place }, ...drawnShapes(way.words.d, false, say, true)));
  }
  return made;
}
