#!/usr/bin/env bash
# Runs transformers' own tests of DAC, first on its own classes, then on ours under its names; prints the counts.
# docs/accuracy.md has the table. Nothing of the tests stays: they run in a scratch folder.
# Usage: scripts/oracles/transformers_tests.sh SOURCE VERSION [pytest arguments]
#   SOURCE: the source of transformers as of that version, or the part of it with conftest.py and tests/
#           (git clone --depth 1 --branch v5.6.0 https://github.com/huggingface/transformers)
#   VERSION: of transformers, to be installed in .venv-tests-VERSION, with what its tests need
set -eu
cd "$(dirname "$0")/../.."
root=$PWD source=$(realpath "$1") version=$2
shift 2

venv=.venv-tests-$version
python=$root/$venv/bin/python
if [ ! -e "$venv/.ready" ]; then
    echo "making $venv"
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$python" -m pip install --quiet --constraint constraints.txt "transformers==$version" \
        torch numpy safetensors huggingface_hub soundfile typer rich accelerate datasets parameterized peft pytest \
        pytest-rerunfailures pytest-subtests pytest-timeout pytest-xdist scipy
    "$python" -m pip install --quiet --no-deps --editable .
    touch "$venv/.ready"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$source/tests" "$source/conftest.py" "$source/pyproject.toml" "$work"
[ -d "$source/utils" ] && cp -r "$source/utils" "$work"
cd "$work"
# The tests look for the library's own source beside them.
mkdir src
ln -s "$("$python" -c 'import pathlib, transformers; print(pathlib.Path(transformers.__file__).parent)')" src/transformers
# A switch of CUDA's, which PyTorch no longer lets two interfaces set.
sed -i 's/if hasattr(torch.backends.cudnn, "allow_tf32")/if False/' conftest.py

for whose in transformers dacodec; do
    echo "== $whose"
    plugin=
    [ "$whose" = dacodec ] && plugin="-p under_their_names"
    # shellcheck disable=SC2086
    PYTHONPATH=.:$root/src:$root/scripts/oracles HF_HUB_OFFLINE=1 "$python" -m pytest tests/models/dac \
        --override-ini addopts= $plugin --timeout 120 -q --tb=line --junitxml "$whose.xml" "$@" >"$whose.txt" 2>&1 || true
    grep -E '^(FAILED|ERROR)' "$whose.txt" | cut -c1-160 || true
    tail -1 "$whose.txt"
done

echo "== what comes out differently"
"$python" - transformers.xml dacodec.xml <<'END'
import sys
from xml.etree import ElementTree

def outcomes(path):
    cases = ElementTree.parse(path).iter("testcase")
    return {f"{c.get('classname')}::{c.get('name')}": next((child.tag for child in c), "passed") for c in cases}

theirs, ours = map(outcomes, sys.argv[1:])
for name in sorted(theirs.keys() | ours.keys()):
    if theirs.get(name) != ours.get(name):
        print(f"{name}: {theirs.get(name)}, ours {ours.get(name)}")
END
