/* CONV_2D of 3x3 at stride 1 by Winograd's F(4x4, 3x3): 36 products for 144.
 *
 * The filter's transform has fractions of 24 in each direction: here it is 24 times as large, its last
 * row 6 times, and fits 16 bits, as the image's does. Sums are 576 times the accumulator modulo 2^32;
 * times the inverse of 9 they are 64 times it, exactly where it is below 2^25 in magnitude. */
#include <stddef.h>

#include "../common/eb_scale_dsp.h"
#include "conv2d_winograd_dsp.h"

#define TILE 4
#define POINTS 36
#define WIDTH 10 /* of the window */
#define HEIGHT 6
#define INVERSE_OF_9 UINT32_C(0x38E38E39)

/* Six values to six points, on two channels at once. */
static inline __attribute__((always_inline)) void six_points(const uint32_t d[6], uint32_t *to,
                                                             int32_t step)
{
    const uint32_t d1 = eb_double_halves(eb_double_halves(d[1]));
    const uint32_t d2 = eb_double_halves(eb_double_halves(d[2]));
    const uint32_t a = eb_sub_halves(d[4], d2), b = eb_sub_halves(d[3], d1);
    const uint32_t e = eb_sub_halves(d[4], d[2]);
    const uint32_t f = eb_double_halves(eb_sub_halves(d[3], d[1]));
    to[step] = eb_add_halves(a, b);
    to[2 * step] = eb_sub_halves(a, b);
    to[3 * step] = eb_add_halves(e, f);
    to[4 * step] = eb_sub_halves(e, f);
    const uint32_t d0 = eb_double_halves(eb_double_halves(d[0]));
    to[0] = eb_add_halves(eb_sub_halves(d0, d2), e);
    to[5 * step] = eb_sub_halves(eb_sub_halves(d[5], d[3]), eb_double_halves(f));
}

/* Columns of the window to points: t [2 pairs of channels][6 points][10 columns]. */
__attribute__((noinline)) static void columns(const int8_t *from, int32_t row, int32_t pixel,
                                              uint32_t *t)
{
    for (int32_t x = WIDTH; x > 0; x--, from += pixel, t++) {
        const int8_t *const next = from + row;
        const uint32_t d0 = eb_load4(from), d1 = eb_load4(next), d2 = eb_load4(from + 2 * row),
                       d3 = eb_load4(next + 2 * row), d4 = eb_load4(from + 4 * row),
                       d5 = eb_load4(next + 4 * row);
        const uint32_t even[] = { eb_even_bytes(d0), eb_even_bytes(d1), eb_even_bytes(d2),
                                  eb_even_bytes(d3), eb_even_bytes(d4), eb_even_bytes(d5) };
        six_points(even, t, WIDTH);
        const uint32_t odd[] = { eb_odd_bytes(d0), eb_odd_bytes(d1), eb_odd_bytes(d2),
                                 eb_odd_bytes(d3), eb_odd_bytes(d4), eb_odd_bytes(d5) };
        six_points(odd, t + 6 * WIDTH, WIDTH);
    }
}

static void transform(const int8_t *from, int32_t row, int32_t pixel, uint32_t *t, int32_t depth,
                      uint32_t *v)
{
    columns(from, row, pixel, t);
    for (int32_t pair = 0; pair < 2; pair++, v += 2 - 6 * 6 * depth) {
        for (int32_t i = 0; i < 6; i++, t += WIDTH, v += 6 * depth) {
            six_points(t, v, depth);
            six_points(t + TILE, v + 1, depth);
        }
    }
}

static void multiply(const uint32_t *v, const uint32_t *w, int32_t *m, int32_t depth)
{
    eb_winograd_multiply(v, w, m, POINTS, depth / 2);
}

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* Six points in r4 to r9 to four sums in r4, r11, r10, r5. */
#define FOUR_SUMS                                                                                  \
    "add r10, r5, r6\n sub r5, r6, r5\n add r6, r7, r8\n sub r7, r8\n"                             \
    "sub r4, r10\n add r4, r6\n add r11, r5, r7, lsl #1\n rsb r10, r10, r6, lsl #2\n"              \
    "add r5, r5, r7, lsl #3\n add r5, r5, r9, lsl #2\n"
#define LOAD_SIX(first, step)                                                                      \
    "ldr r4, [r0, #" first "]\n ldr r5, [r0, #" first "+" step "]\n"                               \
    "ldr r6, [r0, #" first "+2*" step "]\n ldr r7, [r0, #" first "+3*" step "]\n"                  \
    "ldr r8, [r0, #" first "+4*" step "]\n ldr r9, [r0, #" first "+5*" step "]\n"
