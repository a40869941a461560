/* Benchmark firmware. */
#include "eb_runtime.h"

extern const eb_model *const eb_app_model;
extern uint8_t eb_arena[];

#ifdef EB_PROFILE
__attribute__((noinline)) void eb_layer_done(uint32_t layer)
{
    __asm volatile("" ::"r"(layer));
}
#endif

int main(void)
{
    const int status = eb_app_model->init(eb_arena, eb_app_model->arena_bytes);
    return status == EB_OK ? eb_app_model->run(eb_arena) : status;
}
