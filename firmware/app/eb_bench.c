#include "eb_bench.h"

#include <string.h>

#include "eb_port.h"

#define ARENA_PAINT 0xE5U

static uint32_t layer_start;

int eb_bench_init(void)
{
    for (uint32_t i = 0; i < eb_app_bank_count; i++) {
        memset(eb_app_banks[i].start, (int)ARENA_PAINT, eb_app_banks[i].bytes);
    }
    return eb_app_model->init(eb_arena, eb_app_model->arena_bytes);
}

int eb_bench_run(uint32_t *ticks)
{
    const uint32_t start = eb_port_ticks();
    layer_start = start;
    const int status = eb_app_model->run(eb_arena);
    *ticks = eb_port_ticks() - start;
    return status;
}

uint32_t eb_bench_arena_bytes(void)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < eb_app_bank_count; i++) {
        bytes += eb_app_banks[i].bytes;
    }
    return bytes;
}

uint32_t eb_bench_arena_used(void)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < eb_app_bank_count; i++) {
        uint32_t used = eb_app_banks[i].bytes;
        while (used > 0U && eb_app_banks[i].start[used - 1U] == ARENA_PAINT) {
            used--;
        }
        sum += used;
    }
    return sum;
}

/* Not inlined: the simulator recognises its address. */
__attribute__((noinline)) void eb_layer_done(uint32_t layer)
{
    const uint32_t now = eb_port_ticks();
    eb_layer_ticks[layer] = now - layer_start;
    layer_start = eb_port_ticks();
}
