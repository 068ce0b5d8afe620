// What pointer, wheel and keys do to the timeline.

const MOVED = 4; // pixels: below it a press is a click
const WHEEL_LINE = 16; // pixels that a line of a wheel is

/**
 * Listen on the canvas.  `does` has zoom(x, factor), pan(pixels), scroll(pixels), fit(), choose(x, y),
 * open(x, y) and point(x, y), which is called without a place when the pointer leaves.
 */
export function timeHands(canvas, does) {
  pressing(canvas, does);
  canvas.addEventListener("dblclick", (event) => does.open(event.offsetX, event.offsetY));
  canvas.addEventListener("pointerleave", () => does.point());
  canvas.addEventListener("wheel", (event) => wheel(event, does), { passive: false });
  canvas.addEventListener("keydown", (event) => timeKey(event, does));
}

/** One finger or a mouse drags, two fingers zoom. */
function pressing(canvas, does) {
  const down = new Map();
  let travelled = 0;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    if (down.size === 0) travelled = 0;
    down.set(event.pointerId, [event.offsetX, event.offsetY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    const now = [event.offsetX, event.offsetY];
    if (!before) return does.point(...now);
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (travelled < MOVED) return;
    const other = [...down].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const factor = Math.max(Math.abs(now[0] - other[0]), 8) / Math.max(Math.abs(before[0] - other[0]), 8);
      does.zoom((now[0] + other[0]) / 2, factor);
    } else {
      does.pan(before[0] - now[0]);
      does.scroll(before[1] - now[1]);
      does.point();
    }
    down.set(event.pointerId, now);
  });
  const up = (event) => {
    if (!down.delete(event.pointerId)) return;
    if (event.type === "pointerup" && travelled < MOVED) does.choose(event.offsetX, event.offsetY);
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
}

/** A wheel zooms, with shift or sideways it pans; it scrolls a page that is longer than the window. */
function wheel(event, does) {
  const page = document.scrollingElement;
  const longPage = page.scrollHeight > window.innerHeight + 1;
  if (longPage && !event.ctrlKey && !event.shiftKey) return;
  event.preventDefault();
  const unit = event.deltaMode === 1 ? WHEEL_LINE : 1;
  const [x, y] = [event.deltaX * unit, event.deltaY * unit];
  if (event.shiftKey || Math.abs(x) > Math.abs(y)) does.pan(x || y);
  else does.zoom(event.offsetX, Math.exp(-y * (event.ctrlKey ? 0.01 : 0.002)));
}

/** W and S zoom, A and D pan, wherever these keys are on the keyboard. */
function timeKey(event, does) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const sign = { "+": "KeyW", "=": "KeyW", "-": "KeyS", _: "KeyS", 0: "fit" }[event.key];
  const done = {
    KeyW: () => does.zoom(null, 1.5),
    KeyS: () => does.zoom(null, 1 / 1.5),
    KeyA: () => does.pan(-120),
    KeyD: () => does.pan(120),
    PageUp: () => does.scroll(-80),
    PageDown: () => does.scroll(80),
    fit: () => does.fit(),
    Escape: () => does.point(),
  }[sign ?? event.code];
  if (!done) return;
  done();
  event.preventDefault();
}
