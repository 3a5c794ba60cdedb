"""What the hooks of the site (scripts/site_build) make of pages."""

import pathlib

import pytest

pytestmark = pytest.mark.one_backend
HOOKS = pathlib.Path(__file__).parent.parent / "scripts" / "site_build"


@pytest.mark.parametrize(("picture", "found"), [("curve.png", True), ("missing.png", False)])
def test_pictures_with_a_width(picture, found, tmp_path, caplog):
    """HTML of a picture, as on GitHub, leads from the page's own folder to the file. A missing one is a warning."""
    build = pytest.importorskip("mkdocs.commands.build").build
    load_config = pytest.importorskip("mkdocs.config").load_config
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# Start")
    (docs / "curve.png").touch()
    (docs / "page.md").write_text(f'# Page\n\n<img src="{picture}" width="500" alt="A curve">\n')
    settings = tmp_path / "mkdocs.yml"
    settings.write_text(f"site_name: site\nmarkdown_extensions: [attr_list]\nhooks: [{HOOKS / 'repository.py'}]\n")
    build(load_config(str(settings)))
    html = (tmp_path / "site" / "page" / "index.html").read_text()
    assert ('<img alt="A curve" src="../curve.png" width="500" />' in html) == found
    assert ("missing.png" in caplog.text) != found
