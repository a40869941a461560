/* NUCLEO-F446RE: USART2 on PA2 and PA3, which the ST-LINK shows as a serial port.
 *
 * HSI 16 MHz / 8 * 180 / 2 = 180 MHz; the APB1 bus of the UART runs at a quarter.
 * Registers: ST RM0390. */
#define CLOCK_HZ UINT32_C(180000000)
#define UART_HZ (CLOCK_HZ / 4U)
#define BAUD_UNIT 1U

#define PWR_CR UINT32_C(0x40007000)
#define PWR_CSR UINT32_C(0x40007004)
#define PWR_VOS_SCALE_1 (BIT(15) | BIT(14))
#define PWR_OVERDRIVE BIT(16) /* ODEN, and ODRDY of CSR */
#define PWR_OVERDRIVE_SWITCH BIT(17)

#define RCC_CR UINT32_C(0x40023800)
#define RCC_PLLCFGR UINT32_C(0x40023804)
#define RCC_CFGR UINT32_C(0x40023808)
#define RCC_AHB1ENR UINT32_C(0x40023830)
#define RCC_APB1ENR UINT32_C(0x40023840)
#define CR_HSION BIT(0)
#define CR_HSIRDY BIT(1)
#define CR_PLLON BIT(24)
#define CR_PLLRDY BIT(25)
#define CFGR_SW_PLL UINT32_C(2)
#define CFGR_SWS UINT32_C(0xC)
#define CFGR_SWS_PLL UINT32_C(0x8)
#define CFGR_APB1_BY_4 (UINT32_C(5) << 10)
#define CFGR_APB2_BY_2 (UINT32_C(4) << 13)
/* M = 8, N = 180, P = 2 (coded 0), Q = 8, R = 2; source HSI (0) */
#define PLL_SETTING (8U | (180U << 6) | (UINT32_C(8) << 24) | (UINT32_C(2) << 28))

#define FLASH_ACR UINT32_C(0x40023C00)
#define FLASH_CACHES (BIT(8) | BIT(9) | BIT(10)) /* prefetch, instructions, data */
#define FLASH_WAIT_STATES 5U
#define FLASH_LATENCY UINT32_C(0xF)

#define GPIOA UINT32_C(0x40020000)
#define USART2 UINT32_C(0x40004400)
#define UART_STATE REG(USART2)
#define UART_RX REG(USART2 + 0x04U)
#define UART_TX REG(USART2 + 0x04U)
#define UART_BRR REG(USART2 + 0x08U)
#define UART_CR1 REG(USART2 + 0x0CU)
#define CR1_ENABLE (BIT(13) | BIT(3) | BIT(2)) /* UE, TE, RE */

/* The order is that of RM0390 "Entering Over-drive mode". */
static void clock_init(void)
{
    REG(RCC_CR) |= CR_HSION;
    wait_for(RCC_CR, CR_HSIRDY, CR_HSIRDY);
    REG(RCC_CFGR) = 0U; /* HSI */
    wait_for(RCC_CFGR, CFGR_SWS, 0U);
    REG(RCC_CR) &= ~CR_PLLON;
    wait_for(RCC_CR, CR_PLLRDY, 0U);
    enable(RCC_APB1ENR, BIT(28)); /* PWR */
    REG(PWR_CR) |= PWR_VOS_SCALE_1;
    REG(RCC_PLLCFGR) = PLL_SETTING;
    REG(RCC_CR) |= CR_PLLON;
    REG(PWR_CR) |= PWR_OVERDRIVE;
    wait_for(PWR_CSR, PWR_OVERDRIVE, PWR_OVERDRIVE);
    REG(PWR_CR) |= PWR_OVERDRIVE_SWITCH;
    wait_for(PWR_CSR, PWR_OVERDRIVE_SWITCH, PWR_OVERDRIVE_SWITCH);
    REG(FLASH_ACR) = FLASH_CACHES | FLASH_WAIT_STATES;
    wait_for(FLASH_ACR, FLASH_LATENCY, FLASH_WAIT_STATES);
    wait_for(RCC_CR, CR_PLLRDY, CR_PLLRDY);
    REG(RCC_CFGR) = CFGR_APB1_BY_4 | CFGR_APB2_BY_2;
    REG(RCC_CFGR) |= CFGR_SW_PLL;
    wait_for(RCC_CFGR, CFGR_SWS, CFGR_SWS_PLL);
}

static void board_init(void)
{
    clock_init();
    enable(RCC_AHB1ENR, BIT(0));  /* GPIOA */
    enable(RCC_APB1ENR, BIT(17)); /* USART2 */
    use_pin(GPIOA, 2, 7);
    use_pin(GPIOA, 3, 7);
}
