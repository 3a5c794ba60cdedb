// Scaling as Pillow does it for `Image.resize(size, BICUBIC, box)`: a cubic filter (a = -1/2) that grows with the
// reduction, rows first, weights of 22 bits, and 8 bits a channel in between and at the end.

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

// `readRows(top, count)` gives rows of the image as RGBA bytes; they are read in strips, so that the memory in use does
// not grow with the image. Returns `width * height * 3` bytes.
export function scaled(readRows, imageWidth, imageHeight, box, width, height, strip = 256) {
  const across = filters(imageWidth, box[0], box[2], width);
  const down = filters(imageHeight, box[1], box[3], height);
  const firstRow = down[0].first;
  const lastRow = down[height - 1].first + down[height - 1].weights.length;

  const narrow = new Uint8Array((lastRow - firstRow) * width * 3);
  for (let top = firstRow; top < lastRow; top += strip) {
    const count = Math.min(strip, lastRow - top);
    const rows = readRows(top, count);
    for (let y = 0; y < count; y++) {
      for (let x = 0; x < width; x++) {
        const { first, weights } = across[x];
        let r = 0, g = 0, b = 0;
        for (let k = 0, at = (y * imageWidth + first) * 4; k < weights.length; k++, at += 4) {
          r += rows[at] * weights[k];
          g += rows[at + 1] * weights[k];
          b += rows[at + 2] * weights[k];
        }
        narrow.set([toByte(r), toByte(g), toByte(b)], ((top - firstRow + y) * width + x) * 3);
      }
    }
  }

  const result = new Uint8Array(width * height * 3);
  const line = width * 3;
  for (let y = 0; y < height; y++) {
    const { first, weights } = down[y];
    for (let i = 0; i < line; i++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += narrow[(first - firstRow + k) * line + i] * weights[k];
      result[y * line + i] = toByte(sum);
    }
  }
  return result;
}
