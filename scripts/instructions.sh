#!/bin/sh
# Counts the instructions of each stage: scripts/instructions.sh TARGET_DIRECTORY
set -eu
version=$(sed -n 's/^gungraun = "\(.*\)"/\1/p' benches/Cargo.toml)
command -v valgrind > /dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 1; }
# The library and its runner must be of one version.
exact=$(cargo metadata --format-version 1 --manifest-path benches/Cargo.toml |
	grep -o '"name":"gungraun","version":"[^"]*"' | cut -d'"' -f8 | head -n 1)
if ! gungraun-runner --version 2> /dev/null | grep -qF "${exact:-$version}"; then
	cargo install --quiet --version "${exact:-$version}" gungraun-runner
fi
exec cargo bench --manifest-path benches/Cargo.toml --target-dir "$1" --bench instructions
