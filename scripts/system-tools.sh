#!/bin/sh
# Installs what the suite uses from Debian (QEMU, GNU Arm compiler) where that is possible; says what
# is left out where it is not. Never fails: tests that need an absent tool skip with a reason.
missing=""
command -v qemu-system-arm >/dev/null || missing="$missing qemu-system-arm"
{ command -v qemu-arm && command -v qemu-aarch64; } >/dev/null || missing="$missing qemu-user"
command -v arm-none-eabi-gcc >/dev/null || missing="$missing gcc-arm-none-eabi libnewlib-arm-none-eabi"
command -v gcc >/dev/null || missing="$missing gcc libc6-dev"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing from Debian:$missing"
    log=$(mktemp)
    # shellcheck disable=SC2086  # one word for each package
    if { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
        rm -f "$log"
        exit 0
    fi
    tail -3 "$log"
    rm -f "$log"
fi
echo "not installed:$missing"
echo "  tests that need them are skipped; with root on Debian: apt-get install$missing"
exit 0
