// Sentences with names of the traced program in them: each name is isolated, whatever it holds.
import { element } from "./elements.js";

/** Interface text as nodes: {name} becomes the value of that name, a text or a node. */
export function phrase(report, key, values = {}) {
  const text = report.words[report.language]?.[key] ?? report.words.en[key] ?? key;
  return text.split(/\{(\w+)\}/).map((one, place) => (place % 2 ? isolated(values[one] ?? "") : one));
}

/** A text that cannot turn the text around it from right to left. */
export function isolated(thing) {
  return thing instanceof Node ? thing : element("bdi", {}, String(thing));
}

export function codeText(text) {
  return element("code", {}, element("bdi", {}, text));
}

/** A change as it is written: x2 becomes ×2. */
export function changeText(text) {
  return text.replace(/^x(?=[-\d.])/, "×");
}

/** A number as people read it: six digits; what is none in words. */
export function readable(number) {
  if (typeof number !== "number") return String(number);
  const text = String(Number(number.toPrecision(4)));
  return text.replace("-", "−");
}
