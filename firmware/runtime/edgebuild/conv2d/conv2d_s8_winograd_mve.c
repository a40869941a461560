/* CONV_2D by Winograd's F(4x4, 3x3) with Helium, three tiles and two channels at a time. */
#include "conv2d_winograd_mve.h"

#include <stddef.h>
#include <string.h>

#define TILE 4    /* x TILE outputs */
#define SIDE 6    /* points of a tile each way, and pixels under it */
#define POINTS 36
#define TOGETHER 3
#define EIGHT 8
#define POINT (TOGETHER * EIGHT) /* sums of a point */
#define INVERSE_OF_9 UINT32_C(0x38E38E39)
#define UNROLL _Pragma("GCC unroll 4")

/* Sums of a pair of channels, of three tiles; each of these is there, maybe twice. */
typedef struct {
    const int16_t *v[TOGETHER]; /* [36][depth] */
    const int16_t *w;           /* [36][depth / 8][2][8] */
    int32_t *m;                 /* [36][3 tiles][8 channels], of which two are written */
    int32_t *end;
    int32_t further; /* vectors of depth behind the first */
} products;

/* h x w outputs of a tile, some channels: at `to`, `pixel` and `row` bytes from one to the next. */
typedef struct {
    int8_t *to;
    int32_t pixel, row, h, w, channels, offset;
} outputs;

#if EB_MVE

/* Six values to six points. */
static inline void six_points(int16x8_t d0, int16x8_t d1, int16x8_t d2, int16x8_t d3, int16x8_t d4,
                              int16x8_t d5, int16_t *to, int32_t step)
{
    const int16x8_t d42 = vsubq_s16(d4, d2), d31 = vsubq_s16(d3, d1);
    const int16x8_t even = vmlaq_n_s16(d4, d2, -4), odd = vmlaq_n_s16(d3, d1, -4);
    vst1q_s16(to, vmlaq_n_s16(d42, vsubq_s16(d0, d2), 4));
    vst1q_s16(to + step, vaddq_s16(even, odd));
    vst1q_s16(to + 2 * step, vsubq_s16(even, odd));
    vst1q_s16(to + 5 * step, vmlaq_n_s16(vsubq_s16(d5, d3), d31, -4));
    vst1q_s16(to + 3 * step, vmlaq_n_s16(d42, d31, 2));
    vst1q_s16(to + 4 * step, vmlaq_n_s16(d42, d31, -2));
}

static inline int16x8_t load(const int8_t *from, mve_pred16_t some, int whole)
{
    return whole ? vldrbq_s16(from) : vldrbq_z_s16(from, some);
}

/* Up to eight channels of the pixels under a tile, column after column, to their points. */
static inline void transform_some(const int8_t *const from[POINTS], int32_t c, int32_t left,
                                  int whole, int16_t *t, int16_t *v, int32_t depth)
{
    const mve_pred16_t some = whole ? 0 : vctp16q((uint32_t)left);
    for (int32_t x = 0; x < SIDE; x++, from += SIDE) {
        six_points(load(from[0] + c, some, whole), load(from[1] + c, some, whole),
                   load(from[2] + c, some, whole), load(from[3] + c, some, whole),
                   load(from[4] + c, some, whole), load(from[5] + c, some, whole), t + x * EIGHT,
                   SIDE * EIGHT);
    }
    for (int32_t y = 0; y < SIDE; y++, t += SIDE * EIGHT, v += SIDE * depth) {
        six_points(vld1q_s16(t), vld1q_s16(t + 8), vld1q_s16(t + 16), vld1q_s16(t + 24),
                   vld1q_s16(t + 32), vld1q_s16(t + 40), v, depth);
    }
}

static void transform(const int8_t *const from[POINTS], int32_t in_c, int16_t *t, int16_t *v,
                      int32_t depth)
{
    int32_t c = 0;
    for (; c + EIGHT <= in_c; c += EIGHT) {
        transform_some(from, c, EIGHT, 1, t, v + c, depth);
    }
    if (c < in_c) {
        transform_some(from, c, in_c - c, 0, t, v + c, depth);
    }
}

