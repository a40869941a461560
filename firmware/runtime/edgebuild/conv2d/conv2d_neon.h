/* CONV_2D on AArch64, int8 in, int8 weights, int8 out; NHWC. Also FULLY_CONNECTED: a 1x1 kernel
 * over a row of batches. */
#ifndef EB_CONV2D_NEON_H
#define EB_CONV2D_NEON_H

#include "../common/eb_matmul_neon.h"
#include "../common/eb_rows_neon.h"

typedef struct {
    int32_t batches, out_h, out_w;
    int32_t kernel_w, kernel_c;
    int32_t stride_w, dilation_w;
    int32_t groups;
    int32_t joined; /* 1: a row of the kernel is a run of bytes (no groups, no dilation_w) */
    int32_t gather; /* 1: runs are short and are copied together; the product has one run */
    eb_rows_params rows;
    eb_matmul_params product; /* out_c: of one group */
} eb_conv2d_neon_params;

/* scratch: pointers to the runs, 8 bytes each, rounded up to 16 bytes; with `gather` 8 pixels of
 * 8 * blocks bytes and 16 more; then what eb_rows_start takes. */
void eb_conv2d_s8_neon(const eb_conv2d_neon_params *p, const int8_t *input, int8_t *output,
                       void *scratch);

#endif /* EB_CONV2D_NEON_H */
