#!/usr/bin/python3
"""Cross-validation in small: every fold in turn, stopped and gone on with; ensembles; evaluation over the folds; the
rules of post-processing that predict applies."""
import csv
import json
import os
import shutil
import sys

import nibabel
import numpy

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scratch import command, done, ok, path, refused, revoxel, tree


def works(what, *arguments):
    run = revoxel(*arguments)
    ok(run.returncode == 0, what, f"{' '.join(map(str, arguments))}: {run.returncode}: {run.stderr}")
    return run


def content(*names):
    with open(path(*names), "rb") as file:
        return file.read()


def voxels(*names):
    return numpy.asarray(nibabel.load(path(*names)).dataobj)


works("synth", "synth", "data", "--cases", 4, "--test-cases", 1, "--size", "20x24x16", "--seed", 3, "--quiet")
command.plan(path("data"), path("plan.json"), "--patch", "16x16x16", "--widths", "6,12", "--steps", 6, fold={"count": 2})
TRAIN = ["train", "data", "--plan", "plan.json", "--quiet", "--threads", 1]

# ---- Every fold in turn ---------------------------------------------------------------------------
works("cross-validation", *TRAIN, "--fold", "all", "--out", "cv")
ok(json.loads(content("cv/cross_validation.json")) == {"format_version": 1, "folds": 2, "finished": 2}, "both are done")
works("a fold alone", *TRAIN, "--out", "alone")
ok(content("cv/fold_1/latest.safetensors") == content("alone/latest.safetensors"), "the same bits as a fold alone")
plans = [json.loads(content(f"cv/fold_{k}/plan.json"))["fold"]["index"] for k in (1, 2)]
ok(plans == [0, 1], "each validates on its own fold", plans)
pooled = json.loads(content("cv/validation.json"))
ok(sorted(c["case"] for c in pooled["cases"]) == [f"phantom_{i:03d}" for i in range(4)]
   and [c["fold"] for c in pooled["cases"]] == [1, 1, 2, 2], "every case is judged once")
ok(b"Folds" in content("cv/report.html") and b"Post-processing" in content("cv/report.html"), "the report has both")
rules = json.loads(content("cv/postprocessing.json"))
ok(rules["chosen_by"]["validation_cases"] == 4, "the rules are chosen on all cases", rules)
for gain in rules["chosen_by"]["classes"]:
    told = next(c for c in pooled["classes"] if c["name"] == gain["class"])["mean"]["dice"]
    before = gain["dice_as_predicted"]
    ok(told == before or abs(told - before) < 1e-12, f"{gain['class']}: Dice as evaluated")
    ok(before is None or gain["dice_chosen"] >= before, f"{gain['class']}: no rule that costs Dice", gain)

# ---- Stopped and gone on with ---------------------------------------------------------------------
shutil.copytree(path("cv"), path("half"))
shutil.rmtree(path("half/fold_2"))
for name in ("validation.json", "postprocessing.json", "report.html"):
    os.remove(path("half", name))
with open(path("half/cross_validation.json"), "w") as out:
    json.dump({"format_version": 1, "folds": 2, "finished": 1}, out)
IMAGE = "data/imagesTs/phantom_004_0000.nii.gz"
refused("half a cross-validation does not vote", 1, ["half", "1 of 2 folds"], "predict", "half", IMAGE, "--out", "no")
refused("it is only touched to be resumed", 1, ["half", "--resume"], *TRAIN, "--fold", "all", "--out", "half")
before = os.stat(path("half/fold_1/latest.safetensors")).st_mtime_ns
works("it goes on", *TRAIN, "--fold", "all", "--out", "half", "--resume")
ok(content("half/fold_2/latest.safetensors") == content("cv/fold_2/latest.safetensors"), "to the same bits")
ok(os.stat(path("half/fold_1/latest.safetensors")).st_mtime_ns == before, "and leaves the finished fold alone")
works("folds that are not judged", *TRAIN, "--fold", "all", "--out", "later", "--no-validation-output")
ok(not os.path.exists(path("later/validation.json")) and not os.path.exists(path("later/fold_1/validation")),
   "leave no judgement")
