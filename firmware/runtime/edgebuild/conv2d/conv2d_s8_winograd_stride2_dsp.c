/* CONV_2D of 3x3 at stride 2 by Winograd's F(2x2, 2x2): 25 products for 36.
 *
 * Even rows meet taps 0 and 2 of a filter's columns, odd rows tap 1. The points of two taps are 0,
 * 1 and infinity; a single tap has the first two, and adds to the same sums. So four of a tile's
 * nine sums are over four parts of depth (even and odd rows, even and odd columns), four over two,
 * one over one. Sums are the accumulators themselves. */
#include <stddef.h>

#include "../common/eb_scale_dsp.h"
#include "conv2d_winograd_dsp.h"

#define TILE 2
#define WIDTH 9 /* of the window */
#define HEIGHT 5

/* Columns of the window to points, even rows at 0, 1 and infinity, then odd ones at 0 and 1:
 * t [2 pairs of channels][5][9 columns]. */
__attribute__((noinline)) static void columns(const int8_t *from, int32_t row, int32_t pixel,
                                              uint32_t *t)
{
    for (int32_t x = WIDTH; x > 0; x--, from += pixel, t++) {
        const int8_t *const next = from + row;
        const uint32_t d0 = eb_load4(from), d1 = eb_load4(next), d2 = eb_load4(from + 2 * row),
                       d3 = eb_load4(next + 2 * row), d4 = eb_load4(from + 4 * row);
        uint32_t one = eb_even_bytes(d2), odd_one = eb_even_bytes(d3);
        t[0] = eb_sub_halves(eb_even_bytes(d0), one);
        t[WIDTH] = one;
        t[2 * WIDTH] = eb_sub_halves(eb_even_bytes(d4), one);
        t[3 * WIDTH] = eb_sub_halves(eb_even_bytes(d1), odd_one);
        t[4 * WIDTH] = odd_one;
        one = eb_odd_bytes(d2);
        odd_one = eb_odd_bytes(d3);
        t[5 * WIDTH] = eb_sub_halves(eb_odd_bytes(d0), one);
        t[6 * WIDTH] = one;
        t[7 * WIDTH] = eb_sub_halves(eb_odd_bytes(d4), one);
        t[8 * WIDTH] = eb_sub_halves(eb_odd_bytes(d1), odd_one);
        t[9 * WIDTH] = odd_one;
    }
}

/* A row of both tiles to points; those of odd columns lie `depth` words behind even ones'. */
static inline void row_points(const uint32_t *t, uint32_t *zero, uint32_t *one, uint32_t *infinity,
                              int32_t depth)
{
    const uint32_t d2 = t[2], d3 = t[3], d4 = t[4], d6 = t[6], d7 = t[7];
    zero[0] = eb_sub_halves(t[0], d2);
    zero[1] = eb_sub_halves(d4, d6);
    zero[depth] = eb_sub_halves(t[1], d3);
    zero[depth + 1] = eb_sub_halves(t[5], d7);
    one[0] = d2;
    one[1] = d6;
    one[depth] = d3;
    one[depth + 1] = d7;
    infinity[0] = eb_sub_halves(d4, d2);
    infinity[1] = eb_sub_halves(t[8], d6);
}

static void transform(const int8_t *from, int32_t row, int32_t pixel, uint32_t *t, int32_t depth,
                      uint32_t *v)
{
    /* Where points 0, 1 and infinity of each row lie, as multiples of depth. */
    static const uint8_t at[5][3] = {
        { 0, 4, 16 }, { 8, 12, 18 }, { 20, 22, 24 }, { 2, 6, 17 }, { 10, 14, 19 }
    };
    columns(from, row, pixel, t);
    for (int32_t i = 0; i < 5; i++, t += WIDTH) {
        uint32_t *const zero = v + at[i][0] * depth, *const one = v + at[i][1] * depth;
        uint32_t *const infinity = v + at[i][2] * depth;
        row_points(t, zero, one, infinity, depth);
        row_points(t + 5 * WIDTH, zero + 2, one + 2, infinity + 2, depth);
    }
}

