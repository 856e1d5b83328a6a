#!/usr/bin/python3
"""Surfaces of label maps: closed and manifold for any voxels, in the patient's space, with the volumes and areas of
spheres and boxes."""
import os
import struct
import sys
import tempfile
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from command import done, must, nibabel, numpy, ok, run, save

scratch = tempfile.TemporaryDirectory()
os.chdir(scratch.name)
LPS = numpy.array([-1.0, -1.0, 1.0])


def stl(path):
    """Points (n, 3, 3) as LPS mm, and the stored normals."""
    with open(path, "rb") as file:
        data = file.read()
    count = struct.unpack_from("<I", data, 80)[0]
    assert len(data) == 84 + 50 * count and b"SPACE=LPS" in data[:80]
    record = numpy.dtype([("normal", "<f4", 3), ("point", "<f4", (3, 3)), ("more", "<u2")])
    records = numpy.frombuffer(data, record, count, 84)
    return records["point"].astype(float), records["normal"].astype(float)


def obj(path):
    """Points of the triangles, vertex by vertex, and their indices."""
    vertices, faces = [], []
    with open(path) as file:
        for line in file:
            words = line.split()
            if words[0] == "v":
                vertices.append([float(word) for word in words[1:]])
            elif words[0] == "f":
                faces.append([int(word) - 1 for word in words[1:]])
                assert max(faces[-1]) < len(vertices)  # they come before they are used
    return numpy.array(vertices), numpy.array(faces)


def figures(points):
    a, b, c = points[:, 0], points[:, 1], points[:, 2]
    normals = numpy.cross(b - a, c - a)
    return (a * normals).sum() / 6, numpy.sqrt((normals ** 2).sum(1)).sum() / 2


def manifold(faces, vertex_count):
    """Every directed side once, its opposite once; around every vertex one ring of triangles."""
    sides = Counter()
    for a, b in ((0, 1), (1, 2), (2, 0)):
        sides.update(zip(faces[:, a].tolist(), faces[:, b].tolist()))
    if any(n != 1 or sides[(v, u)] != 1 for (u, v), n in list(sides.items())):
        return False
    ring = [{} for _ in range(vertex_count)]
    for a, b, c in faces.tolist():
        ring[a][b], ring[b][c], ring[c][a] = c, a, b
    for after in ring:
        if not after:
            return False
        start = at = next(iter(after))
        for length in range(1, len(after) + 1):
            at = after[at]
            if at == start:
                break
        if length != len(after):
            return False
    return True


def mesh(labels, affine, *options, name="one"):
    save(f"{name}.nii.gz" if os.path.dirname(name) else os.path.join(".", name + ".nii.gz"),
         labels.astype(numpy.uint8), affine)
    return must("mesh", name + ".nii.gz", "--out", "out", "--quiet", *options).stdout


# ---- A box: every number by hand -----------------------------------------------------------------
# Corners and edges of the box lose what the surface through the middles of voxel edges cuts off.
box = numpy.zeros((12, 11, 10))
box[2:9, 3:8, 4:7] = 1
text = mesh(box, numpy.diag([-1.0, -1.0, 1.0, 1.0]), "--smooth", "none")
points, normals = stl("out/one_label_1.stl")
n = numpy.array([7, 5, 3]) - 1.0
pairs = n[0] * n[1] + n[1] * n[2] + n[0] * n[2]
volume, area = figures(points)
ok(abs(volume - (n.prod() + pairs + n.sum() / 2 + 1 / 6)) < 1e-4, "volume of a box", volume)
ok(abs(area - (2 * pairs + 4 * n.sum() * 0.5 ** 0.5 + 3 ** 0.5)) < 1e-4, "area of a box", area)
ok(numpy.allclose(points.reshape(-1, 3).min(0), [1.5, 2.5, 3.5])
   and numpy.allclose(points.reshape(-1, 3).max(0), [8.5, 7.5, 6.5]), "and where it is")
made = numpy.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
made /= numpy.sqrt((made ** 2).sum(1))[:, None]
ok(numpy.abs(made - normals).max() < 1e-5, "normals are those of the corners' order")
centre = numpy.array([5, 5, 5.0])
ok((((points.mean(1) - centre) * normals).sum(1) > 0).all(), "and point outwards")
words = text.splitlines()[1].split()
ok(words[0] == "label" and abs(float(words[4]) - volume / 1000) < 1e-3, "the table has the volume", text)

