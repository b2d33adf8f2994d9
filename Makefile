PYTHON ?= python3
# Another build of PyTorch, or another index: make demo TORCH="torch --index-url ..."
TORCH ?= torch
BIN := .venv/bin

.PHONY: help docs demo test test-targets test-wheel test-hubs test-versions test-frozen lint parity bench player player-test sanitize clean

help:
	@echo "make demo           a tour of the package, in two minutes"
	@echo "make test           lint, types and all tests"
	@echo "make lint           ruff and mypy alone"
	@echo "make docs           the documentation as a site, in site/"
	@echo "make bench          benchmarks beside transformers, descript-audio-codec and ONNX Runtime; whole corpora"
	@echo "make parity         comparison with the real packages"
	@echo "make player         the player for .dacz files as a folder, build/player"
	@echo "make player-test    its tests in Debian's Chromium"
	@echo "make test-wheel     the package as it is installed"
	@echo "make test-targets   the numerical tests under every instruction set of this processor"
	@echo "make test-hubs      with every huggingface_hub"
	@echo "make test-versions  with the oldest and newest of all dependencies"
	@echo "make test-frozen    a program frozen by PyInstaller"
	@echo "make sanitize       the native code under the sanitizers"
	@echo "make clean"

demo: .venv/installed
	$(BIN)/python scripts/demo.py

test: .venv/test-installed lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# Engine, parity, streaming and golden tests under every instruction set that this processor has.
test-targets: .venv/test-installed
	$(BIN)/python scripts/test_targets.py

lint: .venv/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Pages, API reference and commands as a site. Its search needs a server: python -m http.server -d site.
docs: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The player as static files: the page, the engine in WebAssembly (scripts/player/wasm.sh) and the built-in model.
player: .venv/test-installed
	$(BIN)/python scripts/player/build.py build/player

# In Debian's Chromium, which must be installed, with Node.js. DACODEC_PICTURES=FOLDER keeps pictures of the page.
player-test: .venv/test-installed
	npm install --prefix build/npm --ignore-scripts --no-audit --no-fund onnxruntime-web@1.30.0
	$(BIN)/python scripts/player/build.py build/player-test builtin tests/container/golden/model
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/player/test_recording.py tests/player/in_browser.py

# The package as installed: sdist, wheel, an empty environment, the extras one by one. Needs no .venv.
test-wheel:
	PYTHON=$(PYTHON) TORCH="$(TORCH)" bash scripts/packaging/wheel.sh

# The checkpoint tests with every huggingface_hub in use.
test-hubs: .venv/test-installed
	bash scripts/packaging/hubs.sh

# The oldest and the newest version of every dependency: downloads gigabytes.
test-versions:
	PYTHON=$(PYTHON) bash scripts/packaging/versions.sh

# A program frozen by PyInstaller, with the package's hook. Takes some minutes.
test-frozen: .venv/installed
	bash scripts/packaging/frozen.sh

# Comparison with the real packages: sets up separate environments and takes some minutes.
parity:
	PYTHON=$(PYTHON) bash scripts/oracles/setup.sh
	bash scripts/oracles/run.sh

bench: .venv/test-installed
	PYTHON=$(PYTHON) bash scripts/oracles/setup.sh hf4 hf5 descript onnx
	$(BIN)/python bench/run.py
	$(BIN)/python bench/layers.py
	$(BIN)/python bench/live.py
	$(BIN)/python bench/threads.py
	$(BIN)/python bench/files.py
	$(BIN)/python bench/corpus.py --memory-hours 10

# The native code under the compiler's sanitizers, on random networks, signals and pushes.
CXX ?= c++
sanitize:
	mkdir -p build
	$(CXX) -std=c++17 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -pthread native/fuzz.cpp -o build/fuzz-address
	build/fuzz-address 30
	$(CXX) -std=c++17 -O1 -g -fsanitize=thread -pthread native/fuzz.cpp -o build/fuzz-thread
	build/fuzz-thread 100
	$(CXX) -std=c++17 -O1 -g -ffp-contract=off -fsanitize=address,undefined -fno-sanitize-recover=all -pthread native/fuzz_resample.cpp -o build/fuzz-resample-address
	build/fuzz-resample-address 300
	$(CXX) -std=c++17 -O1 -g -ffp-contract=off -fsanitize=thread -pthread native/fuzz_resample.cpp -o build/fuzz-resample-thread
	build/fuzz-resample-thread 100

.venv/installed: pyproject.toml setup.py constraints.txt $(wildcard native/*)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[eval]"
	touch $@

.venv/test-installed: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf .venv .venv-* demo-out build dist site
