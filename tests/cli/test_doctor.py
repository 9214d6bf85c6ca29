#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pail doctor against programs made for it: each trap that can be known before
a run is named, with its cure, and a program without one is let through."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.environ["PAIL_BUILD"]
PAIL = os.path.join(BUILD, "bin", "pail")
CC = os.environ.get("CC", "cc")
PYTHON = os.path.realpath("/usr/bin/python3")
INCLUDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "include")

DONE, NO, USAGE, INPUT = 0, 1, 2, 3
PLAIN = "#include <stdlib.h>\nint main(void) { free(malloc(1)); return 0; }\n"


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        os.chmod(self.folder, 0o755)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text, mode=0o755):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def build(self, name, text, *flags, compiler=CC, optional=False):
        source = self.write(name + ".c", text)
        done = subprocess.run([compiler, "-o", self.path(name), source, *flags], cwd=self.folder,
                              capture_output=True, text=True, check=False)
        if done.returncode and optional:
            self.skipTest(f"cannot build it here: {done.stderr.strip()[:200]}")
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.path(name)

    def doctor(self, *words, **options):
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONMALLOC", "LD_PRELOAD")}
        environment.update(options.pop("env", {}))
        done = subprocess.run([PAIL, "doctor", "--json", *words], cwd=self.folder, capture_output=True, text=True,
                              check=False, env=environment, timeout=60, **options)
        self.assertIn(done.returncode, (DONE, NO), done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["schema"], "pail.doctor/1")
        self.assertEqual(done.returncode, DONE if report["verdict"] == "yes" else NO)
        for finding in report["findings"]:
            self.assertTrue(finding["subject"] and finding["cause"] and finding["cure"])
        return report

    def finds(self, level, name, *words, **options):
        report = self.doctor(*words, **options)
        found = [f for f in report["findings"] if f["id"] == name]
        self.assertEqual([f["level"] for f in found], [level], report)
        if level != "note":
            self.assertIn(report["verdict"], ("no", level))
        return found[0]

    def passes(self, *words, **options):
        report = self.doctor(*words, **options)
        self.assertEqual(report["verdict"], "yes", report)
        return report


