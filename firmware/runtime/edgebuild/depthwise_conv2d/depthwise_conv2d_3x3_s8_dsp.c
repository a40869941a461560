/* DEPTHWISE_CONV_2D of 3x3 with the DSP extension: four channels at a time; of each, four output rows
 * at once at a stride of 1, one at 2.
 *
 * The input rows under a step become columns, the padding included: a word for each two rows and each
 * of the four channels, the upper row in its low half, and SMLAD takes two taps at once. A column has
 * three pairs of rows at a stride of 1, two at 2. The last of them is the first pair of the next step,
 * whose columns begin where it lies: the columns move through memory from step to step, and each input
 * row is read once, before the output rows that may lie on it are written.
 *
 * Weights are times 256, and so are sums. Those of a channel stay in registers for a step. */
#include "../common/eb_channel_dsp.h"
#include "../common/eb_scale_dsp.h"
#include "depthwise_conv2d.h"

#define PAIR 4        /* words of a pair of rows: one for each channel */
#define TALL 12       /* words of a column at a stride of 1 */
#define LOW 8         /* and at 2 */
#define ONCE_WORDS 5  /* of a channel in the table: start, multiplier, taps */
#define TWICE_WORDS 7 /* start, multiplier, round, right, taps */

/* What the rows of an image share; assembly takes this and the next by their order. */
typedef struct {
    int32_t row;      /* bytes from a value to the one below */
    int32_t three;    /* three times that */
    int32_t step;     /* bytes from a value to the next one in its row */
    int32_t column;   /* bytes of a column */
    int32_t first;    /* bytes of the columns before the image */
    int32_t inside;   /* and of those inside */
    int32_t last;     /* bytes from the first column to the last one */
    uint32_t outside; /* four bytes of padding: the row outside the image */
} picture;

/* Fills the pairs of the columns of a step, all but the first, with rows from `in` on. */
typedef void filler(const int8_t *in, uint32_t *columns, const picture *image);

/* Steps over up to four channels. */
typedef struct {
    int32_t down; /* bytes from an output to the one below */
    int32_t last; /* and to the lowest of a step; 0: there is none, the highest overwrites it */
    int32_t step; /* and to the next one in its row; 0: a single one is made twice */
    const int32_t *end; /* of the channels in the table */
    int32_t width;      /* bytes of the columns from one channel's first output to the end */
    int32_t back;       /* bytes of outputs from the next channel's first turn to this one's end */
    int32_t steps;
    int8_t *out;            /* of the first turn of the first step, whose columns are filled; */
    const int32_t *channel; /* the first channel's in the table, */
    uint32_t *columns;      /* of the step, */
    int32_t skipped;        /* and bytes to the channel's words in them */
    const int8_t *in;       /* what `fill` takes for the next step, */
    filler *fill;
    const picture *image;
    int32_t in_rows, out_rows, pairs; /* and bytes from step to step: of input, output, columns */
    int32_t odd; /* 1: the first turn of two outputs makes the second one alone */
} walk;

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* Words of four channels in the columns at r1, from those of an upper and a lower row. */
#define FILL(upper, lower, w0, w1, w2, w3)                                                         \
    "pkhbt r12, " upper ", " lower ", lsl #16\n pkhtb lr, " lower ", " upper ", asr #16\n"         \
    "sxtb16 r10, r12\n sxtb16 r11, r12, ror #8\n sxtb16 r12, lr\n sxtb16 lr, lr, ror #8\n"         \
    "str r10, [r1" w0 "\n str r11, [r1" w1 "\n str r12, [r1" w2 "\n str lr, [r1" w3 "\n"
#define PADS(at) "str r9, [" at "]\n str r9, [" at ", #4]\n str r9, [" at ", #8]\n str r9, [" at ", #12]\n"
#define MORE_PADS(at)                                                                              \
    "str r9, [" at ", #16]\n str r9, [" at ", #20]\n str r9, [" at ", #24]\n str r9, [" at ", #28]\n"

/* A pair of rows inside the image, at a stride of 2, and two pairs, at 1. The first and the last column
 * are padding, or overwritten. */
