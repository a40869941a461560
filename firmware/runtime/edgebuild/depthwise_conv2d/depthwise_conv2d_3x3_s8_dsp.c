/* DEPTHWISE_CONV_2D of 3x3 with the DSP extension: four channels at a time; of each, four output
 * rows at once at a stride of 1, two at 2.
 *
 * The six input rows under a step become columns, the padding included: a word for each two rows
 * and each of the four channels, the upper row in its low half; SMLAD takes two taps at once. The
 * last pair of rows is the first one of the next step, whose columns begin where it lies: they
 * move through memory from step to step, and each input row is read once, before the output rows
 * that may lie on it are written.
 *
 * Weights are times 256, and so are sums. Those of a channel stay in registers for a step. */
#include "../common/eb_channel_dsp.h"
#include "../common/eb_scale_dsp.h"
#include "depthwise_conv2d.h"

#define PAIR 4        /* words of a pair of rows in a column: one for each channel */
#define COLUMN 12     /* and of the column */
#define ONCE_WORDS 5  /* of a channel in the table: start, multiplier, taps */
#define TWICE_WORDS 7 /* start, multiplier, round, right, taps */

/* What the rows of an image share; assembly takes this and the next by their order. */
typedef struct {
    int32_t row;      /* bytes from a value to the one below */
    int32_t three;    /* three times that */
    int32_t step;     /* bytes from a value to the next one in its row */
    int32_t first;    /* bytes of the columns before the image */
    int32_t inside;   /* and of those inside */
    int32_t last;     /* bytes from the first column to the last one */
    uint32_t outside; /* four bytes of padding: the row outside the image */
} picture;

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
    int32_t skipped;        /* bytes to the channel's words in them, */
    const int8_t *in;       /* and the first row of the next step that is not filled */
    const picture *image;
    int32_t in_rows, out_rows; /* bytes from step to step */
    void (*fill)(const int8_t *in, uint32_t *columns, const picture *image); /* fill_both */
    int32_t odd; /* 1: the first turn of two outputs makes the second one alone */
} walk;

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* Words of four channels in the columns at r1, from those of an upper and a lower row. r9 is
 * padding. */
#define FILL(upper, lower, w0, w1, w2, w3)                                                         \
    "pkhbt r12, " upper ", " lower ", lsl #16\n pkhtb lr, " lower ", " upper ", asr #16\n"         \
    "sxtb16 r10, r12\n sxtb16 r11, r12, ror #8\n sxtb16 r12, lr\n sxtb16 lr, lr, ror #8\n"         \
    "str r10, [r1" w0 "\n str r11, [r1" w1 "\n str r12, [r1" w2 "\n str lr, [r1" w3 "\n"
#define FOUR_PADS(at, w0, w1, w2, w3)                                                              \
    "str r9, [" at w0 "\n str r9, [" at w1 "\n str r9, [" at w2 "\n str r9, [" at w3 "\n"
#define PADS(at) FOUR_PADS(at, "]", ", #4]", ", #8]", ", #12]")
#define MORE_PADS(at) FOUR_PADS(at, ", #16]", ", #20]", ", #24]", ", #28]")

/* Two columns a turn from r1 to r9; the first turn of an odd number begins with its second one. */
#define FILL_TURNS(BODY)                                                                           \
    "tst r7, #16\n bne 2f\n"                                                                       \
    "1:" BODY "2:" BODY "cmp r1, r9\n blo 1b\n"                                                    \
    "pop {r4-r11, pc}\n"

/* Two pairs of rows, all inside the image, as the last ones of the columns. The first and the last
 * column are padding, or overwritten. */
#define FILL_BOTH                                                                                  \
    "ldr r5, [r0]\n ldr r6, [r0, r2]\n ldr r7, [r0, r2, lsl #1]\n ldr r8, [r0, r3]\n"              \
    "add r0, r4\n"                                                                                 \
    FILL("r5", "r6", "], #48", ", #-44]", ", #-40]", ", #-36]")                                    \
    FILL("r7", "r8", ", #-32]", ", #-28]", ", #-24]", ", #-20]")
EB_NAKED fill_both(EB_IN const int8_t *in, EB_IN uint32_t *columns, EB_IN const picture *image)
{
    __asm volatile("push {r4-r11, lr}\n"
                   "ldmia r2, {r2-r4, r6-r9}\n"
                   "add r1, #16\n sxtb16 r9, r9\n add r8, r1\n" PADS("r1") MORE_PADS("r1")
                       PADS("r8") MORE_PADS("r8") "add r1, r6\n add r9, r1, r7\n"
                           FILL_TURNS(FILL_BOTH));
}

