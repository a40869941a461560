/* CONV_2D with NEON: the rows under an output row are padded, their runs multiplied in place. */
#include "conv2d_neon.h"

#include "../common/eb_neon.h"

#define GATHERED 8 /* pixels */

/* Where the runs of an output row's first pixel start. */
static void find_runs(const eb_conv2d_neon_params *p, const eb_rows *rows, const int8_t *image,
                      int32_t y, int32_t group, const int8_t **runs)
{
    for (int32_t ky = 0; ky < p->rows.kernel_h; ky++) {
        const int8_t *const row = eb_rows_get(rows, image, y, ky) + group * p->kernel_c;
        for (int32_t kx = 0; kx < (p->joined ? 1 : p->kernel_w); kx++) {
            *runs++ = row + kx * p->dilation_w * p->rows.in_c;
        }
    }
}

/* Copies the runs of one pixel together; up to 16 bytes more are read and written. */
static void gather(const eb_conv2d_neon_params *p, const int8_t *const *runs, int32_t distance,
                   int8_t *column)
{
    const int32_t bytes = p->joined ? p->kernel_w * p->kernel_c : p->kernel_c;
    const int32_t count = p->rows.kernel_h * (p->joined ? 1 : p->kernel_w);
    for (int32_t r = 0; r < count; r++, column += bytes) {
        const int8_t *const from = runs[r] + distance;
        int32_t i = 0;
        do {
            vst1q_s8(column + i, vld1q_s8(from + i));
            i += 16;
        } while (i < bytes);
    }
}

/* One output row of one group. */
static void output_row(const eb_conv2d_neon_params *p, const int8_t *const *runs, int32_t group,
                       int8_t *columns, int8_t *out)
{
    const int32_t out_stride = p->groups * p->product.out_c;
    const int32_t step = p->stride_w * p->rows.in_c;
    if (!p->gather) {
        eb_matmul_neon(&p->product, group, runs, step, p->out_w, out, out_stride);
        return;
    }
    const int32_t depth = 8 * p->product.blocks;
    const int8_t *const rows[1] = { columns };
    for (int32_t x = 0; x < p->out_w; x += GATHERED) {
        const int32_t pixels = eb_min_i32(p->out_w - x, GATHERED);
        for (int32_t i = 0; i < pixels; i++) {
            gather(p, runs, (x + i) * step, columns + i * depth);
        }
        eb_matmul_neon(&p->product, group, rows, depth, pixels, out + x * out_stride, out_stride);
    }
}

void eb_conv2d_s8_neon(const eb_conv2d_neon_params *p, const int8_t *input, int8_t *output,
                       void *scratch)
{
    const int32_t count = p->rows.kernel_h * (p->joined ? 1 : p->kernel_w);
    const int8_t **const runs = (const int8_t **)scratch;
    int8_t *const columns = (int8_t *)scratch + (count * 8 + 15) / 16 * 16;
    const int32_t gathered = p->gather ? GATHERED * 8 * p->product.blocks + 16 : 0;
    const eb_rows rows = eb_rows_start(&p->rows, columns + gathered);
    for (int32_t b = 0; b < p->batches; b++) {
        eb_rows_forget(&rows);
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t g = 0; g < p->groups; g++) {
                find_runs(p, &rows, input, y, g, runs);
                output_row(p, runs, g, columns, output + g * p->product.out_c);
            }
            output += p->out_w * p->groups * p->product.out_c;
        }
        input += p->rows.in_h * p->rows.in_w * p->rows.in_c;
    }
}
