/* DEPTHWISE_CONV_2D of 3x3 with the DSP extension: four channels at a time; of each, two output rows
 * at once where stride_h is 1, one where it is 2.
 *
 * The input rows under a step become columns, the padding included, with words for each of the four
 * channels: pairs of rows in the (low, high) halfwords. At stride_h 1 a column has, over input rows 0
 * to 3, `middle` (row 1, row 2) and `outer` (row 3, row 0), beside each other. At 2 it has `middle`
 * (row 0, row 1); `outer`, of which row 2 alone counts, is the `middle` of the step that follows: two
 * buffers take turns. SMLAD takes two taps at once.
 *
 * Of each channel an input row is read once, before the output rows that may lie on it are written: at
 * stride_h 1 row 2 is kept, as row 0 of the step that follows. */
#include "../common/eb_channel_dsp.h"
#include "../common/eb_scale_dsp.h"
#include "depthwise_conv2d.h"

#define COLUMN_OF_TWO 8 /* words at stride_h 1: middle and outer of channels 0, 1, 2, 3 */
#define COLUMN_OF_ONE 4 /* at stride_h 2: middle of channels 0, 1, 2, 3 */
#define PAIRED 8        /* words between outputs where pairs are made: strides (1, 1), (2, 2) */

/* A channel, with its weights in the form that meets the words of the columns: taps doubled, two words
 * for each column of the kernel, at stride_h 1 (row 1, row 2) and (row 0, row 1), at 2 (row 0, row 1)
 * and (row 2, 0). */
typedef struct {
    uint32_t w[6];
    eb_channel_dsp channel;
} filter;

typedef struct {
    int32_t step;   /* bytes from one output to the next one in its row */
    int32_t down;   /* and to the one below; 0: there is none */
    int32_t outer;  /* bytes from a word of middle to its outer */
    int32_t pairs;  /* of outputs that a call makes */
    int32_t odd;    /* bytes from the columns of an output to those of the next, where a call makes an
                       odd number: its last pair has an output of the one before; else 0 */
    int32_t column; /* words of a column */
    int32_t next;   /* words from one output's columns to the next one's */
    int32_t rows;   /* of outputs at once */
} geometry;

/* One output, or two of which one lies below the other. */
static void single(const uint32_t *x, const filter *c, int8_t *out, const geometry *g)
{
    const uint32_t *y = x + g->outer / 4;
    int32_t upper = c->channel.bias, lower = upper;
    for (int32_t k = 0; k < 3; k++, x += g->column, y += g->column) {
        const uint32_t a = c->w[2 * k], b = c->w[2 * k + 1];
        upper = eb_smlad(*x, a, upper);
        upper = g->rows == 2 ? eb_smlatb(*y, b, upper) : eb_smlabb(*y, b, upper);
        lower = eb_smlabt(*y, a, eb_smlad(*x, b, lower));
    }
    if (g->rows == 2) {
        /* Before the upper one, on which it lies where there is no row below. */
        out[g->down] = eb_scale_dsp(lower, c->channel);
    }
    *out = eb_scale_dsp(upper, c->channel);
}

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* Pairs of outputs from the columns at x. Weights stay in r8 to lr, sums in r4 to r7; the frame holds
 * what else they need: 0 out, 4 step, 8 down, 12 outer, 16 pairs, 20 odd, 24 bias, 28 multiplier, 32
 * round, 36 right. */
#define ENTER                                                                                      \
    "push {r4-r11, lr}\n"                                                                          \
    "ldmia r1!, {r8-r12, lr}\n"                                                                    \
    "ldmia r1, {r4-r7}\n"                                                                          \
    "push {r4-r7}\n"                                                                               \
    "mov r1, r2\n"                                                                                 \
    "ldmia r3, {r2-r6}\n"                                                                          \
    "push {r1-r6}\n"
#define LEAVE                                                                                      \
    "add sp, #40\n"                                                                                \
    "pop {r4-r11, pc}\n"

#define HIGH_ANY(s) EB_HIGH_ANY(s, "r3", "r1")
#define HIGH_FLOOR(s) EB_HIGH_FLOOR(s, "r3", "r1")
#define NARROW(s) EB_NARROW(s, "r2")
#define SCALE "ldr r3, [sp, #28]\n ldr r1, [sp, #32]\n ldr r2, [sp, #36]\n"
/* The next pair; at the end, once, the last column with the one before it. */
#define NEXT                                                                                       \
    "str r3, [sp]\n"                                                                               \
    "ldr r1, [sp, #16]\n"                                                                          \
    "add r0, #64\n"                                                                                \
    "subs r1, #1\n"                                                                                \
    "str r1, [sp, #16]\n"                                                                          \
    "bne 1b\n"                                                                                     \
    "ldr r2, [sp, #20]\n cbz r2, 2f\n"                                                             \
    "movs r1, #1\n str r1, [sp, #16]\n movs r1, #0\n str r1, [sp, #20]\n"                         \
    "sub r0, r2\n ldr r1, [sp, #4]\n sub r3, r1\n str r3, [sp]\n b 1b\n"                          \
    "2:\n"