#define FILL_ONE                                                                                   \
    "ldr r5, [r0]\n ldr r6, [r0, r2]\n add r0, r4\n"                                              \
    FILL("r5", "r6", "], #32", ", #-28]", ", #-24]", ", #-20]")
EB_NAKED fill_one(EB_IN const int8_t *in, EB_IN uint32_t *columns, EB_IN const picture *image)
{
    __asm volatile("push {r4-r11, lr}\n"
                   "ldmia r2, {r2-r9}\n"
                   "add r1, #16\n sxtb16 r9, r9\n add r8, r1\n" PADS("r1") PADS("r8")
                   "add r1, r6\n add r9, r1, r7\n tst r7, #32\n bne 2f\n"
                   "1:" FILL_ONE "2:" FILL_ONE "cmp r1, r9\n blo 1b\n"
                   "pop {r4-r11, pc}\n");
}

#define FILL_BOTH                                                                                  \
    "ldr r5, [r0]\n ldr r6, [r0, r2]\n ldr r7, [r0, r2, lsl #1]\n ldr r8, [r0, r3]\n add r0, r4\n" \
    FILL("r5", "r6", "], #48", ", #-44]", ", #-40]", ", #-36]")                                    \
    FILL("r7", "r8", ", #-32]", ", #-28]", ", #-24]", ", #-20]")
EB_NAKED fill_both(EB_IN const int8_t *in, EB_IN uint32_t *columns, EB_IN const picture *image)
{
    __asm volatile("push {r4-r11, lr}\n"
                   "ldmia r2, {r2-r9}\n"
                   "add r1, #16\n sxtb16 r9, r9\n add r8, r1\n" PADS("r1") MORE_PADS("r1")
                       PADS("r8") MORE_PADS("r8")
                   "add r1, r6\n add r9, r1, r7\n tst r7, #16\n bne 2f\n"
                   "1:" FILL_BOTH "2:" FILL_BOTH "cmp r1, r9\n blo 1b\n"
                   "pop {r4-r11, pc}\n");
}

/* One pair of rows, of which any may be `outside`. */
EB_NAKED fill_two(EB_IN const int8_t *upper, EB_IN uint32_t *column, EB_IN const picture *image,
                  EB_IN const int8_t *lower)
{
    __asm volatile("push {r4-r11, lr}\n"
                   "add r12, r2, #28\n ldr r4, [r2, #8]\n ldrd r5, r6, [r2, #12]\n"
                   "ldrd r7, r8, [r2, #20]\n ldr r9, [r12]\n"
                   "sxtb16 r9, r9\n add r8, r1\n" PADS("r1") PADS("r8")
                   "add r1, r6\n add r9, r1, r7\n mov r2, r4\n"
                   "cmp r0, r12\n it eq\n moveq r2, #0\n"
                   "cmp r3, r12\n it eq\n moveq r4, #0\n"
                   "1: ldr r7, [r0]\n ldr r8, [r3]\n add r0, r2\n add r3, r4\n" /**/
                   FILL("r7", "r8", "]", ", #4]", ", #8]", ", #12]")
                   "add r1, r5\n cmp r1, r9\n blo 1b\n"
                   "pop {r4-r11, pc}\n");
}

/* Outputs: x in r0, sums in r4 to r7, weights in r8 to lr, see UNPACK. The frame: 0 out, 4 end of the
 * columns, 8 start, 12 multiplier, 16 round, 20 right, 24 channel, 28 the walk, of which 32 down, 36
 * last, 40 step, 44 end, 48 width, 52 back. */
#define ENTER(END)                                                                                 \
    "push {r4-r11, lr}\n"                                                                          \
    "ldmia r0, {r4-r9}\n"                                                                          \
    "push {r0, r4-r9}\n"                                                                           \
    "sub sp, #28\n"                                                                                \
    "7: ldr r1, [r0, #28]\n ldr r2, [r0, #32]\n ldr r3, [r0, #36]\n ldr r4, [r0, #40]\n"           \
    "add r0, r3, r4\n add r0, r8\n subs r0, #4\n"                                                 \
    "add r1, r9\n str r1, [sp]\n str r2, [sp, #24]\n"                                             \
    "0: ldr r1, [sp, #24]\n ldr r2, [sp, #44]\n ldr r3, [sp, #48]\n"                               \
    "ldr r4, [sp]\n ldr r5, [sp, #52]\n"                                                          \
    "cmp r1, r2\n beq 9f\n"                                                                        \
    "adds r0, #4\n" END "subs r0, r3\n"                                                            \
    "subs r4, r5\n str r4, [sp]\n"
