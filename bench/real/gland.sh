#!/bin/sh
# Trains on a data set with its default plan but 15 of 20 cases for training (four folds), segments the
# cases held out and judges them; the same plan is what bench/peers/gland.py follows in PyTorch.
# usage: gland.sh REVOXEL DATASET OUT [FOLD [SEED]]
set -eu

revoxel=$1 dataset=$2 out=$3 fold=${4:-0} seed=${5:-0}
mkdir -p "$out/images" "$out/reference"
dataset=$(cd "$dataset" && pwd)

"$revoxel" plan "$dataset" --seed "$seed" --out "$out/plan.json"
sed -i '/"fold": {/,/}/{s/"index": 0/"index": '"$fold"'/;s/"count": 5/"count": 4/;}' "$out/plan.json"
"$revoxel" train "$dataset" --plan "$out/plan.json" --out "$out/run"
for label in "$out"/run/validation/*.nii.gz; do
    name=$(basename "$label" .nii.gz)
    ln -sf "$dataset/imagesTr/${name}_0000.nii.gz" "$out/images/"
    ln -sf "$dataset/labelsTr/$name.nii.gz" "$out/reference/"
done
"$revoxel" predict "$out/run" "$out/images" --out "$out/segmented"
"$revoxel" evaluate --pred "$out/segmented" --ref "$out/reference" --out "$out/metrics.json"
