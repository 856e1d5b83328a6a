#!/bin/sh
# bench/check_gpu.sh without a GPU: programs, nvidia-smi and compute-sanitizer are stand-ins that pass,
# fail, hang or crash, so that what is tested is the script: every part runs in its order, one that
# fails or does not end hides no other, files are whole, the table comes last, the status tells. Then
# its smoke test, truly run, with the emulated library as the kit's.
set -u
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kit=$work/kit bin=$work/bin count=0 failed=0
mkdir -p "$kit/tests/cuda" "$kit/tests/kernels" "$bin"

ok() { # ok NAME COMMAND...
    name=$1 count=$((count + 1))
    shift
    if "$@"; then echo "ok $count - $name"; else
        echo "not ok $count - $name" && failed=1
        sed 's/^/# /' "$work/said" 2>/dev/null
    fi
}
# program PATH: what it does comes from standard input; it notes that it ran.
program() {
    { printf '#!/bin/sh\necho "$(basename "$0") $*" >>"%s/ran"\n' "$work" && cat; } >"$1"
    chmod +x "$1"
}
# check [NAME=VALUE...]: the script, with these settings; its status in $status.
check() {
    : >"$work/ran"
    rm -rf "$work/out"
    began=$(date +%s)
    env PATH="$bin:$PATH" BUILD="$kit" PYTHON="$bin/nothing" "$@" bench/check_gpu.sh "$work/out" >"$work/said" 2>&1
    status=$?
    took=$(($(date +%s) - began))
}
said() { grep -qE "$1" "$work/said"; }
has() { grep -qE "$2" "$work/out/$1"; }
is() { [ "$1" = "$2" ] || { echo "# '$1', expected '$2'" && false; }; }
at_most() { [ "$1" -le "$2" ] || { echo "# $1, at most $2" && false; }; }
names() { sed 's/ .*//' "$work/out/stages.txt" | tr '\n' ' '; }
json() { "${REAL_PYTHON:-/usr/bin/python3}" -c 'import json, sys; print(len(list(json.load(open(sys.argv[1])).values())[-1]))' "$1"; }

# ---- no card ----------------------------------------------------------------------------------------
program "$bin/nvidia-smi" <<'X'
exit 9
X
if ! ls /dev/nvidia[0-9]* >/dev/null 2>&1; then
    check
    ok "without a card: status 3" is $status 3
    ok "and it says so" said "has no GPU; nothing was checked"
fi

# ---- all is well --------------------------------------------------------------------------------------
program "$bin/nvidia-smi" <<'X'
echo "GPU 0: a stand-in"
X
program "$bin/compute-sanitizer" <<'X'
echo "========= ERROR SUMMARY: 0 errors"
X
check STAGES=smoke
ok "without programs: status 1" is $status 1
: >"$kit/librevoxel_cuda.so"
echo 0123abc >"$kit/kit"
program "$kit/revoxel" <<'X'
case $1 in
synth) mkdir -p "$2/imagesTs" ;;
train) for last; do :; done && mkdir -p "$last" && echo '{"loss": 0.5}' >"$last/metrics.jsonl" ;;
evaluate) while [ "$1" != --out ]; do shift; done && echo '"dice": 1.0' >"$2" ;;
esac
X
for test in cuda/test_aside cuda/test_conv cuda/test_ops kernels/test_streams; do
    program "$kit/tests/$test" <<'X'
echo "ok 1 - one"
echo "ok 2 - two"
X
done
program "$kit/tests/cuda/test_simt" <<'X'
exit 1
X
for bench in bench_gpu bench_step_gpu; do
    program "$kit/$bench" <<'X'
while [ "$1" != --json ]; do shift; done
printf '{"device": "none", "rows": [\n  {"ms": 1}\n]}\n' >"$2"
echo "goal  stand-in at most 2, measured 1: met"
echo "goal  another at most 2, measured 1: met, stretch not"
echo "goal  a third at most 2, measured 3: NOT MET"
echo "goal  a fourth at most 2: not measured"
X
done
all="smoke test_aside test_conv test_ops test_streams exact-1-revnet3d-full exact-2-revnet3d-full exact-3-revunet3d exact-4-unet3d train memcheck racecheck synccheck initcheck kernels step "
check
ok "all is well: status 0" is $status 0
ok "every part, in order" is "$(names)" "$all"
ok "all passed" is "$(grep -c ' passed ' "$work/out/stages.txt")" 16
ok "tests are counted" has stages.txt "test_ops .* 2 ok, 0 not ok"
ok "no trouble is told" [ ! -s "$work/out/troubles.txt" ]
ok "card and commit are kept" has gpu.txt "0123abc"
ok "stages.json is whole" is "$(json "$work/out/stages.json")" 16
ok "the table comes last" is "$(tail -n 2 "$work/said" | sed 's/ .*//' | head -n 1)" step
ok "behind the goals" said '^goals: 4 met, 2 not met, 2 not measured'
ok "of which those that are missed are named" said '^goal  a third at most 2, measured 3: NOT MET'
ok "at most eight files come back" at_most "$(find "$work/out" -type f | wc -l)" 8
ok "programs of the emulation's own are left out" is "$(grep -c test_simt "$work/ran")" 0

# ---- failures -------------------------------------------------------------------------------------------
program "$kit/tests/cuda/test_aside" <<'X'
echo "ok 1 - one"
echo "not ok 2 - two, which is wrong"
exit 1
X
program "$kit/tests/cuda/test_conv" <<'X'
trap '' TERM
echo "ok 1 - before it hangs"
while :; do sleep 1; done
X
program "$kit/tests/cuda/test_ops" <<'X'
kill -SEGV $$
X
program "$kit/bench_gpu" <<'X'
while [ "$1" != --json ]; do shift; done
printf '{"device": "none", "rows": [\n  {"ms": 1}\n]}\n' >"$2"
exit 1
X
check PART_SECONDS=3 STAGES="smoke ops kernels step"
ok "failures: status 1" is $status 1
ok "every part still runs" is "$(names)" "smoke test_aside test_conv test_ops test_streams kernels step "
ok "what failed says why" has troubles.txt "test_aside: not ok 2 - two, which is wrong"
ok "what hangs and does not hear is ended" has stages.txt "test_conv +FAILED: longer than 3 s .* 1 ok"
ok "what crashed is told" has stages.txt "test_ops +FAILED: status 139"
ok "what follows passed" has stages.txt "step +passed"
ok "a benchmark that fails leaves its rows" is "$(json "$work/out/gpu-kernels.json")" 1
ok "stages.json is whole after failures" is "$(json "$work/out/stages.json")" 7
ok "it took no longer than its limits" at_most $took 60

check SECONDS_MAX=4 STAGES="ops kernels step"
ok "no time left: status 1" is $status 1
ok "what had no time says so" has stages.txt "^step +NOT RUN: no time left"
ok "and ends in time" at_most $took 60

# ---- the real command on the emulated device ---------------------------------------------------------------
real=${REVOXEL:-build/revoxel} library=${RVX_TEST_CUDA:-build/librevoxel_cuda_emulated.so}
ln -sf "$(realpath "$library")" "$kit/librevoxel_cuda.so"
ln -sf "$(realpath "$real")" "$kit/revoxel"
check STAGES=smoke
ok "the smoke test itself" is $status 0
ok "passes" has stages.txt "smoke +passed"
echo "1..$count"
exit $failed
