#!/bin/sh
# Compiles the native engine for the player: docs/player/dacodec.wasm, which is kept in the repository because few people have
# the compiler for it. On Debian: apt-get install clang lld wasi-libc libc++-14-dev-wasm32 libclang-rt-14-dev-wasm32
#
# One thread, and no exceptions: the three places that throw go on instead and fail at the next step.
set -eu
cd "$(dirname "$0")/../.."
clang++ --target=wasm32-wasi --sysroot=/usr -std=c++17 -O3 -ffp-contract=off -msimd128 -mexec-model=reactor \
    -fno-exceptions '-Dthrow=(void)' -Dtry= '-Dcatch(x)=for (std::exception e; false;)' '-DDAC_TARGET="wasm"' \
    -isystem native/wasm -I native native/dacodec.cpp native/wasm/memory.cpp \
    -Wl,--export=dac_network,--export=dac_push,--export=dac_state_bytes,--export=dac_state_init \
    -Wl,--strip-all,-z,stack-size=1048576 -o docs/player/dacodec.wasm