#define END_BEHIND "str r0, [sp, #4]\n"
#define END_BEFORE_LAST(bytes) "sub r6, r0, #" bytes "\n str r6, [sp, #4]\n"
#define LEAVE                                                                                      \
    "9: ldr r10, [sp, #28]\n ldr r1, [r10, #24]\n subs r1, #1\n beq 8f\n str r1, [r10, #24]\n"      \
    "ldr r0, [r10, #44]\n ldr r2, [r10, #52]\n ldr r3, [r10, #56]\n"                               \
    "ldr r4, [r10, #28]\n ldr r5, [r10, #60]\n ldr r1, [r10, #36]\n ldr r6, [r10, #64]\n"           \
    "ldr r7, [r10, #48]\n ldr r8, [sp, #48]\n ldr r9, [sp, #52]\n"                                 \
    "adds r3, r0\n str r3, [r10, #44]\n adds r4, r5\n str r4, [r10, #28]\n"                        \
    "adds r1, r6\n str r1, [r10, #36]\n blx r7\n mov r0, r10\n b 7b\n"                            \
    "8: add sp, #56\n"                                                                             \
    "pop {r4-r11, pc}\n"

/* Of the words (w1, w0, w2, w1) of each kernel column in r8, r10, r12: (w0, w1) there, (w1, w2) in r9,
 * r11, lr. */
#define UNPACK                                                                                     \
    "mov r2, #0xFF00FF00\n"                                                                        \
    "and r9, r2, r8, lsl #8\n and r11, r2, r10, lsl #8\n and lr, r2, r12, lsl #8\n"                \
    "and r8, r2\n and r10, r2\n and r12, r2\n"

/* One rounding: the frame's round is what EB_LOW leaves, right is not used. */
#define LOAD_ONCE                                                                                  \
    "ldmia r1!, {r4, r5, r8, r10, r12}\n" EB_LOW("r6")                                             \
    "str r4, [sp, #8]\n str r5, [sp, #12]\n str r6, [sp, #16]\n str r1, [sp, #24]\n"
#define LOAD_TWICE                                                                                 \
    "ldmia r1!, {r4-r8, r10, r12}\n"                                                               \
    "str r4, [sp, #8]\n str r5, [sp, #12]\n str r6, [sp, #16]\n str r7, [sp, #20]\n"               \
    "str r1, [sp, #24]\n"

#define CONSTANTS_ONCE "ldr r1, [sp, #12]\n ldr r2, [sp, #16]\n"
#define CONSTANTS_TWICE CONSTANTS_ONCE "ldr r3, [sp, #20]\n"
#define SCALE_ONCE(s) EB_ONCE(s, "r1", "r2")
#define SCALE_TWICE(s) "asr " s ", #7\n" EB_HIGH_ANY(s, "r1", "r2")
#define NARROW_ONCE(s) EB_ONCE_NARROW(s)
#define NARROW_TWICE(s) EB_NARROW(s, "r3")
#define FINISH2(K, a, b) CONSTANTS_##K SCALE_##K(a) SCALE_##K(b) NARROW_##K(a) NARROW_##K(b)
#define FINISH4(K)                                                                                 \
    CONSTANTS_##K SCALE_##K("r4") SCALE_##K("r5") SCALE_##K("r6") SCALE_##K("r7")                  \
    NARROW_##K("r4") NARROW_##K("r5") NARROW_##K("r6") NARROW_##K("r7")

/* Of two output rows, a kernel column: the pairs in p and q, its weights a and b, sums before and
 * after. */
#define TWO_ROWS(p, q, a, b, s0, s1, u, v)                                                         \
    "smlad " u ", " p ", " a ", " s0 "\n smlatb " v ", " p ", " a ", " s1 "\n"                     \
    "smlabt " u ", " q ", " b ", " u "\n smlad " v ", " q ", " b ", " v "\n"