/* Three taps to six points. */
static inline void three_taps(int16x8_t g0, int16x8_t g1, int16x8_t g2, int16_t *to, int32_t step)
{
    const int16x8_t sum = vaddq_s16(g0, g2), a = vmlaq_n_s16(g0, g2, 4);
    vst1q_s16(to, vmulq_n_s16(g0, 3));
    vst1q_s16(to + 5 * step, vmulq_n_s16(g2, 3));
    vst1q_s16(to + step, vshlq_n_s16(vaddq_s16(sum, g1), 2));
    vst1q_s16(to + 2 * step, vshlq_n_s16(vsubq_s16(sum, g1), 2));
    vst1q_s16(to + 3 * step, vmlaq_n_s16(a, g1, 2));
    vst1q_s16(to + 4 * step, vmlaq_n_s16(a, g1, -2));
}

/* The nine taps of a channel, eight values of depth. */
static void expand(const int8_t *taps, int16_t *t, int16_t *w, int32_t step)
{
    for (int32_t x = 0; x < 3; x++, taps += EIGHT) {
        three_taps(vldrbq_s16(taps), vldrbq_s16(taps + 24), vldrbq_s16(taps + 48), t + x * EIGHT,
                   3 * EIGHT);
    }
    for (int32_t y = 0; y < SIDE; y++, t += 3 * EIGHT, w += SIDE * step) {
        three_taps(vld1q_s16(t), vld1q_s16(t + 8), vld1q_s16(t + 16), w, step);
    }
}

/* r1, r3, r5: v, r7: w, r9: end, r11: m, r12: further vectors. */
__attribute__((naked, noinline)) static void multiply(__attribute__((unused)) const products *p)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "ldr r1, [r0]\n ldr r3, [r0, #4]\n ldr r5, [r0, #8]\n ldr r7, [r0, #12]\n"
        "ldr r11, [r0, #16]\n ldr r9, [r0, #20]\n ldr r12, [r0, #24]\n"
        "1:\n"
        "vldrh.16 q0, [r7], #16\n"
        "vldrh.16 q1, [r1], #16\n vmladav.s16 r0, q0, q1\n"
        "vldrh.16 q2, [r3], #16\n vmladav.s16 r2, q0, q2\n"
        "vldrh.16 q3, [r5], #16\n vmladav.s16 r4, q0, q3\n"
        "vldrh.16 q0, [r7], #16\n vmladav.s16 r6, q0, q1\n"
        "vmladav.s16 r8, q0, q2\n vmladav.s16 r10, q0, q3\n"
        "wls lr, r12, 3f\n"
        "2:\n"
        "vldrh.16 q0, [r7], #16\n"
        "vldrh.16 q1, [r1], #16\n vmladava.s16 r0, q0, q1\n"
        "vldrh.16 q2, [r3], #16\n vmladava.s16 r2, q0, q2\n"
        "vldrh.16 q3, [r5], #16\n vmladava.s16 r4, q0, q3\n"
        "vldrh.16 q0, [r7], #16\n vmladava.s16 r6, q0, q1\n"
        "vmladava.s16 r8, q0, q2\n vmladava.s16 r10, q0, q3\n"
        "le lr, 2b\n"
        "3:\n"
        "strd r2, r8, [r11, #32]\n strd r4, r10, [r11, #64]\n strd r0, r6, [r11], #96\n"
        "cmp r11, r9\n bne 1b\n"
        "pop {r4-r11, pc}\n");
}

/* Six points to four sums, which wrap around. */
static inline void four_sums(const int32_t *m, int32_t step, int32x4_t more, int32x4_t to[TILE])
{
    const int32x4_t m1 = vaddq_s32(vld1q_s32(m + step), more), m2 = vld1q_s32(m + 2 * step);
    const int32x4_t a = vaddq_s32(m1, m2), b = vsubq_s32(m2, m1);
    const int32x4_t m3 = vld1q_s32(m + 3 * step), m4 = vld1q_s32(m + 4 * step);
    const int32x4_t e = vaddq_s32(m3, m4), f = vsubq_s32(m3, m4), d = vsubq_s32(e, a);
    to[0] = vmlaq_n_s32(d, vld1q_s32(m), 2);
    to[1] = vmlaq_n_s32(b, f, 2);
    to[2] = vmlaq_n_s32(d, e, 3);
    to[3] = vmlaq_n_s32(b, vaddq_s32(f, vld1q_s32(m + 5 * step)), 8);
}