/* One pair of rows, of which any may be `outside`. */
#define FILL_TWO                                                                                   \
    "ldr r5, [r0]\n ldr r6, [r3]\n add r0, r2\n add r3, r4\n"                                      \
    FILL("r5", "r6", "], #48", ", #-44]", ", #-40]", ", #-36]")
EB_NAKED fill_two(EB_IN const int8_t *upper, EB_IN uint32_t *column, EB_IN const picture *image,
                  EB_IN const int8_t *lower)
{
    __asm volatile("push {r4-r11, lr}\n"
                   "add r12, r2, #24\n add r4, r2, #8\n ldmia r4, {r4, r6-r9}\n"
                   "sxtb16 r9, r9\n add r8, r1\n" PADS("r1") PADS("r8")
                   "add r1, r6\n add r9, r1, r7\n mov r2, r4\n"
                   "cmp r0, r12\n it eq\n moveq r2, #0\n"
                   "cmp r3, r12\n it eq\n moveq r4, #0\n" FILL_TURNS(FILL_TWO));
}

/* Outputs: x in r0, sums in r4 to r7, weights in r8 to lr, see UNPACK. The frame: 0 out, 4 end of
 * the columns (or one output before), 8 start, 12 multiplier, 16 round, 20 right, 24 the next
 * channel, 28 the walk, of which 32 down, 36 last, 40 step, 44 end, 48 width, 52 back. */
#define BEGIN(K)                                                                                   \
    "push {r4-r11, lr}\n"                                                                          \
    "ldmia r0, {r4-r9}\n"                                                                          \
    "push {r0, r4-r9}\n"                                                                           \
    "sub sp, #28\n" BEGIN_##K                                                                      \
    "7: ldr r1, [r0, #28]\n ldr r2, [r0, #32]\n ldr r3, [r0, #36]\n ldr r4, [r0, #40]\n"           \
    "add r0, r3, r4\n add r0, r8\n subs r0, #4\n"                                                  \
    "add r1, r9\n str r1, [sp]\n str r2, [sp, #24]\n"
#define CHANNEL(K, END)                                                                            \
    "0: ldr r1, [sp, #24]\n ldr r2, [sp, #44]\n ldr r3, [sp, #48]\n"                               \
    "ldr r4, [sp]\n ldr r5, [sp, #52]\n"                                                           \
    "cmp r1, r2\n beq 9f\n"                                                                        \
    "adds r0, #4\n" END "subs r0, r3\n"                                                            \
    "subs r4, r5\n str r4, [sp]\n" LOAD_##K UNPACK
#define END_BEHIND "str r0, [sp, #4]\n"
#define END_BEFORE_LAST(bytes) "sub r6, r0, #" bytes "\n str r6, [sp, #4]\n"
#define LEAVE                                                                                      \
    "9: ldr r10, [sp, #28]\n ldr r1, [r10, #24]\n subs r1, #1\n beq 8f\n str r1, [r10, #24]\n"     \
    "ldr r0, [r10, #44]\n ldr r2, [r10, #48]\n ldr r3, [r10, #52]\n ldr r4, [r10, #28]\n"          \
    "ldr r5, [r10, #56]\n ldr r1, [r10, #36]\n ldr r11, [r10, #60]\n"                              \
    "ldr r8, [sp, #48]\n ldr r9, [sp, #52]\n"                                                      \
    "add r3, r0\n str r3, [r10, #44]\n add r4, r5\n str r4, [r10, #28]\n"                          \
    "add r1, #32\n str r1, [r10, #36]\n blx r11\n mov r0, r10\n b 7b\n"                            \
    "8: add sp, #56\n"                                                                             \
    "pop {r4-r11, pc}\n"

/* Of the words (w1, w0, w2, w1) of each kernel column in r8, r10, r12: (w0, w1) there, (w1, w2)
 * in r9, r11, lr. */
#define UNPACK                                                                                     \
    "mov r2, #0xFF00FF00\n"                                                                        \
    "and r9, r2, r8, lsl #8\n and r11, r2, r10, lsl #8\n and lr, r2, r12, lsl #8\n"                \
    "and r8, r2\n and r10, r2\n and r12, r2\n"