class Programs(Case):
    def test_an_ordinary_program_passes(self):
        report = self.passes("--", self.build("plain", PLAIN, "-g"))
        self.assertEqual([f["id"] for f in report["findings"] if f["id"] != "preload"], [])

    def test_a_static_program(self):
        found = self.finds("no", "static-program", "--", self.build("static", PLAIN, "-static", optional=True))
        self.assertEqual(found["cure"], "build it with dynamic linking")

    def test_a_musl_program(self):
        if not shutil.which("musl-gcc"):
            self.skipTest("no musl-gcc here")
        self.finds("no", "musl", "--", self.build("musl", PLAIN, compiler="musl-gcc"))

    def test_a_go_program(self):
        plain = self.build("plain", PLAIN)
        self.write("info", "Go")
        subprocess.run(["objcopy", "--add-section", ".go.buildinfo=info", plain, self.path("go")], cwd=self.folder, check=True)
        self.finds("no", "go", "--", self.path("go"))

    def test_a_32_bit_program(self):
        self.finds("no", "32-bit", "--", self.build("small", "int main(void) { return 0; }\n", "-m32", optional=True))

    @unittest.skipIf(os.geteuid() != 0, "needs root, to be someone else")
    def test_a_setuid_program(self):
        program = self.build("setuid", PLAIN)
        os.chmod(program, 0o4755)
        self.finds("no", "secure-execution", "--", program, user=65534)
        self.passes("--", program)  # its owner gains nothing

    def test_a_program_with_its_own_malloc(self):
        own = ("#include <stddef.h>\nstatic char heap[4096]; static size_t top;\n"
               "void *malloc(size_t n) { void *p = heap + top; top += n; return p; }\nvoid free(void *p) { (void)p; }\n"
               "int main(void) { free(malloc(1)); return 0; }\n")
        self.finds("no", "static-allocator", "--", self.build("own", own, "-fno-builtin"))

    def test_a_program_with_jemalloc_linked_in(self):
        text = PLAIN + "void *je_malloc(unsigned long n) { return (void *)n; }\n"
        found = self.finds("cure", "static-allocator", "--", self.build("je", text))
        self.assertIn("jemalloc", found["cause"])

    def test_a_stripped_one_is_known_by_its_text(self):
        text = "#include <stdlib.h>\n#include <stdio.h>\nint main(void) { puts(\"<jemalloc>: bad\"); free(malloc(1)); }\n"
        found = self.finds("cure", "static-allocator", "--", self.build("je", text, "-s"))
        self.assertIn("jemalloc", found["cause"])

    def test_our_own_programs_are_not_taken_for_allocators(self):
        for name in ("bin/pail", "libexec/pail/pail-server"):
            ids = [f["id"] for f in self.doctor("--", os.path.join(BUILD, name))["findings"]]
            if "sanitizer" not in ids and name == "bin/pail":
                self.assertNotIn("static-allocator", ids)

    def test_a_jemalloc_that_is_a_library_is_fine(self):
        self.build("libjemalloc.so.2", "void *malloc(unsigned long n) { return (void *)n; }\n", "-shared", "-fPIC",
                   "-Wl,-soname,libjemalloc.so.2")
        program = self.build("dyn", PLAIN, "-Wl,--no-as-needed", self.path("libjemalloc.so.2"), f"-Wl,-rpath,{self.folder}")
        self.finds("note", "dynamic-allocator", "--", program)
        self.passes("--", program)

    def test_a_sanitized_program(self):
        self.finds("no", "sanitizer", "--", self.build("asan", PLAIN, "-fsanitize=address", optional=True))

    def test_a_library_that_is_missing(self):
        self.build("libgone.so", "int gone(void) { return 0; }\n", "-shared", "-fPIC")
        program = self.build("needs", "int gone(void);\nint main(void) { return gone(); }\n", "-L.", "-lgone")
        os.unlink(self.path("libgone.so"))
        self.assertEqual(self.finds("no", "missing-library", "--", program)["subject"], "libgone.so")

    def test_io_uring(self):
        self.build("liburing.so.2", "int io_uring_queue_init(void) { return 0; }\n", "-shared", "-fPIC",
                   "-Wl,-soname,liburing.so.2")
        program = self.build("ring", "int io_uring_queue_init(void);\nint main(void) { return io_uring_queue_init(); }\n",
                             self.path("liburing.so.2"), f"-Wl,-rpath,{self.folder}")
        self.finds("cure", "io_uring", "--", program)

    def test_stdio_on_sockets_and_missing_symbols(self):
        text = ("#include <stdio.h>\n#include <sys/socket.h>\n"
                "int main(void) { char b[9]; FILE *f = fdopen(accept(0, 0, 0), \"r\"); return !fgets(b, 9, f); }\n")
        program = self.build("stdio", text, "-s")
        self.finds("note", "stdio-sockets", "--", program)
        self.finds("note", "no-symbols", "--", program)

    def test_what_only_starts_others(self):
        plain = self.build("plain", PLAIN)
        self.finds("no", "clean-environment", "--", "env", "-i", plain)
        shutil.copy(plain, self.path("service"))
        self.passes("--", "./service")  # one's own may have any name
        for name in ("ssh", "systemctl", "machinectl"):
            found = shutil.which(name, path="/usr/bin:/bin")
            if found:
                self.finds("no", "started-elsewhere", "--", found, "x")

    def test_an_address_space_limit_is_told(self):
        def limit():
            import resource
            resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
        if "sanitizer" in [f["id"] for f in self.doctor("--", PAIL)["findings"]]:
            self.skipTest("a sanitizer needs all of the address space")
        self.finds("note", "address-space", "--", self.build("plain", PLAIN), preexec_fn=limit)

    def test_a_program_that_is_not_there(self):
        done = subprocess.run([PAIL, "doctor", "--", "no-such-program"], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (INPUT, ""))
        self.assertRegex(done.stderr, "there is no such program in PATH\n$")

    def test_exactly_one_patient(self):
        for words in ((), ("--pid", "1", "--", "true"), ("--pid", "0"), ("--plugin", "x", "--pid", "1")):
            done = subprocess.run([PAIL, "doctor", *words], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, USAGE, words)


@unittest.skipIf(not os.path.exists(PYTHON), "no python of the system here")
class Pools(Case):
    def test_python_wants_its_malloc(self):
        found = self.finds("cure", "python-pool", "--", PYTHON, "x.py")
        self.assertEqual((found["variable"], found["value"]), ("PYTHONMALLOC", "malloc"))
        self.passes("--", PYTHON, "x.py", env={"PYTHONMALLOC": "malloc"})
        self.passes("--", "env", "PYTHONMALLOC=malloc", PYTHON, "x.py")
        self.finds("cure", "python-pool", "--", "env", "PYTHONMALLOC=pymalloc", PYTHON, env={"PYTHONMALLOC": "malloc"})

    def test_a_script_is_its_interpreter(self):
        report = self.doctor("--", self.write("app", f"#!{PYTHON} -u\n"))
        self.assertEqual((report["examined"], report["verdict"]), (PYTHON, "cure"))

    def test_php_and_haproxy_by_their_names(self):
        for name in ("php8.2", "haproxy"):
            shutil.copy(self.build("plain", PLAIN), self.path(name))
        self.assertEqual(self.finds("cure", "php-pool", "--", "./php8.2")["variable"], "USE_ZEND_ALLOC")
        self.finds("cure", "haproxy-pool", "--", "./haproxy", "-f", "x.cfg")
        self.passes("--", "./haproxy", "-dMno-cache,no-global,no-merge", "-f", "x.cfg")

    def test_record_takes_the_cure_and_says_so(self):
        show = "import os; print(os.environ.get('PYTHONMALLOC'))"
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONMALLOC"}
        for words, printed, said in (((), "None\n", "set PYTHONMALLOC=malloc \\(--cure does\\)"),
                                     (("--cure",), "malloc\n", "so PYTHONMALLOC=malloc is set")):
            done = subprocess.run([PAIL, "record", *words, "-o", "t.db", "--", PYTHON, "-c", show], cwd=self.folder,
                                  capture_output=True, text=True, check=False, env=environment, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (0, printed), done.stderr)
            self.assertRegex(done.stderr.splitlines()[0], f"^pail record: {PYTHON}: .*; {said}$")


