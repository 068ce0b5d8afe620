// Names written from right to left, which shall not turn the text around them; phrases.py says the same.

const RTL = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}";
const RIGHT_TO_LEFT = new RegExp(`[${RTL}]+(?:[0-9 \\t\\n\\u00a0_.,'-]*[${RTL}]+)*`, "gu");
const TURNING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text in which what is written from right to left, as a name may be, turns nothing around it. */
export function inOrder(text) {
  return text.replace(TURNING, "\ufffd").replace(RIGHT_TO_LEFT, "\u2068$&\u2069");
}

/** A name as a canvas draws it: isolated as a whole. */
export function isolatedName(name) {
  return /[^\u0000-\u00ff]/.test(name) ? `\u2068${name.replace(TURNING, "\ufffd")}\u2069` : name;
}
