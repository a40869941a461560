/* The loop nest of eb_reduce_params around a sum of four neighbours, which is inlined into it. */
#ifndef EB_REDUCE_LOOPS_H
#define EB_REDUCE_LOOPS_H

#include "../common/eb_math.h"
#include "reduce.h"

/* Add `n` values, `stride` apart, to each of four sums; x points to the first of four neighbours. */
typedef void (*eb_sum_four)(const int8_t *x, int32_t stride, int32_t n, int32_t sums[4]);

static inline int8_t eb_reduce_finish(const eb_reduce_params *p, int32_t sum)
{
    const int32_t value = eb_requantize(sum - p->zero_sum, p->multiplier, p->shift) + p->offset;
    return (int8_t)eb_clamp_i32(value, INT8_MIN, INT8_MAX);
}

static inline int32_t eb_reduce_one(const eb_reduce_params *p, const int8_t *in)
{
    const int32_t stride = p->reduced_stride[2];
    int32_t sum = 0;
    for (int32_t i = 0; i < p->reduced[0]; i++) {
        for (int32_t j = 0; j < p->reduced[1]; j++) {
            const int8_t *x = in + i * p->reduced_stride[0] + j * p->reduced_stride[1];
            for (int32_t n = p->reduced[2]; n > 0; n--, x += stride) {
                sum += *x;
            }
        }
    }
    return sum;
}

static inline int8_t *eb_reduce_row(const eb_reduce_params *p, eb_sum_four sum_four,
                                    const int8_t *in, int8_t *out)
{
    int32_t n = p->kept[2];
    if (p->kept_stride[2] == 1) {
        for (; n >= 4; n -= 4, in += 4) {
            int32_t sums[4] = {0, 0, 0, 0};
            for (int32_t i = 0; i < p->reduced[0]; i++) {
                for (int32_t j = 0; j < p->reduced[1]; j++) {
                    sum_four(in + i * p->reduced_stride[0] + j * p->reduced_stride[1],
                             p->reduced_stride[2], p->reduced[2], sums);
                }
            }
            for (int32_t i = 0; i < 4; i++) {
                *out++ = eb_reduce_finish(p, sums[i]);
            }
        }
    }
    for (; n > 0; n--, in += p->kept_stride[2]) {
        *out++ = eb_reduce_finish(p, eb_reduce_one(p, in));
    }
    return out;
}

static inline void eb_reduce(const eb_reduce_params *p, eb_sum_four sum_four, const int8_t *in,
                             int8_t *out)
{
    for (int32_t i = 0; i < p->kept[0]; i++) {
        for (int32_t j = 0; j < p->kept[1]; j++) {
            out = eb_reduce_row(p, sum_four, in + i * p->kept_stride[0] + j * p->kept_stride[1],
                                out);
        }
    }
}

#endif /* EB_REDUCE_LOOPS_H */
