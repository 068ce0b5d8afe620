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

export function code(text) {
  return element("code", {}, element("bdi", {}, text));
}

/** Links to events, in a row. */
export function eventLinks(seqs, most = 16) {
  const shown = seqs.slice(0, most).flatMap((seq) => [seqLink(seq), " "]);
  return element("span", {}, ...shown, seqs.length > most ? `+${seqs.length - most}` : null);
}

export function seqLink(seq, ...more) {
  return element("a", { href: `#e=${seq}` }, `#${seq}`, ...more);
}

/** A number as people read it: six digits; what is none in words. */
export function readable(number) {
  if (typeof number !== "number") return String(number);
  const text = String(Number(number.toPrecision(4)));
  return text.replace("-", "−");
}
