#!/usr/bin/env bash
# A program that PyInstaller froze finds the models and the libraries, by the hook that the package brings, and makes
# the same file as the program that it was.
# Usage: [TEST_PYTHON=.venv/bin/python] scripts/packaging/frozen.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
python=$(cd "$(dirname "${TEST_PYTHON:-.venv/bin/python}")" && pwd)/python
work=$root/build/frozen
rm -rf "$work"
mkdir -p "$work"

"$python" -m pip install -q --target "$work/tools" pyinstaller
# The hook is found through the metadata of an installed package.
"$python" -m pip install -q --no-deps --target "$work/package" .
cd "$work"
printf 'from dacodec.cli.main import main\n\nmain()\n' >program.py
export PYTHONPATH=$work/package:$work/tools
"$python" -m PyInstaller --log-level WARN --noconfirm program.py

clip=$root/tests/data/clips/speech_en_cards_16k.flac
"$python" program.py encode "$clip" -o expected.dacz
unset PYTHONPATH
env -i dist/program/program encode "$clip" -o frozen.dacz
env -i dist/program/program decode frozen.dacz -o frozen.wav
cmp expected.dacz frozen.dacz
du -sm dist/program
echo "frozen: the same codes, without a warning"
