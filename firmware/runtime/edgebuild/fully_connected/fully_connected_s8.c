/* FULLY_CONNECTED without a SIMD extension: four units and four values of depth a round, and one unit
 * for what is left over.
 *
 * Weights: for each four units and each four values of depth a word of each unit, see eb_words.h; what
 * is left over of the units comes in the same way. */
#include "../common/eb_words.h"
#include "fully_connected.h"

/* The whole words of the input, and a last one of what is left over, or once more the last whole one. */
typedef struct {
    const int8_t *x, *end, *rest;
    const int32_t *bias;
    int8_t *out;
    int32_t fours; /* of units */
    int32_t offset;
    const int32_t *scale;
    int32_t step; /* from a unit's scale to the next one's */
} batch;

static inline int32_t four_values(int32_t sum, uint32_t even, uint32_t odd, uint32_t w)
{
    return eb_add_two(eb_add_two(sum, even, eb_even_weights(w)), odd, eb_odd_weights(w));
}

static void store(batch *b, int32_t sum)
{
    const eb_channel c = { 0, b->scale[0], b->scale[1] };
    *b->out++ = eb_saturate(sum, &c, b->offset);
    b->scale += b->step;
}

#if defined(__thumb2__)

/* b->fours times four units; returns the end of their weights. Sums in r4 to r7. r0: input; lr: its
 * end; r1: weights. */
#define UNIT(w, s)                                                                                 \
    EB_EVEN_WEIGHTS("r12", w) EB_ADD_TWO(s, "r2", "r12", "r12")                                    \
    EB_ODD_WEIGHTS(w, "r11") EB_ADD_TWO(s, "r3", w, "r12")

EB_NAKED const uint32_t *four_units(EB_IN const uint32_t *w, EB_IN batch *b)
{
    __asm volatile(
        "push {r1, r4-r11, lr}\n"
        "mov r1, r0\n mov r11, #0x00ff00ff\n"
        "0: ldr r3, [sp]\n"
        "ldr r0, [r3]\n ldr lr, [r3, #4]\n ldr r2, [r3, #12]\n"
        "ldm r2!, {r4-r7}\n str r2, [r3, #12]\n"
        "5: cmp r0, lr\n" /* less: the borrow of each sbc makes one value less than the other */
        "1: ldr r2, [r0], #4\n ldr r8, [r1], #4\n ldr r9, [r1], #4\n ldr r10, [r1], #4\n"
        "eor r2, #0x80808080\n and r3, r11, r2, lsr #8\n and r2, r11\n"
        "sbc r3, #0x007f007f\n sbc r2, #0x007f007f\n"
        UNIT("r8", "r4") "ldr r8, [r1], #4\n" UNIT("r9", "r5") UNIT("r10", "r6") UNIT("r8", "r7")
        "cmp r0, lr\n bne 1b\n"
        "ldr r2, [sp]\n ldr r0, [r2, #8]\n add r3, r0, #4\n cmp lr, r3\n mov lr, r3\n bne 5b\n"
        "ldr r9, [r2, #16]\n ldr r8, [r2, #24]\n ldr lr, [r2, #32]\n ldr r2, [r2, #28]\n"
        "mov r10, #4\n"
        "2: ldr r12, [r2]\n ldr r3, [r2, #4]\n add r2, r2, lr, lsl #2\n rsbs r3, r3, #0\n ble 4f\n"
        EB_SCALE_DOWN("r4", "r12", "r3", "r8", "r0")
        "3: ssat r4, #8, r4\n strb r4, [r9], #1\n"
        "mov r4, r5\n mov r5, r6\n mov r6, r7\n subs r10, #1\n bne 2b\n"
        "ldr r0, [sp]\n str r2, [r0, #28]\n str r9, [r0, #16]\n"
        "ldr r3, [r0, #20]\n subs r3, #1\n str r3, [r0, #20]\n bne 0b\n"
        "mov r0, r1\n"
        "pop {r1, r4-r11, pc}\n"
        "4: rsbs r3, r3, #0\n" EB_SCALE_UP("r4", "r12", "r3", "r8", "r0") "b 3b\n");
}

#else

static const uint32_t *four_units(const uint32_t *w, batch *b)
{
    for (; b->fours > 0; b->fours--, b->bias += 4) {
        int32_t a0 = b->bias[0], a1 = b->bias[1], a2 = b->bias[2], a3 = b->bias[3];
        const int8_t *x = b->x, *end = b->end;
        for (;; x = b->rest, end = x + 4) {
            for (; x != end; x += 4, w += 4) {
                const uint32_t even = eb_values(x[0], x[2]), odd = eb_values(x[1], x[3]);
                a0 = four_values(a0, even, odd, w[0]);
                a1 = four_values(a1, even, odd, w[1]);
                a2 = four_values(a2, even, odd, w[2]);
                a3 = four_values(a3, even, odd, w[3]);
            }
            if (b->rest + 4 == end) {
                break;
            }
        }
        store(b, a0);
        store(b, a1);
        store(b, a2);
        store(b, a3);
    }
    return w;
}

#endif

/* One unit of the last `step` ones, which have a word each in turn. */
static void one_unit(const uint32_t *w, batch *b, int32_t step)
{
    int32_t sum = *b->bias++;
    const int8_t *x = b->x, *end = b->end;
    for (;; x = b->rest, end = x + 4) {
        for (; x != end; x += 4, w += step) {
            sum = four_values(sum, eb_values(x[0], x[2]), eb_values(x[1], x[3]), *w);
        }
        if (b->rest + 4 == end) {
            break;
        }
    }
    store(b, sum);
}

void eb_fully_connected_s8(const eb_fully_connected_params *p, const int8_t *input, int8_t *output)
{
    const int32_t whole = p->depth / 4 * 4, left = p->depth - whole, fours = p->units / 4;
    int8_t rest[4] = { 0 };
    for (int32_t n = p->batches; n > 0; n--, input += p->depth) {
        const uint32_t *w = (const uint32_t *)(const void *)p->weights;
        for (int32_t i = 0; i < left; i++) {
            rest[i] = input[whole + i];
        }
        const int8_t *const x = whole > 0 ? input : rest;
        const int8_t *const end = whole > 0 ? x + whole : x + 4;
        batch b = { x, end, left > 0 ? rest : end - 4, p->channels, output, fours, p->output.offset,
                    p->channels + p->units, p->scale_step };
        if (fours > 0) {
            w = four_units(w, &b);
        }
        const int32_t rest_units = p->units % 4;
        for (int32_t u = 0; u < rest_units; u++) {
            one_unit(w + u, &b, rest_units);
        }
        output = b.out;
    }
    if (p->clamp) {
        const int32_t count = p->batches * p->units;
        eb_clamp_all(output - count, count, &p->output);
    }
}
