/* rp2040_boot2.S, assembled; zeros to word 62; the checksum that the boot ROM demands. */
__attribute__((section(".boot2"), used)) static const uint32_t boot2[64] = {
    0x20004B0A, 0x20046098, 0x48096158, 0x20006018,
    0x49086058, 0x60084808, 0x60982001, 0x49084807,
    0xC8066008, 0x8808F381, 0x00004710, 0x18000000,
    0x001F0300, 0x180000F4, 0x03000218, 0x10000100,
    0xE000ED08,
    [63] = 0x9B1F7A50,
};