#define FOUR_ROWS(a, b)                                                                            \
    TWO_ROWS("r1", "r2", a, b, "r4", "r5", "r4", "r5")                                             \
    TWO_ROWS("r2", "r3", a, b, "r6", "r7", "r6", "r7")

/* Four rows, one column, at a stride of 1. */
#define ONE_COLUMN(K)                                                                              \
    "ldr r7, [sp, #8]\n ldr r1, [r0], #48\n ldr r2, [r0, #-32]\n ldr r3, [r0, #-16]\n"             \
    TWO_ROWS("r1", "r2", "r8", "r9", "r7", "r7", "r4", "r5")                                       \
    TWO_ROWS("r2", "r3", "r8", "r9", "r7", "r7", "r6", "r7")                                       \
    "ldr r1, [r0]\n ldr r2, [r0, #16]\n ldr r3, [r0, #32]\n" FOUR_ROWS("r10", "r11")               \
    "ldr r1, [r0, #48]\n ldr r2, [r0, #64]\n ldr r3, [r0, #80]\n" FOUR_ROWS("r12", "lr")           \
    FINISH4(K)

/* Two columns a turn; the first turn of an odd number begins with its second one. */
#define TALL_ROWS(K)                                                                               \
    ENTER(END_BEHIND) "tst r3, #16\n" LOAD_##K UNPACK "bne 2f\n"                                   \
    "1:" ONE_COLUMN(K)                                                                             \
    "ldr r1, [sp]\n ldr r2, [sp, #32]\n ldr r3, [sp, #36]\n"                                       \
    "strb r7, [r1, r3]\n strb r6, [r1, r2, lsl #1]\n strb r5, [r1, r2]\n strb r4, [r1]\n"          \
    "2:" ONE_COLUMN(K)                                                                             \
    "ldr r1, [sp]\n ldr r2, [sp, #32]\n ldr r3, [sp, #40]\n add r1, r3\n"                          \
    "strb r6, [r1, r2, lsl #1]\n strb r5, [r1, r2]\n"                                              \
    "ldr r5, [sp, #36]\n ldr r6, [sp, #4]\n strb r7, [r1, r5]\n strb r4, [r1]\n"                   \
    "add r1, r3\n str r1, [sp]\n"                                                                  \
    "cmp r0, r6\n bne 1b\n b 0b\n" LEAVE

/* Two rows, two columns, at a stride of 1; of an odd number, the last turn repeats one. */
#define TWO_COLUMNS(K)                                                                             \
    ENTER(END_BEFORE_LAST("48")) LOAD_##K UNPACK                                                   \
    "1: ldr r7, [sp, #8]\n ldr r1, [r0], #96\n ldr r2, [r0, #-80]\n"                               \
    TWO_ROWS("r1", "r2", "r8", "r9", "r7", "r7", "r4", "r5")                                       \
    "ldr r1, [r0, #-48]\n ldr r2, [r0, #-32]\n"                                                    \
    TWO_ROWS("r1", "r2", "r10", "r11", "r4", "r5", "r4", "r5")                                     \
    TWO_ROWS("r1", "r2", "r8", "r9", "r7", "r7", "r6", "r7")                                       \
    "ldr r1, [r0]\n ldr r2, [r0, #16]\n"                                                           \
    TWO_ROWS("r1", "r2", "r12", "lr", "r4", "r5", "r4", "r5")                                      \
    TWO_ROWS("r1", "r2", "r10", "r11", "r6", "r7", "r6", "r7")                                     \
    "ldr r1, [r0, #48]\n ldr r2, [r0, #64]\n"                                                      \
    TWO_ROWS("r1", "r2", "r12", "lr", "r6", "r7", "r6", "r7")                                      \
    FINISH4(K)                                                                                     \
    "ldr r1, [sp]\n ldr r2, [sp, #36]\n ldr r3, [sp, #40]\n"                                       \
    "add r2, r1\n strb r7, [r2, r3]\n strb r6, [r1, r3]\n strb r5, [r2]\n strb r4, [r1]\n"         \
    "add r2, r1, r3, lsl #1\n str r2, [sp]\n ldr r2, [sp, #4]\n"                                   \
    "cmp r0, r2\n blo 1b\n bne 0b\n"                                                               \
    "sub r0, #48\n add r1, r3\n str r1, [sp]\n b 1b\n" LEAVE

