// What the engine drew, as SVG elements.  All text goes in as text; colours are classes.

const SVG_SPACE = "http://www.w3.org/2000/svg";
const DASHES = ["", "5 3", "1.5 2.5"];

/** Make an SVG element. */
export function svgElement(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG_SPACE, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== "") made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Draw rectangles and texts; texts stand on their middle, or else on their start. */
export function drawnShapes(shapes, centred) {
  return shapes.map((one) => (typeof one[2] === "string" ? drawnText(one, centred) : drawnRectangle(one)));
}

function drawnText([x, y, words, size, ink, bold, width], centred) {
  const made = svgElement("text", {
    x: centred ? x + width / 2 : x,
    y,
    "font-size": size,
    class: `fill-${ink}${bold ? " bold" : ""}`,
    "text-anchor": centred ? "middle" : null,
  });
  made.textContent = words;
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
export function wordsIn(shapes) {
  return shapes.filter((one) => typeof one[2] === "string").map((one) => one[2]);
}

function hint(words) {
  const made = svgElement("title");
  made.textContent = words;
  return made;
}

/** Draw a box around its middle, with a sign where it opens. */
export function drawnBox(one) {
  const { data } = one;
  const made = svgElement("g", {
    class: `box ${data.c}`,
    transform: `translate(${(one.x + one.w / 2).toFixed(1)} ${(one.y + one.h / 2).toFixed(1)})`,
  });
  made.append(hint(data.t), outline(-one.w / 2, -one.h / 2, one.w, one.h), ...drawnShapes(data.d, true));
  if (one.opens) made.append(sign(one.w / 2 + 4, -one.h / 2 + 5, false));
  return made;
}

/** Draw a frame: what it is at its top, a sign that closes it. */
export function drawnFrame(one) {
  if (one.fixed) return drawnBox(one);
  const made = svgElement("g", { class: `box frame ${one.data.c}`, transform: `translate(${one.x.toFixed(1)} ${one.y.toFixed(1)})` });
  const title = svgElement("g", { transform: `translate(${one.pad} ${one.pad - 4})` }, ...drawnShapes(one.title, false));
  const ground = svgElement("rect", {
    width: one.w.toFixed(1),
    height: one.h.toFixed(1),
    rx: 8,
    class: `ground fill-cluster${(one.deep + 1) % 2} line-frame`,
  });
  made.append(hint(one.data.t), ground, outline(0, 0, one.w, one.h), title, sign(one.w, 11, true));
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
export function drawnArrow(way) {
  const { arrow } = way;
  const made = svgElement("g", { class: `arrow ${arrow.c}` });
  if (arrow.t) made.append(hint(arrow.t));
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
    made.append(svgElement("g", { transform: place }, ...drawnShapes(way.words.d, false)));
  }
  return made;
}
