/* Tensor view. Owns nothing: shape, voxel pitch, element type and a pointer into someone's arena.
 *
 * Layout is NDHWC. Element (n, z, y, x, c) stands at
 *     (((n * d + z) * h + y) * w + x) * pitch + c          (in elements, 64-bit)
 * so channels are contiguous and a channel slice of a wider tensor is again a tensor: same shape
 * but for c, same pitch, data moved by the first channel. Concat and split are therefore free.
 *
 * Parameters use the same five axes:
 *   conv weight            [kd][kh][kw][ci][co]  ->  n, d, h, w, c
 *   transposed conv weight [kd][kh][kw][ci][co]  ->  n, d, h, w, c
 *   bias, gamma, beta      c
 *   norm statistics        n = batch, w = groups, c = 2: mean, 1 / sqrt(variance + epsilon)
 *   fold table             n = batch, w = 3, c: scale, shift, slope (see op.h)
 *   scalar                 all one */
#ifndef RVX_TENSOR_H
#define RVX_TENSOR_H

#include <stdint.h>
#include <string.h>

typedef enum rvx_dtype {
    RVX_F32 = 0,
    RVX_BF16 = 1,
    RVX_I16 = 2, /* fixed point, for residual streams: value = integer * 2^-grid_log2 */
    RVX_U8 = 3,
    RVX_DTYPE_COUNT
} rvx_dtype;

typedef struct rvx_shape {
    int64_t n, d, h, w, c;
} rvx_shape;

typedef struct rvx_tensor {
    void *data; /* NULL: absent */
    rvx_shape shape;
    int64_t pitch; /* elements between voxels that are neighbours along w; at least shape.c */
    rvx_dtype dtype;
    int32_t grid_log2; /* RVX_I16 only */
    int64_t *overflow; /* RVX_I16 only: gets the number of values that did not fit added; or NULL */
} rvx_tensor;

static inline int64_t rvx__dtype_bytes(rvx_dtype dtype)
{
    static const int64_t bytes[RVX_DTYPE_COUNT] = {4, 2, 2, 1};
    return bytes[dtype];
}

static inline int64_t rvx__shape_voxels(rvx_shape s) { return s.n * s.d * s.h * s.w; }
static inline int64_t rvx__shape_count(rvx_shape s) { return s.n * s.d * s.h * s.w * s.c; }

static inline int rvx__shape_equal(rvx_shape a, rvx_shape b)
{
    return a.n == b.n && a.d == b.d && a.h == b.h && a.w == b.w && a.c == b.c;
}

/* bf16 is the upper half of f32. Rounded to nearest even; a NaN stays one. */
static inline uint16_t rvx__bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static inline float rvx__f32_of(uint16_t bf16)
{
    uint32_t bits = (uint32_t)bf16 << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float *rvx__f32(const rvx_tensor *t) { return (float *)t->data; }

#endif
