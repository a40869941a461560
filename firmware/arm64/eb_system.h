/* What the arm64 benchmark program asks of Linux: files, the clock, memory, a painted stack. */
#ifndef EB_SYSTEM_H
#define EB_SYSTEM_H

#include <stddef.h>
#include <stdint.h>

/* Reads a file of exactly `size` bytes. Returns 0, or -1 after a message on stderr. */
int eb_read_file(const char *path, void *content, size_t size);

/* Writes a file; a partial one is removed. Returns 0, or -1 after a message on stderr. */
int eb_write_file(const char *path, const void *content, size_t size);

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t eb_now_ns(void);

/* The peak of the resident set in KiB; -1 when it is not known. */
long eb_peak_rss_kib(void);

/* Writes the frequency governor of `cpu`, a word; returns -1 when it is not known. */
int eb_governor(int cpu, char *name, size_t size);

/* Calls work(context) on a stack of its own. Returns the bytes that it used of it, -1 when the
 * stack cannot be had and work was not called. */
long eb_call_on_painted_stack(void (*work)(void *), void *context);

#endif /* EB_SYSTEM_H */
