"""What the tests of the command line share: running it, a scratch folder, TAP lines."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile

REVOXEL = os.path.abspath(os.environ.get("REVOXEL", "build/revoxel"))
folder = tempfile.mkdtemp(prefix="rvx_cli_")
_count = _failures = 0


def ok(passed, what, note=""):
    global _count, _failures
    _count += 1
    _failures += not passed
    print(f"{'ok' if passed else 'not ok'} {_count} - {what}")
    if not passed and note:
        print("".join(f"# {line}\n" for line in str(note).splitlines()), end="")
    sys.stdout.flush()
    return passed


def done():
    shutil.rmtree(folder, ignore_errors=True)
    print(f"1..{_count}")
    sys.exit(_failures != 0)


def path(*names):
    return os.path.join(folder, *names)


def revoxel(*arguments, **more):
    """Runs it to its end; .returncode, .stdout, .stderr (text)."""
    return subprocess.run([REVOXEL, *map(str, arguments)], stdout=more.pop("stdout", subprocess.PIPE),
                          stderr=subprocess.PIPE, universal_newlines=True, cwd=folder, timeout=600, **more)


def start(*arguments):
    return subprocess.Popen([REVOXEL, *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, universal_newlines=True, cwd=folder)


def refused(what, status, message, *arguments, **more):
    """It ends with `status`, and with a message that holds every one of the words after whatever progress
    it reported."""
    run = revoxel(*arguments, **more)
    lines = run.stderr.splitlines()
    words = [message] if isinstance(message, str) else message
    fine = (run.returncode == status and any(line.startswith("revoxel: ") for line in lines)
            and all(word in run.stderr for word in words))
    return ok(fine, what, f"{' '.join(map(str, arguments))}: {run.returncode}: {run.stderr}")


def tree(top):
    """Every file below, with its bytes."""
    found = {}
    for where, _, names in os.walk(top):
        for name in names:
            full = os.path.join(where, name)
            with open(full, "rb") as file:
                found[os.path.relpath(full, top)] = file.read()
    return found


INTERRUPT, KILL = signal.SIGINT, signal.SIGKILL