static inline void four_in_place(int32_t *m, int32x4_t more)
{
    int32x4_t x[TILE];
    four_sums(m, POINT, more, x);
    UNROLL for (int32_t i = 0; i < TILE; i++) {
        vst1q_s32(m + i * POINT, x[i]);
    }
}

/* A column of sums to outputs, in their place: of four channels. */
static inline void scale_column(int32_t *m, const int32_t *multiplier, const int32_t *shift,
                                int floors)
{
    const int32x4_t by = vld1q_s32(multiplier), right = vld1q_s32(shift);
    int32x4_t x[TILE];
    four_sums(m, SIDE * POINT, vdupq_n_s32(0), x);
    UNROLL for (int32_t i = 0; i < TILE; i++) {
        const int32x4_t acc = vshrq_n_s32(vmulq_n_s32(x[i], (int32_t)INVERSE_OF_9), 6);
        vst1q_s32(m + i * SIDE * POINT, eb_scale_mve(acc, by, right, floors));
    }
}

static inline void finish_some(int32_t *m, const int32_t *bias, const eb_scales_mve *s,
                               const outputs *o, int floors)
{
    const mve_pred16_t some = vctp16q((uint32_t)o->channels);
    const int32x4_t none = vdupq_n_s32(0);
    for (int32_t half = 0; half < EIGHT; half += 4) {
        int32_t *const first = m + half;
        four_in_place(first, none);
        four_in_place(first + SIDE * POINT, vld1q_s32(bias + half));
        for (int32_t i = 2; i < SIDE; i++) {
            four_in_place(first + i * SIDE * POINT, none);
        }
    }
    int8_t *out = o->to;
    for (int32_t x = o->w; x > 0; x--, m += POINT, out += o->pixel) {
        scale_column(m, s->multiplier, s->shift, floors);
        scale_column(m + 4, s->multiplier + 4, s->shift + 4, floors);
        const int32_t *from = m;
        int8_t *to = out;
        for (int32_t y = o->h; y > 0; y--, from += SIDE * POINT, to += o->row) {
            const int16x8_t v = eb_narrow_mve(vld1q_s32(from), vld1q_s32(from + 4), o->offset);
            vstrbq_p_s16(to, v, some);
        }
    }
}

static void finish(int32_t *m, const int32_t *bias, const eb_scales_mve *s, const outputs *o,
                   int32_t floors)
{
    if (floors) {
        finish_some(m, bias, s, o, 1);
    } else {
        finish_some(m, bias, s, o, 0);
    }
}

#else

static void six_points(const int16_t *d, int32_t from, int16_t *to, int32_t step)
{
    const int32_t d0 = d[0], d1 = d[from], d2 = d[2 * from];
    const int32_t d3 = d[3 * from], d4 = d[4 * from], d5 = d[5 * from];
    to[0] = (int16_t)(4 * (d0 - d2) + d4 - d2);
    to[step] = (int16_t)(d4 - 4 * d2 + d3 - 4 * d1);
    to[2 * step] = (int16_t)(d4 - 4 * d2 - d3 + 4 * d1);
    to[3 * step] = (int16_t)(d4 - d2 + 2 * (d3 - d1));
    to[4 * step] = (int16_t)(d4 - d2 - 2 * (d3 - d1));
    to[5 * step] = (int16_t)(d5 - d3 - 4 * (d3 - d1));
}

static void transform(const int8_t *const from[POINTS], int32_t in_c, int16_t *t, int16_t *v,
                      int32_t depth)
{
    for (int32_t c = 0; c < in_c; c++) {
        for (int32_t i = 0; i < POINTS; i++) {
            t[i] = from[i][c];
        }
        for (int32_t x = 0; x < SIDE; x++) {
            six_points(t + x * SIDE, 1, t + POINTS + x, SIDE);
        }
        for (int32_t y = 0; y < SIDE; y++) {
            six_points(t + POINTS + y * SIDE, 1, v + y * SIDE * depth + c, depth);
        }
    }
    for (int32_t c = in_c; c < depth; c++) {
        for (int32_t i = 0; i < POINTS; i++) {
            v[i * depth + c] = 0;
        }
    }
}

