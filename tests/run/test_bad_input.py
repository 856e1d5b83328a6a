#!/usr/bin/python3
"""Bad input through the command. Every case must end with one message that names the file and the
field, with an exit status of 1 or 2, without a crash, and without a new or changed file in the folder
that it would have written to."""
import copy
import gzip
import json
import os
import re
import shutil
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import command
import numpy
from command import ok, run

HEADER = 352  # bytes before the voxels of a NIfTI-1 file


def refused(name, arguments, pattern, untouched=(), **keywords):
    """The command says no: `pattern` is found in its message; the folders stay as they are."""
    before = [command.listing(folder) for folder in untouched]
    result = run(*arguments, **keywords)
    lines = [line for line in result.error.splitlines() if line.startswith("revoxel:")]
    text = result.error[result.error.rfind("revoxel:"):]
    problems = []
    if result.returncode not in (1, 2):
        problems.append(f"exit status {result.returncode}")
    if len(lines) != 1:
        problems.append(f"{len(lines)} messages")
    if not re.search(pattern, text, re.S):
        problems.append(f"no match for {pattern!r}")
    if "Sanitizer" in result.error or "runtime error" in result.error:
        problems.append("sanitizer")
    if [command.listing(folder) for folder in untouched] != before:
        problems.append("files were written")
    ok(not problems, name, f"{'; '.join(problems)}\n{result.error}")
    if os.environ.get("SHOW"):
        print("#  ", text.strip())


def patched(blob, offset, format, *values):
    out = bytearray(blob)
    struct.pack_into("<" + format, out, offset, *values)
    return bytes(out)


def write(path, data, compress=True):
    with open(path, "wb") as out:
        out.write(gzip.compress(data, 1) if compress else data)


# ---- images ----------------------------------------------------------------------------------------


