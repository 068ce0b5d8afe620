// Draws the timeline: lanes, axis, slices and marks, and over them what is at the cursor.
import { duration } from "./elements.js";
import { RowPainter, timeColours } from "./timelinerows.js";
import { tickTime } from "./timelineview.js";

export const AXIS_HEIGHT = 20;

export class TimePainter {
  constructor(canvas, over, bands, view) {
    Object.assign(this, { canvas, over, bands, view });
    this.pen = canvas.getContext("2d", { alpha: false });
    this.overPen = over.getContext("2d");
    this.rows = new RowPainter(this.pen, bands, view);
    this.recolour();
  }

  /** Take a size in CSS pixels, sharp on any screen. */
  resize(width, height) {
    const ratio = window.devicePixelRatio || 1;
    for (const [one, pen] of [[this.canvas, this.pen], [this.over, this.overPen]]) {
      one.width = Math.round(width * ratio);
      one.height = Math.round(height * ratio);
      one.style.height = `${height}px`;
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    this.width = width;
    this.height = height;
    this.view.width = Math.max(1, width - this.view.left - 6);
  }

  /** Take the colours of the page as they are now. */
  recolour() {
    this.colours = timeColours();
    this.rows.colours = this.colours;
  }

  /** Draw everything but the cursor. */
  paint(scrolled, laneName, tickName) {
    const { pen, colours } = this;
    this.scrolled = scrolled;
    this.rows.ready();
    pen.fillStyle = colours.paper;
    pen.fillRect(0, 0, this.width, this.height);
    this.ground();
    const ticks = this.ticks();
    this.lines(ticks);
    this.breaks();
    this.bands.tops.forEach((top, row) => {
      const y = this.y(top);
      const inSight = y + this.bands.rowHeight > AXIS_HEIGHT && y < this.height;
      if (inSight) this.rows.paint(this.bands.inRow[row], y, this.width);
    });
    this.gutter(laneName);
    this.axis(ticks, tickName);
  }

  y(top) {
    return top - this.scrolled + AXIS_HEIGHT + 2;
  }

  ground() {
    this.pen.fillStyle = this.colours.cluster1;
    for (const band of this.bands.bands) {
      this.pen.fillRect(this.view.left, this.y(band.top) - 1, this.width, band.height);
    }
  }

  ticks() {
    const { view, bands } = this;
    const found = view.ticks(84, bands.mode === "order");
    return bands.skips ? { step: found.step, at: bands.cutTime.ticks(view.from, view.to, found.step) } : found;
  }

  /** What was cut out: two edges, a hatching, and how long it was. */
  breaks() {
    const { pen, colours, view } = this;
    for (const one of this.bands.breaks) {
      const [left, right] = [view.x(one.from), view.x(one.to)];
      if (right < view.left || left > this.width) continue;
      pen.save();
      pen.beginPath();
      pen.rect(left, AXIS_HEIGHT, right - left, this.height);
      pen.clip();
      pen.fillStyle = colours.paper;
      pen.fillRect(left, AXIS_HEIGHT, right - left, this.height);
      pen.strokeStyle = colours.frame;
      pen.lineWidth = 1;
      pen.beginPath();
      for (let x = left - this.height; x < right; x += 8) {
        pen.moveTo(x, this.height);
        pen.lineTo(x + this.height, 0);
      }
      pen.stroke();
      pen.restore();
      this.breakTold(duration(one.us), left, right);
    }
  }

  /** Write how long it was, upright where the break is too narrow for it. */
  breakTold(text, left, right) {
    const { pen, colours } = this;
    const room = this.rows.textWidth(text) + 8;
    const upright = right - left < room;
    if (upright && right - left < 14) return;
    pen.save();
    pen.translate((left + right) / 2, AXIS_HEIGHT + (this.height - AXIS_HEIGHT) / 2);
    if (upright) pen.rotate(-Math.PI / 2);
    pen.fillStyle = colours.paper;
    pen.fillRect(-room / 2, -8, room, 16);
    pen.fillStyle = colours.ink;
    pen.fillText(text, 4 - room / 2, 0);
    pen.restore();
  }

  lines(ticks) {
    this.pen.fillStyle = this.colours.leaf;
    for (const at of ticks.at) this.pen.fillRect(Math.round(this.view.x(at)), 0, 1, this.height);
  }

  axis(ticks, tickName) {
    const { pen, colours, view } = this;
    pen.fillStyle = colours.paper;
    pen.fillRect(0, 0, this.width, AXIS_HEIGHT);
    pen.fillStyle = colours.frame;
    pen.fillRect(view.left, AXIS_HEIGHT - 1, this.width - view.left, 1);
    for (const at of ticks.at) {
      const x = Math.round(view.x(at));
      pen.fillStyle = colours.frame;
      pen.fillRect(x, AXIS_HEIGHT - 6, 1, 6);
      const text = tickName(at, ticks.step, tickTime);
      if (x + 4 + this.rows.textWidth(text) > this.width) continue;
      pen.fillStyle = colours.soft;
      pen.fillText(text, x + 4, AXIS_HEIGHT / 2 - 1);
    }
  }

  gutter(laneName) {
    const { pen, colours, view } = this;
    pen.fillStyle = colours.paper;
    pen.fillRect(0, 0, view.left - 2, this.height);
    pen.fillStyle = colours.soft;
    for (const band of this.bands.bands) {
      const top = this.y(band.top);
      const y = Math.min(Math.max(top, AXIS_HEIGHT), top + band.height - this.bands.rowHeight);
      if (y > this.height || y < 0) continue;
      pen.fillText(this.rows.cut(laneName(band), view.left - 10), 4, y + this.bands.bar / 2 + 1);
    }
    if (this.bands.height - this.scrolled > this.height - AXIS_HEIGHT) this.more();
  }

  /** Say that there are lanes below. */
  more() {
    const { pen, colours, view } = this;
    pen.fillStyle = colours.paper;
    pen.fillRect(view.left - 18, this.height - 16, 16, 16);
    pen.fillStyle = colours.ink;
    pen.fillText("▾", view.left - 14, this.height - 8);
  }

  // ---------------------------------------------------------------- above it

  /** Draw the cursor, a frame around its items, and around the one under the pointer. */
  paintCursor(position, items, under) {
    const { overPen: pen, colours, view } = this;
    pen.clearRect(0, 0, this.width, this.height);
    pen.save();
    pen.beginPath();
    pen.rect(view.left - 3, 0, this.width, this.height);
    pen.clip();
    const x = view.x(position);
    pen.fillStyle = colours.ink;
    pen.fillRect(Math.round(x) - 0.5, 0, 1.5, this.height);
    if (under >= 0) this.frame(under, colours.soft, 1);
    for (const one of items) this.frame(one, colours.ink, 2);
    pen.beginPath();
    pen.moveTo(x - 5, 0);
    pen.lineTo(x + 5, 0);
    pen.lineTo(x, 8);
    pen.fill();
    pen.restore();
  }

  /** Draw a frame around an item; inside of it there is no line of the cursor. */
  frame(one, colour, width) {
    const { bands, view, overPen: pen } = this;
    const y = this.y(bands.tops[bands.row[one]]);
    if (y < AXIS_HEIGHT - bands.bar / 2) return;
    const [low, high] = [view.x(bands.low[one]), view.x(bands.high[one])];
    const wide = bands.isMark(one) ? 12 : Math.max(high - low, 6);
    const box = [(low + high - wide) / 2 - 0.5, y - 1, wide, bands.bar + 2];
    if (width > 1) pen.clearRect(...box);
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.strokeRect(...box);
  }
}
