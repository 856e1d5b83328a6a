#!/usr/bin/env python3
"""Command lines: help, versions, and every way to get an option wrong. Status 2 and a message that
names what is wrong; nothing on standard output."""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scratch import done, folder, ok, refused, revoxel

VERBS = ["synth", "inspect", "models", "plan", "check", "train", "predict", "evaluate", "report", "bench"]

run = revoxel("--version")
ok(run.returncode == 0 and run.stdout.startswith("revoxel 0."), "--version", run.stdout)
run = revoxel("--help")
ok(run.returncode == 0 and all(f"  {verb} " in run.stdout for verb in VERBS) and not run.stderr,
   "--help names every verb", run.stdout)
for verb in VERBS:
    for flag in ("--help", "-h"):
        run = revoxel(verb, flag)
        ok(run.returncode == 0 and f"usage: revoxel {verb}" in run.stdout and
           f"example: revoxel {verb}" in run.stdout and not run.stderr, f"{verb} {flag}", run.stderr)
        ok(max(map(len, run.stdout.splitlines())) <= 100, f"{verb} {flag} fits a screen", run.stdout)

# What stands in the help can be typed: its example has no unknown option.
for verb in VERBS:
    example = revoxel(verb, "--help").stdout.split("example: revoxel ")[1].split()
    run = revoxel(*example)
    ok(run.returncode in (0, 1), f"the example of {verb} is understood", run.stderr)
if os.path.isdir(os.path.join(folder, "Dataset900_Liver")):
    ok(len(os.listdir(os.path.join(folder, "Dataset900_Liver", "imagesTr"))) == 10, "synth's example works")

