/* CONV_2D with a kernel of 1x1 and the DSP extension, see conv2d_pairs_dsp.c: each row, or
 * everything where no pixel is left out, is one run of pairs. */
#include "../common/eb_channel_dsp.h"
#include "conv2d.h"
#include "conv2d_pairs_dsp.h"

void eb_conv2d_1x1_s8_dsp(const eb_conv2d_1x1_params *p, const int8_t *input, int8_t *output,
                          void *scratch)
{
    const int32_t out_c = p->out_c;
    uint32_t *const columns = (uint32_t *)scratch;
    eb_pixel_pairs job = { .columns = columns,
                           .limit = (uintptr_t)(columns + p->in_c) - (uintptr_t)p->once,
                           .entry = eb_pairs_entry(p->in_c),
                           .out = output,
                           .in_step = 2 * p->pixel_step,
                           .out_step = out_c,
                           .stream = (const uint32_t *)(const void *)p->stream,
                           .row = 4 * p->in_c };
    for (int32_t batch = 0; batch < p->batches; batch++) {
        for (int32_t y = 0; y < p->rows; y++) {
            job.in = input + batch * p->image_step + y * p->row_step;
            job.pairs = p->pixels / 2;
            job.in_distance = p->pixel_step;
            job.out_distance = out_c;
            if (job.pairs > 0) {
                job.out_four = job.out + out_c - 4;
                eb_conv2d_pairs_dsp(&job);
                job.in += job.pairs * job.in_step;
                job.out += job.pairs * 2 * out_c;
            }
            if (p->pixels % 2 != 0) {
                job.pairs = 1;
                job.in_distance = job.out_distance = 0;
                job.out_four = job.out + out_c - 4;
                eb_conv2d_pairs_dsp(&job);
                job.out += out_c;
            }
        }
    }
    if (p->clamp) {
        eb_clamp_all_dsp(output, p->batches * p->rows * p->pixels * out_c, &p->output);
    }
}
