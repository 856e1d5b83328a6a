"""Two programs in turn: seconds and peak memory of processes that do nothing else. What the compare_*.py
that run whole programs share; nothing here runs by itself.

A new process counts the memory of the one that starts it as its own until it runs its program: who uses this
stays small, and makes and compares arrays in processes of their own."""
import os
import statistics
import subprocess
import sys
import time


def measure(arguments):
    """Wall seconds, processor seconds, peak MiB; with 2 threads."""
    start = time.monotonic()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env={
        **os.environ, "OMP_NUM_THREADS": "2", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "2", "OMP_WAIT_POLICY": "passive"})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{arguments[0]} failed")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def compare(ours, theirs, rounds):
    """Runs both commands in turn and prints medians and paired ratios."""
    pairs = [(measure(ours), measure(theirs)) for _ in range(rounds)]
    for i, what in enumerate(("wall seconds", "processor seconds", "peak MiB")):
        ratios = [b[i] / a[i] for a, b in pairs]
        print(f"{what}: ours {statistics.median(a[i] for a, _ in pairs):.2f}, "
              f"theirs {statistics.median(b[i] for _, b in pairs):.2f}, "
              f"ratio {statistics.median(ratios):.2f} (least {min(ratios):.2f})", flush=True)
