/* nRF52840: UART0 without DMA, and the cycle counter. 64 MHz from the 32 MHz crystal.
 *
 * EB_TX_PIN, EB_RX_PIN: numbers on P0. Registers: Nordic nRF52840 Product Specification. */
#include "eb_dwt.h"
#include "eb_port.h"

#define CLOCK_HZ UINT32_C(64000000)
#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define CLOCK UINT32_C(0x40000000)
#define CLOCK_HFCLKSTART REG(CLOCK + 0x000U)
#define CLOCK_HFCLKSTARTED REG(CLOCK + 0x100U)

#define NVMC_ICACHECNF REG(UINT32_C(0x4001E540))

#define P0 UINT32_C(0x50000000)
#define P0_OUTSET REG(P0 + 0x508U)
#define P0_PIN_CNF(n) REG(P0 + 0x700U + 4U * (n))
#define PIN_OUTPUT 3U           /* input buffer off */
#define PIN_INPUT_PULL_UP 0xCU

#define UART UINT32_C(0x40002000)
#define UART_STARTRX REG(UART + 0x000U)
#define UART_STARTTX REG(UART + 0x008U)
#define UART_RXDRDY REG(UART + 0x108U)
#define UART_TXDRDY REG(UART + 0x11CU)
#define UART_ENABLE REG(UART + 0x500U)
#define UART_PSEL_RTS REG(UART + 0x508U)
#define UART_PSEL_TXD REG(UART + 0x50CU)
#define UART_PSEL_CTS REG(UART + 0x510U)
#define UART_PSEL_RXD REG(UART + 0x514U)
#define UART_RXD REG(UART + 0x518U)
#define UART_TXD REG(UART + 0x51CU)
#define UART_BAUDRATE REG(UART + 0x524U)
#define UART_CONFIG REG(UART + 0x56CU)
#define ENABLE_UART 4U
#define NOT_CONNECTED UINT32_C(0xFFFFFFFF)
#define BAUDRATE_115200 UINT32_C(0x01D7E000)

static void uart_init(void)
{
    P0_OUTSET = UINT32_C(1) << (EB_TX_PIN);
    P0_PIN_CNF(EB_TX_PIN) = PIN_OUTPUT;
    P0_PIN_CNF(EB_RX_PIN) = PIN_INPUT_PULL_UP;
    UART_PSEL_TXD = EB_TX_PIN;
    UART_PSEL_RXD = EB_RX_PIN;
    UART_PSEL_RTS = NOT_CONNECTED;
    UART_PSEL_CTS = NOT_CONNECTED;
    UART_BAUDRATE = BAUDRATE_115200;
    UART_CONFIG = 0U; /* 8 bits, no parity, no flow control */
    UART_ENABLE = ENABLE_UART;
    UART_STARTTX = 1U;
    UART_STARTRX = 1U;
}

void eb_port_init(void)
{
    CLOCK_HFCLKSTARTED = 0U;
    CLOCK_HFCLKSTART = 1U;
    while (CLOCK_HFCLKSTARTED == 0U) {
    }
    NVMC_ICACHECNF = 1U;
    uart_init();
    eb_dwt_start();
}

/* The event is cleared before the byte is taken: the next one in the FIFO raises it again. */
int32_t eb_port_read(void)
{
    if (UART_RXDRDY == 0U) {
        return -1;
    }
    UART_RXDRDY = 0U;
    return (int32_t)(UART_RXD & 0xFFU);
}

void eb_port_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        UART_TXDRDY = 0U;
        UART_TXD = bytes[i];
        while (UART_TXDRDY == 0U) {
        }
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
