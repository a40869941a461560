/* FULLY_CONNECTED without a SIMD extension: four units at a time, and one for what is left over. */
#include "../common/eb_words.h"
#include "fully_connected.h"

typedef struct {
    const int8_t *input;
    const eb_channel *channel;
    int8_t *out;
    int32_t depth, offset;
} batch;

#if defined(__thumb2__)

/* Four units. Sums in r4 to r7. r0: weights; r3: input; r1, r2: depth, once and three times; lr: end of
 * the input. Eight values a round; the first one enters in the middle. */
#define VALUE                                                                                      \
    "ldrsb.w r8, [r0, r1]\n ldrsb.w r9, [r0, r1, lsl #1]\n ldrsb.w r10, [r0, r2]\n"                \
    "ldrsb r11, [r0], #1\n ldrsb r12, [r3], #1\n"                                                  \
    "mla r4, r11, r12, r4\n mla r5, r8, r12, r5\n mla r6, r9, r12, r6\n mla r7, r10, r12, r7\n"
#define VALUE_BYTES "36"

EB_NAKED void four_units(EB_IN const int8_t *w, EB_IN batch *b)
{
    __asm volatile(
        "push {r1, r4-r11, lr}\n"
        "ldr r3, [r1]\n ldr r2, [r1, #4]\n ldr r1, [r1, #12]\n"
        "ldr r4, [r2]\n ldr r5, [r2, #12]\n ldr r6, [r2, #24]\n ldr r7, [r2, #36]\n"
        "add r2, r1, r1, lsl #1\n add lr, r3, r1\n"
        "rsb r8, r1, #0\n and r8, #7\n mov r9, #" VALUE_BYTES "\n mul r8, r9\n"
        "adr.w r9, 1f\n add r9, r8\n add r9, #1\n bx r9\n"
        ".p2align 2\n"
        "1:\n" VALUE VALUE VALUE VALUE VALUE VALUE VALUE VALUE
        "cmp r3, lr\n bne 1b\n"
        "ldr r1, [sp]\n ldr r2, [r1, #4]\n ldr r9, [r1, #8]\n ldr r8, [r1, #16]\n mov r10, #4\n"
        "2: ldr r12, [r2, #4]\n ldr r3, [r2, #8]\n add r2, #12\n rsbs r3, r3, #0\n ble 4f\n"
        EB_SCALE_DOWN("r4", "r12", "r3", "r8", "r0")
        "3: ssat r4, #8, r4\n strb r4, [r9], #1\n"
        "mov r4, r5\n mov r5, r6\n mov r6, r7\n subs r10, #1\n bne 2b\n"
        "str r2, [r1, #4]\n str r9, [r1, #8]\n"
        "pop {r1, r4-r11, pc}\n"
        "4: rsbs r3, r3, #0\n" EB_SCALE_UP("r4", "r12", "r3", "r8", "r0") "b 3b\n");
}

#else

static void four_units(const int8_t *w, batch *b)
{
    const int8_t *const w1 = w + b->depth, *const w2 = w1 + b->depth, *const w3 = w2 + b->depth;
    const eb_channel *const c = b->channel;
    int32_t a0 = c[0].bias, a1 = c[1].bias, a2 = c[2].bias, a3 = c[3].bias;
    for (int32_t k = 0; k < b->depth; k++) {
        const int32_t x = b->input[k];
        a0 += x * w[k];
        a1 += x * w1[k];
        a2 += x * w2[k];
        a3 += x * w3[k];
    }
    b->out[0] = eb_saturate(a0, &c[0], b->offset);
    b->out[1] = eb_saturate(a1, &c[1], b->offset);
    b->out[2] = eb_saturate(a2, &c[2], b->offset);
    b->out[3] = eb_saturate(a3, &c[3], b->offset);
    b->channel += 4;
    b->out += 4;
}

#endif

static void one_unit(const int8_t *w, batch *b)
{
    int32_t sum = b->channel->bias;
    for (int32_t k = 0; k < b->depth; k++) {
        sum += b->input[k] * w[k];
    }
    *b->out++ = eb_saturate(sum, b->channel++, b->offset);
}

void eb_fully_connected_s8(const eb_fully_connected_params *p, const int8_t *input, int8_t *output)
{
    const int32_t depth = p->depth, count = p->batches * p->units;
    batch b = { input, NULL, output, depth, p->output.offset };
    for (int32_t n = p->batches; n > 0; n--, b.input += depth) {
        const int8_t *w = p->weights;
        b.channel = (const eb_channel *)p->channels;
        int32_t left = p->units;
        for (; left >= 4; left -= 4, w += 4 * depth) {
            four_units(w, &b);
        }
        for (; left > 0; left--, w += depth) {
            one_unit(w, &b);
        }
    }
    if (p->clamp) {
        eb_clamp_all(output, count, &p->output);
    }
}
