/* FULLY_CONNECTED with the DSP extension: eight units at a time, then four, then two.
 *
 * A halfword of weights is first + 256 * second of two units, see eb_twice_second: SMLAD of it sums
 * both. For eight units the first alone follows from Winograd's inner product, whose one
 * multiplication serves two values:
 *
 *     (x0 + w1) * (x1 + w0) = x0 * w0 + x1 * w1 + x0 * x1 + w0 * w1
 *
 * SXTAB16 widens a weight and adds the value to it. The sum of x0 * x1 is the same for all units, that
 * of w0 * w1 is part of the starts.
 *
 * The weights are one stream of words. For each group of units: the starts of the second units; for
 * each four values of depth and each pair of units a word of the values (0, 2) and one of (1, 3); the
 * starts of the first units. With c for the sum of w0 * w1 of a pair's first unit, or zero in groups of
 * four and two, they are
 * - two roundings: 2 * (bias - c) of the first unit, 256 * bias + c of the second;
 * - one rounding, see single_rounding.py: 256 * (bias - c) + fraction, and 256 * bias + fraction + c.
 * A depth that is no multiple of four ends with its last four values; the weights of those that were
 * there before are zero. So are those of a missing second unit.
 *
 * Where a sum may leave the 24 bits of a second unit, there are no groups of eight, and the sum of both
 * starts anew after every `chunk` values. */
#include <stddef.h>

#include "../common/eb_channel_dsp.h"
#include "../common/eb_scale_dsp.h"
#include "fully_connected.h"

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

_Static_assert(offsetof(eb_fully_connected_params, chunk) == 20 &&
                   offsetof(eb_fully_connected_params, scale_step) == 22 &&
                   offsetof(eb_fully_connected_params, once) == 23,
               "the assembly below reads the parameters by these offsets");

/* Adds four values of depth in r2 and r3, as (0, 2) and (1, 3), to the sum of both units of a pair;
 * w0, w1: words of weights. */
#define BOTH(both, w0, w1)                                                                         \
    "smlad " both ", r2, " w0 ", " both "\n smlad " both ", r3, " w1 ", " both "\n"
/* The same for the first unit too, by Winograd's product, and without it. */
#define WINOGRAD(first, both, w0, w1)                                                              \
    BOTH(both, w0, w1)                                                                             \
    "sxtab16 " w1 ", r2, " w1 "\n sxtab16 " w0 ", r3, " w0 "\n"                                    \
    "smlad " first ", " w0 ", " w1 ", " first "\n"
#define PLAIN(first, both, w0, w1)                                                                 \
    BOTH(both, w0, w1)                                                                             \
    "sxtb16 " w0 ", " w0 "\n sxtb16 " w1 ", " w1 "\n"                                              \
    "smlad " first ", r2, " w0 ", " first "\n smlad " first ", r3, " w1 ", " first "\n"

#define WIDEN(odd, x) "sxtb16 " odd ", " x ", ror #8\n sxtb16 " x ", " x "\n"
#define NEIGHBOURS(x) WIDEN("r10", x) "smlad r3, r10, " x ", r3\n"

/* r0: input; r1: stream. Sums of four pairs in r4 to r11. 112 bytes without LOAD and TEST. */
#define NEXT_PAIR(first, both) "ldm r1!, {r12, lr}\n" WINOGRAD(first, both, "r12", "lr")
#define EIGHT(LOAD, TEST)                                                                          \
    "ldr r2, [r0], #4\n" LOAD "ldr r12, [r1], #4\n ldr lr, [r1], #4\n" TEST WIDEN("r3", "r2")      \
    WINOGRAD("r4", "r5", "r12", "lr") NEXT_PAIR("r6", "r7")                                        \
    NEXT_PAIR("r8", "r9") NEXT_PAIR("r10", "r11")

/* The same for two pairs in r8 to r11, and for one in r10 and r11. */
#define FOUR                                                                                       \
    "ldr r2, [r0], #4\n ldr r4, [r1], #4\n ldr r5, [r1], #4\n"                                     \
    "ldr r6, [r1], #4\n ldr r7, [r1], #4\n" WIDEN("r3", "r2")                                      \
    PLAIN("r8", "r9", "r4", "r5") PLAIN("r10", "r11", "r6", "r7")
