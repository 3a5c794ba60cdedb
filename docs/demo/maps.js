// Contribution maps as pictures, with the scale and colours of keras_coda.plots.

// The 99.5th percentile of the absolute contributions, over all maps given, as NumPy interpolates it: where the scale ends.
export function contributionLimit(values, percentile = 99.5) {
  const sorted = Float32Array.from(values, Math.abs).sort();
  const position = ((sorted.length - 1) * percentile) / 100;
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  const limit = sorted[below] + (sorted[above] - sorted[below]) * (position - below);
  return limit || sorted[sorted.length - 1] || 1;
}

// The place of a value on the scale of `count` colours from -limit to limit.
export function colourIndex(value, limit, count) {
  return Math.min(Math.max(Math.floor(((value / limit + 1) / 2) * count), 0), count - 1);
}

// A map in colours, as `width * height` RGBA pixels. Pixels for which `shown` is 0 stay empty.
export function mapPixels(map, limit, colours, shown = null) {
  const rgba = new Uint8ClampedArray(map.length * 4);
  map.forEach((value, i) => {
    if (shown && !shown[i]) return;
    rgba.set([...colours[colourIndex(value, limit, colours.length)], 255], i * 4);
  });
  return rgba;
}

// The image in grey, and over it the contributions: the stronger, the more opaque. `strength` in [0, 1].
export function overlayPixels(pixels, map, limit, colours, strength, shown = null) {
  const rgba = new Uint8ClampedArray(map.length * 4);
  map.forEach((value, i) => {
    const image = pixels.subarray(i * 3, i * 3 + 3);
    const grey = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2];
    const part = shown && !shown[i] ? 0 : Math.min(Math.abs(value) / limit, 1);
    // The colour of a strong pixel, at an opacity by its strength; not the map's own, which is white at zero.
    const colour = colours[value > 0 ? Math.round(colours.length * 0.9) : Math.round(colours.length * 0.1)];
    const opacity = Math.min(1.2 * strength * part, 1);
    for (let c = 0; c < 3; c++) {
      const base = image[c] + (0.75 * grey + 0.25 * 255 - image[c]) * strength;
      rgba[i * 4 + c] = base + (colour[c] - base) * opacity;
    }
    rgba[i * 4 + 3] = 255;
  });
  return rgba;
}

// The order in which contributions are added up, strongest first, and the sum after each: from b0 to the logit.
export function runningSum(map, bias) {
  const order = Array.from(map.keys()).sort((a, b) => Math.abs(map[b]) - Math.abs(map[a]));
  const sums = new Float64Array(map.length + 1);
  sums[0] = bias;
  order.forEach((pixel, i) => (sums[i + 1] = sums[i] + map[pixel]));
  return { order, sums };
}

// The sums of what speaks for a class and of what speaks against it.
export function forAndAgainst(map) {
  let positive = 0, negative = 0;
  for (const value of map) {
    if (value > 0) positive += value;
    else negative += value;
  }
  return { positive, negative };
}
