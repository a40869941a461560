/* CONV_2D without a SIMD extension: two output pixels, two output channels and four values of depth a
 * round, of which a turn has two; an odd one enters in the middle.
 *
 * Weights: for each pair of output channels and each four values of depth a word of the one and a word
 * of the other, see eb_words.h. Columns hold the words of the values 0 and 2 of one pixel and of the
 * other, then those of the values 1 and 3. */
#include "../common/eb_words.h"
#include "conv2d.h"
#include "conv2d_columns.h"

/* The columns of two pixels, and where their outputs go. A single pixel is there twice. */
typedef struct {
    const uint32_t *columns, *end;
    const void *channel; /* eb_channel, or eb_channel_once */
    int8_t *out0, *out1;
    int32_t left;   /* channels */
    int32_t offset; /* EB_ONCE_OFFSET with eb_channel_once */
} pixel_pair;

/* Widens n values of a pixel into every second word of its column. */
static uint32_t *widen(const int8_t *x, int32_t n, uint32_t *column)
{
    for (; n >= 4; n -= 4, x += 4, column += 4) {
        column[0] = eb_values(x[0], x[2]);
        column[2] = eb_values(x[1], x[3]);
    }
    if (n > 0) {
        column[0] = eb_values(x[0], n > 2 ? x[2] : 0);
        column[2] = eb_values(n > 1 ? x[1] : 0, 0);
        column += 4;
    }
    return column;
}

/* The column of an output pixel. Rows of the kernel whose columns lie inside the image are widened from
 * where they are. */
static void fill(const eb_conv2d_params *p, const int8_t *image, int32_t pixel, uint32_t *column,
                 int8_t *narrow)
{
    const int32_t run = p->kernel_w * p->kernel_c;
    const int32_t left = pixel % p->out_w * p->stride_w - p->pad_left;
    int32_t top = pixel / p->out_w * p->stride_h - p->pad_top;
    if (run % 4 != 0 || !p->contiguous || left < 0 || left + p->kernel_w > p->in_w) {
        eb_im2col(p, image, top, left, narrow);
        (void)widen(narrow, p->depth, column);
        return;
    }
    const uint32_t pad = eb_values((int8_t)p->pad, (int8_t)p->pad);
    const int8_t *x = image + (top * p->in_w + left) * p->in_c;
    for (int32_t ky = p->kernel_h; ky > 0; ky--, top += p->dilation_h) {
        if (top >= 0 && top < p->in_h) {
            column = widen(x, run, column);
        } else {
            for (int32_t n = run; n > 0; n -= 2, column += 2) {
                *column = pad;
            }
        }
        x += p->dilation_h * p->in_w * p->in_c;
    }
}

#if defined(__thumb2__)

/* Multiplies the columns with the weights of all channels; returns their end. Sums of the first
 * channel in r4 and r5 (pixel 0 and 1), of the second in r6 and r7. r0: columns; lr: their end; r1:
 * weights. */
#define WORDS "ldr r2, [r0], #4\n ldr r8, [r0], #4\n"
#define TWO_PIXELS(w, s0, s1) EB_ADD_TWO(s0, "r2", w, "r3") EB_ADD_TWO(s1, "r8", w, "r3")
#define ROUND                                                                                      \
    WORDS "ldr r9, [r1], #4\n ldr r10, [r1], #4\n"                                                 \
    EB_EVEN_WEIGHTS("r12", "r9") TWO_PIXELS("r12", "r4", "r5")                                     \
    EB_EVEN_WEIGHTS("r12", "r10") TWO_PIXELS("r12", "r6", "r7")                                    \
    WORDS EB_ODD_WEIGHTS("r9", "r11") TWO_PIXELS("r9", "r4", "r5")                                 \
    EB_ODD_WEIGHTS("r10", "r11") TWO_PIXELS("r10", "r6", "r7")

