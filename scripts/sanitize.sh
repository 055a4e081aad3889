#!/usr/bin/env bash
# sanitize.sh DIRECTORY: runs the tests of the core with AddressSanitizer. Builds go to DIRECTORY.
set -eu

if ! cargo +nightly --version > /dev/null 2>&1; then
    echo "sanitize: the nightly compiler is missing; to install it: rustup toolchain install nightly" >&2
    exit 1
fi
# Tests of the core alone. Left out: tests/allocations.rs and tests/key_wiped.rs, which have allocators of their own.
tests=(chunking vectors payload presence lost noise sweep timing roundtrip fuzz_findings)

cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=$1
export RUSTFLAGS=-Zsanitizer=address
# GLib keeps memory to its end, which is no leak of the core.
export ASAN_OPTIONS=detect_leaks=0
# With a target given, build scripts and macros are left as they are.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo +nightly test --target "$host" --lib "${tests[@]/#/--test=}"
