// What part of the picture is seen: a camera that moves one group, and hides what is out of sight.

const LEAST = 0.02;
const MOST = 4;
const FAR = 0.38; // below it words cannot be read, and are not drawn
const AROUND = 40; // pixels around the window in which things are kept ready

export class Camera {
  /** `seen` is told {x, y, w, h} of what can be seen, in points of the picture. */
  constructor(svg, world, seen) {
    Object.assign(this, { svg, world, seen, x: 0, y: 0, scale: 1, waiting: false });
  }

  get size() {
    return { w: this.svg.clientWidth || 1, h: this.svg.clientHeight || 1 };
  }

  /** The part of the picture in the window, with `around` pixels more on each side. */
  view(around = 0) {
    const { w, h } = this.size;
    return {
      x: (-this.x - around) / this.scale,
      y: (-this.y - around) / this.scale,
      w: (w + 2 * around) / this.scale,
      h: (h + 2 * around) / this.scale,
    };
  }

  /** Show the change with the next frame. */
  moved() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => this.show());
  }

  show() {
    this.waiting = false;
    this.world.setAttribute("transform", `translate(${this.x.toFixed(2)} ${this.y.toFixed(2)}) scale(${this.scale.toFixed(4)})`);
    this.svg.classList.toggle("far", this.scale < FAR);
    this.seen(this.view(AROUND));
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.moved();
  }

  /** Zoom about a place of the window; its middle if none is given. */
  zoom(factor, px = this.size.w / 2, py = this.size.h / 2) {
    const scale = Math.min(MOST, Math.max(LEAST, this.scale * factor));
    this.x = px - ((px - this.x) * scale) / this.scale;
    this.y = py - ((py - this.y) * scale) / this.scale;
    this.scale = scale;
    this.moved();
  }

  /** Show all of it, no larger than `most`; where that is too small to read, its top. */
  fit(picture, most = 1.3, least = 0) {
    const { w, h } = this.size;
    const all = Math.min((w - 24) / picture.w, (h - 24) / picture.h, most);
    this.scale = Math.max(all, least, LEAST);
    this.x = (w - picture.w * this.scale) / 2;
    this.y = Math.max((h - picture.h * this.scale) / 2, 12);
    this.moved();
  }

  /** Whether a rectangle is in the window: all of it, or as much as the window can hold. */
  holds(one) {
    const seen = this.view();
    const across = Math.min(one.x + one.w, seen.x + seen.w) - Math.max(one.x, seen.x);
    const down = Math.min(one.y + one.h, seen.y + seen.h) - Math.max(one.y, seen.y);
    return across >= Math.min(one.w, seen.w) * 0.9 && down >= Math.min(one.h, seen.h) * 0.9;
  }

  /** Move a rectangle to the middle; a large one with its top at the top. */
  centre(one, least = 0) {
    const { w, h } = this.size;
    if (this.scale < least) this.scale = least;
    this.x = w / 2 - (one.x + one.w / 2) * this.scale;
    this.y = one.h * this.scale > h - 40 ? 20 - one.y * this.scale : h / 2 - (one.y + one.h / 2) * this.scale;
    this.moved();
  }
}
