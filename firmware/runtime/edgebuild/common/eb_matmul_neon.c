/* One tile of pixels against 8 channels at a time, in three instruction sets.
 *
 * A tile's accumulators stay in registers over the whole depth. Where fewer pixels are left than a
 * tile has, the last one stands in for the others, and is written again. */
#include "eb_matmul_neon.h"

#include "eb_channel_neon.h"
#include "eb_neon_isa.h"

/* Older ones lack the intrinsics of extensions that the rest of the file is compiled without. */
#if defined(__clang__) ? __clang_major__ < 16 : __GNUC__ < 10
#error "this kernel needs Clang 16 (Android NDK r26) or GCC 10"
#endif

#define INLINE static inline __attribute__((always_inline))
#define TARGET_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#define TARGET_I8MM __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))
#define MAX_PIXELS 8

/* Accumulators must become registers, so loops over them are unrolled. */
#define UNROLL _Pragma("GCC unroll 8")

/* Pixels of one call and where their outputs go. */
typedef struct {
    const int8_t *const *rows;
    ptrdiff_t distance[MAX_PIXELS]; /* of each pixel from the rows' starts, in bytes */
    int8_t *out[MAX_PIXELS];
} tile;

/* Eight channels of a group. */
typedef struct {
    const int8_t *weights;
    const eb_channels_neon *channels;
    int32_t first, count;
} block;

INLINE block first_block(const eb_matmul_params *p, int32_t group)
{
    const int32_t blocks = (p->out_c + 7) / 8;
    const eb_channels_neon *const c = (const eb_channels_neon *)p->channels;
    return (block){ p->weights + (ptrdiff_t)group * blocks * p->runs * p->blocks * 64,
                    c + group * blocks, 0, eb_min_i32(p->out_c, 8) };
}

INLINE void next_block(const eb_matmul_params *p, block *b)
{
    b->weights += (ptrdiff_t)p->runs * p->blocks * 64;
    b->channels++;
    b->first += 8;
    b->count = eb_min_i32(p->out_c - b->first, 8);
}

/* The sums of a tile's pixels, four channels each. */
typedef struct {
    int32x4_t low[MAX_PIXELS], high[MAX_PIXELS];
} sums;

INLINE void finish_as(const eb_matmul_params *p, const tile *t, const block *b, const sums *s,
                      int count, int plain)
{
    const eb_scales_neon scales = eb_load_scales(b->channels);
    const eb_narrowing n = eb_narrowing_neon(p->output.offset, p->output.min, p->output.max);
    UNROLL
    for (int i = 0; i < count; i++) {
        eb_store_neon(t->out[i] + b->first,
                      eb_narrow_neon(eb_scale_neon(s->low[i], &scales, 0, plain),
                                     eb_scale_neon(s->high[i], &scales, 1, plain), n),
                      b->count);
    }
}

/* The last step of a block of channels. */
INLINE void finish(const eb_matmul_params *p, const tile *t, const block *b, const sums *s,
                   int count)
{
    if (p->plain) {
        finish_as(p, t, b, s, count, 1);
    } else {
        finish_as(p, t, b, s, count, 0);
    }
}

INLINE int8x16_t low_halves_s8(int8x16_t a, int8x16_t b)
{
    return vreinterpretq_s8_s64(vzip1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}

INLINE int8x16_t high_halves_s8(int8x16_t a, int8x16_t b)
{
    return vreinterpretq_s8_s64(vzip2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}

/* Eight bytes at any address, two times. */
INLINE int8x16_t twice(const void *x)
{
    int64_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return vreinterpretq_s8_s64(vdupq_n_s64(bytes));
}

/* SMULL, SMLAL and SADALP: `count` pixels, half a block of channels. */
INLINE void base_half(const eb_matmul_params *p, const tile *t, const int8_t *w,
                      const int32_t *bias, int count, int32x4_t *sum)
{
    int32x4_t acc[4][4];
    UNROLL
    for (int i = 0; i < count; i++) {
        UNROLL
        for (int c = 0; c < 4; c++) {
            acc[i][c] = vdupq_n_s32(0);
        }
    }
    const int32_t paired = p->lowest ? 0 : p->blocks;
    for (int32_t r = 0; r < p->runs; r++) {
        const int8_t *x[4];
        UNROLL
        for (int i = 0; i < count; i++) {
            x[i] = t->rows[r] + t->distance[i];
        }
        int32_t k = 0;
        for (; k + 2 <= paired; k += 2, w += 128) {
            const int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + 16);
            const int8x16_t v0 = vld1q_s8(w + 64), v1 = vld1q_s8(w + 80);
            const int8x16_t channel[4] = { low_halves_s8(w0, v0), high_halves_s8(w0, v0),
                                           low_halves_s8(w1, v1), high_halves_s8(w1, v1) };
            UNROLL
            for (int i = 0; i < count; i++) {
                const int8x16_t a = vld1q_s8(x[i] + 8 * k);
                UNROLL
                for (int c = 0; c < 4; c++) {
                    const int16x8_t m = vmull_s8(vget_low_s8(channel[c]), vget_low_s8(a));
                    acc[i][c] = vpadalq_s16(acc[i][c], vmlal_high_s8(m, channel[c], a));
                }
            }
        }
        for (; k < p->blocks; k++, w += 64) {
            const int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + 16);
            UNROLL
            for (int i = 0; i < count; i++) {
                const int8x16_t a = twice(x[i] + 8 * k);
                acc[i][0] = vpadalq_s16(acc[i][0], vmull_s8(vget_low_s8(w0), vget_low_s8(a)));
                acc[i][1] = vpadalq_s16(acc[i][1], vmull_high_s8(w0, a));
                acc[i][2] = vpadalq_s16(acc[i][2], vmull_s8(vget_low_s8(w1), vget_low_s8(a)));
                acc[i][3] = vpadalq_s16(acc[i][3], vmull_high_s8(w1, a));
            }
        }
    }
    UNROLL
    for (int i = 0; i < count; i++) {
        const int32x4_t first = vpaddq_s32(acc[i][0], acc[i][1]);
        const int32x4_t second = vpaddq_s32(acc[i][2], acc[i][3]);
        sum[i] = vaddq_s32(vpaddq_s32(first, second), vld1q_s32(bias));
    }
}

