"""Name the packages that pyproject.toml asks for and that are not installed, without importing any of them."""

import re
import sys
import tomllib
from importlib.metadata import distributions

from companion import paths


def missing() -> list[str]:
    """What the library and the notebooks need and this Python does not have."""
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["run"]]
    names = [re.match(r"[\w.-]+", line).group() for line in lines]
    return [name for name in names if not any(distributions(name=name))]


if __name__ == "__main__" and (absent := missing()):
    sys.exit(f"{sys.executable} has no {', '.join(absent)}.")
