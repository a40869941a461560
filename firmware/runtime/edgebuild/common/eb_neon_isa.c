#include "eb_neon_isa.h"

#include <stdatomic.h>

#if defined(__linux__)
#include <sys/auxv.h>

/* Bits of the kernel's arm64 ABI; C libraries differ in which header names them. */
#define CAP_DOTPROD (1UL << 20) /* HWCAP_ASIMDDP */
#define CAP2_I8MM (1UL << 13)   /* HWCAP2_I8MM */

eb_isa eb_isa_best(void)
{
    if ((getauxval(AT_HWCAP) & CAP_DOTPROD) == 0UL) {
        return EB_ISA_BASE;
    }
    return (getauxval(AT_HWCAP2) & CAP2_I8MM) != 0UL ? EB_ISA_I8MM : EB_ISA_DOTPROD;
}
#else
eb_isa eb_isa_best(void)
{
    return EB_ISA_BASE;
}
#endif

#define UNDECIDED (-1)

/* Threads that ask at the same time come to the same answer. */
static atomic_int used = UNDECIDED;

eb_isa eb_isa_used(void)
{
    int isa = atomic_load_explicit(&used, memory_order_relaxed);
    if (isa == UNDECIDED) {
        isa = (int)eb_isa_best();
        atomic_store_explicit(&used, isa, memory_order_relaxed);
    }
    return (eb_isa)isa;
}

int eb_isa_use(eb_isa isa)
{
    if (isa > eb_isa_best()) {
        return -1;
    }
    atomic_store_explicit(&used, (int)isa, memory_order_relaxed);
    return 0;
}
