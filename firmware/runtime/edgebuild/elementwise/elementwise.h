/* ADD, SUB, MUL, MAXIMUM, MINIMUM on int8, with broadcasting.
 *
 * The output is walked as four nested loops; an operand that is broadcast along a loop has stride 0
 * there. Neighbouring loops that can be one are merged when the code is generated. An operand and
 * the output may be the same memory when the operand is not broadcast. */
#ifndef EB_ELEMENTWISE_H
#define EB_ELEMENTWISE_H

#include <stdint.h>

#include "../common/eb_math.h"

typedef struct {
    int32_t count[4];
    int32_t stride0[4];
    int32_t stride1[4];
} eb_broadcast;

/* Each operand is shifted left by 20 bits and scaled; `sign1` is -1 for SUB. */
typedef struct {
    eb_broadcast loops;
    int32_t multiplier0, multiplier1, multiplier;
    int8_t zero_point0, right0;
    int8_t zero_point1, right1;
    int8_t sign1;
    int8_t right, offset;
    int8_t min, max;
} eb_add_params;

typedef struct {
    eb_broadcast loops;
    int32_t multiplier;
    int8_t zero_point0, zero_point1;
    int8_t shift, offset;
    int8_t min, max;
} eb_mul_params;

typedef struct {
    eb_broadcast loops;
} eb_minmax_params;

void eb_add_s8(const eb_add_params *p, const int8_t *a, const int8_t *b, int8_t *out);
void eb_mul_s8(const eb_mul_params *p, const int8_t *a, const int8_t *b, int8_t *out);
void eb_maximum_s8(const eb_minmax_params *p, const int8_t *a, const int8_t *b, int8_t *out);
void eb_minimum_s8(const eb_minmax_params *p, const int8_t *a, const int8_t *b, int8_t *out);

#endif /* EB_ELEMENTWISE_H */
