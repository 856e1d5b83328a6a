/* Boxes of voxels in shared memory, for kernels of 3 taps along an axis: each voxel is brought
 * there once, folded and rounded to bf16, and serves all taps. Owns: the size of a box and how it
 * stands in shared memory. A tile is TILE_Z x TILE_Y x TILE_X voxels; a halo has a voxel more on
 * either side.
 *
 * Voxels stand one after another, GROUPS groups of 8 channels each, 16 bytes a group. Groups of a
 * voxel are exchanged so that the rows of a matrix load, one group of 8 consecutive voxels, lie in
 * 8 different sets of banks. */
#ifndef RVX_CUDA_HALO_H
#define RVX_CUDA_HALO_H

#include "kernels/cuda/gemm.h"

namespace rvx
{
enum { TILE_Z = RVX__CUDA_TILE_Z, TILE_Y = RVX__CUDA_TILE_Y, TILE_X = RVX__CUDA_TILE_X };
enum { HALO_Y = TILE_Y + 2, HALO_X = TILE_X + 2 };
enum { TILE_VOXELS = TILE_Z * TILE_Y * TILE_X, HALO_VOXELS = (TILE_Z + 2) * HALO_Y * HALO_X };

/* Bytes from the beginning of a box to group g of voxel v. */
template <int GROUPS> RVX_DEVICE int slot(int v, int g)
{
    const int turned = GROUPS == 2 ? g ^ (v >> 2 & 1) : GROUPS == 4 ? g ^ (v >> 1 & 3) : g;
    return (v * GROUPS + turned) * 16;
}

struct alignas(8) Words2 {
    uint32_t word[2];
};

/* The first voxel of a box; it may lie outside the volume. */
struct Box {
    int32_t n, z, y, x;
};

/* How many tiles there are, and where tile i lies. Neighbours along y, then z, then x follow each
 * other, so that what their halos share is still in the cache. */
struct Tiles {
    int32_t n, z, y, x;

