/* Sums of the channels of an image, some rows at a time. */
#ifndef EB_ROW_SUMS_H
#define EB_ROW_SUMS_H

#include <stdint.h>
#include <string.h>

typedef struct {
    uint32_t pixels; /* of these rows */
    uint16_t channels;
    uint8_t first, last; /* whether these are the first rows, and the last */
} eb_row_sums;

/* Adds rows to the sums, which begin at 0 with the first ones. */
static inline void eb_add_rows(const eb_row_sums *p, const int8_t *input, int32_t *sums)
{
    if (p->first) {
        memset(sums, 0, p->channels * sizeof *sums);
    }
    for (uint32_t n = p->pixels; n > 0; n--) {
        for (uint32_t c = 0; c < p->channels; c++) {
            sums[c] += *input++;
        }
    }
}

#endif /* EB_ROW_SUMS_H */
