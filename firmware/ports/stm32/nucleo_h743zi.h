/* NUCLEO-H743ZI2: USART3 on PD8 and PD9, which the ST-LINK shows as a serial port.
 *
 * HSI 64 MHz / 10 * 125 / 2 = 400 MHz; the AXI bus runs at a half, the peripherals at a quarter.
 * 400 MHz is what every revision of the chip reaches at VOS1. Registers: ST RM0433. */
#include "eb_startup.h"

#define CLOCK_HZ UINT32_C(400000000)
#define UART_HZ (CLOCK_HZ / 4U)
#define BAUD_UNIT 1U

#define PWR_CSR1 UINT32_C(0x58024804)
#define PWR_CR3 UINT32_C(0x5802480C)
#define PWR_D3CR UINT32_C(0x58024818)
#define CSR1_ACTVOSRDY BIT(13)
#define CR3_LDO BIT(1) /* core supply from the LDO alone; the register can be written once */
#define D3CR_VOS1 (BIT(15) | BIT(14))
#define D3CR_VOSRDY BIT(13)

#define RCC_CR UINT32_C(0x58024400)
#define RCC_CFGR UINT32_C(0x58024410)
#define RCC_D1CFGR UINT32_C(0x58024418)
#define RCC_D2CFGR UINT32_C(0x5802441C)
#define RCC_D3CFGR UINT32_C(0x58024420)
#define RCC_PLLCKSELR UINT32_C(0x58024428)
#define RCC_PLLCFGR UINT32_C(0x5802442C)
#define RCC_PLL1DIVR UINT32_C(0x58024430)
#define RCC_D2CCIP2R UINT32_C(0x58024454)
#define RCC_AHB2ENR UINT32_C(0x580244DC)
#define RCC_AHB4ENR UINT32_C(0x580244E0)
#define RCC_APB1LENR UINT32_C(0x580244E8)
#define CR_HSION BIT(0)
#define CR_HSIRDY BIT(2)
#define CR_HSIDIV (BIT(4) | BIT(3))
#define CR_PLL1ON BIT(24)
#define CR_PLL1RDY BIT(25)
#define CFGR_SW_PLL1 UINT32_C(3)
#define CFGR_SWS UINT32_C(0x38)
#define CFGR_SWS_PLL1 UINT32_C(0x18)
#define D1CFGR_BUSES (8U | (4U << 4))          /* AXI and AHB by 2, APB3 by 2 more */
#define D2CFGR_BUSES ((4U << 4) | (4U << 8))   /* APB1 and APB2 by 2 */
#define D3CFGR_BUSES (4U << 4)                 /* APB4 by 2 */
#define PLLCKSELR_SETTING (10U << 4)           /* source HSI (0), M = 10: 6.4 MHz */
#define PLLCFGR_SETTING ((2U << 2) | BIT(16))  /* input 4 to 8 MHz, wide VCO, P on */
#define PLL1DIVR_SETTING (124U | (1U << 9) | (UINT32_C(1) << 16) | (UINT32_C(1) << 24))
#define D2CCIP2R_USART3 UINT32_C(7)            /* 0: the bus clock */

#define FLASH_ACR UINT32_C(0x52002000)
#define FLASH_AXI_200_MHZ (2U | (2U << 4)) /* two wait states, signal delay 2 */

#define SCB_CCR UINT32_C(0xE000ED14)
#define SCB_CCSIDR UINT32_C(0xE000ED80)
#define SCB_CSSELR UINT32_C(0xE000ED84)
#define SCB_ICIALLU UINT32_C(0xE000EF50)
#define SCB_DCISW UINT32_C(0xE000EF60)
#define CCR_DCACHE BIT(16)
#define CCR_ICACHE BIT(17)