TABLE = [  # words of the message, then the command line
    ("usage", []),
    (("no verb 'trian'", "'train'"), ["trian"]),
    ("no verb 'segmentation'", ["segmentation"]),
    ("'--cases' before a verb", ["--cases", "3"]),
    (("no option '--case'", "'--cases'"), ["synth", "x", "--case", "3"]),
    (("no option '--reusme'", "'--resume'"), ["train", "x", "--out", "y", "--reusme"]),
    ("no option '--verbose'", ["models", "--verbose"]),
    ("no option '-j'", ["models", "-j"]),
    ("--cases needs a value", ["synth", "x", "--cases"]),
    ("--cases needs a value", ["synth", "x", "--cases", "--seed", "1"]),
    ("--cases is given twice", ["synth", "x", "--cases", "1", "--cases=2"]),
    (("--cases", "found '0'"), ["synth", "x", "--cases", "0"]),
    (("--cases", "found '-3'"), ["synth", "x", "--cases", "-3"]),
    (("--cases", "found '3.5'"), ["synth", "x", "--cases", "3.5"]),
    (("--cases", "found '3x'"), ["synth", "x", "--cases", "3x"]),
    (("--cases", "found ' 3'"), ["synth", "x", "--cases", " 3"]),
    (("--cases", "found '99999999999999999999'"), ["synth", "x", "--cases", "99999999999999999999"]),
    (("--cases", "found ''"), ["synth", "x", "--cases="]),
    (("--size", "found '64'"), ["synth", "x", "--size", "64"]),
    (("--size", "found '64x64'"), ["synth", "x", "--size", "64x64"]),
    (("--size", "found '64x64x64x64'"), ["synth", "x", "--size", "64x64x64x64"]),
    (("--size", "found '64x64x'"), ["synth", "x", "--size", "64x64x"]),
    (("--size", "found '64x0x64'"), ["synth", "x", "--size", "64x0x64"]),
    (("--size", "found 'whole'"), ["synth", "x", "--size", "whole"]),
    (("--patch", "'whole'", "found 'all'"), ["plan", "x", "--patch", "all"]),
    (("--fold", "'none|all'", "found '0'"), ["plan", "x", "--fold", "0"]),
    (("--widths", "found '16,,32'"), ["plan", "x", "--widths", "16,,32"]),
    (("--widths", "found '0,16'"), ["plan", "x", "--widths", "0,16"]),
    (("--widths", "found '1,2,"), ["plan", "x", "--widths", ",".join("123456789" * 2)]),
    (("--budget", "found '12Gib'"), ["plan", "x", "--budget", "12Gib"]),
    (("--budget", "found '-1GB'"), ["plan", "x", "--budget", "-1GB"]),
    (("--budget", "found 'infGiB'"), ["plan", "x", "--budget", "infGiB"]),
    (("--budget", "found '0x10'"), ["plan", "x", "--budget", "0x10"]),
    (("--budget", "found '99999999TiB'"), ["plan", "x", "--budget", "99999999TiB"]),
    (("--minutes", "found 'nan'"), ["plan", "x", "--minutes", "nan"]),
    (("--minutes", "found '0'"), ["plan", "x", "--minutes", "0"]),
    (("--step", "found '1.5'"), ["predict", "r", "i", "--out", "o", "--step", "1.5"]),
    (("--tolerance", "found '1mm'"), ["evaluate", "--pred", "a", "--ref", "b", "--tolerance", "1mm"]),
    ("--json takes no value", ["models", "--json=1"]),
    ("usage: revoxel inspect", ["inspect"]),
    ("know what to do with 'b'", ["inspect", "a", "b"]),
    ("know what to do with '--json'", ["models", "unet3d", "--", "--json"]),
    ("plan needs a DATASET", ["plan"]),
    ("needs --size", ["plan", "--model", "unet3d"]),
    ("--size goes without a DATASET", ["plan", "x", "--size", "64x64x64"]),
    ("--steps goes with a DATASET", ["plan", "--model", "unet3d", "--size", "64x64x64", "--steps", 3]),
    (("--grid", "found '16'"), ["plan", "x", "--grid", "16"]),
    ("usage: revoxel check", ["check"]),
    ("usage: revoxel predict", ["predict", "run", "--out", "x"]),
    ("predict needs --out", ["predict", "run", "image"]),
    ("train needs --out", ["train", "data"]),
    ("evaluate needs --ref", ["evaluate", "--pred", "a"]),
]
for message, arguments in TABLE:
    refused(f"refused: {' '.join(map(str, arguments))[:60]}", 2, message, *arguments)
    ok(not revoxel(*arguments).stdout, "nothing on standard output")

networks = {m["name"]: m for m in json.loads(revoxel("models", "--json").stdout)}
ok(round(networks["unet3d"]["parameters"] / 1e5) == 312, "unet3d has 31.2 M parameters", networks)
one = json.loads(revoxel("models", "revunet3d", "--in=4", "--classes", "3", "--size", "32x48x64", "--json").stdout)
ok(len(one) == 1 and one[0]["parameters"] == 12365283, "revunet3d has 12,365,283", one)
ok(one[0]["output_shape"] == [1, 3, 64, 48, 32], "output shape is n, classes, z, y, x", one)
slim = json.loads(revoxel("models", "unet3d", "--widths", "8,16", "--json").stdout)[0]
ok(0 < slim["flops_per_voxel"] < networks["unet3d"]["flops_per_voxel"] / 10, "fewer channels, less work")
flat = json.loads(revoxel("models", "irevnet", "--in", "1", "--widths", "2,8", "--classes", "4", "--size", "16x16x1",
                          "--json").stdout)[0]
ok(flat["widths"] == [2, 8] and flat["output_shape"] == [1, 4, 1, 1, 1], "widths of a network of slices")
refused("a network that is not there", 1, ("unet2d", "unet3d, revunet3d"), "models", "unet2d")
refused("a size that does not divide", 1, "multiple of 32 along y", "models", "unet3d", "--size", "64x50x64")

if os.path.exists("/dev/full"):
    with open("/dev/full", "w") as full:
        run = revoxel("models", stdout=full)
    ok(run.returncode == 1 and "standard output" in run.stderr, "a full standard output is a failure", run.stderr)
done()
