"""Damaged images."""

import io
import zlib

import numpy as np
from PIL import Image

from fuzzing.damages import damage, replace_file
from fuzzing.outcomes import AS_WRITTEN, ERROR, OTHER, REFUSED
from keras_coda.images import read_image


class Cases:
    """Images in seven formats: gray, colour, transparent, and with EXIF data."""

    share = 0.25
    formats = (("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "RGB"), ("JPEG", "CMYK"),
               ("GIF", "P"), ("BMP", "RGB"), ("TIFF", "RGB"), ("TIFF", "F"), ("WEBP", "RGB"), ("PPM", "L"))  # fmt: skip

    def __init__(self, root):
        self.originals = []
        pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), "uint8")
        exif = Image.Exif()
        exif[0x0112] = 6
        for form, mode in self.formats:
            image = Image.fromarray(pixels)
            image = Image.fromarray(pixels[..., 0].astype("uint16")) if mode == "I;16" else image.convert(mode)
            file = io.BytesIO()
            image.save(file, form, **({"exif": exif} if form in ("PNG", "JPEG", "WEBP") else {}))
            self.originals.append((form.lower(), file.getvalue()))

    def run(self, rng, folder):
        folder.mkdir()
        form, content = self.originals[rng.integers(len(self.originals))]
        path = folder / f"image.{form}"
        path.write_bytes(content)
        kind = rng.choice(["bytes", "bytes", "bytes", "file", "declared"])
        if kind == "declared" and form == "png":  # a size that no memory can hold, with a correct checksum
            size = int(rng.choice([2**14, 2**16, 2**31 - 1])).to_bytes(4, "big")
            header = b"IHDR" + size + size + content[24:29]
            path.write_bytes(content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:])
            what = "declared size"
        else:
            what = replace_file(rng, path) if kind == "file" else damage(rng, path)
        channels, sized = int(rng.choice([1, 3])), rng.random() < 0.7
        shape = (8, 8, channels) if sized else (None, None, channels)
        try:
            got = read_image(path, shape)
        except (ValueError, OSError) as error:
            return (REFUSED if type(error) is ValueError or isinstance(error, OSError) else ERROR), what
        whole = (
            got.dtype == np.float32
            and got.ndim == 3
            and got.shape[-1] == channels
            and got.min() >= 0
            and got.max() <= 1
        )
        return (AS_WRITTEN if whole and (not sized or got.shape == shape) else OTHER), f"{form}: {what}"
