#include "../common/eb_math.h"
#include "resize.h"

/* Two neighbouring coordinates of the input, and the share of the second in 1/1024. */
typedef struct {
    int32_t low, high, share;
} coordinate;

static coordinate locate(int32_t position, int32_t length)
{
    /* Before the first pixel both neighbours are the first pixel. */
    const int32_t at = eb_max_i32(position, 0);
    coordinate c;
    c.low = at >> 10;
    c.high = eb_min_i32((at + 1023) >> 10, length - 1);
    c.share = at & 1023;
    return c;
}

void eb_resize_bilinear_s8(const eb_resize_bilinear_params *p, const int8_t *input, int8_t *output)
{
    const int32_t row = p->in_w * p->channels;
    for (int32_t b = 0; b < p->batches; b++) {
        for (int32_t y = 0; y < p->out_h; y++) {
            const coordinate cy = locate(y * p->scale_h + p->offset_h, p->in_h);
            const int8_t *top = input + cy.low * row;
            const int8_t *bottom = input + cy.high * row;
            for (int32_t x = 0; x < p->out_w; x++) {
                const coordinate cx = locate(x * p->scale_w + p->offset_w, p->in_w);
                const int32_t left = cx.low * p->channels;
                const int32_t right = cx.high * p->channels;
                const int32_t w11 = cy.share * cx.share;
                const int32_t w10 = (cy.share << 10) - w11;
                const int32_t w01 = (cx.share << 10) - w11;
                const int32_t w00 = (1 << 20) - w01 - w10 - w11;
                for (int32_t c = 0; c < p->channels; c++) {
                    const int32_t sum = w00 * top[left + c] + w01 * top[right + c] +
                                        w10 * bottom[left + c] + w11 * bottom[right + c];
                    const int32_t half = sum > 0 ? 1 << 19 : -(1 << 19);
                    *output++ = (int8_t)((sum + half) / (1 << 20));
                }
            }
        }
        input += p->in_h * row;
    }
}
