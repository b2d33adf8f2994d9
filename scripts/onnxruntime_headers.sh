#!/usr/bin/env bash
# ONNX Runtime's C++ headers, which its Python package lacks, for the test of an exported model's C++ example:
#
#     bash scripts/onnxruntime_headers.sh build/onnxruntime
#     ONNXRUNTIME_INCLUDE=build/onnxruntime make test
#
# They come from the Debian package libonnxruntime-dev (Debian 13), through apt, and nothing is installed. On Debian 13
# itself `apt-get install libonnxruntime-dev` does, and needs no variable.
set -euo pipefail
folder=$(realpath -m "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep '/debian/$' | head -1)
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" > "$work/sources.list"
options=(-q -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
cd "$work"
apt-get "${options[@]}" download libonnxruntime-dev
dpkg -x libonnxruntime-dev_*.deb unpacked
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
mv unpacked/usr/include/onnxruntime "$folder"
