/* Arm CMSDK UART and SysTick: the boards that QEMU emulates (MPS2, MPS3).
 *
 * EB_UART_BASE: address of the UART; EB_CLOCK_HZ: of the core and the UART. */
#include "eb_port.h"

#define REG(offset) (*(volatile uint32_t *)((uintptr_t)(EB_UART_BASE) + (offset)))
#define UART_DATA REG(0x00U)
#define UART_STATE REG(0x04U)
#define UART_CTRL REG(0x08U)
#define UART_BAUDDIV REG(0x10U)
#define STATE_TX_FULL 1U
#define STATE_RX_FULL 2U
#define CTRL_TX_RX_ENABLE 3U
#define BAUD 115200U

#define SYST_CSR (*(volatile uint32_t *)UINT32_C(0xE000E010))
#define SYST_RVR (*(volatile uint32_t *)UINT32_C(0xE000E014))
#define SYST_CVR (*(volatile uint32_t *)UINT32_C(0xE000E018))
#define SYST_CORE_CLOCK_ENABLED 5U
#define SYST_MASK UINT32_C(0x00FFFFFF)

void eb_port_init(void)
{
    UART_BAUDDIV = (uint32_t)(EB_CLOCK_HZ) / BAUD; /* at least 16 */
    UART_CTRL = CTRL_TX_RX_ENABLE;
    SYST_RVR = SYST_MASK;
    SYST_CVR = 0U;
    SYST_CSR = SYST_CORE_CLOCK_ENABLED;
}

int32_t eb_port_read(void)
{
    return (UART_STATE & STATE_RX_FULL) != 0U ? (int32_t)(UART_DATA & 0xFFU) : -1;
}

void eb_port_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while ((UART_STATE & STATE_TX_FULL) != 0U) {
        }
        UART_DATA = bytes[i];
    }
}

/* SysTick has 24 bits and counts down. */
uint32_t eb_port_ticks(void)
{
    static uint32_t ticks, last;
    const uint32_t now = SYST_CVR;
    ticks += (last - now) & SYST_MASK;
    last = now;
    return ticks;
}

uint32_t eb_port_ticks_hz(void)
{
    return (uint32_t)(EB_CLOCK_HZ);
}
