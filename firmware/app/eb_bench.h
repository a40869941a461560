/* Runs the model and measures it. */
#ifndef EB_BENCH_H
#define EB_BENCH_H

#include <stdint.h>

#include "edgebuild/eb.h"

/* A piece of memory that the arena lies in. */
typedef struct {
    uint8_t *start;
    uint32_t bytes;
} eb_bank;

/* Of the generated app_model.c. */
extern const eb_model *const eb_app_model;
extern uint8_t eb_arena[];
extern const eb_bank eb_app_banks[];
extern const uint32_t eb_app_bank_count;
extern uint32_t eb_layer_ticks[];

/* Paints all banks of the arena and initialises it. Returns the model's status. */
int eb_bench_init(void);

/* Bytes of the arena, those of all its banks. */
uint32_t eb_bench_arena_bytes(void);

/* Runs once; *ticks is the time between entering and leaving the model. */
int eb_bench_run(uint32_t *ticks);

/* Arena bytes up to the last one that was ever written, added up over its banks. */
uint32_t eb_bench_arena_used(void);

#endif /* EB_BENCH_H */