/* One row, two columns, at a stride of 2, the first column's pairs in r4 and r5; the two lower weights
 * of (w1, w2) come to r9, and out to r11. */
#define ONE_ROW(K)                                                                                 \
    ENTER(END_BEFORE_LAST("64")) LOAD_##K UNPACK                                                   \
    "pkhtb r9, r11, r9, asr #16\n ldr r11, [sp]\n ldr r4, [r0]\n ldr r5, [r0, #16]\n"              \
    "1: ldr r7, [sp, #8]\n ldr r1, [r0, #32]\n ldr r2, [r0, #48]\n ldr r3, [r0, #64]\n"            \
    "smlad r6, r4, r8, r7\n smlabb r6, r5, r9, r6\n smlad r6, r1, r10, r6\n"                       \
    "smlabt r6, r2, r9, r6\n smlad r6, r3, r12, r6\n smlad r7, r3, r8, r7\n"                       \
    "ldr r1, [r0, #80]\n ldr r2, [r0, #96]\n ldr r3, [r0, #112]\n"                                 \
    "ldr r4, [r0, #128]!\n ldr r5, [r0, #16]\n"                                                    \
    "smlabt r6, r1, lr, r6\n smlabb r7, r1, r9, r7\n smlad r7, r2, r10, r7\n"                      \
    "smlabt r7, r3, r9, r7\n smlad r7, r4, r12, r7\n smlabt r7, r5, lr, r7\n"                      \
    FINISH2(K, "r6", "r7")                                                                         \
    "ldr r1, [sp, #40]\n ldr r2, [sp, #4]\n"                                                       \
    "strb r7, [r11, r1]\n strb r6, [r11]\n add r11, r11, r1, lsl #1\n"                             \
    "cmp r0, r2\n blo 1b\n beq 2f\n str r11, [sp]\n b 0b\n"                                        \
    "2: sub r0, #64\n sub r11, r1\n ldr r4, [r0]\n ldr r5, [r0, #16]\n b 1b\n" LEAVE

#define OUTPUTS(name, BODY)                                                                        \
    EB_NAKED name(EB_IN walk *w)                                                                   \
    {                                                                                              \
        __asm volatile(BODY);                                                                      \
    }

OUTPUTS(four_rows_once, TALL_ROWS(ONCE))
OUTPUTS(four_rows_twice, TALL_ROWS(TWICE))
OUTPUTS(two_rows_once, TWO_COLUMNS(ONCE))
OUTPUTS(two_rows_twice, TWO_COLUMNS(TWICE))
OUTPUTS(one_row_once, ONE_ROW(ONCE))
OUTPUTS(one_row_twice, ONE_ROW(TWICE))

#else

static void fill(uint32_t *column, uint32_t upper, uint32_t lower)
{
    const uint32_t first = eb_lows(upper, lower), second = eb_highs(upper, lower);
    column[0] = eb_even_bytes(first);
    column[1] = eb_odd_bytes(first);
    column[2] = eb_even_bytes(second);
    column[3] = eb_odd_bytes(second);
}

static void fill_two(const int8_t *upper, uint32_t *column, const picture *image,
                     const int8_t *lower)
{
    const int8_t *const outside = (const int8_t *)&image->outside;
    fill(column, image->outside, image->outside);
    fill(column + image->last / 4, image->outside, image->outside);
    column += image->first / 4;
    for (int32_t i = 0; i < image->inside; i += image->column, column += image->column / 4) {
        fill(column, eb_load4(upper), eb_load4(lower));
        upper += upper == outside ? 0 : image->step;
        lower += lower == outside ? 0 : image->step;
    }
}

static void fill_one(const int8_t *in, uint32_t *columns, const picture *image)
{
    fill_two(in, columns + PAIR, image, in + image->row);
}

