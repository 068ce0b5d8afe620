// Which part of the timeline is in sight: from, to, and where that is on the canvas.

/** A stretch of an axis, in whatever unit the axis has, on so many pixels. */
export class TimeView {
  constructor() {
    this.left = 0; // pixels that the names of the lanes take
    this.width = 1; // pixels that are left for the axis
    this.low = 0;
    this.high = 1;
    this.from = 0;
    this.to = 1;
    this.least = 1; // what may be seen at the closest
  }

  /** The axis reaches from `low` to `high`; all of it is shown. */
  reach(low, high, least) {
    this.low = low;
    this.high = Math.max(high, low + least);
    this.least = least;
    this.fit();
  }

  fit() {
    this.show(this.low, this.high);
  }

  get whole() {
    return this.from <= this.low && this.to >= this.high;
  }

  x(value) {
    return this.left + ((value - this.from) / (this.to - this.from)) * this.width;
  }

  value(x) {
    return this.from + ((x - this.left) / this.width) * (this.to - this.from);
  }

  /** Show a stretch, as far as the axis and the closest look allow. */
  show(from, to) {
    const size = Math.min(Math.max(to - from, this.least), this.high - this.low);
    const middle = (from + to) / 2;
    this.from = Math.min(Math.max(middle - size / 2, this.low), this.high - size);
    this.to = this.from + size;
  }

  /** Make everything larger by a factor; what is at `x` stays there. */
  zoom(x, factor) {
    const still = this.value(x);
    const size = Math.min(Math.max((this.to - this.from) / factor, this.least), this.high - this.low);
    const from = still - ((x - this.left) / this.width) * size;
    this.show(from, from + size);
  }

  pan(pixels) {
    const by = (pixels / this.width) * (this.to - this.from);
    this.show(this.from + by, this.to + by);
  }

  /** Bring a value into sight if it is not; says whether it had to. */
  follow(value) {
    const size = this.to - this.from;
    if (value >= this.from + 0.02 * size && value <= this.to - 0.02 * size) return false;
    const before = this.from;
    this.show(value - 0.35 * size, value + 0.65 * size);
    return this.from !== before;
  }

  /** Round numbers on the axis, far enough from each other to be written beside it. */
  ticks(apart, whole) {
    const wanted = ((this.to - this.from) * apart) / this.width;
    const power = 10 ** Math.floor(Math.log10(wanted));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= wanted * 0.999);
    const used = whole ? Math.max(1, Math.round(step)) : step;
    const found = [];
    for (let at = Math.ceil(this.from / used); at * used <= this.to; at += 1) found.push(at * used);
    return { step: used, at: found };
  }
}

/** A time on the axis, written as finely as the distance of its ticks asks for. */
export function tickTime(us, step) {
  const [unit, size] = step >= 1e6 ? ["s", 1e6] : step >= 1e3 ? ["ms", 1e3] : ["µs", 1];
  const digits = Math.max(0, Math.ceil(-Math.log10(step / size) - 1e-9));
  return `${(us / size).toFixed(digits)} ${unit}`;
}
