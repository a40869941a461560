/* Which of AArch64's instructions for int8 the NEON kernels use; decided when it is first asked.
 *
 * Later sets include the earlier ones. Every set gives the same bytes. */
#ifndef EB_NEON_ISA_H
#define EB_NEON_ISA_H

typedef enum {
    EB_ISA_BASE = 0,    /* Armv8.0-A: Advanced SIMD */
    EB_ISA_DOTPROD = 1, /* SDOT */
    EB_ISA_I8MM = 2     /* SMMLA */
} eb_isa;

/* The set in use: the best that the CPU has, or what eb_isa_use was told. */
eb_isa eb_isa_used(void);

/* The best that the CPU has, as the operating system reports it. */
eb_isa eb_isa_best(void);

/* Use `isa` from now on. Returns 0, or -1 when the CPU lacks it and nothing is changed. */
int eb_isa_use(eb_isa isa);

#endif /* EB_NEON_ISA_H */