static void fill_both(const int8_t *in, uint32_t *columns, const picture *image)
{
    fill_one(in, columns, image);
    fill_one(in + 2 * image->row, columns + PAIR, image);
}

/* An output from the columns at x, in the upper or the lower row of those from two pairs. */
static int8_t output_at(const uint32_t *x, int32_t column, int lower, const int32_t *channel,
                        int32_t words)
{
    const int32_t *const taps = channel + words - 3;
    int32_t sum = channel[0];
    for (int32_t k = 0; k < 3; k++, x += column) {
        const uint32_t mask = UINT32_C(0xFF00FF00), w = (uint32_t)taps[k];
        const uint32_t a = w & mask, b = w << 8 & mask;
        sum = lower ? eb_smlad(x[PAIR], b, eb_smlatb(x[0], a, sum))
                    : eb_smlabt(x[PAIR], b, eb_smlad(x[0], a, sum));
    }
    if (words == ONCE_WORDS) {
        return eb_scale_once(sum, channel[1]);
    }
    const eb_channel_dsp c = { 0, channel[1], channel[2], channel[3] };
    return eb_scale_dsp(sum >> 7, c);
}

/* A step, from the last output back: one that is not there lies on another one. */
static void outputs(const walk *w, int32_t column, int32_t stride, int32_t rows, int32_t words)
{
    const int32_t next = stride * column;
    const uint32_t *x = w->columns + w->skipped / 4;
    int8_t *out = w->out;
    for (const int32_t *c = w->channel; c != w->end; c += words, x++, out++) {
        for (int32_t i = w->width / 4 / next - 1; i >= 0; i--) {
            int8_t *const to = out + (i + w->odd) * w->step;
            for (int32_t r = rows - 1; r >= 0; r--) {
                to[r == rows - 1 ? w->last : r * w->down] =
                    output_at(x + i * next + r / 2 * PAIR, column, r % 2, c, words);
            }
        }
    }
}

static void walk_on(walk *w, int32_t column, int32_t stride, int32_t rows, int32_t words)
{
    for (;;) {
        outputs(w, column, stride, rows, words);
        if (--w->steps == 0) {
            return;
        }
        w->out += w->out_rows;
        w->columns += w->pairs / 4;
        w->fill(w->in, w->columns, w->image);
        w->in += w->in_rows;
    }
}

#define OUTPUTS(name, column, stride, rows, words)                                                 \
    static void name(walk *w) { walk_on(w, column, stride, rows, words); }

OUTPUTS(four_rows_once, TALL, 1, 4, ONCE_WORDS)
OUTPUTS(four_rows_twice, TALL, 1, 4, TWICE_WORDS)
OUTPUTS(two_rows_once, TALL, 1, 2, ONCE_WORDS)
OUTPUTS(two_rows_twice, TALL, 1, 2, TWICE_WORDS)
OUTPUTS(one_row_once, LOW, 2, 1, ONCE_WORDS)
OUTPUTS(one_row_twice, LOW, 2, 1, TWICE_WORDS)

#endif

/* The pair of rows from `y` on of an image at `in`. */
static void fill_pair(const picture *image, const int8_t *in, int32_t y, int32_t height,
                      uint32_t *column)
{
    const int8_t *const outside = (const int8_t *)&image->outside, *const at = in + y * image->row;
    fill_two(y >= 0 && y < height ? at : outside, column, image,
             y >= -1 && y + 1 < height ? at + image->row : outside);
}

static void next_step(walk *w)
{
    w->out += w->out_rows;
    w->columns += w->pairs / 4;
}

/* Where a single output is made twice. */
static void make_single(walk *w)
{
    w->step = 0;
    w->width *= 2;
    w->back = -1;
}