/* Two rows at a stride of 1: r4 and r5 in the upper one, r6 and r7 below. */
#define TWO_ROWS(HIGH)                                                                             \
    ENTER                                                                                          \
    "1: ldr r4, [sp, #24]\n ldr r1, [r0]\n ldr r2, [r0, #4]\n ldr r3, [r0, #32]\n"                 \
    "smlad r6, r1, r9, r4\n smlad r7, r3, r9, r4\n"                                                \
    "smlad r5, r3, r8, r4\n smlad r4, r1, r8, r4\n"                                                \
    "smlatb r4, r2, r9, r4\n smlabt r6, r2, r8, r6\n"                                              \
    "smlad r4, r3, r10, r4\n smlad r6, r3, r11, r6\n"                                              \
    "ldr r1, [r0, #36]\n ldr r2, [r0, #64]\n ldr r3, [r0, #68]\n"                                  \
    "smlatb r4, r1, r11, r4\n smlabt r6, r1, r10, r6\n"                                            \
    "smlatb r5, r1, r9, r5\n smlabt r7, r1, r8, r7\n"                                              \
    "smlad r4, r2, r12, r4\n smlad r6, r2, lr, r6\n"                                               \
    "smlad r5, r2, r10, r5\n smlad r7, r2, r11, r7\n"                                              \
    "smlatb r4, r3, lr, r4\n smlabt r6, r3, r12, r6\n"                                             \
    "smlatb r5, r3, r11, r5\n smlabt r7, r3, r10, r7\n"                                            \
    "ldr r1, [r0, #96]\n ldr r2, [r0, #100]\n"                                                     \
    "smlad r5, r1, r12, r5\n smlad r7, r1, lr, r7\n"                                               \
    "smlatb r5, r2, lr, r5\n smlabt r7, r2, r12, r7\n"                                             \
    SCALE HIGH("r4") HIGH("r5") HIGH("r6") HIGH("r7")                                              \
    NARROW("r4") NARROW("r5") NARROW("r6") NARROW("r7")                                            \
    "ldr r3, [sp]\n ldr r1, [sp, #4]\n ldr r2, [sp, #8]\n"                                         \
    "add r2, r3\n strb r7, [r2, r1]\n strb r6, [r2]\n"                                             \
    "strb r5, [r3, r1]\n strb r4, [r3]\n add r3, r3, r1, lsl #1\n"                                 \
    NEXT LEAVE

/* One row at strides of 2: r4 and r5. */
#define ONE_ROW(HIGH)                                                                              \
    ENTER                                                                                          \
    "1: ldr r4, [sp, #24]\n ldr r1, [r0]\n ldr r2, [r0, #16]\n"                                    \
    "ldr r3, [r0, #32]\n ldr r6, [r0, #48]\n ldr r7, [r0, #64]\n"                                  \
    "smlad r5, r3, r8, r4\n smlad r4, r1, r8, r4\n"                                                \
    "smlad r4, r2, r10, r4\n smlad r5, r6, r10, r5\n"                                              \
    "smlad r4, r3, r12, r4\n smlad r5, r7, r12, r5\n"                                              \
    "ldr r7, [sp, #12]\n add r7, r0\n"                                                             \
    "ldr r1, [r7]\n ldr r2, [r7, #16]\n"                                                           \
    "ldr r3, [r7, #32]\n ldr r6, [r7, #48]\n ldr r7, [r7, #64]\n"                                  \
    "smlabb r4, r1, r9, r4\n smlabb r5, r3, r9, r5\n"                                              \
    "smlabb r4, r2, r11, r4\n smlabb r5, r6, r11, r5\n"                                            \
    "smlabb r4, r3, lr, r4\n smlabb r5, r7, lr, r5\n"                                              \
    SCALE HIGH("r4") HIGH("r5") NARROW("r4") NARROW("r5")                                          \
    "ldr r3, [sp]\n ldr r1, [sp, #4]\n"                                                            \
    "strb r5, [r3, r1]\n strb r4, [r3]\n add r3, r3, r1, lsl #1\n"                                 \
    NEXT LEAVE

