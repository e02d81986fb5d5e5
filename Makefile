# `make demo` and `make test` do everything on a fresh machine; all other targets are their parts.

.DEFAULT_GOAL := build
SHELL := /bin/bash
VENV := .venv/bin/python
PY := $(VENV)
CLANG ?= $(shell command -v clang || command -v clang-19 || echo clang)
# gcc is asked when a compiler runs, not now: it may be among what is installed first.
MULTIARCH := $$(gcc -print-multiarch)
# No paths of the machine that builds in what is built.
NO_PATHS := -ffile-prefix-map=$(CURDIR)=.
BPF_FLAGS := -O2 -g $(NO_PATHS) -target bpf -mcpu=v3 -fno-strict-aliasing -Wall -Werror -Wcast-qual -Wno-unused-function \
	-I/usr/include/$(MULTIARCH)
NATIVE_FLAGS := -O2 -g $(NO_PATHS) -fPIC -shared -fno-strict-aliasing -Wall -Werror -Wcast-qual -Wno-unused-function
GUEST_FLAGS := -O2 -g $(NO_PATHS) -ffreestanding -fno-pic -no-pie -static -nostdlib -mno-red-zone -mgeneral-regs-only \
	-fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -mcmodel=small -Wall -Werror \
	-Wl,-T,guests/guest.ld -Wl,--build-id=none -Wl,--no-warn-rwx-segments -Wl,-z,noexecstack

# What is built is told in a word; `make V=1` shows the commands.
run = $(if $(V),,@echo "$(1)  $@"; )

