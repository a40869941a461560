/* FULLY_CONNECTED with the DSP extension: four units, 16 values of depth a round, and two for what is
 * left over of the units.
 *
 * Weights: for each pair of units and each 16 values of depth eight words, for the values (0, 2),
 * (1, 3), (4, 6), (5, 7), ...; see eb_both_biases for what a halfword holds. Zeros fill the rest.
 *
 * Where a sum may leave the 24 bits of a second unit, all units go by pairs, which start anew after
 * every CHUNK values of depth. */
#include "../common/eb_channel_dsp.h"
#include "../common/eb_scale_dsp.h"
#include "fully_connected.h"

#define ROUND 16 /* values of depth, and bytes of the input */
#define CHUNK 256

typedef struct {
    const int8_t *end;  /* of the input's whole rounds, or of the first chunk of them */
    const int8_t *rest; /* a last round, or the last whole one again where there is none */
    int32_t pair;       /* bytes of a pair's weights */
    int32_t floors;     /* the zero point of the output is -128 */
    int32_t fours;      /* of units */
    int8_t *out;
    const int32_t *scale;
    int32_t step;   /* from a unit's scale to the next one's */
    int32_t chunks; /* after the first one */
} batch;

typedef struct {
    int32_t first, both;
} sums;

static inline sums step(sums s, uint32_t x, uint32_t w)
{
    s.both = eb_smlad(x, w, s.both);
    s.first = eb_smlad(x, eb_even_bytes(w), s.first);
    return s;
}

static sums rounds(sums s, const int8_t *x, const int8_t *end, const uint32_t *w)
{
    for (; x != end; x += 4, w += 2) {
        const uint32_t values = eb_load4(x);
        s = step(s, eb_even_bytes(values), w[0]);
        s = step(s, eb_odd_bytes(values), w[1]);
    }
    return s;
}

static void store(batch *b, int32_t twice)
{
    const eb_channel_dsp c = { 0, b->scale[0], b->scale[1], b->scale[2] };
    *b->out++ = eb_scale_dsp(twice, c);
    b->scale += b->step;
}

/* One unit, or two. */
static void two_units(const int8_t *x, const uint32_t *w, const int32_t *biases, batch *b,
                      int32_t units)
{
    sums s = { biases[0], eb_both_biases(biases) };
    int32_t twice = 0; /* of the second unit's chunks so far */
    const int8_t *end = b->end;
    for (int32_t left = b->chunks;; left--, end += CHUNK) {
        s = rounds(s, x, end, w);
        w += (end - x) / 2;
        if (left == 0) {
            break;
        }
        twice += eb_twice_second(s.both, s.first);
        s.both = s.first;
        x = end;
    }
    if (b->rest + ROUND != end) {
        s = rounds(s, b->rest, b->rest + ROUND, w);
    }
    store(b, eb_twice(s.first));
    if (units > 1) {
        store(b, twice + eb_twice_second(s.both, s.first));
    }
}

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* Sums of the first unit of a pair, and of both, in r4 and r5, of the other pair's in r6 and r7. r0:
 * input; r1: its end; r2, r8: weights of the pairs. */
#define TWO_VALUES(x, w0, w1)                                                                      \
    "smlad r5, " x ", " w0 ", r5\n smlad r7, " x ", " w1 ", r7\n"                                  \
    "sxtb16 " w0 ", " w0 "\n sxtb16 " w1 ", " w1 "\n"                                              \
    "smlad r4, " x ", " w0 ", r4\n smlad r6, " x ", " w1 ", r6\n"
#define FOUR_VALUES                                                                                \
    "ldr r3, [r0], #4\n ldr r9, [r2], #4\n ldr r10, [r2], #4\n ldr r11, [r8], #4\n"                \
    "ldr r12, [r8], #4\n sxtb16 lr, r3\n sxtb16 r3, r3, ror #8\n"                                  \
    TWO_VALUES("lr", "r9", "r11") TWO_VALUES("r3", "r10", "r12")
#define UNIT(HIGH, s)                                                                              \
    "ldr r1, [r0]\n ldr r12, [r0, #4]\n ldr lr, [r0, #8]\n add r0, r0, r9, lsl #2\n"               \
    HIGH(s, "r1", "r12") EB_NARROW(s, "lr") "strb " s ", [r2], #1\n"