EB_NAKED const uint32_t *multiply(EB_IN const uint32_t *w, EB_IN pixel_pair *to)
{
    __asm volatile(
        "push {r1, r4-r11, lr}\n"
        "mov r1, r0\n mov r11, #0x00ff00ff\n"
        "0: ldr r3, [sp]\n"
        "ldr r0, [r3]\n ldr lr, [r3, #4]\n ldr r2, [r3, #8]\n ldr r4, [r2]\n ldr r6, [r2, #12]\n"
        "ldr r12, [r3, #24]\n cmn r12, #0x8000\n itt eq\n moveq r4, #0\n moveq r6, #0\n"
        "mov r5, r4\n mov r7, r6\n sub r12, lr, r0\n"
        "tst r12, #16\n bne 2f\n"
        "1:\n" ROUND
        "2:\n" ROUND
        "cmp r0, lr\n bne 1b\n"
        /* r2: channel; r9, lr: outputs; r8: zero point; r10: channels of this pair. */
        "ldr r0, [sp]\n ldr r2, [r0, #8]\n ldr r9, [r0, #12]\n ldr lr, [r0, #16]\n"
        "ldr r10, [r0, #20]\n ldr r8, [r0, #24]\n"
        "subs r3, r10, #2\n str r3, [r0, #20]\n it gt\n movgt r10, #2\n"
        "3: cmn r8, #0x8000\n beq 6f\n"
        "ldr r12, [r2, #4]\n ldr r3, [r2, #8]\n add r2, #12\n rsbs r3, r3, #0\n ble 5f\n"
        EB_SCALE_DOWN("r4", "r12", "r3", "r8", "r0") EB_SCALE_DOWN("r5", "r12", "r3", "r8", "r0")
        "4: ssat r5, #8, r5\n strb r5, [lr], #1\n ssat r4, #8, r4\n strb r4, [r9], #1\n"
        "mov r4, r6\n mov r5, r7\n subs r10, #1\n bne 3b\n"
        "ldr r0, [sp]\n ldr r3, [r0, #20]\n"
        "str r2, [r0, #8]\n str r9, [r0, #12]\n str lr, [r0, #16]\n cmp r3, #0\n bgt 0b\n"
        "mov r0, r1\n"
        "pop {r1, r4-r11, pc}\n"
        "5: rsbs r3, r3, #0\n"
        EB_SCALE_UP("r4", "r12", "r3", "r8", "r0") EB_SCALE_UP("r5", "r12", "r3", "r8", "r0")
        "b 4b\n"
        "6: ldr r3, [r2], #4\n ldr r12, [r2], #4\n" EB_FROM("r4", "r3") EB_FROM("r5", "r3")
        EB_SCALE_ONCE("r4", "r12", "r0") EB_SCALE_ONCE("r5", "r12", "r0")
        "b 4b\n");
}

#else

#if defined(__ARM_ARCH_6M__)

/* The sums of both pixels for a channel, then for the other one, in r4 to r7, from those of the first
 * pixel on. r0: columns; r1: weights; r8, r9: masks; r10: the columns' end. */
#define MASKED "mov r3, r8\n ands r2, r3\n mov r3, r9\n subs r2, r2, r3\n"
#define ADD_TWO(s, at)                                                                             \
    "ldr r3, [r0, #" at "]\n muls r3, r2, r3\n asrs r3, r3, #16\n adcs " s ", r3\n"
#define CHANNEL(at, s0, s1)                                                                        \
    "ldr r2, [r1, #" at "]\n" MASKED ADD_TWO(s0, "0") ADD_TWO(s1, "4")                             \
    "ldr r2, [r1, #" at "]\n lsrs r2, r2, #8\n" MASKED ADD_TWO(s0, "8") ADD_TWO(s1, "12")

EB_NAKED const uint32_t *pair_sums(EB_IN const uint32_t *w, EB_IN const pixel_pair *to,
                                   EB_IN int32_t *sums)
{
    __asm volatile(
        ".syntax unified\n"
        "push {r4-r7, lr}\n"
        "mov r4, r8\n mov r5, r9\n mov r6, r10\n push {r2, r4-r6}\n"
        "ldr r4, [r2]\n ldr r6, [r2, #8]\n mov r5, r4\n mov r7, r6\n"
        "ldr r3, [r1, #4]\n mov r10, r3\n ldr r3, [r1]\n mov r1, r0\n mov r0, r3\n"
        "movs r3, #255\n lsls r2, r3, #16\n orrs r3, r2\n mov r8, r3\n"
        "movs r3, #128\n lsls r2, r3, #16\n orrs r3, r2\n mov r9, r3\n"
        "1:\n" CHANNEL("0", "r4", "r5") CHANNEL("4", "r6", "r7")
        "adds r0, #16\n adds r1, #8\n cmp r0, r10\n bne 1b\n"
        "pop {r2}\n stmia r2!, {r4-r7}\n mov r0, r1\n"
        "pop {r4-r6}\n mov r8, r4\n mov r9, r5\n mov r10, r6\n"
        "pop {r4-r7, pc}\n");
}

