#!/usr/bin/env bash
# The tests of checkpoints with every huggingface_hub that people have: the oldest that we allow, what transformers 4
# and 5 ask for, and the newest. Each in an environment of its own (.venv-hubs/), over the packages of the tests'.
# Usage: scripts/packaging/hubs.sh [REQUIREMENT]...
set -euo pipefail
cd "$(dirname "$0")/../.."

tests=${TEST_PYTHON:-.venv/bin/python}
if [ $# -eq 0 ]; then
    set -- huggingface_hub==0.26.0 huggingface_hub==0.34.0 'huggingface_hub<1' huggingface_hub==1.0.0 \
        'huggingface_hub<2' huggingface_hub
fi
packages=$("$tests" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

status=0
i=0
for requirement; do
    i=$((i + 1))
    venv=.venv-hubs/$i
    rm -rf "$venv"
    "$tests" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet "$requirement"
    # Behind the environment's own packages, so that its huggingface_hub is the one.
    echo "$packages" >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tests.pth"
    "$venv/bin/python" -c 'import huggingface_hub; print("== huggingface_hub", huggingface_hub.__version__)'
    PYTHONPATH=src OMP_NUM_THREADS=1 "$venv/bin/python" -m pytest -p no:cacheprovider tests/checkpoint || status=1
done
exit $status