static void three_taps(const int16_t *g, int16_t *to, int32_t step)
{
    const int32_t g0 = g[0], g1 = g[1], g2 = g[2];
    to[0] = (int16_t)(3 * g0);
    to[step] = (int16_t)(4 * (g0 + g1 + g2));
    to[2 * step] = (int16_t)(4 * (g0 - g1 + g2));
    to[3 * step] = (int16_t)(g0 + 2 * g1 + 4 * g2);
    to[4 * step] = (int16_t)(g0 - 2 * g1 + 4 * g2);
    to[5 * step] = (int16_t)(3 * g2);
}

static void expand(const int8_t *taps, int16_t *t, int16_t *w, int32_t step)
{
    for (int32_t i = 0; i < EIGHT; i++, taps++, w++) {
        for (int32_t x = 0; x < 3; x++) {
            const int16_t g[3] = { taps[x * EIGHT], taps[(x + 3) * EIGHT], taps[(x + 6) * EIGHT] };
            three_taps(g, t + x, 3);
        }
        for (int32_t y = 0; y < SIDE; y++) {
            three_taps(t + 3 * y, w + y * SIDE * step, step);
        }
    }
}

static void multiply(const products *p)
{
    const int32_t depth = (p->further + 1) * EIGHT;
    const int16_t *w = p->w;
    int32_t at = 0;
    for (int32_t *m = p->m; m != p->end; m += POINT, at += depth, w += 2 * depth) {
        for (int32_t tile = 0; tile < TOGETHER; tile++) {
            const int16_t *const v = p->v[tile] + at;
            uint32_t a = 0, b = 0;
            for (int32_t i = 0; i < depth; i++) {
                const int16_t *const pair = w + i / EIGHT * 16 + i % EIGHT;
                a += (uint32_t)(v[i] * pair[0]);
                b += (uint32_t)(v[i] * pair[EIGHT]);
            }
            m[tile * EIGHT] = (int32_t)a;
            m[tile * EIGHT + 1] = (int32_t)b;
        }
    }
}

static void four_sums(const uint32_t *m, int32_t step, uint32_t to[TILE])
{
    const uint32_t a = m[step] + m[2 * step], b = m[2 * step] - m[step];
    const uint32_t e = m[3 * step] + m[4 * step], f = m[3 * step] - m[4 * step];
    to[0] = 2 * m[0] - a + e;
    to[1] = b + 2 * f;
    to[2] = 4 * e - a;
    to[3] = b + 8 * f + 8 * m[5 * step];
}

static void finish(int32_t *sums, const int32_t *bias, const eb_scales_mve *s, const outputs *o,
                   int32_t floors)
{
    (void)floors;
    for (int32_t c = 0; c < o->channels; c++) {
        const int32_t lane = eb_lane(c);
        uint32_t *const m = (uint32_t *)sums + lane;
        uint32_t x[TILE];
        m[(SIDE + 1) * POINT] += (uint32_t)bias[lane];
        for (int32_t i = 0; i < SIDE; i++) {
            four_sums(m + i * SIDE * POINT, POINT, x);
            for (int32_t j = 0; j < TILE; j++) {
                m[(i * SIDE + j) * POINT] = x[j];
            }
        }
        for (int32_t j = 0; j < o->w; j++) {
            four_sums(m + j * POINT, SIDE * POINT, x);
            for (int32_t i = 0; i < o->h; i++) {
                const int32_t acc = (int32_t)(x[i] * INVERSE_OF_9) >> 6;
                o->to[i * o->row + j * o->pixel + c] = eb_scaled(acc, s, c, o->offset);
            }
        }
    }
}

#endif

/* A tile: the batch, and the first output. */
typedef struct {
    int32_t b, y, x;
} place;

static place next(const eb_conv2d_winograd_mve_params *p, place at)
{
    at.x += TILE;
    if (at.x >= p->out_w) {
        at.x = 0;
        at.y += TILE;
        if (at.y >= p->out_h) {
            at.y = 0;
            at.b++;
        }
    }
    return at;
}

