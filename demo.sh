#!/bin/sh
# The main job on built-in data, start to end: makes a small labelled 3D ultrasound dataset, trains on it,
# segments cases that training has not seen, judges them and writes a report.
# usage: demo.sh REVOXEL OUTPUT_DIR; `make demo` calls it. What an earlier demo left is made anew.
set -eu

revoxel=$1 out=$2
case $revoxel in /*) ;; *) revoxel=$PWD/$revoxel ;; esac
case $out in /*) ;; *) out=$PWD/$out ;; esac
data=$out/Dataset900_Liver

step() {
    printf '\n== %s\n' "$1"
    shift
    printf '   revoxel'
    for word in "$@"; do printf ' %s' "${word#"$out"/}"; done
    printf '\n'
    "$revoxel" "$@"
}

if [ -e "$out" ] && [ ! -e "$out/.revoxel-demo" ]; then
    echo "demo.sh: $out is there and was not made by a demo: it is left alone" >&2
    exit 1
fi
rm -rf "$out"
mkdir -p "$out"
: >"$out/.revoxel-demo"
started=$(date +%s)

step "A simulated 3D ultrasound dataset: 10 cases to train on, 2 held out" \
    synth "$data" --cases 10 --test-cases 2 --size 48x48x48 --seed 1
step "What is in it" inspect "$data"
step "Training" train "$data" --model revunet3d --widths 16,32,64,96 --steps 640 --out "$out/run"
step "Segmenting the held-out cases" predict "$out/run" "$data/imagesTs" --out "$out/segmented"
step "Judging them" evaluate --pred "$out/segmented" --ref "$data/labelsTs" --out "$out/metrics.json"
step "The report: curves, figures and pictures, worst cases first" report "$out/run" --out "$out/report.html"

printf '\nDone in %d s. Open %s\n' $(($(date +%s) - started)) "$out/report.html"
