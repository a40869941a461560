/* CONV_2D over few input channels with the DSP extension, 2 pixels x 4 channels at a time, straight
 * from the rows under the kernel, each of which is widened to halfwords once.
 *
 * Rows lie interleaved: for each two values of a row (a column) a word of each of the kernel's rows in
 * turn, so that all under the kernel at a pixel is one run of words. A step down drops the topmost
 * rows: everything begins as many words later, and what comes in at the bottom takes the place of
 * what was dropped one column further right. At the end of the memory all moves back to its start.
 * Where a pixel to the right means an odd number of values, a second copy, which begins one value
 * later, serves every other pixel, so that all words are aligned.
 *
 * Weights: for each four output channels the starts of the sums of channels 1 and 3; for each word
 * of a run one of channels 0 and 1 and one of 2 and 3, whose halfwords hold first + 256 * second;
 * start and multiplier of channels 0 and 2; multipliers of 1 and 3. Zeros fill the channels and an odd
 * row. A start is 256 * bias + fraction, see single_rounding.py: the output is eb_scale_once of the
 * start and 256 times the sum of the products. SMLAD of a raw word sums products of both channels of a
 * pair, SXTB16 leaves the first; the difference is 256 times the second's sum. */
#include "../common/eb_channel_dsp.h"
#include "../common/eb_scale_dsp.h"
#include "conv2d_rows.h"

/* Pairs of neighbouring pixels of an output row, all channels. */
typedef struct {
    const uint32_t *x; /* the run of the first pixel */
    const uint32_t *weights;
    int8_t *out;
    int32_t apart;    /* bytes from the run of a pair's first pixel to that of its second */
    int32_t distance; /* bytes from the first one's outputs to the second's */
    int32_t channels;
    int32_t bytes; /* of a run */
    int32_t next;  /* bytes from a pair's run to that of the next */
    int32_t pairs;
    int32_t entry; /* bytes of code before the second word, see WORD */
    int32_t end, last; /* of the first pixel: the end of its run, its last four outputs */
} job;

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* Of a pair of channels, sums of both in `b` for pixel 0 and `B` for 1, of the first in `f` and `F`. */
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

/* The job lies on the stack, behind nine registers: 36 x, 40 weights, 44 out, 48 apart, 52 distance, 56
 * channels, 60 bytes, 64 next, 68 pairs, 72 entry, 76 end, 80 last. */
EB_NAKED multiply(EB_IN job j)
{
    __asm volatile(
        "push {r0-r3}\n push {r4-r11, lr}\n"
        "adr.w r4, 3f\n ldr r5, [sp, #72]\n add r4, r5\n orr r4, #1\n str r4, [sp, #72]\n"
        "1: ldr r0, [sp, #36]\n ldr r1, [sp, #40]\n ldr r2, [sp, #60]\n ldr r3, [sp, #56]\n"
        "ldr r4, [sp, #44]\n ldr lr, [sp, #48]\n add r2, r0\n str r2, [sp, #76]\n"
        "add r3, r4\n subs r3, #4\n str r3, [sp, #80]\n"
        "2: ldr r5, [r1], #4\n ldr r7, [r1], #4\n" WORD(FIRST_PAIR)
        "ldr.w pc, [sp, #72]\n"
        ".balign 4\n"
        "3:\n" EIGHT(WORD(PAIR)) EIGHT(WORD(PAIR))
        "ldr r12, [sp, #76]\n cmp r0, r12\n bne 3b\n"
        SCALE PACK
        "ldr r2, [sp, #44]\n ldr r3, [sp, #52]\n ldr r12, [sp, #80]\n ldr r0, [sp, #36]\n"
        "cmp r2, r12\n bhi 4f\n"
        "str r8, [r2, r3]\n str.w r4, [r2], #4\n str r2, [sp, #44]\n bne 2b\n"
        "5: add r2, r3\n str r2, [sp, #44]\n"
        "ldr r2, [sp, #64]\n ldr r3, [sp, #68]\n add r0, r2\n str r0, [sp, #36]\n"
        "subs r3, #1\n str r3, [sp, #68]\n bne 1b\n"
        "pop {r4-r11, lr}\n add sp, #16\n bx lr\n"
        /* One to three channels. */
        "4: add r12, #4\n sub r12, r2\n add r3, r2\n"
        "6: strb r8, [r3], #1\n lsr r8, #8\n strb r4, [r2], #1\n lsr r4, #8\n"
        "subs r12, #1\n bne 6b\n"
        "ldr r3, [sp, #52]\n b 5b\n");
}

#else

#define WORD_BYTES 1
#define UNROLLED 16

/* The sum of a run, from `start` on, with every other word of weights. */
static int32_t sum(const uint32_t *x, const uint32_t *w, int32_t words, int32_t start, int first)
{
    for (; words > 0; words--, w += 2) {
        start = eb_smlad(*x++, first ? eb_even_bytes(*w) : *w, start);
    }
    return start;
}

/* Up to four channels of a pixel. */
static void four(const uint32_t *x, const uint32_t *w, int32_t words, int8_t *out, int32_t channels)
{
    const uint32_t *const last = w + 2 + 2 * words;
    for (int32_t i = 0; i < channels; i++) {
        const uint32_t *const own = w + 2 + i / 2;
        const int32_t first = sum(x, own, words, 0, 1);
        if (i % 2 == 0) {
            out[i] = eb_scale_once((int32_t)(last[i] + ((uint32_t)first << 8)), (int32_t)last[i + 1]);
        } else {
            const int32_t both = sum(x, own, words, (int32_t)w[i / 2], 0);
            const int32_t second = (int32_t)((uint32_t)both - (uint32_t)first);
            out[i] = eb_scale_once(second, (int32_t)last[4 + i / 2]);
        }
    }
}