HANDLERS := $(notdir $(basename $(wildcard kernel_devices/*/*.c)))
GUESTS := adversary button check serial driver hostile measure exits heavy twocpus smp net log registers many mask typed flushes stream trips vcpus
GUEST_RUNTIME := $(addprefix guests/,start.S guest.c virtio.c virtio_mmio.c virtio_pci.c ring_split.c ring_packed.c)
COMMON_HEADERS := $(wildcard kernel_devices/*.h)
PACKAGED := build/dsdt.aml build/host_path.bpf.o build/exit_path.bpf.o build/bpf_run.bpf.o build/exit_path.so build/real_mode.bin build/long_mode.elf build/first.elf build/broken.elf \
	build/string_out.elf build/refused.elf build/lacked.elf build/echo.elf $(HANDLERS:%=build/%.bpf.o) $(HANDLERS:%=build/%.so) $(GUESTS:%=build/%.elf)
RECORDS := $(HANDLERS:%=build/%.bpf.o.abi) $(HANDLERS:%=build/%.so.abi)
BUILT := $(PACKAGED)
MODULES := vmm/kvm/_kvm.so vmm/kvm/_bpf.so vmm/virtqueue/_uring.so vmm/bench/_load.so vmm/sync/_shared.so vmm/executors/_emulator.so

demo: build
	@$(PY) -m tools.demo

# As many tests at a time as there are CPUs, a file's one after the other, in the order of tests/conftest.py; then those
# that need the machine alone.
test: CPUS := $(shell nproc)
test:
	@$(MAKE) --no-print-directory -j$(CPUS) build bytecode check lint wide man docs build/explore/blk.so
	@$(PY) -m pytest -n $(CPUS) --dist loadfile --no-loadscope-reorder -m "not alone"
	@$(PY) -m pytest -m alone

# In machines with hardware-style KVM, emulated on this one: Linux guests, and older kernels.
test-nested: build bytecode
	@$(PY) -m tools.nested.test

build: setup $(BUILT) build/abi.stamp build/bytecode.stamp

# What a fresh machine lacks: Debian packages, .venv, the C extension modules.  With another Python than that
# of .venv (make parts PY=...) nothing is installed: what is missing is said.
ifeq ($(PY),$(VENV))
TOOLS := build/.packages
PYTHON := .venv/.installed
else
TOOLS := needed
PYTHON :=
endif

setup: $(PYTHON) $(MODULES)

build/.packages: tools/packages.txt tools/setup_packages
	@mkdir -p build
	@tools/setup_packages tools/packages.txt
	@touch $@

# A path of the checkout's in .venv, and no finder, which takes 8 ms of each start (editable_mode=compat).
INSTALL = $(VENV) -m pip -q --disable-pip-version-check install --config-settings editable_mode=compat -e

.venv/.installed: pyproject.toml setup.py | build/.packages
	@test -x $(VENV) && echo "setup: brings .venv up to date with pyproject.toml" \
		|| echo "setup: makes .venv in this folder, with the Python packages that pyproject.toml names in it"
	@test -x $(VENV) || python3 -m venv .venv
	@$(INSTALL) '.[test]'
	@touch $@

needed:
	@mkdir -p build
	@CC=$(CC) CLANG=$(CLANG) PY=$(PY) tools/check_needed

NATIVE_DEPS := vmm/native/build.py $(PYTHON) | $(TOOLS)
vmm/kvm/_kvm.so: $(wildcard vmm/native/kvm_* vmm/native/serial.*) vmm/native/vcpu_state.gen.h $(NATIVE_DEPS)
	@$(PY) vmm/native/build.py kvm
vmm/kvm/_bpf.so: vmm/native/bpf.c $(NATIVE_DEPS)
	@$(PY) vmm/native/build.py bpf
vmm/virtqueue/_uring.so: vmm/native/uring.c $(NATIVE_DEPS)
	@$(PY) vmm/native/build.py uring
vmm/bench/_load.so: vmm/native/load.c $(NATIVE_DEPS)
	@$(PY) vmm/native/build.py load
vmm/sync/_shared.so: vmm/native/shared.c $(addprefix kernel_devices/,recording.h recording.gen.h atomic.h) $(NATIVE_DEPS)
	@$(PY) vmm/native/build.py shared
vmm/executors/_emulator.so: $(wildcard vmm/native/emulator* vmm/native/partial*) vmm/native/vcpu_state.gen.h \
		$(addprefix vmm/native/,kvm_run.h serial.c serial.h) $(NATIVE_DEPS)
	@$(PY) vmm/native/build.py emulator

build/host_path.bpf.o: kernel_devices/host_path.bpf.c $(addprefix kernel_devices/,exit_path.gen.h atomic.h tracepoints.h) | $(TOOLS)
	$(call run,BPF)$(CLANG) $(BPF_FLAGS) -c $< -o $@
build/exit_path.bpf.o: kernel_devices/exit_path.bpf.c $(COMMON_HEADERS) | $(TOOLS)
	$(call run,BPF)$(CLANG) $(BPF_FLAGS) -c $< -o $@
build/bpf_run.bpf.o: vmm/testing/bpf_run.bpf.c | $(TOOLS)
	$(call run,BPF)$(CLANG) $(BPF_FLAGS) -c $< -o $@
build/exit_path.so: kernel_devices/exit_path.c $(COMMON_HEADERS) | $(TOOLS)
	$(call run,SO)$(CC) $(NATIVE_FLAGS) -o $@ $<

define handler
build/$(1).bpf.o: $(wildcard kernel_devices/$(1)/*) $(COMMON_HEADERS) | $(TOOLS)
	$$(call run,BPF)$$(CLANG) $$(BPF_FLAGS) -c kernel_devices/$(1)/$(1).c -o $$@
build/$(1).so: $(wildcard kernel_devices/$(1)/*) $(COMMON_HEADERS) | $(TOOLS)
	$$(call run,SO)$$(CC) $$(NATIVE_FLAGS) -o $$@ kernel_devices/$(1)/$(1).c
endef
$(foreach name,$(HANDLERS),$(eval $(call handler,$(name))))

build/driver.elf: GUEST_FLAGS := -Wl,--defsym=guest_base=0x40001000 $(GUEST_FLAGS)
build/measure.elf: guests/requests.c guests/requests.h guests/stamps.c guests/stamps.h
build/vcpus.elf: guests/requests.c guests/requests.h
build/net.elf: guests/net_echo.c guests/net_disk.c guests/net.h guests/stamps.c guests/stamps.h
build/stream.elf: guests/net_disk.c guests/net.h
build/many.elf: guests/many_disk.c guests/many_streams.c guests/many.h
build/%.elf: guests/%.c $(GUEST_RUNTIME) guests/guest.h guests/virtio.h guests/guest.ld | $(TOOLS)
	$(call run,ELF)$(CC) $(GUEST_FLAGS) -o $@ $(filter %.c %.S,$^)
build/long_mode.elf build/first.elf build/broken.elf build/string_out.elf build/refused.elf build/lacked.elf build/echo.elf: build/%.elf: guests/%.S | $(TOOLS)
	$(call run,ELF)$(CC) -nostdlib -static -no-pie -Wl,-Ttext=0x100000 -Wl,--build-id=none -Wl,-z,noexecstack -o $@ $<
build/%.bin: guests/%.S | $(TOOLS)
	$(call run,ELF)$(CC) -nostdlib -static -no-pie -Wl,--oformat=binary -Wl,-Ttext=0x7c00 -Wl,--build-id=none -o $@ $<

build/dsdt.aml: vmm/boot/dsdt.py vmm/kvm/addresses.py $(PYTHON) | $(TOOLS)
	@$(PY) -m vmm.boot.dsdt > build/dsdt.asl
	iasl -we -p $@ build/dsdt.asl > build/dsdt.log || { cat build/dsdt.log; exit 1; }

# Python compiled once, also where PYTHONDONTWRITEBYTECODE has each command compile what it imports: tests start hundreds,
# and nested machines, which keep nothing, are slow at it.  What pytest rewrites it writes when it collects.
bytecode: build
	@$(PY) -m compileall -q vmm tools tests
	@env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -qq --collect-only -p no:cacheprovider > build/collected.log || \
		{ cat build/collected.log; exit 1; }

# The schemas against the compiler's debug information, as at every load; leaves RECORDS.
build/abi.stamp: $(PACKAGED) $(MODULES) $(wildcard vmm/devmodel/*.py vmm/devmodel/devices/*.py) tools/abi.py
	@$(PY) -m tools.abi build && touch $@

# Python compiles what it imports, but not where PYTHONDONTWRITEBYTECODE is set: then each start would do that anew.
build/bytecode.stamp: $(shell find vmm -name '*.py') $(PYTHON)
	@mkdir -p build
	@$(PY) -m compileall -q vmm && touch $@

# All that a wheel has beside Python, into the folder INTO: handlers, guests, extension modules, and what devices of
# one's own are built with: C headers, and the sources of what guests have in common.
INTO ?= build/parts
parts: $(PACKAGED) $(MODULES) build/abi.stamp
	@mkdir -p $(INTO)/vmm/built/include $(INTO)/vmm/built/guests
	@cp $(PACKAGED) $(RECORDS) $(INTO)/vmm/built
	@cp --parents $(MODULES) $(INTO) && strip -g $(MODULES:%=$(INTO)/%)
	@cd kernel_devices && cp --parents *.h */*.h $(abspath $(INTO))/vmm/built/include
	@cp $(GUEST_RUNTIME) guests/guest.h guests/virtio.h guests/guest.ld $(INTO)/vmm/built/guests

# A wheel for any Linux, and the source distribution, into dist/.
wheel: setup
	@$(PY) -m tools.wheel dist

headers: setup
	@$(PY) -m tools.headers
	@$(PY) -m tools.reference
	@$(PY) -m tools.cli_reference
check: setup
	@$(PY) -m tools.headers --check
	@$(PY) -m tools.reference --check
	@$(PY) -m tools.cli_reference --check
lint: setup
	@$(PY) -m ruff check -q
	@$(PY) -m mypy --no-error-summary

# Manual pages of the command and of each of its commands: man -l build/man/splitvmm.1
man: setup .venv/.docs
	@COLUMNS=80 $(PY) -m tools.manpages build/man

# The site, into build/site: pages that need no server, and load nothing from elsewhere.
docs: setup .venv/.docs
	@$(PY) -m tools.site build/pages
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build > build/docs.log 2>&1 || { cat build/docs.log; exit 1; }
	@echo "docs: build/site/index.html"

.venv/.docs: pyproject.toml .venv/.installed
	@echo "docs: argparse-manpage and mkdocs-material, into .venv"
	@$(INSTALL) '.[docs]'
	@touch $@

# The native handlers with sanitizers, under the tests that drive them; -s, or what one says is lost.
sanitize: build
	@mkdir -p build/sanitized
	@for name in $(HANDLERS); do \
		$(CC) $(NATIVE_FLAGS) -fsanitize=address,undefined -fno-sanitize-recover -o build/sanitized/$$name.so \
			kernel_devices/$$name/$$name.c || exit 1; done
	@$(CC) $(NATIVE_FLAGS) -fsanitize=address,undefined -fno-sanitize-recover -o build/sanitized/exit_path.so \
		kernel_devices/exit_path.c
	@cp build/*.bpf.o build/*.elf build/*.bin build/*.aml build/sanitized/
	@SPLITVMM_BUILD=build/sanitized LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0 $(PY) -m pytest -s tests/kernel_devices tests/virtqueue/test_uring.py

# The handlers with the windows of their races held open, for tests that run guests on them: for some
# microseconds, and blk for as long as it takes until a halted vCPU runs again.
WIDE := $(HANDLERS:%=build/wide/%.bpf.o) $(HANDLERS:%=build/wide/%.so) build/widest/blk.bpf.o
build/wide/%.bpf.o: build/%.bpf.o
	@mkdir -p build/wide
	$(call run,BPF)$(CLANG) $(BPF_FLAGS) -DWIDEN=20000 -c kernel_devices/$*/$*.c -o $@
build/wide/%.so: build/%.so
	@mkdir -p build/wide
	$(call run,SO)$(CC) $(NATIVE_FLAGS) -DWIDEN=20000 -o $@ kernel_devices/$*/$*.c
build/widest/%.bpf.o: build/%.bpf.o
	@mkdir -p build/widest
	$(call run,BPF)$(CLANG) $(BPF_FLAGS) -DWIDEN=2000000 -c kernel_devices/$*/$*.c -o $@
wide: $(BUILT) $(WIDE)
	@for place in wide widest; do for built in $(BUILT:build/%=%); do \
		test -e build/$$place/$$built || ln -sf ../$$built build/$$place/; done; done

# The explorer: all interleavings of the code that shares a queue, up to a bound; --help says what else it takes.
build/explore/blk.so: build/blk.so $(wildcard tools/explore/*.[ch])
	@mkdir -p build/explore
	$(call run,SO)$(CC) $(NATIVE_FLAGS) -Wno-unused-but-set-variable -DEXPLORE -Itools/explore -o $@ tools/explore/blk.c
explore: build/explore/blk.so
	@$(PY) -m tools.explore --long

# Faults put into both halves one by one, and which check finds each.
mutants: build
	@$(PY) -m tools.mutants

# Inputs made up by libFuzzer for the native handlers, FUZZ_RUNS of them over all devices (docs/fuzzing.md).  What is
# built is of the handlers in FUZZ_HANDLERS.
FUZZ_RUNS ?= 1000000
FUZZ_HANDLERS ?= kernel_devices
FUZZ_INTO ?= build/fuzz
# Handlers read words of guest memory at any address, as x86 lets them: no check of alignment.
FUZZ_FLAGS := -O1 $(NO_PATHS) -fno-strict-aliasing -Wall -Werror -Wno-unused-function -I$(FUZZ_HANDLERS)
FUZZ_CHECKS := -gline-tables-only -fsanitize=fuzzer,address,undefined -fno-sanitize=alignment -fno-sanitize-recover=all
COVERED := -g -fprofile-instr-generate -fcoverage-mapping
FUZZED := $(HANDLERS) exit_path
FUZZ_DEPS := $(wildcard tools/fuzz/*.h $(FUZZ_HANDLERS)/*.[ch] $(FUZZ_HANDLERS)/*/*) | $(TOOLS)
$(FUZZED:%=$(FUZZ_INTO)/%): $(FUZZ_INTO)/%: tools/fuzz/%.c $(FUZZ_DEPS)
	@mkdir -p $(FUZZ_INTO)
	$(call run,FUZZ)$(CLANG) $(FUZZ_FLAGS) $(FUZZ_CHECKS) -o $@ $<
fuzzers: $(FUZZED:%=$(FUZZ_INTO)/%)
fuzz: setup
	@$(PY) -m tools.fuzz --runs $(FUZZ_RUNS)

# Which lines and branches of the handlers the corpus runs, and the Python tests with it.
build/coverage/%.fuzz: tools/fuzz/%.c $(FUZZ_DEPS)
	@mkdir -p build/coverage
	$(call run,COVER)$(CLANG) $(FUZZ_FLAGS) $(COVERED) -fsanitize=fuzzer -o $@ $<
build/coverage/%.so: build/%.so
	@mkdir -p build/coverage
	$(call run,COVER)$(CLANG) $(filter-out -O2,$(NATIVE_FLAGS)) -O1 $(COVERED) -o $@ $(firstword $(wildcard kernel_devices/$*/$*.c kernel_devices/$*.c))
coverage-parts: build $(FUZZED:%=build/coverage/%.fuzz) $(FUZZED:%=build/coverage/%.so)
	@cp build/*.bpf.o build/*.elf build/*.bin build/*.aml build/coverage/
coverage: coverage-parts
	@$(PY) -m tools.fuzz.coverage --tests

# Faults that only the BPF handlers have, one at a time: which test finds each.
faults: build
	@$(PY) -m tools.faults

# The protocol's models, in every order of their steps; and each of its rules left out, which must be found.
model: setup
	@$(PY) -m tools.model
	@$(PY) -m tools.model --faults

bench: build
	.venv/bin/splitvmm bench exits
	.venv/bin/splitvmm bench blk --peer qemu

clean:
	rm -rf build vmm/*/*.so
distclean: clean
	rm -rf .venv dist *.egg-info

.PHONY: demo test test-nested build bytecode setup needed parts wheel headers check lint man docs sanitize fuzz fuzzers \
	coverage coverage-parts wide explore mutants faults model bench clean distclean
