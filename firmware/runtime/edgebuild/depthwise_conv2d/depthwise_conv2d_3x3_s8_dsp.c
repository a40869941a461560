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
#define TALL 3        /* pairs in a column at a stride of 1 */
#define LOW 2         /* and at 2 */
#define ROWS 4        /* output rows of a step at a stride of 1 */
#define ONCE_WORDS 5  /* of a channel in the table: start, multiplier, taps */
#define TWICE_WORDS 7 /* start, multiplier, round, right, taps */

/* What the outputs of a step share; assembly takes them by their order. */
typedef struct {
    int32_t down; /* bytes from an output to the one below */
    int32_t last; /* and to the lowest of a step; 0: there is none, the highest overwrites it */
    int32_t step; /* and to the next one in its row */
    const int32_t *end; /* of the channels in the table */
    int32_t width;      /* bytes of the columns from one channel's first output to the end */
    int32_t back;       /* bytes of outputs from the next channel's first turn to this one's end */
    int32_t skipped;    /* outputs that the first turn of two leaves out: `out` is as many before them */
} walk;

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* The frame: 0 out, 4 end of the row in the columns, 8 start, 12 multiplier, 16 round, 20 right, 24
 * channels in the table; the walk: 28 down, 32 last, 36 step, 40 end, 44 width, 48 back.
 *
 * x in r0, sums in r4 to r7; weights, see UNPACK, in r8 to lr. */
#define ENTER                                                                                      \
    "push {r4-r11, lr}\n"                                                                          \
    "ldmia r3, {r4-r9}\n"                                                                          \
    "push {r2, r4-r9}\n"                                                                           \
    "sub sp, #24\n"                                                                                \
    "add r0, r8\n sub r0, #4\n"                                                                    \
    "add r1, r9\n str r1, [sp]\n"                                                                  \
    "0: ldr r1, [sp, #24]\n ldr r2, [sp, #40]\n ldr r3, [sp, #44]\n"                               \
    "ldr r4, [sp]\n ldr r5, [sp, #48]\n"                                                           \
    "cmp r1, r2\n beq 9f\n"                                                                        \
    "adds r0, #4\n str r0, [sp, #4]\n subs r0, r3\n"                                               \
    "subs r4, r5\n str r4, [sp]\n"
#define LEAVE                                                                                      \
    "9: add sp, #52\n"                                                                             \
    "pop {r4-r11, pc}\n"

/* Of the words (w1, w0, w2, w1) of each kernel column in r8, r10, r12: (w0, w1) there, (w1, w2) in r9,
 * r11, lr. */
#define UNPACK                                                                                     \
    "mov r2, #0xFF00FF00\n"                                                                        \
    "and r9, r2, r8, lsl #8\n and r11, r2, r10, lsl #8\n and lr, r2, r12, lsl #8\n"                \
    "and r8, r2\n and r10, r2\n and r12, r2\n"

/* One rounding: the frame's round is what EB_LOW leaves, right is not used. */
#define LOAD_ONCE                                                                                  \
    "ldmia r1!, {r4, r5, r8, r10, r12}\n"                                                          \
    EB_LOW("r6")                                                                                   \
    "str r4, [sp, #8]\n str r5, [sp, #12]\n str r6, [sp, #16]\n str r1, [sp, #24]\n"
#define LOAD_TWICE                                                                                 \
    "ldmia r1!, {r4-r8, r10, r12}\n"                                                               \
    "str r4, [sp, #8]\n str r5, [sp, #12]\n str r6, [sp, #16]\n str r7, [sp, #20]\n"               \
    "str r1, [sp, #24]\n"

