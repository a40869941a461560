/* CONV_2D by Winograd's F(4x4, 3x3), four tiles at a time. */
#include "conv2d_winograd_neon.h"

#include "../common/eb_channel_neon.h"
#include "../common/eb_neon_isa.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define TILE 4      /* x TILE outputs */
#define SIDE 6      /* points of a tile each way, and pixels under it */
#define POINTS EB_WINOGRAD_POINTS
#define TILES EB_WINOGRAD_TILES
#define CHANNELS 16 /* of the output, computed together */
#define INVERSE_OF_9 UINT32_C(0x38E38E39)

/* Loads from `pointer` stay behind what makes the sums: begun too early, they take registers that
 * other sums need. */
#define IN_ORDER(pointer, a, b, c, d) \
    __asm__("" : "+r"(pointer), "+w"(a), "+w"(b), "+w"(c), "+w"(d))

/* Keeps a vector from being known: by constants the compiler multiplies in more steps. */
#define UNKNOWN(vector) __asm__("" : "+w"(vector))

/* The last steps from six values to six points: from x[0] - x[2], x[4] - x[2], x[3] - x[1],
 * x[5] - x[3], x[4] - 4 * x[2] and x[3] - 4 * x[1]. */
INLINE void six_points(int16x8_t d02, int16x8_t d42, int16x8_t d31, int16x8_t d53, int16x8_t even,
                       int16x8_t odd, int16x4_t by, int16x8_t to[SIDE])
{
    to[0] = vmlaq_lane_s16(d42, d02, by, 1);
    to[1] = vaddq_s16(even, odd);
    to[2] = vsubq_s16(even, odd);
    to[3] = vmlaq_lane_s16(d42, d31, by, 0);
    to[4] = vmlsq_lane_s16(d42, d31, by, 0);
    to[5] = vmlsq_lane_s16(d53, d31, by, 1);
}

/* A column of the input, eight channels. */
INLINE void transform_column(const int8_t *const rows[SIDE], ptrdiff_t at, int16x4_t by,
                             int16x8_t to[SIDE])
{
    int8x8_t d[SIDE];
    UNROLL
    for (int y = 0; y < SIDE; y++) {
        d[y] = vld1_s8(rows[y] + at);
    }
    const int8x8_t four = vdup_n_s8(4);
    six_points(vsubl_s8(d[0], d[2]), vsubl_s8(d[4], d[2]), vsubl_s8(d[3], d[1]),
               vsubl_s8(d[5], d[3]), vmlsl_s8(vmovl_s8(d[4]), d[2], four),
               vmlsl_s8(vmovl_s8(d[3]), d[1], four), by, to);
}

INLINE void transform_row(const int16x8_t d[SIDE], int16x4_t by, int16x8_t to[SIDE])
{
    six_points(vsubq_s16(d[0], d[2]), vsubq_s16(d[4], d[2]), vsubq_s16(d[3], d[1]),
               vsubq_s16(d[5], d[3]), vmlsq_lane_s16(d[4], d[2], by, 1),
               vmlsq_lane_s16(d[3], d[1], by, 1), by, to);
}

/* The input under a tile, from `column` of its rows on: v [depth / 8][points][tiles][8]. What lies
 * behind the last channel meets zero weights. */
static void transform_input(const int8_t *const rows[SIDE], int32_t column, int32_t in_c,
                            int32_t depth, int16_t *v)
{
    ptrdiff_t at = (ptrdiff_t)column * in_c;
    int16x4_t by = { 2, 4 };
    UNKNOWN(by);
    for (int32_t c = 0; c < depth; c += 8, at += 8, v += POINTS * TILES * 8) {
        int16x8_t t[SIDE][SIDE], points[SIDE]; /* t: [row][column] */
        UNROLL
        for (int x = 0; x < SIDE; x++) {
            transform_column(rows, at + x * in_c, by, points);
            UNROLL
            for (int y = 0; y < SIDE; y++) {
                t[y][x] = points[y];
            }
        }
        UNROLL
        for (int y = 0; y < SIDE; y++) {
            transform_row(t[y], by, points);
            UNROLL
            for (int x = 0; x < SIDE; x++) {
                vst1q_s16(v + (SIDE * y + x) * TILES * 8, points[x]);
            }
        }
    }
}

