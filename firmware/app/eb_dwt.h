/* Ticks from the cycle counter of Cortex-M3 and up (DWT), for ports. Wraps at 2^32 cycles. */
#ifndef EB_DWT_H
#define EB_DWT_H

#include <stdint.h>

#define EB_DEMCR (*(volatile uint32_t *)UINT32_C(0xE000EDFC))
#define EB_DEMCR_TRCENA (UINT32_C(1) << 24)
#define EB_DWT_CTRL (*(volatile uint32_t *)UINT32_C(0xE0001000))
#define EB_DWT_CTRL_CYCCNTENA 1U
#define EB_DWT_CYCCNT (*(volatile uint32_t *)UINT32_C(0xE0001004))
#define EB_DWT_LAR (*(volatile uint32_t *)UINT32_C(0xE0001FB0))
#define EB_DWT_UNLOCK UINT32_C(0xC5ACCE55)

static inline void eb_dwt_start(void)
{
    EB_DEMCR |= EB_DEMCR_TRCENA;
    EB_DWT_LAR = EB_DWT_UNLOCK; /* Cortex-M7 has the lock; the others ignore the write */
    EB_DWT_CYCCNT = 0U;
    EB_DWT_CTRL |= EB_DWT_CTRL_CYCCNTENA;
}

static inline uint32_t eb_dwt_ticks(void)
{
    return EB_DWT_CYCCNT;
}

#endif /* EB_DWT_H */