INLINE void base_tile(const eb_matmul_params *p, int32_t group, const tile *t, int count)
{
    for (block b = first_block(p, group); b.count > 0; next_block(p, &b)) {
        sums s;
        base_half(p, t, b.weights, b.channels->bias, count, s.low);
        base_half(p, t, b.weights + 32, b.channels->bias + 4, count, s.high);
        finish(p, t, &b, &s, count);
    }
}

static void base_4(const eb_matmul_params *p, int32_t group, const tile *t)
{
    base_tile(p, group, t, 4);
}

static void base_1(const eb_matmul_params *p, int32_t group, const tile *t)
{
    base_tile(p, group, t, 1);
}

/* SDOT: `count` pixels, 8 channels. An accumulator holds two channels, each as two sums. */
TARGET_DOTPROD INLINE void dotprod_tile(const eb_matmul_params *p, int32_t group, const tile *t,
                                        int count)
{
    const int32x4_t zero = vdupq_n_s32(0);
    for (block b = first_block(p, group); b.count > 0; next_block(p, &b)) {
        const int8_t *w = b.weights;
        int32x4_t acc[4][4];
        UNROLL
        for (int c = 0; c < 2; c++) {
            const int32x4_t bias = vld1q_s32(b.channels->bias + 4 * c);
            UNROLL
            for (int i = 0; i < count; i++) {
                acc[i][2 * c] = vzip1q_s32(bias, zero);
                acc[i][2 * c + 1] = vzip2q_s32(bias, zero);
            }
        }
        for (int32_t r = 0; r < p->runs; r++) {
            const int8_t *x[4];
            UNROLL
            for (int i = 0; i < count; i++) {
                x[i] = t->rows[r] + t->distance[i];
            }
            for (int32_t k = 0; k < p->blocks; k++, w += 64) {
                const int8x16x4_t v = vld1q_s8_x4(w);
                UNROLL
                for (int i = 0; i < count; i++) {
                    const int8x16_t a = twice(x[i]);
                    x[i] += 8;
                    UNROLL
                    for (int c = 0; c < 4; c++) {
                        acc[i][c] = vdotq_s32(acc[i][c], v.val[c], a);
                    }
                }
            }
        }
        sums s;
        UNROLL
        for (int i = 0; i < count; i++) {
            s.low[i] = vpaddq_s32(acc[i][0], acc[i][1]);
            s.high[i] = vpaddq_s32(acc[i][2], acc[i][3]);
        }
        finish(p, t, &b, &s, count);
    }
}

TARGET_DOTPROD static void dotprod_4(const eb_matmul_params *p, int32_t group, const tile *t)
{
    dotprod_tile(p, group, t, 4);
}

TARGET_DOTPROD static void dotprod_1(const eb_matmul_params *p, int32_t group, const tile *t)
{
    dotprod_tile(p, group, t, 1);
}

