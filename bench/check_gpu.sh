#!/bin/sh
# Everything that only a machine with a GPU can tell, in less than ten minutes, without a network: builds
# (or takes what was built elsewhere), all op cases GPU against CPU, exactness, compute-sanitizer on small
# cases, benchmarks; a table last. usage: check_gpu.sh [OUT]
#   OUT          folder for logs and JSON files (default: build/gpu)
#   BUILD        folder of programs (default: build); a folder made by `make gpu-kit` will do
#   STAGES       which of: build ops exact sanitizer kernels step torch (default: all)
#   SECONDS_MAX  for all stages together (default: 590)
# Exit status: 0 all stages passed, 1 some failed, 3 no GPU. Every stage has a time limit of its own, and one
# that fails does not hide the others.
set -u
cd "$(dirname "$0")/.."
out=${1:-build/gpu}
build=${BUILD:-build}
stages=${STAGES:-build ops exact sanitizer kernels step torch}
started=$(date +%s)
deadline=$((started + ${SECONDS_MAX:-590}))
failed=0
mkdir -p "$out"
out=$(cd "$out" && pwd)
table=$out/stages.txt
: >"$table"

if ! nvidia-smi -L >"$out/gpus.txt" 2>&1 && ! ls /dev/nvidia[0-9]* >/dev/null 2>&1; then
    echo "check-gpu: this machine has no GPU; nothing was checked"
    exit 3
fi
cat "$out/gpus.txt"
nvidia-smi >"$out/nvidia-smi.txt" 2>&1

# Libraries that were carried along, and those of PyTorch's packages (cuDNN, cuBLAS).
python=$(command -v "${PYTHON:-python3}" || true)
packages=
[ -z "$python" ] || packages=$("$python" -c 'import os, nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null || true)
libraries=$build/lib:/usr/local/cuda/lib64
for folder in ${packages:+"$packages"/*/lib}; do
    [ ! -d "$folder" ] || libraries=$libraries:$folder
done
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export RVX_TEST_CUDA="$build/librevoxel_cuda.so" OMP_WAIT_POLICY=passive

wanted() { case " $stages " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# part NAME LIMIT COMMAND...: runs it with what is left of the time, into OUT/NAME.log; a line in the table.
part() {
    name=$1 limit=$2
    shift 2
    left=$((deadline - $(date +%s)))
    [ "$left" -ge "$limit" ] || limit=$left
    if [ "$limit" -le 1 ]; then
        printf '%-28s NOT RUN: no time left\n' "$name" | tee -a "$table"
        failed=1
        return 1
    fi
    begun=$(date +%s)
    timeout -k 5 "$limit" "$@" >"$out/$name.log" 2>&1
    status=$?
    case $status in
    0) word=passed ;;
    124 | 137) word="FAILED: longer than $limit s" ;;
    *) word="FAILED: status $status" ;;
    esac
    [ $status = 0 ] || failed=1
    tests=$(grep -cE '^ok' "$out/$name.log")
    wrong=$(grep -cE '^not ok|^Bail out' "$out/$name.log")
    printf '%-28s %-28s %4d s %s\n' "$name" "$word" $(($(date +%s) - begun)) \
        "$([ "$tests$wrong" = 00 ] || echo "$tests ok, $wrong not ok")" | tee -a "$table"
    return $status
}

if wanted build && [ ! -f "$build/kit" ]; then
    part build 240 make --no-print-directory -j"$(nproc)" BUILD="$build" gpu-programs || true
fi
if [ ! -f "$RVX_TEST_CUDA" ]; then
    echo "check-gpu: $RVX_TEST_CUDA is not there: build it, or carry a kit (make gpu-kit)"
    exit 1
fi

if wanted ops; then
    for test in "$build"/tests/cuda/test_* "$build"/tests/kernels/test_streams; do
        case $test in *.d | *.o | */test_simt) continue ;; esac
        [ ! -x "$test" ] || part "$(basename "$test")" 90 "$test" || true
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
        part "exact-$number-${what%% *}" 60 \
            "$build/revoxel" check $what --device cuda --in 1 --quiet || true
    done
fi

if wanted sanitizer; then
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
    if [ -z "$sanitizer" ]; then
        echo "sanitizer                    NOT RUN: no compute-sanitizer here" | tee -a "$table"
    else
        # initcheck knows no host's writes to memory that both see, which the op tests use: a network's
        # own memory is the device's.
        for tool in memcheck racecheck synccheck; do
            part "$tool" 60 "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 20 \
                "$build/tests/cuda/test_ops" all 2e6 || true
        done
        part initcheck 60 "$sanitizer" --tool initcheck --error-exitcode 9 --print-limit 20 \
            "$build/revoxel" check unet3d --size 16x16x16 --classes 3 --widths 8,16 --storage bf16 \
            --device cuda --in 1 --quiet || true
    fi
fi

if wanted kernels && [ -x "$build/bench_gpu" ]; then
    part kernels 150 "$build/bench_gpu" --library "$RVX_TEST_CUDA" --json "$out/gpu-kernels.json" --seconds 140 || true
    cat "$out/kernels.log" 2>/dev/null
fi
if wanted step && [ -x "$build/bench_step_gpu" ]; then
    part step 100 "$build/bench_step_gpu" --library "$RVX_TEST_CUDA" --json "$out/gpu-step.json" --seconds 90 || true
    cat "$out/step.log" 2>/dev/null
fi
if wanted torch && [ -n "$python" ] && "$python" -c 'import torch' 2>/dev/null; then
    part torch 100 "$python" bench/peers/gpu_torch.py --json "$out/gpu-torch.json" --seconds 90 || true
    cat "$out/torch.log" 2>/dev/null
fi

echo
cat "$table"
grep -hE '^not ok|^Bail out|ERROR SUMMARY: [1-9]' "$out"/*.log | head -20
echo "$(($(date +%s) - started)) s; logs and JSON in $out"
exit $failed