#define SCALE_ONCE(s) EB_ONCE(s, "r1", "r2")
#define NARROW_ONCE(s) EB_ONCE_NARROW(s)
#define SCALE_TWICE(s) "asr " s ", #7\n" EB_HIGH_ANY(s, "r1", "r2")
#define NARROW_TWICE(s) EB_NARROW(s, "r3")
#define CONSTANTS_ONCE "ldr r1, [sp, #12]\n ldr r2, [sp, #16]\n"
#define CONSTANTS_TWICE CONSTANTS_ONCE "ldr r3, [sp, #20]\n"
#define FINISH2(K, a, b) CONSTANTS_##K SCALE_##K(a) SCALE_##K(b) NARROW_##K(a) NARROW_##K(b)
#define FINISH4(K)                                                                                 \
    CONSTANTS_##K SCALE_##K("r4") SCALE_##K("r5") SCALE_##K("r6") SCALE_##K("r7")                  \
    NARROW_##K("r4") NARROW_##K("r5") NARROW_##K("r6") NARROW_##K("r7")

/* Rows 0 and 1, and rows 2 and 3, of one output column: the pairs in p and q under them, the weights
 * of a kernel column, the sums before and after. */
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
    ENTER "tst r3, #16\n" LOAD_##K UNPACK "bne 2f\n"                                               \
    "1:" ONE_COLUMN(K)                                                                             \
    "ldr r1, [sp]\n ldr r2, [sp, #28]\n ldr r3, [sp, #32]\n"                                       \
    "strb r7, [r1, r3]\n strb r6, [r1, r2, lsl #1]\n strb r5, [r1, r2]\n strb r4, [r1]\n"          \
    "2:" ONE_COLUMN(K)                                                                             \
    "ldr r1, [sp]\n ldr r2, [sp, #28]\n ldr r3, [sp, #36]\n add r1, r3\n"                          \
    "strb r6, [r1, r2, lsl #1]\n strb r5, [r1, r2]\n"                                              \
    "ldr r5, [sp, #32]\n ldr r6, [sp, #4]\n strb r7, [r1, r5]\n strb r4, [r1]\n"                   \
    "add r1, r3\n str r1, [sp]\n"                                                                  \
    "cmp r0, r6\n bne 1b\n b 0b\n"                                                                 \
    LEAVE

/* Two outputs a turn, `bytes` of the columns; of an odd number, the last turn repeats one. */
#define NEXT_PAIR(bytes)                                                                           \
    "sub r3, r0\n cmp r3, #2 * " bytes "\n bhs 1b\n"                                               \
    "cmp r3, #0\n beq 0b\n"                                                                        \
    "sub r0, #" bytes "\n ldr r1, [sp]\n ldr r2, [sp, #36]\n sub r1, r2\n str r1, [sp]\n b 1b\n"

/* Two rows, two columns, at a stride of 1. */
#define TWO_COLUMNS(K)                                                                             \
    ENTER LOAD_##K UNPACK                                                                          \
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
    "ldr r1, [sp]\n ldr r2, [sp, #32]\n ldr r3, [sp, #36]\n"                                       \
    "add r2, r1\n strb r7, [r2, r3]\n strb r6, [r1, r3]\n strb r5, [r2]\n strb r4, [r1]\n"         \
    "add r1, r1, r3, lsl #1\n str r1, [sp]\n ldr r3, [sp, #4]\n"                                   \
    NEXT_PAIR("48") LEAVE

/* One row, two columns, at a stride of 2. */
#define ONE_ROW(K)                                                                                 \
    ENTER LOAD_##K UNPACK                                                                          \
    "1: ldr r7, [sp, #8]\n ldr r1, [r0], #128\n ldr r2, [r0, #-112]\n ldr r3, [r0, #-96]\n"        \
    "ldr r4, [r0, #-80]\n ldr r5, [r0, #-64]\n"                                                    \
    "smlad r6, r1, r8, r7\n smlabt r6, r2, r9, r6\n smlad r6, r3, r10, r6\n"                       \
    "smlabt r6, r4, r11, r6\n smlad r6, r5, r12, r6\n smlad r7, r5, r8, r7\n"                      \
    "ldr r1, [r0, #-48]\n ldr r2, [r0, #-32]\n ldr r3, [r0, #-16]\n"                               \
    "ldr r4, [r0]\n ldr r5, [r0, #16]\n"                                                           \
    "smlabt r6, r1, lr, r6\n smlabt r7, r1, r9, r7\n smlad r7, r2, r10, r7\n"                      \
    "smlabt r7, r3, r11, r7\n smlad r7, r4, r12, r7\n smlabt r7, r5, lr, r7\n"                     \
    FINISH2(K, "r6", "r7")                                                                         \
    "ldr r1, [sp]\n ldr r2, [sp, #36]\n ldr r3, [sp, #4]\n"                                        \
    "strb r7, [r1, r2]\n strb r6, [r1]\n add r1, r1, r2, lsl #1\n str r1, [sp]\n"                  \
    NEXT_PAIR("64") LEAVE

