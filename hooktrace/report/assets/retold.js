// What is told in English by the trace (boxes of pictures, lists of edits, lines of events), told in
// the reader's language: a sentence is recognised by its English words, and the names in it stay.
//
// The words have groups: told_ are whole lines, line_ the parts of an event's line, part_ stand inside
// of other sentences, as do hook_, state_, how_ and box_, each in its place alone.

const FIGURES = new Set(["count", "times", "again", "total", "number", "version", "shown", "deepest", "step", "steps", "depth", "limit"]);
const WORDS = new Set(["kind", "role", "first", "last"]); // without spaces
const SHAPES = { factor: "([-+\\d.e]+)", how: "(in place|returned|assigned|depth=\\d+ .+?|more is over .+?)" };
const PARTS = ["part", "hook", "told"];
const INNER = { // name -> what may stand there: else the sentence is another one
  hook: ["hook"], badge: ["told"], state: ["state"], how: ["how"], extent: ["told"], boxes: ["box"],
};
const LOOSE = new Set(["change", "changes", "list", "whose", "by", "owner", "reason", "old"]); // it may be something else
const SPLIT = { changes: /(; |, then )/, list: /(, )/ };
const JOINED = { "; ": "；", ", then ": "，然后", ", ": "、" };

class Retelling {
  constructor(english, other) {
    this.exact = new Map(); // sentences without names
    this.groups = Object.fromEntries(["told", "line", "part", "hook", "state", "how", "box"].map((one) => [one, []]));
    this.known = new Map();
    for (const [key, text] of Object.entries(english)) {
      const group = this.groups[key.split("_")[0]];
      if (!group) continue;
      if (text.includes("{")) group.push({ ...pattern(text), told: other[key] });
      else this.exact.set(`${key.split("_")[0]} ${text}`, other[key]);
    }
  }

  /** A line in the other language; null where it is none of ours. */
  line(text, groups) {
    const key = `${groups} ${text}`;
    if (!this.known.has(key)) {
      if (this.known.size > 20_000) this.known.clear();
      this.known.set(key, this.found(text, groups));
    }
    return this.known.get(key);
  }

  found(text, groups) {
    const exact = groups.map((group) => this.exact.get(`${group} ${text}`)).find(Boolean);
    if (exact) return exact;
    for (const group of groups) {
      for (const one of this.groups[group]) {
        const match = one.shape.exec(text);
        const values = match && this.values(one.names, match);
        if (values) return one.told.replace(/\{(\w+)\}/g, (_, name) => values[name]);
      }
    }
    return null;
  }

  /** What stands for the names, itself retold where it may be a sentence; null if it had to be one. */
  values(names, match) {
    const found = {};
    for (const [place, name] of names.entries()) {
      const text = match[place + 1];
      found[name] = INNER[name] ? this.line(text, INNER[name]) : LOOSE.has(name) ? this.loose(name, text) : text;
      if (found[name] === null) return null;
    }
    return found;
  }

  loose(name, text) {
    const groups = name === "list" ? ["state"] : PARTS;
    if (!SPLIT[name]) return this.line(text, groups) ?? text;
    return text.split(SPLIT[name]).map((one, at) => (at % 2 ? JOINED[one] : this.line(one, groups) ?? one)).join("");
  }
}

function pattern(text) {
  const pieces = text.split(/\{(\w+)\}/);
  const shape = pieces.map((one, place) => {
    if (place % 2 === 0) return one.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    return FIGURES.has(one) ? "([\\d,]+)" : SHAPES[one] ?? (WORDS.has(one) ? "(\\S+)" : "(.+?)");
  });
  return { names: pieces.filter((_, place) => place % 2), shape: new RegExp(`^${shape.join("")}$`, "s") };
}

const retellings = new WeakMap();

function retellingOf(report) {
  const { words, language } = report;
  if (!words || language === "en") return null;
  if (!retellings.has(words[language])) retellings.set(words[language], new Retelling(words.en, words[language]));
  return retellings.get(words[language]);
}

/** A line of the trace in the reader's language; `parts` allows what is only part of a sentence. */
export function retold(report, text, parts = false) {
  return retellingOf(report)?.line(text, parts ? ["told", "hook", "part"] : ["told"]) ?? text;
}

/** A part of a sentence, such as who wrote. */
export function retoldPart(report, text) {
  return retellingOf(report)?.line(text, PARTS) ?? text;
}

/** The line of an event: its parts stand apart by two spaces. */
export function retoldEvent(report, text) {
  const retelling = retellingOf(report);
  if (!retelling) return text;
  const groups = ["line", ...PARTS];
  return text.split("  ").map((one) => retelling.line(one, groups) ?? retelling.loose("changes", one)).join("  ");
}