#define TWO                                                                                        \
    "ldr r2, [r0], #4\n ldr r4, [r1], #4\n ldr r5, [r1], #4\n" WIDEN("r3", "r2")                   \
    PLAIN("r10", "r11", "r4", "r5")

/* An output from what it is rounded from. r2: where it goes; r12 and, for two roundings, lr and r3:
 * the scale; lr: see EB_LOW. With a scale for each unit, r0: its scale, r3: to the next one. */
#define ONCE(s) EB_ONCE(s, "r12", "lr") EB_ONCE_NARROW(s) "strb " s ", [r2], #1\n"
#define EACH_ONCE(s) "ldr r12, [r0]\n add r0, r3\n" ONCE(s)
#define TWICE(s)                                                                                   \
    EB_HIGH("r0", s, "r12", "lr") EB_NARROW("r0", "r3") "strb r0, [r2], #1\n"
#define EACH_TWICE(s)                                                                              \
    "ldr r12, [r0]\n ldr lr, [r0, #4]\n" EB_HIGH("r12", s, "r12", "lr")                            \
    "ldr lr, [r0, #8]\n add r0, r3\n" EB_NARROW("r12", "lr") "strb r12, [r2], #1\n"

/* Outputs of r1 units: of eight those in r4 to r11, of fewer the last of these, of one that in r10. */
#define STORE(OUT, THEN)                                                                           \
    "cmp r1, #4\n ble 67f\n" OUT("r4") OUT("r5") OUT("r6") OUT("r7")                               \
    "64:\n" OUT("r8") OUT("r9")                                                                    \
    "62:\n" OUT("r10")                                                                             \
    "61:\n" OUT("r11")                                                                             \
    "str r2, [sp, #8]\n" THEN "b 0b\n"                                                             \
    "67: beq 64b\n cmp r1, #1\n bhi 62b\n mov r11, r10\n b 61b\n"
#define SCALE "ldr r0, [sp, #36]\n ldr r2, [sp, #8]\n"
#define NEXT_SCALE "str r0, [sp, #36]\n"

/* All units of a batch. On the stack: p, x, out; minus the sum of x0 * x1; the end of whole words of
 * the input, that of the output, the stream, twice the bytes from a scale to the next one plus `once`,
 * the end of the input, the scale, where the loop of eight is entered; the second units' sums of
 * chunks. */
