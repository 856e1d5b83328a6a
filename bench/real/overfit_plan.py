#!/usr/bin/python3
"""overfit_plan.py PLAN OUT: a plan for learning a few volumes by heart: no augmentation, two patches of
three around a labelled voxel, and a momentum that keeps pace with a few hundred steps."""
import json
import sys

if len(sys.argv) != 3:
    sys.exit("usage: overfit_plan.py PLAN OUT")
with open(sys.argv[1]) as file:
    plan = json.load(file)
plan["augmentation"]["mirror_axes"] = []
for transform in plan["augmentation"].values():
    if isinstance(transform, dict):
        transform["probability"] = 0
plan["patch"]["foreground_fraction"] = 0.67
plan["optimizer"].update(learning_rate=0.05, momentum=0.9)
with open(sys.argv[2], "w") as file:
    json.dump(plan, file, indent=2)
