/* Benchmarks one generated model on 64-bit Arm Linux or Android; docs/arm64.md has the protocol.
 *
 * Compiled with EB_MODEL as the name of the model's eb_model. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgebuild/common/eb_neon_isa.h"
#include "eb_arguments.h"
#include "eb_mark.h"
#include "edgebuild/eb.h"
#include "eb_system.h"

#define PAINT 0xE5
#define PROTOCOL 1

extern const eb_model EB_MODEL;
static const eb_model *const model = &EB_MODEL;

typedef struct {
    eb_arguments arguments;
    uint8_t *arena, *inputs, *outputs; /* inputs, outputs: of all samples, one behind the other */
    size_t input_bytes, output_bytes;  /* of one sample */
    int64_t *times_ns;                 /* [runs] */
    int64_t *layers_ns;                /* [layers][runs] */
    long stack_bytes;
    size_t arena_used_bytes;
    int status; /* of the model; EB_OK while all is well */
} program;

/* Where the layer clock writes next; NULL while no layers are timed. */
static struct {
    int64_t *column;
    size_t stride;
    int64_t before_ns;
} layer_clock;

void eb_layer_done(uint32_t layer)
{
    EB_MARK();
    if (layer_clock.column != NULL) {
        const int64_t now_ns = eb_now_ns();
        layer_clock.column[layer * layer_clock.stride] = now_ns - layer_clock.before_ns;
        layer_clock.before_ns = eb_now_ns();
    }
}

static size_t total_bytes(const eb_tensor_info *tensors, uint32_t count)
{
    size_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += tensors[i].bytes;
    }
    return total;
}

static void set_inputs(const program *p, size_t sample)
{
    const uint8_t *from = p->inputs + sample * p->input_bytes;
    for (uint32_t i = 0; i < model->input_count; i++) {
        memcpy(model->input(p->arena, i), from, model->inputs[i].bytes);
        from += model->inputs[i].bytes;
    }
}

static void get_outputs(const program *p, size_t sample)
{
    uint8_t *to = p->outputs + sample * p->output_bytes;
    for (uint32_t i = 0; i < model->output_count; i++) {
        memcpy(to, model->output(p->arena, i), model->outputs[i].bytes);
        to += model->outputs[i].bytes;
    }
}

/* Every sample once, in a painted arena. */
static void run_samples(void *context)
{
    program *const p = (program *)context;
    const size_t size = model->arena_bytes;
    memset(p->arena, PAINT, size);
    p->status = model->init(p->arena, size);
    for (size_t n = 0; n < p->arguments.count && p->status == EB_OK; n++) {
        set_inputs(p, n);
        p->status = model->run(p->arena);
        get_outputs(p, n);
    }
    p->arena_used_bytes = size;
    while (p->arena_used_bytes > 0U && p->arena[p->arena_used_bytes - 1U] == PAINT) {
        p->arena_used_bytes--;
    }
}

static void run_timed(program *p)
{
    const size_t runs = p->arguments.runs;
    for (size_t n = 0; n < p->arguments.warmup + runs && p->status == EB_OK; n++) {
        set_inputs(p, 0);
        const int64_t before_ns = eb_now_ns();
        p->status = model->run(p->arena);
        if (n >= p->arguments.warmup) {
            p->times_ns[n - p->arguments.warmup] = eb_now_ns() - before_ns;
        }
    }
    if (!p->arguments.layers) {
        return;
    }
    for (size_t n = 0; n < runs && p->status == EB_OK; n++) {
        set_inputs(p, 0);
        layer_clock.stride = runs;
        layer_clock.column = p->layers_ns + n;
        layer_clock.before_ns = eb_now_ns();
        p->status = model->run(p->arena);
        layer_clock.column = NULL;
    }
}

static int by_size(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Prints `count` numbers as a JSON array; each is the median of `per` that lie together. */
static void print_medians(int64_t *values, size_t count, size_t per)
{
    for (size_t i = 0; i < count; i++) {
        qsort(values + i * per, per, sizeof *values, by_size);
        (void)printf("%s%" PRId64, i > 0U ? "," : "[", values[i * per + per / 2U]);
    }
    (void)printf(count > 0U ? "]" : "[]");
}

static void print_sizes(const char *key, const eb_tensor_info *tensors, uint32_t count)
{
    (void)printf(",\"%s\":[", key);
    for (uint32_t i = 0; i < count; i++) {
        (void)printf("%s%" PRIu32, i > 0U ? "," : "", tensors[i].bytes);
    }
    (void)printf("]");
}

static void print_optional(const char *key, long value)
{
    (void)(value < 0 ? printf(",\"%s\":null", key) : printf(",\"%s\":%ld", key, value));
}

/* Returns the first CPU that the process may run on. */
static int print_cpus(void)
{
    cpu_set_t cpus;
    int first = -1;
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) {
        (void)printf(",\"cpus\":null");
        return 0;
    }
    (void)printf(",\"cpus\":[");
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &cpus)) {
            (void)printf("%s%zu", first < 0 ? "" : ",", cpu);
            first = first < 0 ? (int)cpu : first;
        }
    }
    (void)printf("]");
    return first < 0 ? 0 : first;
}

