"""Write tests/bad_files anew: PYTHONPATH=tests/container python tests/container/make_bad_files.py

They are the cases of test_checks.py: the name says what is wrong, and bad_files.json where.
"""

import json
from pathlib import Path

from test_checks import CASES


def main():
    folder = Path(__file__).parents[1] / "bad_files"
    for name, case in CASES.items():
        (folder / f"{name}.dacz").write_bytes(case.data)
    offsets = {name: case.offset for name, case in sorted(CASES.items())}
    (folder / "bad_files.json").write_text(json.dumps(offsets, indent=1) + "\n")


if __name__ == "__main__":
    main()
