/* AVERAGE_POOL_2D and MAX_POOL_2D, int8; NHWC. Input and output have the same quantization. */
#ifndef EB_POOL2D_H
#define EB_POOL2D_H

#include <stdint.h>

#include "../common/eb_math.h"
#include "../common/eb_row_sums.h"

typedef struct {
    uint16_t batches;
    uint16_t in_h, in_w, channels;
    uint16_t out_h, out_w;
    uint16_t filter_h, filter_w;
    uint16_t stride_h, stride_w, pad_top, pad_left;
    int8_t min, max; /* range of the fused activation */
} eb_pool2d_params;

/* Mean of the values inside the image, halves rounded away from zero. */
void eb_average_pool2d_s8(const eb_pool2d_params *p, const int8_t *input, int8_t *output);

void eb_max_pool2d_s8(const eb_pool2d_params *p, const int8_t *input, int8_t *output);

/* The same for four channels or more; the mean of at most 256 values. */
void eb_average_pool2d_s8_dsp(const eb_pool2d_params *p, const int8_t *input, int8_t *output);

void eb_max_pool2d_s8_dsp(const eb_pool2d_params *p, const int8_t *input, int8_t *output);

typedef struct {
    eb_row_sums rows;
    int32_t count; /* pixels of the whole image */
    int8_t min, max;
} eb_average_pool2d_rows_params;

/* The mean of a whole image, some rows at a time: the sums stay in the scratch memory, and the last
 * rows write the output. */
void eb_average_pool2d_rows_s8(const eb_average_pool2d_rows_params *p, const int8_t *input,
                               int8_t *output, void *scratch);

#endif /* EB_POOL2D_H */
