// Scaling as Pillow does it for `Image.resize(size, BICUBIC, box)`: a cubic filter (a = -1/2) that grows with the
// reduction, weights of 22 bits, and 8 bits a channel in between and at the end. Rows are scaled first, or columns as
// Pillow 13 does for tall images.

const SUPPORT = 2;
const BITS = 22;

function cubic(x) {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// For each of `size` outputs over [start, end) of a line of `length` pixels: the first input, and the inputs' weights.
export function filters(length, start, end, size) {
  // Pillow keeps the box in single precision.
  start = Math.fround(start);
  const scale = Math.fround(Math.fround(end) - start) / size;
  const width = Math.max(scale, 1);
  return Array.from({ length: size }, (_, i) => {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - SUPPORT * width + 0.5), 0);
    const last = Math.min(Math.trunc(centre + SUPPORT * width + 0.5), length);
    const weights = [];
    for (let k = first; k < last; k++) weights.push(cubic((k - centre + 0.5) / width));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((w) => roundAway((w / sum) * 2 ** BITS)) };
  });
}

const roundAway = (x) => (x < 0 ? Math.trunc(x - 0.5) : Math.trunc(x + 0.5));
const toByte = (sum) => Math.min(Math.max(Math.floor(sum / 2 ** BITS + 0.5), 0), 255);

// The part of an image about its centre that has the form of `width` x `height`, as `ImageOps.fit` cuts it: a box of
// left, top, right, bottom, in pixels and parts of pixels.
export function centredBox(imageWidth, imageHeight, width, height) {
  const ratio = imageWidth / imageHeight;
  const wanted = width / height;
  let cropWidth = imageWidth;
  let cropHeight = imageHeight;
  if (ratio > wanted) cropWidth = wanted * imageHeight;
  else if (ratio < wanted) cropHeight = imageWidth / wanted;
  const left = (imageWidth - cropWidth) * 0.5;
  const top = (imageHeight - cropHeight) * 0.5;
  return [left, top, left + cropWidth, top + cropHeight];
}

// The sum of `weights.length` values, `step` apart from `at` on, times the weights.
function weighted(values, at, step, weights) {
  let sum = 0;
  for (let k = 0; k < weights.length; k++, at += step) sum += values[at] * weights[k];
  return toByte(sum);
}

// `read(left, top, columns, rows)` gives a part of the image as RGBA bytes. It is read in strips of rows or of columns,
// so that the memory in use does not grow with the image. Returns `width * height * 3` bytes.
export function scaled(read, imageWidth, imageHeight, box, width, height, strip = 256) {
  const across = filters(imageWidth, box[0], box[2], width);
  const down = filters(imageHeight, box[1], box[3], height);
  const tall = imageHeight > height && imageHeight - height > 2 * (imageWidth - width);
  const [first, second] = tall ? [down, across] : [across, down];
  const start = second[0].first;
  const end = second.at(-1).first + second.at(-1).weights.length;

  const half = new Uint8Array((end - start) * first.length * 3);
  let at = 0;
  for (let from = start; from < end; from += strip) {
    const count = Math.min(strip, end - from);
    const bytes = tall ? read(from, 0, count, imageHeight) : read(0, from, imageWidth, count);
    const [step, line] = tall ? [4 * count, 4] : [4, 4 * imageWidth];
    for (let y = 0; y < count; y++) {
      for (const filter of first) {
        for (let c = 0; c < 3; c++) half[at++] = weighted(bytes, y * line + filter.first * step + c, step, filter.weights);
      }
    }
  }

  const result = new Uint8Array(width * height * 3);
  const line = first.length * 3;
  for (let y = 0; y < second.length; y++) {
    for (let x = 0; x < first.length; x++) {
      const to = (tall ? x * width + y : y * width + x) * 3;
      for (let c = 0; c < 3; c++) {
        result[to + c] = weighted(half, (second[y].first - start) * line + x * 3 + c, line, second[y].weights);
      }
    }
  }
  return result;
}
