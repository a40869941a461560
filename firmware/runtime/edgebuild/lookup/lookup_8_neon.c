/* Sixteen look-ups at once, in four tables of 64 bytes. */
#include "../common/eb_neon.h"
#include "lookup_neon.h"

void eb_lookup_8_neon(const eb_lookup_params *p, const void *input, void *output)
{
    const int8_t *const in = (const int8_t *)input;
    int8_t *const out = (int8_t *)output;
    uint8x16x4_t table[4];
    for (int i = 0; i < 4; i++) {
        table[i] = vld1q_u8_x4(p->table + 64 * i);
    }
    const uint8x16_t quarter = vdupq_n_u8(64);
    for (int32_t n = 0; n < p->count; n += 16) {
        uint8x16_t index = vreinterpretq_u8_s8(eb_load_16_neon(in + n, p->count - n));
        /* An index beyond a table gives zero, or leaves what is there. */
        uint8x16_t found = vqtbl4q_u8(table[0], index);
        for (int i = 1; i < 4; i++) {
            index = vsubq_u8(index, quarter);
            found = vqtbx4q_u8(found, table[i], index);
        }
        eb_store_16_neon(out + n, vreinterpretq_s8_u8(found), p->count - n);
    }
}
