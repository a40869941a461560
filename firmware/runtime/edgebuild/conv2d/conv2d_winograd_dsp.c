/* What Winograd's kernels share: the walk over tiles, and the products.
 *
 * Each word holds two values of depth, so a product of SMLAD is two: two tiles times four channels
 * are 16 products for six loads. */
#include "conv2d_winograd_dsp.h"

#include <stddef.h>
#include <string.h>

#include "../common/eb_scale_dsp.h"

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* Two values of depth; 56 bytes of code. r0: v, r1: w; sums of a tile in r4 to r7, r8 to r11. */
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
#define VALUES_16 VALUES_4 VALUES_4 VALUES_4 VALUES_4

/* The first words of a point begin its sums, and 1 to 16 words end them, by a way into the last
 * VALUES; what lies between goes through a loop of 16 words. The frame: 0 m, 4 its end, 8 bytes of
 * a point in v, 12 end of the loop in v, 16 the way to the end, 20 the way to the loop, or the
 * end. */
#define MULTIPLY(name, FIRST)                                                                      \
    __attribute__((naked, noinline)) void                                                          \
    name(EB_IN const uint32_t *v, EB_IN const uint32_t *w, EB_IN int32_t *m, EB_IN int32_t points, \
         EB_IN int32_t words)                                                                      \
    {                                                                                              \
        __asm volatile("push {r4-r11, lr}\n"                                                       \
                       "ldr r4, [sp, #36]\n"                                                       \
                       "sub r7, r4, #2\n and r7, #15\n add r7, #1\n" /* words at the end */        \
                       "adr.w r5, 3f\n add r5, #1\n rsb r8, r7, #16\n mov r9, #56\n"               \
                       "mla r8, r8, r9, r5\n"                                                      \
                       "adr.w r9, 2f\n add r9, #1\n"                                               \
                       "sub r6, r4, #1\n cmp r7, r6\n it eq\n moveq r9, r8\n"                      \
                       "sub r7, r4, r7\n add r7, r0, r7, lsl #3\n"                                 \
                       "lsl r6, r4, #3\n mov r4, r2\n add r5, r2, r3, lsl #5\n"                    \
                       "push {r4-r9}\n"                                                            \
                       "1:\n" FIRST                                                                \
                       "ldr pc, [sp, #20]\n"                                                       \
                       ".p2align 2\n"                                                              \
                       "2:\n" VALUES_16                                                            \
                       "ldr r2, [sp, #12]\n cmp r0, r2\n bne 2b\n"                                 \
                       "ldr r3, [sp, #8]\n add r2, r3\n str r2, [sp, #12]\n"                       \
                       "ldr pc, [sp, #16]\n"                                                       \
                       ".p2align 2\n"                                                              \
                       "3:\n" VALUES_16                                                            \
                       "ldr r12, [sp]\n ldr lr, [sp, #4]\n"                                        \
                       "stmia r12!, {r4-r11}\n"                                                    \
                       "str r12, [sp]\n cmp r12, lr\n bne 1b\n"                                    \
                       "add sp, #24\n pop {r4-r11, pc}\n");                                        \
    }

MULTIPLY(eb_winograd_multiply, VALUES(BEGIN))
MULTIPLY(eb_winograd_multiply_more, "ldr r12, [sp]\n ldmia r12, {r4-r11}\n" VALUES(ADD))

#else

void eb_winograd_multiply_more(const uint32_t *v, const uint32_t *w, int32_t *m, int32_t points,
                               int32_t words)
{
    for (; points > 0; points--, m += 8) {
        int32_t a0 = m[0], a1 = m[1], a2 = m[2], a3 = m[3];
        int32_t b0 = m[4], b1 = m[5], b2 = m[6], b3 = m[7];
        for (int32_t n = words; n > 0; n--, v += 2, w += 4) {
            const uint32_t a = v[0], b = v[1];
            a0 = eb_smlad(a, w[0], a0);
            b0 = eb_smlad(b, w[0], b0);
            a1 = eb_smlad(a, w[1], a1);
            b1 = eb_smlad(b, w[1], b1);
            a2 = eb_smlad(a, w[2], a2);
            b2 = eb_smlad(b, w[2], b2);
            a3 = eb_smlad(a, w[3], a3);
            b3 = eb_smlad(b, w[3], b3);
        }
        m[0] = a0;
        m[1] = a1;
        m[2] = a2;
        m[3] = a3;
        m[4] = b0;
        m[5] = b1;
        m[6] = b2;
        m[7] = b3;
    }
}