/* One rounding: the frame's round is what EB_LOW leaves, right is not used. */
#define BEGIN_ONCE EB_LOW("r1") "str r1, [sp, #16]\n"
#define BEGIN_TWICE
#define LOAD_ONCE                                                                                  \
    "ldmia r1!, {r4, r5, r8, r10, r12}\n"                                                          \
    "str r4, [sp, #8]\n str r5, [sp, #12]\n str r1, [sp, #24]\n"
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
#define FOUR_ROWS_1(K)                                                                             \
    BEGIN(K) "b 0f\n"                                                                              \
    "1:" ONE_COLUMN(K)                                                                             \
    "ldr r1, [sp]\n ldr r2, [sp, #32]\n ldr r3, [sp, #36]\n"                                       \
    "strb r7, [r1, r3]\n strb r6, [r1, r2, lsl #1]\n strb r5, [r1, r2]\n strb r4, [r1]\n"          \
    "2:" ONE_COLUMN(K)                                                                             \
    "ldr r1, [sp]\n ldr r2, [sp, #32]\n ldr r3, [sp, #40]\n add r1, r3\n"                          \
    "strb r6, [r1, r2, lsl #1]\n strb r5, [r1, r2]\n"                                              \
    "ldr r5, [sp, #36]\n ldr r6, [sp, #4]\n strb r7, [r1, r5]\n strb r4, [r1]\n"                   \
    "add r1, r3\n str r1, [sp]\n"                                                                  \
    "cmp r0, r6\n bne 1b\n"                                                                        \
    CHANNEL(K, END_BEHIND) "tst r3, #16\n bne 2b\n b 1b\n" LEAVE

/* Two rows, two columns, of which the sums are in r4 and r5, r6 and r7; of an odd number of
 * columns, the last turn repeats one. `bytes`: of the columns from output to output. */
#define TWO_BY_TWO(K, bytes, TAPS)                                                                 \
    BEGIN(K) CHANNEL(K, END_BEFORE_LAST(bytes))                                                    \
    "1: ldr r7, [sp, #8]\n" TAPS FINISH4(K)                                                        \
    "ldr r1, [sp]\n ldr r2, [sp, #36]\n ldr r3, [sp, #40]\n"                                       \
    "add r2, r1\n strb r7, [r2, r3]\n strb r6, [r1, r3]\n strb r5, [r2]\n strb r4, [r1]\n"         \
    "add r2, r1, r3, lsl #1\n str r2, [sp]\n ldr r2, [sp, #4]\n"                                   \
    "cmp r0, r2\n blo 1b\n bne 0b\n"                                                               \
    "sub r0, #" bytes "\n add r1, r3\n str r1, [sp]\n b 1b\n" LEAVE
#define TWO_ROWS_1(K)                                                                              \
    TWO_BY_TWO(K, "48",                                                                            \
               "ldr r1, [r0], #96\n ldr r2, [r0, #-80]\n"                                          \
               TWO_ROWS("r1", "r2", "r8", "r9", "r7", "r7", "r4", "r5")                            \
               "ldr r1, [r0, #-48]\n ldr r2, [r0, #-32]\n"                                         \
               TWO_ROWS("r1", "r2", "r10", "r11", "r4", "r5", "r4", "r5")                          \
               TWO_ROWS("r1", "r2", "r8", "r9", "r7", "r7", "r6", "r7")                            \
               "ldr r1, [r0]\n ldr r2, [r0, #16]\n"                                                \
               TWO_ROWS("r1", "r2", "r12", "lr", "r4", "r5", "r4", "r5")                           \
               TWO_ROWS("r1", "r2", "r10", "r11", "r6", "r7", "r6", "r7")                          \
               "ldr r1, [r0, #48]\n ldr r2, [r0, #64]\n"                                           \
               TWO_ROWS("r1", "r2", "r12", "lr", "r6", "r7", "r6", "r7"))

/* The same at a stride of 2, with three pairs. */
#define APART(a, b, s0, s1, u, v)                                                                  \
    "smlad " u ", r1, " a ", " s0 "\n smlabt " u ", r2, " b ", " u "\n"                            \
    "smlad " v ", r2, " a ", " s1 "\n smlabt " v ", r3, " b ", " v "\n"
