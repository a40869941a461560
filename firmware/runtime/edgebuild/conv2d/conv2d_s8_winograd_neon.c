/* CONV_2D by Winograd's F(2x2, 3x3), four tiles in a row at a time. */
#include "conv2d_winograd_neon.h"

#include "../common/eb_channel_neon.h"
#include "../common/eb_neon_isa.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define TILES EB_WINOGRAD_TILES
#define POINTS EB_WINOGRAD_POINTS
#define CHANNELS 16 /* of the output, computed together */

/* Loads from `pointer` stay behind what makes the sums: begun too early, they take registers that
 * other sums need. */
#define IN_ORDER(pointer, a, b, c, d) \
    __asm__("" : "+r"(pointer), "+w"(a), "+w"(b), "+w"(c), "+w"(d))

/* One column of the input's transform: eight channels of four rows. */
INLINE void transform_column(const int8_t *const rows[4], ptrdiff_t at, int16x8_t column[4])
{
    int8x8_t d[4];
    UNROLL
    for (int y = 0; y < 4; y++) {
        d[y] = vld1_s8(rows[y] + at);
    }
    column[0] = vsubl_s8(d[0], d[2]);
    column[1] = vaddl_s8(d[1], d[2]);
    column[2] = vsubl_s8(d[2], d[1]);
    column[3] = vsubl_s8(d[1], d[3]);
}

/* Tiles of the input, transformed: v [in_c / 8][points][tiles][8]. */
static void transform_input(const int8_t *const rows[4], int32_t in_c, int16_t *v)
{
    for (int32_t c = 0; c < in_c; c += 8, v += POINTS * TILES * 8) {
        int16x8_t t[4][4]; /* [column][row] */
        transform_column(rows, c, t[0]);
        transform_column(rows, c + in_c, t[1]);
        UNROLL
        for (int i = 0; i < TILES; i++) {
            transform_column(rows, c + (2 * i + 2) * in_c, t[2]);
            transform_column(rows, c + (2 * i + 3) * in_c, t[3]);
            UNROLL
            for (int y = 0; y < 4; y++) {
                int16_t *const to = v + (4 * y * TILES + i) * 8;
                vst1q_s16(to, vsubq_s16(t[0][y], t[2][y]));
                vst1q_s16(to + 8 * TILES, vaddq_s16(t[1][y], t[2][y]));
                vst1q_s16(to + 16 * TILES, vsubq_s16(t[2][y], t[1][y]));
                vst1q_s16(to + 24 * TILES, vsubq_s16(t[1][y], t[3][y]));
                t[0][y] = t[2][y];
                t[1][y] = t[3][y];
            }
        }
    }
}

/* One input channel, lane k of x, into all sums; the first one begins them. */
#define CHANNEL(k)                                                                           \
    do {                                                                                     \
        const int16x8_t low = vld1q_s16(w), high = vld1q_s16(w + 8);                         \
        w += CHANNELS;                                                                       \
        UNROLL                                                                               \
        for (int i = 0; i < TILES; i++) {                                                    \
            if (first && (k) == 0) {                                                         \
                acc[i][0] = vmull_laneq_s16(vget_low_s16(low), x[i], k);                     \
                acc[i][1] = vmull_high_laneq_s16(low, x[i], k);                              \
                acc[i][2] = vmull_laneq_s16(vget_low_s16(high), x[i], k);                    \
                acc[i][3] = vmull_high_laneq_s16(high, x[i], k);                             \
            } else {                                                                         \
                acc[i][0] = vmlal_laneq_s16(acc[i][0], vget_low_s16(low), x[i], k);          \
                acc[i][1] = vmlal_high_laneq_s16(acc[i][1], low, x[i], k);                   \
                acc[i][2] = vmlal_laneq_s16(acc[i][2], vget_low_s16(high), x[i], k);         \
                acc[i][3] = vmlal_high_laneq_s16(acc[i][3], high, x[i], k);                  \
            }                                                                                \
        }                                                                                    \
        IN_ORDER(w, acc[0][3], acc[1][3], acc[2][3], acc[3][3]);                             \
    } while (0)

INLINE const int16_t *multiply_8(int32x4_t acc[TILES][4], const int16_t *v, const int16_t *w,
                                 int first)
{
    int16x8_t x[TILES];
    UNROLL
    for (int i = 0; i < TILES; i++) {
        x[i] = vld1q_s16(v + 8 * i);
    }
    CHANNEL(0);
    CHANNEL(1);
    CHANNEL(2);
    CHANNEL(3);
    CHANNEL(4);
    CHANNEL(5);
    CHANNEL(6);
    CHANNEL(7);
    return w;
}

/* 16 output channels of all tiles and points: m [points][tiles][16]. */
static void multiply(const int16_t *v, int32_t in_c, const int16_t *w, int32_t *m)
{
    for (int point = 0; point < POINTS; point++, v += TILES * 8) {
        int32x4_t acc[TILES][4];
        w = multiply_8(acc, v, w, 1);
        const int16_t *x = v + POINTS * TILES * 8;
        for (int32_t c = 8; c < in_c; c += 8, x += POINTS * TILES * 8) {
            w = multiply_8(acc, x, w, 0);
        }
        UNROLL
        for (int i = 0; i < 4 * TILES; i++, m += 4) {
            vst1q_s32(m, acc[i / 4][i % 4]);
        }
    }
}

