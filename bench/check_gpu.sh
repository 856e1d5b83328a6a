#!/bin/sh
# Everything that only a machine with a GPU can tell, without a network: builds (or takes what was built
# elsewhere), all op cases GPU against CPU, exactness, training beside the CPU, compute-sanitizer on small
# cases, benchmarks; a table last. docs/first-gpu-session.md says what failures mean.
# usage: check_gpu.sh [OUT]
#   OUT          folder for the log, the tables and JSON files (default: build/gpu)
#   BUILD        folder of programs (default: build); a folder made by `make gpu-kit` will do
#   STAGES       which of: build smoke ops exact train sanitizer kernels step torch (default: all)
#   SECONDS_MAX  for all stages together (default: 570: some machines end a command after 600)
#   PART_SECONDS for each part, where its own limit is larger (default: its own)
#   KERNEL_SECONDS, STEP_SECONDS, TORCH_SECONDS   of the benchmarks (default: 140, 90, 90)
#   BESIDE       folder with gpu-kernels.json and gpu-step.json, which torch is compared with (default: OUT)
# Exit status: 0 all stages passed, 1 some failed, 3 no GPU. Every part has a time limit of its own, and one
# that fails or hangs does not hide the others: what is known stands in OUT at every moment.
set -u
cd "$(dirname "$0")/.." || exit
out=${1:-build/gpu}
build=${BUILD:-build}
stages=${STAGES:-build smoke ops exact train sanitizer kernels step torch}
kernel_seconds=${KERNEL_SECONDS:-140} step_seconds=${STEP_SECONDS:-90} torch_seconds=${TORCH_SECONDS:-90}
started=$(date +%s)
deadline=$((started + ${SECONDS_MAX:-570}))
part_seconds=${PART_SECONDS:-600}
failed=0
mkdir -p "$out"
out=$(cd "$out" && pwd)
table=$out/stages.txt log=$out/log.txt part_log=$out/part.txt troubles=$out/troubles.txt
: >"$table" && : >"$log" && : >"$troubles"

# A driver in trouble lets its tools wait for ever, and Python's first import may take a minute.
bounded() { timeout -k 1 30 "$@"; }

if ! bounded nvidia-smi -L >"$out/gpu.txt" 2>&1 && ! ls /dev/nvidia[0-9]* >/dev/null 2>&1; then
    echo "check-gpu: this machine has no GPU; nothing was checked"
    exit 3
fi
cat "$out/gpu.txt"
{
    date -u
    bounded nvidia-smi
    echo "commit: $(cat "$build/kit" 2>/dev/null || git describe --always --dirty 2>/dev/null)"
} >>"$out/gpu.txt" 2>&1

