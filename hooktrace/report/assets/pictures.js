// Pictures of values on canvas: tiles side by side, each pixel a number.
import { ODD, ODD_COLOUR, LEVELS, colourOf, commonScale } from "./colourmaps.js";
import { element } from "./elements.js";
import { readable } from "./phrases.js";

/** Whether the picture of a value is a single row of pixels. */
export function isStrip(look) {
  return look.tiles?.size[0] === 1;
}

/** How tiles are laid out: a square of them, with one pixel between. */
function tileLayout(tiles) {
  const [height, width] = tiles.size;
  const columns = height === 1 ? 1 : Math.ceil(Math.sqrt(tiles.places.length));
  const rows = Math.ceil(tiles.places.length / columns);
  return { height, width, columns, rows, across: columns * (width + 1) - 1, down: rows * (height + 1) - 1 };
}

/** The numbers behind the pixels: not-a-number where one is not finite. */
function numbersOf(tiles) {
  const levels = Uint8Array.from(atob(tiles.pixels), (one) => one.charCodeAt(0));
  return Float64Array.from(levels, (one) =>
    one === ODD ? NaN : tiles.lo * (1 - one / LEVELS) + tiles.hi * (one / LEVELS),
  );
}

function tilesPainted(tiles, scale, label) {
  const plan = tileLayout(tiles);
  const canvas = element("canvas", { width: plan.across, height: plan.down, role: "img", "aria-label": label });
  const brush = canvas.getContext("2d");
  const image = brush.createImageData(plan.across, plan.down);
  numbersOf(tiles).forEach((number, at) => {
    const tile = Math.floor(at / (plan.height * plan.width));
    const inside = at % (plan.height * plan.width);
    const x = (tile % plan.columns) * (plan.width + 1) + (inside % plan.width);
    const y = Math.floor(tile / plan.columns) * (plan.height + 1) + Math.floor(inside / plan.width);
    const colour = Number.isNaN(number) ? ODD_COLOUR : colourOf(number, scale);
    image.data.set([...colour, 255], 4 * (y * plan.across + x));
  });
  brush.putImageData(image, 0, 0);
  if (plan.height === 1) canvas.classList.add("strip");
  else canvas.style.width = `${Math.min(320, plan.across * Math.max(1, Math.floor(264 / plan.across)))}px`;
  return canvas;
}

/** The colours of a scale from its lowest to its highest number. */
function scaleRamp(scale) {
  const canvas = element("canvas", { width: 64, height: 1, class: "ramp", "aria-hidden": true });
  const brush = canvas.getContext("2d");
  for (let x = 0; x < 64; x += 1) {
    brush.fillStyle = `rgb(${colourOf(scale.lo + ((scale.hi - scale.lo) * x) / 63, scale)})`;
    brush.fillRect(x, 0, 1, 1);
  }
  return canvas;
}

/** Numbers in runs: 0–3, 7. */
export function numberRuns(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const found = [];
  for (const one of sorted) {
    const last = found.at(-1);
    if (last && one === last[1] + 1) last[1] = one;
    else found.push([one, one]);
  }
  return found.map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`)).join(", ");
}

/** What of the tensor the picture shows, in words. */
export function shownOf(report, look) {
  const { tiles, shape } = look;
  const told = [];
  if (tiles.of > 1 || shape.length > 3) {
    const key = shape.length === 3 ? "slices" : shape.length === 4 ? "channels" : "slices_within";
    const values = { places: numberRuns(tiles.places), of: tiles.of, item: tiles.item };
    told.push(report.word(`shown_${key}`, values));
  }
  if (tiles.pooled) told.push(report.word("pooled"));
  if (tiles.odd) told.push(report.word("odd_pixels", { count: tiles.odd }));
  return told.join("; ");
}

/** A picture of a value with its scale in words, or why there is none. */
export function picture(report, look, title, scale = null) {
  const shape = (look.shape ?? []).join("×");
  if (look.why) {
    return element("p", { class: "faint" }, title, ": ", report.word(`no_picture_${look.why}`));
  }
  if (!look.tiles) return null;
  const own = scale ?? commonScale([look]);
  const words = { title, shape, lo: readable(own.lo), hi: readable(own.hi), shown: shownOf(report, look) };
  const label = report.word(own.signed ? "picture_signed" : "picture_label", words);
  const legend = element("span", { class: "legend" }, words.lo, " ", scaleRamp(own), " ", words.hi);
  return element(
    "figure",
    { class: "look" },
    element("figcaption", {}, element("b", {}, title)),
    tilesPainted(look.tiles, own, label),
    element("figcaption", {}, legend),
    element("figcaption", {}, [own.signed ? report.word("zero_is_white") : "", words.shown].filter(Boolean).join("; ")),
  );
}
