#!/bin/sh
# The command from data to labels on a GPU beside the CPU: the same loss curve up to rounding, which later
# steps make larger, and the same labels from one checkpoint. usage: check_train.sh REVOXEL [SIDE [STEPS]]
set -eu
revoxel=$1 side=${2:-32} steps=${3:-40}
work=$(mktemp -d)
failed=0
trap 'rm -rf "$work"' EXIT
"$revoxel" synth "$work/data" --cases 6 --test-cases 1 --size "${side}x${side}x${side}" --seed 1 --quiet
for device in cpu cuda; do
    "$revoxel" train "$work/data" --model revunet3d --widths 8,16 --patch whole --steps "$steps" \
        --no-validation-output --device $device --quiet --out "$work/$device"
    "$revoxel" predict "$work/cpu" "$work/data/imagesTs" --device $device --quiet --out "$work/labels-$device"
    sed -n 's/.*"loss": *\([-0-9.e+]*\).*/\1/p' "$work/$device/metrics.jsonl" >"$work/$device.losses"
done
paste "$work/cpu.losses" "$work/cuda.losses" | awk -v steps="$steps" '
    function apart() { return $1 > $2 ? $1 - $2 : $2 - $1 }
    { print "# step " NR ": loss " $1 " on the CPU, " $2 " on the GPU" }
    NF != 2 { broken = 1 }
    NR <= 5 && apart() > early { early = apart() }
    apart() > late { late = apart() }
    END {
        good = NR > 0 && !broken && early <= 0.001 && late <= 0.05
        print (good ? "ok" : "not ok") " 1 - " NR " losses: at most " early " apart in the first five, " late " in all"
        exit !good
    }' || failed=1
"$revoxel" evaluate --pred "$work/labels-cuda" --ref "$work/labels-cpu" --out "$work/metrics.json" --quiet
awk '/"dice"/ { gsub(/[^0-9.]/, "", $2); if (least == "" || $2 + 0 < least) least = $2 + 0 }
    END {
        good = least != "" && least >= 0.98
        print (good ? "ok" : "not ok") " 2 - labels agree, Dice at least " least
        exit !good
    }' "$work/metrics.json" || failed=1
echo 1..2
exit $failed
