#define _GNU_SOURCE
#include "eb_arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgebuild/common/eb_neon_isa.h"

#define MAX_COUNT 10000000UL

static const char usage[] =
    "usage: --input FILE --output FILE --count N [--warmup N] [--runs N]\n"
    "       [--isa base|dotprod|i8mm] [--cpus LIST] [--layers]\n";

static int refuse(const char *what, const char *value)
{
    (void)fprintf(stderr, "%s: '%.64s'\n%s", what, value, usage);
    return EB_EXIT_USAGE;
}

/* Reads digits at *text, which advances behind them. Returns 0, or -1 when there is no number up to
 * `max`. */
static int read_number(const char **text, unsigned long max, unsigned long *value)
{
    const char *p = *text;
    *value = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        *value = *value * 10UL + (unsigned long)(*p - '0');
        if (*value > max) {
            return -1;
        }
    }
    const int digits = p != *text;
    *text = p;
    return digits ? 0 : -1;
}

static int parse_count(const char *text, size_t *count)
{
    unsigned long value;
    if (read_number(&text, MAX_COUNT, &value) != 0 || *text != '\0') {
        return -1;
    }
    *count = value;
    return 0;
}

/* A list of numbers and ranges, as in "0-3,7". */
static int parse_cpus(const char *text, cpu_set_t *cpus)
{
    CPU_ZERO(cpus);
    for (;;) {
        unsigned long first, last;
        if (read_number(&text, CPU_SETSIZE - 1, &first) != 0) {
            return -1;
        }
        last = first;
        if (*text == '-') {
            text++;
            if (read_number(&text, CPU_SETSIZE - 1, &last) != 0) {
                return -1;
            }
        }
        if (last < first) {
            return -1;
        }
        for (unsigned long cpu = first; cpu <= last; cpu++) {
            CPU_SET(cpu, cpus);
        }
        if (*text == '\0') {
            return 0;
        }
        if (*text++ != ',') {
            return -1;
        }
    }
}

static int parse_isa(const char *text, int *isa)
{
    static const char *const names[] = { "base", "dotprod", "i8mm" };
    for (int i = 0; i <= (int)EB_ISA_I8MM; i++) {
        if (strcmp(text, names[i]) == 0) {
            *isa = i;
            return 0;
        }
    }
    return -1;
}

/* Returns 0, 1 for an option that is not known, -1 for a bad value. */
static int parse_option(const char *option, const char *value, eb_arguments *a)
{
    if (strcmp(option, "--input") == 0) {
        a->input = value;
    } else if (strcmp(option, "--output") == 0) {
        a->output = value;
    } else if (strcmp(option, "--count") == 0) {
        return parse_count(value, &a->count);
    } else if (strcmp(option, "--warmup") == 0) {
        return parse_count(value, &a->warmup);
    } else if (strcmp(option, "--runs") == 0) {
        return parse_count(value, &a->runs);
    } else if (strcmp(option, "--isa") == 0) {
        return parse_isa(value, &a->isa);
    } else if (strcmp(option, "--cpus") == 0) {
        a->pin = 1;
        return parse_cpus(value, &a->cpus);
    } else {
        return 1;
    }
    return 0;
}

int eb_arguments_parse(int argc, char **argv, eb_arguments *a)
{
    memset(a, 0, sizeof *a);
    a->isa = -1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--layers") == 0) {
            a->layers = 1;
            continue;
        }
        const char *const option = argv[i];
        const char *const value = i + 1 < argc ? argv[++i] : "";
        const int status = parse_option(option, value, a);
        if (status != 0) {
            return refuse(status > 0 ? "unknown option" : option, status > 0 ? option : value);
        }
    }
    if (a->input == NULL || a->output == NULL || a->count == 0U) {
        return refuse("missing", "--input, --output or --count");
    }
    return EB_EXIT_DONE;
}
