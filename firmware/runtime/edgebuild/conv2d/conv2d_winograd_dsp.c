/* What Winograd's kernels share: the walk over tiles, and the products.
 *
 * Each word holds two values of depth, so a product of SMLAD is two: two tiles times four channels
 * are 16 products for six loads. */
#include "conv2d_winograd_dsp.h"

#include <stddef.h>

#include "../common/eb_scale_dsp.h"

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* Two values of depth; 56 bytes of code. r0: v, r1: w; sums of the tiles in r4 to r7 and r8 to r11. */
#define VALUES(MULTIPLY)                                                                           \
    "ldr r2, [r0], #4\n ldr r3, [r0], #4\n ldr r12, [r1], #4\n ldr lr, [r1], #4\n"                 \
    MULTIPLY("r4", "r2", "r12") MULTIPLY("r8", "r3", "r12")                                        \
    MULTIPLY("r5", "r2", "lr") MULTIPLY("r9", "r3", "lr")                                          \
    "ldr r12, [r1], #4\n ldr lr, [r1], #4\n"                                                       \
    MULTIPLY("r6", "r2", "r12") MULTIPLY("r10", "r3", "r12")                                       \
    MULTIPLY("r7", "r2", "lr") MULTIPLY("r11", "r3", "lr")
#define BEGIN(s, x, y) "smuad " s ", " x ", " y "\n"
#define ADD(s, x, y) "smlad " s ", " x ", " y ", " s "\n"
#define VALUES_4 VALUES(ADD) VALUES(ADD) VALUES(ADD) VALUES(ADD)

/* The first values of a point begin its sums, the others go through a loop of eight, which they enter
 * so that it ends with the last. The frame: 0 m, 4 its end, 8 the entry, 12 end of the point in v,
 * 52 words. */
__attribute__((naked, noinline)) static void
multiply(EB_IN const uint32_t *v, EB_IN const uint32_t *w, EB_IN int32_t *m, EB_IN int32_t *end,
         EB_IN int32_t words)
{
    __asm volatile("push {r4-r11, lr}\n"
                   "ldr r4, [sp, #36]\n"
                   "add r7, r0, r4, lsl #3\n"
                   "rsb r4, #1\n and r4, #7\n mov r5, #56\n mul r4, r5\n"
                   "adr.w r6, 2f\n add r6, r4\n orr r6, #1\n"
                   "mov r4, r2\n mov r5, r3\n"
                   "push {r4-r7}\n"
                   "1:\n" VALUES(BEGIN)
                   "ldr r2, [sp, #8]\n bx r2\n"
                   ".p2align 2\n"
                   "2:\n" VALUES_4 VALUES_4
                   "ldr r2, [sp, #12]\n ldr r3, [sp, #52]\n cmp r0, r2\n bne 2b\n"
                   "add r2, r2, r3, lsl #3\n str r2, [sp, #12]\n"
                   "ldr r2, [sp]\n ldr r3, [sp, #4]\n"
                   "stmia r2!, {r4-r11}\n"
                   "str r2, [sp]\n cmp r2, r3\n bne 1b\n"
                   "add sp, #16\n pop {r4-r11, pc}\n");
}

void eb_winograd_multiply(const uint32_t *v, const uint32_t *w, int32_t *m, int32_t points,
                          int32_t words)
{
    multiply(v, w, m, m + 8 * points, words);
}

#else

void eb_winograd_multiply(const uint32_t *v, const uint32_t *w, int32_t *m, int32_t points,
                          int32_t words)
{
    for (; points > 0; points--, m += 8) {
        int32_t s[8] = { 0 };
        for (int32_t n = words; n > 0; n--, v += 2, w += 4) {
            for (int32_t i = 0; i < 4; i++) {
                s[i] = eb_smlad(v[0], w[i], s[i]);
                s[4 + i] = eb_smlad(v[1], w[i], s[4 + i]);
            }
        }
        memcpy(m, s, sizeof s);
    }
}

#endif

/* Up to four channels of a pixel; what lies behind them meets zero weights. */
static inline uint32_t channels_of(const int8_t *pixel, int32_t channels)
{
    if (channels >= 4) {
        return eb_load4(pixel);
    }
    uint32_t x = 0;
    for (int32_t c = channels - 1; c >= 0; c--) {
        x = x << 8 | (uint8_t)pixel[c];
    }
    return x;
}

static uint32_t *fill(uint32_t *to, int32_t n, uint32_t x)
{
    for (; n > 0; n--) {
        *to++ = x;
    }
    return to;
}

