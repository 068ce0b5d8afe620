// Draws the rows of the timeline: slices with their names, marks, and runs of what is too narrow.
import { LOOKS, ROW_HEIGHT } from "./timelinebands.js";

export const BAR_HEIGHT = ROW_HEIGHT - 3;
const NARROW = 3; // pixels: below it a slice is a line in its strong colour
const MARK_ROOM = 6; // pixels that a mark needs
const TIME_FONT = '11px system-ui, -apple-system, "Segoe UI", "Noto Sans CJK SC", "PingFang SC", sans-serif';
const TIME_COLOURS = ["paper", "ink", "soft", "frame", "leaf", "cluster1", "line", "called", "written",
  "stepped", "seen", "changed", "raised"]; // prettier-ignore

/** The colours of the page as they are now. */
export function timeColours() {
  const style = getComputedStyle(document.documentElement);
  const found = Object.fromEntries(TIME_COLOURS.map((one) => [one, style.getPropertyValue(`--${one}`).trim()]));
  const named = { ...found, plain: found.line, back: found.written };
  found.strong = LOOKS.map((look) => named[look]);
  found.fill = found.strong.map((colour) => mixed(colour, found.paper, 0.36));
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
  constructor(pen) {
    this.pen = pen;
    this.to = this.from = -1;
  }

  add(start, stop, look, y, strong) {
    if (this.to >= start && look === this.look) this.to = Math.max(this.to, stop);
    else if (this.to < stop || look > this.look) {
      if (this.to > start && look < this.look) start = this.to;
      this.to = Math.min(this.to, start);
      this.flush(y, strong);
      Object.assign(this, { from: start, to: stop, look });
    }
  }

  flush(y, strong) {
    if (this.to > this.from) {
      this.pen.fillStyle = strong[this.look];
      this.pen.fillRect(this.from, y, this.to - this.from, BAR_HEIGHT);
    }
    this.to = this.from = -1;
  }
}

export class RowPainter {
  constructor(pen, bands, view) {
    Object.assign(this, { pen, bands, view });
    this.widths = new Map();
    this.run = new NarrowRun(pen);
  }

  /** Set the pen up: a canvas forgets its font when its size changes. */
  ready() {
    this.pen.font = TIME_FONT;
    this.pen.textBaseline = "middle";
  }

  paint(its, y, width) {
    const { bands, view, run } = this;
    const { strong } = this.colours;
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
        run.flush(y, strong);
        if (mark) this.mark(look, (x + end) / 2, y);
        else this.slice(one, x, Math.min(end, width), y);
      } else {
        const start = Math.floor(x);
        run.add(start, Math.max(start + 1, Math.ceil(end - 0.5)), look, y, strong);
      }
      const signed = Math.max(x, view.left) + (room >= 0 ? 1 : -3);
      if (look >= 5 && !(mark && room >= 0) && !(signed - signs.at(-1)?.x < 8)) signs.push({ look, x: signed });
    }
    run.flush(y, strong);
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
    pen.fillRect(left, y, width, BAR_HEIGHT);
    pen.fillStyle = colours.strong[look];
    pen.fillRect(left, y + BAR_HEIGHT - 2, width, 2);
    const inset = look >= 5 ? 11 : 4;
    if (width < inset + 12) return;
    pen.fillStyle = colours.ink;
    pen.fillText(this.fitting(bands.names[bands.nameOf[one]], width - inset - 2), left + inset, y + BAR_HEIGHT / 2);
  }

  /** A mark with room: a diamond, or the sign of what changed or raised. */
  mark(look, x, y) {
    const middle = y + BAR_HEIGHT / 2;
    if (look >= 5) this.sign(look, x - 4, y + 2);
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

  /** What is no matter of colour: a triangle for changed, a cross for raised. */
  sign(look, x, y) {
    const { pen, colours } = this;
    pen.beginPath();
    if (LOOKS[look] === "raised") {
      pen.strokeStyle = colours.raised;
      pen.lineWidth = 2;
      pen.moveTo(x + 1, y + 2);
      pen.lineTo(x + 7, y + 9);
      pen.moveTo(x + 7, y + 2);
      pen.lineTo(x + 1, y + 9);
      pen.stroke();
    } else {
      pen.fillStyle = colours.changed;
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
  fitting(name, room) {
    const short = name.split(/ on | \(| backward$/)[0];
    const ways = [name, short, short.split(".").at(-1)];
    return ways.find((one) => this.textWidth(one) <= room) ?? this.cut(ways[2], room);
  }

  /** Shorten a text to a width. */
  cut(text, width) {
    if (this.textWidth(text) <= width) return text;
    const kept = Math.floor((text.length * (width - 8)) / this.textWidth(text));
    return kept > 1 ? `${text.slice(0, kept)}…` : "";
  }
}
