// The things of a picture on the page: each is drawn when it first comes into sight, and hidden out of it.
import { drawnArrow, drawnBox, drawnFrame, drawnShapes, isSign, svgElement, wordsIn } from "./graphdraw.js";

export class Stage {
  /**
   * `world` is the group that holds everything; `dress` is called with each box once it is drawn, `say`
   * with each line of words.
   */
  constructor(world, dress, say) {
    this.layers = ["titles", "frames", "arrows", "boxes"].map((name) => svgElement("g", { class: name }));
    world.append(...this.layers);
    this.dress = dress;
    this.say = say;
    this.things = [];
    this.byKey = new Map();
  }

  /** Show another picture. */
  set(picture) {
    for (const layer of this.layers) layer.replaceChildren();
    this.picture = picture;
    this.byKey = new Map();
    this.things = [];
    const [titles, frames, arrows, boxes] = this.layers;
    for (const one of picture.titles) {
      titles.append(svgElement("g", { transform: `translate(${one.x} ${one.y})` }, ...drawnShapes(one.title, false, this.say)));
    }
    for (const one of picture.frames) this.draw(this.add(one, frames, drawnFrame));
    for (const one of picture.arrows) this.add(one, arrows, drawnArrow);
    for (const one of picture.boxes) this.add(one, boxes, drawnBox);
  }

  add(one, layer, draw) {
    const thing = { ...one, layer, make: draw, node: null, shown: false };
    this.things.push(thing);
    if (one.key) this.byKey.set(one.key, thing);
    return thing;
  }

  draw(thing) {
    thing.node = thing.make(thing, this.say);
    thing.node.thing = thing;
    thing.shown = true;
    if (thing.key) this.dress(thing);
    thing.layer.append(thing.node);
  }

  /** Show what meets a rectangle, hide the rest. */
  cull({ x, y, w, h }) {
    const [right, low] = [x + w, y + h];
    for (const one of this.things) {
      const meets = one.x < right && one.x + one.w > x && one.y < low && one.y + one.h > y;
      if (meets === one.shown) continue;
      if (!one.node) {
        this.draw(one);
        continue;
      }
      one.node.style.display = meets ? "" : "none";
      one.shown = meets;
    }
  }

  /** The node of a box, drawn if need be. */
  node(key) {
    const thing = this.byKey.get(key);
    if (thing && !thing.node) this.draw(thing);
    return thing?.node ?? null;
  }

  /** What is at an element, or null: a box or an arrow. */
  thingAt(target) {
    return target.closest("g.box, g.arrow")?.thing ?? null;
  }

  /** The box that is next in a direction, of those that `usable` accepts; a frame is at its title. */
  beside(thing, [dx, dy], usable) {
    const middle = (one) => [one.x + one.w / 2, one.title ? one.y : one.y + one.h / 2];
    const [x, y] = middle(thing);
    let best = null;
    for (const one of this.byKey.values()) {
      if (one === thing || !usable(one)) continue;
      const [ox, oy] = middle(one);
      const along = (ox - x) * dx + (oy - y) * dy;
      const aside = Math.abs((ox - x) * dy) + Math.abs((oy - y) * dx);
      if (along <= 1 || aside > 2 * along) continue;
      const far = along + 2 * aside;
      if (!best || far < best.far) best = { far, one };
    }
    return best?.one ?? null;
  }
}

/** What a box is, in words for those who do not see it. */
export function toldBox(thing, say) {
  return [...new Set(wordsIn(thing.title ?? thing.data.d, say, isSign(thing.data)))].join(", ");
}
