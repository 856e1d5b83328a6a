#!/usr/bin/env python3
"""revoxel bench: the memory curve has the shape that the policies promise, its figures are those of its files;
the context bench trains on equal voxels and writes what it prints; wrong words are refused."""
import csv
import os
import sys
import xml.dom.minidom

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scratch import done, ok, path, refused, revoxel, tree


def works(what, *arguments):
    run = revoxel(*arguments)
    ok(run.returncode == 0, what, f"{' '.join(map(str, arguments))}: {run.returncode}: {run.stderr}")
    return run


def table(*names):
    with open(path(*names), newline="") as file:
        return list(csv.DictReader(file))


# ---- bench memory -------------------------------------------------------------------------------
text = works("bench memory", "bench", "memory", "--size", "64x64x64", "--depths", "1,2,4,8", "--out", "memory",
             "--quiet").stdout
rows = table("memory", "memory.csv")
ok(len(rows) == 12 and {row["network"] for row in rows} == {"revnet3d-full"}, "three policies at four depths", rows)
ok(all(int(r["peak_bytes"]) == int(r["parameters_bytes"]) + int(r["without_parameters_bytes"]) for r in rows),
   "the peak is parameters and the rest")


def curve(policy, rows):
    return {int(r["depth"]): int(r["without_parameters_bytes"]) for r in rows if r["policy"] == policy}


store, reversible = curve("store", rows), curve("reversible", rows)
ok(max(reversible.values()) <= 1.01 * min(reversible.values()), "reversible grows by less than 1 %", reversible)
ok(abs((store[8] - store[4]) / (2 * (store[4] - store[2])) - 1) < 0.05, "store grows linearly", store)
ok(store[8] > 2 * store[1] and store[8] > 3 * reversible[8], "and a lot", (store, reversible))
ok(all(float(row["predicted_time_ratio"]) == 1 for row in rows if row["policy"] == "store"), "store is the unit of time")
first = text.splitlines()[3].split()
ok(first[0] == "1" and float(first[1]) == round(store[1] / 2**20, 1), "the table on screen has the same figures", text)
picture = xml.dom.minidom.parse(path("memory", "memory.svg"))
ok(len(picture.getElementsByTagName("path")) == 6, "the plot has a line with and without parameters a policy")
again = revoxel("bench", "memory", "--size", "64x64x64", "--depths", "1,2,4,8", "--quiet").stdout
ok(again == text and len(tree(path("memory"))) == 2, "without --out the table alone, and the same one")
works("another network", "bench", "memory", "--model", "revunet3d", "--size", "32x48x64", "--depths", "1,2")
refused("a network that is not there", 1, "revnet3d-full", "bench", "memory", "--model", "resnet")
refused("depths that do not ascend", 1, "depths", "bench", "memory", "--depths", "4,2")
refused("a size that does not divide", 1, "multiple of 8 along x", "bench", "memory", "--size", "30x32x32")
refused("a depth of none", 2, "--depths", "bench", "memory", "--depths", "0")

# ---- bench context ------------------------------------------------------------------------------
text = works("bench context", "bench", "context", "--out", "context", "--sizes", "16,whole", "--voxels", 60000,
             "--cases", 5, "--volume", "24x24x16", "--widths", "8,16", "--seeds", 2, "--quiet").stdout
rows = table("context", "context.csv")
ok([(r["size"], r["seed"]) for r in rows] == [("16", "0"), ("whole", "0"), ("16", "1"), ("whole", "1")],
   "a row a size and seed", rows)
for row in rows:
    patch = int(row["x"]) * int(row["y"]) * int(row["z"])
    ok(abs(int(row["voxels_seen"]) - 60000) <= patch / 2 and int(row["steps"]) * patch == int(row["voxels_seen"]),
       f"{row['size']} saw as many voxels as asked, to half a patch", row)
    ok(float(row["seconds"]) > 0 and int(row["memory_bytes"]) > 1 << 20 and 0 <= float(row["dice"]) <= 1,
       "its figures are possible", row)
ok(rows[1]["x"] == "24" and rows[1]["z"] == "16", "whole is the whole volume", rows[1])
lines = [line.split() for line in text.splitlines()]
mean = (float(rows[0]["dice"]) + float(rows[2]["dice"])) / 2
ok(lines[2][0] == "16" and lines[3][0] == "whole" and abs(float(lines[2][-1]) - mean) < 1e-3,
   "the table has the mean over the seeds", text)
for name in ("context-time.svg", "context-memory.svg"):
    ok(xml.dom.minidom.parse(path("context", name)).documentElement.tagName == "svg", f"{name} is a picture")
before = tree(path("context"))
refused("a second bench into the same folder", 1, "context", "bench", "context", "--out", "context", "--quiet")
ok(tree(path("context")) == before, "leaves it as it is")

# ---- Words --------------------------------------------------------------------------------------
refused("bench alone", 2, "usage: revoxel bench", "bench")
refused("bench of something else", 2, ("'memory'", "'speed'"), "bench", "speed")
refused("context without a folder", 2, "bench context needs --out", "bench", "context")
for sizes in ("32,,48", "whole,", "0", "32x32", "-32", "full"):
    refused(f"sizes {sizes}", 2, ("--sizes", f"'{sizes}'"), "bench", "context", "--out", "x", f"--sizes={sizes}")
refused("the same size twice", 1, "sizes[1]", "bench", "context", "--out", "x", "--sizes", "32,32")
refused("a phantom beside a dataset", 2, "--cases", "bench", "context", "data", "--out", "x", "--cases", 3)
for part in ("memory", "context"):
    run = revoxel("bench", part, "--help")
    ok(run.returncode == 0 and f"usage: revoxel bench {part}" in run.stdout and "--out DIR" in run.stdout,
       f"bench {part} --help", run.stdout)
    ok(max(map(len, run.stdout.splitlines())) <= 100, "fits a screen", run.stdout)
done()
