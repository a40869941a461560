#!/bin/sh
# Installs what the tests of Android modules use: Gradle and a JDK from Debian, Kotlin's compiler from
# npm (into .tools/, 90 MB). Does nothing unless EDGEBUILD_ANDROID_TOOLS is 1. Never fails: tests that
# need an absent tool skip with a reason.
[ "${EDGEBUILD_ANDROID_TOOLS:-}" = 1 ] || exit 0
cd "$(dirname "$0")/.." || exit 0
kotlin=2.4.20

missing=""
command -v javac >/dev/null || missing="$missing default-jdk-headless"
command -v gradle >/dev/null || missing="$missing gradle"
command -v npm >/dev/null || missing="$missing npm"
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing from Debian:$missing"
    # shellcheck disable=SC2086  # one word for each package
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >/dev/null 2>&1 ||
        echo "not installed:$missing"
fi

if [ ! -f .tools/kotlin/lib/kotlin-compiler.jar ] && command -v npm >/dev/null; then
    echo "fetching kotlin-compiler $kotlin from npm"
    aside=$(mktemp -d)
    if (cd "$aside" && npm pack --silent "kotlin-compiler@$kotlin" >/dev/null && tar xzf ./*.tgz); then
        mkdir -p .tools && rm -rf .tools/kotlin && mv "$aside/package" .tools/kotlin
    else
        echo "not fetched: kotlin-compiler; tests that need it are skipped"
    fi
    rm -rf "$aside"
fi
exit 0
