/* CONV_2D with a kernel of 1x1 to one or two channels, with the DSP extension: two pixels at a time,
 * straight from the input.
 *
 * The stream is as in conv2d_pairs_dsp.c, but of one pair of channels: the start of the second one;
 * for each two values of depth a word; the start of the first; what follows the sums. Of a depth that
 * is no multiple of four, the second four values overlap the first ones, with weights of zero. */
#include "../common/eb_channel_dsp.h"
#include "../common/eb_scale_dsp.h"
#include "conv2d.h"

#define TURN 4        /* steps of four values that the loop is unrolled to */
#define STEP_BYTES 72 /* of its code for one */

/* Pairs of pixels; assembly takes it by its order. */
typedef struct {
    const int8_t *in;
    int32_t in_distance, in_step; /* from a pixel to the other, and to the next pair */
    int32_t pairs;
    int8_t *out;
    int32_t out_distance, out_step; /* out_distance: 0, as in_distance, where a pixel is alone */
    const uint32_t *stream, *end; /* end: of the weights */
    int32_t back;  /* bytes of the second four values that overlap the first */
    int32_t entry; /* bytes of the turn before the second step */
    int32_t two;   /* channels */
    int32_t once;
} run;

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* r0: input; r1: weights; r2: from a pixel to the other; r3: end of the weights. Sums of the first
 * channel and of both in r4 and r5, of the other pixel in r6 and r7. */
#define VALUES(x, y, w)                                                                            \
    "smlad r5, " x ", " w ", r5\n smlad r7, " y ", " w ", r7\n sxtb16 " w ", " w "\n"              \
    "smlad r4, " x ", " w ", r4\n smlad r6, " y ", " w ", r6\n"
#define STEP                                                                                       \
    "ldr r9, [r0, r2]\n ldr r8, [r0], #4\n ldr r10, [r1], #4\n ldr r11, [r1], #4\n"                \
    "sxtb16 r12, r8\n sxtb16 r8, r8, ror #8\n sxtb16 lr, r9\n sxtb16 r9, r9, ror #8\n"             \
    VALUES("r12", "lr", "r10") VALUES("r8", "r9", "r11")
#define TWICE(s0, s1)                                                                              \
    "ldmia r1!, {r9-r11}\n" EB_HIGH_ANY(s0, "r9", "r10") EB_HIGH_ANY(s1, "r9", "r10")              \
    EB_NARROW(s0, "r11") EB_NARROW(s1, "r11")

EB_NAKED pixels(EB_IN const run *r)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "mov lr, r0\n ldmia lr!, {r1-r12}\n"
        "adr.w r0, 1f\n add r11, r0\n orr r11, #1\n"
        "ldr lr, [lr]\n push {r1-r12, lr}\n"
        "0: ldr r0, [sp]\n ldr r2, [sp, #4]\n ldr r1, [sp, #28]\n ldr r3, [sp, #32]\n"
        "ldr r5, [r1], #4\n"
        "mov r4, #0\n mov r6, #0\n mov r7, r5\n" STEP
        "ldr r12, [sp, #36]\n ldr r11, [sp, #40]\n sub r0, r12\n bx r11\n"
        ".p2align 2\n"
        "1:\n" STEP STEP STEP STEP
        "cmp r1, r3\n blo 1b\n"
        "sub r5, r4\n sub r7, r6\n"
        "ldr r2, [sp, #44]\n ldr r3, [sp, #48]\n ldr r0, [sp, #16]\n ldr r12, [sp, #20]\n"
        "ldr r8, [r1], #4\n"
        "cmp r3, #0\n beq 3f\n"
        "ldmia r1, {r9, r10}\n add r4, r8, r4, lsl #8\n add r6, r8, r6, lsl #8\n" EB_LOW("r8")
        EB_ONCE("r4", "r9", "r8") EB_ONCE("r6", "r9", "r8")
        EB_ONCE("r5", "r10", "r8") EB_ONCE("r7", "r10", "r8")
        EB_ONCE_NARROW("r4") EB_ONCE_NARROW("r6") EB_ONCE_NARROW("r5") EB_ONCE_NARROW("r7")
        "2: add r12, r0\n strb r4, [r0]\n strb r6, [r12]\n"
        "cmp r2, #0\n itt ne\n strbne r5, [r0, #1]\n strbne r7, [r12, #1]\n"
        "ldr r2, [sp, #24]\n ldr r3, [sp, #12]\n ldr r4, [sp]\n ldr r5, [sp, #8]\n"
        "add r0, r2\n add r4, r5\n str r0, [sp, #16]\n str r4, [sp]\n"
        "subs r3, #1\n str r3, [sp, #12]\n bne 0b\n"
        "add sp, #52\n pop {r4-r11, pc}\n"
        "3: asr r5, #7\n asr r7, #7\n add r4, r8, r4, lsl #1\n add r6, r8, r6, lsl #1\n"
        TWICE("r4", "r6") TWICE("r5", "r7") "b 2b\n");
}

