/* A model for tests that does as the environment says: INIT and RUN are the statuses that it
 * returns; RUN=hang never returns. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eb_bench.h"

static const int32_t shape[] = { 4 };
static const eb_tensor_info tensor = { "x", shape, 4, 1.0F, 0, 1, EB_INT8 };

uint8_t eb_arena[64];
uint32_t eb_layer_ticks[1];

static int status(const char *name)
{
    const char *const value = getenv(name);
    while (value != NULL && strcmp(value, "hang") == 0) {
        sleep(1);
    }
    return value != NULL ? atoi(value) : 0;
}

static int init(void *arena, size_t bytes)
{
    (void)arena;
    (void)bytes;
    return status("INIT");
}

static int run(void *arena)
{
    (void)arena;
    eb_layer_done(0);
    return status("RUN");
}

static void *input(void *arena, uint32_t index)
{
    return (uint8_t *)arena + index;
}

static const void *output(const void *arena, uint32_t index)
{
    return (const uint8_t *)arena + index;
}

static const eb_model model = {
    "stub", 64, 1, 1, 1, &tensor, &tensor, init, run, input, output,
};
const eb_model *const eb_app_model = &model;
