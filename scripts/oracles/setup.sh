#!/bin/sh
# Makes the environments of the packages that we check ourselves against:
#   .venv-hf4        transformers 4.56.2
#   .venv-hf5        the newest transformers 5
#   .venv-descript   descript-audio-codec 1.0.0
# and, for the benchmarks,
#   .venv-onnx       ONNX Runtime
# Usage: scripts/oracles/setup.sh [hf4] [hf5] [descript] [onnx]     (the first three by default)
# Doing it again does nothing, unless this script or the constraints have changed.
set -eu
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
ours="torch numpy safetensors huggingface_hub soundfile typer rich pytest"

stamp_text() {
    cat constraints.txt scripts/oracles/setup.sh | cksum
}

make_env() { # name, packages
    name=$1
    shift
    venv=.venv-$name
    if [ "$(cat "$venv/.ready" 2>/dev/null || true)" = "$(stamp_text)" ]; then
        echo "$venv is ready"
        return
    fi
    echo "making $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    # One resolution for everything, so that huggingface_hub suits both transformers and us.
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pip install --quiet --constraint constraints.txt $ours "$@"
    if [ "$name" = descript ]; then
        # Its declared dependencies conflict with today's torch; what its model does not use is stubbed in
        # tests/parity/descript.py.
        "$venv/bin/python" -m pip install --quiet --no-deps descript-audio-codec==1.0.0
    fi
    "$venv/bin/python" -m pip install --quiet --no-deps --editable .
    stamp_text >"$venv/.ready"
}

for name in ${*:-hf4 hf5 descript}; do
    case $name in
        hf4) make_env hf4 transformers==4.56.2 accelerate peft ;;
        hf5) make_env hf5 'transformers>=5,<6' accelerate peft ;;
        descript) make_env descript einops tqdm ;;
        onnx) make_env onnx onnx onnxscript onnxruntime ;;
        *) echo "unknown environment: $name" >&2; exit 2 ;;
    esac
done
