// Time without idle time: long stretches in which nothing ran are cut out of the axis.

export const LONG = 2; // a gap is long from so many average stretches of activity on
const BREAK = 0.05; // of what is left, that a break takes on the axis
const BREAKS = 0.3; // that all of them take together

/** Stretches in which something ran: begins and ends, sorted, that do not touch. */
function merged(spans) {
  const found = [];
  for (const [low, high] of spans.sort((a, b) => a[0] - b[0])) {
    const last = found.at(-1);
    if (last && low <= last[1]) last[1] = Math.max(last[1], high);
    else found.push([low, high]);
  }
  return found;
}

/** The long gaps between stretches: [from, to] each. */
function longGaps(busy) {
  const lengths = busy.map(([low, high]) => high - low).filter(Boolean);
  const mean = lengths.reduce((sum, one) => sum + one, 0) / lengths.length;
  const gaps = busy.slice(1).map(([low], at) => [busy[at][1], low]);
  return lengths.length ? gaps.filter(([low, high]) => high - low > LONG * mean) : [];
}

/** An axis of time from which the long gaps are cut: `spans` is when something ran, [from, to] each. */
export class CutTime {
  constructor(spans) {
    const busy = merged(spans);
    const gaps = longGaps(busy);
    const whole = busy.length ? busy.at(-1)[1] - busy[0][0] : 0;
    const left = gaps.reduce((sum, [low, high]) => sum - (high - low), whole);
    this.width = Math.min(BREAK, BREAKS / gaps.length) * left;
    this.knots = []; // pairs of time and place, between which the axis is straight
    this.breaks = []; // from and to on the axis, and how long the gap is
    let cut = 0;
    for (const [low, high] of gaps) {
      const from = low - cut;
      this.knots.push([low, from], [high, from + this.width]);
      this.breaks.push({ from, to: from + this.width, us: high - low });
      cut = high - from - this.width;
    }
  }

  /** Where a time is on the axis. */
  place(us) {
    return between(this.knots, 0, us);
  }

  /** The time at a place of the axis. */
  time(place) {
    return between(this.knots, 1, place);
  }

  /** Round times, written beside the axis where it is not broken, so far apart as `step`. */
  ticks(from, to, step) {
    const found = [];
    let start = from;
    for (const one of [...this.breaks, { from: to, to }]) {
      const [low, high] = [this.time(Math.max(start, from)), this.time(Math.min(one.from, to))];
      for (let at = Math.ceil(low / step); at * step <= high; at += 1) found.push(this.place(at * step));
      start = one.to;
    }
    return found;
  }
}

/** Go from one side of the knots to the other; beyond them the axis goes on as it is. */
function between(knots, side, value) {
  let low = 0;
  let high = knots.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (knots[middle][side] <= value) low = middle + 1;
    else high = middle;
  }
  const other = 1 - side;
  if (!low) return value - (knots[0]?.[side] ?? 0) + (knots[0]?.[other] ?? 0);
  const [before, after] = [knots[low - 1], knots[low]];
  if (!after || low % 2 === 0) return before[other] + value - before[side];
  return before[other] + ((value - before[side]) / (after[side] - before[side])) * (after[other] - before[other]);
}
