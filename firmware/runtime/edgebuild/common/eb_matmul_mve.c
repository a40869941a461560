/* VMLADAVA adds 16 products to a core register, an even one, of which there are seven: so the sums of
 * three pixels and two channels, or of one pixel and four channels, are made together. */
#include "eb_matmul_mve.h"

/* One to three pixels; a missing one is there twice. */
typedef struct {
    const int8_t *x[3];
    const int32_t *end; /* of the first pixel's sums */
    const int8_t *w;
    const int32_t *bias;
    int32_t *sums; /* EB_SUMS_CHANNELS for each pixel */
    int32_t depth;
} three_pixels;

typedef struct {
    const int8_t *w;
    const int8_t *x;
    const int32_t *end;
    const int32_t *bias;
    int32_t *sums;
    int32_t depth, pair_bytes;
} one_pixel;

#if EB_MVE

/* What lies on the stack: x, end. r7: weights, r9: bias, r11: sums. */
__attribute__((naked, noinline)) static void sum_three(
    __attribute__((unused)) const three_pixels *p)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "ldmia r0!, {r4-r7}\n"
        "push {r4-r7}\n"
        "ldr r7, [r0]\n ldr r9, [r0, #4]\n ldr r11, [r0, #8]\n ldr r12, [r0, #12]\n"
        "1:\n"
        "ldrd r0, r6, [r9], #8\n"
        "ldrd r1, r3, [sp]\n ldr r5, [sp, #8]\n"
        "mov r2, r0\n mov r4, r0\n mov r8, r6\n mov r10, r6\n"
        "dlstp.8 lr, r12\n"
        "2:\n"
        "vldrb.8 q0, [r7], #16\n"
        "vldrb.8 q1, [r1], #16\n vmladava.s8 r0, q0, q1\n"
        "vldrb.8 q2, [r3], #16\n vmladava.s8 r2, q0, q2\n"
        "vldrb.8 q3, [r5], #16\n vmladava.s8 r4, q0, q3\n"
        "vldrb.8 q0, [r7], #16\n vmladava.s8 r6, q0, q1\n"
        "vmladava.s8 r8, q0, q2\n vmladava.s8 r10, q0, q3\n"
        "letp lr, 2b\n"
        "strd r2, r8, [r11, #256]\n strd r4, r10, [r11, #512]\n strd r0, r6, [r11], #8\n"
        "ldr r0, [sp, #12]\n cmp r11, r0\n blo 1b\n"
        "add sp, #16\n"
        "pop {r4-r11, pc}\n");
}

/* r3, r5: weights of two pairs; r9: bias, r11: sums; on the stack the end of these. */
__attribute__((naked, noinline)) static void sum_one(__attribute__((unused)) const one_pixel *p)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "ldr r3, [r0]\n ldr r10, [r0, #4]\n ldr r1, [r0, #8]\n ldr r9, [r0, #12]\n"
        "ldr r11, [r0, #16]\n ldr r12, [r0, #20]\n ldr r8, [r0, #24]\n"
        "push {r1}\n"
        "add r5, r3, r8\n"
        "1:\n"
        "ldmia r9!, {r0, r2, r4, r6}\n"
        "mov r1, r10\n"
        "dlstp.8 lr, r12\n"
        "2:\n"
        "vldrb.8 q0, [r1], #16\n"
        "vldrb.8 q1, [r3], #16\n vmladava.s8 r0, q0, q1\n"
        "vldrb.8 q2, [r3], #16\n vmladava.s8 r2, q0, q2\n"
        "vldrb.8 q1, [r5], #16\n vmladava.s8 r4, q0, q1\n"
        "vldrb.8 q2, [r5], #16\n vmladava.s8 r6, q0, q2\n"
        "letp lr, 2b\n"
        "stmia r11!, {r0, r2, r4, r6}\n"
        "mov r3, r5\n add r5, r8\n"
        "ldr r0, [sp]\n cmp r11, r0\n blo 1b\n"
        "add sp, #4\n"
        "pop {r4-r11, pc}\n");
}

