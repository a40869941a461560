/* CONV_2D of 3x3 at stride 1 by Winograd's F(4x4, 3x3): 36 products for 144.
 *
 * The filter's transform has fractions of 24 in each direction. Here its rows are 24 times as
 * large, the first 12 times and the last 3 times, and fit 16 bits, as the image's do. Sums are 576
 * times the accumulator modulo 2^32; times the inverse of 9 they are 64 times it, exactly where it
 * is below 2^25 in magnitude.
 *
 * With five bits more than twice the accumulator, one SMMLA does what eb_scale_dsp does by SMMULR
 * and an addition: its numbers are `round` times 32 plus 16, and `right` plus 5. Negative values
 * have to come out one unit less, which is 32 here; that takes the accumulator's sign, as for a
 * result of 0 one unit less rounds to the same (`right` is at least 1, or such values saturate). */
#include <stddef.h>

#include "../common/eb_scale_dsp.h"
#include "conv2d_winograd_dsp.h"

#define TILE 4
#define POINTS 36
#define WIDTH 10 /* of the window */
#define HEIGHT 6
#define INVERSE_OF_9 UINT32_C(0x38E38E39)

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* Six values in r4 to r9 to points in r4, r7, r6, r5, r11, r9, on two channels at once. */
#define SIX_POINTS                                                                                 \
    "ssub16 r10, r7, r5\n sadd16 r10, r10, r10\n"                                                  \
    "sadd16 r5, r5, r5\n sadd16 r5, r5, r5\n ssub16 r5, r7, r5\n"                                  \
    "ssub16 r9, r9, r7\n ssub16 r9, r9, r10\n ssub16 r9, r9, r10\n"                                \
    "ssub16 r11, r8, r6\n"                                                                         \
    "ssub16 r4, r4, r6\n sadd16 r4, r4, r4\n sadd16 r4, r4, r4\n sadd16 r4, r4, r11\n"             \
    "sadd16 r6, r6, r6\n sadd16 r6, r6, r6\n ssub16 r6, r8, r6\n"                                  \
    "sadd16 r7, r6, r5\n ssub16 r6, r6, r5\n sadd16 r5, r11, r10\n ssub16 r11, r11, r10\n"

/* Columns of half the channels: bytes 0 and 2, or 1 and 3, to t + `to`. */
#define HALF(ROTATE, to)                                                                           \
    "ldr r4, [r0]\n ldr r5, [r0, r1]\n ldr r6, [r0, r1, lsl #1]\n"                                 \
    "ldr r7, [lr, r1, lsl #1]\n ldr r8, [r0, r1, lsl #2]\n ldr r9, [lr, r1, lsl #2]\n"             \
    "sxtb16 r4, r4" ROTATE "\n sxtb16 r5, r5" ROTATE "\n sxtb16 r6, r6" ROTATE "\n"                \
    "sxtb16 r7, r7" ROTATE "\n sxtb16 r8, r8" ROTATE "\n sxtb16 r9, r9" ROTATE "\n" SIX_POINTS     \
    "str r4, [r3, #" to "]\n str r7, [r3, #" to "+40]\n str r6, [r3, #" to "+80]\n"                \
    "str r5, [r3, #" to "+120]\n str r11, [r3, #" to "+160]\n str r9, [r3, #" to "+200]\n"

EB_NAKED columns(EB_IN const int8_t *from, EB_IN int32_t row, EB_IN int32_t pixel,
                 EB_IN uint32_t *t)
{
    __asm volatile("push {r4-r11, lr}\n mov r12, #10\n add lr, r0, r1\n"
                   "1:\n" HALF("", "0") HALF(", ror #8", "240")
                   "add r0, r2\n add lr, r2\n add r3, #4\n subs r12, #1\n bne 1b\n"
                   "pop {r4-r11, pc}\n");
}

/* A row of one tile, its values from t + `at`. r2: bytes from point to point, r3: one point on. */
#define ROW_OF_TILE(at)                                                                            \
    "ldr r4, [r0, #" at "]\n ldr r5, [r0, #" at "+4]\n ldr r6, [r0, #" at "+8]\n"                  \
    "ldr r7, [r0, #" at "+12]\n ldr r8, [r0, #" at "+16]\n ldr r9, [r0, #" at "+20]\n" SIX_POINTS  \
    "str r4, [r1]\n str r7, [r1, r2]\n str r6, [r1, r2, lsl #1]\n str r5, [r3, r2, lsl #1]\n"      \
    "str r11, [r1, r2, lsl #2]\n str r9, [r3, r2, lsl #2]\n"

