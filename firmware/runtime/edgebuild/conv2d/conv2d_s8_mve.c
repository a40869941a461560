/* CONV_2D with Helium: strips of im2col, three pixels and two channels at a time. */
#include "conv2d_mve.h"

static void windows(const eb_conv2d_mve_params *p, const int8_t *image, int8_t *output,
                    int32_t *sums, int8_t *strip)
{
    for (int32_t y = 0; y < p->out_h; y++) {
        for (int32_t x = 0; x < p->out_w; x += p->strip.pixels) {
            const int32_t n = eb_min_i32(p->strip.pixels, p->out_w - x);
            eb_fill_strip_mve(&p->strip, image, y, x, n, strip);
            eb_matmul_mve(&p->product, strip, p->strip.step, n, sums, output);
            output += n * p->product.out_c;
        }
    }
}

void eb_conv2d_s8_mve(const eb_conv2d_mve_params *p, const int8_t *input, int8_t *output,
                      void *scratch)
{
    int32_t *const sums = (int32_t *)scratch;
    const int32_t pixels = p->out_h * p->out_w;
    if (p->pointwise) {
        eb_matmul_mve(&p->product, input, p->product.depth, p->batches * pixels, sums, output);
    } else {
        const int32_t image = p->strip.in_h * p->strip.in_w * p->strip.in_c;
        for (int32_t b = 0; b < p->batches; b++) {
            windows(p, input + b * image, output + b * pixels * p->product.out_c, sums,
                    (int8_t *)(sums + 3 * EB_SUMS_CHANNELS));
        }
    }
    eb_clamp_all_mve(output, p->batches * pixels * p->product.out_c, p->product.output.min,
                     p->product.output.max);
}
