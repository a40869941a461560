/* RP2040: addresses, 125 MHz, second-stage boot loader, SysTick. Registers: RP2040 datasheet. */
#define RESETS UINT32_C(0x4000C000)
#define XOSC UINT32_C(0x40024000)
#define CLOCKS UINT32_C(0x40008000)
#define PLL_SYS UINT32_C(0x40028000)
#define IO_BANK0 UINT32_C(0x40014000)
#define PADS_BANK0 UINT32_C(0x4001C000)
#define UART0 UINT32_C(0x40034000)

#define RESET_IO_BANK0 BIT(5)
#define RESET_PADS_BANK0 BIT(8)
#define RESET_PLL_SYS BIT(12)
#define RESET_UART0 BIT(22)

#define CLK_DIV_BY_1 BIT(8)
#define POSTDIV_1 UINT32_C(6) /* 1500 MHz / 12 = 125 MHz */
#define POSTDIV_2 UINT32_C(2)

#include "rp2040_boot2.h"

/* The second stage has done it. */
static void fast_flash(void)
{
}

#define SYST_CSR REG(UINT32_C(0xE000E010))
#define SYST_RVR REG(UINT32_C(0xE000E014))
#define SYST_CVR REG(UINT32_C(0xE000E018))
#define SYST_CORE_CLOCK_INTERRUPT_ENABLED 7U
#define SYST_MASK UINT32_C(0x00FFFFFF)
#define SYST_BITS 24U

static volatile uint32_t wraps;

void SysTick_Handler(void);

/* Its 24 bits last 0.13 s only, so an interrupt counts how often they wrap. */
void SysTick_Handler(void)
{
    wraps++;
}

static void ticks_start(void)
{
    SYST_RVR = SYST_MASK;
    SYST_CVR = 0U;
    SYST_CSR = SYST_CORE_CLOCK_INTERRUPT_ENABLED;
}

/* SysTick counts down; the interrupt comes as it reaches 0, which here is tick 0 of a period. */
static uint32_t ticks_now(void)
{
    uint32_t before, now;
    do {
        before = wraps;
        now = SYST_CVR;
    } while (before != wraps);
    return (before << SYST_BITS) + ((0U - now) & SYST_MASK);
}
