// What an event saw, as tables: role, shape, value, numbers, statistics.
import { element } from "./elements.js";
import { codeText, readable } from "./phrases.js";

const STATS = ["min", "max", "mean", "std"];

/** The elements of a small tensor as texts, and its shape; null for a large one. */
export function smallNumbers(seen) {
  if (seen?.numbers === undefined || seen.numbers.includes("...")) return null;
  const numbers = seen.numbers.slice(1, -1).split(", ");
  const sizes = /^(\d+(?:x\d+)*) /.exec(seen.what);
  const shape = sizes ? sizes[1].split("x").map(Number) : [];
  return { numbers, columns: shape.at(-1) ?? 1 };
}

/** Numbers in rows and columns; those that differ from `others` are marked. */
export function matrix(small, label, others = null) {
  const rows = [];
  for (let at = 0; at < small.numbers.length; at += small.columns) {
    rows.push(
      element(
        "tr",
        {},
        ...small.numbers.slice(at, at + small.columns).map((one, place) => {
          const changed = others && others.numbers[at + place] !== one;
          return element("td", {}, changed ? element("mark", {}, one) : one);
        }),
      ),
    );
  }
  return element("table", { class: "matrix", "aria-label": label }, element("tbody", {}, ...rows));
}

/** The statistics of a sighting: those that the trace took, else those of the kept value. */
function statsOf(report, seen) {
  return seen.stats ?? report.data.looks?.values[seen.value]?.stats;
}

function statsTold(report, seen) {
  const stats = statsOf(report, seen);
  if (!stats) return null;
  const odd = ["nan", "inf"].filter((one) => stats[one] > 0);
  const small = smallNumbers(seen);
  const parts = small ? [] : STATS.filter((one) => stats[one] !== undefined).map((one) => `${report.word(one)} ${readable(stats[one])}`);
  if (stats.zeros && !small) parts.push(report.word("zeros_of", { zeros: stats.zeros, total: stats.total }));
  return element(
    "div",
    { class: "stats" },
    ...odd.map((one) => element("b", { class: "raised" }, report.word(`${one}_of`, { count: stats[one], total: stats.total }), " ")),
    parts.join(" · "),
  );
}

function sightingRow(report, seen) {
  const small = smallNumbers(seen);
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, codeText(seen.role)),
    element(
      "td",
      {},
      element("bdi", {}, seen.what),
      seen.grad ? element("span", { class: "badge" }, report.word("requires_grad")) : null,
    ),
    element("td", { class: "id" }, seen.value ? codeText(seen.value) : "–", seen.name ? " " : null, seen.name ? codeText(seen.name) : null),
    element("td", {}, small ? matrix(small, seen.role) : null, statsTold(report, seen)),
  );
}

/** A table of sightings under a heading, or null if there are none. */
export function sightings(report, key, seen) {
  if (!seen?.length) return null;
  const heads = ["seen_role", "seen_what", "seen_value", "seen_numbers"];
  return element(
    "section",
    { class: `seen ${key}` },
    element("h4", {}, report.word(`seen_${key}`)),
    element(
      "div",
      { class: "scroll" },
      element(
        "table",
        {},
        element("thead", {}, element("tr", {}, ...heads.map((one) => element("th", { scope: "col" }, report.word(one))))),
        element("tbody", {}, ...seen.map((one) => sightingRow(report, one))),
      ),
    ),
  );
}
