"""What keras-coda takes on the disk, by extra: the sizes of the packages that it and its extras bring.

    python scripts/studies/installed_size.py

Nothing is installed. The packages must be there, as in the environment of scripts/test.sh, with the versions that are
there; their files are added up, each package once, without compiled .pyc files. Prints MB (10^6 bytes).
"""

import argparse
import importlib.metadata
import pathlib
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Among the project's own files: a checkout that is installed in place has none in its record.
OWN = ROOT / "keras_coda"


def closure(requirements, known, extras=("",)):
    """Names of all packages that requirements bring, in `known` by the extras asked of each."""
    for requirement in map(Requirement, requirements):
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        new = {"", *requirement.extras} - known.setdefault(name, set())
        known[name] |= new
        if new:
            closure(importlib.metadata.requires(name) or [], known, new)
    return known


def size(name):
    """Bytes of a package's files."""
    files = importlib.metadata.files(name) or []
    paths = (pathlib.Path(file.locate()) for file in files if file.suffix != ".pyc")
    return sum(path.stat().st_size for path in paths if path.is_file())


def main(arguments=None):
    """Print a table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(
        arguments
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    own = sum(path.stat().st_size for path in OWN.rglob("*") if path.is_file() and path.suffix != ".pyc")
    extras = project["optional-dependencies"]
    for extra in ("none", *extras):
        try:
            names = closure([*project["dependencies"], *extras.get(extra, ())], {})
        except importlib.metadata.PackageNotFoundError as error:
            print(f"{extra:15} {error.name} is not installed here")
            continue
        total = own + sum(map(size, names))
        print(f"{extra:15} {total / 1e6:6.0f} MB, {len(names)} packages")


if __name__ == "__main__":
    main()
