/* A plug-in of QEMU that counts how often each translated block ran, for exact instruction counts.
 *
 * Argument: out=PATH. There it writes "= " and how many instructions have run each time that a mark
 * (EB_MARK) runs, and at the end a line for each block: address, instructions, times. Threads must
 * not run at the same time, as the counters are not atomic. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eb_mark.h"

/* What it needs of QEMU's interface for plug-ins, version 1. */
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t id, void (*call)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb,
                                                     enum qemu_plugin_op op, void *at,
                                                     uint64_t add);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
                                           void (*call)(qemu_plugin_id_t, void *), void *context);
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *instruction,
                                                   void (*call)(unsigned int, void *),
                                                   enum qemu_plugin_cb_flags flags, void *context);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

typedef struct block {
    struct block *next;
    uint64_t address, instructions, times;
} block;

static block *blocks;
static FILE *file;

static void on_mark(unsigned int cpu, void *context)
{
    (void)cpu;
    (void)context;
    uint64_t total = 0;
    for (const block *b = blocks; b != NULL; b = b->next) {
        total += b->instructions * b->times;
    }
    (void)fprintf(file, "= %llu\n", (unsigned long long)total);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    block *const b = calloc(1, sizeof *b);
    if (b == NULL) {
        abort();
    }
    b->address = qemu_plugin_tb_vaddr(tb);
    b->instructions = qemu_plugin_tb_n_insns(tb);
    b->next = blocks;
    blocks = b;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &b->times, 1);
    for (size_t i = 0; i < b->instructions; i++) {
        struct qemu_plugin_insn *const instruction = qemu_plugin_tb_get_insn(tb, i);
        uint32_t code;
        memcpy(&code, qemu_plugin_insn_data(instruction), sizeof code);
        if (code == EB_MARK_CODE) {
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_mark, QEMU_PLUGIN_CB_NO_REGS,
                                                   NULL);
        }
    }
}

static void on_exit(qemu_plugin_id_t id, void *context)
{
    (void)id;
    (void)context;
    for (const block *b = blocks; b != NULL; b = b->next) {
        (void)fprintf(file, "%llx %llu %llu\n", (unsigned long long)b->address,
                      (unsigned long long)b->instructions, (unsigned long long)b->times);
    }
    (void)fclose(file);
}

__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0) {
        return -1;
    }
    file = fopen(argv[0] + 4, "w");
    if (file == NULL) {
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit, NULL);
    return 0;
}
