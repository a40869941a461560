#include "eb_frame.h"

uint32_t eb_crc32(const uint8_t *bytes, uint32_t count)
{
    uint32_t crc = UINT32_C(0xFFFFFFFF);
    for (uint32_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (uint32_t bit = 0; bit < 8U; bit++) {
            crc = (crc >> 1) ^ ((crc & 1U) != 0U ? UINT32_C(0xEDB88320) : 0U);
        }
    }
    return ~crc;
}

uint32_t eb_cobs_decode(uint8_t *bytes, uint32_t count)
{
    uint32_t in = 0, out = 0;
    while (in < count) {
        const uint32_t code = bytes[in++];
        if (code == 0U || in + code - 1U > count) {
            return 0;
        }
        for (uint32_t i = 1; i < code; i++) {
            bytes[out++] = bytes[in++];
        }
        if (code != 0xFFU && in < count) {
            bytes[out++] = 0;
        }
    }
    return out;
}

uint32_t eb_cobs_encode(const uint8_t *bytes, uint32_t count, uint8_t *out)
{
    uint32_t at = 1, code_at = 0;
    uint8_t code = 1;
    for (uint32_t i = 0; i < count; i++) {
        if (bytes[i] != 0U) {
            out[at++] = bytes[i];
            code++;
        }
        if (bytes[i] == 0U || code == 0xFFU) {
            out[code_at] = code;
            code = 1;
            code_at = at;
            if (bytes[i] == 0U || i + 1U < count) {
                at++;
            } else {
                return at; /* a full block at the very end needs no code behind it */
            }
        }
    }
    out[code_at] = code;
    return at;
}
