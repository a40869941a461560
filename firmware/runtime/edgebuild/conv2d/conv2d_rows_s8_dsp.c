/* CONV_2D over few input channels with the DSP extension, 2 pixels x 4 channels at a time, straight
 * from the rows under the kernel, each of which is widened to halfwords once.
 *
 * Rows lie interleaved: for each value of a row (a channel of a column) that of each of the
 * kernel's rows in turn, so that all under the kernel at a pixel is one run of halfwords. A step
 * down drops the topmost rows: everything begins as many halfwords later, and what comes in at the
 * bottom takes the place of what was dropped one value further right. At the end of the memory all
 * moves back to its start. Where runs may begin at odd halfwords a second copy lies one halfword
 * lower, so that all words are aligned.
 *
 * Weights: for each four output channels the starts of the sums of channels 1 and 3; for each word
 * of a run one of channels 0 and 1 and one of 2 and 3, whose halfwords hold first + 256 * second;
 * start and multiplier of channels 0 and 2; multipliers of 1 and 3. Zeros fill channels and run.
 * A start is 256 * bias + fraction, see single_rounding.py: the output is eb_scale_once of it plus
 * 256 times the sum of the products. SMLAD of a raw word sums products of both channels of a pair,
 * SXTB16 leaves the first; the difference is 256 times the second's sum. */
#include "../common/eb_channel_dsp.h"
#include "../common/eb_scale_dsp.h"
#include "conv2d_rows.h"

/* Pairs of neighbouring pixels of an output row, all channels. */
typedef struct {
    const int16_t *x; /* the run of the first pixel */
    const int32_t *weights;
    int8_t *out;
    int32_t apart;    /* bytes from the run of a pair's first pixel to that of its second */
    int32_t distance; /* bytes from the first one's outputs to the second's */
    int32_t channels;
    int32_t bytes; /* of a run */
    int32_t next;  /* bytes from a pair's run to that of the next */
    int32_t pairs;
    int32_t skip;  /* bytes of code before a run's second word, see WORD */
} job;

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* A pair of channels: sums of both in `b` for pixel 0, `B` for 1, of the first in `f` and `F`. */
#define PAIR(b, B, f, F)                                                                           \
    "smlad " b ", r2, r12, " b "\n smlad " B ", r3, r12, " B "\n sxtb16 r12, r12\n"                \
    "smlad " f ", r2, r12, " f "\n smlad " F ", r3, r12, " F "\n"

/* The same for the first word: `b` holds the start. */
#define FIRST_PAIR(b, B, f, F)                                                                     \
    "smlad " B ", r3, r12, " b "\n smlad " b ", r2, r12, " b "\n sxtb16 r12, r12\n"                \
    "smuad " f ", r2, r12\n smuad " F ", r3, r12\n"

/* Two values of both pixels: r0 pixels, lr apart, r1 weights. */
#define WORD(PAIR)                                                                                 \
    "ldr.w r3, [r0, lr]\n ldr.w r2, [r0], #4\n ldr.w r12, [r1], #4\n" PAIR("r5", "r9", "r4", "r8") \
    "ldr.w r12, [r1], #4\n" PAIR("r7", "r11", "r6", "r10")
#define WORD_BYTES 56

#define EIGHT(WORD) WORD WORD WORD WORD WORD WORD WORD WORD
#define UNROLLED 16

/* Channels of a pair apart, with the start of the first one; requantized. */
#define SCALE                                                                                      \
    "sub r5, r4\n sub r9, r8\n sub r7, r6\n sub r11, r10\n"                                        \
    "ldmia r1!, {r0, r2, r3, r12}\n"                                                               \
    "add r4, r0, r4, lsl #8\n add r8, r0, r8, lsl #8\n"                                            \
    "add r6, r3, r6, lsl #8\n add r10, r3, r10, lsl #8\n" EB_LOW("r0")                             \
    EB_ONCE("r4", "r2", "r0") EB_ONCE("r8", "r2", "r0")                                            \
    EB_ONCE("r6", "r12", "r0") EB_ONCE("r10", "r12", "r0")                                         \
    "ldmia r1!, {r2, r3}\n"                                                                        \
    EB_ONCE("r5", "r2", "r0") EB_ONCE("r9", "r2", "r0")                                            \
    EB_ONCE("r7", "r3", "r0") EB_ONCE("r11", "r3", "r0")                                           \
    EB_ONCE_NARROW("r4") EB_ONCE_NARROW("r5") EB_ONCE_NARROW("r6") EB_ONCE_NARROW("r7")            \
    EB_ONCE_NARROW("r8") EB_ONCE_NARROW("r9") EB_ONCE_NARROW("r10") EB_ONCE_NARROW("r11")

/* Four bytes of each pixel, in r4 and r8. */
#define PACK                                                                                       \
    "bfi r4, r5, #8, #24\n bfi r6, r7, #8, #24\n pkhbt r4, r4, r6, lsl #16\n"                      \
    "bfi r8, r9, #8, #24\n bfi r10, r11, #8, #24\n pkhbt r8, r8, r10, lsl #16\n"

