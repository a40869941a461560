/* PAD and PADV2: nested frames of one value.
 *
 * Four nested loops, outermost first, around a contiguous run of the input; each loop, and the run,
 * has `before` bytes of padding in front of it and `after` bytes behind. */
#ifndef EB_PAD_H
#define EB_PAD_H

#include <stdint.h>

typedef struct {
    int32_t count[4];
    int32_t before[5];
    int32_t after[5];
    int32_t run;
    int32_t element;  /* bytes of the value: 1, 2 or 4; 1 also where all its bytes are equal */
    uint8_t value[4]; /* as it lies in memory */
} eb_pad_params;

void eb_pad(const eb_pad_params *p, const void *input, void *output);

#endif /* EB_PAD_H */
