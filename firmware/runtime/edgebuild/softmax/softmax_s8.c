/* SOFTMAX in gemmlowp's fixed point: exponentials from a table, sum in Q12.19, reciprocal by three
 * steps of Newton and Raphson. */
#include "softmax.h"

#include "../common/eb_math.h"

#define SUM_INTEGER_BITS 12

static int32_t count_leading_zeros(uint32_t x)
{
    int32_t n = 0;
    while ((x & UINT32_C(0x80000000)) == 0U) {
        x <<= 1;
        n++;
    }
    return n;
}

static int32_t saturating_shift_left(int32_t x, int32_t bits)
{
    const int64_t wide = (int64_t)x * ((int64_t)1 << bits);
    return wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : (int32_t)wide;
}

/* 1 / (1 + x) for x in [0, 1), both Q0.31. */
static int32_t one_over_one_plus(int32_t x)
{
    const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2); /* (1 + x) / 2, Q0.31 */
    int32_t r = 1515870810 + eb_doubling_high_mul(half, -1010580540); /* 48/17 - 32/17 half, Q2.29 */
    for (int32_t i = 0; i < 3; i++) {
        const int32_t error = (1 << 29) - eb_doubling_high_mul(half, r);
        r += saturating_shift_left(eb_doubling_high_mul(r, error), 2);
    }
    return saturating_shift_left(r, 1);
}

static void row(const eb_softmax_params *p, const int8_t *in, int8_t *out)
{
    int32_t max = INT8_MIN;
    for (int32_t i = 0; i < p->depth; i++) {
        max = eb_max_i32(max, in[i]);
    }
    int32_t sum = 0;
    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t d = max - in[i];
        if (d < p->table_length) {
            sum += eb_rounding_divide_by_pot(p->exp_table[d], SUM_INTEGER_BITS);
        }
    }
    const int32_t zeros = count_leading_zeros((uint32_t)sum);
    const int32_t fraction = (int32_t)(((uint32_t)sum << zeros) - (UINT32_C(1) << 31));
    const int32_t scale = one_over_one_plus(fraction);
    const int32_t right = SUM_INTEGER_BITS - zeros + 31 - 8;
    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t d = max - in[i];
        int32_t q = INT8_MIN;
        if (d < p->table_length && right < 32) { /* beyond, every quotient is 0 */
            q += eb_rounding_divide_by_pot(eb_doubling_high_mul(scale, p->exp_table[d]), right);
        }
        out[i] = (int8_t)eb_min_i32(q, INT8_MAX);
    }
}

void eb_softmax_s8(const eb_softmax_params *p, const int8_t *input, int8_t *output)
{
    for (int32_t i = 0; i < p->rows; i++) {
        row(p, input, output);
        input += p->depth;
        output += p->depth;
    }
}