works("judged later", *TRAIN, "--fold", "all", "--out", "later", "--resume")
for name in ("postprocessing.json", "fold_2/postprocessing.json"):
    ok(content("later", name) == content("cv", name), f"{name}: as judged at once")
late = json.loads(content("later/validation.json"))
ok([c["classes"] for c in late["cases"]] == [c["classes"] for c in pooled["cases"]], "with the same figures")
refused("a plan is for one fold", 2, "--fold all", "plan", "data", "--fold", "all", "--out", "p.json")
listed = json.loads(content("plan.json"))
listed["fold"].update(train=["phantom_000"], validation=["phantom_001"])
with open(path("listed.json"), "w") as out:
    json.dump(listed, out)
refused("a listed split has no folds", 1, "fold.train", "train", "data", "--plan", "listed.json", "--fold", "all",
        "--out", "no")
ok(not os.path.exists(path("no")), "which leaves nothing")

# ---- Ensembles --------------------------------------------------------------------------------------
RAW = ["--no-postprocessing", "--quiet", "--probabilities"]
for name in ("fold_1", "fold_2"):
    works(name, "predict", f"cv/{name}", IMAGE, "--out", name, *RAW)
works("the folds vote", "predict", "cv", IMAGE, "--out", "voted", *RAW)
works("named one by one", "predict", "cv/fold_1", IMAGE, "--with", "cv/fold_2", "--out", "named", *RAW)
ok(tree(path("voted")) == tree(path("named")), "are the same")
maps = sorted(name for name in os.listdir(path("voted")) if "_prob_" in name)
ok(len(maps) == 4, "with probabilities", maps)
for name in maps:
    one, two, both = (voxels(d, name).astype(float) for d in ("fold_1", "fold_2", "voted"))
    ok(numpy.abs((one + two) / 2 - both).max() <= 1, f"{name}: the mean of the softmax")
probabilities = numpy.stack([voxels("voted", f"phantom_004_prob_{k}.nii.gz") for k in
                             ("parenchyma", "vessel", "gallbladder", "tumour")]).astype(int)
background = 255 - probabilities.sum(0)
sure = numpy.sort(numpy.concatenate([background[None], probabilities]), 0)
sure = sure[-1] - sure[-2] > 4
expected = numpy.concatenate([background[None], probabilities]).argmax(0)
ok(sure.any() and (voxels("voted", "phantom_004.nii.gz")[sure] == expected[sure]).all(), "labels are its largest")
works("an ensemble of one network twice", "predict", "cv/fold_1", IMAGE, "--with", "cv/fold_1", "--out", "twice", *RAW)
ok(tree(path("twice")) == tree(path("fold_1")), "is that network")
works("another task", "synth", "other", "--cases", 5, "--size", "16x16x16", "--seed", 1, "--quiet")
with open(path("other/dataset.json")) as text:
    other = json.load(text)
other["labels"] = {{"vessel": "vein"}.get(name, name): value for name, value in other["labels"].items()}
with open(path("other/dataset.json"), "w") as out:
    json.dump(other, out)
works("trained", "train", "other", "--patch", "16x16x16", "--widths", "6,12", "--steps", 1, "--quiet", "--out", "vein",
      "--no-validation-output")
refused("networks of other labels do not vote", 1, ["vein", "vessel"], "predict", "cv/fold_1", IMAGE, "--with", "vein",
        "--out", "no")
refused("a list with a hole", 2, "--with", "predict", "cv/fold_1", IMAGE, "--with", "a,,b", "--out", "no")

