"""MkDocs hook: the demo in the browser, which `scripts/demo.py` builds, as a part of the site.

build/demo is built where it is not there, or older than its sources or its preset. `SITE_DEMO=no` leaves the demo out.
"""

import os
import pathlib
import shutil
import subprocess
import sys

from mkdocs.plugins import get_plugin_logger

PAGE = "demo/index.html"
SOURCES = ("docs/demo/*", "scripts/demo.py", "keras_coda/presets/bundled/xs_coda_cifar10/*")
log = get_plugin_logger(__name__)


def is_wanted():
    return os.environ.get("SITE_DEMO") != "no"


def is_current(demo, root):
    """Whether the demo was built after the last change of what it is made of."""
    written = demo / "demo.json"
    sources = [path for pattern in SOURCES for path in root.glob(pattern)]
    return written.is_file() and all(path.stat().st_mtime <= written.stat().st_mtime for path in sources)


def on_config(config):
    """Leave the demo out of the navigation where it is not wanted."""
    if not is_wanted():
        config.nav = [item for item in config.nav if PAGE not in item.values()]
    return config


def on_files(files, config):
    """The sources alone are no demo."""
    for file in [file for file in files if file.src_uri.startswith("demo/")]:
        if not is_wanted() or file.src_uri != PAGE:
            files.remove(file)
    return files


def on_page_markdown(markdown, page, config, files):
    """Leave links to the demo out where it is not wanted."""
    if is_wanted():
        return markdown
    return "\n".join(line for line in markdown.split("\n") if f"({PAGE})" not in line)


def on_post_build(config):
    """Copy the demo into the site."""
    root = pathlib.Path(config.config_file_path).parent
    demo = root / "build" / "demo"
    if not is_wanted():
        return
    if not is_current(demo, root):
        command = [sys.executable, str(root / "scripts" / "demo.py"), "--out", str(demo)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            log.warning(f"The demo could not be built (SITE_DEMO=no leaves it out): {built.stderr[-500:]}")
            return
    shutil.copytree(demo, pathlib.Path(config.site_dir) / "demo", dirs_exist_ok=True)
