/* Runs a generated model inside edgebuild on the host: batches, and a hook after each layer. */
#include <string.h>

#include "edgebuild/eb.h"

typedef void (*eb_host_hook)(uint32_t layer);

void eb_host_set_hook(eb_host_hook function);
int eb_host_run_batch(const eb_model *model, void *arena, const uint8_t *const *inputs,
                      uint8_t *const *outputs, uint32_t count);

static eb_host_hook hook;

void eb_host_set_hook(eb_host_hook function)
{
    hook = function;
}

#ifdef EB_PROFILE
void eb_layer_done(uint32_t layer)
{
    if (hook != NULL) {
        hook(layer);
    }
}
#endif

/* inputs[i] and outputs[i] hold `count` samples of tensor i, one behind the other. */
int eb_host_run_batch(const eb_model *model, void *arena, const uint8_t *const *inputs,
                      uint8_t *const *outputs, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        for (uint32_t i = 0; i < model->input_count; i++) {
            const size_t size = model->inputs[i].bytes;
            memcpy(model->input(arena, i), inputs[i] + n * size, size);
        }
        const int status = model->run(arena);
        if (status != EB_OK) {
            return status;
        }
        for (uint32_t i = 0; i < model->output_count; i++) {
            const size_t size = model->outputs[i].bytes;
            memcpy(outputs[i] + n * size, model->output(arena, i), size);
        }
    }
    return EB_OK;
}
