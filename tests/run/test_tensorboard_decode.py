#!/usr/bin/python3
"""TensorBoard event files with a decoder written from the formats' descriptions (TFRecord, protobuf
wire format, event.proto): it shares no code with the engine, not even the checksum."""
import math, os, socket, struct, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.path.join(ROOT, os.environ.get("BUILD", "build"), "tests/run/test_tensorboard")
count = failures = 0


def ok(passed, name):
    global count, failures
    count += 1
    failures += not passed
    print(f"{'' if passed else 'not '}ok {count} - {name}", flush=True)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(blob):
    at = 0
    while at < len(blob):
        length, check = struct.unpack_from("<QI", blob, at)
        data = blob[at + 12:at + 12 + length]
        stored, = struct.unpack_from("<I", blob, at + 12 + length)
        assert check == masked(blob[at:at + 8]) and stored == masked(data), "checksum"
        yield data
        at += 16 + length


def fields(data):
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        number, kind = key >> 3, key & 7
        if kind == 0:
            value = varint()
        elif kind == 2:
            size = varint()
            value = data[at:at + size]
            assert len(value) == size
            at += size
        else:
            size = {1: 8, 5: 4}[kind]
            value, = struct.unpack({1: "<d", 5: "<f"}[kind], data[at:at + size])
            at += size
        yield number, value


def events(path):
    with open(path, "rb") as file:
        for data in records(file.read()):
            event = {"scalars": []}
            for number, value in fields(data):
                if number == 5:
                    for inner, body in fields(value):
                        assert inner == 1
                        parts = dict(fields(body))
                        event["scalars"].append((parts[1].decode(), parts[2]))
                else:
                    event[{1: "time", 2: "step", 3: "version", 7: "session"}[number]] = value
            yield event


with tempfile.TemporaryDirectory() as folder:
    for first in ("0", "2"):
        ok(subprocess.run([TOOL, "write", folder, first]).returncode == 0, f"run from {first}")
        if first == "0":
            time.sleep(1.1)
    names = sorted(os.listdir(folder))
    ok(len(names) == 2 and all(name.startswith("events.out.tfevents.") for name in names) and
       all(socket.gethostname() in name for name in names), "one file a run, named as TensorBoard's")
    first, second = (list(events(os.path.join(folder, name))) for name in names)
    ok(first[0]["version"] == b"brain.Event:2" and "session" not in first[1], "version first")
    ok([event["step"] for event in first] == [0, 0, 1, 2, 123456789012], "steps")
    ok(all(abs(event["time"] - time.time()) < 60 for event in first + second), "wall times")
    ok(first[1]["scalars"] == [("loss/train", 1.0), ("dice/l\u00e9sion", -0.25)], "scalars")
    ok(abs(first[3]["scalars"][0][1] - 1 / 3) < 2e-8 and math.isnan(first[2]["scalars"][1][1]),
       "a third to float precision, NaN")
    ok(dict(fields(second[1]["session"])) == {1: 1} and second[1]["step"] == 2,
       "a resumed run begins with SessionLog START at its step")
print(f"1..{count}")
sys.exit(failures != 0)
