#include "copy.h"

#include <string.h>

#if defined(__ARM_FEATURE_UNALIGNED)

/* As memcpy, which copies byte by byte what is not aligned, as rows of an image may not be. */
static void copy(const uint8_t *in, uint8_t *out, uint32_t left)
{
    for (; left >= 16; left -= 16, in += 16, out += 16) {
        uint32_t words[4];
        memcpy(words, in, 16);
        memcpy(out, words, 16);
    }
    for (; left >= 4; left -= 4, in += 4, out += 4) {
        uint32_t word;
        memcpy(&word, in, 4);
        memcpy(out, &word, 4);
    }
    for (; left > 0; left--) {
        *out++ = *in++;
    }
}

#else
#define copy(in, out, bytes) memcpy(out, in, bytes)
#endif

void eb_copy(const eb_copy_params *p, const void *input, void *output)
{
    copy(input, output, p->bytes);
}
