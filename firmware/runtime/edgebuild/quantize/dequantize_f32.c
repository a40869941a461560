#include "quantize.h"

void eb_dequantize_s8_f32(const eb_quantize_params *p, const int8_t *input, float *output)
{
    for (int32_t i = 0; i < p->count; i++) {
        output[i] = p->scale * (float)(input[i] - p->zero_point);
    }
}

void eb_dequantize_u8_f32(const eb_quantize_params *p, const uint8_t *input, float *output)
{
    for (int32_t i = 0; i < p->count; i++) {
        output[i] = p->scale * (float)(input[i] - p->zero_point);
    }
}
