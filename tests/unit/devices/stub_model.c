/* A model for tests. Its output is its input, each of several payloads, and its layers' timings too.
 * It does as the environment says: INIT and RUN are the statuses that it returns; RUN=hang never
 * returns. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eb_bench.h"

#define BYTES 1500
#define ARENA_BYTES 2000
#define LAYERS 300

static const int32_t shape[] = { BYTES };
static const eb_tensor_info tensor = { "x", shape, BYTES, 1.0F, 0, 1, EB_INT8 };

uint8_t eb_arena[ARENA_BYTES];
const eb_bank eb_app_banks[] = { { eb_arena, ARENA_BYTES - 500 }, { eb_arena + ARENA_BYTES - 500, 500 } };
const uint32_t eb_app_bank_count = 2;
uint32_t eb_layer_ticks[LAYERS];

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
    for (uint32_t i = 0; i < LAYERS; i++) {
        eb_layer_done(i);
    }
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
    "stub", ARENA_BYTES, LAYERS, 1, 1, &tensor, &tensor, init, run, input, output,
};
const eb_model *const eb_app_model = &model;