EB_NAKED rows(EB_IN const uint32_t *t, EB_IN uint32_t *v, EB_IN int32_t depth)
{
    __asm volatile("push {r4-r11, lr}\n lsl r2, #2\n add r3, r1, r2\n mov r12, #6\n"
                   "mul lr, r12, r2\n sub lr, #4\n"
                   "1:\n" ROW_OF_TILE("0") "add r1, #4\n add r3, #4\n" ROW_OF_TILE("16")
                   "add r0, #40\n add r1, lr\n add r3, lr\n subs r12, #1\n bne 1b\n"
                   "pop {r4-r11, pc}\n");
}

/* Three taps in r4 to r6 to points in r4, r7, r8, r9, r10, r6, on two values of depth at once. */
#define TAP_POINTS                                                                                 \
    "sadd16 r11, r6, r6\n sadd16 r6, r6, r11\n sadd16 r11, r11, r11\n"                             \
    "sadd16 r9, r4, r4\n sadd16 r8, r9, r9\n sadd16 r8, r8, r11\n sadd16 r11, r11, r4\n"           \
    "sadd16 r4, r4, r9\n sadd16 r5, r5, r5\n sadd16 r10, r5, r5\n"                                 \
    "sadd16 r7, r8, r10\n ssub16 r8, r8, r10\n sadd16 r9, r11, r5\n ssub16 r10, r11, r5\n"
/* Column x of half the depth: bytes 0 and 2, or 1 and 3, to t [6][3]. */
#define TAP_COLUMN(ROTATE, x)                                                                      \
    "ldr r4, [r0, #4*" x "]\n ldr r5, [r0, #4*" x "+12]\n ldr r6, [r0, #4*" x "+24]\n"             \
    "sxtb16 r4, r4" ROTATE "\n sxtb16 r5, r5" ROTATE "\n sxtb16 r6, r6" ROTATE "\n" TAP_POINTS     \
    "str r4, [r1, #4*" x "]\n str r7, [r1, #4*" x "+12]\n str r8, [r1, #4*" x "+24]\n"             \
    "str r9, [r1, #4*" x "+36]\n str r10, [r1, #4*" x "+48]\n str r6, [r1, #4*" x "+60]\n"
#define TAP_HALF(ROTATE)                                                                           \
    TAP_COLUMN(ROTATE, "0") TAP_COLUMN(ROTATE, "1") TAP_COLUMN(ROTATE, "2")                        \
    "mov r12, #6\n"                                                                                \
    "1: ldmia r1!, {r4-r6}\n" TAP_POINTS                                                            \
    "str r4, [r2]\n str r7, [r2, r3]\n str r8, [r2, r3, lsl #1]\n str r9, [lr, r3, lsl #1]\n"      \
    "str r10, [r2, r3, lsl #2]\n str r6, [lr, r3, lsl #2]\n"                                       \
    "add r2, r2, r3, lsl #2\n add r2, r2, r3, lsl #1\n add lr, r2, r3\n"                           \
    "subs r12, #1\n bne 1b\n sub r1, #72\n"

/* Nine taps of one channel for four values of depth to two words of each point, 16 bytes apart.
 * r3: bytes from point to point. */
EB_NAKED tap_points(EB_IN const int8_t *taps, EB_IN uint32_t *t, EB_IN uint32_t *w,
                    EB_IN int32_t step)
{
    __asm volatile("push {r4-r11, lr}\n mov r4, #36\n mul r4, r3\n rsb r4, #16\n push {r4}\n"
                   "add lr, r2, r3\n" TAP_HALF("")
                   "ldr r4, [sp]\n add r2, r4\n add lr, r2, r3\n" TAP_HALF(", ror #8")
                   "pop {r3-r11, pc}\n");
}

/* Six points in r4 to r9 to four sums in r4, r11, r10, r5. */
#define FOUR_SUMS                                                                                  \
    "add r10, r5, r6\n sub r5, r6, r5\n add r6, r7, r8\n sub r7, r8\n"                             \
    "rsb r4, r10, r4, lsl #1\n add r4, r6\n add r11, r5, r7, lsl #1\n rsb r10, r10, r6, lsl #2\n"  \
    "add r5, r5, r7, lsl #3\n add r5, r5, r9, lsl #3\n"
#define LOAD_SIX(first, step)                                                                      \
    "ldr r4, [r0, #" first "]\n ldr r5, [r0, #" first "+" step "]\n"                               \
    "ldr r6, [r0, #" first "+2*" step "]\n ldr r7, [r0, #" first "+3*" step "]\n"                  \
    "ldr r8, [r0, #" first "+4*" step "]\n ldr r9, [r0, #" first "+5*" step "]\n"
/* A column of points, in place. */
#define COLUMN(j, BIAS)                                                                            \
    LOAD_SIX("32*" j, "192") BIAS FOUR_SUMS                                                        \
    "str r4, [r0, #32*" j "]\n str r11, [r0, #32*" j "+192]\n"                                     \
    "str r10, [r0, #32*" j "+384]\n str r5, [r0, #32*" j "+576]\n"