static void multiply(const uint32_t *v, const uint32_t *w, int32_t *m, int32_t depth)
{
    eb_winograd_multiply(v, w, m, 4, 2 * depth);
    eb_winograd_multiply(v + 16 * depth, w + 32 * depth, m + 32, 4, depth);
    eb_winograd_multiply(v + 24 * depth, w + 48 * depth, m + 64, 1, depth / 2);
}

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

#define SCALE(HIGH, s) "lsl " s ", #1\n" HIGH(s, "r9", "r10") EB_NARROW(s, "r11")

/* r0: m of the channel, r1: its numbers, r2: out, r3: pixel, r12: row. Points (0, 0), (0, 1),
 * (1, 0), (1, 1) in r4 to r7, (0, i), (1, i), (i, 0), (i, 1) in r8 to r11; (i, i) last. */
#define CHANNEL(HIGH)                                                                              \
    "ldr r4, [r0]\n ldr r5, [r0, #32]\n ldr r6, [r0, #64]\n ldr r7, [r0, #96]\n"                   \
    "ldr r8, [r0, #128]\n ldr r9, [r0, #160]\n ldr r10, [r0, #192]\n ldr r11, [r0, #224]\n"        \
    "ldr lr, [r1]\n add r7, lr\n ldr lr, [r0, #256]\n"                                             \
    "add r4, r5\n add r4, r6\n add r4, r7\n"                                                       \
    "add r5, r8\n add r5, r9\n add r5, r7\n"                                                       \
    "add r6, r7\n add r6, r10\n add r6, r11\n"                                                     \
    "add r7, r9\n add r7, r11\n add r7, lr\n"                                                      \
    "ldr r9, [r1, #4]\n ldr r10, [r1, #8]\n ldr r11, [r1, #12]\n"                                  \
    SCALE(HIGH, "r4") SCALE(HIGH, "r5") SCALE(HIGH, "r6") SCALE(HIGH, "r7")                        \
    "add lr, r3, r12\n strb r4, [r2]\n strb r5, [r2, r3]\n strb r6, [r2, r12]\n"                   \
    "strb r7, [r2, lr]\n add r2, #1\n add r0, #4\n add r1, #16\n"

#define FINISH(name, HIGH)                                                                         \
    __attribute__((naked, noinline)) static void                                                   \
    name(EB_IN int32_t *m, EB_IN const eb_channel_dsp *c, EB_IN int8_t *out, EB_IN int32_t pixel,  \
         EB_IN int32_t row)                                                                        \
    {                                                                                              \
        __asm volatile("push {r4-r11, lr}\n ldr r12, [sp, #36]\n"                                  \
                       CHANNEL(HIGH) CHANNEL(HIGH) CHANNEL(HIGH) CHANNEL(HIGH)                     \
                       "pop {r4-r11, pc}\n");                                                      \
    }

FINISH(finish, EB_HIGH_ANY)
FINISH(finish_floor, EB_HIGH_FLOOR)

#else

static void finish(int32_t *sums, const eb_channel_dsp *c, int8_t *out, int32_t pixel, int32_t row)
{
    for (int32_t channel = 0; channel < 4; channel++, c++, out++) {
        const uint32_t *const s = (const uint32_t *)sums + channel;
        const uint32_t ones = s[24] + (uint32_t)c->bias; /* point (1, 1) is in all outputs */
        const uint32_t y[4] = {
            s[0] + s[8] + s[16] + ones,
            s[8] + s[32] + s[40] + ones,
            s[16] + s[48] + s[56] + ones,
            s[40] + s[56] + s[64] + ones,
        };
        for (int32_t i = 0; i < 4; i++) {
            out[i / 2 * row + i % 2 * pixel] = eb_scale_dsp((int32_t)(y[i] << 1), *c);
        }
    }
}

#define finish_floor finish

#endif

void eb_conv2d_s8_winograd_stride2_dsp(const eb_conv2d_winograd_params *p, const int8_t *input,
                                       int8_t *output, void *scratch)
{
    static const eb_winograd_form form = {
        .tile = TILE,
        .stride = 2,
        .height = HEIGHT,
        .width = WIDTH,
        .points = 25,
        .work = 3 * HEIGHT * WIDTH, /* a window and its columns; 72 sums */
        .transform = transform,
        .expand = NULL,
        .multiply = { multiply, NULL },
        .finish = { finish, finish_floor },
    };
    eb_winograd(p, &form, input, output, scratch);
}
