"""The command line in a scratch folder: on top of tests/command.py, runs that are kept short of their
end and refusals. Nothing here is a test."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
from command import REVOXEL, listing as tree, ok  # noqa: F401 (tests take them from here)

folder = tempfile.mkdtemp(prefix="rvx_cli_")


def path(*names):
    return os.path.join(folder, *names)


def done():
    shutil.rmtree(folder, ignore_errors=True)
    command.done()


def revoxel(*arguments, **more):
    """Runs it to its end, wherever that is; .returncode, .stdout, .stderr."""
    return command.run(*arguments, timeout=600, cwd=folder, **more)


def start(*arguments):
    return subprocess.Popen([REVOXEL, *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, universal_newlines=True, cwd=folder)


def refused(what, status, message, *arguments, **more):
    """It ends with `status` and a message that holds every one of the words."""
    run = revoxel(*arguments, **more)
    lines = run.stderr.splitlines()
    words = [message] if isinstance(message, str) else message
    fine = (run.returncode == status and any(line.startswith("revoxel: ") for line in lines)
            and all(word in run.stderr for word in words))
    return ok(fine, what, f"{' '.join(map(str, arguments))}: {run.returncode}: {run.stderr}")