#define OUTPUTS(name, BODY)                                                                        \
    EB_NAKED name(EB_IN const uint32_t *x, EB_IN int8_t *out, EB_IN const int32_t *channel,        \
                  EB_IN const walk *w)                                                             \
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

/* An output from the columns at x, in an even row of the step (of two pairs) or an odd one. */
static int8_t output_at(const uint32_t *x, int32_t pairs, int odd, const int32_t *c, int32_t words)
{
    const int once = words == ONCE_WORDS;
    const uint32_t *const taps = (const uint32_t *)c + words - 3;
    int32_t sum = c[0];
    for (int32_t k = 0; k < 3; k++, x += pairs * PAIR) {
        const uint32_t a = taps[k] & UINT32_C(0xFF00FF00), b = taps[k] << 8 & UINT32_C(0xFF00FF00);
        sum = odd ? eb_smlad(x[PAIR], b, eb_smlatb(x[0], a, sum))
                  : eb_smlabt(x[PAIR], b, eb_smlad(x[0], a, sum));
    }
    if (once) {
        return eb_scale_once(sum, c[1]);
    }
    const eb_channel_dsp channel = { 0, c[1], c[2], c[3] };
    return eb_scale_dsp(sum >> 7, channel);
}

/* Outputs from the last one back, as those that are not there lie on others. */
static void rows(const uint32_t *x, int8_t *out, const int32_t *channel, const walk *w,
                 int32_t stride, int32_t number, int32_t words)
{
    const int32_t pairs = stride == 1 ? TALL : LOW;
    const int32_t next = stride * pairs * PAIR;
    for (; channel != w->end; channel += words, x++, out++) {
        for (int32_t i = w->width / 4 / next - 1; i >= 0; i--) {
            for (int32_t r = number - 1; r >= 0; r--) {
                out[(i + w->skipped) * w->step + (r == number - 1 ? w->last : r * w->down)] =
                    output_at(x + i * next + r / 2 * PAIR, pairs, r % 2, channel, words);
            }
        }
    }
}

#define OUTPUTS(name, stride, number, words)                                                       \
    static void name(const uint32_t *x, int8_t *out, const int32_t *channel, const walk *w)        \
    {                                                                                              \
        rows(x, out, channel, w, stride, number, words);                                           \
    }

OUTPUTS(four_rows_once, 1, 4, ONCE_WORDS)
OUTPUTS(four_rows_twice, 1, 4, TWICE_WORDS)
OUTPUTS(two_rows_once, 1, 2, ONCE_WORDS)
OUTPUTS(two_rows_twice, 1, 2, TWICE_WORDS)
OUTPUTS(one_row_once, 2, 1, ONCE_WORDS)
OUTPUTS(one_row_twice, 2, 1, TWICE_WORDS)

#endif

/* A row of four channels: values `step` bytes apart (0 for padding). */
typedef struct {
    const int8_t *at;
    int32_t step;
} source;

typedef struct {
    const eb_depthwise_conv2d_3x3_params *p;
    const int8_t *in; /* four channels of an image */
    uint32_t outside; /* four bytes of padding */
    int32_t words;    /* of a column */
} picture;

static source row_of(const picture *image, int32_t y)
{
    const eb_depthwise_conv2d_3x3_params *const p = image->p;
    const int inside = y >= 0 && y < p->in_h;
    const source found = { inside ? image->in + y * p->in_w * p->in_c
                                  : (const int8_t *)&image->outside,
                           inside ? p->in_c : 0 };
    return found;
}

