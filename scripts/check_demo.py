"""Checks the demo of scripts/demo.py in Chromium, against the Python model and Pillow, and says what it measured.

    KERAS_BACKEND=torch python scripts/check_demo.py build/demo --chromium /usr/bin/chromium

Needs `pip install playwright`, a Chromium, and CIFAR-10 by TensorFlow Datasets. The checks:

- test images given as files: pixels, logits, probabilities and maps equal the model's, the colours Matplotlib's;
- files of all kinds dropped on the page: shown as Pillow scales them, or refused with one message;
- the camera, the keyboard, contrast, the console, and the page without a network after its first visit;
- WebGPU, where the browser has it: it gives the same as WebAssembly, and the page takes it.
"""

import argparse
import base64
import contextlib
import functools
import http.server
import io
import pathlib
import statistics
import sys
import threading
import time

import numpy as np
from matplotlib import colormaps
from PIL import Image

from keras_coda import data, presets
from keras_coda.decoding import decoded
from keras_coda.images import read_image, to_pixels
from keras_coda.plots import contribution_limit

PRESET = "xs_coda_cifar10"
TOLERANCE = 1e-4

# Kept on the page: what it explained last, and how often it did.
LISTEN = """
window.count = 0;
document.addEventListener("explained", ({ detail }) => { window.count += 1; window.last = detail; });
"""
LAST = """() => ({
  logits: [...last.logits], probabilities: [...last.probabilities], maps: last.maps.map((map) => [...map]),
  pixels: [...last.pixels], limit: last.limit, residuals: last.residuals, milliseconds: last.milliseconds })"""
DROP = """([name, type, content]) => {
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
}"""
# The smallest contrast of text with what is behind it, by WCAG's formula, and where it is.
CONTRAST = """() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    context.fillStyle = "#fff"; context.fillRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = (rgb) => rgb.map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let smallest = [Infinity, ""];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("script, noscript, dialog:not([open])")) continue;
    const behind = [];
    for (let up = element; up; up = up.parentElement) behind.unshift(getComputedStyle(up).backgroundColor);
    const [a, b] = [over(behind), over([...behind, getComputedStyle(element).color])].map(luminance);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < smallest[0]) smallest = [ratio, element.textContent.trim().slice(0, 30)];
  }
  return smallest;
}"""


class Checks:
    """Prints each check as it is made, and counts those that failed."""

    def __init__(self):
        self.failed = 0

    def __call__(self, holds, what):
        self.failed += not holds
        print(f"{'holds' if holds else 'FAILS'}  {what}", flush=True)


@contextlib.contextmanager
def serving(folder):
    """The address of a folder, served as any static server does."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def opened(context, url, problems):
    """The demo in a new page, after its first answer; console errors go into `problems`."""
    page = context.new_page()
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.add_init_script(LISTEN)
    page.goto(url)
    wait(page, "window.count === 1")
    return page


def wait(page, holds, seconds=120):
    """Until an expression is true on the page. (Playwright's own way is refused by the page's security policy.)"""
    until = time.monotonic() + seconds
    while not page.evaluate(holds):
        if time.monotonic() > until:
            raise TimeoutError(
                f"{holds} is not so after {seconds} seconds; the page says: {page.inner_text('#message')!r}"
            )
        page.wait_for_timeout(20)


def answer(page, act):
    """What the page explains after `act`."""
    before = page.evaluate("window.count")
    act()
    wait(page, f"window.count === {before + 1}")
    return page.evaluate(LAST)


def drop(page, name, content, kind=""):
    """Drop a file on the page; returns its message, or `None` where it was explained."""
    before = page.evaluate("window.count")
    page.evaluate("document.getElementById('message').hidden = true")
    page.evaluate(DROP, [name, kind, base64.b64encode(content).decode()])
    wait(page, f"window.count > {before} || !document.getElementById('message').hidden")
    return None if page.evaluate("document.getElementById('message').hidden") else page.inner_text("#message")


def encoded(image, kind="PNG", **options):
    """A Pillow image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def expected_pixels(content, shape):
    """A file as `read_image` gives it, but for large JPEG files, of which all pixels count here."""
    with Image.open(io.BytesIO(content)) as file:
        return to_pixels(decoded(file), shape)


