#!/bin/sh
# Compares ours with the real packages, side by side, each in its own environment. Takes some minutes each.
# Usage: scripts/oracles/run.sh [hf4] [hf5] [descript]     (all three by default)
set -eu
cd "$(dirname "$0")/../.."

# Waiting threads sleep, and memory is kept between layers: on a busy machine several times as fast.
export OMP_WAIT_POLICY=passive MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000

names=${*:-hf4 hf5 descript}
# shellcheck disable=SC2086
scripts/oracles/setup.sh $names

status=0
for name in $names; do
    case $name in
        descript) files="tests/parity/live_descript.py tests/checkpoint/live_descript_weights.py" ;;
        *) files="tests/parity/live_hugging_face.py tests/checkpoint/live_transformers.py" ;;
    esac
    echo "== $name"
    # The environments hold what their package needs, so not what the other tests' conftest may import.
    # shellcheck disable=SC2086
    PYTHONPATH=src:tests:tests/parity:tests/checkpoint "./.venv-$name/bin/python" -m pytest --noconftest -p no:cacheprovider \
        $files || status=1
    case $name in
        hf*) "./.venv-$name/bin/python" -m pytest -p no:cacheprovider tests/integrations || status=1 ;;
    esac
done
exit $status
