/* QUANTIZE from float and DEQUANTIZE to float. */
#ifndef EB_QUANTIZE_H
#define EB_QUANTIZE_H

#include <stdint.h>

typedef struct {
    int32_t count;
    int32_t zero_point;
    float scale;
} eb_quantize_params;

/* Rounds halves away from zero and saturates; what is not a number becomes the zero point. */
void eb_quantize_f32_s8(const eb_quantize_params *p, const float *input, int8_t *output);

void eb_dequantize_s8_f32(const eb_quantize_params *p, const int8_t *input, float *output);
void eb_dequantize_u8_f32(const eb_quantize_params *p, const uint8_t *input, float *output);

#endif /* EB_QUANTIZE_H */
