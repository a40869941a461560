#include "common/eb_math.h"
#include "reduce/reduce.h"

static int8_t finish(const eb_reduce_params *p, int32_t sum)
{
    const int32_t value = eb_requantize(sum - p->zero_sum, p->multiplier, p->shift) + p->offset;
    return (int8_t)eb_clamp_i32(value, INT8_MIN, INT8_MAX);
}

static int32_t sum_one(const eb_reduce_params *p, const int8_t *in)
{
    const int32_t stride = p->reduced_stride[2];
    int32_t sum = 0;
    for (int32_t i0 = 0; i0 < p->reduced[0]; i0++) {
        for (int32_t i1 = 0; i1 < p->reduced[1]; i1++) {
            const int8_t *x = in + i0 * p->reduced_stride[0] + i1 * p->reduced_stride[1];
            for (int32_t n = p->reduced[2]; n > 0; n--, x += stride) {
                sum += *x;
            }
        }
    }
    return sum;
}

/* Four neighbours at once: the strided walk, and with it the cost of the loop, is shared. */
static void sum_four(const eb_reduce_params *p, const int8_t *in, int32_t sums[4])
{
    const int32_t stride = p->reduced_stride[2];
    int32_t a = 0;
    int32_t b = 0;
    int32_t c = 0;
    int32_t d = 0;
    for (int32_t i0 = 0; i0 < p->reduced[0]; i0++) {
        for (int32_t i1 = 0; i1 < p->reduced[1]; i1++) {
            const int8_t *x = in + i0 * p->reduced_stride[0] + i1 * p->reduced_stride[1];
            for (int32_t n = p->reduced[2]; n > 0; n--, x += stride) {
                a += x[0];
                b += x[1];
                c += x[2];
                d += x[3];
            }
        }
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

static int8_t *reduce_row(const eb_reduce_params *p, const int8_t *in, int8_t *out)
{
    int32_t n = p->kept[2];
    if (p->kept_stride[2] == 1) {
        for (; n >= 4; n -= 4, in += 4) {
            int32_t sums[4];
            sum_four(p, in, sums);
            for (int32_t i = 0; i < 4; i++) {
                *out++ = finish(p, sums[i]);
            }
        }
    }
    for (; n > 0; n--, in += p->kept_stride[2]) {
        *out++ = finish(p, sum_one(p, in));
    }
    return out;
}

void eb_reduce_sum_s8(const eb_reduce_params *p, const int8_t *input, int8_t *output)
{
    for (int32_t i0 = 0; i0 < p->kept[0]; i0++) {
        for (int32_t i1 = 0; i1 < p->kept[1]; i1++) {
            output = reduce_row(
                p, input + i0 * p->kept_stride[0] + i1 * p->kept_stride[1], output);
        }
    }
}