#define PAIRS(name, BODY)                                                                          \
    EB_NAKED name(EB_IN const uint32_t *x, EB_IN const filter *c, EB_IN int8_t *out,               \
                  EB_IN const geometry *g)                                                         \
    {                                                                                              \
        __asm volatile(BODY);                                                                      \
    }

PAIRS(two_rows, TWO_ROWS(HIGH_ANY))
PAIRS(two_rows_floor, TWO_ROWS(HIGH_FLOOR))
PAIRS(one_row, ONE_ROW(HIGH_ANY))
PAIRS(one_row_floor, ONE_ROW(HIGH_FLOOR))

#else

static void two_rows(const uint32_t *x, const filter *c, int8_t *out, const geometry *g)
{
    for (int32_t n = 2 * g->pairs + (g->odd > 0); n > 0; n--, x += g->next, out += g->step) {
        single(x, c, out, g);
    }
}

#define two_rows_floor two_rows
#define one_row two_rows
#define one_row_floor two_rows

#endif

/* A row of four channels: values `step` bytes apart (0 for padding). */
typedef struct {
    const int8_t *at;
    int32_t step;
} source;

/* Two values of each of four channels become the words to[0], to[apart], ... in their order. */
static inline void fill(uint32_t *to, int32_t apart, uint32_t low, uint32_t high)
{
    const uint32_t le = eb_even_bytes(low), he = eb_even_bytes(high);
    const uint32_t lo = eb_odd_bytes(low), ho = eb_odd_bytes(high);
    to[0] = eb_lows(le, he);
    to[apart] = eb_lows(lo, ho);
    to[2 * apart] = eb_highs(le, he);
    to[3 * apart] = eb_highs(lo, ho);
}

/* n columns over a kept row and three inside the image, `row` bytes apart. */
static void fill_inside(uint32_t *kept, const int8_t *in, int32_t row, int32_t step, int32_t n,
                        uint32_t *column)
{
    for (; n > 0; n--, in += step, column += COLUMN_OF_TWO) {
        const uint32_t above = *kept, below = eb_load4(in + row);
        fill(column, 2, eb_load4(in), below);
        fill(column + 1, 2, eb_load4(in + 2 * row), above);
        *kept++ = below;
    }
}

/* The same for any three rows. */
static void fill_edge(uint32_t *kept, source rows[3], int32_t n, uint32_t *column)
{
    for (; n > 0; n--, column += COLUMN_OF_TWO) {
        const uint32_t above = *kept, below = eb_load4(rows[1].at);
        fill(column, 2, eb_load4(rows[0].at), below);
        fill(column + 1, 2, eb_load4(rows[2].at), above);
        *kept++ = below;
        for (int32_t i = 0; i < 3; i++) {
            rows[i].at += rows[i].step;
        }
    }
}

/* n columns of two rows. */
static void fill_two(source low, source high, int32_t n, uint32_t *column)
{
    for (; n > 0; n--, low.at += low.step, high.at += high.step, column += COLUMN_OF_ONE) {
        fill(column, 1, eb_load4(low.at), eb_load4(high.at));
    }
}

typedef struct {
    const eb_depthwise_conv2d_params *p;
    const int8_t *in;
    uint32_t outside; /* four bytes of padding */
    uint32_t *kept;   /* at stride_h 1: a word for each column inside the image */
} picture;

static source row_of(const picture *image, int32_t y)
{
    const eb_depthwise_conv2d_params *const p = image->p;
    const int inside = y >= 0 && y < p->in_h;
    const source found = { inside ? image->in + y * p->in_w * p->in_c
                                  : (const int8_t *)&image->outside,
                           inside ? p->in_c : 0 };
    return found;
}

/* Columns inside the image. */
static int32_t inside(const eb_depthwise_conv2d_params *p)
{
    return eb_min_i32(p->in_w, p->columns - p->pad_left);
}

/* Keeps row `y`. */
static void keep(const picture *image, int32_t y)
{
    source from = row_of(image, y);
    for (int32_t i = 0; i < inside(image->p); i++, from.at += from.step) {
        image->kept[i] = eb_load4(from.at);
    }
}

/* The columns over the input rows from `top` on, of which the first is kept at stride_h 1. */
static void fill_step(const picture *image, int32_t top, const geometry *g, uint32_t *column)
{
    const eb_depthwise_conv2d_params *const p = image->p;
    const int32_t n = inside(p), row = p->in_w * p->in_c;
    column += p->pad_left * g->column;
    if (g->rows == 1) {
        fill_two(row_of(image, top), row_of(image, top + 1), n, column);
    } else if (top >= -1 && top + 4 <= p->in_h) {
        fill_inside(image->kept, image->in + (top + 1) * row, row, p->in_c, n, column);
    } else {
        source rows[3] = { row_of(image, top + 1), row_of(image, top + 2), row_of(image, top + 3) };
        fill_edge(image->kept, rows, n, column);
    }
}