/* The frame: 0 x, 4 weights, 8 out, 12 apart, 16 distance, 20 channels, 24 bytes, 28 next, 32
 * pairs, 36 the code of a run's second word, and of the first pixel: 40 the end of its run, 44 its
 * last four outputs. */
EB_NAKED multiply(EB_IN const job *j)
{
    __asm volatile(
        "push {r4-r11, lr}\n ldm r0, {r1-r10}\n"
        "adr.w r11, 3f\n add r10, r11\n orr r10, #1\n"
        "sub sp, #8\n push {r1-r10}\n"
        "1: ldr r0, [sp]\n ldr r1, [sp, #4]\n ldr r2, [sp, #24]\n ldr r3, [sp, #20]\n"
        "ldr r4, [sp, #8]\n ldr lr, [sp, #12]\n add r2, r0\n str r2, [sp, #40]\n"
        "add r3, r4\n subs r3, #4\n str r3, [sp, #44]\n"
        "2: ldr r5, [r1], #4\n ldr r7, [r1], #4\n" WORD(FIRST_PAIR)
        "ldr.w pc, [sp, #36]\n"
        ".balign 4\n"
        "3:\n" EIGHT(WORD(PAIR)) EIGHT(WORD(PAIR))
        "ldr r12, [sp, #40]\n cmp r0, r12\n bne 3b\n"
        SCALE PACK
        "ldr r2, [sp, #8]\n ldr r3, [sp, #16]\n ldr r12, [sp, #44]\n ldr r0, [sp]\n"
        "cmp r2, r12\n bhi 4f\n"
        "str r8, [r2, r3]\n str.w r4, [r2], #4\n str r2, [sp, #8]\n bne 2b\n"
        "5: add r2, r3\n str r2, [sp, #8]\n"
        "ldr r2, [sp, #28]\n ldr r3, [sp, #32]\n add r0, r2\n str r0, [sp]\n"
        "subs r3, #1\n str r3, [sp, #32]\n bne 1b\n"
        "add sp, #48\n pop {r4-r11, pc}\n"
        /* One to three channels. */
        "4: add r12, #4\n sub r12, r2\n add r3, r2\n"
        "6: strb r8, [r3], #1\n lsr r8, #8\n strb r4, [r2], #1\n lsr r4, #8\n"
        "subs r12, #1\n bne 6b\n"
        "ldr r3, [sp, #16]\n b 5b\n");
}

/* Eight values into halfwords of r1, r2 bytes apart; lr holds three times r2. */
#define WIDEN                                                                                      \
    "ldrsb r4, [r0, #0]\n ldrsb r5, [r0, #1]\n ldrsb r6, [r0, #2]\n ldrsb r7, [r0, #3]\n"          \
    "ldrsb r8, [r0, #4]\n ldrsb r9, [r0, #5]\n ldrsb r10, [r0, #6]\n ldrsb r11, [r0, #7]\n"        \
    "strh r4, [r1]\n strh r5, [r1, r2]\n strh r6, [r1, r2, lsl #1]\n add r12, r1, lr\n"           \
    "strh r7, [r12]\n strh r8, [r12, r2]\n strh r9, [r12, r2, lsl #1]\n add r12, lr\n"            \
    "strh r10, [r12]\n strh r11, [r12, r2]\n add r0, #8\n add r1, r1, r2, lsl #3\n"

/* Widens 8 * n values, n > 0, into halfwords `bytes` apart. */
EB_NAKED widen_eights(EB_IN const int8_t *from, EB_IN int16_t *to, EB_IN int32_t bytes,
                      EB_IN int32_t n)
{
    __asm volatile(
        "push {r4-r11, lr}\n add lr, r2, r2, lsl #1\n"
        "1:" WIDEN "subs r3, #1\n bne 1b\n"
        "pop {r4-r11, pc}\n");
}

#else

#define WORD_BYTES 1
#define UNROLLED 16

/* The sum of a run, from `start` on, with every other word of weights. */
static int32_t sum(const int16_t *x, const int32_t *w, int32_t words, int32_t start, int first)
{
    for (; words > 0; words--, x += 2, w += 2) {
        const uint32_t pair = (uint32_t)*w;
        start = eb_smlad(eb_load4((const int8_t *)x), first ? eb_even_bytes(pair) : pair, start);
    }
    return start;
}

/* Up to four channels of a pixel. */
static void four(const int16_t *x, const int32_t *w, int32_t words, int8_t *out, int32_t channels)
{
    const int32_t *const last = w + 2 + 2 * words;
    for (int32_t i = 0; i < channels; i++) {
        const int32_t *const own = w + 2 + i / 2;
        const uint32_t first = (uint32_t)sum(x, own, words, 0, 1);
        if (i % 2 == 0) {
            out[i] = eb_scale_once((int32_t)((uint32_t)last[i] + (first << 8)), last[i + 1]);
        } else {
            const uint32_t both = (uint32_t)sum(x, own, words, w[i / 2], 0);
            out[i] = eb_scale_once((int32_t)(both - first), last[4 + i / 2]);
        }
    }
}