#else

/* One pixel: the output of the first channel, and of the second where there is one. */
static void pixel(const run *r, const int8_t *in, int8_t *out)
{
    const uint32_t *w = r->stream;
    int32_t first = 0, both = (int32_t)*w++;
    for (; w != r->end; in += 4 - (w == r->stream + 3 ? r->back : 0)) {
        const uint32_t four = eb_load4(in), x[2] = { eb_even_bytes(four), eb_odd_bytes(four) };
        for (int32_t i = 0; i < 2; i++, w++) {
            both = eb_smlad(x[i], *w, both);
            first = eb_smlad(x[i], eb_even_bytes(*w), first);
        }
    }
    const int32_t second = (int32_t)((uint32_t)both - (uint32_t)first);
    const int32_t *const c = (const int32_t *)(const void *)(w + 1);
    const uint32_t start = w[0];
    if (r->once) {
        out[0] = eb_scale_once((int32_t)(start + 256 * (uint32_t)first), c[0]);
    } else {
        out[0] = eb_scale_dsp((int32_t)(start + 2 * (uint32_t)first),
                              (eb_channel_dsp){ 0, c[0], c[1], c[2] });
    }
    if (r->two && r->once) {
        out[1] = eb_scale_once(second, c[1]);
    } else if (r->two) {
        out[1] = eb_scale_dsp(second >> 7, (eb_channel_dsp){ 0, c[3], c[4], c[5] });
    }
}

/* A pair is read before any of it is written. */
static void pixels(const run *r)
{
    for (int32_t i = 0; i < r->pairs; i++) {
        const int8_t *const in = r->in + i * r->in_step;
        int8_t *const out = r->out + i * r->out_step, one[2], other[2];
        pixel(r, in, one);
        pixel(r, in + r->in_distance, other);
        memcpy(out, one, (size_t)r->two + 1);
        memcpy(out + r->out_distance, other, (size_t)r->two + 1);
    }
}

#endif

void eb_conv2d_1x1_narrow_s8_dsp(const eb_conv2d_1x1_params *p, const int8_t *input,
                                 int8_t *output)
{
    const int32_t out_c = p->out_c, steps = (p->in_c + 3) / 4;
    const uint32_t *const stream = (const uint32_t *)(const void *)p->stream;
    run r = { .in_step = 2 * p->pixel_step,
              .out = output,
              .out_step = 2 * out_c,
              .stream = stream,
              .end = stream + 1 + 2 * steps,
              .back = 4 * steps - p->in_c,
              .entry = (TURN - 1 - (steps - 2) % TURN) * STEP_BYTES,
              .two = out_c - 1,
              .once = p->once };
    for (int32_t batch = 0; batch < p->batches; batch++) {
        for (int32_t y = 0; y < p->rows; y++) {
            r.in = input + batch * p->image_step + y * p->row_step;
            r.pairs = p->pixels / 2;
            r.in_distance = p->pixel_step;
            r.out_distance = out_c;
            if (r.pairs > 0) {
                pixels(&r);
                r.in += r.pairs * r.in_step;
                r.out += r.pairs * r.out_step;
            }
            if (p->pixels % 2 != 0) {
                r.pairs = 1;
                r.in_distance = r.out_distance = 0;
                pixels(&r);
                r.out += out_c;
            }
        }
    }
    if (p->clamp) {
        eb_clamp_all_dsp(output, p->batches * p->rows * p->pixels * out_c, &p->output);
    }
}
