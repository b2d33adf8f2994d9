"""Write tests/container/golden and tests/bad_files anew: PYTHONPATH=tests/container python tests/container/make_files.py

Golden files are never made again for a version that is frozen. Bad files are the cases of test_checks.py: a name says what
is wrong, bad_files.json where.
"""

import json
from pathlib import Path

import tiny
from golden_dacz import CODES, GOLDEN
from test_checks import CASES
from test_damage import FILES

HERE = Path(__file__).parent
GOLDEN_FILES = {
    "plain": (GOLDEN, CODES),
    "coded": (tiny.CODED, tiny.CODES.tolist()),
    "live": (FILES["live"], None),
}


def main():
    folder = HERE / "golden"
    (folder / "toy.prior").write_bytes(tiny.PRIOR_BYTES)
    for name, (data, codes) in GOLDEN_FILES.items():
        (folder / f"{name}.dacz").write_bytes(data)
        if codes is not None:
            (folder / f"{name}.json").write_text(json.dumps(codes) + "\n")
    folder = HERE.parent / "bad_files"
    for name, case in CASES.items():
        (folder / f"{name}.dacz").write_bytes(case.data)
    offsets = {name: case.offset for name, case in sorted(CASES.items())}
    (folder / "bad_files.json").write_text(json.dumps(offsets, indent=1) + "\n")


if __name__ == "__main__":
    main()
