/* Packing for a correlation: see conv_pack.h. */
#include "kernels/cpu/conv_pack.h"
#include "kernels/cpu/vec.h"

/* `from` begins at the first voxel. */
RVX_INLINE void voxels_fold(float *to, rvx_plane from, int64_t channels, int64_t count,
                            const rvx_fold *fold)
{
    for (int64_t c = 0; c < channels; c += RVX_LANES) {
        const int64_t lanes = channels - c < RVX_LANES ? channels - c : RVX_LANES;
        const rvx_vec scale = rvx__load_part(fold->scale + c, lanes);
        const rvx_vec shift = rvx__load_part(fold->shift + c, lanes);
        const rvx_vec slope = rvx__load_part(fold->slope + c, lanes);
        if (lanes == RVX_LANES)
            for (int64_t i = 0; i < count; i++) {
                const rvx_vec x = rvx__plane_load(from, i * from.pitch + c, RVX_LANES);
                rvx__store(to + i * channels + c,
                           rvx__vec_leaky(rvx__vec_fma(x, scale, shift), slope));
            }
        else
            for (int64_t i = 0; i < count; i++) {
                const rvx_vec x = rvx__plane_load(from, i * from.pitch + c, lanes);
                rvx__store_part(to + i * channels + c,
                                rvx__vec_leaky(rvx__vec_fma(x, scale, shift), slope), lanes);
            }
    }
}

RVX_INLINE void voxels_copy(float *to, rvx_plane from, int64_t channels, int64_t count)
{
    if (from.pitch == channels && from.dtype == RVX_F32) {
        memcpy(to, from.data, (size_t)(count * channels) * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < channels; c += RVX_LANES) {
            const int64_t lanes = channels - c < RVX_LANES ? channels - c : RVX_LANES;
            const rvx_vec x = rvx__plane_load(from, i * from.pitch + c, lanes);
            rvx__store_count(to + i * channels + c, x, lanes);
        }
}

void RVX_KERNEL(rvx__conv_pack_row)(float *to, const rvx_tensor *source, const rvx_tensor *fold,
                                    int64_t n, int64_t z, int64_t y, int64_t x, int64_t count)
{
    const rvx_shape *s = &source->shape;
    int64_t left = x < 0 ? -x : 0;
    left = left < count ? left : count;
    int64_t right = x + count > s->w ? x + count - s->w : 0;
    right = right < count - left ? right : count - left;
    int64_t inside = count - left - right;
    memset(to, 0, (size_t)(left * s->c) * sizeof(float));
    memset(to + (left + inside) * s->c, 0, (size_t)(right * s->c) * sizeof(float));
    if (inside == 0)
        return;
    to += left * s->c;
    const int64_t voxel = ((n * s->d + z) * s->h + y) * s->w + x + left;
    rvx_plane from = rvx__plane_of(source, voxel * source->pitch);
    if (!fold)
        RVX_PLANES_TYPED(from, from, from, voxels_copy(to, from, s->c, inside));
    else {
        const rvx_fold table = rvx__fold_of(fold, n);
        RVX_PLANES_TYPED(from, from, from, voxels_fold(to, from, s->c, inside, &table));
    }
}

#if RVX_LANES == 16
#define LOW_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif RVX_LANES == 8
#define LOW_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOW_HALVES 0, 4, 1, 5
#define HIGH_HALVES 2, 6, 3, 7
#endif

/* Transposes RVX_LANES vectors: log2(RVX_LANES) perfect shuffles of the whole square swap the row
 * and column bits of every address. */
static inline void square_transpose(rvx_vec *m)
{
    const rvx_vec_int low = {LOW_HALVES}, high = {HIGH_HALVES};
    for (int pass = 1; pass < RVX_LANES; pass *= 2) {
        rvx_vec t[RVX_LANES];
        for (int i = 0; i < RVX_LANES / 2; i++) {
            t[2 * i] = __builtin_shuffle(m[i], m[i + RVX_LANES / 2], low);
            t[2 * i + 1] = __builtin_shuffle(m[i], m[i + RVX_LANES / 2], high);
        }
        memcpy(m, t, sizeof t);
    }
}

/* to[c * pitch_to + lane] = from[lane * pitch + c] */
static void panel_transpose(float *to, int64_t pitch_to, const float *from, int64_t pitch,
                            int64_t lanes, int64_t channels)
{
    for (int64_t c = 0; c < channels; c += RVX_LANES) {
        int64_t part = channels - c < RVX_LANES ? channels - c : RVX_LANES;
        rvx_vec m[RVX_LANES];
        if (lanes == RVX_LANES && part == RVX_LANES)
            for (int i = 0; i < RVX_LANES; i++)
                m[i] = rvx__load(from + i * pitch + c);
        else
            for (int i = 0; i < RVX_LANES; i++)
                m[i] = i < lanes ? rvx__load_part(from + i * pitch + c, part) : (rvx_vec){0};
        square_transpose(m);
        for (int i = 0; i < part; i++)
            rvx__store(to + (c + i) * pitch_to, m[i]);
    }
}

void RVX_KERNEL(rvx__conv_pack_tap)(float *to, int64_t pitch_to, const rvx_tensor *weight,
                                    int transposed, const int64_t tap[3], int64_t first,
                                    int64_t vectors)
{
    const rvx_shape *s = &weight->shape; /* n, d, h: taps; w: ci; c: co */
    const float *from =
        rvx__f32(weight) + ((tap[0] * s->d + tap[1]) * s->h + tap[2]) * s->w * weight->pitch;
    int64_t targets = transposed ? s->w : s->c;
    for (int64_t v = 0; v < vectors; v++) {
        int64_t channel = first + v * RVX_LANES, lanes = targets - channel;
        lanes = lanes < 0 ? 0 : lanes > RVX_LANES ? RVX_LANES : lanes;
        if (transposed)
            panel_transpose(to + v * RVX_LANES, pitch_to, from + channel * weight->pitch,
                            weight->pitch, lanes, s->c);
        else if (lanes == RVX_LANES)
            for (int64_t c = 0; c < s->w; c++)
                rvx__store(to + c * pitch_to + v * RVX_LANES,
                           rvx__load(from + c * weight->pitch + channel));
        else
            for (int64_t c = 0; c < s->w; c++)
                rvx__store(to + c * pitch_to + v * RVX_LANES,
                           rvx__load_part(from + c * weight->pitch + channel, lanes));
    }
}