static void multiply(job j)
{
    const int32_t words = j.bytes / 4;
    for (; j.pairs > 0; j.pairs--, j.x += j.next / 4, j.out += 2 * j.distance) {
        const uint32_t *w = j.weights;
        for (int32_t c = 0; c < j.channels; c += 4, w += 2 * words + 8) {
            const int32_t n = eb_min_i32(4, j.channels - c);
            four(j.x + j.apart / 4, w, words, j.out + j.distance + c, n);
            four(j.x, w, words, j.out + c, n);
        }
    }
}

#endif

/* Value `at` of a row of the image; outside of it the padding. */
static inline uint32_t value(const eb_conv2d_rows_params *p, const int8_t *row, int32_t at)
{
    return (uint32_t)(row != NULL && at >= 0 && at < p->line ? row[at] : p->pad);
}

/* n words of values `at`, `at` + 1, ..., wherever these lie. */
static uint32_t *widen_any(const eb_conv2d_rows_params *p, const int8_t *row, int32_t at, int32_t n,
                           uint32_t *to)
{
    for (; n > 0; n--, at += 2, to += p->kernel_h) {
        *to = eb_lows(value(p, row, at), value(p, row, at + 1));
    }
    return to;
}

/* Widens a row, or padding without one, from value `at` on, which is 1 or below. */
static void widen(const eb_conv2d_rows_params *p, const int8_t *row, int32_t at, uint32_t *to)
{
    const int32_t apart = p->kernel_h;
    const int32_t before = eb_min_i32((1 - at) / 2, p->columns);
    int32_t left = p->columns - before;
    to = widen_any(p, row, at, before, to);
    at += 2 * before;
    if (row != NULL) {
        const int8_t *from = row + at;
        const int32_t blocks = eb_max_i32(eb_min_i32((p->line - at) / 8, left / 4), 0);
        for (int32_t i = blocks; i > 0; i--, from += 8) {
            const uint32_t x = eb_load4(from), y = eb_load4(from + 4);
            const uint32_t xe = eb_even_bytes(x), xo = eb_odd_bytes(x);
            const uint32_t ye = eb_even_bytes(y), yo = eb_odd_bytes(y);
            to[0] = eb_lows(xe, xo);
            to[apart] = eb_highs(xe, xo);
            to += 2 * apart;
            to[0] = eb_lows(ye, yo);
            to[apart] = eb_highs(ye, yo);
            to += 2 * apart;
        }
        at += 8 * blocks;
        left -= 4 * blocks;
    }
    (void)widen_any(p, row, at, left, to);
}

/* Words from the one copy of the rows to the other; 0 where there is one. */
static int32_t second_copy(const eb_conv2d_rows_params *p)
{
    return p->step % 2 != 0 ? p->columns * p->kernel_h + p->reserve : 0;
}

/* Output row y, over the rows at x. Of an odd number of pixels the last one is computed together with
 * that of the next row: its run is kept until then. */
static void output_row(const eb_conv2d_rows_params *p, int32_t y, const uint32_t *x, int8_t *out,
                       uint32_t *kept)
{
    const int32_t words = p->run * p->kernel_h, pairs = p->out_w / 2;
    const int32_t next = p->step * p->kernel_h;
    job j = { x, (const uint32_t *)p->weights, out,
              4 * (second_copy(p) + p->step / 2 * p->kernel_h), p->out_c, p->out_c, 4 * words,
              4 * next, pairs, ((1 - words) & (UNROLLED - 1)) * WORD_BYTES, 0, 0 };
    if (pairs > 0) {
        multiply(j);
    }
    if (p->out_w % 2 != 0) {
        j.x += pairs * next;
        j.out += 2 * pairs * p->out_c;
        j.pairs = 1;
        j.apart = j.distance = 0;
        if (y % 2 != 0) {
            j.apart = 4 * (int32_t)(kept - j.x);
            j.distance = -p->out_w * p->out_c;
        } else if (y + 1 < p->out_h) {
            memcpy(kept, j.x, (size_t)words * sizeof *kept);
            return;
        }
        multiply(j);
    }
}

static void convolve(const eb_conv2d_rows_params *p, const int8_t *image, int8_t *output,
                     uint32_t *rows)
{
    const int32_t kernel_h = p->kernel_h, other = second_copy(p), words = p->columns * kernel_h;
    const int32_t dropped = p->stride_h < kernel_h ? p->stride_h : 0;
    uint32_t *x = rows, *const kept = rows + other + words + p->reserve;
    int32_t top = -p->pad_top, known = top; /* rows from `known` on are not there yet */
    for (int32_t y = 0; y < p->out_h; y++, top += p->stride_h, x += dropped) {
        if (x - rows > p->reserve) {
            memmove(rows, x, (size_t)(other + words) * sizeof *x);
            x = rows;
        }
        for (known = eb_max_i32(known, top); known < top + kernel_h; known++) {
            const int inside = known >= 0 && known < p->in_h;
            const int8_t *const row = inside ? image + known * p->line : NULL;
            widen(p, row, -p->lead, x + (known - top));
            if (other > 0) {
                widen(p, row, 1 - p->lead, x + (known - top) + other);
            }
        }
        output_row(p, y, x, output, kept);
        output += p->out_w * p->out_c;
    }
}

void eb_conv2d_rows_s8_dsp(const eb_conv2d_rows_params *p, const int8_t *input, int8_t *output,
                           void *scratch)
{
    const int32_t bytes = p->out_h * p->out_w * p->out_c;
    for (int32_t b = 0; b < p->batches; b++) {
        convolve(p, input + b * p->in_h * p->line, output + b * bytes, (uint32_t *)scratch);
    }
    if (p->clamp) {
        eb_clamp_all(output, p->batches * bytes, &p->output);
    }
}
