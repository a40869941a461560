/* RP2040 and RP2350: UART0 on GP0 and GP1, clocks from the 12 MHz crystal.
 *
 * EB_RP2350, or none for the RP2040. What differs is in the chip's header: addresses, reset bits,
 * the clock, what the boot ROM wants to find, and the tick counter. */
#include <stddef.h>

#include "eb_port.h"

#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define BIT(n) (UINT32_C(1) << (n))

#ifdef EB_RP2350
#include "rp2350.h"
#else
#include "rp2040.h"
#endif

/* Writes to these aliases of a register set or clear the bits that are 1. */
#define SET_BITS UINT32_C(0x2000)
#define CLEAR_BITS UINT32_C(0x3000)

#define RESETS_RESET_DONE (RESETS + 0x08U)

#define XOSC_CTRL (XOSC + 0x00U)
#define XOSC_STATUS (XOSC + 0x04U)
#define XOSC_STARTUP (XOSC + 0x0CU)
#define XOSC_ENABLE_1_TO_15_MHZ UINT32_C(0xFABAA0)
#define XOSC_STABLE BIT(31)
#define XOSC_STARTUP_5_MS 235U /* in units of 256 periods */

#define CLK_REF_CTRL (CLOCKS + 0x30U)
#define CLK_REF_DIV (CLOCKS + 0x34U)
#define CLK_REF_SELECTED (CLOCKS + 0x38U)
#define CLK_SYS_CTRL (CLOCKS + 0x3CU)
#define CLK_SYS_DIV (CLOCKS + 0x40U)
#define CLK_SYS_SELECTED (CLOCKS + 0x44U)
#define CLK_PERI_CTRL (CLOCKS + 0x48U)
#define CLK_REF_XOSC 2U
#define CLK_SYS_AUX 1U /* whose source 0 is PLL_SYS */
#define CLK_PERI_ENABLE BIT(11) /* source 0: clk_sys */

#define PLL_CS (PLL_SYS + 0x0U)
#define PLL_PWR (PLL_SYS + 0x4U)
#define PLL_FBDIV (PLL_SYS + 0x8U)
#define PLL_PRIM (PLL_SYS + 0xCU)
#define PLL_LOCK BIT(31)
#define PWR_PD BIT(0)
#define PWR_POSTDIVPD BIT(3)
#define PWR_VCOPD BIT(5)
#define VCO_MULTIPLE 125U /* 12 MHz * 125 = 1500 MHz */
#define CLOCK_HZ (UINT32_C(12000000) * VCO_MULTIPLE / (POSTDIV_1 * POSTDIV_2))

#define TX_PIN 0U
#define RX_PIN 1U
#define GPIO_CTRL(pin) REG(IO_BANK0 + 0x04U + 8U * (pin))
#define PAD(pin) REG(PADS_BANK0 + 0x04U + 4U * (pin))
#define FUNCTION_UART 2U
#define PAD_SCHMITT BIT(1)
#define PAD_PULL_UP BIT(3)
#define PAD_DRIVE_4_MA BIT(4)
#define PAD_INPUT BIT(6)

#define UART_DR REG(UART0 + 0x00U)
#define UART_FR REG(UART0 + 0x18U)
#define UART_IBRD REG(UART0 + 0x24U)
#define UART_FBRD REG(UART0 + 0x28U)
#define UART_LCR_H REG(UART0 + 0x2CU)
#define UART_CR REG(UART0 + 0x30U)
#define FR_RX_EMPTY BIT(4)
#define FR_TX_FULL BIT(5)
#define LCR_8_BITS_FIFO (BIT(6) | BIT(5) | BIT(4))
#define CR_ENABLE (BIT(9) | BIT(8) | BIT(0))
#define BAUD 115200U
/* In 64ths of sixteen clocks, rounded. */
#define DIVISOR ((uint32_t)((UINT64_C(8) * CLOCK_HZ / BAUD + 1U) / 2U))

static void wait_for(uint32_t address, uint32_t mask)
{
    while ((REG(address) & mask) != mask) {
    }
}

static void leave_reset(uint32_t bits)
{
    REG(RESETS + SET_BITS) = bits;
    REG(RESETS + CLEAR_BITS) = bits;
    wait_for(RESETS_RESET_DONE, bits);
}

static void pll_init(void)
{
    leave_reset(RESET_PLL_SYS);
    REG(PLL_CS) = 1U; /* reference divided by 1 */
    REG(PLL_FBDIV) = VCO_MULTIPLE;
    REG(PLL_PWR + CLEAR_BITS) = PWR_PD | PWR_VCOPD;
    wait_for(PLL_CS, PLL_LOCK);
    REG(PLL_PRIM) = (POSTDIV_1 << 16) | (POSTDIV_2 << 12);
    REG(PLL_PWR + CLEAR_BITS) = PWR_POSTDIVPD;
}

static void clock_init(void)
{
    REG(XOSC_STARTUP) = XOSC_STARTUP_5_MS;
    REG(XOSC_CTRL) = XOSC_ENABLE_1_TO_15_MHZ;
    wait_for(XOSC_STATUS, XOSC_STABLE);
    REG(CLK_SYS_CTRL + CLEAR_BITS) = CLK_SYS_AUX; /* to clk_ref, off the PLL that is reset next */
    wait_for(CLK_SYS_SELECTED, BIT(0));
    REG(CLK_REF_CTRL) = CLK_REF_XOSC;
    wait_for(CLK_REF_SELECTED, BIT(CLK_REF_XOSC));
    REG(CLK_REF_DIV) = CLK_DIV_BY_1;
    pll_init();
    REG(CLK_SYS_DIV) = CLK_DIV_BY_1;
    REG(CLK_SYS_CTRL) = 0U; /* the auxiliary source first, the switch to it after */
    REG(CLK_SYS_CTRL + SET_BITS) = CLK_SYS_AUX;
    wait_for(CLK_SYS_SELECTED, BIT(CLK_SYS_AUX));
    REG(CLK_PERI_CTRL) = CLK_PERI_ENABLE;
}

static void uart_init(void)
{
    leave_reset(RESET_IO_BANK0 | RESET_PADS_BANK0 | RESET_UART0);
    PAD(TX_PIN) = PAD_SCHMITT | PAD_DRIVE_4_MA | PAD_INPUT;
    PAD(RX_PIN) = PAD_SCHMITT | PAD_DRIVE_4_MA | PAD_INPUT | PAD_PULL_UP;
    GPIO_CTRL(TX_PIN) = FUNCTION_UART;
    GPIO_CTRL(RX_PIN) = FUNCTION_UART;
    UART_IBRD = DIVISOR >> 6;
    UART_FBRD = DIVISOR & 63U;
    UART_LCR_H = LCR_8_BITS_FIFO; /* takes the divisor over */
    UART_CR = CR_ENABLE;
}

void eb_port_init(void)
{
    clock_init();
    fast_flash();
    uart_init();
    ticks_start();
}

int32_t eb_port_read(void)
{
    return (UART_FR & FR_RX_EMPTY) == 0U ? (int32_t)(UART_DR & 0xFFU) : -1;
}

void eb_port_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while ((UART_FR & FR_TX_FULL) != 0U) {
        }
        UART_DR = bytes[i];
    }
}

uint32_t eb_port_ticks(void)
{
    return ticks_now();
}

uint32_t eb_port_ticks_hz(void)
{
    return CLOCK_HZ;
}