/* A column of points, in place. */
#define COLUMN(j, BIAS)                                                                            \
    LOAD_SIX("32*" j, "192") BIAS FOUR_SUMS                                                        \
    "str r4, [r0, #32*" j "]\n str r11, [r0, #32*" j "+192]\n"                                     \
    "str r10, [r0, #32*" j "+384]\n str r5, [r0, #32*" j "+576]\n"
#define SCALE(HIGH, s) "mul " s ", r9\n asr " s ", #5\n" HIGH(s, "r6", "r7") EB_NARROW(s, "r8")
#define ROW(HIGH, i)                                                                               \
    LOAD_SIX("192*" i, "32") FOUR_SUMS                                                             \
    "ldr r6, [r1, #4]\n ldr r7, [r1, #8]\n ldr r8, [r1, #12]\n"                                    \
    "movw r9, #0x8E39\n movt r9, #0x38E3\n"                                                        \
    SCALE(HIGH, "r4") SCALE(HIGH, "r11") SCALE(HIGH, "r10") SCALE(HIGH, "r5")                      \
    "strb r4, [r2]\n strb r11, [r2, r3]\n strb r10, [r2, r3, lsl #1]\n strb r5, [r2, lr]\n"        \
    "add r2, r12\n"

/* r0: m of the channel, r1: its numbers, r2: out, r3: pixel, r12: row; lr: three pixels. On the
 * stack: how many channels are left. The bias is that of point (1, 1). */
#define FINISH(name, HIGH)                                                                         \
    __attribute__((naked, noinline)) static void                                                   \
    name(EB_IN int32_t *m, EB_IN const eb_channel_dsp *c, EB_IN int8_t *out, EB_IN int32_t pixel,  \
         EB_IN int32_t row)                                                                        \
    {                                                                                              \
        __asm volatile("push {r4-r11, lr}\n mov r4, #4\n push {r4}\n ldr r12, [sp, #40]\n"         \
                       "1:\n" COLUMN("0", "") "ldr lr, [r1]\n" COLUMN("1", "add r5, lr\n")         \
                       COLUMN("2", "") COLUMN("3", "") COLUMN("4", "") COLUMN("5", "")             \
                       "add lr, r3, r3, lsl #1\n"                                                  \
                       ROW(HIGH, "0") ROW(HIGH, "1") ROW(HIGH, "2") ROW(HIGH, "3")                 \
                       "sub r2, r2, r12, lsl #2\n add r2, #1\n add r0, #4\n add r1, #16\n"         \
                       "ldr r4, [sp]\n subs r4, #1\n str r4, [sp]\n bne 1b\n"                      \
                       "pop {r3-r11, pc}\n");                                                      \
    }

FINISH(finish, EB_HIGH_ANY)
FINISH(finish_floor, EB_HIGH_FLOOR)

#else

/* Six points to four sums; all wrap around. */
static inline void four_sums(const uint32_t *m, int32_t step, uint32_t to[4])
{
    const uint32_t a = m[step] + m[2 * step], b = m[2 * step] - m[step];
    const uint32_t e = m[3 * step] + m[4 * step], f = m[3 * step] - m[4 * step];
    to[0] = m[0] - a + e;
    to[1] = b + 2 * f;
    to[2] = 4 * e - a;
    to[3] = b + 8 * f + 4 * m[5 * step];
}

static void finish(int32_t *sums, const eb_channel_dsp *c, int8_t *out, int32_t pixel, int32_t row)
{
    for (int32_t channel = 0; channel < 4; channel++, c++, out++) {
        uint32_t *const m = (uint32_t *)sums + channel;
        uint32_t s[4];
        m[8 * 7] += (uint32_t)c->bias; /* point (1, 1) */
        for (int32_t j = 0; j < 6; j++) {
            four_sums(m + 8 * j, 48, s);
            for (int32_t i = 0; i < 4; i++) {
                m[8 * j + 48 * i] = s[i];
            }
        }
        for (int32_t y = 0; y < TILE; y++) {
            four_sums(m + 48 * y, 8, s);
            for (int32_t x = 0; x < TILE; x++) {
                const int32_t twice = (int32_t)(s[x] * INVERSE_OF_9) >> 5;
                out[y * row + x * pixel] = eb_scale_dsp(twice, *c);
            }
        }
    }
}

#define finish_floor finish

#endif

void eb_conv2d_s8_winograd_dsp(const eb_conv2d_winograd_params *p, const int8_t *input,
                               int8_t *output, void *scratch)
{
    static const eb_winograd_form form = {
        .tile = TILE,
        .stride = 1,
        .height = HEIGHT,
        .width = WIDTH,
        .points = POINTS,
        .work = 8 * POINTS, /* 288 sums; 60 words of a window, 120 of columns */
        .transform = transform,
        .expand = NULL,
        .multiply = multiply,
        .finish = { finish, finish_floor },
    };
    eb_winograd(p, &form, input, output, scratch);
}