/* All steps at a stride of 1, of four channels from `in` on. */
static void stride_1(const eb_depthwise_conv2d_3x3_params *p, const int8_t *in, walk w)
{
    const int32_t row = w.image->row, fours = (p->out_h + 1) / 4, left = p->out_h - 4 * fours;
    int32_t y = 2 - p->pad_top;
    const int32_t inside = eb_min_i32((p->in_h - y) / 4, fours);
    fill_pair(w.image, in, y - 2, p->in_h, w.columns);
    w.out -= w.odd * w.step;
    if (inside > 0) {
        w.steps = inside;
        w.in = in + (y + 4) * row;
        fill_both(in + y * row, w.columns, w.image);
        (p->once ? four_rows_once : four_rows_twice)(&w);
        next_step(&w);
        y += 4 * inside;
    }
    if (inside < fours) {
        w.steps = 1;
        w.last = left < 0 ? 0 : w.last;
        fill_pair(w.image, in, y, p->in_h, w.columns + PAIR);
        fill_pair(w.image, in, y + 2, p->in_h, w.columns + 2 * PAIR);
        (p->once ? four_rows_once : four_rows_twice)(&w);
        next_step(&w);
        y += 4;
    }
    if (left > 0) {
        w.steps = 1;
        w.last = left == 2 ? w.down : 0;
        w.out += w.odd * w.step;
        w.back -= w.odd * w.step;
        w.odd = 0;
        if (p->out_w == 1) {
            make_single(&w);
        }
        fill_pair(w.image, in, y, p->in_h, w.columns + PAIR);
        (p->once ? two_rows_once : two_rows_twice)(&w);
    }
}

/* The same at 2. */
static void stride_2(const eb_depthwise_conv2d_3x3_params *p, const int8_t *in, walk w)
{
    const int32_t row = w.image->row, y = 2 - p->pad_top;
    const int32_t inside = eb_min_i32((p->in_h - y) / 2, p->out_h);
    fill_pair(w.image, in, y - 2, p->in_h, w.columns);
    if (inside > 0) {
        w.steps = inside;
        w.in = in + (y + 2) * row;
        fill_one(in + y * row, w.columns, w.image);
        (p->once ? one_row_once : one_row_twice)(&w);
        next_step(&w);
    }
    if (inside < p->out_h) {
        w.steps = 1;
        fill_pair(w.image, in, y + 2 * inside, p->in_h, w.columns + PAIR);
        (p->once ? one_row_once : one_row_twice)(&w);
    }
}

void eb_depthwise_conv2d_3x3_s8_dsp(const eb_depthwise_conv2d_3x3_params *p, const int8_t *input,
                                    int8_t *output, void *scratch)
{
    const int32_t step = p->in_c, in_row = p->in_w * step, out_row = p->out_w * step;
    const int tall = p->stride == 1;
    const int32_t column = (tall ? TALL : LOW) * 4, words = p->once ? ONCE_WORDS : TWICE_WORDS;
    const int32_t odd = tall ? p->out_w % 2 : 0;
    const picture image = { .row = in_row,
                            .three = 3 * in_row,
                            .step = step,
                            .column = column,
                            .first = p->pad_left * column,
                            .inside = eb_min_i32(p->in_w, p->columns - p->pad_left) * column,
                            .last = (p->columns - 1) * column,
                            .outside = eb_four_bytes(p->pad) };
    walk w = { .down = out_row,
               .last = tall ? 3 * out_row : 0,
               .step = step,
               .width = p->out_w * p->stride * column,
               .back = out_row + odd * step - 1,
               .channel = p->channels,
               .fill = tall ? fill_both : fill_one,
               .image = &image,
               .in_rows = (tall ? 4 : 2) * in_row,
               .out_rows = (tall ? 4 : 1) * out_row,
               .pairs = column - 4 * PAIR,
               .odd = odd };
    if (!tall && p->out_w == 1) {
        make_single(&w);
    }
    for (int32_t c = 0; c < p->in_c; c += 4) {
        /* Fewer than four come with those before them, which may be overwritten already. */
        const int32_t before = eb_max_i32(c + 4 - p->in_c, 0);
        w.end = w.channel + (4 - before) * words;
        w.skipped = 4 * before;
        for (int32_t b = 0; b < p->batches; b++) {
            w.columns = (uint32_t *)scratch;
            w.out = output + b * p->out_h * out_row + c;
            (tall ? stride_1 : stride_2)(p, input + b * p->in_h * in_row + c - before, w);
        }
        w.channel = w.end;
    }
    if (p->clamp) {
        eb_clamp_all(output, p->batches * p->out_h * out_row, &p->output);
    }
}
