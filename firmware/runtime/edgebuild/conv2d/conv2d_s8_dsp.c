/* CONV_2D with the DSP extension: 2 pixels x 4 channels x 8 values of depth a round, and 2 x 2 for what
 * is left over of the channels.
 *
 * Weights: for each pair of output channels and each 8 values of depth four words, for the values
 * (0, 2), (1, 3), (4, 6) and (5, 7); see eb_both_biases for what a halfword holds. Zeros fill the
 * depth and an odd channel. Columns hold, in the same order, a word of one pixel and a word of the
 * other: SXTB16 widens bytes 0, 2 and bytes 1, 3, so that nothing is ever shuffled. */
#include "../common/eb_channel_dsp.h"
#include "../common/eb_scale_dsp.h"
#include "conv2d.h"
#include "conv2d_columns.h"

/* Widens n bytes of a pixel into every second word of `column`; behind the last come zeros. */
static uint32_t *widen(const int8_t *source, int32_t n, uint32_t *column)
{
    for (; n > 0; n -= 4, source += 4, column += 4) {
        uint32_t x = 0;
        if (n >= 4) {
            x = eb_load4(source);
        } else {
            for (int32_t i = n - 1; i >= 0; i--) {
                x = (x << 8) | (uint8_t)source[i];
            }
        }
        column[0] = eb_even_bytes(x);
        column[2] = eb_odd_bytes(x);
    }
    return column;
}

