/* ADD, SUB, MUL, MAXIMUM, MINIMUM with NEON; the innermost strides are 0 or 1. */
#ifndef EB_ELEMENTWISE_NEON_H
#define EB_ELEMENTWISE_NEON_H

#include "elementwise.h"

void eb_add_s8_neon(const eb_add_params *p, const int8_t *a, const int8_t *b, int8_t *out);
void eb_mul_s8_neon(const eb_mul_params *p, const int8_t *a, const int8_t *b, int8_t *out);
void eb_maximum_s8_neon(const eb_minmax_params *p, const int8_t *a, const int8_t *b, int8_t *out);
void eb_minimum_s8_neon(const eb_minmax_params *p, const int8_t *a, const int8_t *b, int8_t *out);

#endif /* EB_ELEMENTWISE_NEON_H */
