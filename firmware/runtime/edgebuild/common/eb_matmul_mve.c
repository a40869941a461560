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
        "ldm sp, {r1, r3, r5}\n"
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

/* Outputs of n channels from their sums, of one to three pixels. */
static inline void requantize(const int32_t *sums, const eb_scales_mve *s, int32_t n,
                              int32_t pixels, int32_t offset, int8_t *out, int32_t out_step,
                              int floors)
{
    for (; n > 0; n -= 8, s++, sums += 8, out += 8) {
        const eb_scales_in_registers scales = eb_load_scales_mve(s);
        const mve_pred16_t some = vctp16q((uint32_t)n);
        const int32_t *acc = sums;
        int8_t *to = out;
        for (int32_t i = pixels; i > 0; i--, acc += EB_SUMS_CHANNELS, to += out_step) {
            const int32x4x2_t x = vld2q_s32(acc);
            const eb_lanes_mve lanes = { x.val[0], x.val[1] };
            vstrbq_p_s16(to, eb_outputs_mve(lanes, scales, offset, floors), some);
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

static inline void requantize(const int32_t *sums, const eb_scales_mve *s, int32_t n,
                              int32_t pixels, int32_t offset, int8_t *out, int32_t out_step,
                              int floors)
{
    (void)floors;
    for (int32_t i = 0; i < pixels; i++) {
        for (int32_t c = 0; c < n; c++) {
            out[i * out_step + c] =
                eb_scaled(sums[i * EB_SUMS_CHANNELS + c], s + c / 8, c % 8, offset);
        }
    }
}

#endif

/* n channels of all pixels. */
static inline void some_channels(three_pixels t, int32_t step, int32_t pixels,
                                 const eb_scales_mve *scales, int32_t n, int32_t offset,
                                 int8_t *out, int32_t out_step, int floors)
{
    const int8_t *x = t.x[0];
    for (; pixels > 0; pixels -= 3, x += 3 * step, out += 3 * out_step) {
        t.x[0] = x;
        t.x[1] = pixels > 1 ? x + step : x;
        t.x[2] = pixels > 2 ? x + 2 * step : x;
        sum_three(&t);
        requantize(t.sums, scales, n, eb_min_i32(pixels, 3), offset, out, out_step, floors);
    }
}

void eb_matmul_mve(const eb_matmul_mve_params *p, const int8_t *x, int32_t step, int32_t pixels,
                   int32_t *sums, int8_t *out)
{
    const int32_t offset = p->output.offset, out_c = p->out_c;
    const eb_scales_mve *scales = (const eb_scales_mve *)p->scales;
    three_pixels t = { { x, x, x }, NULL, p->weights, p->bias, sums, p->depth };
    for (int32_t left = out_c; left > 0; left -= EB_SUMS_CHANNELS) {
        const int32_t n = eb_min_i32(left, EB_SUMS_CHANNELS);
        t.end = sums + n;
        if (p->floors) {
            some_channels(t, step, pixels, scales, n, offset, out, out_c, 1);
        } else {
            some_channels(t, step, pixels, scales, n, offset, out, out_c, 0);
        }
        t.w += EB_SUMS_CHANNELS / 2 * eb_pair_bytes(p);
        t.bias += EB_SUMS_CHANNELS;
        scales += EB_SUMS_CHANNELS / 8;
        out += EB_SUMS_CHANNELS;
    }
}

void eb_matmul_one_mve(const eb_matmul_mve_params *p, const int8_t *x, int32_t *sums, int8_t *out)
{
    const eb_scales_mve *scales = (const eb_scales_mve *)p->scales;
    one_pixel t = { p->weights, x, NULL, p->bias, sums, p->depth, eb_pair_bytes(p) };
    for (int32_t left = p->out_c; left > 0; left -= EB_SUMS_CHANNELS) {
        const int32_t n = eb_min_i32(left, EB_SUMS_CHANNELS);
        t.end = sums + n;
        sum_one(&t);
        requantize(sums, scales, n, 1, p->output.offset, out, 0, 0);
        t.w += EB_SUMS_CHANNELS / 2 * t.pair_bytes;
        t.bias += EB_SUMS_CHANNELS;
        scales += EB_SUMS_CHANNELS / 8;
        out += EB_SUMS_CHANNELS;
    }
}
