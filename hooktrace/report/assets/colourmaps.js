// Colours for numbers, the same in light and dark: 255 levels, and one for what is no number.

const FROM_LOW = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
const AROUND_ZERO = ["#2166ac", "#67a9cf", "#f7f7f7", "#ef8a62", "#b2182b"];

export const LEVELS = 254; // the highest one
export const ODD = 255; // stands for what is not finite
export const ODD_COLOUR = [255, 0, 255];

function rgbOf(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

function colourTable(stops) {
  const ends = stops.map(rgbOf);
  return Array.from({ length: LEVELS + 1 }, (_, level) => {
    const place = (level / LEVELS) * (ends.length - 1);
    const below = Math.min(Math.floor(place), ends.length - 2);
    return ends[below].map((one, part) => Math.round(one + (ends[below + 1][part] - one) * (place - below)));
  });
}

const SEQUENTIAL = colourTable(FROM_LOW);
const DIVERGING = colourTable(AROUND_ZERO);

/** The colour of a number on a scale {lo, hi, signed}. */
export function colourOf(number, scale) {
  const width = scale.hi - scale.lo;
  const share = width > 0 ? (number - scale.lo) / width : scale.signed ? 0.5 : 0;
  const level = Math.round(Math.min(1, Math.max(0, share)) * LEVELS);
  return (scale.signed ? DIVERGING : SEQUENTIAL)[level];
}

/** One scale for several pictures, so that equal colours are equal numbers. */
export function commonScale(looks) {
  const tiles = looks.map((one) => one?.tiles).filter(Boolean);
  if (!tiles.length) return null;
  const lo = Math.min(...tiles.map((one) => one.lo));
  const hi = Math.max(...tiles.map((one) => one.hi));
  if (!tiles.some((one) => one.signed)) return { lo, hi, signed: false };
  const far = Math.max(Math.abs(lo), Math.abs(hi));
  return { lo: -far, hi: far, signed: true };
}