# Libraries that were carried along, and those of PyTorch's packages (cuDNN, cuBLAS): for our programs only.
# What python3 loads is left as it is.
python=$(command -v "${PYTHON:-python3}" || true)
packages=
[ -z "$python" ] || packages=$(bounded "$python" -c 'import os, nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null || true)
libraries=$build/lib
for folder in ${packages:+"$packages"/*/lib} /usr/local/cuda/lib64 /usr/local/nvidia/lib64; do
    [ ! -d "$folder" ] || libraries=$libraries:$folder
done
libraries=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export RVX_TEST_CUDA="$build/librevoxel_cuda.so" REVOXEL_CUDA_LIBRARY="$build/librevoxel_cuda.so" OMP_WAIT_POLICY=passive

wanted() { case " $stages " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# part NAME LIMIT COMMAND...: runs it with what is left of the time, into OUT/part.txt, which then goes into
# OUT/log.txt; a line in the table, and of a failure what tells most in OUT/troubles.txt.
part() {
    name=$1 limit=$2
    shift 2
    left=$((deadline - $(date +%s)))
    [ "$limit" -le "$part_seconds" ] || limit=$part_seconds
    [ "$left" -ge "$limit" ] || limit=$left
    if [ "$limit" -le 1 ]; then
        printf '%-28s NOT RUN: no time left\n' "$name" | tee -a "$table"
        failed=1
        return 1
    fi
    begun=$(date +%s)
    # What waits within the driver cannot be killed, and then the inner timeout waits for it.
    timeout -k 1 $((limit + 7)) timeout -k 5 "$limit" "$@" >"$part_log" 2>&1
    status=$?
    case $status in
    0) word=passed ;;
    124 | 137) word="FAILED: longer than $limit s" ;;
    *) word="FAILED: status $status" ;;
    esac
    tests=$(grep -cE '^ok' "$part_log")
    wrong=$(grep -cE '^not ok|^Bail out' "$part_log")
    printf '%-28s %-28s %4d s %s\n' "$name" "$word" $(($(date +%s) - begun)) \
        "$([ "$tests$wrong" = 00 ] || echo "$tests ok, $wrong not ok")" | tee -a "$table"
    if [ $status != 0 ]; then
        failed=1
        { grep -E '^not ok|^Bail out|^# .*cuda|^=+ (Error|Invalid|Warning|Uninit)|ERROR SUMMARY: [1-9]' "$part_log" | head -5
            tail -n 2 "$part_log"
        } | cut -c1-200 | awk -v name="$name" '!seen[$0]++ { print name ": " $0 }' | tee -a "$troubles"
    fi
    keep_stages
    { printf '==== %s: %s\n' "$name" "$word" && head -c 400000 "$part_log"; } >>"$log"
    return $status
}
ours() {
    name=$1 limit=$2
    shift 2
    part "$name" "$limit" env LD_LIBRARY_PATH="$libraries" "$@"
}
# After every part: a machine may end the script without its knowing.
keep_stages() {
    awk -F '  +' 'BEGIN { printf "{\"stages\": [" }
        { printf "%s\n  {\"name\": \"%s\", \"result\": \"%s\"}", (NR > 1 ? "," : ""), $1, $2 }
        END { print "\n]}" }' "$table" >"$out/stages.json"
}
# How many goals are met, and the others by name: some machines show but the end of what is printed.
goals() {
    grep '^goal ' "$log" >"$part_log" || return 0
    awk '/: met/ { met++ } /: NOT MET$/ { missed++ } /: not measured$/ { unknown++ }
        END { printf "goals: %d met, %d not met, %d not measured (all in log.txt)\n", met, missed, unknown }' "$part_log"
    grep ': NOT MET$' "$part_log"
}
finish() {
    keep_stages
    echo
    goals
    rm -f "$part_log"
    cat "$table"
    [ ! -s "$troubles" ] || { echo && head -n 40 "$troubles"; }
    echo "$(($(date +%s) - started)) s; log, tables and JSON in $out"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

if wanted build && [ ! -f "$build/kit" ]; then
    part build 240 make --no-print-directory -j"$(nproc)" BUILD="$build" gpu-programs || true
fi
if [ ! -f "$RVX_TEST_CUDA" ]; then
    echo "check-gpu: $RVX_TEST_CUDA is not there: build it, or carry a kit (make gpu-kit)"
    exit 1
fi

# Does anything run? All that follows fails alike where this does.
if wanted smoke; then
    ours smoke 40 "$build/revoxel" check unet3d --size 16x16x16 --classes 3 --widths 8,16 --device cuda --in 1 --quiet || true
fi

if wanted ops; then
    for test in "$build"/tests/cuda/test_* "$build"/tests/kernels/test_streams; do
        case $test in *.d | *.o | */test_simt*) continue ;; */test_ops) limit=180 ;; *) limit=90 ;; esac
        [ ! -x "$test" ] || ours "$(basename "$test")" "$limit" "$test" || true
    done
fi

# The bits of store, checkpoint and reversible against each other, and of two runs each.
if wanted exact; then
    number=0
    for what in "revnet3d-full --size 64x48x40 --classes 3 --widths 16,32,64" \
        "revnet3d-full --size 36x28x44 --classes 5 --widths 16,32 --storage bf16 --batch 2" \
        "revunet3d --size 64x64x32 --classes 3 --widths 32,64,128 --storage bf16" \
        "unet3d --size 64x64x32 --classes 3 --widths 16,32,64 --storage bf16"; do
        number=$((number + 1))
        # shellcheck disable=SC2086
        ours "exact-$number-${what%% *}" 60 \
            "$build/revoxel" check $what --device cuda --in 1 --quiet || true
    done
fi

[ -x "$build/revoxel" ] && wanted train && { ours train 90 bench/check_train.sh "$build/revoxel" || true; }

if wanted sanitizer; then
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
    if [ -z "$sanitizer" ]; then
        echo "sanitizer                    NOT RUN: no compute-sanitizer here" | tee -a "$table"
    else
        # initcheck knows no host's writes to memory that both see, which the op tests use: a network's
        # own memory is the device's.
        for tool in memcheck racecheck synccheck; do
            ours "$tool" 100 "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 20 \
                "$build/tests/cuda/test_ops" all 2e6 || true
        done
        ours initcheck 60 "$sanitizer" --tool initcheck --error-exitcode 9 --print-limit 20 \
            "$build/revoxel" check unet3d --size 16x16x16 --classes 3 --widths 8,16 --storage bf16 \
            --device cuda --in 1 --quiet || true
    fi
fi

show() { cat "$part_log" 2>/dev/null; }
if wanted kernels && [ -x "$build/bench_gpu" ]; then
    ours kernels $((kernel_seconds + 10)) "$build/bench_gpu" --library "$RVX_TEST_CUDA" --json "$out/gpu-kernels.json" \
        --seconds "$kernel_seconds" || true
    show
fi
if wanted step && [ -x "$build/bench_step_gpu" ]; then
    ours step $((step_seconds + 20)) "$build/bench_step_gpu" --library "$RVX_TEST_CUDA" --json "$out/gpu-step.json" \
        --seconds "$step_seconds" || true
    show
fi
if wanted torch && [ -n "$python" ] && bounded "$python" -c 'import torch' 2>/dev/null; then
    part torch $((torch_seconds + 10)) "$python" bench/peers/gpu_torch.py --json "$out/gpu-torch.json" --beside "${BESIDE:-$out}" \
        --seconds "$torch_seconds" || true
    show
fi
exit $failed