def check_images(check, page, images, model, shape):
    """Test images as files: all numbers equal the model's, the maps' colours Matplotlib's."""
    expected = model.explain(images, "all")
    worst = dict.fromkeys(("pixels", "logits", "probabilities", "maps", "scale", "residual"), 0.0)
    same_colours, times = True, []
    for i, image in enumerate(images):
        file = {"name": f"{i}.png", "mimeType": "image/png", "buffer": encoded(Image.fromarray(image))}
        got = answer(page, lambda file=file: page.set_input_files("#file", file))
        times.append(got["milliseconds"])
        maps = np.reshape(got["maps"], expected.contribution_map[i].shape)
        limit = contribution_limit(expected.contribution_map[i])
        differences = {
            "pixels": np.abs(np.reshape(got["pixels"], shape) - image.astype("float64")).max(),
            "logits": np.abs(got["logits"] - expected.logits[i]).max(),
            "probabilities": np.abs(got["probabilities"] - 1 / (1 + np.exp(-expected.logits[i]))).max(),
            "maps": np.abs(maps - expected.contribution_map[i]).max(),
            "scale": abs(got["limit"] / limit - 1),
            "residual": np.abs(got["residuals"]).max(),
        }
        worst = {key: max(value, float(differences[key])) for key, value in worst.items()}
        drawn = page.evaluate(
            "() => { const c = document.getElementById('map'); "
            "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"
        )
        shown = maps[np.argmax(got["logits"])]
        colours = colormaps["RdBu_r"]((shown / got["limit"] + 1) / 2, bytes=True)
        same_colours &= np.mean(np.reshape(drawn, colours.shape) != colours) < 0.001
    check(worst["pixels"] == 0, f"{len(images)} test images: the page's pixels are the files'")
    for key in ("logits", "probabilities", "maps", "scale", "residual"):
        what = "sum of the map + b0 against the logit" if key == "residual" else f"{key} against the Python model"
        check(worst[key] < TOLERANCE, f"{len(images)} test images: {what}, largest difference {worst[key]:.1e}")
    check(same_colours, "the map's colours are Matplotlib's for the same values and scale")
    print(f"       an answer takes {statistics.median(times):.0f} ms (median; in the browser's worker)")


def photos():
    """Real photos by name, as scikit-image brings them."""
    import skimage

    folder = pathlib.Path(skimage.__file__).parent / "data"
    return {name: (folder / name).read_bytes() for name in ("chelsea.png", "astronaut.png", "coffee.png", "rocket.jpg")}