void eb_winograd_multiply(const uint32_t *v, const uint32_t *w, int32_t *m, int32_t points,
                          int32_t words)
{
    memset(m, 0, (size_t)(8 * points) * sizeof *m);
    eb_winograd_multiply_more(v, w, m, points, words);
}

#endif

static uint32_t *fill(uint32_t *to, int32_t n, uint32_t x)
{
    for (; n > 0; n--) {
        *to++ = x;
    }
    return to;
}

/* Up to four channels of n pixels in a row. Bytes behind the last channel meet zero weights, but
 * nothing is read behind the last pixel. */
static uint32_t *copy(uint32_t *to, const int8_t *from, int32_t n, int32_t pixel, int32_t channels)
{
    const int32_t near = eb_max_i32(4 - channels, 0); /* pixels whose words may reach beyond */
    for (; n > near; n--, from += pixel) {
        *to++ = eb_load4(from);
    }
    for (; n > 0; n--, from += pixel) {
        uint32_t x = 0;
        for (int32_t c = eb_min_i32(channels, 4) - 1; c >= 0; c--) {
            x = x << 8 | (uint8_t)from[c];
        }
        *to++ = x;
    }
    return to;
}

/* Up to four channels of a window, parts of which may lie outside. */
__attribute__((noinline)) static void gather(const eb_conv2d_winograd_params *p,
                                             const eb_winograd_form *form, const int8_t *image,
                                             int32_t top, int32_t left, int32_t channels,
                                             uint32_t *to)
{
    const uint32_t pad = eb_four_bytes(p->pad);
    const int32_t width = form->width, bottom = top + form->height;
    const int32_t in_h = p->in_h, pixel = p->in_c, row = p->in_w * pixel;
    const int32_t before = eb_max_i32(-left, 0);
    const int32_t inside = eb_min_i32(width, p->in_w - left) - before;
    const int32_t after = width - before - inside;
    int32_t at = top * row + (left + before) * pixel;
    for (int32_t y = top; y < bottom; y++, at += row) {
        if (y < 0 || y >= in_h) {
            to = fill(to, width, pad);
        } else {
            to = fill(to, before, pad);
            to = copy(to, image + at, inside, pixel, channels);
            to = fill(to, after, pad);
        }
    }
}

/* A pair of tiles: the batch, and the first output. */
typedef struct {
    int32_t b, y, x;
} place;

static place next(const eb_conv2d_winograd_params *p, int32_t tile, place at)
{
    at.x += 2 * tile;
    if (at.x >= p->out_w) {
        at.x = 0;
        at.y += tile;
        if (at.y >= p->out_h) {
            at.y = 0;
            at.b++;
        }
    }
    return at;
}

/* Two tiles of the input to v, one part of depth after the other. */
__attribute__((noinline)) static void load(const eb_conv2d_winograd_params *p,
                                           const eb_winograd_form *form, const int8_t *input,
                                           place at, int32_t depth, uint32_t *work, uint32_t *v)
{
    const int32_t top = at.y * form->stride - p->pad_top;
    const int32_t left = at.x * form->stride - p->pad_left;
    const int inside = top >= 0 && left >= 0 && top + form->height <= p->in_h &&
                       left + form->width <= p->in_w;
    const int8_t *image = input + at.b * p->in_h * p->in_w * p->in_c;
    uint32_t *const t = work + form->height * form->width;
    for (int32_t c = 0; c < depth; c += p->part) {
        const int32_t part = eb_min_i32(depth - c, p->part);
        for (int32_t i = 0; i < part; i += 4, image += 4, v += 4) {
            const int32_t channels = p->in_c - c - i;
            if (inside && channels >= 4) {
                form->transform(image + (top * p->in_w + left) * p->in_c, p->in_w * p->in_c,
                                p->in_c, t, part, v);
            } else {
                gather(p, form, image, top, left, channels, work);
                form->transform((const int8_t *)work, 4 * form->width, 4, t, part, v);
            }
        }
        v += (form->points - 1) * part;
    }
}