/* The pixels under a tile, column after column; `pad` is one that lies outside. */
static void find_pixels(const eb_conv2d_winograd_mve_params *p, const int8_t *input, place at,
                        const int8_t *pad, const int8_t *to[POINTS])
{
    const int32_t top = at.y - p->pad_top, left = at.x - p->pad_left;
    const int32_t in_h = p->in_h, in_w = p->in_w, pixel = p->in_c, row = in_w * pixel;
    const int32_t begin = eb_max_i32(-top, 0), end = eb_min_i32(in_h - top, SIDE);
    int32_t first = (at.b * in_h + top + begin) * row + left * pixel;
    for (int32_t x = left; x < left + SIDE; x++, first += pixel) {
        const int inside = x >= 0 && x < in_w;
        const int32_t before = inside ? begin : SIDE;
        const int8_t *from = inside ? input + first : pad;
        int32_t y = 0;
        for (; y < before; y++) {
            *to++ = pad;
        }
        for (; y < end; y++, from += row) {
            *to++ = from;
        }
        for (; y < SIDE; y++) {
            *to++ = pad;
        }
    }
}

void eb_conv2d_s8_winograd_mve(const eb_conv2d_winograd_mve_params *p, const int8_t *input,
                               int8_t *output, void *scratch)
{
    const int32_t vectors = (p->in_c + EIGHT - 1) / EIGHT, depth = vectors * EIGHT;
    const int32_t out_w = p->out_w, out_c = p->out_c, pair = 2 * POINTS * depth;
    int32_t *const m = (int32_t *)scratch;
    int16_t *const t = (int16_t *)scratch;
    int16_t *const w = (int16_t *)(m + EB_WINOGRAD_MVE_SUMS);
    int16_t *const v = w + 4 * pair;
    int8_t *const pad = (int8_t *)(v + p->block * POINTS * depth);
    memset(pad, p->pad, (size_t)depth);
    place at = { 0, 0, 0 };
    while (at.b < p->batches) {
        const place first = at;
        int32_t tiles = 0;
        for (; tiles < p->block && at.b < p->batches; tiles++, at = next(p, at)) {
            const int8_t *pixels[POINTS];
            find_pixels(p, input, at, pad, pixels);
            transform(pixels, p->in_c, t, v + tiles * POINTS * depth, depth);
        }
        const int8_t *weights = p->weights;
        const int32_t *bias = p->bias;
        const eb_scales_mve *scales = (const eb_scales_mve *)p->scales;
        for (int32_t o = 0; o < out_c; o += EIGHT, bias += EIGHT, scales++) {
            for (int32_t k = 0; k < 4; k++) {
                for (int32_t i = 0; i < 2 * vectors; i++, weights += 9 * EIGHT) {
                    expand(weights, t, w + k * pair + i * EIGHT, 2 * depth);
                }
            }
            place to = first;
            for (int32_t i = 0; i < tiles; i += TOGETHER) {
                const int32_t n = eb_min_i32(tiles - i, TOGETHER);
                const int16_t *const some = v + i * POINTS * depth;
                products q = { { some, some, some }, w, m, m + EB_WINOGRAD_MVE_SUMS, vectors - 1 };
                for (int32_t j = 1; j < n; j++) {
                    q.v[j] = some + j * POINTS * depth;
                }
                for (int32_t k = 0; k < 4; k++, q.w += pair, q.m += 2, q.end += 2) {
                    multiply(&q);
                }
                for (int32_t j = 0; j < n; j++, to = next(p, to)) {
                    outputs out = {
                        output + ((to.b * p->out_h + to.y) * out_w + to.x) * out_c + o,
                        out_c,
                        out_w * out_c,
                        eb_min_i32(p->out_h - to.y, TILE),
                        eb_min_i32(out_w - to.x, TILE),
                        eb_min_i32(out_c - o, EIGHT),
                        p->output.offset,
                    };
                    finish(m + j * EIGHT, bias, scales, &out, p->floors);
                }
            }
        }
    }
    eb_clamp_all_mve(output, p->batches * p->out_h * out_w * out_c, p->output.min, p->output.max);
}