/* Up to four channels of a window, parts of which may lie outside. */
static void gather(const eb_conv2d_winograd_params *p, const eb_winograd_form *form,
                   const int8_t *image, int32_t top, int32_t left, int32_t channels, uint32_t *to)
{
    const uint32_t pad = eb_four_bytes(p->pad);
    const int32_t before = eb_max_i32(-left, 0);
    const int32_t inside = eb_min_i32(form->width, p->in_w - left) - before;
    for (int32_t y = top; y < top + form->height; y++) {
        if (y < 0 || y >= p->in_h) {
            to = fill(to, form->width, pad);
            continue;
        }
        const int8_t *from = image + (y * p->in_w + left + before) * p->in_c;
        to = fill(to, before, pad);
        for (int32_t x = inside; x > 0; x--, from += p->in_c) {
            *to++ = channels_of(from, channels);
        }
        to = fill(to, form->width - before - inside, pad);
    }
}

/* A pair of tiles: the batch, and the first output. */
typedef struct {
    int32_t b, y, x;
} place;

static place next(const eb_conv2d_winograd_params *p, const eb_winograd_form *form, place at)
{
    at.x += 2 * form->tile;
    if (at.x >= p->out_w) {
        at.x = 0;
        at.y += form->tile;
        if (at.y >= p->out_h) {
            at.y = 0;
            at.b++;
        }
    }
    return at;
}

static void load(const eb_conv2d_winograd_params *p, const eb_winograd_form *form,
                 const int8_t *input, place at, int32_t depth, uint32_t *work, uint32_t *v)
{
    const int32_t top = at.y * form->stride - p->pad_top;
    const int32_t left = at.x * form->stride - p->pad_left;
    const int inside = top >= 0 && left >= 0 && top + form->height <= p->in_h &&
                       left + form->width <= p->in_w;
    const int8_t *image = input + at.b * p->in_h * p->in_w * p->in_c;
    uint32_t *const t = work + form->height * form->width;
    for (int32_t n = p->in_c; n > 0; n -= 4, image += 4, v += 4) {
        if (inside && n >= 4) {
            form->transform(image + (top * p->in_w + left) * p->in_c, p->in_w * p->in_c, p->in_c, t,
                            depth, v);
        } else {
            gather(p, form, image, top, left, n, work);
            form->transform((const int8_t *)work, 4 * form->width, 4, t, depth, v);
        }
    }
}

/* Four output channels of two tiles, from channel `first` on. */
static void store(const eb_conv2d_winograd_params *p, const eb_winograd_form *form, int32_t *m,
                  place at, int32_t first, int8_t *output)
{
    const int32_t tile = form->tile, pixel = p->out_c, row = p->out_w * p->out_c;
    const int32_t h = eb_min_i32(p->out_h - at.y, tile), n = eb_min_i32(p->out_c - first, 4);
    const eb_channel_dsp *const c = (const eb_channel_dsp *)p->channels + first;
    const int floors = p->output.offset == -128;
    int8_t *out = output + ((at.b * p->out_h + at.y) * p->out_w + at.x) * p->out_c + first;
    for (int32_t i = 0; i < 2; i++, m += 4, out += tile * pixel) {
        const int32_t w = eb_min_i32(p->out_w - at.x - i * tile, tile);
        if (w == tile && h == tile && n == 4) {
            form->finish[floors](m, c, out, pixel, row);
        } else if (w > 0) {
            int8_t whole[64];
            form->finish[floors](m, c, whole, 4, 4 * tile);
            for (int32_t y = 0; y < h; y++) {
                for (int32_t x = 0; x < w; x++) {
                    for (int32_t k = 0; k < n; k++) {
                        out[y * row + x * pixel + k] = whole[(y * tile + x) * 4 + k];
                    }
                }
            }
        }
    }
}

void eb_winograd(const eb_conv2d_winograd_params *p, const eb_winograd_form *form,
                 const int8_t *input, int8_t *output, void *scratch)
{
    const int32_t depth = (p->in_c + 3) / 4 * 4;
    const int32_t points = form->points * depth;
    uint32_t *const work = (uint32_t *)scratch;
    uint32_t *const v = work + form->work;
    uint32_t *const expanded = v + p->block * points;
    place at = { 0, 0, 0 };
    while (at.b < p->batches) {
        const place first = at;
        int32_t pairs = 0;
        for (; pairs < p->block && at.b < p->batches; pairs++) {
            load(p, form, input, at, depth, work, v + pairs * points);
            at = next(p, form, at);
        }
        const int8_t *weights = p->weights;
        for (int32_t channel = 0; channel < p->out_c; channel += 4) {
            const uint32_t *w = (const uint32_t *)(const void *)weights;
            if (form->expand != NULL) {
                weights = form->expand(weights, depth, expanded);
                w = expanded;
            } else {
                weights += 8 * points;
            }
            place to = first;
            for (int32_t i = 0; i < pairs; i++) {
                form->multiply(v + i * points, w, (int32_t *)work, depth);
                store(p, form, (int32_t *)work, to, channel, output);
                to = next(p, form, to);
            }
        }
    }
    if (p->clamp) {
        eb_clamp_all(output, p->batches * p->out_h * p->out_w * p->out_c, &p->output);
    }
}
