/* Second-stage boot loader of the RP2040, in the first 252 bytes of flash; a CRC-32 follows.
 *
 * The boot ROM copies it to SRAM and enters it at its start. It makes the SSI read the flash in
 * place, and starts the program behind it as a reset would. There are two ways to read:
 *   serial  command 03h, which every flash knows, at a quarter of the system clock (31 MHz at
 *           125 MHz; 03h goes to 50 MHz): 64 clocks of the flash, 256 cycles of the core a word;
 *   quad    command EBh at half of the system clock. Mode bits A0h leave the command out of all
 *           further reads: 8 clocks of address and mode, 4 to wait, 8 of data: 40 cycles a word.
 *
 * Quad reads need the flash's Quad Enable, bit 1 of status register 2. Where it is 0, it is set
 * until power is lost (50h, then 01h with both registers, all other bits as they are). Nothing here
 * waits for an answer of the flash, so none is needed: the sum of the 64 words behind this loader
 * is taken both ways, and unless the sums agree and Quad Enable is set, reads stay serial.
 *
 * Assembled ahead into rp2040_boot2.h, so that no build needs an assembler. After a change:
 *   arm-none-eabi-gcc -mcpu=cortex-m0plus -c rp2040_boot2.S -o boot2.o
 *   arm-none-eabi-objcopy -O binary -j .text boot2.o boot2.bin
 * and pad with zeros to 252 bytes; CRC-32: polynomial 04C11DB7h, start FFFFFFFFh, not reflected,
 * not inverted, little-endian. tests/unit/devices/test_ports.py checks bytes and checksum, and
 * test_boot2.py the sequence, against a model of SSI and flash.
 * Registers: RP2040 datasheet, "SSI" and "Pads"; commands: Winbond W25Q16JV datasheet. */
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
    .equ SR_DONE, 0x0E              /* idle, all sent, something received */
    .equ QUAD_ENABLE, 2
    .equ VTOR, 0xE000ED08

    /* r3: SSI; r4: the sum as it was read serially */
    movs r3, #0x18
    lsls r3, r3, #24
    movs r0, #0
    str r0, [r3, #SSI_ENR]          /* off while it is set up */
    movs r0, #1                     /* sample data a cycle later: half of the system clock asks it */
    movs r1, #SSI_RX_SAMPLE_DLY
    str r0, [r3, r1]
    bl serial
    bl sum
    mov r4, r0

    movs r0, #7
    lsls r0, r0, #16                /* frames of 8 bits, both ways at once */
    bl setup
    bl read_status_2
    movs r2, #QUAD_ENABLE
    tst r0, r2
    bne quad
    orrs r2, r0                     /* status register 2 as it shall be */
    movs r0, #0x05
    bl send                         /* status register 1 as it is */
    mov r1, r0
    movs r0, #0x50                  /* write what comes next until power is lost */
    str r0, [r3, #SSI_DR0]
    bl wait
    movs r0, #0x01
    bl send
    bl read_status_2
    lsls r0, r0, #30                /* Quad Enable to the sign */
    bpl stay_serial

quad:
    ldr r0, =0x40020000             /* pads of the flash */
    movs r1, #0x21                  /* its clock: 8 mA, fast edges */
    str r1, [r0, #0x04]
    ldr r1, =0x00002221             /* command serial; address, mode on four lines; 4 clocks idle */
    bl quad_setup
    movs r0, #0xEB
    str r0, [r3, #SSI_DR0]
    movs r0, #0xA0                  /* address 0 and mode A0h */
    str r0, [r3, #SSI_DR0]
    bl wait
    ldr r1, =0xA0002022             /* no command; the address, then A0h, on four lines */
    bl quad_setup
    bl sum
    cmp r0, r4
    beq start
    ldr r1, =0xFF002022             /* mode FFh: what follows this read begins with a command */
    bl quad_setup
    ldr r0, [r6]
stay_serial:
    bl serial

start:
    ldr r0, =0x10000100             /* the vector table, behind this loader */
    ldr r1, =VTOR
    str r0, [r1]
    ldmia r0!, {r1, r2}
    msr msp, r1
    bx r2

quad_setup:                         /* r1: as in setup */
    ldr r0, =0x005F0300             /* four data lines, 32-bit frames; command, then read */
    movs r2, #2
    b setup
serial:
    ldr r0, =0x001F0300             /* one data line, 32-bit frames; command, then read */
    ldr r1, =0x03000218             /* command 03h: 8 bits, 24 bits of address, all serial */
    movs r2, #4
setup:                              /* r0: CTRLR0, r1: SPI_CTRLR0, r2: divider of the clock */
    movs r7, #0
    str r7, [r3, #SSI_ENR]
    str r7, [r3, #SSI_CTRLR1]       /* one frame for each read */
    str r2, [r3, #SSI_BAUDR]
    str r0, [r3, #SSI_CTRLR0]
    movs r7, #SSI_SPI_CTRLR0
    str r1, [r3, r7]
    movs r7, #1
    str r7, [r3, #SSI_ENR]
    bx lr

sum:                                /* r0: of 64 words, past the cache; r2 stays, r6: behind them */
    ldr r6, =0x13000100
    movs r0, #0
    movs r1, #64
1:  ldmia r6!, {r5}
    adds r0, r0, r5
    subs r1, r1, #1
    bne 1b
    bx lr

read_status_2:
    movs r0, #0x35
send:                               /* bytes r0, r1, r2; r0: the answer to the last; r1, r2 stay */
    str r0, [r3, #SSI_DR0]
    str r1, [r3, #SSI_DR0]
    str r2, [r3, #SSI_DR0]
wait:
    ldr r0, [r3, #SSI_SR]
    cmp r0, #SR_DONE
    bne wait
    ldr r0, [r3, #SSI_DR0]          /* those that are not there read as anything */
    ldr r0, [r3, #SSI_DR0]
    ldr r0, [r3, #SSI_DR0]
    bx lr
    .ltorg
