/* RP2350: addresses, 150 MHz, image definition, cycle counter. Registers: RP2350 datasheet. */
#include "eb_dwt.h"

#define RESETS UINT32_C(0x40020000)
#define XOSC UINT32_C(0x40048000)
#define CLOCKS UINT32_C(0x40010000)
#define PLL_SYS UINT32_C(0x40050000)
#define IO_BANK0 UINT32_C(0x40028000)
#define PADS_BANK0 UINT32_C(0x40038000) /* the value written to a pad clears its isolation latch */
#define UART0 UINT32_C(0x40070000)

#define RESET_IO_BANK0 BIT(6)
#define RESET_PADS_BANK0 BIT(9)
#define RESET_PLL_SYS BIT(14)
#define RESET_UART0 BIT(26)

#define CLK_DIV_BY_1 BIT(16)
#define POSTDIV_1 UINT32_C(5) /* 1500 MHz / 10 = 150 MHz */
#define POSTDIV_2 UINT32_C(2)

#include "rp2350_flash.h"

#define fast_flash eb_rp2350_fast_flash

/* The smallest IMAGE_DEF: an executable, secure, Arm, RP2350; the vector table is at the start of
 * the image. A block loop of one block. */
__attribute__((section(".embedded_block"), used)) static const uint32_t image_def[] = {
    UINT32_C(0xFFFFDED3), /* start */
    UINT32_C(0x10210142), /* item IMAGE_TYPE, one word */
    UINT32_C(0x000001FF), /* last item; one word of items before it */
    UINT32_C(0x00000000), /* the next block is this one */
    UINT32_C(0xAB123579), /* end */
};

static void ticks_start(void)
{
    eb_dwt_start();
}

static uint32_t ticks_now(void)
{
    return eb_dwt_ticks();
}
