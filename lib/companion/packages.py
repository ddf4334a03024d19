"""What pyproject.toml asks for and this Python has not, found out without importing any of it."""

import re
import tomllib
from importlib.metadata import distributions

from companion import paths


def missing(extra: str) -> list[str]:
    """Names of absent packages that the project needs, with those of one extra."""
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"][extra]]
    names = [re.match(r"[\w.-]+", line).group() for line in lines]
    return [name for name in names if not any(distributions(name=name))]
