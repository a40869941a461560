/* What generated models and the firmware that runs them agree on.
 *
 * The caller owns all memory; functions return 0 or a negative eb_status. */
#ifndef EB_H
#define EB_H

#include <stddef.h>
#include <stdint.h>

/* Rises when code written for the one before would no longer compile, link or mean the same.
 * Generated headers check it. */
#define EB_INTERFACE_VERSION 1

#define EB_ARENA_ALIGN 16U

typedef enum {
    EB_OK = 0,
    EB_ERROR_NULL = -1,      /* a pointer is null */
    EB_ERROR_TOO_SMALL = -2, /* the arena has fewer bytes than the model needs */
    EB_ERROR_ALIGNMENT = -3, /* the arena is not aligned to EB_ARENA_ALIGN bytes */
    EB_ERROR_ARENA = -4      /* with EB_CHECK_ARENA: not this model's arena, overwritten or in use */
} eb_status;

typedef enum {
    EB_INT8 = 0,
    EB_UINT8 = 1,
    EB_INT16 = 2,
    EB_INT32 = 3,
    EB_INT64 = 4,
    EB_FLOAT32 = 5,
    EB_BOOL = 6
} eb_dtype;

/* An input or output; real = scale * (q - zero_point). Lives in flash. */
typedef struct {
    const char *name;
    const int32_t *shape; /* rank entries, outermost first */
    uint32_t bytes;
    float scale;
    int32_t zero_point;
    uint8_t rank;
    uint8_t dtype; /* eb_dtype */
} eb_tensor_info;

/* A generated model, for code that runs any model (the benchmark firmware). Lives in flash.
 * input() and output() give addresses inside the arena; run() may overwrite its inputs. */
typedef struct {
    const char *name;
    uint32_t arena_bytes;
    uint32_t layer_count;
    uint32_t input_count;
    uint32_t output_count;
    const eb_tensor_info *inputs;
    const eb_tensor_info *outputs;
    int (*init)(void *arena, size_t arena_bytes);
    int (*run)(void *arena);
    void *(*input)(void *arena, uint32_t index);
    const void *(*output)(const void *arena, uint32_t index);
} eb_model;

/* Generated code calls EB_LAYER_DONE(layer) after each layer; it costs nothing unless profiled. */
#ifdef EB_PROFILE
void eb_layer_done(uint32_t layer);
#define EB_LAYER_DONE(layer) eb_layer_done(layer)
#else
#define EB_LAYER_DONE(layer) ((void)0)
#endif

/* With -DEB_CHECK_ARENA for all files, each arena ends with a guard, EB_ARENA_GUARD_BYTES, and a run
 * returns EB_ERROR_ARENA where the model's init was never called for that arena, another run is
 * using it, or something wrote over its end. */
#ifdef EB_CHECK_ARENA
#define EB_ARENA_GUARD_BYTES 16U

typedef struct {
    const void *arena;
    const void *model; /* NULL during a run */
} eb_arena_guard;

static inline eb_arena_guard *eb_arena_end(void *arena, size_t arena_bytes)
{
    return (eb_arena_guard *)(void *)((uint8_t *)arena + arena_bytes - EB_ARENA_GUARD_BYTES);
}

static inline void eb_arena_init(void *arena, size_t arena_bytes, const void *model)
{
    *eb_arena_end(arena, arena_bytes) = (eb_arena_guard){ arena, model };
}

/* Returns whether a run may begin. */
static inline int eb_arena_enter(void *arena, size_t arena_bytes, const void *model)
{
    if ((uintptr_t)arena % EB_ARENA_ALIGN != 0U) {
        return 0;
    }
    eb_arena_guard *const guard = eb_arena_end(arena, arena_bytes);
    if (guard->arena != arena || guard->model != model) {
        return 0;
    }
    guard->model = NULL;
    return 1;
}

/* Returns whether the guard is as the run left it. */
static inline int eb_arena_leave(void *arena, size_t arena_bytes, const void *model)
{
    eb_arena_guard *const guard = eb_arena_end(arena, arena_bytes);
    if (guard->arena != arena || guard->model != NULL) {
        return 0;
    }
    guard->model = model;
    return 1;
}
#else
#define EB_ARENA_GUARD_BYTES 0U
#define eb_arena_init(arena, arena_bytes, model) ((void)0)
#define eb_arena_enter(arena, arena_bytes, model) 1
#define eb_arena_leave(arena, arena_bytes, model) 1
#endif

#endif /* EB_H */
