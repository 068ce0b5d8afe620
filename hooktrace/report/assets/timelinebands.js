// The slices and marks of the timeline in typed arrays, and where each is to be found.
import { retoldPart } from "./retold.js";
import { CutTime } from "./timelinegaps.js";

/** How things look, the weaker before the stronger: where many share a pixel the strongest shows. */
export const LOOKS = ["plain", "called", "back", "stepped", "seen", "written", "changed", "raised"];
const LOOK_OF_LANE = {
  forward: "called", backward: "back", gradients: "back", optimizer: "stepped", changes: "changed",
};
const ENDS = { call: "exit", forward: "exit", backward: "backward done", step: "step done" };

const LOWEST_ROW = 14; // pixels: what a name needs
const HIGHEST_ROW = 20;
const BAND_GAP = 4;

function sliceName(report, key, name, owner) {
  return report.word(key, { name, owner: owner && retoldPart(report, owner) });
}

function added(steps) {
  let sum = 0;
  return Int32Array.from(steps, (one) => (sum += one));
}

/**
 * Items are numbered: first the slices, then the marks.  An item's `low` and `high` say where it is
 * on the axis, which shows either the order of events or time.
 */
export class TimeBands {
  constructor(report) {
    const { bands, slices, marks, names } = report.data.bands;
    this.events = report.events;
    this.report = report;
    this.raw = names;
    this.names = [];
    this.spoken = null;
    this.nameOf = slices.name;
    this.slices = slices.first.length;
    this.count = this.slices + marks.at.length;
    this.threads = new Set(bands.map(([thread]) => thread)).size;
    let row = 0;
    this.bands = bands.map(([thread, lane, rows]) => ({ thread, lane, rows, row: (row += rows) - rows }));
    this.fill(0);
    const first = added(slices.first);
    const marked = added(marks.at);
    const column = (ofSlice, ofMark) =>
      Int32Array.from({ length: this.count }, (_, one) =>
        one < this.slices ? ofSlice(one) : ofMark(one - this.slices),
      );
    this.first = column((one) => first[one], (one) => marked[one]);
    this.last = column((one) => first[one] + slices.span[one], (one) => marked[one]);
    this.at = column((one) => first[one] + slices.at[one], (one) => marked[one]);
    this.band = column((one) => slices.band[one], (one) => marks.band[one]);
    this.row = column((one) => slices.row[one], () => 0);
    this.row.forEach((row, one) => (this.row[one] = row + this.bands[this.band[one]].row));
    this.took = slices.ns;
    this.look = Uint8Array.from({ length: this.count }, (_, one) => LOOKS.indexOf(this.lookOf(one)));
    this.index(report);
    this.skipping = true;
    this.arrange("order");
  }

  /** Give rows as much of a height as they need to be read, and bands their places. */
  fill(height) {
    const rows = this.bands.at(-1).row + this.bands.at(-1).rows;
    const free = Math.floor((height - BAND_GAP * this.bands.length) / rows);
    this.rowHeight = Math.min(Math.max(free, LOWEST_ROW), HIGHEST_ROW);
    this.tops = []; // of each row
    this.height = 0;
    for (const band of this.bands) {
      band.top = this.height;
      band.height = band.rows * this.rowHeight;
      for (let one = 0; one < band.rows; one += 1) this.tops.push(band.top + one * this.rowHeight);
      this.height += band.height + BAND_GAP;
    }
  }

  /** Height of a slice in its row. */
  get bar() {
    return this.rowHeight - 2;
  }

  /** What stands on a slice, in the reader's language. */
  nameOn(one) {
    const { report } = this;
    if (this.spoken !== report.language) {
      this.spoken = report.language;
      this.names = this.raw.map((name) => (typeof name === "string" ? name : sliceName(report, ...name)));
    }
    return this.names[this.nameOf[one]];
  }

  /** The same without what need not be said: its type, or where a hook hangs. */
  shortOn(one) {
    const name = this.raw[this.nameOf[one]];
    return typeof name === "string" ? name.split(" (")[0] : (name[1] ?? this.nameOn(one));
  }

  isMark(one) {
    return one >= this.slices;
  }

  eventOf(one) {
    return this.events[this.at[one]];
  }

