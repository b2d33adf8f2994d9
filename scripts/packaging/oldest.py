"""The oldest version that pyproject.toml allows of every dependency, the extras' too, as constraints for pip.

python scripts/packaging/oldest.py >constraints
"""

import re
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
BOUND = re.compile(r"([\w-]+)(?:\[\w+\])?>=([\w.]+)(?:,<[\w.]+)?")
for requirement in [
    *project["dependencies"],
    *(r for name in extras if name not in ("test", "docs") for r in extras[name]),
]:
    name, bound = BOUND.fullmatch(requirement).groups()  # every one has a lower bound
    print(f"{name}=={bound}")
for match in filter(None, map(BOUND.fullmatch, extras["test"])):
    print(f"{match[1]}=={match[2]}")
