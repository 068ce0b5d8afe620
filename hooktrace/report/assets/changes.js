// Before and after: what a hook changed, what was written over, what .grad became.
import { element } from "./elements.js";
import { changeText, codeText, phrase, readable } from "./phrases.js";
import { retoldPart } from "./retold.js";
import { commonScale } from "./colourmaps.js";
import { isStrip, picture } from "./pictures.js";
import { histogram, sharedAxis } from "./histograms.js";
import { matrix, smallNumbers } from "./sightings.js";

/** The look of a value, if its content was kept. */
export function lookOf(report, value) {
  return report.data.looks?.values[value];
}

/** Numbers or pictures of two sides next to each other. */
function editSides(report, before, after) {
  const [then, now] = [smallNumbers(before), smallNumbers(after)];
  const titles = [report.word("before"), report.word("after")];
  if (then && now) {
    const same = then.numbers.length === now.numbers.length && then.columns === now.columns;
    return element(
      "div",
      { class: "sides" },
      element("figure", {}, element("figcaption", {}, titles[0]), matrix(then, titles[0])),
      element("span", { class: "arrow", "aria-hidden": true }, "→"),
      element("figure", {}, element("figcaption", {}, titles[1]), matrix(now, titles[1], same ? then : null)),
    );
  }
  return looksOf(report, before.value, after.value, titles);
}

/** Pictures and histograms before and after on one scale, and the picture of the difference. */
function looksOf(report, before, after, titles) {
  const looks = [lookOf(report, before), lookOf(report, after)];
  const change = report.data.looks?.differences[`${before}>${after}`];
  if (!looks[0] || !looks[1]) return null;
  const [scale, axis] = [commonScale(looks), sharedAxis(looks)];
  const pictures = looks.map((one, side) => picture(report, one, `${titles[side]} ${[before, after][side]}`, scale));
  if (change && !change.why) pictures.push(picture(report, change, report.word("difference")));
  const hists = looks.map((one, side) => histogram(report, one, titles[side], axis));
  return element(
    "div",
    {},
    element("div", { class: isStrip(looks[0]) ? "looks stacked" : "looks" }, ...pictures),
    element("div", { class: "looks stacked" }, ...hists),
  );
}

function amountKey(edit) {
  if (typeof edit.difference !== "number") return "changed_elements_of";
  return edit.kind === "changed" ? "changed_by" : "changed_elements";
}

/** How much a hook changed, in words. */
function editAmount(report, edit) {
  const told = [];
  if (edit.changed !== undefined) {
    const values = { changed: edit.changed, total: edit.total, difference: readable(edit.difference ?? 0) };
    told.push(report.word(amountKey(edit), values));
  }
  if (edit.together !== undefined) told.push(report.word("together", { factor: readable(edit.together) }));
  if (edit.reason) told.push(report.word("not_compared", { reason: retoldPart(report, edit.reason) }));
  return told.join("; ");
}

function editEntry(report, one) {
  const values = { role: codeText(one.role), what: element("b", { class: "changed" }, element("bdi", {}, changeText(report, one))) };
  const ids = one.before.value && one.after.value ? [codeText(one.before.value), " → ", codeText(one.after.value)] : [];
  const plain = one.before.value && one.after.value ? null : element("p", {}, codeText(one.before.what), " → ", codeText(one.after.what));
  return element(
    "div",
    { class: "edit" },
    element("p", {}, ...phrase(report, `edit_${one.how}`, values), " ", ...ids),
    element("p", { class: "faint" }, editAmount(report, one)),
    plain ?? editSides(report, one.before, one.after),
  );
}

/** The edits of a firing. */
export function editsSection(report, event) {
  if (!event.edits?.length) return null;
  return element(
    "section",
    { class: "edits" },
    element("h4", {}, report.word("seen_edits")),
    ...event.edits.map((one) => editEntry(report, one)),
  );
}

/** A write in place: who wrote over what. */
export function writeSection(report, event, index) {
  const write = event.written;
  if (!write) return null;
  const [before, after] = [write.before, write.after].map((value) => index.small.get(value) ?? { value });
  const shown = editSides(report, before, after);
  const known = before.numbers !== undefined || lookOf(report, write.before) !== undefined;
  const means = shown ? "written_means" : known ? "written_version" : "written_not_kept";
  return element(
    "section",
    { class: "written" },
    element("h4", {}, report.word("seen_written")),
    element("p", {}, codeText(write.before), " → ", codeText(write.after)),
    element("p", { class: "faint" }, report.word(means)),
    shown,
  );
}

/** What .grad was, what arrived, what it is. */
export function filledSection(report, event) {
  if (event.kind !== "accumulate") return null;
  const parts = [
    ["grad_before", event.before?.[0]],
    ["grad_arrived", event.arrived?.[0]],
    ["grad_after", event.after?.[0]],
  ];
  const cells = parts.flatMap(([key, seen], place) => [
    place ? element("span", { class: "arrow", "aria-hidden": true }, place === 1 ? "+" : "=") : null,
    element("figure", { class: key }, element("figcaption", {}, report.word(key)), gradContent(report, event, seen, key)),
  ]);
  return element(
    "section",
    { class: "filled" },
    element("h4", {}, report.word("seen_filled")),
    element("div", { class: "sides" }, ...cells),
  );
}

function gradContent(report, event, seen, key) {
  const none = key === "grad_before" && event.case === "accumulate_filled";
  if (!seen) return element("span", { class: "faint" }, report.word(none ? "none_yet" : "not_looked_at"));
  const small = smallNumbers(seen);
  return small ? matrix(small, report.word(key)) : element("span", {}, element("bdi", {}, seen.what), " ", codeText(seen.value ?? ""));
}
