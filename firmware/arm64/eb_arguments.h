/* The command line of the arm64 benchmark program. */
#ifndef EB_ARGUMENTS_H
#define EB_ARGUMENTS_H

#include <sched.h>
#include <stddef.h>

/* Exit codes. */
enum {
    EB_EXIT_DONE = 0,
    EB_EXIT_USAGE = 2,
    EB_EXIT_FILE = 3,  /* a file cannot be read or written, or has the wrong size */
    EB_EXIT_MODEL = 4, /* the model refused to run, or there is no memory for it */
    EB_EXIT_CPU = 5    /* the instruction set or the CPUs are not available */
};

typedef struct {
    const char *input, *output;
    size_t count;        /* samples in the input file */
    size_t warmup, runs; /* of sample 0 */
    int isa;             /* an eb_isa, or -1 for the best */
    int layers;          /* 1: time each layer too */
    int pin;             /* 1: run on `cpus` only */
    cpu_set_t cpus;
} eb_arguments;

/* Returns EB_EXIT_DONE, or EB_EXIT_USAGE after a message on stderr. */
int eb_arguments_parse(int argc, char **argv, eb_arguments *arguments);

#endif /* EB_ARGUMENTS_H */
