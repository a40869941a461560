/* Runs the model and measures it. */
#ifndef EB_BENCH_H
#define EB_BENCH_H

#include <stdint.h>

#include "eb_runtime.h"

/* Of the generated app_model.c. */
extern const eb_model *const eb_app_model;
extern uint8_t eb_arena[];
extern uint32_t eb_layer_ticks[];

/* Paints and initialises the arena. Returns the model's status. */
int eb_bench_init(void);

/* Runs once; *ticks is the time between entering and leaving the model. */
int eb_bench_run(uint32_t *ticks);

/* Arena bytes up to the last one that was ever written. */
uint32_t eb_bench_arena_used(void);

#endif /* EB_BENCH_H */