/* Returns the CPU whose governor is told at the end. */
static int print_start(void)
{
    static const char *const isas[] = { "base", "dotprod", "i8mm" };
    (void)printf("{\"edgebuild\":%d,\"model\":\"%s\",\"isa\":\"%s\"", PROTOCOL, model->name,
                 isas[eb_isa_used()]);
    const int cpu = print_cpus();
    print_sizes("inputs", model->inputs, model->input_count);
    print_sizes("outputs", model->outputs, model->output_count);
    (void)printf(",\"layers\":%" PRIu32 ",\"arena_bytes\":%" PRIu32 "}\n", model->layer_count,
                 model->arena_bytes);
    (void)fflush(stdout);
    return cpu;
}

static void print_end(const program *p, int cpu)
{
    const size_t runs = p->arguments.runs;
    char governor[64];
    (void)printf("{\"done\":true,\"times_ns\":");
    print_medians(p->times_ns, runs, 1);
    (void)printf(",\"layers_ns\":");
    print_medians(p->layers_ns, p->arguments.layers && runs > 0U ? model->layer_count : 0U, runs);
    (void)printf(",\"arena_used_bytes\":%zu", p->arena_used_bytes);
    print_optional("stack_bytes", p->stack_bytes);
    print_optional("peak_rss_kib", eb_peak_rss_kib());
    if (eb_governor(cpu, governor, sizeof governor) == 0) {
        (void)printf(",\"governor\":\"%s\"}\n", governor);
    } else {
        (void)printf(",\"governor\":null}\n");
    }
}

static int choose_cpu(const eb_arguments *a)
{
    if (a->isa >= 0 && eb_isa_use((eb_isa)a->isa) != 0) {
        (void)fprintf(stderr, "the CPU lacks the instruction set\n");
        return EB_EXIT_CPU;
    }
    if (a->pin && sched_setaffinity(0, sizeof a->cpus, &a->cpus) != 0) {
        perror("the CPUs cannot be used");
        return EB_EXIT_CPU;
    }
    return EB_EXIT_DONE;
}

/* Returns zeroed room for count * size bytes, at least one; never freed. Ends the program when
 * there is none. */
static void *allocate(size_t count, size_t size)
{
    void *const room = calloc(count > 0U ? count : 1U, size > 0U ? size : 1U);
    if (room == NULL) {
        (void)fprintf(stderr, "no memory for %zu times %zu bytes\n", count, size);
        exit(EB_EXIT_MODEL);
    }
    return room;
}

static void *allocate_arena(size_t size)
{
    uint8_t *const room = allocate(size + EB_ARENA_ALIGN, 1);
    return room + (EB_ARENA_ALIGN - (uintptr_t)room % EB_ARENA_ALIGN) % EB_ARENA_ALIGN;
}

int main(int argc, char **argv)
{
    static program p;
    const eb_arguments *const a = &p.arguments;
    int code = eb_arguments_parse(argc, argv, &p.arguments);
    if (code == EB_EXIT_DONE) {
        code = choose_cpu(a);
    }
    if (code != EB_EXIT_DONE) {
        return code;
    }
    p.input_bytes = total_bytes(model->inputs, model->input_count);
    p.output_bytes = total_bytes(model->outputs, model->output_count);
    p.inputs = allocate(a->count, p.input_bytes);
    p.outputs = allocate(a->count, p.output_bytes);
    p.times_ns = allocate(a->runs, sizeof *p.times_ns);
    p.layers_ns = allocate(a->layers ? a->runs : 0U, model->layer_count * sizeof *p.layers_ns);
    p.arena = allocate_arena(model->arena_bytes);
    if (eb_read_file(a->input, p.inputs, a->count * p.input_bytes) != 0) {
        return EB_EXIT_FILE;
    }
    const int cpu = print_start();
    p.stack_bytes = eb_call_on_painted_stack(run_samples, &p);
    if (p.stack_bytes < 0) {
        run_samples(&p);
    }
    if (p.status == EB_OK && eb_write_file(a->output, p.outputs, a->count * p.output_bytes) != 0) {
        return EB_EXIT_FILE;
    }
    run_timed(&p);
    if (p.status != EB_OK) {
        (void)fprintf(stderr, "the model returned %d\n", p.status);
        return EB_EXIT_MODEL;
    }
    print_end(&p, cpu);
    return fflush(stdout) == 0 ? EB_EXIT_DONE : EB_EXIT_FILE;
}
