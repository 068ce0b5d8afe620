// Histograms as SVG.  Several share their axis; bars are densities, so that areas compare.
import { element } from "./elements.js";
import { readable } from "./phrases.js";

const WIDE = 240;
const HIGH = 46;

function histSvg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The axis that histograms share, and the highest density. */
export function sharedAxis(looks) {
  const hists = looks.map((one) => one?.hist).filter(Boolean);
  if (!hists.length) return null;
  const lo = Math.min(...hists.map((one) => one.lo));
  const hi = Math.max(...hists.map((one) => one.hi));
  const span = hi - lo || 1;
  if (!Number.isFinite(span)) return null; // wider than a number can be
  const most = Math.max(...hists.flatMap((one) => one.counts.map((count) => count / binWidth(one, span))));
  return { lo, hi: lo + span, most, single: hi === lo };
}

/** How wide a bin is; a single value is drawn as a thin bar. */
function binWidth(hist, span) {
  return hist.hi > hist.lo ? (hist.hi - hist.lo) / hist.counts.length : span / 32;
}

function histBars(hist, axis) {
  const span = axis.hi - axis.lo;
  const width = binWidth(hist, span);
  const across = (number) => ((number - axis.lo) / span) * WIDE;
  return hist.counts.map((count, bin) => {
    const high = count ? Math.max(1, (count / width / axis.most) * HIGH) : 0;
    const wide = Math.max(1, (width / span) * WIDE);
    const x = Math.min(WIDE - wide, across(hist.lo + bin * width));
    return histSvg("rect", { x, y: HIGH - high, width: wide, height: high });
  });
}

/** How many elements are no finite numbers, and so in no bin. */
function oddCounts(report, stats) {
  const told = ["nan", "inf"].filter((one) => stats?.[one]);
  const words = told.map((one) => report.word(`${one}_of`, { count: stats[one], total: stats.total }));
  return words.length ? element("b", { class: "raised" }, ` ${words.join(", ")}`) : null;
}

/** A histogram with its range in words. */
export function histogram(report, look, title, axis = null) {
  const { hist, stats } = look;
  if (!hist) return null;
  const own = axis ?? sharedAxis([look]);
  if (!own) return null;
  const words = { title, lo: readable(hist.lo), hi: readable(hist.hi), total: stats?.total ?? "" };
  const drawing = histSvg("svg", {
    viewBox: `0 0 ${WIDE} ${HIGH + 1}`,
    class: "histogram",
    role: "img",
    preserveAspectRatio: "none",
    "aria-label": report.word("histogram_label", words),
  });
  drawing.append(...histBars(hist, own));
  if (own.lo < 0 && own.hi > 0) {
    const x = (-own.lo / (own.hi - own.lo)) * WIDE;
    drawing.append(histSvg("line", { x1: x, x2: x, y1: 0, y2: HIGH + 1, class: "zero" }));
  }
  drawing.append(histSvg("line", { x1: 0, x2: WIDE, y1: HIGH + 0.5, y2: HIGH + 0.5, class: "axis" }));
  const ends = element("span", { class: "ends" }, readable(own.lo), element("span", {}, readable(own.single ? own.lo : own.hi)));
  return element("figure", { class: "hist" }, element("figcaption", {}, title, oddCounts(report, stats)), drawing, ends);
}
