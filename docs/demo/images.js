// From a file, a picture of the camera or a sample to the network's pixels, by the rule of keras_coda.images.read_image:
// upright as its EXIF data say, transparent pixels on white, colour profiles not applied, cut about the centre, bicubic.

import { centredBox, scaled } from "./resize.js";

export const LIMITS = { bytes: 40e6, pixels: 40e6, side: 16384 };
export const ACCEPTED = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/avif";

export class UnreadableImage extends Error {}

// Checks a file, and returns its pixels with how large it was: `{ pixels, width, height }`.
export async function readFile(file, width, height) {
  if (file.size === 0) throw new UnreadableImage(`${named(file)} is empty.`);
  if (file.size > LIMITS.bytes) {
    throw new UnreadableImage(`${named(file)} has ${millions(file.size)} MB. At most ${millions(LIMITS.bytes)} MB are read.`);
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  const kind = kindOf(bytes);
  if (kind === "SVG") {
    throw new UnreadableImage(`${named(file)} is an SVG drawing. Please give a photo: JPEG, PNG, WebP, GIF, BMP or AVIF.`);
  }
  if (kind === null) {
    throw new UnreadableImage(`${named(file)} is not an image this page reads. Please give a JPEG, PNG, WebP, GIF, BMP or AVIF file.`);
  }
  // Before it is decoded, where the header tells.
  const size = sizeOf(bytes, kind);
  if (size) checkSize(...size, named(file));
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes]), {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new UnreadableImage(`${named(file)} looks like a ${kind} image, but it is damaged or of a kind that this browser does not read.`);
  }
  return readBitmap(bitmap, width, height, named(file));
}

// The pixels of a bitmap, which is closed. It is drawn and read in strips.
export function readBitmap(bitmap, width, height, name = "The picture") {
  try {
    checkSize(bitmap.width, bitmap.height, name);
    const canvas = new OffscreenCanvas(1, 1);
    const read = (left, top, columns, rows) => {
      // This empties the canvas.
      [canvas.width, canvas.height] = [columns, rows];
      const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
      context.fillStyle = "#fff";
      context.fillRect(0, 0, columns, rows);
      context.drawImage(bitmap, left, top, columns, rows, 0, 0, columns, rows);
      return context.getImageData(0, 0, columns, rows).data;
    };
    const box = centredBox(bitmap.width, bitmap.height, width, height);
    const pixels = scaled(read, bitmap.width, bitmap.height, box, width, height);
    return { pixels, width: bitmap.width, height: bitmap.height };
  } finally {
    bitmap.close();
  }
}

function checkSize(width, height, name) {
  if (!width || !height) throw new UnreadableImage(`${name} has no pixels.`);
  if (width * height > LIMITS.pixels || Math.max(width, height) > LIMITS.side) {
    throw new UnreadableImage(
      `${name} has ${width} × ${height} pixels. At most ${millions(LIMITS.pixels)} million pixels, and ${LIMITS.side} on a side, are read.`
    );
  }
}

// What a file is, by its first bytes: names and types are often wrong.
export function kindOf(bytes) {
  const text = String.fromCharCode(...bytes.subarray(0, 1024));
  if (text.startsWith("\xff\xd8\xff")) return "JPEG";
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "PNG";
  if (text.startsWith("GIF8")) return "GIF";
  if (text.startsWith("BM")) return "BMP";
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return "WebP";
  if (text.slice(4, 12) === "ftypavif") return "AVIF";
  if (/^(\xef\xbb\xbf)?\s*(<\?xml|<!--|<!doctype svg|<svg)/i.test(text) && /<svg|<!doctype svg/i.test(text)) return "SVG";
  return null;
}

// Width and height by the header of a PNG, GIF, BMP, JPEG or WebP file, or null.
function sizeOf(bytes, kind) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (kind === "PNG") return [view.getUint32(16), view.getUint32(20)];
    if (kind === "GIF") return [view.getUint16(6, true), view.getUint16(8, true)];
    if (kind === "BMP") return [Math.abs(view.getInt32(18, true)), Math.abs(view.getInt32(22, true))];
    if (kind === "WebP" && bytes[15] === 0x58) return [1 + uint24(view, 24), 1 + uint24(view, 27)];
    if (kind === "JPEG") {
      for (let at = 2; at + 9 < bytes.length; ) {
        const marker = bytes[at + 1];
        if (bytes[at] !== 0xff) return null;
        const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
        if (isFrame) return [view.getUint16(at + 7), view.getUint16(at + 5)];
        at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
      }
    }
  } catch {
    // The file ends within its header: decoding it will say so.
  }
  return null;
}

const uint24 = (view, at) => view.getUint16(at, true) + (view.getUint8(at + 2) << 16);
const named = (file) => (file.name ? `“${file.name}”` : "The image");
const millions = (n) => Math.round(n / 1e5) / 10;