    RVX_BOTH int64_t count() const { return (int64_t)n * z * y * x; }
    RVX_DEVICE Box at(uint32_t i) const
    {
        enum { BAND = 8 };
        const uint32_t sample = (uint32_t)(z * y * x), band = (uint32_t)(BAND * z * x);
        Box b;
        b.n = (int32_t)(i / sample);
        i %= sample;
        const int32_t first = (int32_t)(i / band) * BAND,
                      rows = y - first < BAND ? y - first : BAND;
        const int32_t rest = (int32_t)(i % band);
        b.y = (first + rest % rows) * TILE_Y;
        b.z = rest / rows % z * TILE_Z;
        b.x = rest / rows / z * TILE_X;
        return b;
    }
};

inline Tiles tiles_of(const rvx_shape &s)
{
    return {(int32_t)s.n, (int32_t)((s.d + TILE_Z - 1) / TILE_Z),
            (int32_t)((s.h + TILE_Y - 1) / TILE_Y), (int32_t)((s.w + TILE_X - 1) / TILE_X)};
}

/* The fold of GROUPS groups of channels in shared memory: 3 rows of 8 numbers a group. */
enum { FOLD_BYTES = 4 * 3 * GROUP * 4 };

template <int GROUPS>
RVX_DEVICE void bring_fold(float *table, const Fold &f, int32_t n, int32_t first_channel,
                           int32_t channels)
{
    const int i = (int)threadIdx.x, g = i / GROUP / 3, row = i / GROUP % 3;
    const int32_t channel = first_channel + g * GROUP + i % GROUP;
    if (g < GROUPS && channel < channels)
        table[i] = f.data[((int64_t)n * 3 + row) * f.pitch + channel];
}
RVX_DEVICE float folded(const float *group, int k, float v)
{
    return leaky(simt::fused(v, group[k], group[GROUP + k]), group[2 * GROUP + k]);
}

/* 8 elements of 16 bits become bf16, folded. */
RVX_DEVICE Words4 transformed(const Words4 &raw, const View &t, const float *group, bool folds)
{
    Words4 whole;
#pragma unroll
    for (int k = 0; k < GROUP; k += 2) {
        float v[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const uint32_t half = raw.word[k / 2] >> (16 * i) & 0xFFFF;
            v[i] = t.dtype == RVX_BF16 ? bf16_to_float(half) : (float)(int16_t)half * t.unit;
            if (folds)
                v[i] = folded(group, k + i, v[i]);
        }
        whole.word[k / 2] = simt::pack_bf16(v[0], v[1]);
    }
    return whole;
}
RVX_DEVICE void transform(unsigned char *element, const View &t, const float *group, bool folds)
{
    Words4 *at = reinterpret_cast<Words4 *>(element);
    *at = transformed(*at, t, group, folds);
}

/* Where channel c of voxel i of a box stands in memory; -1 outside the volume. */
template <int SIZE_Y, int SIZE_X>
RVX_DEVICE int64_t box_element(const View &t, const Box &b, int i, int32_t c)
{
    const int32_t z = b.z + i / (SIZE_Y * SIZE_X), y = b.y + i / SIZE_X % SIZE_Y,
                  x = b.x + i % SIZE_X;
    const bool ok = c < t.c && (uint32_t)z < (uint32_t)t.d && (uint32_t)y < (uint32_t)t.h &&
                    (uint32_t)x < (uint32_t)t.w;
    return ok ? t.at(t.voxel(b.n, z, y, x), c) : -1;
}

/* Brings the first `voxels` voxels of a box of SIZE_Y x SIZE_X rows, GROUPS groups of channels from
 * first_channel on; zeros outside the volume and beyond the last channel. The fold passes through
 * `table`, which nobody may be reading. Voxels are there for all after copy_commit, copy_wait and a
 * barrier. A thread has one group of channels; what it copied it also transforms. */
template <int GROUPS, int SIZE_Y, int SIZE_X, int COUNT>
RVX_DEVICE void bring_box(unsigned char *to, float *table, const View &t, const Fold &f,
                          const Box &b, int32_t first_channel, int voxels, Access access)
{
    enum { STEP = COUNT / GROUPS };
    const int thread = simt::opaque((int)threadIdx.x); /* addresses are not kept between boxes */
    const int g = thread % GROUPS, first = thread / GROUPS;
    const int32_t channel = first_channel + g * GROUP;
    const float *group = table + g * 3 * GROUP;
    if (f.data) {
        bring_fold<GROUPS>(table, f, b.n, first_channel, t.c);
        simt::barrier();
    }
    if (first >= STEP)
        return;
    if (access != ONE && t.dtype != RVX_F32) {
#pragma unroll 1
        for (int i = first; i < voxels; i += STEP) {
            const int64_t at = box_element<SIZE_Y, SIZE_X>(t, b, i, channel);
            simt::copy16_async(to + slot<GROUPS>(i, g), t.data + 2 * (at < 0 ? 0 : at), at >= 0);
        }
        if (access == DIRECT)
            return;
        simt::copy_commit();
        simt::copy_wait<0>();
#pragma unroll 1
        for (int i = first; i < voxels; i += STEP)
            if (box_element<SIZE_Y, SIZE_X>(t, b, i, channel) >= 0) /* zeros stay zeros */
                transform(to + slot<GROUPS>(i, g), t, group, f.data != nullptr);
        return;
    }
#pragma unroll 1
    for (int i = first; i < voxels; i += STEP) {
        const int64_t at = box_element<SIZE_Y, SIZE_X>(t, b, i, channel);
        uint16_t *element = reinterpret_cast<uint16_t *>(to + slot<GROUPS>(i, g));
#pragma unroll 1
        for (int e = 0; e < GROUP; e++) {
            float value[1] = {0.0f};
            if (at >= 0) {
                load(t, at + e, value);
                if (f.data)
                    value[0] = folded(group, e, value[0]);
            }
            put_element(element + e, value[0]);
        }
    }
}
} // namespace rvx

#endif
