/* MEAN and SUM with NEON: 16 neighbours that are kept, or 16 that are summed, at a time. */
#include "../common/eb_neon.h"
#include "reduce_loops.h"
#include "reduce_neon.h"

/* Values that surely fit 16 bits when they are added: 256 * -128 = -2^15. */
#define BLOCK 256

typedef struct {
    int32x4_t x[4];
} sums;

/* Adds n times up to 16 neighbours, `stride` apart. */
static inline void add_columns(sums *s, const int8_t *x, int32_t stride, int32_t n, int32_t width)
{
    while (n > 0) {
        const int32_t block = eb_min_i32(n, BLOCK);
        int16x8_t low = vdupq_n_s16(0), high = vdupq_n_s16(0);
        for (int32_t i = block; i > 0; i--, x += stride) {
            const int8x16_t v = eb_load_16_neon(x, width);
            low = vaddw_s8(low, vget_low_s8(v));
            high = vaddw_high_s8(high, v);
        }
        s->x[0] = vaddw_s16(s->x[0], vget_low_s16(low));
        s->x[1] = vaddw_high_s16(s->x[1], low);
        s->x[2] = vaddw_s16(s->x[2], vget_low_s16(high));
        s->x[3] = vaddw_high_s16(s->x[3], high);
        n -= block;
    }
}

/* Up to 16 outputs from neighbours. */
static inline int8x16_t columns(const eb_reduce_params *p, const int8_t *in, int32_t width)
{
    sums s;
    for (int i = 0; i < 4; i++) {
        s.x[i] = vdupq_n_s32(-p->zero_sum);
    }
    for (int32_t i = 0; i < p->reduced[0]; i++) {
        for (int32_t j = 0; j < p->reduced[1]; j++) {
            add_columns(&s, in + i * p->reduced_stride[0] + j * p->reduced_stride[1],
                        p->reduced_stride[2], p->reduced[2], width);
        }
    }
    const int32x4_t left = vdupq_n_s32(eb_max_i32(p->shift, 0));
    const int32x4_t right = vdupq_n_s32(eb_min_i32(p->shift, 0));
    for (int i = 0; i < 4; i++) {
        const int32x4_t x = vqrdmulhq_n_s32(vshlq_s32(s.x[i], left), p->multiplier);
        s.x[i] = eb_divide_by_pot_neon(x, right);
    }
    return eb_narrow_16_neon(s.x, eb_narrowing_neon(p->offset, INT8_MIN, INT8_MAX));
}

static inline int32_t sum_run(const int8_t *x, int32_t n)
{
    int32x4_t sum = vdupq_n_s32(0);
    for (; n > 0; n -= 16, x += 16) {
        sum = vpadalq_s16(sum, vpaddlq_s8(eb_load_16_neon(x, n)));
    }
    return vaddvq_s32(sum);
}

/* One output from runs of neighbours. */
static inline int8_t runs(const eb_reduce_params *p, const int8_t *in)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < p->reduced[0]; i++) {
        for (int32_t j = 0; j < p->reduced[1]; j++) {
            sum += sum_run(in + i * p->reduced_stride[0] + j * p->reduced_stride[1],
                           p->reduced[2]);
        }
    }
    return eb_reduce_finish(p, sum);
}

static int8_t *row(const eb_reduce_params *p, const int8_t *in, int8_t *out)
{
    int32_t n = p->kept[2];
    if (p->kept_stride[2] == 1 && n > 1) {
        for (; n > 0; n -= 16, in += 16) {
            const int8x16_t x = n >= 16 ? columns(p, in, 16) : columns(p, in, n);
            eb_store_16_neon(out, x, n);
            out += eb_min_i32(n, 16);
        }
        return out;
    }
    const int whole = p->reduced_stride[2] == 1;
    for (; n > 0; n--, in += p->kept_stride[2]) {
        *out++ = whole ? runs(p, in) : eb_reduce_finish(p, eb_reduce_one(p, in));
    }
    return out;
}

void eb_reduce_sum_s8_neon(const eb_reduce_params *p, const int8_t *input, int8_t *output)
{
    for (int32_t i = 0; i < p->kept[0]; i++) {
        for (int32_t j = 0; j < p->kept[1]; j++) {
            output = row(p, input + i * p->kept_stride[0] + j * p->kept_stride[1], output);
        }
    }
}
