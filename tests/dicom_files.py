"""DICOM files made by pydicom: series, Enhanced multi-frame, Enhanced US Volume, with every defect that
tests ask for. Voxels and places are known exactly. Nothing here is a test."""
import os
import warnings

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

warnings.simplefilter("ignore")
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"
ENHANCED_US = "1.2.840.10008.5.1.4.1.1.6.2"
ROOT = "1.2.826.0.1.3680043.8.498."  # pydicom's own, with numbers that never change behind it


def uid(*numbers):
    return ROOT + ".".join(str(n) for n in numbers)


def number(x):
    """A decimal string of at most 16 characters."""
    for digits in range(16, 0, -1):
        text = f"{x:.{digits}g}"
        if len(text) <= 16:
            return text
    return text


def turned(degrees_z=20, degrees_x=-35):
    """A direction that is parallel to nothing: columns x, y, z."""
    a, b = np.deg2rad((degrees_z, degrees_x))
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return about_z @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])


def plain(path, kind, shape, dtype, series=1, syntax=ExplicitVRLittleEndian, instance=1):
    """A dataset with all that every image needs but its place and its voxels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = uid(series, instance)
    meta.TransferSyntaxUID = syntax
    ds = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=syntax == "1.2.840.10008.1.2",
                     is_little_endian=syntax != "1.2.840.10008.1.2.2")
    ds.SOPClassUID, ds.SOPInstanceUID = kind, uid(series, instance)
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.StudyID = uid(series), uid(99), "1"
    ds.PatientName, ds.PatientID, ds.StudyDate, ds.StudyTime = "Phantom", "1", "20260101", "120000"
    ds.Modality = {CT: "CT", ENHANCED_CT: "CT", ENHANCED_US: "US"}.get(kind, "MR")
    ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "made for tests", series, instance
    ds.FrameOfReferenceUID, ds.Manufacturer, ds.PatientSex, ds.PatientBirthDate = uid(98), "Phantom", "", ""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if kind == CT else "OTHER"]
    ds.AccessionNumber, ds.ReferringPhysicianName = "", ""
    ds.Rows, ds.Columns = shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = dtype.itemsize * 8
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = int(dtype.kind == "i")
    return ds


def pixels_put(ds, voxels):
    """Voxels [y, x] or [frame, y, x] in the byte order and packing of the file."""
    syntax, instance = ds.file_meta.TransferSyntaxUID, ds.SOPInstanceUID
    order = ">" if syntax == "1.2.840.10008.1.2.2" else "<"
    ds.PixelData = np.ascontiguousarray(voxels).astype(voxels.dtype.newbyteorder(order)).tobytes()
    ds["PixelData"].VR = "OW" if voxels.itemsize > 1 else "OB"
    if syntax == RLELossless:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(RLELossless)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = instance  # some versions change it


def orientation(direction):
    return [number(x) for x in (*direction[:, 0], *direction[:, 1])]


def series(folder, voxels, spacing=(0.7, 0.9, 2.5), origin=(-30.1, 12.5, 100.7), direction=None, kind=CT, uid_number=1,
           places=None, slopes=None, syntax=ExplicitVRLittleEndian, shear=(0, 0), order=None, change=None):
    """One file a slice of voxels [z, y, x]. places: mm along the normal; shear: mm along x, y a mm along z;
    order: of the files' names; change(ds, z): a last change to each."""
    os.makedirs(folder, exist_ok=True)
    direction = turned() if direction is None else direction
    places = np.arange(len(voxels)) * spacing[2] if places is None else np.asarray(places, float)
    order = np.random.default_rng(5).permutation(len(voxels)) if order is None else order
    for z, plane in enumerate(voxels):
        path = os.path.join(folder, f"IM{order[z]:04d}")
        ds = plain(path, kind, plane.shape, plane.dtype, uid_number, syntax, z + 1)
        at = np.asarray(origin) + places[z] * (direction[:, 2] + direction[:, :2] @ np.asarray(shear, float))
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [number(x) for x in at], orientation(direction)
        ds.PixelSpacing, ds.SliceThickness = [number(spacing[1]), number(spacing[0])], number(spacing[2])
        slope, intercept = slopes[z] if slopes else (1, -1024 if kind == CT else 0)
        if kind == CT or slopes:
            ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = number(slope), number(intercept), "HU"
        pixels_put(ds, plane)
        if change:
            change(ds, z)
        ds.save_as(path, write_like_original=False)


def item(**values):
    ds = Dataset()
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def enhanced(path, voxels, spacing=(0.7, 0.9, 2.5), origin=(-30.1, 12.5, 100.7), direction=None, kind=ENHANCED_CT,
             slopes=None, syntax=ExplicitVRLittleEndian, order=None, change=None):
    """One file with a frame a slice. order: slice z is frame order[z]."""
    direction = turned() if direction is None else direction
    order = range(len(voxels)) if order is None else list(order)
    ds = plain(path, kind, voxels.shape[1:], voxels.dtype, syntax=syntax)
    ds.NumberOfFrames = len(voxels)
    us = kind == ENHANCED_US
    measures = item(PixelSpacing=[number(spacing[1]), number(spacing[0])], SliceThickness=number(spacing[2]))
    shared = item(PixelMeasuresSequence=Sequence([measures]))
    if us:
        turn = item(ImageOrientationVolume=[float(x) for x in (*direction[:, 0], *direction[:, 1])])
        shared.PlaneOrientationVolumeSequence = Sequence([turn])
    else:
        shared.PlaneOrientationSequence = Sequence([item(ImageOrientationPatient=orientation(direction))])
    if not slopes and not us:
        shared.PixelValueTransformationSequence = Sequence([item(RescaleSlope="2", RescaleIntercept="-1000",
                                                                 RescaleType="HU")])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.DimensionOrganizationSequence = Sequence([item(DimensionOrganizationUID=uid(97))])
    ds.DimensionIndexSequence = Sequence([
        item(DimensionOrganizationUID=uid(97), DimensionIndexPointer=pointer, FunctionalGroupPointer=0x00209111)
        for pointer in (0x00209056, 0x00209057)])  # StackID, InStackPositionNumber
    frames, stored = [None] * len(voxels), np.empty_like(voxels)
    for z, plane in enumerate(voxels):
        at = np.asarray(origin) + z * spacing[2] * direction[:, 2]
        if us:
            frame = item(PlanePositionVolumeSequence=Sequence([item(ImagePositionVolume=[float(x) for x in at])]))
        else:
            frame = item(PlanePositionSequence=Sequence([item(ImagePositionPatient=[number(x) for x in at])]))
        frame.FrameContentSequence = Sequence([item(
            StackID="1", InStackPositionNumber=z + 1, DimensionIndexValues=[1, z + 1])])
        if slopes:
            frame.PixelValueTransformationSequence = Sequence([item(
                RescaleSlope=number(slopes[z][0]), RescaleIntercept=number(slopes[z][1]), RescaleType="HU")])
        frames[order[z]], stored[order[z]] = frame, plane
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    pixels_put(ds, stored)
    if change:
        change(ds)
    ds.save_as(path, write_like_original=False)