# ---- Rules ------------------------------------------------------------------------------------------
label = int(numpy.bincount(voxels("fold_1", "phantom_004.nii.gz").ravel(), minlength=5)[1:].argmax()) + 1
name = ["parenchyma", "vessel", "gallbladder", "tumour"][label - 1]
with open(path("rules.json"), "w") as out:
    json.dump({"format_version": 1, "keep_largest": {"classes": [name]}}, out)
works("rules", "predict", "cv/fold_1", IMAGE, "--out", "ruled", "--postprocessing", "rules.json", "--quiet")
raw, ruled = voxels("fold_1", "phantom_004.nii.gz"), voxels("ruled", "phantom_004.nii.gz")
from scipy import ndimage  # noqa: E402
parts, count = ndimage.label(raw == label, numpy.ones((3, 3, 3)))
wanted = raw.copy()
if count:
    wanted[(raw == label) & (parts != numpy.bincount(parts.ravel())[1:].argmax() + 1)] = 0
ok(numpy.array_equal(ruled, wanted), f"the largest of {count} parts of {name} is kept", (wanted != raw).sum())
shutil.copy(path("rules.json"), path("cv/fold_1/postprocessing.json"))
works("rules beside the model", "predict", "cv/fold_1", IMAGE, "--out", "beside", "--quiet")
ok(tree(path("beside")) == tree(path("ruled")), "are applied")
works("small objects", "predict", "cv/fold_2", IMAGE, "--out", "small", "--no-postprocessing", "--smallest-object",
      "1e9", "--quiet")
ok(not voxels("small", "phantom_004.nii.gz").any(), "all are smaller than a litre")
refused("rules that are not there", 1, "gone.json", "predict", "cv", IMAGE, "--out", "no", "--postprocessing", "gone.json")
refused("both at once", 1, "exclude", "predict", "cv", IMAGE, "--out", "no", "--postprocessing", "rules.json",
        "--no-postprocessing")

# ---- Evaluation over the folds ------------------------------------------------------------------------
JUDGE = ["evaluate", "--pred", "cv", "--ref", "data/labelsTr", "--quiet"]
run = works("evaluate", *JUDGE, "--out", "m.json", "--csv", "m.csv", "--html", "m.html", "--resamples", 500)
made = json.loads(content("m.json"))
ok("Fold" in run.stdout and "+-" in run.stdout, "the table has folds and spread", run.stdout)
ok(made["cases"] == pooled["cases"], "the figures are those of training")
ok(b"<svg" not in content("m.html") and b"Spread" in content("m.html"), "a page")
rows = list(csv.DictReader(content("m.csv").decode().splitlines()))
ok(len(rows) == 16 and {row["fold"] for row in rows} == {"1", "2"}, "a row a case and class")
for k, entry in enumerate(made["classes"]):
    values = [c["classes"][k]["dice"] for c in made["cases"]]
    told = [float(row["dice"]) for row in rows if row["class"] == entry["name"] and row["dice"]]
    ok(told == [v for v in values if v is not None], f"{entry['name']}: CSV as JSON")
    values = numpy.array([v for v in values if v is not None])
    if len(values) > 1:
        ok(abs(entry["sd"]["dice"] - values.std(ddof=1)) < 1e-12, f"{entry['name']}: standard deviation")
        low, high = entry["interval"]["dice"]
        ok(values.min() <= low <= entry["mean"]["dice"] <= high <= values.max(), f"{entry['name']}: interval",
           (low, high))
works("again", *JUDGE, "--out", "again.json", "--resamples", 500, "--threads", 1)
ok(content("again.json") == content("m.json"), "the same seed gives the same intervals")
works("another seed", *JUDGE, "--out", "seed.json", "--resamples", 500, "--seed", 7)
ok(json.loads(content("seed.json"))["interval"] != made["interval"], "another gives others")
os.remove(path("cv/fold_2/validation", os.listdir(path("cv/fold_2/validation"))[0]))
refused("a case that no fold has segmented", 1, ["0 folds", "phantom_"], *JUDGE)
done()
