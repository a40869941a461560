/* Second-stage boot loader of the RP2040, in the first 252 bytes of flash; a CRC-32 follows.
 *
 * The boot ROM copies it to SRAM and enters it at its start. It makes the SSI read the flash in
 * place, and starts the program behind it as a reset would.
 *
 * Two ways to read, the first for every QSPI flash, the second for those that show they can:
 *   serial  command 03h, at a quarter of the system clock (31 MHz at 125 MHz; 03h goes to 50 MHz):
 *           64 flash clocks, 256 cycles of the core for a word;
 *   quad    command EBh with "continuous read" (mode bits A0h), which leaves the command out, at
 *           half of the system clock: 8 clocks of address and mode, 4 to wait, 8 of data, 40 cycles.
 *
 * Quad reads need the flash's Quad Enable: bit 1 of status register 2 (Winbond's layout). Where it
 * is 0, it is set until power is lost (50h, then 01h with both registers, other bits as they are).
 * No step waits for the flash. Two words behind this loader are read both ways; only if they agree
 * and Quad Enable is set does the flash stay in quad mode, else all goes back to serial.
 *
 * Assembled ahead into rp2040_boot2.h, so that no build needs an assembler. After a change:
 *   arm-none-eabi-gcc -mcpu=cortex-m0plus -c rp2040_boot2.S -o boot2.o
 *   arm-none-eabi-objcopy -O binary -j .text boot2.o boot2.bin
 * and pad with zeros to 252 bytes; CRC-32: polynomial 04C11DB7h, start FFFFFFFFh, not reflected,
 * not inverted, little-endian. tests/unit/devices/test_ports.py checks bytes and checksum,
 * test_boot2.py the sequence, against a model of the flash.
 * Registers: RP2040 datasheet, "SSI" and "Pads: QSPI bank"; flash: Winbond W25Q16JV datasheet. */
    .syntax unified
    .cpu cortex-m0plus
    .thumb
    .text

    .equ SSI_CTRLR0, 0x00
    .equ SSI_CTRLR1, 0x04
    .equ SSI_ENR, 0x08
    .equ SSI_BAUDR, 0x14
    .equ SSI_SR, 0x28
    .equ SSI_DR0, 0x60
    .equ SSI_RX_SAMPLE_DLY, 0xF0
    .equ SSI_SPI_CTRLR0, 0xF4
    .equ SR_TX_EMPTY_OR_BUSY, 5     /* bits 2 and 0; 4 alone: sent, and idle */
    .equ QUAD_ENABLE, 2
    .equ VTOR, 0xE000ED08

    /* Throughout: r3 SSI, r4 where the program is read uncached, r5 and r6 its first two words. */
    ldr r3, =0x18000000
    ldr r4, =0x13000100
    bl serial
    ldr r5, [r4]
    ldr r6, [r4, #4]

    ldr r0, =0x00070000             /* frames of 8 bits both ways, for commands */
    bl configure
    bl read_status_2
    movs r2, #QUAD_ENABLE
    tst r0, r2
    bne try_quad
    orrs r2, r0
    movs r0, #0x05                  /* status register 1, to be written as it is */
    bl read_status
    movs r1, #0x50                  /* what is written next is volatile */
    str r1, [r3, #SSI_DR0]
    bl finish
    movs r1, #0x01
    str r1, [r3, #SSI_DR0]
    str r0, [r3, #SSI_DR0]
    str r2, [r3, #SSI_DR0]
    bl finish
    ldr r0, =0x00070000             /* again: drops what was received */
    bl configure
    bl read_status_2
    movs r2, #QUAD_ENABLE
    tst r0, r2
    beq back_to_serial

try_quad:
    ldr r0, =0x40020000             /* QSPI pads */
    movs r1, #0x21                  /* clock: 8 mA, fast edges */
    str r1, [r0, #0x04]
    movs r2, #0                     /* disabled while it is set up */
    str r2, [r3, #SSI_ENR]
    movs r1, #2
    movs r0, #1                     /* sample a cycle later */
    bl timing
    ldr r0, =0x005F0300             /* four data lines, 32-bit frames */
    ldr r1, =0x00002221             /* serial command, quad address and mode; 4 clocks to wait */
    bl configure_both
    movs r0, #0xEB
    str r0, [r3, #SSI_DR0]
    movs r0, #0xA0                  /* address 0; mode bits: no command from now on */
    str r0, [r3, #SSI_DR0]
    bl finish
    ldr r0, =0x005F0300
    ldr r1, =0xA0002022             /* no command; address and mode A0h quad */
    bl configure_both
    ldr r0, [r4]
    cmp r0, r5
    bne leave_quad
    ldr r0, [r4, #4]
    cmp r0, r6
    beq start

leave_quad:                         /* mode FFh: the next transfer begins with a command again */
    ldr r0, =0x005F0300
    ldr r1, =0xFF002022
    bl configure_both
    ldr r0, [r4]
back_to_serial:
    bl serial

start:
    ldr r0, =0x10000100             /* the vector table, behind this loader */
    ldr r1, =VTOR
    str r0, [r1]
    ldmia r0!, {r1, r2}
    msr msp, r1
    bx r2

serial:                             /* a quarter of the clock, one line, command 03h */
    mov r7, lr
    movs r2, #0
    str r2, [r3, #SSI_ENR]
    movs r1, #4
    movs r0, #0
    bl timing
    ldr r0, =0x001F0300             /* one data line, 32-bit frames, mode: command, then read */
    ldr r1, =0x03000218             /* 8 bits of command, 24 of address, all serial */
    mov lr, r7
configure_both:                     /* r0: CTRLR0, r1: SPI_CTRLR0 */
    movs r2, #0
    str r2, [r3, #SSI_ENR]
    str r2, [r3, #SSI_CTRLR1]       /* one frame for each read */
    movs r2, #SSI_SPI_CTRLR0
    str r1, [r3, r2]
configure:                          /* r0: CTRLR0 */
    movs r1, #0
    str r1, [r3, #SSI_ENR]
    str r0, [r3, #SSI_CTRLR0]
    movs r1, #1
    str r1, [r3, #SSI_ENR]
    bx lr

timing:                             /* r1: divider, r0: delay of the sample */
    str r1, [r3, #SSI_BAUDR]
    movs r1, #SSI_RX_SAMPLE_DLY
    str r0, [r3, r1]
    bx lr

read_status_2:
    movs r0, #0x35
read_status:                        /* r0: command in, register out; r2 stays */
    str r0, [r3, #SSI_DR0]
    str r0, [r3, #SSI_DR0]
    mov r7, lr
    bl finish
    ldr r0, [r3, #SSI_DR0]
    ldr r0, [r3, #SSI_DR0]
    bx r7

finish:                             /* until all is sent; r0 and r2 stay */
    push {r0}
1:  ldr r0, [r3, #SSI_SR]
    movs r1, #SR_TX_EMPTY_OR_BUSY
    ands r0, r1
    cmp r0, #4
    bne 1b
    pop {r0}
    bx lr
    .ltorg