/* One input channel, lane k of x, into all sums; the first one begins them. */
#define CHANNEL(k)                                                                           \
    do {                                                                                     \
        const int16x8_t low = vld1q_s16(w), high = vld1q_s16(wide ? w + 8 : w);              \
        w += wide ? 16 : 8;                                                                  \
        UNROLL                                                                               \
        for (int i = 0; i < tiles; i++) {                                                    \
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
        if (tiles == TILES && wide) {                                                        \
            IN_ORDER(w, acc[0][3], acc[1][3], acc[2][3], acc[3][3]);                         \
        }                                                                                    \
    } while (0)

INLINE const int16_t *multiply_8(int32x4_t acc[TILES][4], const int16_t *v, const int16_t *w,
                                 int tiles, int wide, int first)
{
    int16x8_t x[TILES];
    UNROLL
    for (int i = 0; i < tiles; i++) {
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

/* Output channels of one tile or all and of their points, 16 with `wide`, or the first eight:
 * m [points][tiles][16]. Returns the next ones' weights. */
INLINE const int16_t *multiply_as(const int16_t *v, int32_t depth, const int16_t *w, uint32_t *m,
                                  int tiles, int wide)
{
    for (int point = 0; point < POINTS; point++, v += TILES * 8, m += TILES * CHANNELS) {
        int32x4_t acc[TILES][4];
        w = multiply_8(acc, v, w, tiles, wide, 1);
        const int16_t *x = v + POINTS * TILES * 8;
        for (int32_t c = 8; c < depth; c += 8, x += POINTS * TILES * 8) {
            w = multiply_8(acc, x, w, tiles, wide, 0);
        }
        UNROLL
        for (int i = 0; i < tiles; i++) {
            UNROLL
            for (int j = 0; j < (wide ? 4 : 2); j++) {
                vst1q_u32(m + CHANNELS * i + 4 * j, vreinterpretq_u32_s32(acc[i][j]));
            }
        }
    }
    return w;
}

static const int16_t *multiply(const int16_t *v, int32_t depth, const int16_t *w, uint32_t *m,
                               int32_t tiles, int wide)
{
    if (tiles == 1) {
        return wide ? multiply_as(v, depth, w, m, 1, 1) : multiply_as(v, depth, w, m, 1, 0);
    }
    return wide ? multiply_as(v, depth, w, m, TILES, 1) : multiply_as(v, depth, w, m, TILES, 0);
}

/* Six points to four sums, four channels; all wrap around. */
INLINE void four_sums(const uint32x4_t m[SIDE], uint32x4_t by, uint32x4_t to[TILE])
{
    const uint32x4_t a = vaddq_u32(m[1], m[2]), b = vsubq_u32(m[2], m[1]);
    const uint32x4_t e = vaddq_u32(m[3], m[4]), f = vsubq_u32(m[3], m[4]);
    to[0] = vmlaq_laneq_u32(vsubq_u32(e, a), m[0], by, 0);
    to[1] = vmlaq_laneq_u32(b, f, by, 0);
    to[2] = vsubq_u32(vshlq_n_u32(e, 2), a);
    to[3] = vmlaq_laneq_u32(b, vaddq_u32(f, m[5]), by, 1);
}

/* Columns of a tile's points, four channels. */
INLINE void sum_columns(const uint32_t *m, uint32x4_t by, uint32x4_t t[TILE][SIDE])
{
    UNROLL
    for (int x = 0; x < SIDE; x++) {
        uint32x4_t column[SIDE], sums[TILE];
        UNROLL
        for (int y = 0; y < SIDE; y++) {
            column[y] = vld1q_u32(m + (SIDE * y + x) * TILES * CHANNELS);
        }
        four_sums(column, by, sums);
        UNROLL
        for (int y = 0; y < TILE; y++) {
            t[y][x] = sums[y];
        }
    }
}

/* A row of outputs, four channels. */
INLINE void sum_row(const uint32x4_t t[SIDE], uint32x4_t by, int32x4_t bias,
                    const eb_scales_neon *s, int half, int plain, int32x4_t out[TILE])
{
    uint32x4_t sums[TILE];
    four_sums(t, by, sums);
    UNROLL
    for (int x = 0; x < TILE; x++) {
        const int32x4_t acc = vreinterpretq_s32_u32(vmulq_laneq_u32(sums[x], by, 2));
        out[x] = eb_scale_neon(vsraq_n_s32(bias, acc, 6), s, half, plain);
    }
}

/* Eight channels of a tile; `row` and `pixel`: bytes from one to the next. */
INLINE void finish_as(const eb_output_stage *stage, const uint32_t *m, const eb_channels_neon *c,
                      int8_t *out, ptrdiff_t row, ptrdiff_t pixel, int plain)
{
    const eb_scales_neon scales = eb_load_scales(c);
    const eb_narrowing n = eb_narrowing_neon(stage->offset, stage->min, stage->max);
    const int32x4_t bias[2] = { vld1q_s32(c->bias), vld1q_s32(c->bias + 4) };
    uint32x4_t by = { 2, 8, INVERSE_OF_9 };
    UNKNOWN(by);
    uint32x4_t low[TILE][SIDE], high[TILE][SIDE];
    sum_columns(m, by, low);
    sum_columns(m + 4, by, high);
    for (int y = 0; y < TILE; y++, out += row) {
        int32x4_t a[TILE], b[TILE];
        sum_row(low[y], by, bias[0], &scales, 0, plain, a);
        sum_row(high[y], by, bias[1], &scales, 1, plain, b);
        UNROLL
        for (int x = 0; x < TILE; x++) {
            vst1_s8(out + x * pixel, eb_narrow_neon(a[x], b[x], n));
        }
    }
}

static void finish(const eb_matmul_params *p, const uint32_t *m, const eb_channels_neon *c,
                   int8_t *out, ptrdiff_t row, ptrdiff_t pixel)
{
    if (p->plain) {
        finish_as(&p->output, m, c, out, row, pixel, 1);
    } else {
        finish_as(&p->output, m, c, out, row, pixel, 0);
    }
}

/* A tile in the output, from its first pixel on: how much of it exists. */
typedef struct {
    int8_t *out;
    int32_t rows, columns;
    ptrdiff_t row, pixel; /* bytes from one to the next */
} tile;

/* Up to eight channels of a tile. */
static void store(const eb_matmul_params *p, const uint32_t *m, const eb_channels_neon *c,
                  const tile *to, int32_t count)
{
    if (to->rows >= TILE && to->columns >= TILE && count >= 8) {
        finish(p, m, c, to->out, to->row, to->pixel);
        return;
    }
    int8_t whole[TILE][TILE][8];
    finish(p, m, c, whole[0][0], TILE * 8, 8);
    for (int32_t y = 0; y < eb_min_i32(to->rows, TILE); y++) {
        for (int32_t x = 0; x < eb_min_i32(to->columns, TILE); x++) {
            eb_store_neon(to->out + y * to->row + x * to->pixel, vld1_s8(whole[y][x]),
                          eb_min_i32(count, 8));
        }
    }
}

/* Where a tile lies: the batch, and its first output. */
typedef struct {
    int32_t b, y, x;
} place;

static place next(const eb_conv2d_neon_params *d, place at)
{
    at.x += TILE;
    if (at.x >= d->out_w) {
        at.x = 0;
        at.y += TILE;
        if (at.y >= d->out_h) {
            at.y = 0;
            at.b++;
        }
    }
    return at;
}

/* The output channels from `first` on of `count` tiles, up to 16; returns the next ones' weights. */
static const int16_t *channels(const eb_conv2d_winograd_neon_params *p, const int16_t *v,
                               const int16_t *w, uint32_t *m, place at, int32_t count,
                               int32_t first, int8_t *output)
{
    const eb_conv2d_neon_params *const d = &p->direct;
    const int32_t out_c = d->product.out_c;
    const eb_channels_neon *const c = (const eb_channels_neon *)d->product.channels + first / 8;
    const int wide = out_c - first > 8;
    const ptrdiff_t points = (ptrdiff_t)POINTS * p->depth; /* of a tile */
    const int16_t *next_w = w;
    int32_t together = TILES;
    tile to = { .pixel = out_c, .row = (ptrdiff_t)d->out_w * out_c };
    for (int32_t i = 0; i < count; i++, at = next(d, at)) {
        const int32_t beside = i % TILES;
        if (beside == 0 && count - i < 3) {
            together = 1; /* two one by one take less than four */
        }
        uint32_t *const sums = m + beside * CHANNELS;
        if (beside % together == 0) {
            next_w = multiply(v + (i - beside) * points + beside * 8, p->depth, w, sums, together,
                              wide);
        }
        to.out = output + ((ptrdiff_t)at.b * d->out_h + at.y) * to.row + at.x * to.pixel + first;
        to.rows = d->out_h - at.y;
        to.columns = d->out_w - at.x;
        store(&d->product, sums, c, &to, out_c - first);
        if (wide) {
            to.out += 8;
            store(&d->product, sums + 8, c + 1, &to, out_c - first - 8);
        }
    }
    return next_w;
}

static void winograd(const eb_conv2d_winograd_neon_params *p, const int8_t *input, int8_t *output,
                     void *scratch)
{
    const eb_conv2d_neon_params *const d = &p->direct;
    const int32_t in_c = p->rows.in_c;
    const ptrdiff_t points = (ptrdiff_t)POINTS * p->depth; /* of a tile */
    uint32_t *const m = (uint32_t *)scratch;
    int16_t *const v = (int16_t *)(m + POINTS * TILES * CHANNELS);
    const eb_rows rows = eb_rows_start(&p->rows, v + points * p->block);
    const int8_t *window[SIDE];
    place at = { 0, 0, 0 };
    while (at.b < d->batches) {
        const place first = at;
        int32_t count = 0;
        for (; count < p->block && at.b < d->batches; count++, at = next(d, at)) {
            if (at.x == 0) {
                if (at.y == 0) {
                    eb_rows_forget(&rows);
                }
                const int8_t *const image =
                    input + (ptrdiff_t)at.b * p->rows.in_h * p->rows.in_w * in_c;
                for (int32_t ky = 0; ky < SIDE; ky++) {
                    window[ky] = eb_rows_get(&rows, image, at.y / TILE, ky);
                }
            }
            const int32_t beside = count % TILES;
            transform_input(window, at.x, in_c, p->depth,
                            v + (count - beside) * points + beside * 8);
        }
        const int16_t *w = p->weights;
        for (int32_t o = 0; o < d->product.out_c; o += CHANNELS) {
            w = channels(p, v, w, m, first, count, o, output);
        }
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
