/* NUCLEO-L4R5ZI: LPUART1 on PG7 and PG8, which the ST-LINK shows as a serial port.
 *
 * HSI 16 MHz / 4 * 60 / 2 = 120 MHz for the core and every bus.
 * Registers: ST RM0432. */
#define CLOCK_HZ UINT32_C(120000000)
#define UART_HZ CLOCK_HZ
#define BAUD_UNIT 256U /* an LPUART divides in 256ths */

#define PWR_CR1 UINT32_C(0x40007000)
#define PWR_CR2 UINT32_C(0x40007004)
#define PWR_SR2 UINT32_C(0x40007014)
#define PWR_CR5 UINT32_C(0x40007080)
#define CR1_VOS (BIT(10) | BIT(9))
#define CR1_VOS_RANGE_1 BIT(9)
#define CR2_IOSV BIT(9) /* VDDIO2, which feeds PG2 to PG15, is there */
#define SR2_VOSF BIT(10)
#define CR5_R1MODE BIT(8) /* 0: boost */

#define RCC_CR UINT32_C(0x40021000)
#define RCC_CFGR UINT32_C(0x40021008)
#define RCC_PLLCFGR UINT32_C(0x4002100C)
#define RCC_AHB2ENR UINT32_C(0x4002104C)
#define RCC_APB1ENR1 UINT32_C(0x40021058)
#define RCC_APB1ENR2 UINT32_C(0x4002105C)
#define RCC_CCIPR UINT32_C(0x40021088)
#define CR_HSION BIT(8)
#define CR_HSIRDY BIT(10)
#define CR_PLLON BIT(24)
#define CR_PLLRDY BIT(25)
#define CFGR_SW UINT32_C(3)
#define CFGR_SW_HSI UINT32_C(1)
#define CFGR_SW_PLL UINT32_C(3)
#define CFGR_SWS UINT32_C(0xC)
#define CFGR_SWS_HSI UINT32_C(0x4)
#define CFGR_SWS_PLL UINT32_C(0xC)
#define CFGR_AHB UINT32_C(0xF0)
#define CFGR_AHB_BY_2 UINT32_C(0x80)
#define CCIPR_LPUART1 (BIT(11) | BIT(10)) /* 0: the bus clock */
/* source HSI16, M = 4 (coded 3), N = 60, R = 2 (coded 0) and its output on */
#define PLL_SETTING (2U | (3U << 4) | (60U << 8) | BIT(24))
#define SETTLE_LOOPS 200U /* of several cycles at 60 MHz: more than the 1 us that is asked for */

#define FLASH_ACR UINT32_C(0x40022000)
#define FLASH_CACHES (BIT(8) | BIT(9) | BIT(10)) /* prefetch, instructions, data */
#define FLASH_WAIT_STATES 5U
#define FLASH_LATENCY UINT32_C(0xF)

#define GPIOG UINT32_C(0x48001800)
#define LPUART1 UINT32_C(0x40008000)
#define UART_STATE REG(LPUART1 + 0x1CU)
#define UART_RX REG(LPUART1 + 0x24U)
#define UART_TX REG(LPUART1 + 0x28U)
#define UART_BRR REG(LPUART1 + 0x0CU)
#define UART_CR1 REG(LPUART1)
#define UART_CR3 REG(LPUART1 + 0x08U)
#define CR3_OVRDIS BIT(12)
#define CR1_ENABLE (BIT(0) | BIT(3) | BIT(2)) /* UE, TE, RE */

/* Range 1 boost: the bus is halved while the clock steps up (RM0432, dynamic voltage scaling). */
static void clock_init(void)
{
    REG(RCC_CR) |= CR_HSION;
    wait_for(RCC_CR, CR_HSIRDY, CR_HSIRDY);
    REG(RCC_CFGR) = CFGR_SW_HSI;
    wait_for(RCC_CFGR, CFGR_SWS, CFGR_SWS_HSI);
    REG(RCC_CR) &= ~CR_PLLON;
    wait_for(RCC_CR, CR_PLLRDY, 0U);
    enable(RCC_APB1ENR1, BIT(28)); /* PWR */
    REG(PWR_CR1) = (REG(PWR_CR1) & ~CR1_VOS) | CR1_VOS_RANGE_1;
    wait_for(PWR_SR2, SR2_VOSF, 0U);
    REG(RCC_PLLCFGR) = PLL_SETTING;
    REG(RCC_CR) |= CR_PLLON;
    wait_for(RCC_CR, CR_PLLRDY, CR_PLLRDY);
    REG(RCC_CFGR) |= CFGR_AHB_BY_2;
    REG(PWR_CR5) &= ~CR5_R1MODE;
    REG(FLASH_ACR) = FLASH_CACHES | FLASH_WAIT_STATES;
    wait_for(FLASH_ACR, FLASH_LATENCY, FLASH_WAIT_STATES);
    REG(RCC_CFGR) = (REG(RCC_CFGR) & ~CFGR_SW) | CFGR_SW_PLL;
    wait_for(RCC_CFGR, CFGR_SWS, CFGR_SWS_PLL);
    for (volatile uint32_t i = 0; i < SETTLE_LOOPS; i++) {
    }
    REG(RCC_CFGR) &= ~CFGR_AHB;
}

static void board_init(void)
{
    clock_init();
    REG(PWR_CR2) |= CR2_IOSV;
    REG(RCC_CCIPR) &= ~CCIPR_LPUART1;
    enable(RCC_AHB2ENR, BIT(6));  /* GPIOG */
    enable(RCC_APB1ENR2, BIT(0)); /* LPUART1 */
    UART_CR3 = CR3_OVRDIS;
    use_pin(GPIOG, 7, 8);
    use_pin(GPIOG, 8, 8);
}
