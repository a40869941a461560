/* ADD, SUB and MUL on int8 with the DSP extension; see elementwise.h. */
#ifndef EB_ELEMENTWISE_DSP_H
#define EB_ELEMENTWISE_DSP_H

#include "../common/eb_channel_dsp.h"
#include "elementwise.h"

/* base, start: zero points times -2^20 and -2^21; round: 2^(right - 1), right at least 1. */
typedef struct {
    eb_broadcast loops; /* stride0: of the plain operand */
    int32_t base;
    int32_t start, multiplier, round, right; /* of the scaled operand */
    eb_channel_dsp output;                   /* of twice the sum; without a bias */
    uint8_t plain_first; /* 0: the plain operand is the one that SUB takes away */
    uint8_t clamp;       /* 1: the activation's range is not all of int8 */
    eb_output_stage range;
} eb_add_dsp_params;

/* plain: the operand with the larger scale. */
void eb_add_s8_dsp(const eb_add_dsp_params *p, const int8_t *plain, const int8_t *scaled,
                   int8_t *out);
void eb_sub_s8_dsp(const eb_add_dsp_params *p, const int8_t *plain, const int8_t *scaled,
                   int8_t *out);

/* start: the first operand's zero point times -2. */
typedef struct {
    eb_broadcast loops;
    int32_t start, zero_point1;
    eb_channel_dsp output; /* of twice the product; without a bias */
    uint8_t clamp;         /* 1: the activation's range is not all of int8 */
    eb_output_stage range;
} eb_mul_dsp_params;

void eb_mul_s8_dsp(const eb_mul_dsp_params *p, const int8_t *a, const int8_t *b, int8_t *out);

#endif /* EB_ELEMENTWISE_DSP_H */