  lookOf(one) {
    const event = this.eventOf(one);
    const lane = this.bands[this.band[one]].lane;
    const ended = this.events[this.last[one]];
    if (event.raised || event.kind === "probe failed") return "raised";
    if (event.kind === "hook") return event.case === "hook_changed" ? "changed" : "seen";
    if (event.kind === "write" && event.hook === undefined) return "written";
    if (ended.raised && ENDS[event.kind] === ended.kind) return "raised";
    return LOOK_OF_LANE[lane] ?? "plain";
  }

  /** Remember for each event the items that stand for it. */
  index(report) {
    this.own = new Map();
    this.ending = new Map();
    for (let one = 0; one < this.count; one += 1) {
      const its = this.own.get(this.at[one]);
      if (its) its.push(one);
      else this.own.set(this.at[one], [one]);
      if (!this.ending.has(this.last[one])) this.ending.set(this.last[one], one);
    }
    this.calls = report.calls;
    this.places = report.places;
  }

  /** The items of an event: its own, else the one that it ends, else that of its call. */
  of(event) {
    const place = this.places.get(event.seq);
    const own = this.own.get(place);
    if (own) return own;
    if (this.ending.has(place)) return [this.ending.get(place)];
    const call = this.calls.get(event.call);
    return (call && this.own.get(this.places.get(call.first))) || [];
  }

  /** Lay the items out by "order" or by "time". */
  arrange(mode) {
    this.mode = mode;
    if (mode === "order") {
      this.low = Float64Array.from(this.first);
      this.high = Float64Array.from(this.last, (one) => one + 1);
    } else {
      const begin = Float64Array.from(this.at, (place, one) => this.starts(place, one));
      this.low = begin.map((us) => this.onAxis(us));
      this.high = begin.map((us, one) => this.onAxis(this.isMark(one) ? us : us + this.took[one] / 1000));
    }
    this.inRow = this.tops.map(() => []);
    for (let one = 0; one < this.count; one += 1) this.inRow[this.row[one]].push(one);
    for (const its of this.inRow) its.sort((a, b) => this.low[a] - this.low[b]);
  }

  /** The axis without idle time, worked out when it is first asked for. */
  get cutTime() {
    this.cutted ??= new CutTime([
      ...this.events.map((one) => [one.us, one.us + (one.took ?? 0)]),
      ...Array.from({ length: this.slices }, (_, one) => {
        const us = this.starts(this.at[one], one);
        return [us, us + this.took[one] / 1000];
      }),
    ]);
    return this.cutted;
  }

  /** Whether idle time is cut out of what is shown. */
  get skips() {
    return this.mode === "time" && this.skipping && this.cutTime.breaks.length > 0;
  }

  onAxis(us) {
    return this.skips ? this.cutTime.place(us) : us;
  }

  /** The breaks in what is shown. */
  get breaks() {
    return this.skips ? this.cutTime.breaks : [];
  }

  /** When an item began; the mark of a hook's change stands at the hook's end. */
  starts(place, one) {
    const event = this.events[place];
    return event.us + (this.isMark(one) ? (event.took ?? 0) : 0);
  }

  /** Where an event is on the axis. */
  position(event) {
    return this.mode === "order" ? this.places.get(event.seq) + 0.5 : this.onAxis(event.us + (event.took ?? 0) / 2);
  }

  /** From where to where the axis reaches, and how close one may look. */
  reach() {
    if (this.mode === "order") return [0, this.events.length, 4];
    const low = this.onAxis(this.events.reduce((least, one) => Math.min(least, one.us), Infinity));
    const high = this.high.reduce((most, one) => Math.max(most, one), this.onAxis(this.events.at(-1)?.us ?? 0));
    return [low, Math.max(high, low + 1), 0.1];
  }

  /** The place in a row of the first item that ends after a value. */
  firstAfter(its, value) {
    let low = 0;
    let high = its.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.high[its[middle]] < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The item in a row nearest to a value, at most so far from it; -1 if there is none. */
  nearest(row, value, within) {
    const its = this.inRow[row] ?? [];
    let best = -1;
    let least = within;
    for (let at = this.firstAfter(its, value - within); at < its.length; at += 1) {
      const one = its[at];
      if (this.low[one] > value + within) break;
      const away = Math.max(this.low[one] - value, value - this.high[one], 0);
      if (away < least || (away === least && best < 0)) [best, least] = [one, away];
    }
    return best;
  }

  /** The row at a height; -1 between bands. */
  rowAt(y) {
    return this.tops.findIndex((top) => y >= top && y < top + this.rowHeight);
  }
}
