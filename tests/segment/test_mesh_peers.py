#!/usr/bin/python3
"""Surfaces without smoothing beside skimage.measure.marching_cubes on the same map: the same vertices and the same sides of
polygons, one by one, and the volume and area that they enclose. Tables part polygons that are not flat into other
triangles, which is what the bounds on both leave room for; a box, whose polygons are flat, needs none."""
import os
import struct
import sys
import tempfile

try:
    from skimage.measure import marching_cubes
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from command import done, must, numpy, ok, save

scratch = tempfile.TemporaryDirectory()
os.chdir(scratch.name)
SPACING = numpy.array([0.8, 0.7, 1.1])


def ours(name, inside):
    save(f"./{name}.nii.gz", inside.astype(numpy.uint8), numpy.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0]))
    must("mesh", name + ".nii.gz", "--out", "out", "--quiet", "--smooth", "none")
    with open(f"out/{name}_label_1.stl", "rb") as file:
        data = file.read()
    record = numpy.dtype([("normal", "<f4", 3), ("point", "<f4", (3, 3)), ("more", "<u2")])
    return numpy.frombuffer(data, record, struct.unpack_from("<I", data, 80)[0], 84)["point"].astype(float)


def theirs(inside):
    vertices, faces, _, _ = marching_cubes(numpy.pad(inside, 1).astype(numpy.float32), 0.5, spacing=tuple(SPACING))
    return (vertices.astype(float) - SPACING)[faces]


def figures(points):
    """Volume and area of a closed surface."""
    a, b, c = points[:, 0], points[:, 1], points[:, 2]
    normals = numpy.cross(b - a, c - a)
    return abs((a * normals).sum()) / 6, numpy.sqrt((normals ** 2).sum(1)).sum() / 2


def corners(points):
    """In half voxels: whole numbers, as every vertex is in the middle between two voxels."""
    found = points / SPACING * 2
    return numpy.rint(found).astype(int), numpy.abs(found - numpy.rint(found)).max()


def outlines(triangles):
    """Sides that lie in a face of a cell of 2 x 2 x 2 voxels, as pairs of vertices: all but the diagonals within the
    polygon of a cell. Voxels have even numbers here."""
    sides = numpy.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    in_face = ((sides[:, 0] == sides[:, 1]) & (sides[:, 0] % 2 == 0)).any(1)
    return {tuple(sorted(map(tuple, side))) for side in sides[in_face].tolist()}


x, y, z = (axis - 20.0 for axis in numpy.meshgrid(*[numpy.arange(40)] * 3, indexing="ij"))
ring = numpy.sqrt(x * x + y * y)
ball = x * x + y * y + z * z
shapes = {"box": (abs(x) < 9) & (abs(y) < 6) & (abs(z) < 4),
          "ball": ball < 15.3 ** 2,
          "torus": (ring - 12) ** 2 + z * z < 4.6 ** 2,
          "shell": (ball < 15.3 ** 2) & (ball > 9.2 ** 2),
          "two": ((x - 9) ** 2 + y * y + z * z < 6.4 ** 2) | ((x + 9) ** 2 + y * y + z * z < 7.3 ** 2)}
for name, inside in shapes.items():
    mine, peer = ours(name, inside), theirs(inside)
    (triangles, off), (wanted, _) = corners(mine), corners(peer)
    vertices, places = (set(map(tuple, found.reshape(-1, 3).tolist())) for found in (triangles, wanted))
    ok(vertices == places and off < 1e-3, f"{name}: the same {len(places)} vertices", (len(vertices ^ places), off))
    lines = outlines(wanted)
    ok(outlines(triangles) == lines and len(lines) > len(places), f"{name}: the same {len(lines)} sides of polygons",
       len(outlines(triangles) ^ lines))
    ok(len(mine) == len(peer), f"{name}: as many triangles", (len(mine), len(peer)))
    (volume, area), (peer_volume, peer_area) = figures(mine), figures(peer)
    flat = name == "box"
    ok(abs(volume / peer_volume - 1) < (1e-6 if flat else 3e-3), f"{name}: volume {volume / peer_volume - 1:+.1e}")
    ok(abs(area / peer_area - 1) < (1e-6 if flat else 5e-3), f"{name}: area {area / peer_area - 1:+.1e}")
done()
