// Making room: an axis is stretched where boxes grow, so that all else keeps its order and never overlaps.

/**
 * Return a monotone map of one axis, with slopes of 1 and more.
 * `needs` are intervals that want to become longer: {from, to, size}.
 */
export function stretched(needs) {
  if (!needs.length) return (at) => at;
  const cuts = [...new Set(needs.flatMap((one) => [one.from, one.to]))].sort((a, b) => a - b);
  const lengths = cuts.slice(1).map((cut, place) => cut - cuts[place]);
  const own = [...lengths];
  const inOrder = [...needs].sort((a, b) => a.to - a.from - (b.to - b.from));
  for (const need of inOrder) {
    const [first, last] = [cuts.indexOf(need.from), cuts.indexOf(need.to)];
    const now = lengths.slice(first, last).reduce((sum, one) => sum + one, 0);
    if (now >= need.size) continue;
    const rate = (need.size - now) / (need.to - need.from);
    for (let place = first; place < last; place += 1) lengths[place] += rate * own[place];
  }
  const ends = [cuts[0]];
  for (const one of lengths) ends.push(ends.at(-1) + one);
  return (at) => mapped(at, cuts, ends);
}

/** Where a place goes: between the cuts by their lengths, outside of them as it is. */
function mapped(at, cuts, ends) {
  if (at <= cuts[0]) return at;
  const last = cuts.length - 1;
  if (at >= cuts[last]) return at - cuts[last] + ends[last];
  let [low, high] = [0, last];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (cuts[middle] <= at) low = middle;
    else high = middle;
  }
  const share = (at - cuts[low]) / (cuts[high] - cuts[low]);
  return ends[low] + share * (ends[high] - ends[low]);
}