EB_NAKED units(EB_IN const eb_fully_connected_params *p, EB_IN const int8_t *x, EB_IN int8_t *out)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "ldr r4, [r0, #4]\n ldr r5, [r0, #8]\n ldr r6, [r0, #12]\n ldr r9, [r0, #16]\n"
        "ldrb r7, [r0, #22]\n ldrb r12, [r0, #23]\n ldrh lr, [r0, #20]\n"
        "orr r7, r12, r7, lsl #3\n add r8, r1, r4\n bic r4, #3\n"
        "adr.w r10, 3f\n cmp lr, #0\n bne 9f\n cmp r5, #8\n blo 9f\n"
        "mov r3, #0\n mov r12, r1\n tst r4, #4\n add r4, r1\n beq 7f\n"
        "6: ldr lr, [r12], #4\n" NEIGHBOURS("lr") "cmp r12, r4\n bhs 8f\n"
        "7: ldr lr, [r12], #4\n ldr r11, [r12], #4\n" NEIGHBOURS("lr") NEIGHBOURS("r11")
        "cmp r12, r4\n blo 7b\n"
        "8: cmp r12, r8\n sub r12, r8, #4\n bne 6b\n"
        "rsb r3, r3, #0\n sub r4, r1\n"
        "rsb r10, r4, #0\n ubfx r10, r10, #2, #2\n mov r12, #112\n adr.w lr, 1f\n"
        "mla r10, r10, r12, lr\n"
        "9: orr r10, #1\n add r4, r1\n add r5, r2\n"
        "sub sp, #52\n stm sp, {r0-r10}\n"
        "0: ldr r0, [sp, #4]\n ldr r4, [sp, #12]\n ldr r3, [sp, #20]\n ldr r1, [sp, #24]\n"
        "mov r6, r4\n sub r2, r3, r2\n cmp r2, #8\n blo 4f\n"
        "mov r8, r4\n mov r10, r4\n ldm r1!, {r5, r7, r9, r11}\n ldr pc, [sp, #40]\n"

        ".balign 4\n" /* of all code here, as ADR counts from whole words */
        "1:\n" EIGHT("", "") EIGHT("", "") EIGHT("", "")
        "2:\n" EIGHT("ldr r3, [sp, #16]\n", "cmp r0, r3\n")
        "blo 1b\n"
        "ldr r2, [sp, #32]\n cmp r0, r2\n sub r0, r2, #4\n bne 2b\n"
        "ldm r1!, {r0, r2, r3, r12}\n str r1, [sp, #24]\n mov r1, #8\n"
        "sub r5, r4\n sub r7, r6\n sub r9, r8\n sub r11, r10\n"
        "ldr lr, [sp, #28]\n lsrs lr, lr, #1\n bcc 40f\n"
        "add r4, r0, r4, lsl #8\n add r6, r2, r6, lsl #8\n"
        "30: add r8, r3, r8, lsl #8\n add r10, r12, r10, lsl #8\n"
        SCALE "bne 50f\n ldr r12, [r0]\n" EB_LOW("lr") STORE(ONCE, "")
        "50: mov r3, lr\n" EB_LOW("lr") STORE(EACH_ONCE, NEXT_SCALE)
        "40: asr r5, #7\n asr r7, #7\n asr r9, #7\n asr r11, #7\n"
        "add r4, r0, r4, lsl #1\n add r6, r2, r6, lsl #1\n"
        "41: add r8, r3, r8, lsl #1\n add r10, r12, r10, lsl #1\n"
        SCALE "bne 51f\n ldr r12, [r0]\n ldr lr, [r0, #4]\n ldr r3, [r0, #8]\n" STORE(TWICE, "")
        "51: mov r3, lr\n" STORE(EACH_TWICE, NEXT_SCALE)

        /* Four units, or two. lr: how many are left; r12: the end of the input, or of a chunk. */
        "3: sub r1, #16\n"
        "4: cmp r2, #0\n beq 80f\n mov r8, #0\n mov r10, #0\n str r8, [sp, #44]\n str r8, [sp, #48]\n mov lr, r2\n"
        "cmp lr, #4\n blo 5f\n ldr r9, [r1], #4\n"
        "5: ldr r11, [r1], #4\n"
        "10: ldr r12, [sp, #16]\n ldr r2, [sp]\n ldrh r2, [r2, #20]\n"
        "cmp r2, #0\n beq 11f\n add r2, r0\n cmp r2, r12\n bhs 11f\n mov r12, r2\n"
        "11: cmp lr, #4\n blo 14f\n"
        "sub r2, r12, r0\n tst r2, #4\n bne 13f\n"
        "12:\n" FOUR
        "13:\n" FOUR
        "cmp r0, r12\n bne 12b\n b 15f\n"
        "14:\n" TWO
        "cmp r0, r12\n bne 14b\n"
        "15: ldr r2, [sp, #16]\n ldr r3, [sp, #32]\n cmp r0, r2\n blo 20f\n"
        "cmp r0, r3\n sub r0, r3, #4\n mov r12, r3\n bne 11b\n"
        "cmp lr, #4\n blo 16f\n ldr r3, [r1], #4\n"
        "16: ldr r12, [r1], #4\n str r1, [sp, #24]\n"
        "mov r1, lr\n cmp r1, #4\n bls 17f\n mov r1, #4\n"
        "17: sub r9, r8\n sub r11, r10\n"
        "ldr lr, [sp, #28]\n lsrs lr, lr, #1\n bcs 30b\n"
        "ldr r0, [sp, #44]\n ldr r2, [sp, #48]\n"
        "add r9, r0, r9, asr #7\n add r11, r2, r11, asr #7\n b 41b\n"
        /* After a chunk. */
        "20: ldr r2, [sp, #44]\n ldr r3, [sp, #48]\n sub r9, r8\n sub r11, r10\n"
        "add r2, r2, r9, asr #7\n add r3, r3, r11, asr #7\n"
        "str r2, [sp, #44]\n str r3, [sp, #48]\n mov r9, r8\n mov r11, r10\n b 10b\n"
        "80: add sp, #52\n pop {r4-r11, pc}\n");
}

