// The timeline: what ran when, in lanes, with the cursor that all panels share.
import { button, element } from "./elements.js";
import { TimeBands } from "./timelinebands.js";
import { kindOf } from "./events.js";
import { retoldEvent } from "./retold.js";
import { AXIS_HEIGHT, TimePainter } from "./timelinedraw.js";
import { timeHands } from "./timelinehands.js";
import { bandName, itemTold, timeLegend } from "./timelinetold.js";
import { TimeView } from "./timelineview.js";

const REACH = 4; // pixels beside a slice that still count as on it

export function timelinePanel(root, report) {
  if (report.data.bands.bands.length) return new Timeline(root, report);
  const empty = element("p", { class: "faint", "data-w": "no_timeline" }, report.word("no_timeline"));
  root.append(empty);
  return null;
}

class Timeline {
  constructor(root, report) {
    this.report = report;
    this.bands = new TimeBands(report);
    this.view = new TimeView();
    this.canvas = element("canvas", { class: "time", tabindex: 0, role: "application" });
    this.over = element("canvas", { class: "time over", "aria-hidden": "true" });
    const stage = element("div", { class: "time-stage" }, this.canvas, this.over);
    this.space = element("div", { class: "time-space" }, stage);
    this.scroller = element("div", { class: "time-scroll", tabindex: -1 }, this.space);
    this.tip = element("div", { class: "tip", hidden: true });
    this.painter = new TimePainter(this.canvas, this.over, this.bands, this.view);
    this.under = -1;
    this.pointer = null;
    const bar = this.bar();
    root.before(bar);
    bar.prepend(root.parentElement.querySelector("h2"));
    root.append(this.scroller, this.tip);
    this.view.reach(...this.bands.reach());
    this.listen();
    this.exposed();
  }

  /** Buttons and legend, beside the heading. */
  bar() {
    const { report } = this;
    this.modes = ["order", "time"].map((mode) => button(report, `by_${mode}`, () => this.turn(mode)));
    this.skip = button(report, "skip_idle", () => this.skipIdle());
    const label = () => {
      this.skip.textContent = report.word("skip_idle_short");
    };
    report.on("language", label);
    label();
    this.pressed();
    return element(
      "div",
      { class: "time-bar" },
      element("span", { class: "time-modes", role: "group", "aria-labelledby": "timeline-title" }, ...this.modes),
      this.skip,
      button(report, "zoom_out", () => this.zoom(null, 1 / 1.5), "−"),
      button(report, "zoom_in", () => this.zoom(null, 1.5), "+"),
      button(report, "fit_timeline", () => this.fit(), "⤢"),
      timeLegend(report),
    );
  }

  pressed() {
    this.modes.forEach((one, place) => one.setAttribute("aria-pressed", ["order", "time"][place] === this.bands.mode));
    this.skip.hidden = this.bands.mode !== "time" || !this.bands.cutTime.breaks.length;
    this.skip.setAttribute("aria-pressed", this.bands.skipping);
  }