#define ROUND_OF_FOUR FOUR_VALUES FOUR_VALUES FOUR_VALUES FOUR_VALUES
#define UNITS(HIGH) UNIT(HIGH, "r4") UNIT(HIGH, "r5") UNIT(HIGH, "r6") UNIT(HIGH, "r7")

/* b->fours times four units. Two rounds a turn; an odd one, and the rest, enter in the middle. On the
 * stack: x, biases, b. */
EB_NAKED four_units(EB_IN const int8_t *x, EB_IN const uint32_t *w, EB_IN const int32_t *biases,
                    EB_IN batch *b)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "push {r0, r2, r3}\n"
        "0: ldr r0, [sp]\n ldr r9, [sp, #4]\n ldr r3, [sp, #8]\n"
        "mov r2, r1\n"
        "ldm r9!, {r4-r7}\n str r9, [sp, #4]\n"
        "ldr r8, [r3, #8]\n ldr r1, [r3]\n"
        "add r5, r4, r5, lsl #8\n add r7, r6, r7, lsl #8\n add r8, r2\n"
        "subs r3, r1, r0\n beq 3f\n tst r3, #16\n bne 2f\n"
        "1:\n" ROUND_OF_FOUR
        "2:\n" ROUND_OF_FOUR
        "cmp r0, r1\n bne 1b\n"
        "3: ldr r3, [sp, #8]\n ldr r0, [r3, #4]\n add r9, r0, #16\n cmp r1, r9\n mov r1, r9\n"
        "bne 2b\n"
        "ldr r0, [r3, #24]\n ldr r2, [r3, #20]\n ldr r12, [r3, #12]\n ldr r9, [r3, #28]\n"
        EB_APART("r5", "r4") EB_APART("r7", "r6")
        "cmp r12, #0\n beq 4f\n" UNITS(EB_HIGH_FLOOR) "b 5f\n"
        "4:\n" UNITS(EB_HIGH_ANY)
        "5: str r0, [r3, #24]\n str r2, [r3, #20]\n"
        "mov r1, r8\n"
        "ldr r0, [r3, #16]\n subs r0, #1\n str r0, [r3, #16]\n bne 0b\n"
        "add sp, #12\n"
        "pop {r4-r11, pc}\n");
}

#else

static void four_units(const int8_t *x, const uint32_t *w, const int32_t *biases, batch *b)
{
    for (int32_t n = 2 * b->fours; n > 0; n--, w += b->pair / 4, biases += 2) {
        two_units(x, w, biases, b, 2);
    }
}

#endif

void eb_fully_connected_s8_dsp(const eb_fully_connected_params *p, const int8_t *input,
                               int8_t *output)
{
    const int32_t whole = p->depth / ROUND * ROUND, fours = p->deep ? 0 : p->units / 4;
    const int32_t chunks = p->deep ? (whole - 1) / CHUNK : 0;
    const int32_t pair = (p->depth + ROUND - 1) / ROUND * (ROUND / 2); /* words of its weights */
    int8_t rest[ROUND] = { 0 };
    for (int32_t n = p->batches; n > 0; n--, input += p->depth, output += p->units) {
        const uint32_t *w = (const uint32_t *)(const void *)p->weights;
        const int32_t *biases = p->channels;
        const int8_t *const x = whole > 0 ? input : rest; /* where end begins */
        batch b = { x + whole - CHUNK * chunks, whole < p->depth ? rest : x + whole - ROUND,
                    4 * pair, p->output.offset == -128, fours, output,
                    biases + (p->units + 1) / 2 * 2, p->scale_step, chunks };
        for (int32_t i = whole; i < p->depth; i++) {
            rest[i - whole] = input[i];
        }
        if (fours > 0) {
            four_units(x, w, biases, &b);
        }
        w += 2 * fours * pair;
        biases += 4 * fours;
        for (int32_t left = p->units - 4 * fours; left > 0; left -= 2, biases += 2, w += pair) {
            two_units(x, w, biases, &b, left);
        }
    }
    if (p->clamp) {
        const int32_t count = p->batches * p->units;
        eb_clamp_all_dsp(output - count, count, &p->output);
    }
}