#define TWO_ROWS_2(K)                                                                              \
    TWO_BY_TWO(K, "96",                                                                            \
               "ldr r1, [r0]\n ldr r2, [r0, #16]\n ldr r3, [r0, #32]\n"                            \
               APART("r8", "r9", "r7", "r7", "r4", "r5")                                           \
               "ldr r1, [r0, #48]\n ldr r2, [r0, #64]\n ldr r3, [r0, #80]\n"                       \
               APART("r10", "r11", "r4", "r5", "r4", "r5")                                         \
               "ldr r1, [r0, #96]\n ldr r2, [r0, #112]\n ldr r3, [r0, #128]\n"                     \
               APART("r12", "lr", "r4", "r5", "r4", "r5")                                          \
               APART("r8", "r9", "r7", "r7", "r6", "r7")                                           \
               "ldr r1, [r0, #144]\n ldr r2, [r0, #160]\n ldr r3, [r0, #176]\n"                    \
               APART("r10", "r11", "r6", "r7", "r6", "r7")                                         \
               "ldr r1, [r0, #192]!\n ldr r2, [r0, #16]\n ldr r3, [r0, #32]\n"                     \
               APART("r12", "lr", "r6", "r7", "r6", "r7"))

#define OUTPUTS(name, BODY)                                                                        \
    EB_NAKED name(EB_IN walk *w)                                                                   \
    {                                                                                              \
        __asm volatile(BODY);                                                                      \
    }

OUTPUTS(four_rows_1_once, FOUR_ROWS_1(ONCE))
OUTPUTS(four_rows_1_twice, FOUR_ROWS_1(TWICE))
OUTPUTS(two_rows_1_once, TWO_ROWS_1(ONCE))
OUTPUTS(two_rows_1_twice, TWO_ROWS_1(TWICE))
OUTPUTS(two_rows_2_once, TWO_ROWS_2(ONCE))
OUTPUTS(two_rows_2_twice, TWO_ROWS_2(TWICE))

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
    for (int32_t i = 0; i < image->inside; i += 4 * COLUMN, column += COLUMN) {
        fill(column, eb_load4(upper), eb_load4(lower));
        upper += upper == outside ? 0 : image->step;
        lower += lower == outside ? 0 : image->step;
    }
}

static void fill_both(const int8_t *in, uint32_t *columns, const picture *image)
{
    fill_two(in, columns + PAIR, image, in + image->row);
    fill_two(in + 2 * image->row, columns + 2 * PAIR, image, in + image->three);
}

