/* A port for tests: the serial line is standard input and output of a process. */
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "eb_port.h"
#include "eb_startup.h"

uint32_t eb_stack_high_water(void)
{
    return 128U;
}

void eb_port_init(void)
{
}

int32_t eb_port_read(void)
{
    struct pollfd ready = { 0, POLLIN, 0 };
    uint8_t byte;
    if (poll(&ready, 1, 1000) <= 0) {
        return -1;
    }
    if (read(0, &byte, 1) != 1) {
        exit(0);
    }
    return byte;
}

void eb_port_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t sent = 0; sent < count;) {
        const ssize_t now = write(1, bytes + sent, count - sent);
        if (now <= 0) {
            exit(0);
        }
        sent += (uint32_t)now;
    }
}

uint32_t eb_port_ticks(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec);
}

uint32_t eb_port_ticks_hz(void)
{
    return 1000000000U;
}