def bad_images(plain):
    """(name, bytes before gzip, or ready bytes with compress False, pattern of the message)"""
    voxels = (len(plain) - HEADER) // 2
    real = patched(patched(plain, 70, "hh", 16, 32), 108, "f", HEADER)[:HEADER]
    ones = numpy.ones(voxels, numpy.float32)
    spoilt = {}
    for name, value in (("nan", numpy.nan), ("infinity", numpy.inf)):
        ones[:] = 1
        ones[voxels // 2] = value
        spoilt[name] = real + ones.tobytes()
    packed = gzip.compress(plain, 1)
    wide = struct.pack("<i", 540) + b"n+2\0\r\n\032\n" + struct.pack("<hh8q", 2, 8, 3, 1 << 40,
                                                                    1 << 40, 1 << 40, 1, 1, 1, 1)
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 0x55
    return [
        ("empty", b"", False, r"not a volume"),
        ("header cut", plain[:200], True, r"truncated"),
        ("voxels cut", plain[:-100], True, r"truncated|bytes"),
        ("gzip cut", packed[:len(packed) // 2], False, r"truncated"),
        ("gzip bit flipped", bytes(damaged), False, r"compressed data are damaged|truncated|decompresses to"),
        ("not an image", b"P5 12 12 255\n" + bytes(4000), True, r"not a volume"),
        ("wrong magic", patched(plain, 344, "4s", b"abc\0"), True, r"magic"),
        ("header of another file", patched(plain, 344, "4s", b"ni1\0"), True, r"another file"),
        ("wrong header size", patched(plain, 0, "i", 347), True, r"sizeof_hdr"),
        ("no axes", patched(plain, 40, "h", 0), True, r"dim\[0\]"),
        ("negative size", patched(plain, 42, "h", -4), True, r"dim\[1\]"),
        ("size zero", patched(plain, 44, "h", 0), True, r"dim\[2\]"),
        ("4-D", patched(plain, 40, "hhhhh", 4, 24, 20, 8, 2), True, r"4-D"),
        ("larger than its data", patched(plain, 42, "hhh", 32767, 32767, 32767), True,
         r"truncated|bytes"),
        ("sizes overflow", wide + bytes(700), True, r"exceed 64-bit|overflow|voxels"),
        ("complex voxels", patched(plain, 70, "hh", 32, 64), True, r"datatype 32"),
        ("unknown voxels", patched(plain, 70, "hh", 77, 16), True, r"datatype: 77"),
        ("vox_offset NaN", patched(plain, 108, "f", numpy.nan), True, r"vox_offset"),
        ("vox_offset beyond the end", patched(plain, 108, "f", 1e9), True, r"truncated|bytes"),
        ("scl_slope infinite", patched(plain, 112, "f", numpy.inf), True, r"scl_slope"),
        ("singular sform", patched(plain, 280, "4f", 0, 0, 0, 0), True, r"sform"),
        ("sform NaN", patched(plain, 280, "f", numpy.nan), True, r"sform"),
        ("NaN voxel", spoilt["nan"], True, r"[Nn]a[Nn]|finite"),
        ("infinite voxel", spoilt["infinity"], True, r"[Ii]nf|finite"),
    ]


def bomb(path):
    """30000^3 bytes promised and, gzipped, hardly a megabyte of zeros there."""
    header = bytearray(HEADER)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 30000, 30000, 30000, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 0, 0, 0, 0)
    struct.pack_into("<ff", header, 108, HEADER, 1)
    header[344:348] = b"n+1\0"
    block = gzip.compress(bytes(64 << 20), 9)
    with open(path, "wb") as out:
        out.write(gzip.compress(bytes(header)))
        for _ in range(16):
            out.write(block)


def check_images(folder, data, model):
    plain = gzip.decompress(command.read(f"{data}/imagesTr/a_0000.nii.gz"))
    out = f"{folder}/out"
    os.makedirs(out)
    for name, content, compress, pattern in bad_images(plain):
        path = f"{folder}/bad_0000.nii.gz"
        write(path, content, compress)
        refused(f"predict: {name}", ["predict", model, path, "--out", out],
                r"bad_0000\.nii\.gz.*(" + pattern + ")", [out])
        if name not in ("NaN voxel", "infinite voxel"):
            result = run("inspect", path)
            ok(result.returncode == 1 and re.search(pattern, result.error),
               f"inspect: {name}", result.error)
    bomb(path)
    refused("predict: gzip bomb", ["predict", model, path, "--out", out],
            r"bad_0000\.nii\.gz", [out], preexec_fn=limit_memory)
    os.unlink(path)
    refused("predict: no such file", ["predict", model, path, "--out", out],
            r"bad_0000\.nii\.gz: no such file", [out])
    os.makedirs(f"{folder}/nothing")
    refused("predict: empty folder", ["predict", model, f"{folder}/nothing", "--out", out],
            r"nothing: holds no", [out])
    refused("predict: budget of 1 MB",
            ["predict", model, f"{data}/imagesTr/a_0000.nii.gz", "--out", out, "--budget", "100000"],
            r"budget is 0\.1 MiB; .*largest", [out])
    command.save(f"{folder}/large_0000.nii.gz", command.scene((64, 64, 64), 1)[0])
    refused("predict: budget, whole",
            ["predict", model, f"{folder}/large_0000.nii.gz", "--out", out, "--whole", "--budget",
             "8MiB"], r"budget is 8.0 MiB; in tiles instead of whole it needs \d\.\d MiB and would fit",
            [out])


def limit_memory():
    import resource
    if "asan" not in command.REVOXEL:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


# ---- datasets --------------------------------------------------------------------------------------


def spoil(source, target, change):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    change(target)


def dataset_json(**members):
    def change(folder):
        path = f"{folder}/dataset.json"
        with open(path) as text:
            content = json.load(text)
        content.update(members)
        with open(path, "w") as out:
            json.dump({k: v for k, v in content.items() if v is not None}, out)
    return change


def replace(name, shape=None, label=None, affine=None, content=None):
    def change(folder):
        path = f"{folder}/{name}"
        if content is not None:
            return write(path, content, False)
        image, labels = command.scene(shape or (24, 20, 16), 0)
        array = labels if name.startswith("labels") else image
        if label is not None:
            array[3, 4, 5] = label
        command.save(path, array, affine)
    return change


def no_cases(folder):
    for kind in ("imagesTr", "labelsTr"):
        for name in os.listdir(f"{folder}/{kind}"):
            os.unlink(f"{folder}/{kind}/{name}")


def remove(name):
    return lambda folder: os.unlink(f"{folder}/{name}")


def bad_datasets():
    shifted = numpy.diag([1.5, 1.5, 2, 1]).astype(float)
    shifted[0, 3] = 5
    return [
        ("no dataset.json", remove("dataset.json"), r"dataset\.json"),
        ("dataset.json is no JSON", lambda f: write(f"{f}/dataset.json", b'{"labels": ', False),
         r"dataset\.json: line"),
        ("labels left out", dataset_json(labels=None), r"dataset\.json: labels"),
        ("labels with a gap", dataset_json(labels={"background": 0, "one": 1, "two": 3}),
         r"dataset\.json: labels: \"two\""),
        ("channel_names a list", dataset_json(channel_names=["US"]), r"dataset\.json: channel_names"),
        ("numTraining wrong", dataset_json(numTraining=7), r"dataset\.json: numTraining"),
        ("file_ending unknown", dataset_json(file_ending=".xyz"), r"dataset\.json: file_ending"),
        ("a channel more than there is", dataset_json(channel_names={"0": "US", "1": "CT"}),
         r"missing: imagesTr/a_0001\.nii\.gz"),
        ("zero cases", no_cases, r"imagesTr holds no"),
        ("image without labels", remove("labelsTr/b.nii.gz"), r"missing: labelsTr/b\.nii\.gz"),
        ("labels without image", remove("imagesTr/c_0000.nii.gz"),
         r"missing: imagesTr/c_0000\.nii\.gz"),
        ("label outside dataset.json", replace("labelsTr/b.nii.gz", label=9),
         r"case b.*labelsTr/b\.nii\.gz: voxel \(3, 4, 5\) holds label 9"),
        ("labels of another size", replace("labelsTr/b.nii.gz", shape=(24, 20, 15)),
         r"labelsTr/b\.nii\.gz"),
        ("labels at another place", replace("labelsTr/b.nii.gz", affine=shifted),
         r"labelsTr/b\.nii\.gz"),
        ("damaged labels", replace("labelsTr/b.nii.gz", content=b"\x1f\x8b nothing"),
         r"labelsTr/b\.nii\.gz"),
        ("damaged image", replace("imagesTr/c_0000.nii.gz", content=b"not a volume at all"),
         r"imagesTr/c_0000\.nii\.gz"),
    ]


def check_datasets(folder, data, model):
    bad, out = f"{folder}/bad", f"{folder}/runs"
    os.makedirs(out)
    for name, change, pattern in bad_datasets():
        spoil(data, bad, change)
        refused(f"train: {name}", ["train", bad, "--out", f"{out}/run", "--steps", "2"], pattern,
                [out, bad])
        refused(f"plan: {name}", ["plan", bad, "--out", f"{out}/plan.json"], pattern, [out, bad])
    refused("train: no such dataset", ["train", f"{folder}/none", "--out", f"{out}/run"],
            r"none/dataset\.json", [out])


# ---- plans -----------------------------------------------------------------------------------------


def bad_plans():
    """(name, what happens to the plan, the field in the message)"""
    def put(path, value):
        def change(plan):
            *parents, last = path.split(".")
            for parent in parents:
                plan = plan[parent]
            if value is None:
                del plan[last]
            else:
                plan[last] = value
        return change

    def both(first, second):
        return lambda plan: (first(plan), second(plan))
    return [
        ("unknown section", put("optimiser", {"name": "sgd"}), r"optimiser"),
        ("unknown key", put("training.step", 3), r"training\.step\b"),
        ("mistyped number", put("training.steps", "many"), r"training\.steps"),
        ("fraction for an integer", put("training.steps", 2.5), r"training\.steps"),
        ("negative", put("optimizer.learning_rate", -1), r"optimizer\.learning_rate"),
        ("unknown network", put("network.name", "unet4d"), r"unet4d"),
        ("unknown choice", put("optimizer.name", "lion"), r"optimizer\.name"),
        ("required key left out", put("network.widths", None), r"network\.widths"),
        ("widths and strides of different length", put("network.widths", [4, 8, 8, 8, 8]),
         r"network\.(strides|widths|kernels)"),
        ("patch that the strides do not divide", put("patch.size", [17, 16, 16]), r"patch\.size"),
        ("patch of two numbers", put("patch.size", [16, 16]), r"patch\.size"),
        ("channels against the dataset", put("network.in_channels", 2),
         r"in_channels|channel_names|normalisation"),
        ("classes against the labels", put("network.classes", 5), r"labels|classes"),
        ("fold beyond the count", put("fold.index", 99), r"fold\.index"),
        ("fold of an unknown case", put("fold", {"train": ["a"], "validation": ["zebra"]}), r"zebra"),
        ("case trains and validates", put("fold", {"train": ["a", "b"], "validation": ["a"]}),
         r"fold\.validation"),
        ("warm-up longer than the run", put("optimizer.warmup_steps", 1000),
         r"optimizer\.warmup_steps"),
        ("ignore label that the dataset has not", put("loss.ignore_label", 3), r"loss\.ignore_label"),
        ("spacing of zero", put("spacing", [0, 1, 1]), r"spacing"),
        ("labels of other names", put("labels", {"background": 0, "one": 1, "zwei": 2}), r"labels"),
        ("newer version", put("format_version", 2), r"format_version"),
        ("budget too small", both(put("patch.size", [64, 64, 64]),
                                  put("memory.budget_bytes", 16 << 20)),
         r"memory\.budget_bytes is 16\.0 MiB; patch\.(size|batch) .* would fit: 1?\d\.\d MiB; largest"),
        ("budget of nothing", put("memory.budget_bytes", 1000), r"no smaller patch would fit"),
        ("a policy that is none", put("memory.policy", "frugal"), r"memory\.policy"),
        ("a grid too fine", put("memory.grid_log2", 16), r"memory\.grid_log2"),
    ]


def check_plans(folder, data, good):
    out = f"{folder}/planned"
    os.makedirs(out)
    with open(good) as text:
        content = json.load(text)
    for name, change, pattern in bad_plans():
        plan = copy.deepcopy(content)
        change(plan)
        path = f"{folder}/bad_plan.json"
        with open(path, "w") as file:
            json.dump(plan, file)
        refused(f"plan file: {name}", ["train", data, "--plan", path, "--out", f"{out}/run"],
                pattern, [out])
    for name, content, pattern in (
            ("empty", b"", "bad_plan.json"), ("cut", command.read(good)[:300], "bad_plan.json"),
            ("a list", b"[1, 2]", "bad_plan.json"),
            ("deeply nested", b"[" * 100000, "bad_plan.json"),
            ("bytes", bytes(range(256)), "bad_plan.json")):
        write(path, content, False)
        refused(f"plan file: {name}", ["train", data, "--plan", path, "--out", f"{out}/run"],
                pattern, [out])
    refused("plan file: not there",
            ["train", data, "--plan", f"{folder}/no.json", "--out", f"{out}/run"], r"no\.json", [out])


# ---- checkpoints -----------------------------------------------------------------------------------


def check_checkpoints(folder, data, model):
    image, out = f"{data}/imagesTr/a_0000.nii.gz", f"{folder}/segmented"
    os.makedirs(out)
    good = command.read(f"{model}/best.safetensors")
    header_bytes = struct.unpack("<Q", good[:8])[0]
    first = 8 + header_bytes

    def flipped(at):
        blob = bytearray(good)
        blob[at] ^= 4
        return bytes(blob)
    cases = [("empty", b""), ("cut in the header", good[:100]), ("cut in the data", good[:-50]),
             ("half", good[:len(good) // 2]), ("longer", good + b"x"),
             ("first weight changed", flipped(first + 2)), ("last byte changed", flipped(len(good) - 1)),
             ("header length huge", struct.pack("<Q", 1 << 62) + good[8:]),
             ("header changed", flipped(40)), ("another file", b"PK\3\4" + bytes(1000))]
    path = f"{folder}/bad.safetensors"
    for name, content in cases:
        write(path, content, False)
        refused(f"model file: {name}", ["predict", path, image, "--out", out],
                r"bad\.safetensors", [out])
    run_folder = f"{folder}/cut_run"
    for name in ("half", "first weight changed"):
        shutil.rmtree(run_folder, ignore_errors=True)
        shutil.copytree(model, run_folder)
        latest = command.read(f"{model}/latest.safetensors")
        blob = bytearray(latest)
        blob[8 + struct.unpack("<Q", latest[:8])[0] + 2] ^= 4
        write(f"{run_folder}/latest.safetensors",
              latest[:len(latest) // 2] if name == "half" else bytes(blob), False)
        refused(f"resume: {name}", ["train", data, "--out", run_folder, "--resume"],
                r"latest\.safetensors", [run_folder])
    refused("train: the run exists", ["train", data, "--out", model, "--steps", "2"],
            r"latest\.safetensors: exists", [model])
    refused("predict: a run that is none", ["predict", f"{folder}/none", image, "--out", out],
            r"none", [out])
    os.makedirs(f"{folder}/hollow")
    refused("predict: a run without a model", ["predict", f"{folder}/hollow", image, "--out", out],
            r"hollow", [out])
    other = f"{folder}/two_channels"
    command.dataset(other, [(24, 20, 16)], channels=2)
    two = f"{folder}/two_run"
    command.must("train", other, "--out", two, "--widths", "4,8", "--patch", "16x16x16", "--steps",
                 "1", "--fold", "none")
    refused("predict: second channel missing", ["predict", two, image, "--out", out],
            r"a_0001\.nii\.gz", [out])
    refused("predict: a channel too many", ["predict", model, f"{other}/imagesTr", "--out", out],
            r"a_0001\.nii\.gz: is there, but the model has 1 channel", [out])
    shutil.copy(image, f"{folder}/plain.nii.gz")
    refused("predict: name without a channel",
            ["predict", two, f"{folder}/plain.nii.gz", "--out", out], r"plain\.nii\.gz: the model has 2",
            [out])


# ---- where nothing can be written ------------------------------------------------------------------


def limit_file_size():
    import resource
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))


def check_writing(folder, data, model):
    image, out = f"{data}/imagesTr/a_0000.nii.gz", f"{folder}/full"
    os.makedirs(out)
    refused("predict: disk full", ["predict", model, image, "--out", out], r"full/a\.nii\.gz.*large",
            [out], preexec_fn=limit_file_size)
    refused("synth: disk full", ["synth", f"{out}/data", "--cases", "1", "--size", "16x16x16"],
            r"full/data/.*large", preexec_fn=limit_file_size)
    left = [name for name in command.listing(out) if os.path.basename(name).startswith(".")]
    ok(not left, "no hidden file stays behind", left)
    result = run("train", data, "--out", f"{out}/run", "--widths", "4,8", "--patch", "16x16x16",
                 "--steps", "2", preexec_fn=limit_file_size)
    files = command.listing(f"{out}/run") if os.path.isdir(f"{out}/run") else {}
    ok(result.returncode == 1 and "full/run/" in result.error and
       not any(name.endswith(".safetensors") or name.startswith(".") for name in files),
       "train: disk full", f"{result.error} {list(files)}")
    file = f"{folder}/a_file"
    write(file, b"x", False)
    for verb in (["predict", model, image], ["train", data, "--steps", "2"],
                 ["synth"]):
        arguments = [*verb, "--out", f"{file}/deeper"] if verb != ["synth"] else \
            ["synth", f"{file}/deeper"]
        refused(f"{verb[0]}: the folder is a file", arguments, r"a_file")
    ok(command.read(file) == b"x", "the file is untouched")


# ---- evaluate, report, inspect ---------------------------------------------------------------------


def check_judging(folder, data):
    empty, out = f"{folder}/no_maps", f"{folder}/judged"
    os.makedirs(empty)
    os.makedirs(out)
    reference = f"{data}/labelsTr"
    evaluate = ["--ref", reference, "--out", f"{out}/metrics.json"]
    refused("evaluate: no predictions", ["evaluate", "--pred", empty, *evaluate], r"no_maps", [out])
    refused("evaluate: no folder", ["evaluate", "--pred", f"{folder}/none", *evaluate], r"none", [out])
    shutil.copytree(reference, f"{folder}/wrong")
    replace("labelsTr/b.nii.gz", shape=(24, 20, 15))(os.path.dirname(reference))
    refused("evaluate: grids differ", ["evaluate", "--pred", f"{folder}/wrong", *evaluate],
            r"b\.nii\.gz", [out])
    refused("report: no run", ["report", f"{folder}/none"], r"none", [out])
    refused("inspect: nothing there", ["inspect", f"{folder}/none"], r"none")


with tempfile.TemporaryDirectory() as top:
    data, model = f"{top}/data", f"{top}/model"
    command.dataset(data, [(24, 20, 16)] * 3)
    good_plan = command.plan(data, f"{top}/plan.json", "--widths", "4,8", "--patch", "16x16x16",
                             "--steps", "2", "--fold", "none")
    command.must("train", data, "--plan", good_plan, "--out", model)
    for index, check in enumerate((lambda f: check_images(f, data, model),
                                   lambda f: check_datasets(f, data, model),
                                   lambda f: check_plans(f, data, good_plan),
                                   lambda f: check_checkpoints(f, data, model),
                                   lambda f: check_writing(f, data, model),
                                   lambda f: check_judging(f, data))):
        part = f"{top}/part{index}"
        os.makedirs(part)
        check(part)
command.done()
