/* STM32: an asynchronous serial line and the cycle counter.
 *
 * EB_NUCLEO_F446RE, EB_NUCLEO_L4R5ZI or EB_NUCLEO_H743ZI chooses the board's header, which defines
 *   CLOCK_HZ            of the core
 *   UART_HZ, BAUD_UNIT  kernel clock of the UART, and what its divisor is counted in
 *   UART_STATE, UART_RX, UART_TX, UART_BRR, UART_CR1, CR1_ENABLE   registers
 *   board_init()        clocks, caches, pins */
#include "eb_dwt.h"
#include "eb_port.h"

#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define BIT(n) (UINT32_C(1) << (n))
#define BAUD 115200U

/* Same positions in all of their UARTs. */
#define STATE_RX_FULL BIT(5)
#define STATE_TX_EMPTY BIT(7)

/* Gives the pin of the GPIO port at `gpio` to alternate function `af`, with a pull-up. */
static void use_pin(uint32_t gpio, uint32_t pin, uint32_t af)
{
    const uint32_t two = 2U * pin, four = 4U * (pin & 7U);
    volatile uint32_t *const mode = &REG(gpio), *const pull = &REG(gpio + 0x0CU);
    volatile uint32_t *const alternate = &REG(gpio + (pin < 8U ? 0x20U : 0x24U));
    *alternate = (*alternate & ~(UINT32_C(15) << four)) | (af << four);
    *pull = (*pull & ~(UINT32_C(3) << two)) | (UINT32_C(1) << two);
    *mode = (*mode & ~(UINT32_C(3) << two)) | (UINT32_C(2) << two);
}

/* Sets a bit in an enable register of the RCC; the read back waits until it has taken effect. */
static void enable(uint32_t address, uint32_t bit)
{
    REG(address) |= bit;
    (void)REG(address);
}

static void wait_for(uint32_t address, uint32_t mask, uint32_t value)
{
    while ((REG(address) & mask) != value) {
    }
}

#if defined(EB_NUCLEO_F446RE)
#include "nucleo_f446re.h"
#elif defined(EB_NUCLEO_L4R5ZI)
#include "nucleo_l4r5zi.h"
#elif defined(EB_NUCLEO_H743ZI)
#include "nucleo_h743zi.h"
#else
#error "define the board: EB_NUCLEO_F446RE, EB_NUCLEO_L4R5ZI or EB_NUCLEO_H743ZI"
#endif

#define DIVISOR ((uint32_t)(((uint64_t)(UART_HZ) * (BAUD_UNIT) + BAUD / 2U) / BAUD))

void eb_port_init(void)
{
    board_init();
    UART_BRR = DIVISOR;
    UART_CR1 = CR1_ENABLE;
    eb_dwt_start();
}

/* Reading the data clears the flag, and an overrun with it where that would stop reception. */
int32_t eb_port_read(void)
{
    return (UART_STATE & STATE_RX_FULL) != 0U ? (int32_t)(UART_RX & 0xFFU) : -1;
}

void eb_port_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while ((UART_STATE & STATE_TX_EMPTY) == 0U) {
        }
        UART_TX = bytes[i];
    }
}

uint32_t eb_port_ticks(void)
{
    return eb_dwt_ticks();
}

uint32_t eb_port_ticks_hz(void)
{
    return CLOCK_HZ;
}