static inline uint32_t *fill_word(uint32_t *column, uint32_t low, uint32_t high, int32_t words)
{
    const uint32_t first = eb_lows(low, high), second = eb_highs(low, high);
    column[0] = eb_even_bytes(first);
    column[1] = eb_odd_bytes(first);
    column[2] = eb_even_bytes(second);
    column[3] = eb_odd_bytes(second);
    return column + words;
}

/* The pairs of the rows `top` and below it. */
static void fill(const picture *image, int32_t top, uint32_t *column)
{
    const eb_depthwise_conv2d_3x3_params *const p = image->p;
    const int32_t n = eb_min_i32(p->in_w, p->columns - p->pad_left), words = image->words;
    source low = row_of(image, top), high = row_of(image, top + 1);
    for (int32_t i = 0; i < p->pad_left; i++) {
        column = fill_word(column, image->outside, image->outside, words);
    }
    for (int32_t i = 0; i < n; i++, low.at += low.step, high.at += high.step) {
        column = fill_word(column, eb_load4(low.at), eb_load4(high.at), words);
    }
    for (int32_t i = p->pad_left + n; i < p->columns; i++) {
        column = fill_word(column, image->outside, image->outside, words);
    }
}

/* The channels of an image from `channel` on: those of four in the columns that are `from` the
 * `skipped`-th on. */
static void channels(const picture *image, const int32_t *channel, const int32_t *end,
                     uint32_t *columns, int32_t skipped, int8_t *out)
{
    const eb_depthwise_conv2d_3x3_params *const p = image->p;
    const int32_t row = p->out_w * p->in_c, most = p->stride == 1 ? ROWS : 1;
    /* Where two outputs are made at once, a single one is made twice. */
    const int32_t outputs = eb_max_i32(p->out_w, 2), step = p->out_w == 1 ? 0 : p->in_c;
    int32_t top = -p->pad_top;
    fill(image, top, columns);
    for (int32_t y = 0; y < p->out_h; y += most, out += most * row) {
        const int32_t left = p->out_h - y;
        uint32_t *const last = columns + image->words - PAIR;
        const uint32_t *const x = columns + skipped;
        walk w = { row, 0, step, end, 4 * outputs * p->stride * image->words, outputs * step - 1, 0 };
        fill(image, top + 2, columns + PAIR);
        if (p->stride == 2) {
            (p->once ? one_row_once : one_row_twice)(x, out, channel, &w);
        } else if (left <= 2) {
            w.last = left == 2 ? row : 0;
            (p->once ? two_rows_once : two_rows_twice)(x, out, channel, &w);
        } else {
            fill(image, top + 4, last);
            w.last = left == 3 ? 0 : 3 * row;
            w.step = p->in_c;
            w.width = 4 * p->out_w * image->words;
            w.skipped = p->out_w % 2;
            w.back = (p->out_w + w.skipped) * p->in_c - 1;
            (p->once ? four_rows_once : four_rows_twice)(x, out - w.skipped * p->in_c, channel, &w);
        }
        columns = last;
        top += 2 * (image->words / PAIR - 1);
    }
}

void eb_depthwise_conv2d_3x3_s8_dsp(const eb_depthwise_conv2d_3x3_params *p, const int8_t *input,
                                    int8_t *output, void *scratch)
{
    const int32_t in_bytes = p->in_h * p->in_w * p->in_c;
    const int32_t out_bytes = p->out_h * p->out_w * p->in_c;
    const int32_t words = p->once ? ONCE_WORDS : TWICE_WORDS;
    picture image = { p, input, eb_four_bytes(p->pad), (p->stride == 1 ? TALL : LOW) * PAIR };
    for (int32_t c = 0; c < p->in_c; c += 4) {
        /* Fewer than four come with those before them, which may be overwritten already. */
        const int32_t skipped = eb_max_i32(c + 4 - p->in_c, 0);
        const int32_t *const channel = p->channels + c * words;
        for (int32_t b = 0; b < p->batches; b++) {
            image.in = input + b * in_bytes + c - skipped;
            channels(&image, channel, channel + (4 - skipped) * words, (uint32_t *)scratch, skipped,
                     output + b * out_bytes + c);
        }
    }
    if (p->clamp) {
        eb_clamp_all(output, p->batches * out_bytes, &p->output);
    }
}
