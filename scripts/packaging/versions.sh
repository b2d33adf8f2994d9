#!/usr/bin/env bash
# The lower bounds of the dependencies are true, and their newest versions do: each in an environment of its own
# (.venv-versions/), with the tests that are quick. Downloads a few gigabytes where PyTorch comes with CUDA.
# Usage: [PYTHON=python3] scripts/packaging/versions.sh [oldest] [newest]     (both by default)
set -euo pipefail
cd "$(dirname "$0")/../.."

status=0
for name in ${*:-oldest newest}; do
    venv=.venv-versions/$name
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    if [ "$name" = oldest ]; then
        "$venv/bin/python" scripts/packaging/oldest.py >"$venv/constraints"
    else
        : >"$venv/constraints"
    fi
    "$venv/bin/python" -m pip install -q -c "$venv/constraints" ".[play,eval,train]" transformers pytest pytest-xdist hypothesis
    echo "== $name"
    "$venv/bin/python" -m pip freeze
    # shellcheck disable=SC2046
    OMP_NUM_THREADS=1 "$venv/bin/python" -m pytest -p no:cacheprovider -n auto --dist worksteal \
        $(cat scripts/packaging/quick-tests) || status=1
done
exit $status
