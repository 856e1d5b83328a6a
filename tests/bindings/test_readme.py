#!/usr/bin/env python3
"""The README tells the truth: its C program compiles, links and runs against the shared library, and its
commands are understood."""
import os
import re
import subprocess
import sys
import tempfile

count = failures = 0
BUILD = os.path.dirname(os.path.abspath(os.environ.get("REVOXEL", "build/revoxel")))
REVOXEL = os.path.join(BUILD, "revoxel")


def ok(passed, what, note=""):
    global count, failures
    count += 1
    failures += not passed
    print(f"{'ok' if passed else 'not ok'} {count} - {what}")
    if not passed:
        print("".join(f"# {line}\n" for line in str(note).splitlines()), end="")


def run(*command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                          timeout=300, **more)


with open("README.md") as source:
    readme = source.read()
program = re.search(r"```c\n(.*?)```", readme, re.S).group(1)
root = os.getcwd()
with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "program.c"), "w") as out:
        out.write(program)
    built = run("gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", root, "program.c", "-o", "program",
                os.path.join(BUILD, "librevoxel.so"), cwd=folder)
    ok(built.returncode == 0, "the program compiles and links", built.stdout)
    environment = dict(os.environ, LD_LIBRARY_PATH=BUILD)
    without = run("./program", cwd=folder, env=environment)
    ok(without.returncode == 1 and "run/best.safetensors" in without.stdout, "says what it misses", without.stdout)
    for command in (["synth", "data", "--cases", "2", "--size", "16x16x16"],
                    ["train", "data", "--out", "run", "--widths", "4,8", "--steps", "2", "--fold", "all"]):
        made = run(REVOXEL, *command, "--quiet", cwd=folder)
        ok(made.returncode == 0, command[0], made.stdout)
    finished = run("./program", cwd=folder, env=environment)
    ok(finished.returncode == 0 and finished.stdout.strip() in ("background", "parenchyma", "vessel", "gallbladder",
                                                               "tumour"), "segments a volume", finished.stdout)

    commands = re.findall(r"^\$ revoxel (.*)$", readme, re.M)
    ok(len(commands) >= 8, "commands of every verb are shown", commands)
    for command in commands:
        words = command.split()
        # In an empty folder: what matters is that the command line itself is right.
        understood = subprocess.run([REVOXEL, *words], cwd=tempfile.mkdtemp(dir=folder), stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, timeout=300)
        ok(understood.returncode in (0, 1), f"understood: revoxel {command}", understood.stderr.decode())

for link in re.findall(r"\]\(([^)#]+)\)", readme):
    ok(link.startswith("http") or os.path.exists(link), f"there is {link}")
print(f"1..{count}")
sys.exit(failures != 0)
