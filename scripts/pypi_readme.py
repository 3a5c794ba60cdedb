"""Makes the links of README.md lead to the repository on the web, as PyPI shows the README without the files beside it.

    python scripts/pypi_readme.py https://github.com/OWNER/REPOSITORY v1.2.3

Writes README.md, and the address into pyproject.toml. The release workflow runs it in its own checkout: no address is
kept in the repository.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r'(?P<before>\]\(|src=")(?P<path>(?![a-z]+:|#)[^)"]+)')


def absolute(readme, repository, ref):
    """A README with links and pictures by their addresses: those of pictures give the file itself."""

    def address(match):
        view = "raw" if match["before"] == 'src="' else "blob"
        return f"{match['before']}{repository}/{view}/{ref}/{match['path']}"

    return LINK.sub(address, readme)


def main(arguments):
    """Write both files."""
    repository, ref = arguments
    readme, project = ROOT / "README.md", ROOT / "pyproject.toml"
    readme.write_text(absolute(readme.read_text("utf-8"), repository, ref), "utf-8")
    urls = f'\n[project.urls]\nSource = "{repository}"\nChangelog = "{repository}/blob/{ref}/CHANGELOG.md"\n'
    project.write_text(project.read_text("utf-8") + urls, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
