/* RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR over NHWC images. */
#ifndef EB_RESIZE_H
#define EB_RESIZE_H

#include <stdint.h>

/* `rows` and `columns` give the input row and column of each output row and column. */
typedef struct {
    int32_t batches;
    int32_t in_h, in_w;
    int32_t out_h, out_w;
    int32_t pixel; /* bytes */
    const int16_t *rows;
    const int16_t *columns;
} eb_resize_nearest_params;

/* Output coordinate i lies at (i * scale + offset) / 1024 of the input. */
typedef struct {
    int32_t batches;
    int32_t in_h, in_w;
    int32_t out_h, out_w;
    int32_t channels;
    int32_t scale_h, offset_h;
    int32_t scale_w, offset_w;
} eb_resize_bilinear_params;

void eb_resize_nearest(const eb_resize_nearest_params *p, const void *input, void *output);
void eb_resize_bilinear_s8(const eb_resize_bilinear_params *p, const int8_t *input, int8_t *output);

#endif /* EB_RESIZE_H */