#define SCALE_FLOOR(s) "smmla " s ", " s ", r6, r7\n"
#define SCALE_ANY(s) "asr r9, " s ", #31\n" SCALE_FLOOR(s) "add " s ", " s ", r9, lsl #5\n"
#define FINISH_ONE(SCALE, s) "mul " s ", lr\n" SCALE(s) EB_NARROW(s, "r8")
#define ROW(SCALE, i)                                                                              \
    LOAD_SIX("192*" i, "32") FOUR_SUMS                                                             \
    "ldr r6, [r1, #4]\n ldr r7, [r1, #8]\n ldr r8, [r1, #12]\n"                                    \
    FINISH_ONE(SCALE, "r4") FINISH_ONE(SCALE, "r11")                                               \
    FINISH_ONE(SCALE, "r10") FINISH_ONE(SCALE, "r5")                                               \
    "add r9, r3, r3, lsl #1\n"                                                                     \
    "strb r4, [r2]\n strb r11, [r2, r3]\n strb r10, [r2, r3, lsl #1]\n strb r5, [r2, r9]\n"        \
    "add r2, r12\n"

/* r0: m of the channel, r1: its numbers, r2: out, r3: pixel, r12: row, lr: the inverse of 9. On the
 * stack: how many channels are left. The bias is that of point (1, 1). */
#define FINISH(name, SCALE)                                                                        \
    __attribute__((naked, noinline)) static void                                                   \
    name(EB_IN int32_t *m, EB_IN const eb_channel_dsp *c, EB_IN int8_t *out, EB_IN int32_t pixel,  \
         EB_IN int32_t row)                                                                        \
    {                                                                                              \
        __asm volatile("push {r4-r11, lr}\n mov r4, #4\n push {r4}\n ldr r12, [sp, #40]\n"         \
                       "movw lr, #0x8E39\n movt lr, #0x38E3\n"                                     \
                       "1:\n" COLUMN("0", "") "ldr r10, [r1]\n" COLUMN("1", "add r5, r10\n")       \
                       COLUMN("2", "") COLUMN("3", "") COLUMN("4", "") COLUMN("5", "")             \
                       ROW(SCALE, "0") ROW(SCALE, "1") ROW(SCALE, "2") ROW(SCALE, "3")             \
                       "sub r2, r2, r12, lsl #2\n add r2, #1\n add r0, #4\n add r1, #16\n"         \
                       "ldr r4, [sp]\n subs r4, #1\n str r4, [sp]\n bne 1b\n"                      \
                       "pop {r3-r11, pc}\n");                                                      \
    }

FINISH(finish, SCALE_ANY)
FINISH(finish_floor, SCALE_FLOOR)

#else

/* Six values to six points, on two channels at once. */
static inline void six_points(const uint32_t *d, uint32_t *to, int32_t step)
{
    const uint32_t d1 = eb_double_halves(eb_double_halves(d[1]));
    const uint32_t d2 = eb_double_halves(eb_double_halves(d[2]));
    const uint32_t a = eb_sub_halves(d[4], d2), b = eb_sub_halves(d[3], d1);
    const uint32_t e = eb_sub_halves(d[4], d[2]);
    const uint32_t f = eb_double_halves(eb_sub_halves(d[3], d[1]));
    const uint32_t g = eb_double_halves(eb_double_halves(eb_sub_halves(d[0], d[2])));
    to[0] = eb_add_halves(g, e);
    to[step] = eb_add_halves(a, b);
    to[2 * step] = eb_sub_halves(a, b);
    to[3 * step] = eb_add_halves(e, f);
    to[4 * step] = eb_sub_halves(e, f);
    to[5 * step] = eb_sub_halves(eb_sub_halves(d[5], d[3]), eb_double_halves(f));
}

static void columns(const int8_t *from, int32_t row, int32_t pixel, uint32_t *t)
{
    for (int32_t x = WIDTH; x > 0; x--, from += pixel, t++) {
        uint32_t even[HEIGHT], odd[HEIGHT];
        for (int32_t y = 0; y < HEIGHT; y++) {
            const uint32_t d = eb_load4(from + y * row);
            even[y] = eb_even_bytes(d);
            odd[y] = eb_odd_bytes(d);
        }
        six_points(even, t, WIDTH);
        six_points(odd, t + 6 * WIDTH, WIDTH);
    }
}

static void rows(const uint32_t *t, uint32_t *v, int32_t depth)
{
    for (int32_t i = 0; i < 6; i++, t += WIDTH, v += 6 * depth) {
        six_points(t, v, depth);
        six_points(t + TILE, v + 1, depth);
    }
}

