/* What the benchmark firmware asks of a board: five functions. See docs/protocol.md on porting. */
#ifndef EB_PORT_H
#define EB_PORT_H

#include <stdint.h>

/* Clocks, pins, serial line, tick counter. Called once, first. */
void eb_port_init(void);

/* Next received byte (0..255), or -1 when there is none. Does not wait. */
int32_t eb_port_read(void);

/* Sends bytes; waits until the last one is on its way. */
void eb_port_write(const uint8_t *bytes, uint32_t count);

/* A counter that runs upwards and wraps at 2^32; called at least every 0.5 s while timing. */
uint32_t eb_port_ticks(void);

/* Ticks in a second. */
uint32_t eb_port_ticks_hz(void);

#endif /* EB_PORT_H */