/* Four channels of a tile's 2x2 outputs, row by row: sums with their bias. */
INLINE void transform_output(const int32_t *m, int32x4_t bias, int32x4_t out[4])
{
    int32x4_t t[2][4];
    UNROLL
    for (int x = 0; x < 4; x++) {
        int32x4_t column[4];
        UNROLL
        for (int y = 0; y < 4; y++) {
            column[y] = vld1q_s32(m + (4 * y + x) * TILES * CHANNELS);
        }
        const int32x4_t sum = vaddq_s32(column[1], column[2]);
        t[0][x] = vaddq_s32(column[0], sum);
        t[1][x] = vsubq_s32(vsubq_s32(column[1], column[2]), column[3]);
    }
    UNROLL
    for (int y = 0; y < 2; y++) {
        const int32x4_t sum = vaddq_s32(t[y][1], t[y][2]);
        const int32x4_t difference = vsubq_s32(t[y][1], t[y][2]);
        out[2 * y] = vsraq_n_s32(bias, vaddq_s32(t[y][0], sum), 2);
        out[2 * y + 1] = vsraq_n_s32(bias, vsubq_s32(difference, t[y][3]), 2);
    }
}

/* Where the tiles' outputs go. */
typedef struct {
    int8_t *out;
    int32_t rows, columns; /* that exist: at most 2, and 2 * TILES */
    ptrdiff_t row, pixel;  /* bytes from one to the next */
} place;

/* Eight channels of all tiles. */
INLINE void finish_as(const eb_matmul_params *p, const int32_t *m, const eb_channels_neon *c,
                      const place *to, int32_t first, int plain)
{
    const eb_scales_neon scales = eb_load_scales(c);
    const eb_narrowing n = eb_narrowing_neon(p->output.offset, p->output.min, p->output.max);
    const int32x4_t bias[2] = { vld1q_s32(c->bias), vld1q_s32(c->bias + 4) };
    const int32_t count = eb_min_i32(p->out_c - first, 8);
    for (int32_t x = 0; x < to->columns; x += 2, m += CHANNELS) {
        int32x4_t low[4], high[4];
        transform_output(m, bias[0], low);
        UNROLL
        for (int i = 0; i < 4; i++) {
            low[i] = eb_scale_neon(low[i], &scales, 0, plain);
        }
        IN_ORDER(m, low[0], low[1], low[2], low[3]);
        transform_output(m + 4, bias[1], high);
        int8_t *const out = to->out + x * to->pixel + first;
        UNROLL
        for (int i = 0; i < 4; i++) {
            if (i / 2 < to->rows && x + i % 2 < to->columns) {
                eb_store_neon(out + i / 2 * to->row + i % 2 * to->pixel,
                              eb_narrow_neon(low[i], eb_scale_neon(high[i], &scales, 1, plain), n),
                              count);
            }
        }
    }
}

static void finish(const eb_matmul_params *p, const int32_t *m, const eb_channels_neon *c,
                   const place *to, int32_t first)
{
    if (p->plain) {
        finish_as(p, m, c, to, first, 1);
    } else {
        finish_as(p, m, c, to, first, 0);
    }
}

/* Four tiles in a row. */
static void tiles(const eb_conv2d_winograd_neon_params *p, const int8_t *const rows[4],
                  const place *to, int16_t *v, int32_t *m)
{
    const eb_matmul_params *const product = &p->direct.product;
    const eb_channels_neon *c = (const eb_channels_neon *)product->channels;
    const int16_t *w = p->weights;
    const int32_t in_c = p->rows.in_c;
    transform_input(rows, in_c, v);
    for (int32_t first = 0; first < product->out_c; first += CHANNELS, c += 2) {
        multiply(v, in_c, w, m);
        w += (ptrdiff_t)POINTS * in_c * CHANNELS;
        finish(product, m, c, to, first);
        if (first + 8 < product->out_c) {
            finish(product, m + 8, c + 1, to, first + 8);
        }
    }
}

static void winograd(const eb_conv2d_winograd_neon_params *p, const int8_t *input, int8_t *output,
                     void *scratch)
{
    const eb_conv2d_neon_params *const d = &p->direct;
    const int32_t in_c = p->rows.in_c;
    int32_t *const m = (int32_t *)scratch;
    int16_t *const v = (int16_t *)(m + POINTS * TILES * CHANNELS);
    const eb_rows rows = eb_rows_start(&p->rows, v + (ptrdiff_t)POINTS * TILES * in_c);
    place to = { .pixel = d->product.out_c, .row = (ptrdiff_t)d->out_w * d->product.out_c };
    for (int32_t b = 0; b < d->batches; b++) {
        eb_rows_forget(&rows);
        for (int32_t y = 0; y < d->out_h; y += 2) {
            const int8_t *window[4];
            for (int32_t ky = 0; ky < 4; ky++) {
                window[ky] = eb_rows_get(&rows, input, y / 2, ky);
            }
            to.rows = eb_min_i32(d->out_h - y, 2);
            for (int32_t x = 0; x < d->out_w; x += 2 * TILES) {
                to.out = output + y * to.row + x * to.pixel;
                to.columns = eb_min_i32(d->out_w - x, 2 * TILES);
                tiles(p, window, &to, v, m);
                for (int32_t ky = 0; ky < 4; ky++) {
                    window[ky] += 2 * TILES * in_c;
                }
            }
        }
        input += (ptrdiff_t)p->rows.in_h * p->rows.in_w * in_c;
        output += d->out_h * to.row;
    }
}

void eb_conv2d_s8_winograd_neon(const eb_conv2d_winograd_neon_params *p, const int8_t *input,
                                int8_t *output, void *scratch)
{
    if (eb_isa_used() == EB_ISA_BASE) {
        winograd(p, input, output, scratch);
    } else {
        eb_conv2d_s8_neon(&p->direct, input, output, scratch);
    }
}
