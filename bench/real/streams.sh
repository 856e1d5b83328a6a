#!/bin/sh
# Do streams of 16-bit integers reach the Dice of f32 streams? Trains the partially reversible U-Net
# on a data set with both, three seeds each, and prints the validation Dice of every run.
#
# usage: bench/real/streams.sh REVOXEL DATASET OUT [options of `revoxel plan` ...]
set -eu
revoxel=$1 data=$2 out=$3
shift 3
mkdir -p "$out"
for seed in 0 1 2; do
    "$revoxel" plan "$data" --model revunet3d --seed "$seed" --out "$out/plan.json" "$@" >/dev/null
    for streams in i16 f32; do
        run=$out/$streams-$seed
        python3 - "$out/plan.json" "$run.json" "$streams" <<'EOF'
import json, sys
plan = json.load(open(sys.argv[1]))
plan["memory"]["streams"] = sys.argv[3]
json.dump(plan, open(sys.argv[2], "w"), indent=2)
EOF
        "$revoxel" train "$data" --plan "$run.json" --out "$run" >"$run.log" 2>&1
        python3 - "$run" "$streams" "$seed" <<'EOF'
import json, sys
dice, overflow = [], 0
for line in open(sys.argv[1] + "/metrics.jsonl"):
    line = json.loads(line)
    overflow += line.get("overflow", 0)
    if "validation" in line:
        dice.append(line["validation"]["mean_dice"])
print(f"{sys.argv[2]} seed {sys.argv[3]}: best {max(dice):.4f}, last {dice[-1]:.4f}, "
      f"overflow {overflow:.0f}", flush=True)
EOF
    done
done
