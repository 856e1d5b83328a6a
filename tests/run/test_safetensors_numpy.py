#!/usr/bin/python3
"""Safetensors by the format's own description, with numpy: what we write is read here, what is
written here is read by us. The peer is this file: it shares no code with the engine."""
import json, os, struct, subprocess, sys, tempfile

try:
    import numpy as np
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.path.join(ROOT, os.environ.get("BUILD", "build"), "tests/run/test_safetensors")
TYPES = {"F32": np.float32, "U8": np.uint8, "BF16": np.uint16, "I64": np.int64, "F64": np.float64,
         "I32": np.int32, "F16": np.float16, "BOOL": np.bool_, "I16": np.int16}
count = failures = 0


def ok(passed, name):
    global count, failures
    count += 1
    failures += not passed
    print(f"{'' if passed else 'not '}ok {count} - {name}", flush=True)


def read(path):
    blob = open(path, "rb").read()
    length = struct.unpack("<Q", blob[:8])[0]
    header = json.loads(blob[8:8 + length])
    data, tensors, spans = blob[8 + length:], {}, []
    metadata = header.pop("__metadata__", {})
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        array = np.frombuffer(data[first:last], TYPES[entry["dtype"]])
        tensors[name] = array.reshape(entry["shape"])
        spans.append((first, last))
    spans.sort()
    tiled = all(a[1] == b[0] for a, b in zip(spans, spans[1:])) and spans[-1][1] == len(data)
    return tensors, metadata, tiled, 8 + length


def write(path, tensors, metadata=None, pad=0):
    header, offset, data = {}, 0, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (kind, array) in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape),
                        "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
        data += raw
    text = json.dumps(header).encode() + b" " * pad
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + data)


def weighted_sum(array):
    raw = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8).astype(np.int64)
    return int((raw * (np.arange(raw.size) % 251 + 1)).sum())


def run(*arguments):
    return subprocess.run([TOOL, *arguments], capture_output=True, text=True)


with tempfile.TemporaryDirectory() as folder:
    ours = os.path.join(folder, "ours.safetensors")
    ok(run("write", ours).returncode == 0, "ours writes")
    tensors, metadata, tiled, data_first = read(ours)
    ok(tiled and data_first % 8 == 0, "tensors tile the data, which is aligned")
    ok(sorted(tensors) == ["best", "empty", "enc1/weight", "half", "mask", "step"], "names")
    weight = tensors["enc1/weight"]
    ok(weight.dtype == np.float32 and weight.shape == (2, 3, 5) and weight.flat[0] == 1.5,
       "float tensor")
    ok(tensors["step"].shape == () and int(tensors["step"]) == 2**63 - 6, "integer scalar")
    ok(float(tensors["best"]) == 0.1 and tensors["empty"].shape == (0, 7), "double, empty tensor")
    ok(metadata["revoxel.plan"] == '{"a": "q\\"uote\n"}', "metadata text survives its escapes")

    theirs = os.path.join(folder, "theirs.safetensors")
    rng = np.random.default_rng(1)
    sample = {"a.weight": ("F32", rng.standard_normal((3, 1, 5, 2)).astype(np.float32)),
              "b": ("F16", rng.standard_normal(7).astype(np.float16)),
              "\u00fcml\u00e4ut": ("I32", rng.integers(-9, 9, (2, 2)).astype(np.int32)),
              "flag": ("BOOL", np.array([True, False, True])),
              "scalar": ("F64", np.array(2.5)), "none": ("I64", np.zeros((4, 0), np.int64))}
    for pad in (0, 5):
        write(theirs, sample, {"format": "pt"}, pad)
        result = run("list", theirs)
        expected = sorted(" ".join([name, kind, *map(str, array.shape), "=",
                                    str(weighted_sum(array))])
                          for name, (kind, array) in sample.items())
        ok(result.returncode == 0 and sorted(result.stdout.splitlines()) == expected,
           f"ours reads theirs, header padded by {pad}")
    with open(theirs, "ab") as out:
        out.write(b"x")
    result = run("list", theirs)
    ok(result.returncode == 1 and "the file has" in result.stderr, "a byte too many is refused")
print(f"1..{count}")
sys.exit(failures != 0)