/* How outputs are stored. */
typedef struct {
    eb_winograd_finish *finish;
    int32_t tile, pixel, row; /* the latter two in bytes */
} storage;

/* h x w outputs of a tile, n channels. */
__attribute__((noinline)) static void store_part(const storage *s, int32_t *m,
                                                 const eb_channel_dsp *c, int8_t *out, int32_t h,
                                                 int32_t w, int32_t n)
{
    int8_t whole[64];
    s->finish(m, c, whole, 4, 4 * s->tile);
    for (int32_t y = 0; y < h; y++) {
        for (int32_t x = 0; x < w; x++) {
            for (int32_t k = 0; k < n; k++) {
                out[y * s->row + x * s->pixel + k] = whole[(y * s->tile + x) * 4 + k];
            }
        }
    }
}

/* The same of two tiles. */
static inline void store(const storage *s, int32_t *m, const eb_channel_dsp *c, int8_t *out,
                         int32_t h, int32_t w, int32_t n)
{
    const int32_t tile = s->tile;
    if (h >= tile && w >= 2 * tile && n >= 4) {
        s->finish(m, c, out, s->pixel, s->row);
        s->finish(m + 4, c, out + tile * s->pixel, s->pixel, s->row);
    } else {
        h = eb_min_i32(h, tile);
        n = eb_min_i32(n, 4);
        store_part(s, m, c, out, h, eb_min_i32(w, tile), n);
        if (w > tile) {
            store_part(s, m + 4, c, out + tile * s->pixel, h, eb_min_i32(w - tile, tile), n);
        }
    }
}

void eb_winograd(const eb_conv2d_winograd_params *p, const eb_winograd_form *form,
                 const int8_t *input, int8_t *output, void *scratch)
{
    const int32_t depth = (p->in_c + 3) / 4 * 4, points = form->points, tile = form->tile;
    const int32_t out_h = p->out_h, out_w = p->out_w, out_c = p->out_c;
    const int32_t block = p->block, most = p->part, work = form->work;
    const storage s = { form->finish[p->output.offset == -128], tile, out_c, out_w * out_c };
    int32_t *const m = (int32_t *)scratch;
    uint32_t *const v = (uint32_t *)scratch + block * work;
    uint32_t *const expanded = v + block * points * depth;
    place at = { 0, 0, 0 };
    while (at.b < p->batches) {
        const place first = at;
        int32_t pairs = 0;
        for (; pairs < block && at.b < p->batches; pairs++) {
            load(p, form, input, at, depth, (uint32_t *)scratch, v + pairs * points * depth);
            at = next(p, tile, at);
        }
        const int8_t *weights = p->weights;
        const eb_channel_dsp *channels = (const eb_channel_dsp *)p->channels;
        for (int32_t o = 0; o < out_c; o += 4, channels += 4) {
            for (int32_t c = 0; c < depth; c += most) {
                const int32_t part = eb_min_i32(depth - c, most);
                const uint32_t *w = (const uint32_t *)(const void *)weights;
                if (form->expand != NULL) {
                    weights = form->expand(weights, part, expanded);
                    w = expanded;
                } else {
                    weights += 8 * points * part;
                }
                for (int32_t i = 0; i < pairs; i++) {
                    form->multiply[c > 0](v + (i * depth + c) * points, w, m + i * work,
                                          part);
                }
            }
            place to = first;
            for (int32_t i = 0; i < pairs; i++) {
                if (i > 0) {
                    to = next(p, tile, to);
                }
                store(&s, m + i * work, channels,
                      output + ((to.b * out_h + to.y) * out_w + to.x) * out_c + o, out_h - to.y,
                      out_w - to.x, out_c - o);
            }
        }
    }
    if (p->clamp) {
        eb_clamp_all_dsp(output, p->batches * p->out_h * p->out_w * p->out_c, &p->output);
    }
}
