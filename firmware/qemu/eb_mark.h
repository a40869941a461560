/* A mark that eb_count.c sees: a hint without a meaning, which does nothing on any CPU. */
#ifndef EB_MARK_H
#define EB_MARK_H

#define EB_MARK() __asm volatile("hint #127")
#define EB_MARK_CODE UINT32_C(0xD5032FFF)

#endif /* EB_MARK_H */