/* The same for two pixels at once. */
static uint32_t *widen2(const int8_t *source0, const int8_t *source1, int32_t n, uint32_t *column)
{
    for (; n >= 4; n -= 4, source0 += 4, source1 += 4, column += 4) {
        const uint32_t x = eb_load4(source0), y = eb_load4(source1);
        column[0] = eb_even_bytes(x);
        column[1] = eb_even_bytes(y);
        column[2] = eb_odd_bytes(x);
        column[3] = eb_odd_bytes(y);
    }
    if (n > 0) {
        (void)widen(source0, n, column);
        (void)widen(source1, n, column + 1);
    }
    return column;
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
 * Rows of the kernel that lie inside are widened from where they are, or copied by words. */
static void fill(const eb_conv2d_params *p, const int8_t *image, int32_t top, int32_t left,
                 int32_t step, uint32_t *columns)
{
    const int32_t c = p->kernel_c;
    const int32_t run = p->kernel_w * c;
    const int32_t right = left + step + p->kernel_w;
    const int32_t bottom = top + (p->kernel_h - 1) * p->dilation_h;
    const int inside = top >= 0 && bottom < p->in_h && left >= 0 && right <= p->in_w;
    int8_t *const narrow = (int8_t *)(columns + (p->depth + 7) / 8 * 8);
    int8_t *second = narrow;
    if (inside && p->contiguous) {
        const int8_t *row = image + (top * p->in_w + left) * c;
        if (run % 4 == 0) {
            for (int32_t ky = p->kernel_h; ky > 0; ky--) {
                columns = widen2(row, row + step * c, run, columns);
                row += p->dilation_h * p->in_w * c;
            }
            return;
        }
        if (((p->in_h - bottom) * p->in_w - right) * c >= 3) { /* bytes behind the last one */
            second = copy_rows(p, row, narrow);
            (void)copy_rows(p, row + step * c, second);
            (void)widen2(narrow, second, (p->depth + 3) / 4 * 4, columns);
            return;
        }
    }
    eb_im2col(p, image, top, left, narrow);
    if (step > 0) {
        second += p->depth;
        eb_im2col(p, image, top, left + step, second);
    }
    /* Up to three bytes behind meet zero weights. */
    (void)widen2(narrow, second, (p->depth + 3) / 4 * 4, columns);
}

typedef struct {
    int32_t first0, first1, both0, both1; /* of pixel 0 and pixel 1 */
} sums;

static inline sums step(sums s, eb_pair x, uint32_t w)
{
    const uint32_t first = eb_even_bytes(w);
    s.first0 = eb_smlad(x.first, first, s.first0);
    s.first1 = eb_smlad(x.second, first, s.first1);
    s.both0 = eb_smlad(x.first, w, s.both0);
    s.both1 = eb_smlad(x.second, w, s.both1);
    return s;
}

/* The columns of two pixels, and where their outputs go. A single pixel is there twice. */
typedef struct {
    const uint32_t *end; /* of the columns */
    int8_t *out0, *out1;
    int32_t fours; /* groups of four channels */
} pixel_pair;

/* One channel, or two, of two pixels. */
static void two_channels(const uint32_t *x, const uint32_t *w, const eb_channel_dsp *c,
                         const pixel_pair *to, int32_t channels)
{
    const int32_t both = eb_both_biases(c);
    sums s = { c->bias, c->bias, both, both };
    do {
        eb_pair words = eb_next_pair(&w);
        s = step(s, eb_next_pair(&x), words.first);
        s = step(s, eb_next_pair(&x), words.second);
        words = eb_next_pair(&w);
        s = step(s, eb_next_pair(&x), words.first);
        s = step(s, eb_next_pair(&x), words.second);
    } while (x != to->end);
    to->out1[0] = eb_scale_dsp(eb_twice(s.first1), c[0]);
    to->out0[0] = eb_scale_dsp(eb_twice(s.first0), c[0]);
    if (channels > 1) {
        to->out1[1] = eb_scale_dsp(eb_twice_second(s.both1, s.first1), c[1]);
        to->out0[1] = eb_scale_dsp(eb_twice_second(s.both0, s.first0), c[1]);
    }
}

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* Sums of both channels of the first pair in r4 and r5 (pixel 0 and 1), of its first channel in r6 and
 * r7; of the second pair in r8 to r11. r0: columns; r1, r2: weights of the pairs. The frame: 0 c, 4 x,
 * 8 end, 12 out0, 16 out1, 20 groups of four that are left, 24 weights of the next one. */
#define VALUES                                                                                     \
    "ldr r3, [r0], #4\n ldr r12, [r0], #4\n ldr lr, [r1], #4\n"                                    \
    "smlad r4, r3, lr, r4\n smlad r5, r12, lr, r5\n sxtb16 lr, lr\n"                               \
    "smlad r6, r3, lr, r6\n smlad r7, r12, lr, r7\n ldr lr, [r2], #4\n"                            \
    "smlad r8, r3, lr, r8\n smlad r9, r12, lr, r9\n sxtb16 lr, lr\n"                               \
    "smlad r10, r3, lr, r10\n smlad r11, r12, lr, r11\n"

/* Channel `at` of both pixels, with the offsets of its numbers from c. */
#define CHANNEL(HIGH, s0, s1, at, multiplier, round, right)                                        \
    "ldr r1, [r0, #" multiplier "]\n ldr r12, [r0, #" round "]\n ldr lr, [r0, #" right "]\n"        \
    HIGH(s0, "r1", "r12") HIGH(s1, "r1", "r12") EB_NARROW(s0, "lr") EB_NARROW(s1, "lr")            \
    "strb " s1 ", [r3, #" at "]\n strb " s0 ", [r2, #" at "]\n"

#define FOUR_CHANNELS(HIGH)                                                                        \
    "push {r4-r11, lr}\n"                                                                          \
    "ldmia r3, {r4-r7}\n"                                                                          \
    "mov r3, r0\n"                                                                                 \
    "push {r2-r8}\n"                                                                               \
    "0: ldr r2, [sp]\n ldr r0, [sp, #4]\n ldr r3, [sp, #8]\n"                                      \
    "ldr r6, [r2]\n ldr r5, [r2, #16]\n ldr r10, [r2, #32]\n ldr r9, [r2, #48]\n"                  \
    "add r4, r6, r5, lsl #8\n mov r5, r4\n mov r7, r6\n"                                           \
    "add r8, r10, r9, lsl #8\n mov r9, r8\n mov r11, r10\n"                                        \
    "sub r3, r0\n add r2, r1, r3, lsr #1\n"                                                        \
    "1:\n" VALUES VALUES VALUES VALUES                                                             \
    "ldr r3, [sp, #8]\n cmp r0, r3\n bne 1b\n"                                                     \
    "str r2, [sp, #24]\n"                                                                          \
    "ldr r0, [sp]\n ldr r2, [sp, #12]\n ldr r3, [sp, #16]\n"                                       \
    EB_APART("r4", "r6") EB_APART("r5", "r7") EB_APART("r8", "r10") EB_APART("r9", "r11")          \
    CHANNEL(HIGH, "r6", "r7", "0", "4", "8", "12")                                                 \
    CHANNEL(HIGH, "r4", "r5", "1", "20", "24", "28")                                               \
    CHANNEL(HIGH, "r10", "r11", "2", "36", "40", "44")                                             \
    CHANNEL(HIGH, "r8", "r9", "3", "52", "56", "60")                                               \
    "add r0, #64\n str r0, [sp]\n add r2, #4\n str r2, [sp, #12]\n"                               \
    "add r3, #4\n str r3, [sp, #16]\n ldr r4, [sp, #20]\n ldr r1, [sp, #24]\n"                    \
    "subs r4, #1\n str r4, [sp, #20]\n bne 0b\n"                                                   \
    "add sp, #28\n"                                                                                \
    "pop {r4-r11, pc}\n"

/* The channels of to->fours groups of four. */
#define FOUR(name, HIGH)                                                                           \
    EB_NAKED name(EB_IN const uint32_t *x, EB_IN const uint32_t *w, EB_IN const eb_channel_dsp *c, \
                  EB_IN const pixel_pair *to)                                                      \
    {                                                                                              \
        __asm volatile(FOUR_CHANNELS(HIGH));                                                       \
    }

FOUR(four_channels, EB_HIGH_ANY)
FOUR(four_channels_floor, EB_HIGH_FLOOR)

#else

static void four_channels(const uint32_t *x, const uint32_t *w, const eb_channel_dsp *c,
                          const pixel_pair *to)
{
    pixel_pair pair = *to;
    for (int32_t n = 2 * to->fours; n > 0; n--, c += 2, pair.out0 += 2, pair.out1 += 2) {
        two_channels(x, w, c, &pair, 2);
        w += (to->end - x) / 2;
    }
}

#define four_channels_floor four_channels

#endif

/* Multiplies the columns of two pixels with all channels of a group; returns the end of its weights.
 * A single pixel comes with out1 the same as out0. */
static const uint32_t *multiply(const eb_conv2d_params *p, const uint32_t *w,
                                const eb_channel_dsp *c, const uint32_t *columns, int8_t *out0,
                                int8_t *out1)
{
    const int32_t words = (p->depth + 7) / 8 * 4; /* of a pair's weights */
    const int floors = p->output.offset == -128;
    const int32_t fours = p->out_c / 4;
    pixel_pair to = { columns + 2 * words, out0, out1, fours };
    if (fours > 0) {
        (floors ? four_channels_floor : four_channels)(columns, w, c, &to);
        w += 2 * fours * words;
        c += 4 * fours;
        to.out0 += 4 * fours;
        to.out1 += 4 * fours;
    }
    for (int32_t left = p->out_c % 4; left > 0; left -= 2) {
        two_channels(columns, w, c, &to, left);
        w += words;
        c += 2;
        to.out0 += 2;
        to.out1 += 2;
    }
    return w;
}

static void pointwise(const eb_conv2d_params *p, const int8_t *input, int8_t *output,
                      uint32_t *columns)
{
    const eb_channel_dsp *const channels = (const eb_channel_dsp *)p->channels;
    for (int32_t left = p->batches * p->out_h * p->out_w; left > 0; left -= 2) {
        const int32_t other = left > 1 ? 1 : 0;
        (void)widen2(input, input + other * p->in_c, p->in_c, columns);
        (void)multiply(p, (const uint32_t *)(const void *)p->weights, channels, columns, output,
                       output + other * p->out_c);
        input += 2 * p->in_c;
        output += 2 * p->out_c;
    }
}

/* One output row of all groups. */
static void row(const eb_conv2d_params *p, const int8_t *image, int32_t top, int8_t *output,
                uint32_t *columns)
{
    const int32_t stride = p->groups * p->out_c;
    for (int32_t x = 0; x < p->out_w; x += 2) {
        const uint32_t *weights = (const uint32_t *)(const void *)p->weights;
        const eb_channel_dsp *channels = (const eb_channel_dsp *)p->channels;
        const int32_t other = x + 1 < p->out_w ? 1 : 0;
        const int32_t left = x * p->stride_w - p->pad_left;
        for (int32_t g = 0; g < p->groups; g++) {
            fill(p, image + g * p->kernel_c, top, left, other * p->stride_w, columns);
            weights = multiply(p, weights, channels, columns, output, output + other * stride);
            channels += (p->out_c + 1) / 2 * 2;
            output += p->out_c;
        }
        output += other * stride;
    }
}

void eb_conv2d_s8_dsp(const eb_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch)
{
    const int32_t pixels = p->out_h * p->out_w;
    const int32_t out_c = p->groups * p->out_c;
    uint32_t *const columns = (uint32_t *)scratch;
    if (p->pointwise) {
        pointwise(p, input, output, columns);
    } else {
        for (int32_t b = 0; b < p->batches; b++) {
            const int8_t *const image = input + b * p->in_h * p->in_w * p->in_c;
            int8_t *const out = output + b * pixels * out_c;
            for (int32_t y = 0; y < p->out_h; y++) {
                row(p, image, y * p->stride_h - p->pad_top, out + y * p->out_w * out_c, columns);
            }
        }
    }
    if (p->clamp) {
        eb_clamp_all(output, p->batches * pixels * out_c, &p->output);
    }
}
