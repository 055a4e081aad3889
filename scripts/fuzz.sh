#!/usr/bin/env bash
# fuzz.sh SECONDS DIRECTORY [TARGET...]: runs the fuzz targets (all of them) side by side for so long.
# What they learn is kept in DIRECTORY/corpus, what they find in DIRECTORY/findings, builds in DIRECTORY/build.
set -eu

seconds=$1 directory=$2
shift 2
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(embedder detector parsers soft_bits elements)

need() {
    echo "fuzz: $1 is missing; to install it: $2" >&2
    exit 1
}
cargo +nightly --version > /dev/null 2>&1 || need "the nightly compiler" "rustup toolchain install nightly"
cargo fuzz --version > /dev/null 2>&1 || need cargo-fuzz "cargo install cargo-fuzz"

cd "$(dirname "$0")/../fuzz"
export CARGO_TARGET_DIR=$directory/build
for target in "${targets[@]}"; do
    cargo +nightly fuzz build --fuzz-dir . "$target"
done
mkdir -p "$directory/findings"

# Limits that the largest formats stay below: a single case takes two seconds at most on a free core, and many times that here.
options=(-max_total_time="$seconds" -print_final_stats=1 -rss_limit_mb=3072 -timeout=600 -len_control=0 -max_len=600)
run() {
    local target=$1 corpus=$directory/corpus/$1
    mkdir -p "$corpus"
    # Long cases to begin with: from nothing, it would take hours to come to them.
    for i in {1..30}; do
        head -c $((20 * i)) /dev/urandom > "$corpus/start-$i"
    done
    # GLib keeps memory to its end: `make leaks` looks for leaks of the elements.
    [ "$target" != elements ] || export ASAN_OPTIONS=detect_leaks=0
    nice -n 19 "$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release/$target" "${options[@]}" \
        -artifact_prefix="$directory/findings/$target-" "$corpus" > "$directory/$target.log" 2>&1
}
declare -A jobs
for target in "${targets[@]}"; do
    run "$target" &
    jobs[$target]=$!
done
trap 'kill "${jobs[@]}" 2> /dev/null || true' EXIT INT TERM

failed=0
for target in "${targets[@]}"; do
    result=ok
    wait "${jobs[$target]}" || result="FAILED, see $directory/$target.log" failed=1
    awk -v target="$target" -v result="$result" '
        match($0, /cov: [0-9]+ ft: [0-9]+/) { coverage = substr($0, RSTART, RLENGTH) }
        /^stat::number_of_executed_units/ { runs = $2 }
        /^stat::average_exec_per_sec/ { rate = $2 }
        END { print target ": " runs " runs, " rate " a second, " coverage ", " result }
    ' "$directory/$target.log"
done
exit $failed
