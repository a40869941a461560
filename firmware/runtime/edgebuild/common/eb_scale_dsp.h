/* Parts of assembly that the DSP kernels share: the last step of a channel, as eb_scale_dsp does it,
 * for a sum in register s that is twice the accumulator. */
#ifndef EB_SCALE_DSP_H
#define EB_SCALE_DSP_H

#define EB_HIGH_ANY(s, multiplier, round)                                                          \
    "smmulr " s ", " s ", " multiplier "\n add " s ", " s ", " s ", asr #31\n"                     \
    "add " s ", " round "\n"

/* The same in two instructions by the sign of s itself. A negative s whose product rounds to zero loses
 * one more, but then the half that `round` holds is rounded down all the same. */
#define EB_HIGH(to, s, multiplier, round)                                                          \
    "smmlar " to ", " s ", " multiplier ", " round "\n add " to ", " to ", " s ", asr #31\n"

/* Without the correction of negative values: with a zero point of -128 all of these saturate. */
#define EB_HIGH_FLOOR(s, multiplier, round) "smmlar " s ", " s ", " multiplier ", " round "\n"

#define EB_NARROW(s, right) "asr " s ", " right "\n ssat " s ", #8, " s "\n"

/* Both at once, where edgebuild found a fraction for the channel (single_rounding.py): s is 256 times
 * the accumulator plus the fraction, and `low` holds what EB_LOW leaves in it, -(128 << 10). */
#define EB_LOW(low) "mov " low ", #0\n movt " low ", #0xFFFE\n"
#define EB_ONCE(s, multiplier, low) "smmla " s ", " s ", " multiplier ", " low "\n"
#define EB_ONCE_NARROW(s) "ssat " s ", #8, " s ", asr #10\n"

/* Parameters of a naked function are in r0 to r3, which C does not see. */
#define EB_NAKED __attribute__((naked, noinline)) static void
#define EB_IN __attribute__((unused))

#endif /* EB_SCALE_DSP_H */
