/* Start-up code for every Cortex-M: vector table, Reset_Handler, faults. */
#include "eb_startup.h"

#define SCB_VTOR (*(volatile uint32_t *)UINT32_C(0xE000ED08))
#define SCB_CCR (*(volatile uint32_t *)UINT32_C(0xE000ED14))
#define CCR_LOB (UINT32_C(1) << 19) /* cores with Helium keep loops between their ends */
#define SCB_CPACR (*(volatile uint32_t *)UINT32_C(0xE000ED88))
#define CPACR_CP10_CP11_FULL (UINT32_C(0xF) << 20)

/* Bytes below the stack pointer that painting leaves alone: its own frame. */
#define OWN_FRAME_BYTES 64U

/* What runs or is written in RAM but is stored in flash: variables, and what a profile places. */
typedef struct {
    const uint32_t *from;
    uint32_t *to;
    uint32_t *end;
} copy;

extern const copy __copy_table[], __copy_table_end[];
extern uint32_t __bss_start[], __bss_end[];

int main(void);
void Reset_Handler(void);
void Default_Handler(void);

#define WEAK_HANDLER __attribute__((weak, alias("Default_Handler")))
void NMI_Handler(void) WEAK_HANDLER;
void HardFault_Handler(void) WEAK_HANDLER;
void MemManage_Handler(void) WEAK_HANDLER;
void BusFault_Handler(void) WEAK_HANDLER;
void UsageFault_Handler(void) WEAK_HANDLER;
void SecureFault_Handler(void) WEAK_HANDLER;
void SVC_Handler(void) WEAK_HANDLER;
void DebugMon_Handler(void) WEAK_HANDLER;
void PendSV_Handler(void) WEAK_HANDLER;
void SysTick_Handler(void) WEAK_HANDLER;

typedef union {
    const uint32_t *stack;
    void (*handler)(void);
    uintptr_t zero;
} vector;

extern const vector eb_vectors[16];
__attribute__((section(".vectors"), used)) const vector eb_vectors[16] = {
    { .stack = __stack_top },
    { .handler = Reset_Handler },
    { .handler = NMI_Handler },
    { .handler = HardFault_Handler },
    { .handler = MemManage_Handler },
    { .handler = BusFault_Handler },
    { .handler = UsageFault_Handler },
    { .handler = SecureFault_Handler },
    { .zero = 0U },
    { .zero = 0U },
    { .zero = 0U },
    { .handler = SVC_Handler },
    { .handler = DebugMon_Handler },
    { .zero = 0U },
    { .handler = PendSV_Handler },
    { .handler = SysTick_Handler },
};

volatile eb_fault_record eb_fault_info;

__attribute__((weak)) void eb_memory_init(void)
{
}

static uint32_t *stack_pointer(void)
{
    uint32_t *sp;
    __asm volatile("mov %0, sp" : "=r"(sp));
    return sp;
}

/* Apart from Reset_Handler: with Helium the compiler may use vector registers in here. */
__attribute__((noinline)) static void prepare_ram(void)
{
    for (const copy *c = __copy_table; c < __copy_table_end; c++) {
        const uint32_t *from = c->from;
        for (uint32_t *to = c->to; to < c->end; to++) {
            *to = *from++;
        }
    }
    for (uint32_t *to = __bss_start; to < __bss_end; to++) {
        *to = 0U;
    }
    uint32_t *const end = stack_pointer() - OWN_FRAME_BYTES / sizeof(uint32_t);
    for (volatile uint32_t *p = __ram_free; p < end; p++) {
        *p = EB_STACK_PATTERN;
    }
}

void Reset_Handler(void)
{
#if !defined(__ARM_ARCH_6M__) /* Cortex-M0 has no VTOR */
    SCB_VTOR = (uint32_t)(uintptr_t)eb_vectors;
#endif
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    SCB_CPACR |= CPACR_CP10_CP11_FULL;
#if defined(__ARM_FEATURE_MVE)
    SCB_CCR |= CCR_LOB;
#endif
    __asm volatile("dsb\n\tisb" ::: "memory");
#endif
    eb_memory_init();
    prepare_ram();
    __asm volatile("dsb\n\tisb" ::: "memory"); /* code may have been copied */
    (void)main();
    for (;;) {
    }
}

uint32_t eb_stack_high_water(void)
{
    const volatile uint32_t *p = __ram_free;
    while (p < __stack_top && *p == EB_STACK_PATTERN) {
        p++;
    }
    return (uint32_t)((uintptr_t)__stack_top - (uintptr_t)p);
}

/* Passes the exception frame, which the core has pushed on the main stack. */
__attribute__((naked)) void Default_Handler(void)
{
    __asm volatile("mov r0, sp\n\t"
                   "ldr r1, =eb_fault\n\t"
                   "bx r1\n\t"
                   ".ltorg");
}

__attribute__((used)) void eb_fault(const uint32_t *frame)
{
    uint32_t exception;
    __asm volatile("mrs %0, ipsr" : "=r"(exception));
    eb_fault_info.exception = exception;
    eb_fault_info.lr = frame[5];
    eb_fault_info.pc = frame[6];
    for (;;) {
    }
}