/* Three taps to six points, on two values of depth at once. */
static inline void three_taps(const uint32_t *g, int32_t from, uint32_t *to, int32_t step)
{
    const uint32_t g0 = g[0], g1 = g[from], g2 = g[2 * from];
    const uint32_t sum = eb_add_halves(g0, g2), twice = eb_double_halves(g2);
    const uint32_t a = eb_add_halves(sum, g1), b = eb_sub_halves(sum, g1);
    const uint32_t e = eb_add_halves(g0, eb_double_halves(twice)), f = eb_double_halves(g1);
    to[0] = eb_add_halves(g0, eb_double_halves(g0));
    to[step] = eb_double_halves(eb_double_halves(a));
    to[2 * step] = eb_double_halves(eb_double_halves(b));
    to[3 * step] = eb_add_halves(e, f);
    to[4 * step] = eb_sub_halves(e, f);
    to[5 * step] = eb_add_halves(g2, twice);
}

static void tap_points(const int8_t *taps, uint32_t *t, uint32_t *w, int32_t step)
{
    const int32_t words = step / 4;
    for (int32_t half = 0; half < 2; half++, w += 4) {
        uint32_t g[9];
        for (int32_t i = 0; i < 9; i++) {
            const uint32_t x = eb_load4(taps + 4 * i);
            g[i] = half == 0 ? eb_even_bytes(x) : eb_odd_bytes(x);
        }
        for (int32_t x = 0; x < 3; x++) {
            three_taps(g + x, 3, t + x, 3);
        }
        for (int32_t i = 0; i < 6; i++) {
            three_taps(t + 3 * i, 1, w + 6 * i * words, words);
        }
    }
}

/* Six points to four sums; all wrap around. */
static inline void four_sums(const uint32_t *m, int32_t step, uint32_t to[4])
{
    const uint32_t a = m[step] + m[2 * step], b = m[2 * step] - m[step];
    const uint32_t e = m[3 * step] + m[4 * step], f = m[3 * step] - m[4 * step];
    to[0] = 2 * m[0] - a + e;
    to[1] = b + 2 * f;
    to[2] = 4 * e - a;
    to[3] = b + 8 * f + 8 * m[5 * step];
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
                const int32_t sum = (int32_t)(s[x] * INVERSE_OF_9);
                const int32_t high = eb_smmla(sum, c->multiplier, c->round);
                const int32_t less = sum < 0 ? 32 : 0;
                out[y * row + x * pixel] = (int8_t)eb_ssat8((high - less) >> c->right);
            }
        }
    }
}

#define finish_floor finish

#endif

/* Columns to t [2 pairs of channels][6 points][10 columns], then their rows to v. */
static void transform(const int8_t *from, int32_t row, int32_t pixel, uint32_t *t, int32_t depth,
                      uint32_t *v)
{
    columns(from, row, pixel, t);
    rows(t, v, depth);
    rows(t + 6 * WIDTH, v + 2, depth);
}

static void multiply(const uint32_t *v, const uint32_t *w, int32_t *m, int32_t depth)
{
    eb_winograd_multiply(v, w, m, POINTS, depth / 2);
}

static void multiply_more(const uint32_t *v, const uint32_t *w, int32_t *m, int32_t depth)
{
    eb_winograd_multiply_more(v, w, m, POINTS, depth / 2);
}

static const int8_t *expand(const int8_t *weights, int32_t depth, uint32_t *w)
{
    uint32_t t[18];
    for (int32_t n = depth; n > 0; n -= 4, w += 4) {
        for (int32_t channel = 0; channel < 4; channel++, weights += 36, w++) {
            tap_points(weights, t, w, 8 * depth);
        }
    }
    return weights;
}

#define FORM                                                                                       \
    .tile = TILE, .stride = 1, .height = HEIGHT, .width = WIDTH, .points = POINTS,                 \
    .work = 8 * POINTS, /* 288 sums; 60 words of a window, 120 of columns */                       \
    .transform = transform, .finish = { finish, finish_floor }

void eb_conv2d_s8_winograd_dsp(const eb_conv2d_winograd_params *p, const int8_t *input,
                               int8_t *output, void *scratch)
{
    static const eb_winograd_form form = { FORM, .multiply = { multiply, NULL } };
    eb_winograd(p, &form, input, output, scratch);
}

void eb_conv2d_s8_winograd_narrow_dsp(const eb_conv2d_winograd_params *p, const int8_t *input,
                                      int8_t *output, void *scratch)
{
    static const eb_winograd_form form = { FORM, .expand = expand,
                                           .multiply = { multiply, multiply_more } };
    eb_winograd(p, &form, input, output, scratch);
}
