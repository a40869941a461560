/* Frames of the benchmark protocol: COBS between zero bytes, CRC-32 (IEEE) at the end.
 *
 * Decoded frame: version, sequence, command, status, payload, CRC (little-endian). */
#ifndef EB_FRAME_H
#define EB_FRAME_H

#include <stdint.h>

#define EB_PROTOCOL_VERSION 1U
#define EB_MAX_PAYLOAD 512U
#define EB_HEADER_BYTES 4U
#define EB_CRC_BYTES 4U
#define EB_MAX_FRAME (EB_HEADER_BYTES + EB_MAX_PAYLOAD + EB_CRC_BYTES)
/* COBS adds one byte for each 254, and one. */
#define EB_MAX_ENCODED (EB_MAX_FRAME + EB_MAX_FRAME / 254U + 1U)

uint32_t eb_crc32(const uint8_t *bytes, uint32_t count);

/* Removes COBS in place. Returns the decoded length, or 0 for what is not valid COBS. */
uint32_t eb_cobs_decode(uint8_t *bytes, uint32_t count);

/* Adds COBS. `out` has room for count + count / 254 + 1 bytes; returns how many it took. */
uint32_t eb_cobs_encode(const uint8_t *bytes, uint32_t count, uint8_t *out);

static inline uint32_t eb_get32(const uint8_t *p)
{
    return (uint32_t)p[0] | ((uint32_t)p[1] << 8) | ((uint32_t)p[2] << 16) | ((uint32_t)p[3] << 24);
}

static inline void eb_put32(uint8_t *p, uint32_t x)
{
    p[0] = (uint8_t)x;
    p[1] = (uint8_t)(x >> 8);
    p[2] = (uint8_t)(x >> 16);
    p[3] = (uint8_t)(x >> 24);
}

#endif /* EB_FRAME_H */
