#!/usr/bin/env bash
# Runs every fuzz target for some seconds (default 10), from the golden frames and what earlier runs found.
#
#   wire/fuzz/run.sh [SECONDS] [TARGET...]
#
# Stable Rust and a C++ compiler are enough; cargo-fuzz is not needed. Ends non-zero when a target fails; the input is then
# in wire/fuzz/artifacts/TARGET/ and can be repeated with: wire/fuzz/target/TRIPLE/release/TARGET FILE
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-10}
shift || true
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "usage: run.sh [SECONDS] [TARGET...]; SECONDS is $seconds, accepted is a number from 1" >&2; exit 2; }
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=(decoder body)

# What cargo-fuzz passes, without the address sanitizer, which needs nightly (the crate has no unsafe code of its own).
# --target keeps these flags away from build scripts and procedural macros.
triple=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
export CARGO_TARGET_DIR=$PWD/target
cargo build --release --locked --target "$triple"

seeds=$(mktemp -d)
trap 'rm -rf "$seeds"' EXIT
cp ../../tests/golden/*.bin "$seeds"/

for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    echo "== $target, $seconds s"
    # The outer limit is for a fuzzer that hangs before it looks at its clock.
    timeout --kill-after=10 $((seconds + 60)) "target/$triple/release/$target" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=16384 \
        -artifact_prefix="artifacts/$target/" -print_final_stats=1 -verbosity=0 \
        "corpus/$target" "$seeds" 2>&1 | sed '/Recommended dictionary/,/End of recommended dictionary/d'
done
