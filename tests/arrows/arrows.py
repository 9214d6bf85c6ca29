#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fails when an include, or a link, crosses an arrow that the design forbids.

    arrows.py ROOT [LINKS]

ROOT is the checkout. LINKS is what tests/arrows/CMakeLists.txt wrote at
configure time: lines "folder<TAB>target<TAB>its links, by semicolons", and
"=target<TAB>folder" for every target of ours.

A part may include its own headers, the headers that PARTS gives it, the C
library and Linux's own headers, and the third-party headers that PARTS gives
it; one file's own rights stand in FILES. Anything that is not known is
forbidden, so a new dependency has to be written down here first.
"""
import fnmatch
import os
import re
import sys

# part: (headers of ours, headers of others, parts it may link, libraries it may link)
PARTS = {
    "base": (["base/*.h"], [], [], ["PkgConfig::INIH", "m"]),
    "libtrace": (
        ["base/*.h", "libtrace/*.h", "libtrace/shim/*.h"],
        ["zstd.h", "nettle/*.h"],
        ["base"],
        ["PkgConfig::SQLITE", "PkgConfig::ZSTD", "PkgConfig::NETTLE", "PkgConfig::ELF", "PkgConfig::DW", "iberty", "Threads::Threads", "rt", "m"],
    ),
    "libtrace/shim": (["libtrace/shim/*.h", "pail/mark.h"], ["libunwind.h"], [], ["dl"]),
    "simulator": (
        ["base/*.h", "simulator/*.h", "libtrace/trace.h"],
        ["gsl/*.h"],
        ["base", "libtrace"],
        ["PkgConfig::GSL", "MPI::MPI_C", "Threads::Threads", "m"],
    ),
    "server": (
        ["base/*.h", "server/*.h", "pail/*.h"],
        [],
        ["base"],
        ["PkgConfig::SECCOMP", "Threads::Threads", "dl", "m", "${CMAKE_DL_LIBS}", "PkgConfig::OPENSSL"],  # the last: pail-tls, a module
    ),
    "cli": (
        ["base/*.h", "cli/*.h", "libtrace/trace.h", "libtrace/collect.h", "libtrace/attribution/again.h", "libtrace/doctor/doctor.h", "libtrace/served.h", "simulator/sim.h", "server/server.h", "pail/*.h"],
        [],
        ["base", "libtrace", "simulator", "server"],
        ["PkgConfig::NETTLE", "PkgConfig::JANSSON", "Threads::Threads", "m"],
    ),
    # Public: what users compile against may lean on nothing but libc.
    "include": (["pail/*.h"], [], [], []),
}
# The rights of single files, beyond their part's.
FILES = {
    "base/conf.c": ["ini.h"],
    "simulator/mpi.c": ["mpi.h"],
    "libtrace/store*.[ch]": ["sqlite3.h", "sqlite3ext.h"],
    "libtrace/symbols/elf_file.c": ["gelf.h", "dwarf.h", "elfutils/*.h"],
    "libtrace/symbols/symbols.c": ["dwarf.h", "elfutils/*.h", "libiberty/demangle.h"],
    "cli/pages/page.c": ["nettle/*.h"],
    "cli/top/top_server.c": ["jansson.h"],
    "server/memory/seal.c": ["seccomp.h"],
    "server/tls/tls_openssl.c": ["openssl/*.h"],  # a module of its own
    "server/guests/lua.c": ["lua.h", "lauxlib.h", "lualib.h"],
    "server/guests/js.c": ["duktape.h"],
    "cli/main.c": ["pail_version.h"],  # made by the build
}
# The C library, POSIX and Linux, and the compiler's own.
LIBC = """
    alloca argp argz arm_neon arpa/* asm/* assert bits/* byteswap cet complex cpuid crypt ctype dirent dlfcn elf
    emmintrin endian err errno error execinfo fcntl features fenv float fnmatch ftw getopt glob grp
    ifaddrs immintrin inttypes langinfo libgen limits link linux/* locale malloc math memory mntent
    net/* netdb netinet/* obstack poll printf pthread pwd regex sanitizer/* sched search semaphore setjmp
    signal spawn stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string
    strings sys/* syscall syslog sysexits termios threads time ucontext uchar unistd unwind utime
    wait wchar wctype wordexp x86intrin
""".split()

INCLUDE = re.compile(r'^[ \t]*#[ \t]*(?:include|include_next|import)[ \t]*([<"])([^">]+)[">]', re.M)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)


def part_of(path):
    """The longest folder of PARTS that holds the file, or None."""
    fits = [part for part in PARTS if path.startswith(part + "/")]
    return max(fits, key=len, default=None)


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def sources(root):
    for part in sorted(PARTS):
        for folder, folders, files in os.walk(os.path.join(root, part)):
            folders.sort()
            for name in sorted(files):
                path = os.path.relpath(os.path.join(folder, name), root)
                # libtrace walks into its shim, which is a part of its own
                if name.endswith((".c", ".h", ".S", ".inc")) and part_of(path) == part:
                    yield path, part


def blank(comment):
    """A comment leaves its newlines, so that line numbers stay true."""
    return " " + "\n" * comment.group(0).count("\n")


def check_includes(root):
    wrong = []
    seen = 0
    for path, part in sources(root):
        ours, others, _, _ = PARTS[part]
        with open(os.path.join(root, path), encoding="utf-8") as file:
            text = COMMENT.sub(blank, file.read())
        seen += 1
        for hit in INCLUDE.finditer(text):
            quote, name = hit.groups()
            where = f"{path}:{text.count(chr(10), 0, hit.start(2)) + 1}"
            own = [n for rule, names in FILES.items() if matches(path, [rule]) for n in names]
            if matches(name, own):
                continue
            if quote == '"':
                if ".." in name or "/" not in name:
                    wrong.append(f'{where}: "{name}" is not spelled from the root')
                elif not matches(name, ours):
                    wrong.append(f'{where}: {part} may not include "{name}"')
            elif name.startswith("pail/") and matches(name, ours):
                continue
            elif not matches(name, [known + ".h" for known in LIBC] + others):
                wrong.append(f"{where}: {part} may not include <{name}>")
    if seen == 0:
        wrong.append(f"{root}: no source file of any part was found")
    return wrong


def check_links(links):
    wrong = []
    home = {}
    edges = []
    with open(links, encoding="utf-8") as file:
        for line in file.read().splitlines():
            if line.startswith("="):
                target, folder = line[1:].split("\t")
                home[target] = folder
            elif line:
                edges.append(line.split("\t"))
    if not edges:
        wrong.append(f"{links}: no target of any part was found")
    for part, target, libraries in edges:
        _, _, parts, allowed = PARTS[part]
        for library in filter(None, libraries.split(";")):
            # a PRIVATE link of a static library stands as $<LINK_ONLY:x>
            library = re.sub(r"^\$<LINK_ONLY:(.*)>$", r"\1", library)
            to = home.get(library)
            if to is not None:
                if to != part and to not in parts:
                    wrong.append(f"target {target}: {part} may not link {library} of {to}")
            elif not library.startswith(("-Wl,", "-f", "$<TARGET_OBJECTS:")) and library not in allowed:
                wrong.append(f"target {target}: {part} may not link {library}")
    return wrong


def main():
    wrong = check_includes(sys.argv[1])
    if len(sys.argv) > 2:
        wrong += check_links(sys.argv[2])
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