INLINE int32x4_t low_halves_s32(int32x4_t a, int32x4_t b)
{
    return vreinterpretq_s32_s64(
        vzip1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

INLINE int32x4_t high_halves_s32(int32x4_t a, int32x4_t b)
{
    return vreinterpretq_s32_s64(
        vzip2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

/* One block of depth: pairs of pixels against four pairs of channels. */
TARGET_I8MM INLINE void multiply_pairs(int32x4_t acc[4][4], const int8x16_t x[4], const int8_t *w,
                                       int pairs)
{
    UNROLL
    for (int c = 0; c < 4; c++) {
        const int8x16_t v = vld1q_s8(w + 16 * c);
        UNROLL
        for (int i = 0; i < pairs; i++) {
            acc[i][c] = vmmlaq_s32(acc[i][c], x[i], v);
        }
    }
}

/* SMMLA: `pairs` pairs of pixels, 8 channels. An accumulator holds two pixels of two channels. */
TARGET_I8MM INLINE void i8mm_tile(const eb_matmul_params *p, int32_t group, const tile *t,
                                  int pairs)
{
    for (block b = first_block(p, group); b.count > 0; next_block(p, &b)) {
        const int8_t *w = b.weights;
        int32x4_t acc[4][4];
        UNROLL
        for (int c = 0; c < 4; c++) {
            const int32x4_t bias = vreinterpretq_s32_s8(twice(b.channels->bias + 2 * c));
            UNROLL
            for (int i = 0; i < pairs; i++) {
                acc[i][c] = bias;
            }
        }
        for (int32_t r = 0; r < p->runs; r++) {
            const int8_t *x[MAX_PIXELS];
            UNROLL
            for (int i = 0; i < 2 * pairs; i++) {
                x[i] = t->rows[r] + t->distance[i];
            }
            int32_t k = 0;
            for (; k + 2 <= p->blocks; k += 2, w += 128) {
                int8x16_t low[4], high[4];
                UNROLL
                for (int i = 0; i < pairs; i++) {
                    const int8x16_t even = vld1q_s8(x[2 * i] + 8 * k);
                    const int8x16_t odd = vld1q_s8(x[2 * i + 1] + 8 * k);
                    low[i] = low_halves_s8(even, odd);
                    high[i] = high_halves_s8(even, odd);
                }
                multiply_pairs(acc, low, w, pairs);
                multiply_pairs(acc, high, w + 64, pairs);
            }
            if (k < p->blocks) {
                int8x16_t all[4];
                UNROLL
                for (int i = 0; i < pairs; i++) {
                    all[i] = vcombine_s8(vld1_s8(x[2 * i] + 8 * k), vld1_s8(x[2 * i + 1] + 8 * k));
                }
                multiply_pairs(acc, all, w, pairs);
                w += 64;
            }
        }
        sums s;
        UNROLL
        for (int i = 0; i < pairs; i++) {
            s.low[2 * i] = low_halves_s32(acc[i][0], acc[i][1]);
            s.high[2 * i] = low_halves_s32(acc[i][2], acc[i][3]);
            s.low[2 * i + 1] = high_halves_s32(acc[i][0], acc[i][1]);
            s.high[2 * i + 1] = high_halves_s32(acc[i][2], acc[i][3]);
        }
        finish(p, t, &b, &s, 2 * pairs);
    }
}

TARGET_I8MM static void i8mm_8(const eb_matmul_params *p, int32_t group, const tile *t)
{
    i8mm_tile(p, group, t, 4);
}

TARGET_I8MM static void i8mm_4(const eb_matmul_params *p, int32_t group, const tile *t)
{
    i8mm_tile(p, group, t, 2);
}

TARGET_I8MM static void i8mm_2(const eb_matmul_params *p, int32_t group, const tile *t)
{
    i8mm_tile(p, group, t, 1);
}

/* The tiles of an instruction set, from the largest to that of a single pixel. */
typedef struct {
    int32_t pixels;
    void (*run)(const eb_matmul_params *p, int32_t group, const tile *t);
} kernel;

static const kernel base_kernels[] = { { 4, base_4 }, { 1, base_1 } };
static const kernel dotprod_kernels[] = { { 4, dotprod_4 }, { 1, dotprod_1 } };
static const kernel i8mm_kernels[] = { { 8, i8mm_8 }, { 4, i8mm_4 }, { 2, i8mm_2 },
                                       { 1, dotprod_1 } };

static const kernel *kernels(void)
{
    switch (eb_isa_used()) {
    case EB_ISA_I8MM:
        return i8mm_kernels;
    case EB_ISA_DOTPROD:
        return dotprod_kernels;
    default:
        return base_kernels;
    }
}

void eb_matmul_neon(const eb_matmul_params *p, int32_t group, const int8_t *const *rows,
                    int32_t stride, int32_t pixels, int8_t *out, int32_t out_stride)
{
    const kernel *k = kernels();
    for (int32_t first = 0; first < pixels; first += k->pixels) {
        const int32_t left = pixels - first;
        while (k->pixels > 1 && k[1].pixels >= left) {
            k++;
        }
        tile t = { .rows = rows };
        for (int32_t i = 0; i < k->pixels; i++) {
            const int32_t pixel = first + eb_min_i32(i, left - 1);
            t.distance[i] = (ptrdiff_t)pixel * stride;
            t.out[i] = out + (ptrdiff_t)pixel * out_stride;
        }
        k->run(p, group, &t);
    }
}
