// Sentences with names of the traced program in them: each name is isolated, whatever it holds.
import { element } from "./elements.js";
import { retoldPart } from "./retold.js";

/**
 * Interface text as nodes: {name} becomes the value of that name, a text, a node, or another such
 * text as [key, values]; what stands between backticks is code.
 */
export function phrase(report, key, values = {}) {
  const text = report.words[report.language]?.[key] ?? report.words.en[key] ?? key;
  const filled = (part) =>
    part.split(/\{(\w+)\}/).map((one, place) => (place % 2 ? inserted(report, values[one] ?? "") : one));
  return text.split("`").flatMap((part, place) => (place % 2 ? element("code", {}, ...filled(part)) : filled(part)));
}

function inserted(report, value) {
  return Array.isArray(value) ? element("span", {}, ...phrase(report, ...value)) : isolated(value);
}

/** The same as plain text, for what takes no elements, such as the choices of a list. */
export function phraseText(report, [key, values]) {
  const said = Object.entries(values).map(([name, value]) => [name, Array.isArray(value) ? phraseText(report, value) : value]);
  return report.word(key, Object.fromEntries(said));
}

/** A text that cannot turn the text around it from right to left. */
export function isolated(thing) {
  return thing instanceof Node ? thing : element("bdi", {}, String(thing));
}

export function codeText(text) {
  return element("code", {}, element("bdi", {}, text));
}

/** What an edit did, in the reader's language: ×2, zeroed, clamped to [-1, 1]. */
export function changeText(report, edit) {
  const values = { changed: edit.changed, total: edit.total, to: edit.text.replace("clamped to ", "") };
  if (["zeroed", "clamped", "changed"].includes(edit.kind)) return report.word(`change_${edit.kind}`, values);
  return retoldPart(report, edit.text).replace(/^x(?=[-\d.])/, "×");
}

/** A number as people read it: six digits; what is none in words. */
export function readable(number) {
  if (typeof number !== "number") return String(number);
  const tiny = number !== 0 && Math.abs(number) < 1e-3;
  const text = tiny ? number.toExponential(2) : String(Number(number.toPrecision(4)));
  return text.replaceAll("-", "−");
}