#else

#define MOST_PAIRS 4

/* Minus the sum of products of neighbouring values: what Winograd's products hold of the input. */
static int32_t neighbours(const int8_t *x, int32_t depth)
{
    int32_t sum = 0;
    for (int32_t at = 0; at < depth; at += 4) {
        const uint32_t values = eb_load4(x + eb_min_i32(at, depth - 4));
        sum = eb_smlad(eb_even_bytes(values), eb_odd_bytes(values), sum);
    }
    return (int32_t)(0U - (uint32_t)sum);
}

static int32_t winograd(uint32_t even, uint32_t odd, const uint32_t *w, int32_t sum)
{
    return eb_smlad(eb_add_even_bytes(odd, w[0]), eb_add_even_bytes(even, w[1]), sum);
}

static int32_t plain(uint32_t even, uint32_t odd, const uint32_t *w, int32_t sum)
{
    return eb_smlad(odd, eb_even_bytes(w[1]), eb_smlad(even, eb_even_bytes(w[0]), sum));
}

/* The output for what it is rounded from. */
static int8_t scaled(const eb_fully_connected_params *p, int32_t sum, const int32_t *scale)
{
    if (p->once) {
        return eb_scale_once(sum, scale[0]);
    }
    return eb_scale_dsp(sum, (eb_channel_dsp){ 0, scale[0], scale[1], scale[2] });
}

static void units(const eb_fully_connected_params *p, const int8_t *x, int8_t *out)
{
    const int32_t start = neighbours(x, p->depth);
    const uint32_t *w = (const uint32_t *)(const void *)p->weights;
    const int32_t *scale = p->channels;
    for (int32_t left = p->units; left > 0;) {
        const int32_t most = left >= 8 && p->chunk == 0 ? 8 : left >= 4 ? 4 : 2;
        const int32_t pairs = most / 2, count = eb_min_i32(most, left);
        int32_t first[MOST_PAIRS], both[MOST_PAIRS], seconds[MOST_PAIRS] = { 0 };
        for (int32_t i = 0; i < pairs; i++) {
            first[i] = most == 8 ? start : 0;
            both[i] = (int32_t)*w++;
        }
        for (int32_t at = 0; at < p->depth; at += 4) {
            const int32_t anew = p->chunk > 0 && at > 0 && at % p->chunk == 0;
            for (int32_t i = 0; anew && i < pairs; i++) {
                seconds[i] += eb_twice_second(both[i], first[i]);
                both[i] = first[i];
            }
            const uint32_t values = eb_load4(x + eb_min_i32(at, p->depth - 4));
            const uint32_t even = eb_even_bytes(values), odd = eb_odd_bytes(values);
            for (int32_t i = 0; i < pairs; i++, w += 2) {
                both[i] = eb_smlad(odd, w[1], eb_smlad(even, w[0], both[i]));
                first[i] = most == 8 ? winograd(even, odd, w, first[i]) : plain(even, odd, w, first[i]);
            }
        }
        for (int32_t i = 0; i < count; i++, scale += p->scale_step) {
            const uint32_t f = (uint32_t)first[i / 2];
            const int32_t second = (int32_t)((uint32_t)both[i / 2] - f);
            const int32_t even = (int32_t)(w[i / 2] + (f << (p->once ? 8 : 1)));
            const int32_t odd = p->once ? second : seconds[i / 2] + (second >> 7);
            *out++ = scaled(p, i % 2 ? odd : even, scale);
        }
        w += pairs;
        left -= count;
    }
}

#endif

void eb_fully_connected_s8_dsp(const eb_fully_connected_params *p, const int8_t *input,
                               int8_t *output)
{
    const int32_t count = p->batches * p->units;
    const int8_t *const end = output + count;
    for (int8_t *out = output; out != end; out += p->units, input += p->depth) {
        units(p, input, out);
    }
    if (p->clamp) {
        eb_clamp_all_dsp(output, count, &p->output);
    }
}