/* A channel of a step. */
static void outputs(const eb_depthwise_conv2d_params *p, const uint32_t *x, const filter *c,
                    int8_t *out, const geometry *g)
{
    const int floors = p->output.offset == -128;
    if (g->pairs == 0) {
        for (int32_t i = 0; i < p->out_w; i++) {
            single(x + i * g->next, c, out + i * g->step, g);
        }
    } else if (g->rows == 2) {
        (floors ? two_rows_floor : two_rows)(x, c, out, g);
    } else {
        (floors ? one_row_floor : one_row)(x, c, out, g);
    }
}

/* Four channels of one image. */
static void channels(const picture *image, const filter *c, uint32_t *columns, int8_t *out)
{
    const eb_depthwise_conv2d_params *const p = image->p;
    const int32_t row = p->out_w * p->in_c;
    const int32_t rows = p->stride_h == 1 ? 2 : 1;
    const int32_t column = rows == 2 ? COLUMN_OF_TWO : COLUMN_OF_ONE;
    const int32_t ahead = p->stride_w * column;
    const int32_t pairs = ahead == PAIRED ? p->out_w / 2 : 0;
    geometry g = { p->in_c, 0, 4, pairs, p->out_w % 2 * ahead * 4, column, ahead, rows };
    uint32_t *now = columns, *next = columns + p->columns * column;
    if (rows == 1) {
        fill_step(image, -p->pad_top, &g, now);
    } else {
        keep(image, -p->pad_top);
    }
    for (int32_t y = 0; y < p->out_h; y += rows, out += rows * row) {
        if (rows == 2) {
            fill_step(image, y - p->pad_top, &g, now);
            g.down = y + 1 < p->out_h ? row : 0;
        } else {
            fill_step(image, 2 * y + 2 - p->pad_top, &g, next);
            g.outer = (int32_t)(next - now) * 4;
        }
        for (int32_t j = 0; j < 4; j++) {
            outputs(p, now + j * (column / 4), c + j, out + j, &g);
        }
        if (rows == 1) {
            uint32_t *const filled = next;
            next = now;
            now = filled;
        }
    }
}

/* Four filters, from the c-th on. */
static void prepare(const eb_depthwise_conv2d_params *p, int32_t c, filter to[4])
{
    const int32_t row = 3 * p->in_c;
    for (int32_t j = 0; j < 4; j++) {
        const int8_t *w = p->weights + c + j;
        for (int32_t k = 0; k < 3; k++, w += p->in_c) {
            const uint32_t t0 = (uint32_t)(2 * w[0]), t1 = (uint32_t)(2 * w[row]);
            const uint32_t t2 = (uint32_t)(2 * w[2 * row]);
            to[j].w[2 * k] = p->stride_h == 1 ? eb_lows(t1, t2) : eb_lows(t0, t1);
            to[j].w[2 * k + 1] = p->stride_h == 1 ? eb_lows(t0, t1) : eb_lows(t2, 0);
        }
        to[j].channel = ((const eb_channel_dsp *)p->channels)[c + j];
    }
}

void eb_depthwise_conv2d_3x3_s8_dsp(const eb_depthwise_conv2d_params *p, const int8_t *input,
                                    int8_t *output, void *scratch)
{
    const int32_t in_bytes = p->in_h * p->in_w * p->in_c;
    const int32_t out_bytes = p->out_h * p->out_w * p->in_c;
    const uint32_t pads = ((uint32_t)p->pad & 0xFFFFU) | ((uint32_t)p->pad << 16);
    filter *const filters = (filter *)scratch;
    uint32_t *const columns = (uint32_t *)(filters + 4);
    picture image = { p, input, ((uint32_t)p->pad & 0xFFU) * UINT32_C(0x01010101),
                      columns + 8 * p->columns };
    for (int32_t i = 0; i < 8 * p->columns; i++) {
        columns[i] = pads;
    }
    for (int32_t c = 0; c < p->in_c; c += 4) {
        prepare(p, c, filters);
        for (int32_t b = 0; b < p->batches; b++) {
            image.in = input + b * in_bytes + c;
            channels(&image, filters, columns, output + b * out_bytes + c);
        }
    }
    if (p->clamp) {
        eb_clamp_all(output, p->batches * out_bytes, &p->output);
    }
}
