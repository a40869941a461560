/* Any function of one byte, with NEON. */
#ifndef EB_LOOKUP_NEON_H
#define EB_LOOKUP_NEON_H

#include "lookup.h"

/* The output may be the input's memory. */
void eb_lookup_8_neon(const eb_lookup_params *p, const void *input, void *output);

#endif /* EB_LOOKUP_NEON_H */