class Processes(Case):
    def start(self, *words, **options):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, **options)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close()))
        return process

    def test_a_running_program(self):
        process = self.start("sleep", "60")
        time.sleep(0.1)
        report = self.passes("--pid", str(process.pid))
        self.assertEqual((report["patient"], os.path.basename(report["path"])), ("process", "sleep"))

    @unittest.skipIf(not os.path.exists(PYTHON), "no python of the system here")
    def test_its_own_environment_counts(self):
        run = (PYTHON, "-c", "import time; print('up', flush=True); time.sleep(60)")
        for value, verdict in (("malloc", "yes"), ("pymalloc", "cure")):
            process = self.start(*run, env={"PYTHONMALLOC": value})
            process.stdout.readline()
            self.assertEqual(self.doctor("--pid", str(process.pid))["verdict"], verdict)

    def test_a_program_that_was_replaced(self):
        program = self.build("waits", "#include <unistd.h>\nint main(void) { return write(1, \"u\\n\", 2) + pause(); }\n")
        process = self.start(program)
        process.stdout.readline()
        os.unlink(program)
        self.finds("note", "deleted", "--pid", str(process.pid))

    def test_a_process_that_is_not_there(self):
        process = subprocess.Popen(["true"])
        process.wait()
        done = subprocess.run([PAIL, "doctor", "--pid", str(process.pid)], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, INPUT)
        self.assertRegex(done.stderr, f"there is no process {process.pid}")


HANDLER = "#include <pail/handler.h>\nint pail_handle(struct pail_request *r) { %s return pail_write(r, \"x\", 1) ? 500 : 200; }\n"
LARGE = "volatile char big[100000]; big[0] = 1; big[99999] = big[0];"


class Plugins(Case):
    def plugin(self, body="", *flags, text=None):
        return self.build("handler.so", text or HANDLER % body, "-shared", "-fPIC", "-O1", f"-I{INCLUDE}", *flags)

    def test_a_good_one_passes(self):
        path = self.plugin("", "-g", "-fstack-clash-protection")
        self.finds("note", "stack-clash-protected", "--plugin", path)
        self.assertEqual(self.doctor("--plugin", path)["verdict"], "yes")

    def test_a_large_frame_that_is_not_touched(self):
        found = self.finds("cure", "stack-clash", "--plugin", self.plugin(LARGE, "-fno-stack-clash-protection"))
        self.assertIn("pail_handle", found["cause"])

    def test_a_large_frame_that_is(self):
        for flags in ((), ("-g",)):
            path = self.plugin(LARGE, "-fstack-clash-protection", *flags)
            self.finds("note", "stack-clash-protected", "--plugin", path)

    def test_command_lines_tell_before_a_frame_is_large(self):
        path = self.plugin("", "-g", "-fno-stack-clash-protection")
        self.finds("note", "stack-clash", "--plugin", path)

    def test_one_without_pail_handle(self):
        self.finds("no", "no-handler", "--plugin", self.plugin(text="int other(void) { return 0; }\n"))
        self.finds("no", "no-handler", "--plugin", self.plugin("", "-fvisibility=hidden"))

    def test_a_symbol_that_nobody_defines(self):
        text = "int nowhere(void);\n" + HANDLER % "if (nowhere()) return 500;"
        found = self.finds("no", "undefined-symbol", "--plugin", self.plugin(text=text))
        self.assertIn("nowhere", found["cause"])

    def test_thread_local_storage_that_a_late_library_cannot_have(self):
        text = "__thread char mine[65536] __attribute__((tls_model(\"initial-exec\")));\n" + HANDLER % "mine[0]++;"
        self.finds("no", "static-tls", "--plugin", self.plugin(text=text))

    def test_constructors_that_may_allocate(self):
        text = ("#include <stdlib.h>\nvoid *kept;\n__attribute__((constructor)) static void start(void)"
                " { kept = malloc(9); }\n" + HANDLER % "")
        self.finds("note", "constructors", "--plugin", self.plugin(text=text))

    def test_what_is_no_library(self):
        for name, text in (("text.so", "no library\n"), ("none.so", None)):
            if text:
                self.write(name, text)
            done = subprocess.run([PAIL, "doctor", "--plugin", self.path(name)], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stdout), (INPUT, ""))
            self.assertIn(name, done.stderr)


if __name__ == "__main__":
    sys.exit(unittest.main())
