// The ways of arrows through a stretched picture: curves, tips, the words beside them.

const TIP = 7; // points from the base of an arrowhead to its tip

/** Where an arrow goes once its axes are stretched: {d, tips, x, y, w, h, words}. */
export function wayOf(arrow, atX, atY, tail, head) {
  const points = [];
  for (let place = 0; place < arrow.p.length; place += 2) {
    points.push([atX(arrow.p[place]), atY(arrow.p[place + 1])]);
  }
  const start = nearest(tail, points[0]);
  const end = arrow.e ? [atX(arrow.e[0]), atY(arrow.e[1])] : points.at(-1);
  const tip = nearest(head, end);
  const from = before(points, tip);
  const back = unit(from, tip);
  const base = [tip[0] - back[0] * TIP, tip[1] - back[1] * TIP];
  const d = `M${at(start)}L${at(points[0])}${curves(points)}L${at(base)}`;
  const words = arrow.l ? beside(arrow, atX, atY) : null;
  const all = [start, ...points, tip];
  return { arrow, d, tips: tips(arrow, tip, back), words, ...bounds(all, words) };
}

function at([x, y]) {
  return `${x.toFixed(1)} ${y.toFixed(1)}`;
}

function curves(points) {
  let text = "";
  for (let place = 1; place + 2 < points.length; place += 3) {
    text += `C${at(points[place])} ${at(points[place + 1])} ${at(points[place + 2])}`;
  }
  return text;
}

/** The point of a rectangle that is nearest to a place. */
function nearest(box, [x, y]) {
  if (!box) return [x, y];
  const inX = Math.min(Math.max(x, box.x), box.x + box.w);
  const inY = Math.min(Math.max(y, box.y), box.y + box.h);
  return [inX, inY];
}

/** The last point of a curve that is not where its tip is. */
function before(points, tip) {
  for (let place = points.length - 1; place >= 0; place -= 1) {
    if (Math.hypot(points[place][0] - tip[0], points[place][1] - tip[1]) > 1) return points[place];
  }
  return [tip[0], tip[1] - 1];
}

function unit([x0, y0], [x1, y1]) {
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  return [(x1 - x0) / length, (y1 - y0) / length];
}

/** The heads of an arrow; what overwrote its value has two. */
function tips(arrow, [x, y], [dx, dy]) {
  const half = 2.5 + arrow.g / 2;
  const one = (back) => {
    const [tx, ty] = [x - dx * back, y - dy * back];
    const [bx, by] = [tx - dx * TIP, ty - dy * TIP];
    return `M${at([tx, ty])}L${at([bx - dy * half, by + dx * half])}L${at([bx + dy * half, by - dx * half])}Z`;
  };
  const twice = arrow.c.split(" ").includes("written");
  return one(0) + (twice ? one(TIP) : "");
}

/** Where the words of an arrow go: beside it, within the room that is theirs. */
function beside(arrow, atX, atY) {
  const { x, y, w, h } = arrow.l;
  const [px, py] = closest(arrow.p, x, y);
  const inside = (wanted, low, high, size) => Math.min(Math.max(wanted, low + size / 2), high - size / 2);
  const middle = [
    inside(atX(px) + x - px, atX(x - w / 2), atX(x + w / 2), w),
    inside(atY(py) + y - py, atY(y - h / 2), atY(y + h / 2), h),
  ];
  return { x: middle[0] - w / 2, y: middle[1] - h / 2, w, h, d: arrow.l.d };
}

/** The point of a curve that is nearest to a place, of a few along it. */
function closest(p, x, y) {
  let best = null;
  for (let place = 0; place + 7 < p.length; place += 6) {
    for (let t = 0; t <= 1; t += 0.25) {
      const one = [0, 1].map((axis) => bezier(p, place + axis, t));
      const far = Math.hypot(one[0] - x, one[1] - y);
      if (!best || far < best.far) best = { far, one };
    }
  }
  return best ? best.one : [p[0], p[1]];
}

function bezier(p, place, t) {
  const u = 1 - t;
  return u ** 3 * p[place] + 3 * u * u * t * p[place + 2] + 3 * u * t * t * p[place + 4] + t ** 3 * p[place + 6];
}

function bounds(points, words) {
  const xs = points.map((one) => one[0]);
  const ys = points.map((one) => one[1]);
  if (words) {
    xs.push(words.x, words.x + words.w);
    ys.push(words.y, words.y + words.h);
  }
  const [x, y] = [Math.min(...xs) - 6, Math.min(...ys) - 6];
  return { x, y, w: Math.max(...xs) + 6 - x, h: Math.max(...ys) + 6 - y };
}