#define GPIOD UINT32_C(0x58020C00)
#define USART3 UINT32_C(0x40004800)
#define UART_STATE REG(USART3 + 0x1CU)
#define UART_RX REG(USART3 + 0x24U)
#define UART_TX REG(USART3 + 0x28U)
#define UART_BRR REG(USART3 + 0x0CU)
#define UART_CR1 REG(USART3)
#define UART_CR3 REG(USART3 + 0x08U)
#define CR3_OVRDIS BIT(12)
#define CR1_ENABLE (BIT(0) | BIT(3) | BIT(2)) /* UE, TE, RE */

#define AHB2ENR_SRAM_1_TO_3 (UINT32_C(7) << 29)

/* RM0433: the RAM of domain 2 has no clock after reset. */
void eb_memory_init(void)
{
    REG(RCC_AHB2ENR) |= AHB2ENR_SRAM_1_TO_3;
    (void)REG(RCC_AHB2ENR); /* it is there two cycles of the bus later */
}

static void barrier(void)
{
    __asm volatile("dsb\n\tisb" ::: "memory");
}

/* After reset their content is random, so both are invalidated first (Cortex-M7 user guide). */
static void caches_init(void)
{
    if ((REG(SCB_CCR) & CCR_DCACHE) != 0U) {
        return; /* by a boot loader: what is in there must not be lost */
    }
    REG(SCB_ICIALLU) = 0U;
    REG(SCB_CSSELR) = 0U;
    barrier();
    const uint32_t size = REG(SCB_CCSIDR);
    const uint32_t sets = (size >> 13) & 0x7FFFU, ways = (size >> 3) & 0x3FFU; /* less one */
    for (uint32_t set = 0; set <= sets; set++) {
        for (uint32_t way = 0; way <= ways; way++) {
            REG(SCB_DCISW) = (way << 30) | (set << 5); /* four ways, lines of 32 bytes */
        }
    }
    barrier();
    REG(SCB_CCR) |= CCR_DCACHE | CCR_ICACHE;
    barrier();
}

static void clock_init(void)
{
    REG(PWR_CR3) = CR3_LDO;
    wait_for(PWR_CSR1, CSR1_ACTVOSRDY, CSR1_ACTVOSRDY);
    REG(PWR_D3CR) |= D3CR_VOS1;
    wait_for(PWR_D3CR, D3CR_VOSRDY, D3CR_VOSRDY);
    REG(RCC_CR) = (REG(RCC_CR) & ~CR_HSIDIV) | CR_HSION;
    wait_for(RCC_CR, CR_HSIRDY, CR_HSIRDY);
    REG(RCC_CFGR) = 0U; /* HSI */
    wait_for(RCC_CFGR, CFGR_SWS, 0U);
    REG(RCC_CR) &= ~CR_PLL1ON;
    wait_for(RCC_CR, CR_PLL1RDY, 0U);
    REG(RCC_PLLCKSELR) = PLLCKSELR_SETTING;
    REG(RCC_PLLCFGR) = PLLCFGR_SETTING;
    REG(RCC_PLL1DIVR) = PLL1DIVR_SETTING;
    REG(RCC_CR) |= CR_PLL1ON;
    wait_for(RCC_CR, CR_PLL1RDY, CR_PLL1RDY);
    REG(FLASH_ACR) = FLASH_AXI_200_MHZ;
    wait_for(FLASH_ACR, UINT32_C(0x3F), FLASH_AXI_200_MHZ);
    REG(RCC_D1CFGR) = D1CFGR_BUSES;
    REG(RCC_D2CFGR) = D2CFGR_BUSES;
    REG(RCC_D3CFGR) = D3CFGR_BUSES;
    REG(RCC_CFGR) = CFGR_SW_PLL1;
    wait_for(RCC_CFGR, CFGR_SWS, CFGR_SWS_PLL1);
}

static void board_init(void)
{
    clock_init();
    caches_init();
    REG(RCC_D2CCIP2R) &= ~D2CCIP2R_USART3;
    enable(RCC_AHB4ENR, BIT(3));   /* GPIOD */
    enable(RCC_APB1LENR, BIT(18)); /* USART3 */
    UART_CR3 = CR3_OVRDIS;
    use_pin(GPIOD, 8, 7);
    use_pin(GPIOD, 9, 7);
}