#else

static const uint32_t *pair_sums(const uint32_t *w, const pixel_pair *to, int32_t *sums)
{
    int32_t a = sums[0], b = a, c = sums[2], d = c;
    for (const uint32_t *x = to->columns; x != to->end; x += 4, w += 2) {
        const uint32_t even0 = eb_even_weights(w[0]), even1 = eb_even_weights(w[1]);
        const uint32_t odd0 = eb_odd_weights(w[0]), odd1 = eb_odd_weights(w[1]);
        a = eb_add_two(eb_add_two(a, x[0], even0), x[2], odd0);
        b = eb_add_two(eb_add_two(b, x[1], even0), x[3], odd0);
        c = eb_add_two(eb_add_two(c, x[0], even1), x[2], odd1);
        d = eb_add_two(eb_add_two(d, x[1], even1), x[3], odd1);
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
    return w;
}

#endif

static const uint32_t *multiply(const uint32_t *w, pixel_pair *to)
{
    int32_t sums[4];
    for (; to->left > 0; to->left -= 2) {
        sums[0] = eb_start(to->channel, to->offset);
        sums[2] = eb_start(eb_next_channels(to->channel, 1, to->offset), to->offset);
        w = pair_sums(w, to, sums);
        const int32_t channels = eb_min_i32(to->left, 2);
        for (int32_t i = 0; i < channels; i++) {
            *to->out0++ = eb_output(sums[2 * i], to->channel, to->offset);
            *to->out1++ = eb_output(sums[2 * i + 1], to->channel, to->offset);
            to->channel = eb_next_channels(to->channel, 1, to->offset);
        }
    }
    return w;
}

#endif

static void pointwise(const eb_conv2d_params *p, const int8_t *input, int8_t *output,
                      uint32_t *columns)
{
    const uint32_t *const end = columns + (p->depth + 3) / 4 * 4;
    for (int32_t left = p->batches * p->out_h * p->out_w; left > 0; left -= 2) {
        const int32_t other = left > 1 ? 1 : 0;
        pixel_pair to = { columns, end, p->channels, output, output + other * p->out_c, p->out_c,
                          eb_offset(&p->output, p->once) };
        (void)widen(input, p->in_c, columns);
        (void)widen(input + other * p->in_c, p->in_c, columns + 1);
        (void)multiply((const uint32_t *)(const void *)p->weights, &to);
        input += 2 * p->in_c;
        output += 2 * p->out_c;
    }
}

/* All pixels of an image, in pairs. */
static void whole(const eb_conv2d_params *p, const int8_t *image, int8_t *output,
                  uint32_t *columns)
{
    const int32_t pixels = p->out_h * p->out_w, out_c = p->groups * p->out_c;
    uint32_t *const end = columns + (p->depth + 3) / 4 * 4;
    int8_t *const narrow = (int8_t *)end;
    for (int32_t pixel = 0; pixel < pixels; pixel += 2) {
        const int32_t other = pixel + 1 < pixels ? 1 : 0;
        const uint32_t *weights = (const uint32_t *)(const void *)p->weights;
        const void *channel = p->channels;
        for (int32_t g = 0; g < p->groups; g++) {
            const int8_t *const group = image + g * p->kernel_c;
            int8_t *const out = output + g * p->out_c;
            pixel_pair to = { columns, end, channel, out, out + other * out_c, p->out_c,
                              eb_offset(&p->output, p->once) };
            fill(p, group, pixel, columns, narrow);
            fill(p, group, pixel + other, columns + 1, narrow);
            weights = multiply(weights, &to);
            channel = eb_next_channels(channel, (p->out_c + 1) / 2 * 2, to.offset);
        }
        output += 2 * out_c;
    }
}

void eb_conv2d_s8(const eb_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch)
{
    const int32_t outputs = p->out_h * p->out_w * p->groups * p->out_c;
    uint32_t *const columns = (uint32_t *)scratch;
    if (p->pointwise) {
        pointwise(p, input, output, columns);
    } else {
        for (int32_t b = 0; b < p->batches; b++) {
            whole(p, input + b * p->in_h * p->in_w * p->in_c, output + b * outputs, columns);
        }
    }
    if (p->clamp) {
        eb_clamp_all(output, p->batches * outputs, &p->output);
    }
}
