/* FULLY_CONNECTED with Helium: batches by three, and four units at a time where there are fewer. */
#include "fully_connected_mve.h"

void eb_fully_connected_s8_mve(const eb_fully_connected_mve_params *p, const int8_t *input,
                               int8_t *output, void *scratch)
{
    const eb_matmul_mve_params *const product = &p->product;
    int32_t *const sums = (int32_t *)scratch;
    const int32_t by_three = p->batches / 3 * 3;
    if (by_three > 0) {
        eb_matmul_mve(product, input, product->depth, by_three, sums, output);
    }
    for (int32_t b = by_three; b < p->batches; b++) {
        eb_matmul_one_mve(product, input + b * product->depth, sums, output + b * product->out_c);
    }
    eb_clamp_all_mve(output, p->batches * product->out_c, product->output.min,
                     product->output.max);
}