static void multiply(const job *pixels)
{
    job j = *pixels;
    const int32_t words = j.bytes / 4;
    for (; j.pairs > 0; j.pairs--, j.x += j.next / 2, j.out += 2 * j.distance) {
        const int32_t *w = j.weights;
        for (int32_t c = 0; c < j.channels; c += 4, w += 2 * words + 8) {
            const int32_t n = eb_min_i32(4, j.channels - c);
            four(j.x + j.apart / 2, w, words, j.out + j.distance + c, n);
            four(j.x, w, words, j.out + c, n);
        }
    }
}

static void widen_eights(const int8_t *from, int16_t *to, int32_t bytes, int32_t n)
{
    for (n *= 8; n > 0; n--, to += bytes / 2) {
        *to = *from++;
    }
}

#endif

/* n halfwords of padding, kernel_h apart. */
static int16_t *fill(const eb_conv2d_rows_params *p, int32_t n, int16_t *to)
{
    for (; n > 0; n--, to += p->kernel_h) {
        *to = (int16_t)p->pad;
    }
    return to;
}

/* Widens a row, or padding without one, into every kernel_h-th halfword. */
static void widen(const eb_conv2d_rows_params *p, const int8_t *row, int16_t *to)
{
    const int32_t apart = p->kernel_h;
    const int32_t inside = row == NULL ? 0 : eb_min_i32(p->line, p->values - p->lead);
    to = fill(p, p->lead, to);
    if (inside >= 8) {
        widen_eights(row, to, 2 * apart, inside / 8);
    }
    for (int32_t i = inside / 8 * 8; i < inside; i++) {
        to[i * apart] = row[i];
    }
    to += inside * apart;
    (void)fill(p, p->values - p->lead - inside, to);
}

/* The run that begins `at` halfwords from the rows' start. */
static const int16_t *run_at(const eb_conv2d_rows_params *p, const int16_t *rows, int32_t at)
{
    return rows + (at % 2 != 0 ? p->second + at - 1 : at);
}

/* Output row y, over the rows from halfword `at` on. Of an odd number of pixels the last one is
 * computed together with that of the next row: its run is kept until then. */
static void output_row(const eb_conv2d_rows_params *p, int32_t y, const int16_t *rows, int32_t at,
                       int8_t *out, int16_t *kept)
{
    const int32_t pairs = p->out_w / 2, step = p->step * p->kernel_h;
    const int16_t *const x = run_at(p, rows, at), *const other = run_at(p, rows, at + step);
    job j = { x, p->weights, out, 2 * (int32_t)(other - x), p->out_c, p->out_c, 4 * p->words,
              4 * step, pairs, ((1 - p->words) & (UNROLLED - 1)) * WORD_BYTES };
    if (pairs > 0) {
        multiply(&j);
    }
    if (p->out_w % 2 != 0) {
        j.x += 2 * pairs * step;
        j.out += 2 * pairs * p->out_c;
        j.pairs = 1;
        j.apart = j.distance = 0;
        if (y % 2 != 0) {
            j.apart = 2 * (int32_t)(kept - j.x);
            j.distance = -p->out_w * p->out_c;
        } else if (y + 1 < p->out_h) {
            memcpy(kept, j.x, (size_t)p->words * 4);
            return;
        }
        multiply(&j);
    }
}

static void convolve(const eb_conv2d_rows_params *p, const int8_t *image, int8_t *output,
                     int16_t *rows)
{
    const int32_t kernel_h = p->kernel_h, used = p->second + p->values * kernel_h;
    const int32_t dropped = p->stride_h < kernel_h ? p->stride_h : 0;
    int16_t *const kept = rows + p->kept;
    int32_t at = 0, top = -p->pad_top, known = top; /* rows from `known` on are not there yet */
    for (int32_t y = 0; y < p->out_h; y++, top += p->stride_h, at += dropped) {
        if (at > p->reserve) {
            memmove(rows, rows + at, (size_t)used * sizeof *rows);
            at = 0;
        }
        for (known = eb_max_i32(known, top); known < top + kernel_h; known++) {
            const int inside = known >= 0 && known < p->in_h;
            const int8_t *const row = inside ? image + known * p->line : NULL;
            widen(p, row, rows + at + (known - top));
            if (p->second > 0) {
                widen(p, row, rows + p->second + at + (known - top) - 1);
            }
        }
        output_row(p, y, rows, at, output, kept);
        output += p->out_w * p->out_c;
    }
}

void eb_conv2d_rows_s8_dsp(const eb_conv2d_rows_params *p, const int8_t *input, int8_t *output,
                           void *scratch)
{
    const int32_t bytes = p->out_h * p->out_w * p->out_c;
    for (int32_t b = 0; b < p->batches; b++) {
        convolve(p, input + b * p->in_h * p->line, output + b * bytes, (int16_t *)scratch);
    }
    if (p->clamp) {
        eb_clamp_all_dsp(output, p->batches * bytes, &p->output);
    }
}
