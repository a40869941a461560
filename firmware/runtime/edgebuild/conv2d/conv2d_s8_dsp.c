/* CONV_2D with the DSP extension, see conv2d_pairs_dsp.c: the bytes under the kernel of two pixels
 * become columns. */
#include "../common/eb_channel_dsp.h"
#include "conv2d.h"
#include "conv2d_columns.h"
#include "conv2d_pairs_dsp.h"

/* The depth with the zeros behind it. */
static int32_t padded(const eb_conv2d_params *p) { return (p->depth + 3) / 4 * 4; }

/* Widens bytes of two pixels to the columns of `depth` values. */
static void widen2(const int8_t *source0, const int8_t *source1, int32_t depth, uint32_t *column)
{
    for (; depth > 0; depth -= 4, source0 += 4, source1 += 4, column += 4) {
        const uint32_t x = eb_load4(source0), y = eb_load4(source1);
        column[0] = eb_even_bytes(x);
        column[1] = eb_even_bytes(y);
        column[2] = eb_odd_bytes(x);
        column[3] = eb_odd_bytes(y);
    }
}

/* Copies the kernel's rows by words: up to three bytes more are read and written behind each. */
static int8_t *copy_rows(const eb_conv2d_params *p, const int8_t *row, int8_t *to)
{
    const int32_t run = p->kernel_w * p->kernel_c;
    for (int32_t ky = p->kernel_h; ky > 0; ky--) {
        for (int32_t i = 0; i < run; i += 4) {
            const uint32_t x = eb_load4(row + i);
            memcpy(to + i, &x, sizeof x);
        }
        row += p->dilation_h * p->in_w * p->in_c;
        to += run;
    }
    return to;
}

/* The columns of two pixels, or of one twice: `step` is the distance from the first to the second.
 * Where all rows of the kernel lie `inside`, and bytes behind the last one too, it copies words. */
static void fill(const eb_conv2d_params *p, const int8_t *image, int32_t top, int32_t left,
                 int32_t step, int inside, uint32_t *columns)
{
    const int32_t c = p->kernel_c;
    const int32_t right = left + step + p->kernel_w;
    const int32_t bottom = top + (p->kernel_h - 1) * p->dilation_h;
    int8_t *const narrow = (int8_t *)(columns + padded(p));
    int8_t *second = narrow;
    if (inside && ((p->in_h - bottom) * p->in_w - right) * c >= 3) {
        const int8_t *const row = image + (top * p->in_w + left) * c;
        second = copy_rows(p, row, narrow);
        (void)copy_rows(p, row + step * c, second);
    } else {
        eb_im2col(p, image, top, left, narrow);
        if (step > 0) {
            second += p->depth;
            eb_im2col(p, image, top, left + step, second);
        }
    }
    /* Up to three bytes behind meet zero weights. */
    widen2(narrow, second, padded(p), columns);
}

/* One output row of all groups. Where rows of the kernel are whole words, pairs whose kernels lie
 * inside the image are one run, without fill. */
static void row(const eb_conv2d_params *p, const int8_t *image, int32_t top, int8_t *output,
                eb_pixel_pairs *job)
{
    const int32_t stride = p->groups * p->out_c;
    const int32_t words = (p->out_c + 3) / 4 * (padded(p) + (p->once ? 8 : 16)); /* of a group */
    const int32_t bottom = top + (p->kernel_h - 1) * p->dilation_h;
    const int inside_y = top >= 0 && bottom < p->in_h && p->contiguous;
    for (int32_t x = 0; x < p->out_w; x += 2 * job->pairs) {
        const int32_t other = x + 1 < p->out_w ? 1 : 0;
        const int32_t step = other * p->stride_w;
        const int32_t left = x * p->stride_w - p->pad_left;
        const int32_t rest = p->in_w - p->kernel_w - step - left; /* pixels to the right of both */
        const int inside = inside_y && left >= 0 && rest >= 0;
        const int direct = inside && p->kernel_w * p->kernel_c % 4 == 0;
        job->in = direct ? image + (top * p->in_w + left) * p->in_c : NULL;
        job->pairs = 1;
        if (direct && other) {
            job->pairs = eb_min_i32((p->out_w - x) / 2, rest / (2 * p->stride_w) + 1);
        }
        job->in_distance = step * p->in_c;
        job->out_distance = other * stride;
        job->stream = (const uint32_t *)(const void *)p->channels;
        for (int32_t g = 0; g < p->groups; g++) {
            if (!direct) {
                fill(p, image + g * p->kernel_c, top, left, step, inside, job->columns);
            }
            job->out = output;
            output += p->out_c;
            job->out_four = output - 4;
            eb_conv2d_pairs_dsp(job);
            job->stream += words;
        }
        output += (2 * job->pairs - 1) * job->out_distance;
    }
}

void eb_conv2d_s8_dsp(const eb_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch)
{
    const int32_t pixels = p->out_h * p->out_w;
    const int32_t out_c = p->groups * p->out_c;
    const int32_t run = p->kernel_w * p->kernel_c;
    uint32_t *const columns = (uint32_t *)scratch;
    eb_pixel_pairs job = { .columns = columns,
                           .limit = (uintptr_t)(columns + padded(p)) - (uintptr_t)p->once,
                           .entry = eb_pairs_entry(padded(p)),
                           .in_step = 2 * p->stride_w * p->in_c,
                           .out_step = p->out_c,
                           .row = 4 * run,
                           .in_skip = p->dilation_h * p->in_w * p->in_c - run };
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->in_c;
        int8_t *const out = output + b * pixels * out_c;
        for (int32_t y = 0; y < p->out_h; y++) {
            row(p, image, y * p->stride_h - p->pad_top, out + y * p->out_w * out_c, &job);
        }
    }
    if (p->clamp) {
        eb_clamp_all_dsp(output, p->batches * pixels * out_c, &p->output);
    }
}