/* An output from the columns at x, of the upper or the lower of the rows from their pairs. */
static int8_t output_at(const uint32_t *x, int lower, const int32_t *channel, int32_t words)
{
    const int32_t *const taps = channel + words - 3;
    int32_t sum = channel[0];
    for (int32_t k = 0; k < 3; k++, x += COLUMN) {
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
static void outputs(const walk *w, int32_t stride, int32_t rows, int32_t words)
{
    const uint32_t *x = w->columns + w->skipped / 4;
    int8_t *out = w->out;
    for (const int32_t *c = w->channel; c != w->end; c += words, x++, out++) {
        for (int32_t i = w->width / (4 * COLUMN * stride) - 1; i >= 0; i--) {
            int8_t *const to = out + (i + w->odd) * w->step;
            for (int32_t r = rows - 1; r >= 0; r--) {
                to[r == rows - 1 ? w->last : r * w->down] = output_at(
                    x + i * stride * COLUMN + r * stride / 2 * PAIR, r * stride % 2, c, words);
            }
        }
    }
}

static void walk_on(walk *w, int32_t stride, int32_t rows, int32_t words)
{
    for (;;) {
        outputs(w, stride, rows, words);
        if (--w->steps == 0) {
            return;
        }
        w->out += w->out_rows;
        w->columns += 2 * PAIR;
        w->fill(w->in, w->columns, w->image);
        w->in += w->in_rows;
    }
}

#define OUTPUTS(name, stride, rows, words)                                                         \
    static void name(walk *w) { walk_on(w, stride, rows, words); }

OUTPUTS(four_rows_1_once, 1, 4, ONCE_WORDS)
OUTPUTS(four_rows_1_twice, 1, 4, TWICE_WORDS)
OUTPUTS(two_rows_1_once, 1, 2, ONCE_WORDS)
OUTPUTS(two_rows_1_twice, 1, 2, TWICE_WORDS)
OUTPUTS(two_rows_2_once, 2, 2, ONCE_WORDS)
OUTPUTS(two_rows_2_twice, 2, 2, TWICE_WORDS)

#endif

/* The pair of rows from `y` on of four channels from `in` on. */
static void fill_pair(const picture *image, const int8_t *in, int32_t y, int32_t height,
                      uint32_t *columns)
{
    const int8_t *const outside = (const int8_t *)&image->outside, *const at = in + y * image->row;
    fill_two(y >= 0 && y < height ? at : outside, columns, image,
             y >= -1 && y + 1 < height ? at + image->row : outside);
}

/* The outputs of a row: one by one where four rows are made, else in pairs, of which a single one
 * is made twice. */
static void set_row(const eb_depthwise_conv2d_3x3_params *p, int pairs, walk *w)
{
    const int single = pairs && p->out_w == 1;
    w->odd = pairs ? 0 : p->out_w % 2;
    w->step = single ? 0 : p->in_c;
    w->width = (p->out_w + single) * p->stride * COLUMN * 4;
    w->back = (p->out_w + w->odd) * w->step - 1;
}

/* Steps, of which the columns of the first are filled. */
static void run(const eb_depthwise_conv2d_3x3_params *p, int32_t steps, walk *w)
{
    w->steps = steps;
    if (p->stride == 1) {
        (p->once ? four_rows_1_once : four_rows_1_twice)(w);
    } else {
        (p->once ? two_rows_2_once : two_rows_2_twice)(w);
    }
    w->out += w->out_rows;
    w->columns += 2 * PAIR;
}

/* Up to four channels of an image; `in` is where the four begin of which they are the last. */
static void channels(const eb_depthwise_conv2d_3x3_params *p, const int8_t *in, walk *w)
{
    const picture *const image = w->image;
    const int32_t rows = 4 / p->stride, steps = (p->out_h + 1) / rows;
    const int32_t left = p->out_h - steps * rows;
    int32_t y = 2 - p->pad_top; /* of the first row that is not filled */
    const int32_t inside = eb_min_i32((p->in_h - y) / 4, steps);
    set_row(p, p->stride == 2, w);
    w->out -= w->odd * w->step;
    w->last = (rows - 1) * w->down;
    fill_pair(image, in, y - 2, p->in_h, w->columns);
    if (inside > 0) {
        fill_both(in + y * image->row, w->columns, image);
        w->in = in + (y + 4) * image->row;
        run(p, inside, w);
        y += 4 * inside;
    }
    if (inside < steps) {
        fill_pair(image, in, y, p->in_h, w->columns + PAIR);
        fill_pair(image, in, y + 2, p->in_h, w->columns + 2 * PAIR);
        w->last = left < 0 ? 0 : w->last;
        run(p, 1, w);
        y += 4;
    }
    if (left > 0) {
        fill_pair(image, in, y, p->in_h, w->columns + PAIR);
        w->out += w->odd * w->step;
        w->last = left == 2 ? w->down : 0;
        w->steps = 1;
        set_row(p, 1, w);
        (p->once ? two_rows_1_once : two_rows_1_twice)(w);
    }
}

void eb_depthwise_conv2d_3x3_s8_dsp(const eb_depthwise_conv2d_3x3_params *p, const int8_t *input,
                                    int8_t *output, void *scratch)
{
    const int32_t in_row = p->in_w * p->in_c, out_row = p->out_w * p->in_c;
    const int32_t column = COLUMN * 4, words = p->once ? ONCE_WORDS : TWICE_WORDS;
    const picture image = { .row = in_row,
                            .three = 3 * in_row,
                            .step = p->in_c,
                            .first = p->pad_left * column,
                            .inside = eb_min_i32(p->in_w, p->columns - p->pad_left) * column,
                            .last = (p->columns - 1) * column,
                            .outside = eb_four_bytes(p->pad) };
    walk w;
    w.down = out_row;
    w.channel = p->channels;
    w.image = &image;
    w.in_rows = 4 * in_row;
    w.out_rows = 4 / p->stride * out_row;
    w.fill = fill_both;
    for (int32_t c = 0; c < p->in_c; c += 4) {
        /* Fewer than four come with those before them, which may be overwritten already. */
        const int32_t before = eb_max_i32(c + 4 - p->in_c, 0);
        w.end = w.channel + (4 - before) * words;
        w.skipped = 4 * before;
        for (int32_t b = 0; b < p->batches; b++) {
            w.columns = (uint32_t *)scratch;
            w.out = output + b * p->out_h * out_row + c;
            channels(p, input + b * p->in_h * in_row + c - before, &w);
        }
        w.channel = w.end;
    }
    if (p->clamp) {
        eb_clamp_all_dsp(output, p->batches * p->out_h * out_row, &p->output);
    }
}
