#!/usr/bin/python3
"""Training from a cache of preprocessed cases: the same parameters, to the bit, as from cases in memory;
a cache that is there is used and shared; one that cannot be written is refused by name."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
from command import must, ok, run

with tempfile.TemporaryDirectory() as folder:
    command.REVOXEL = os.path.abspath(command.REVOXEL)
    os.chdir(folder)
    command.dataset("data", [(40, 36, 20), (33, 38, 24), (36, 34, 22)])
    command.plan("data", "plan.json", "--widths", "4,8", "--patch", "16x16x16", spacing=[1.7, 1.5, 2],
                 training={"steps": 4, "validation_every": 2, "checkpoint_every": 2},
                 fold={"index": 0, "count": 3})

    def train(out, *options):
        must("train", "data", "--plan", "plan.json", "--out", out, "--threads", "2", "--quiet", *options)
        return {name: command.read(os.path.join(out, name))
                for name in ("best.safetensors", "latest.safetensors")}

    plain = train("plain")
    first = train("first", "--cache", "cache")
    ok(plain == first, "parameters and optimiser are those of cases in memory")
    names = sorted(os.listdir("cache"))
    ok(len(names) == 3 and all(name.endswith(".rvxcase") for name in names), "a file for every case", names)
    times = [os.stat(os.path.join("cache", name)).st_mtime_ns for name in names]
    ok(train("second", "--cache", "cache", "--no-validation-output") == plain, "another run shares it")
    ok(times == [os.stat(os.path.join("cache", name)).st_mtime_ns for name in names], "and makes nothing again")
    refused = run("train", "data", "--plan", "plan.json", "--out", "third", "--cache", "plan.json")
    ok(refused.returncode != 0 and "plan.json" in refused.error and not os.path.exists("third/latest.safetensors"),
       "a cache that is no folder is refused", refused.error)
    os.chdir(command.ROOT)
command.done()
