// One picture out of levels: an opened box becomes a frame around the level inside it.
import { stretched } from "./graphwarp.js";
import { wayOf } from "./graphways.js";

const PAD = 10; // points between a frame and what is inside

/** The call that a box stands for, or null. */
export function callOf(key) {
  const found = /^call-(\d+)$/.exec(key);
  return found ? Number(found[1]) : null;
}

/**
 * Compose levels: those inside of the calls in `open` are shown, if all around them are.
 * Returns {w, h, boxes, frames, arrows}, each with its rectangle {x, y, w, h}, x and y at its corner.
 */
export function composed(levels, open) {
  const found = { boxes: [], frames: [], arrows: [] };
  const whole = measured(levels, -1, open);
  put(whole, 0, 0, 0, found);
  const title = { title: whole.level.title, x: 0, y: 0, w: whole.w, h: whole.h };
  return { ...found, w: whole.w, h: whole.h, titles: title.title.length ? [title] : [] };
}

/** Compose a picture in which nothing opens. */
export function composedPicture(picture) {
  const only = { ...picture, frames: [] };
  const found = composed({ [-1]: only }, new Set());
  found.frames = picture.frames.map((one) => ({ ...whole(one), fixed: true, deep: 0 }));
  return found;
}

function whole(one) {
  return { key: one.k, call: callOf(one.k), data: one, x: one.x - one.w / 2, y: one.y - one.h / 2, w: one.w, h: one.h };
}

/** How large a level is with what is opened in it, and how its axes are stretched for that. */
function measured(levels, id, open) {
  const level = levels[id];
  const sizes = new Map();
  const [needsX, needsY] = [[], []];
  for (const box of level.boxes) {
    const call = callOf(box.k);
    const opens = call !== null && levels[call] !== undefined;
    if (!opens || !open.has(call)) {
      sizes.set(box, { w: box.w, h: box.h, opens });
      continue;
    }
    const inner = measured(levels, call, open);
    const size = { w: Math.max(inner.w + 2 * PAD, box.w), h: Math.max(inner.h + 2 * PAD, box.h), opens, inner };
    sizes.set(box, size);
    needsX.push({ from: box.x - box.w / 2, to: box.x + box.w / 2, size: size.w });
    needsY.push({ from: box.y - box.h / 2, to: box.y + box.h / 2, size: size.h });
  }
  const [fx, fy] = [stretched(needsX), stretched(needsY)];
  return { level, sizes, fx, fy, w: fx(level.w), h: fy(level.h) };
}

/** Put a level at a place, and what is opened inside it. */
function put({ level, sizes, fx, fy }, left, top, deep, found) {
  const [atX, atY] = [(x) => left + fx(x), (y) => top + fy(y)];
  const placed = new Map();
  for (const box of level.boxes) {
    const size = sizes.get(box);
    const x = (atX(box.x - box.w / 2) + atX(box.x + box.w / 2) - size.w) / 2;
    const y = (atY(box.y - box.h / 2) + atY(box.y + box.h / 2) - size.h) / 2;
    const one = { key: box.k, call: callOf(box.k), data: box, x, y, w: size.w, h: size.h, opens: size.opens, deep };
    placed.set(box.k, one);
    if (size.inner) {
      found.frames.push({ ...one, title: size.inner.level.title, pad: PAD });
      put(size.inner, x + PAD, y + PAD, deep + 1, found);
    } else {
      found.boxes.push(one);
    }
  }
  for (const arrow of level.arrows) {
    found.arrows.push(wayOf(arrow, atX, atY, placed.get(arrow.a), placed.get(arrow.b)));
  }
}
