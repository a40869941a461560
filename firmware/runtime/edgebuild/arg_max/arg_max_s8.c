#include "arg_max.h"

void eb_arg_max_s8(const eb_arg_max_params *p, const int8_t *input, int32_t *output)
{
    for (int32_t k = 0; k < p->outer; k++) {
        for (int32_t i = 0; i < p->inner; i++) {
            const int8_t *in = input + i;
            int32_t best = *in;
            int32_t where = 0;
            for (int32_t j = 1; j < p->axis; j++) {
                in += p->inner;
                if (*in > best) {
                    best = *in;
                    where = j;
                }
            }
            *output++ = where;
        }
        input += p->axis * p->inner;
    }
}