def files(photo):
    """Files of all kinds: `(name, bytes, what the page's message contains)`, or `None` where it explains."""
    rng = np.random.default_rng(0)
    jpeg, png = encoded(photo, "JPEG", quality=90), encoded(photo)
    large = photo.resize((5472, 3648), Image.Resampling.BICUBIC)  # 20 megapixels
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    transparent = photo.copy()
    transparent.putalpha(Image.linear_gradient("L").resize(photo.size))
    noise = rng.integers(0, 256, 5000, dtype="uint8").tobytes()
    return [
        ("grey.png", encoded(photo.convert("L")), None),
        ("grey.jpg", encoded(photo.convert("L"), "JPEG"), None),
        ("palette.gif", encoded(photo.convert("P", palette=Image.Palette.ADAPTIVE), "GIF"), None),
        ("photo.webp", encoded(photo, "WEBP", lossless=True), None),
        ("photo.bmp", encoded(photo, "BMP"), None),
        ("turned.jpg", encoded(photo, "JPEG", exif=exif, quality=90), None),
        ("transparent.png", encoded(transparent), None),
        ("named_wrong.txt", jpeg, None),
        ("one_pixel.png", encoded(photo.resize((1, 1))), None),
        ("long.png", encoded(photo.resize((3000, 5))), None),
        ("tall.png", encoded(photo.resize((400, 900))), None),
        ("20_megapixels.jpg", encoded(large, "JPEG", quality=90), None),
        ("64_megapixels.png", encoded(Image.new("L", (8000, 8000))), "8000 pixels"),
        ("corrupt.jpg", jpeg[:300] + noise, "damaged"),
        ("cut_off.jpg", jpeg[: len(jpeg) // 2], "damaged"),
        ("cut_off.png", png[: len(png) // 2], "damaged"),
        ("corrupt.png", png[:200] + noise, "damaged"),
        ("drawing.svg", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>', "SVG"),
        ("drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "SVG"),
        ("notes.txt", b"This is no image.", "not an image"),
        ("table.png", b"a,b\n1,2\n", "not an image"),
        ("report.pdf", b"%PDF-1.7\n", "not an image"),
        ("empty.png", b"", "empty"),
    ]


def check_files(check, page, shape):
    """Files dropped on the page: those that Pillow reads come out as it scales them, others as one message."""
    everything = photos()
    for name, content in everything.items():
        compare(check, page, name, content, shape)
    with Image.open(io.BytesIO(everything["chelsea.png"])) as photo:
        cases = files(photo.convert("RGB"))
    for name, content, message in cases:
        if message is None:
            compare(check, page, name, content, shape)
            continue
        before = page.evaluate("window.count")
        said = drop(page, name, content)
        check(said is not None and message in said, f"{name}: {said}")
        check(page.evaluate("window.count") == before, f"{name}: the image before it stays")
    large = next(content for name, content, _ in cases if name.startswith("20"))
    path = pathlib.Path("20_megapixels.jpg")
    try:
        path.write_bytes(large)
        difference = np.abs(read_image(path, shape) - expected_pixels(large, shape)).max()
    finally:
        path.unlink(missing_ok=True)
    print(f"       read_image of the 20 megapixels differs from scaling all of them by {255 * difference:.1f} of 255")


def compare(check, page, name, content, shape):
    started = time.perf_counter()
    said = drop(page, name, content)
    seconds = time.perf_counter() - started
    if said is not None:
        return check(False, f"{name}: {said}")
    got = np.reshape(page.evaluate(LAST)["pixels"], shape)
    difference = np.abs(got - 255.0 * expected_pixels(content, shape)).round()
    text = f"at most {difference.max():.0f} of 255, {np.mean(difference > 0):.1%} of values differ"
    return check(difference.max() <= 1, f"{name}: pixels against Pillow's: {text} ({seconds:.1f} s)")


def check_keyboard(check, page):
    """The page by the keyboard alone: every control is reached, shows where it is, and works."""
    page.evaluate("document.activeElement.blur()")
    reached, invisible = [], 0
    for _ in range(40):
        page.keyboard.press("Tab")
        name, outlined = page.evaluate(
            "() => { const e = document.activeElement; const at = e.closest('label') ?? e; "
            "return [e.id || e.name || e.className || e.tagName, "
            "[e, at].some((x) => getComputedStyle(x).outlineStyle !== 'none')]; }"
        )
        invisible += not outlined and name != "BODY"
        reached.append(name)
    wanted = {"file", "camera", "strength", "class", "play", "added"}
    check(wanted <= set(reached), f"reached by Tab: {', '.join(dict.fromkeys(reached))}")
    check(invisible == 0, "each has an outline there")
    page.focus("#classes input:checked")
    before = page.inner_text("#sum-class")
    page.keyboard.press("ArrowDown")
    second = page.inner_text("#sum-class")
    check(before != second, f"the arrow key goes from {before} to {second}")
    got = answer(page, lambda: page.locator("#samples button").nth(2).press("Enter"))
    check(len(got["logits"]) > 0, "Enter on a sample explains it")
    page.focus("#added")
    page.keyboard.press("Home")
    check(page.inner_text("#count").startswith("0 of"), f"Home on the slider: {page.inner_text('#count')}")
    check(page.inner_text("#total") == page.inner_text("#bias"), "with no pixels, the sum is b0")
    page.keyboard.press("End")
    page.click("#play")
    wait(page, "document.getElementById('total-name').textContent === 'logit'")
    check(True, "adding up ends at the logit")


def check_pointer(check, page):
    """A class that is pointed at is shown, until the pointer leaves the list."""
    page.hover(".row:nth-child(3)")
    third = page.inner_text(".row:nth-child(3) .name")
    check(page.inner_text("#sum-class") == third, f"pointing at {third} shows it")
    page.hover("h1")
    first = page.inner_text(".row:first-child .name")
    check(page.inner_text("#sum-class") == first, f"leaving the list shows {first} again")


def check_camera(check, page):
    page.click("#camera")
    wait(page, "document.getElementById('video').videoWidth > 0")
    got = answer(page, lambda: page.click("#shoot"))
    check(np.std(got["pixels"]) > 0, "a picture of the (simulated) camera is explained")
    check(page.evaluate("document.getElementById('video').srcObject === null"), "the camera is off after it")


def check_offline(check, browser, folder):
    """After the first visit the page comes and answers with its server gone."""
    context = browser.new_context()
    problems: list[str] = []
    with serving(folder) as url:
        page = opened(context, url, problems)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        wait(page, "navigator.serviceWorker.controller !== null")
    context.set_offline(True)
    page.reload()
    wait(page, "window.count === 1")
    got = answer(page, lambda: page.locator("#samples button").nth(3).click())
    check(len(got["logits"]) > 0, "offline, with the server gone: the page loads again and explains another sample")
    check(not problems, f"offline: console errors: {problems}")
    context.close()


def check_webgpu(check, playwright, chromium, url):
    """WebGPU, by software where the machine has no graphics device."""
    arguments = [
        "--no-sandbox",
        "--enable-unsafe-webgpu",
        "--use-webgpu-adapter=swiftshader",
        "--enable-features=Vulkan",
    ]
    browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
    page = opened(browser.new_context(), url, [])
    if not page.evaluate("navigator.gpu?.requestAdapter().then((a) => Boolean(a)) ?? false"):
        print("       WebGPU: this browser has no adapter here; not checked")
        browser.close()
        return
    page.select_option("#provider", "webgpu")
    # Without a graphics device its programs are compiled for the processor, which takes minutes.
    wait(page, "!document.getElementById('provider').disabled", seconds=600)
    hidden = page.evaluate("document.getElementById('message').hidden")
    kept = page.evaluate("document.getElementById('provider').value")
    said = "it gives the same" if hidden else page.inner_text("#message")
    check(hidden and kept == "webgpu", f"WebGPU: {said}; the page runs on {kept}")
    browser.close()


def check_looks(check, browser, url, folder):
    """Contrast and width at desktop and phone size, light and dark; pictures of them in `folder`."""
    for name, width, height in (("desktop", 1280, 800), ("phone", 390, 844)):
        for scheme in ("light", "dark"):
            phone = name == "phone"
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                device_scale_factor=2 if phone else 1,
                is_mobile=phone,
                has_touch=phone,
            )
            problems: list[str] = []
            page = opened(context, url, problems)
            page.wait_for_timeout(500)
            ratio, where = page.evaluate(CONTRAST)
            check(ratio >= 4.5, f"{name}, {scheme}: smallest contrast of text {ratio:.1f} ({where!r})")
            check(page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name}: nothing sticks out")
            check(not problems, f"{name}, {scheme}: console errors: {problems}")
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=folder / f"demo_{name}_{scheme}.png")
                if phone:
                    page.screenshot(path=folder / f"demo_{name}_{scheme}_whole.png", full_page=True)
            if phone:
                page.tap(".row:nth-child(2)")
                second = page.inner_text(".row:nth-child(2) .name")
                check(page.inner_text("#sum-class") == second, f"{name}: a tap on {second} shows it")
            context.close()


def check_times(browser, url):
    """What a first visit loads, and how long it takes until its first answer."""
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    page.add_init_script(LISTEN)
    started = time.perf_counter()
    page.goto(url)
    loaded = time.perf_counter() - started
    wait(page, "window.count === 1")
    answered = time.perf_counter() - started
    first = page.evaluate("last.milliseconds")
    context.close()
    text = f"page loaded after {loaded:.2f} s, first answer after {answered:.2f} s"
    print(f"       {text}, of which {first:.0f} ms in the network")


def main(arguments=None):
    """Run all checks; the exit status is 1 where one failed."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="the folder that scripts/demo.py wrote")
    parser.add_argument("--chromium", help="the browser's program (default: the one of playwright)")
    parser.add_argument("--images", type=int, default=100, help="test images (default: %(default)s)")
    parser.add_argument("--screenshots", type=pathlib.Path, help="folder for pictures of the page")
    parsed = parser.parse_args(arguments)

    check = Checks()
    metadata = presets.metadata(PRESET)
    shape = tuple(metadata["image_shape"])
    images = data.load(metadata["dataset"]).x_test[: parsed.images]
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright, serving(parsed.folder) as url:
        browser = playwright.chromium.launch(executable_path=parsed.chromium, args=["--no-sandbox", *camera])
        print(f"Chromium {browser.version}, {url}")
        check_times(browser, url)
        problems: list[str] = []
        page = opened(browser.new_context(), url, problems)
        check_images(check, page, images, presets.load(PRESET), shape)
        check_files(check, page, shape)
        check_pointer(check, page)
        check_keyboard(check, page)
        check_camera(check, page)
        check(not problems, f"console errors: {problems}")
        check_looks(check, browser, url, parsed.screenshots)
        check_offline(check, browser, parsed.folder)
        browser.close()
        check_webgpu(check, playwright, parsed.chromium, url)
    print(f"{check.failed} failed")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
