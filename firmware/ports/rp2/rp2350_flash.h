/* RP2350: reads of the flash on four lines. The boot ROM leaves the flash readable, with settings
 * that every chip stands; this makes them fast where the flash shows that it can.
 *
 * Command EBh with "continuous read" (mode bits A0h), which leaves the command out, at half of the
 * system clock. It needs the flash's Quad Enable, bit 1 of status register 2: where it is 0, it is
 * set until power is lost (50h, then 01h with both registers, all other bits as they are). Unless
 * the bit is set then, and the sum of 64 words read both ways is the same, the boot ROM's settings
 * stay. Runs from RAM, as there is no program to read while the flash takes commands.
 *
 * Registers: RP2350 datasheet, "QMI" and "QSPI pads"; commands: Winbond W25Q32JV datasheet. */
#define QMI UINT32_C(0x400D0000)
#define QMI_DIRECT_CSR REG(QMI + 0x00U)
#define QMI_DIRECT_TX REG(QMI + 0x04U)
#define QMI_DIRECT_RX REG(QMI + 0x08U)
#define QMI_M0_TIMING REG(QMI + 0x0CU)
#define QMI_M0_RFMT REG(QMI + 0x10U)
#define QMI_M0_RCMD REG(QMI + 0x14U)
#define DIRECT_ENABLE BIT(0)
#define DIRECT_BUSY BIT(1)
#define DIRECT_SELECT_FLASH BIT(6) /* while there is something to send */
#define DIRECT_CLOCK_BY_30 (UINT32_C(30) << 22)

#define TIMING_FAST ((UINT32_C(1) << 30) | (UINT32_C(2) << 8) | 2U) /* by 2, sampled a cycle later */
/* Four lines for the address, the mode, 16 bits of waiting and the data; before them a command. */
#define RFMT_QUAD ((2U << 2) | (2U << 4) | (2U << 6) | (2U << 8) | (2U << 14) | (UINT32_C(4) << 16))
#define RFMT_COMMAND BIT(12)
#define RCMD(mode) ((UINT32_C(mode) << 8) | 0xEBU)
#define MODE_CONTINUE 0xA0
#define MODE_LEAVE 0xFF

#define PADS_QSPI_SCLK REG(UINT32_C(0x40040004))
#define PAD_8_MA_FAST 0x21U
#define FLASH_UNCACHED UINT32_C(0x14000000)
#define QUAD_ENABLE BIT(1)

#define IN_RAM __attribute__((section(".ramfunc"), noinline))
#define INLINE static inline __attribute__((always_inline))

/* Sends `count` bytes, three at most; returns the answer to the last. */
INLINE uint32_t flash_command(const uint32_t byte0, uint32_t byte1, uint32_t byte2, uint32_t count)
{
    QMI_DIRECT_TX = byte0;
    if (count > 1U) {
        QMI_DIRECT_TX = byte1;
    }
    if (count > 2U) {
        QMI_DIRECT_TX = byte2;
    }
    while ((QMI_DIRECT_CSR & DIRECT_BUSY) != 0U) {
    }
    uint32_t answer = 0U;
    for (uint32_t i = 0; i < count; i++) {
        answer = QMI_DIRECT_RX;
    }
    return answer;
}

INLINE uint32_t flash_sum(void)
{
    uint32_t sum = 0U;
    for (uint32_t i = 0; i < 64U; i++) {
        sum += REG(FLASH_UNCACHED + 4U * i);
    }
    return sum;
}

INLINE uint32_t flash_quad_enabled(void)
{
    QMI_DIRECT_CSR = DIRECT_CLOCK_BY_30 | DIRECT_SELECT_FLASH | DIRECT_ENABLE;
    while ((QMI_DIRECT_CSR & DIRECT_BUSY) != 0U) {
    }
    uint32_t status2 = flash_command(0x35U, 0U, 0U, 2U);
    if ((status2 & QUAD_ENABLE) == 0U) {
        const uint32_t status1 = flash_command(0x05U, 0U, 0U, 2U);
        (void)flash_command(0x50U, 0U, 0U, 1U);
        (void)flash_command(0x01U, status1, status2 | QUAD_ENABLE, 3U);
        status2 = flash_command(0x35U, 0U, 0U, 2U);
    }
    QMI_DIRECT_CSR = DIRECT_CLOCK_BY_30;
    return status2 & QUAD_ENABLE;
}

void eb_rp2350_fast_flash(void);

IN_RAM void eb_rp2350_fast_flash(void)
{
    const uint32_t timing = QMI_M0_TIMING, format = QMI_M0_RFMT, command = QMI_M0_RCMD;
    if ((format & RFMT_COMMAND) == 0U) {
        return; /* reads are continuous already: the flash would take a command for an address */
    }
    const uint32_t sum = flash_sum();
    if (flash_quad_enabled() == 0U) {
        return;
    }
    PADS_QSPI_SCLK = PAD_8_MA_FAST;
    QMI_M0_TIMING = TIMING_FAST;
    QMI_M0_RCMD = RCMD(MODE_CONTINUE);
    QMI_M0_RFMT = RFMT_QUAD | RFMT_COMMAND;
    (void)REG(FLASH_UNCACHED);
    QMI_M0_RFMT = RFMT_QUAD;
    if (flash_sum() == sum) {
        return;
    }
    QMI_M0_RCMD = RCMD(MODE_LEAVE);
    (void)REG(FLASH_UNCACHED);
    QMI_M0_TIMING = timing;
    QMI_M0_RCMD = command;
    QMI_M0_RFMT = format;
}