# ---- A sphere: nearly its volume and area ----------------------------------------------------------
spacing = numpy.array([0.8, 0.8, 1.0])
grid = numpy.stack(numpy.meshgrid(*[numpy.arange(s) for s in (60, 60, 50)], indexing="ij"), -1) * spacing
sphere = ((grid - numpy.array([24.1, 23.7, 25.2])) ** 2).sum(-1) <= 18.0 ** 2
mesh(sphere, numpy.diag([*spacing, 1]), name="ball")
volume, area = figures(stl("out/ball_label_1.stl")[0])
true_volume, true_area = 4 / 3 * numpy.pi * 18 ** 3, 4 * numpy.pi * 18 ** 2
ok(abs(volume / true_volume - 1) < 0.01, f"volume of a sphere: {volume / true_volume:.4f} of it")
ok(abs(area / true_area - 1) < 0.02, f"area of a sphere: {area / true_area:.4f} of it")
mesh(sphere, numpy.diag([*spacing, 1]), "--smooth", "none", name="ball")
rough, _ = figures(stl("out/ball_label_1.stl")[0])
ok(abs(rough / (sphere.sum() * spacing.prod()) - 1) < 0.02, "without smoothing: the volume of the voxels")

# ---- Any voxels: closed and manifold, and the same in both formats ----------------------------------
rng = numpy.random.default_rng(1)
for trial, (shape, fill) in enumerate((((9, 8, 7), 0.5), ((6, 6, 6), 0.2), ((5, 9, 6), 0.8), ((1, 1, 1), 1),
                                       ((4, 1, 5), 0.6))):
    noise = rng.random(shape) < fill
    affine = numpy.eye(4)
    affine[:3, :3] = numpy.linalg.qr(rng.normal(size=(3, 3)))[0] * [0.7, 1.3, 2.1]
    affine[:3, 3] = [-40, 15, 7]
    for smooth in ("none", "2", "5"):
        mesh(noise, affine, "--smooth", smooth, "--format", "obj", name=f"noise{trial}")
        vertices, faces = obj(f"out/noise{trial}_label_1.obj")
        ok(manifold(faces, len(vertices)), f"noise {shape}, smoothing {smooth}: closed and manifold")
        volume, area = figures(vertices[faces])
        ok(volume > 0, "normals outwards, whatever the handedness of the grid", volume)
        mesh(noise, affine, "--smooth", smooth, name=f"noise{trial}")
        points, _ = stl(f"out/noise{trial}_label_1.stl")
        ok(numpy.allclose(points, vertices[faces], atol=1e-4), "STL and OBJ are the same surface")
    # Every vertex lies on a line between an inside and an outside neighbour, in the patient's space.
    index = (vertices * LPS - affine[:3, 3]) @ numpy.linalg.inv(affine[:3, :3]).T
    padded = numpy.pad(noise, 1)
    low, high = numpy.floor(index + 1e-3).astype(int) + 1, numpy.ceil(index - 1e-3).astype(int) + 1
    ok((numpy.abs(high - low).sum(1) == 1).all() and (padded[tuple(low.T)] != padded[tuple(high.T)]).all(),
       "vertices lie between a voxel inside and one outside")

# ---- Classes by name, a thin vessel, bad input ------------------------------------------------------
two = numpy.zeros((16, 12, 9))
two[2:6, 2:6, 2:6] = 1
two[8:14, 6, 4] = 2
with open("dataset.json", "w") as out:
    out.write('{"labels": {"background": 0, "liver": 1, "a vessel": 2, "both": [1, 2], "none": 3}}')
text = mesh(two, None, "--dataset", "dataset.json", "--format", "obj", name="two")
made = sorted(name for name in os.listdir("out") if name.startswith("two_"))
ok(made == ["two_a_vessel.obj", "two_both.obj", "two_liver.obj"], "a file for every class that occurs", made)
vertices, faces = obj("out/two_a_vessel.obj")
ok(manifold(faces, len(vertices)) and len(faces) > 12, "a vessel of one voxel's width is not lost")
must("convert", "two.nii.gz", "two.seg.nrrd", "--labels")
must("mesh", "two.seg.nrrd", "--out", "out", "--quiet")


def refused(what, words, *arguments):
    made = run("mesh", *arguments)
    ok(made.returncode in (1, 2) and all(word in made.error for word in words), what, made.error)


save("./empty.nii.gz", numpy.zeros((4, 4, 4), numpy.uint8))
refused("an empty map", ["empty.nii.gz", "nothing to mesh"], "empty.nii.gz", "--out", "out2")
ok(not os.path.exists("out2"), "leaves no folder")
refused("an unknown format", ["ply", "stl"], "two.nii.gz", "--out", "out2", "--format", "ply")
refused("a file that is not there", ["gone.nii.gz"], "gone.nii.gz", "--out", "out2")
refused("too much smoothing", ["--smooth", "16"], "two.nii.gz", "--out", "out2", "--smooth", "17")
save("./image.nii.gz", numpy.full((4, 4, 4), 300.5, numpy.float32))
refused("an image", ["image.nii.gz"], "image.nii.gz", "--out", "out2")
done()
