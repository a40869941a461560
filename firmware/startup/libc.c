/* memcpy, memmove and memset, for firmware that links no C library.
 *
 * Compiled with -fno-builtin, so that no loop here becomes a call of itself. Word copies are used
 * where both pointers have the same alignment; Cortex-M0 has no unaligned access. Four words go at
 * a time, but with -Os. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WORD sizeof(uint32_t)

/* uint32_t that may alias any object. */
typedef uint32_t __attribute__((may_alias)) word;

static int same_phase(const void *a, const void *b)
{
    return (((uintptr_t)a ^ (uintptr_t)b) & (WORD - 1U)) == 0U;
}

static void copy_up(uint8_t *to, const uint8_t *from, size_t n)
{
    if (n >= 2U * WORD && same_phase(to, from)) {
        while (((uintptr_t)to & (WORD - 1U)) != 0U) {
            *to++ = *from++;
            n--;
        }
#ifndef __OPTIMIZE_SIZE__
        for (; n >= 4U * WORD; n -= 4U * WORD) {
            const uint32_t a = ((const word *)(const void *)from)[0];
            const uint32_t b = ((const word *)(const void *)from)[1];
            const uint32_t c = ((const word *)(const void *)from)[2];
            const uint32_t d = ((const word *)(const void *)from)[3];
            ((word *)(void *)to)[0] = a;
            ((word *)(void *)to)[1] = b;
            ((word *)(void *)to)[2] = c;
            ((word *)(void *)to)[3] = d;
            to += 4U * WORD;
            from += 4U * WORD;
        }
#endif
        for (; n >= WORD; n -= WORD) {
            *(word *)(void *)to = *(const word *)(const void *)from;
            to += WORD;
            from += WORD;
        }
    }
    while (n-- > 0U) {
        *to++ = *from++;
    }
}

static void copy_down(uint8_t *to, const uint8_t *from, size_t n)
{
    to += n;
    from += n;
    if (n >= 2U * WORD && same_phase(to, from)) {
        while (((uintptr_t)to & (WORD - 1U)) != 0U) {
            *--to = *--from;
            n--;
        }
        for (; n >= WORD; n -= WORD) {
            to -= WORD;
            from -= WORD;
            *(word *)(void *)to = *(const word *)(const void *)from;
        }
    }
    while (n-- > 0U) {
        *--to = *--from;
    }
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    copy_up(to, from, n);
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    if ((uintptr_t)to - (uintptr_t)from >= n) { /* below `from`, or past its end */
        copy_up(to, from, n);
    } else {
        copy_down(to, from, n);
    }
    return to;
}

void *memset(void *to, int value, size_t n)
{
    uint8_t *p = to;
    const uint8_t byte = (uint8_t)value;
    if (n >= 2U * WORD) {
        const uint32_t four = byte * UINT32_C(0x01010101);
        while (((uintptr_t)p & (WORD - 1U)) != 0U) {
            *p++ = byte;
            n--;
        }
#ifndef __OPTIMIZE_SIZE__
        for (; n >= 4U * WORD; n -= 4U * WORD) {
            ((word *)(void *)p)[0] = four;
            ((word *)(void *)p)[1] = four;
            ((word *)(void *)p)[2] = four;
            ((word *)(void *)p)[3] = four;
            p += 4U * WORD;
        }
#endif
        for (; n >= WORD; n -= WORD) {
            *(word *)(void *)p = four;
            p += WORD;
        }
    }
    while (n-- > 0U) {
        *p++ = byte;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a;
    const uint8_t *y = b;
    for (; n > 0U; n--, x++, y++) {
        if (*x != *y) {
            return *x < *y ? -1 : 1;
        }
    }
    return 0;
}

#ifdef __arm__
/* What the Arm run-time ABI lets a compiler call instead (clang does). */
#define AEABI(name, type, parameters) \
    type __aeabi_##name parameters;   \
    type __aeabi_##name parameters

AEABI(memcpy, void, (void *to, const void *from, size_t n)) { copy_up(to, from, n); }
AEABI(memcpy4, void, (void *to, const void *from, size_t n)) { copy_up(to, from, n); }
AEABI(memcpy8, void, (void *to, const void *from, size_t n)) { copy_up(to, from, n); }
AEABI(memmove, void, (void *to, const void *from, size_t n)) { (void)memmove(to, from, n); }
AEABI(memmove4, void, (void *to, const void *from, size_t n)) { (void)memmove(to, from, n); }
AEABI(memmove8, void, (void *to, const void *from, size_t n)) { (void)memmove(to, from, n); }
AEABI(memset, void, (void *to, size_t n, int value)) { (void)memset(to, value, n); }
AEABI(memset4, void, (void *to, size_t n, int value)) { (void)memset(to, value, n); }
AEABI(memset8, void, (void *to, size_t n, int value)) { (void)memset(to, value, n); }
AEABI(memclr, void, (void *to, size_t n)) { (void)memset(to, 0, n); }
AEABI(memclr4, void, (void *to, size_t n)) { (void)memset(to, 0, n); }
AEABI(memclr8, void, (void *to, size_t n)) { (void)memset(to, 0, n); }
#endif