static inline void requantize(const eb_matmul_mve_params *p, const int32_t *sums, int32_t first,
                              int32_t n, int32_t pixels, int8_t *out, int floors)
{
    const eb_scales_mve *s = (const eb_scales_mve *)p->scales + first / 8;
    const int32_t offset = p->output.offset;
    for (; n > 0; n -= 8, s++, sums += 8, out += 8) {
        for (int32_t i = 0; i < pixels; i++) {
            const int32x4x2_t acc = vld2q_s32(sums + i * EB_SUMS_CHANNELS);
            const eb_sums_mve x = { acc.val[0], acc.val[1] };
            eb_store_scaled_mve(x, s, offset, floors, out + i * p->out_c, n);
        }
    }
}

#else

static int32_t dot(const int8_t *x, const int8_t *w, int32_t depth, int32_t acc)
{
    for (int32_t i = 0; i < depth; i++) {
        acc += x[i] * w[i / 16 * 32 + i % 16];
    }
    return acc;
}

static void sum_three(const three_pixels *p)
{
    const int8_t *w = p->w;
    for (int32_t c = 0; p->sums + c < p->end; c += 2, w += (p->depth + 15) / 16 * 32) {
        for (int32_t i = 0; i < 3; i++) {
            int32_t *const sums = p->sums + i * EB_SUMS_CHANNELS + c;
            sums[0] = dot(p->x[i], w, p->depth, p->bias[c]);
            sums[1] = dot(p->x[i], w + 16, p->depth, p->bias[c + 1]);
        }
    }
}

static void sum_one(const one_pixel *p)
{
    for (int32_t c = 0; p->sums + c < p->end; c++) {
        const int8_t *const w = p->w + c / 2 * p->pair_bytes + c % 2 * 16;
        p->sums[c] = dot(p->x, w, p->depth, p->bias[c]);
    }
}

static inline void requantize(const eb_matmul_mve_params *p, const int32_t *sums, int32_t first,
                              int32_t n, int32_t pixels, int8_t *out, int floors)
{
    const eb_scales_mve *const s = (const eb_scales_mve *)p->scales + first / 8;
    (void)floors;
    for (int32_t i = 0; i < pixels; i++) {
        for (int32_t c = 0; c < n; c++) {
            out[i * p->out_c + c] = eb_scaled(sums[i * EB_SUMS_CHANNELS + c], s + c / 8, c % 8,
                                              p->output.offset);
        }
    }
}

#endif

/* The outputs of channels from `first` on. */
static void finish(const eb_matmul_mve_params *p, const int32_t *sums, int32_t first, int32_t n,
                   int32_t pixels, int8_t *out)
{
    if (p->floors) {
        requantize(p, sums, first, n, pixels, out + first, 1);
    } else {
        requantize(p, sums, first, n, pixels, out + first, 0);
    }
}

void eb_matmul_mve(const eb_matmul_mve_params *p, const int8_t *x, int32_t step, int32_t pixels,
                   int32_t *sums, int8_t *out)
{
    three_pixels t = { .sums = sums, .depth = p->depth };
    for (int32_t left = pixels; left > 0; left -= 3) {
        const int32_t n = eb_min_i32(left, 3);
        t.x[0] = x;
        t.x[1] = n > 1 ? x + step : x;
        t.x[2] = n > 2 ? x + 2 * step : x;
        t.w = p->weights;
        t.bias = p->bias;
        for (int32_t c = 0; c < p->out_c; c += EB_SUMS_CHANNELS) {
            const int32_t some = eb_min_i32(p->out_c - c, EB_SUMS_CHANNELS);
            t.end = sums + some;
            sum_three(&t);
            finish(p, sums, c, some, n, out);
            t.w += EB_SUMS_CHANNELS / 2 * eb_pair_bytes(p);
            t.bias += EB_SUMS_CHANNELS;
        }
        x += 3 * step;
        out += 3 * p->out_c;
    }
}

void eb_matmul_one_mve(const eb_matmul_mve_params *p, const int8_t *x, int32_t *sums, int8_t *out)
{
    one_pixel t = { p->weights, x, NULL, p->bias, sums, p->depth, eb_pair_bytes(p) };
    for (int32_t c = 0; c < p->out_c; c += EB_SUMS_CHANNELS) {
        const int32_t some = eb_min_i32(p->out_c - c, EB_SUMS_CHANNELS);
        t.end = sums + some;
        sum_one(&t);
        finish(p, sums, c, some, 1, out);
        t.w += EB_SUMS_CHANNELS / 2 * t.pair_bytes;
        t.bias += EB_SUMS_CHANNELS;
    }
}
