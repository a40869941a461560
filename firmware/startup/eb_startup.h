/* What the start-up code leaves for the application. */
#ifndef EB_STARTUP_H
#define EB_STARTUP_H

#include <stdint.h>

/* Free RAM and the stack below Reset_Handler's frame are filled with this word. */
#define EB_STACK_PATTERN UINT32_C(0x5AFE57AC)

/* Makes memories usable that are not after reset: clocks of RAM banks, controllers of external
 * memory. Runs before variables have their values and may use none. Does nothing unless the port or
 * the board's own code defines it. */
void eb_memory_init(void);

/* Set by the linker script. */
extern uint32_t __stack_top[];    /* first address past the stack */
extern uint32_t __stack_bottom[]; /* lowest address of the room reserved for the stack */
extern uint32_t __ram_free[];     /* first address past .data, .bss and the arena */

/* Bytes of stack that were in use at the deepest point since reset. */
uint32_t eb_stack_high_water(void);

/* Why the core stopped in eb_fault: exception number (IPSR), and the address that faulted. */
typedef struct {
    uint32_t exception;
    uint32_t pc;
    uint32_t lr;
} eb_fault_record;

extern volatile eb_fault_record eb_fault_info;

/* Every unexpected exception ends here, in an endless loop. */
void eb_fault(const uint32_t *frame);

#endif /* EB_STARTUP_H */
