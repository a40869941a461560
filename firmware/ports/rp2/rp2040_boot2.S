/* Second-stage boot loader of the RP2040, in the first 252 bytes of flash; a CRC-32 follows.
 *
 * The boot ROM copies it to SRAM and enters it at its start. It makes the SSI read the flash in
 * place with the serial command 03h, which every QSPI flash knows, at a quarter of the system clock
 * (31 MHz at 125 MHz; 03h goes to 50 MHz), and starts the program behind it as a reset would.
 *
 * Assembled ahead into rp2040_boot2.h, so that no build needs an assembler. After a change:
 *   arm-none-eabi-gcc -mcpu=cortex-m0plus -c rp2040_boot2.S -o boot2.o
 *   arm-none-eabi-objcopy -O binary -j .text boot2.o boot2.bin
 * and pad with zeros to 252 bytes; CRC-32: polynomial 04C11DB7h, start FFFFFFFFh, not reflected,
 * not inverted, little-endian. tests/unit/devices/test_ports.py checks bytes and checksum.
 * Registers: RP2040 datasheet, "SSI". */
    .syntax unified
    .cpu cortex-m0plus
    .thumb
    .text

    .equ SSI_CTRLR0, 0x00
    .equ SSI_CTRLR1, 0x04
    .equ SSI_ENR, 0x08
    .equ SSI_BAUDR, 0x14
    .equ VTOR, 0xE000ED08

    ldr r3, =0x18000000             /* SSI */
    movs r0, #0
    str r0, [r3, #SSI_ENR]          /* off while it is set up */
    movs r0, #4
    str r0, [r3, #SSI_BAUDR]
    ldr r0, =0x001F0300             /* one data line, 32-bit frames, mode: command, then read */
    str r0, [r3, #SSI_CTRLR0]
    movs r0, #0
    str r0, [r3, #SSI_CTRLR1]       /* one frame for each read */
    ldr r1, =0x180000F4             /* SPI_CTRLR0, beyond the reach of an offset */
    ldr r0, =0x03000218             /* command 03h: 8 bits, 24 bits of address, all serial */
    str r0, [r1]
    movs r0, #1
    str r0, [r3, #SSI_ENR]

    ldr r0, =0x10000100             /* the vector table, behind this loader */
    ldr r1, =VTOR
    str r0, [r1]
    ldmia r0!, {r1, r2}
    msr msp, r1
    bx r2
    .ltorg
