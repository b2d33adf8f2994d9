"""Keep a corpus of the fuzzer for the tests: python tests/fuzz/keep.py FOLDER...

Only inputs that reach something new are worth keeping: first run tests/fuzz/fuzz_reader.py -merge=1 SMALL FOLDER...
"""

import base64
import sys
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus.txt"


def main():
    kept = CORPUS.read_text().split() if CORPUS.exists() else []
    paths = [path for folder in sys.argv[1:] for path in sorted(Path(folder).iterdir())]
    lines = [base64.b64encode(path.read_bytes()).decode() for path in paths]
    CORPUS.write_text("\n".join(dict.fromkeys(kept + lines)) + "\n")


if __name__ == "__main__":
    main()
