// What pointer, wheel and keys do to the graph.

const DRAGGED = 4; // pixels: below it a press is a click
const STEP = 60; // pixels of an arrow key
const LINE = 16; // pixels that a line of a wheel is
const FASTER = 1.25;

/** Listen on the picture: drag and wheel pan, two fingers or ctrl and the wheel zoom. */
export function graphHands(svg, camera, does) {
  dragging(svg, camera, does);
  svg.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const unit = event.deltaMode === 1 ? LINE : 1;
      if (event.ctrlKey || event.metaKey) {
        const [px, py] = placeIn(svg, event);
        camera.zoom(Math.exp(-event.deltaY * unit * (event.ctrlKey ? 0.006 : 0.002)), px, py);
      } else if (event.shiftKey) {
        camera.pan(-(event.deltaY || event.deltaX) * unit, 0);
      } else {
        camera.pan(-event.deltaX * unit, -event.deltaY * unit);
      }
    },
    { passive: false },
  );
  svg.addEventListener("dblclick", (event) => does.toggle(event.target));
  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (graphKey(event, camera, does)) event.preventDefault();
  });
}

function placeIn(svg, event) {
  const { left, top } = svg.getBoundingClientRect();
  return [event.clientX - left, event.clientY - top];
}

/** One pointer pans, two zoom; a press without a move is a click. */
function dragging(svg, camera, does) {
  const down = new Map();
  let travelled = 0;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (!down.size) travelled = 0;
    down.set(event.pointerId, placeIn(svg, event));
  });
  svg.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    if (!before) return;
    const now = placeIn(svg, event);
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (travelled < DRAGGED) return;
    svg.setPointerCapture(event.pointerId);
    svg.classList.add("dragged");
    const other = [...down].find(([id]) => id !== event.pointerId)?.[1];
    if (other) pinch(camera, before, now, other);
    else camera.pan(now[0] - before[0], now[1] - before[1]);
    down.set(event.pointerId, now);
  });
  const up = (event) => {
    down.delete(event.pointerId);
    svg.classList.remove("dragged");
  };
  svg.addEventListener("pointerup", up);
  svg.addEventListener("pointercancel", up);
  svg.addEventListener("click", (event) => travelled < DRAGGED && does.choose(event.target));
}

function pinch(camera, before, now, other) {
  const [was, is] = [before, now].map((one) => Math.max(8, Math.hypot(one[0] - other[0], one[1] - other[1])));
  camera.zoom(is / was, (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
}

/** Do what a key asks for, and say whether it asked for anything. */
function graphKey(event, camera, does) {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (way) {
    if (!does.walk(event.target, way)) camera.pan(-way[0] * STEP, -way[1] * STEP);
    return true;
  }
  if (event.key === "Enter") return does.toggle(event.target) || does.choose(event.target) || does.enter();
  if (event.key === " ") return does.choose(event.target);
  if (event.key === "+" || event.key === "=") return camera.zoom(FASTER), true;
  if (event.key === "-") return camera.zoom(1 / FASTER), true;
  if (event.key === "0") return does.fit(), true;
  return false;
}
