/* ADD, SUB and MUL with Helium; the innermost strides are 0 or 1. */
#ifndef EB_ELEMENTWISE_MVE_H
#define EB_ELEMENTWISE_MVE_H

#include "elementwise.h"

void eb_add_s8_mve(const eb_add_params *p, const int8_t *a, const int8_t *b, int8_t *out);

/* Only where the product is not shifted to the left. */
void eb_mul_s8_mve(const eb_mul_params *p, const int8_t *a, const int8_t *b, int8_t *out);

#endif /* EB_ELEMENTWISE_MVE_H */
