#define _GNU_SOURCE
#include "eb_system.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)1 << 20)
#define PAINT 0xE5

static int file_error(const char *path)
{
    (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return -1;
}

int eb_read_file(const char *path, void *content, size_t size)
{
    FILE *const file = fopen(path, "rb");
    if (file == NULL) {
        return file_error(path);
    }
    const size_t got = fread(content, 1, size, file);
    const int more = got == size && fgetc(file) != EOF;
    const int failed = ferror(file);
    if (failed) {
        (void)file_error(path);
    } else if (got != size || more) {
        (void)fprintf(stderr, "%s: has %s than the %zu bytes of the samples\n", path,
                      more ? "more" : "fewer", size);
    }
    (void)fclose(file);
    return failed || got != size || more ? -1 : 0;
}

int eb_write_file(const char *path, const void *content, size_t size)
{
    FILE *const file = fopen(path, "wb");
    if (file == NULL) {
        return file_error(path);
    }
    const int whole = fwrite(content, 1, size, file) == size;
    const int write_error = errno;
    if (fclose(file) == 0 && whole) {
        return 0;
    }
    errno = whole ? errno : write_error;
    (void)file_error(path);
    (void)unlink(path);
    return -1;
}

int64_t eb_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* getrusage would include what the process was before exec. */
long eb_peak_rss_kib(void)
{
    FILE *const file = fopen("/proc/self/status", "r");
    if (file == NULL) {
        return -1;
    }
    char line[256];
    long kib = -1;
    while (kib < 0 && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmHWM: %ld kB", &kib) != 1) {
            kib = -1;
        }
    }
    (void)fclose(file);
    return kib;
}

int eb_governor(int cpu, char *name, size_t size)
{
    char path[96];
    (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor",
                   cpu);
    FILE *const file = fopen(path, "r");
    if (file == NULL) {
        return -1;
    }
    const int read = fgets(name, (int)size, file) != NULL;
    (void)fclose(file);
    if (!read) {
        return -1;
    }
    const size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz_-0123456789");
    const int word = length > 0U && (name[length] == '\n' || name[length] == '\0');
    name[length] = '\0';
    return word ? 0 : -1;
}

typedef struct {
    void (*work)(void *);
    void *context;
    const uint8_t *top;
} job;

static void *run_job(void *argument)
{
    job *const j = (job *)argument;
    j->top = (const uint8_t *)__builtin_frame_address(0);
    j->work(j->context);
    return NULL;
}

long eb_call_on_painted_stack(void (*work)(void *), void *context)
{
    uint8_t *const stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        return -1;
    }
    memset(stack, PAINT, STACK_BYTES);
    job j = { work, context, NULL };
    pthread_attr_t attributes;
    pthread_t thread;
    long used = -1;
    if (pthread_attr_init(&attributes) == 0 &&
        pthread_attr_setstack(&attributes, stack, STACK_BYTES) == 0 &&
        pthread_create(&thread, &attributes, run_job, &j) == 0 &&
        pthread_join(thread, NULL) == 0) {
        const uint8_t *lowest = stack;
        while (lowest < j.top && *lowest == PAINT) {
            lowest++;
        }
        used = (long)(j.top - lowest);
    }
    (void)munmap(stack, STACK_BYTES);
    return used;
}