  listen() {
    const { report } = this;
    timeHands(this.canvas, this);
    this.scroller.addEventListener("scroll", () => this.redraw());
    new ResizeObserver(() => this.resize()).observe(this.scroller);
    report.on("fit", () => this.fit());
    report.on("cursor", () => this.follow());
    report.on("language", () => this.speak());
    report.on("playing", (playing) => {
      this.playing = playing; // nobody can listen to thirty events a second
      this.tell();
    });
    const recolour = () => {
      this.painter.recolour();
      this.redraw();
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
    new MutationObserver(recolour).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    this.speak();
  }

  /** For panels that point at something here, and for tests. */
  exposed() {
    this.canvas.placeOf = (seq) => {
      const [one] = this.bands.of(this.report.at(seq));
      if (one === undefined) return null;
      const { bands, view } = this;
      const middle = (Math.max(bands.low[one], view.from) + Math.min(bands.high[one], view.to)) / 2;
      const width = view.x(bands.high[one]) - view.x(bands.low[one]);
      return { x: view.x(middle), y: this.painter.y(bands.tops[bands.row[one]]) + 6, width };
    };
  }

  // ---------------------------------------------------------------- drawing

  resize() {
    const { clientWidth: width, clientHeight: height } = this.scroller;
    if (!width || !height) return;
    this.painter.rows.ready();
    const names = this.bands.bands.map((one) => this.painter.rows.textWidth(this.name(one)));
    this.view.left = Math.min(Math.max(...names) + 14, width * 0.25);
    this.bands.fill(height - AXIS_HEIGHT - 4);
    this.space.style.height = `${Math.max(height, this.bands.height + AXIS_HEIGHT + 4)}px`;
    this.painter.resize(width, height);
    this.redraw();
  }

  name(band) {
    return bandName(band, this.bands, this.report);
  }

  /** Draw everything anew, once for however many changes there were since the last frame. */
  redraw() {
    this.stale = true;
    this.retouch();
  }

  /** Draw only the cursor anew. */
  retouch() {
    if (this.waiting || !this.painter.width) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      const begun = performance.now();
      if (this.stale) this.paint();
      this.stale = false;
      const { event } = this.report;
      if (event) this.painter.paintCursor(this.bands.position(event), this.bands.of(event), this.under);
      this.canvas.dataset.ms = (performance.now() - begun).toFixed(2);
    });
  }

  paint() {
    const { view, canvas, report } = this;
    const tickName = (at, step, time) =>
      this.bands.mode === "time" ? time(this.bands.skips ? this.bands.cutTime.time(at) : at, step) : `#${report.events[at]?.seq ?? at}`;
    this.painter.paint(this.scroller.scrollTop, (band) => this.name(band), tickName);
    Object.assign(canvas.dataset, { mode: this.bands.mode, from: view.from, to: view.to, breaks: this.bands.breaks.length });
  }

  speak() {
    this.resize();
    this.tell();
  }

  /** Say in the label what is to be seen. */
  tell() {
    const { report, bands } = this;
    const { event } = report;
    const values = {
      slices: bands.slices,
      marks: bands.count - bands.slices,
      lanes: bands.bands.length,
      mode: report.word(bands.mode === "order" ? "by_order" : bands.skips ? "by_time_without_idle" : "by_time"),
      event: event ? `#${event.seq} ${kindOf(report, event.kind)} ${retoldEvent(report, event.text)}` : "–",
    };
    this.canvas.setAttribute("aria-label", report.word("timeline_told", values));
  }

  // ---------------------------------------------------------------- what one can do

  /**
   * By order each event has the same width, so that a hook of 5 µs is as easy to see as the
   * backward of 500 ms around it: what comes after what is the question of who reads about hooks.
   * That is why it is the first.  By time it shows what takes long.
   */
  turn(mode) {
    this.bands.arrange(mode);
    this.view.reach(...this.bands.reach());
    this.pressed();
    this.tell();
    this.redraw();
  }

  /** Cut out of the axis of time what is idle, or show it again. */
  skipIdle() {
    this.bands.skipping = !this.bands.skipping;
    this.turn(this.bands.mode);
  }

  fit() {
    this.view.fit();
    this.redraw();
  }

  /** Zoom; without a place at the pointer, else at the cursor, else in the middle. */
  zoom(x, factor) {
    const { view, report } = this;
    const cursor = report.event ? view.x(this.bands.position(report.event)) : -1;
    const inside = cursor >= view.left && cursor <= view.left + view.width;
    view.zoom(x ?? this.pointer ?? (inside ? cursor : view.left + view.width / 2), factor);
    this.tip.hidden = true;
    this.under = -1;
    this.redraw();
  }

  pan(pixels) {
    this.view.pan(pixels);
    this.redraw();
  }

  scroll(pixels) {
    this.scroller.scrollTop += pixels;
  }

  itemAt(x, y) {
    if (x < this.view.left - REACH || y < AXIS_HEIGHT) return -1;
    const row = this.bands.rowAt(y - this.painter.y(0));
    const pixel = (this.view.to - this.view.from) / this.view.width;
    return row < 0 ? -1 : this.bands.nearest(row, this.view.value(x), REACH * pixel);
  }

  choose(x, y) {
    const one = this.itemAt(x, y);
    if (one >= 0) this.report.go(this.bands.eventOf(one).seq);
  }

  /** Zoom to a slice; without one under the pointer, to everything. */
  open(x, y) {
    const one = this.itemAt(x, y);
    if (one < 0) return this.fit();
    const [low, high] = [this.bands.low[one], this.bands.high[one]];
    const beside = (high - low) * 0.04;
    this.view.show(low - beside, high + beside);
    this.redraw();
  }

  point(x, y) {
    this.pointer = x ?? null;
    const one = x === undefined ? -1 : this.itemAt(x, y);
    this.tip.hidden = one < 0;
    this.canvas.classList.toggle("on-slice", one >= 0);
    if (one >= 0) this.hint(one, x, y);
    if (one !== this.under) {
      this.under = one;
      this.retouch();
    }
  }

  /** Show the tooltip beside the pointer, inside of the window. */
  hint(one, x, y) {
    const { tip } = this;
    if (one !== this.under) tip.replaceChildren(...itemTold(one, this.bands, this.report));
    const box = this.canvas.getBoundingClientRect();
    const left = Math.min(box.left + x + 14, window.innerWidth - tip.offsetWidth - 8);
    const above = box.top + y - tip.offsetHeight - 12;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above < 8 ? box.top + y + 18 : above}px`;
  }

  /** Bring the event at the cursor into sight. */
  follow() {
    const { event } = this.report;
    const [one] = this.bands.of(event);
    if (this.view.follow(this.bands.position(event))) this.stale = true;
    if (one !== undefined) this.showRow(this.bands.tops[this.bands.row[one]]);
    if (!this.playing) this.tell();
    this.retouch();
  }

  showRow(top) {
    const { scroller } = this;
    const room = scroller.clientHeight - AXIS_HEIGHT - 24;
    const inSight = top >= scroller.scrollTop && top <= scroller.scrollTop + room;
    if (!inSight) scroller.scrollTop = Math.max(0, top - room / 2);
  }
}
