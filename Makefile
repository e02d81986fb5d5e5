# `make demo` and `make test` do everything on a fresh machine; all other targets are their parts.

.DEFAULT_GOAL := build
SHELL := /bin/bash
PY := .venv/bin/python
CLANG ?= $(shell command -v clang || command -v clang-19 || echo clang)
BPF_FLAGS := -O2 -g -target bpf -mcpu=v3 -fno-strict-aliasing -Wall -Werror -Wcast-qual -Wno-unused-function \
	-I/usr/include/$(shell gcc -print-multiarch 2>/dev/null)
NATIVE_FLAGS := -O2 -g -fPIC -shared -fno-strict-aliasing -Wall -Werror -Wcast-qual -Wno-unused-function
GUEST_FLAGS := -O2 -g -ffreestanding -fno-pic -no-pie -static -nostdlib -mno-red-zone -mgeneral-regs-only \
	-fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -mcmodel=small -Wall -Werror \
	-Wl,-T,guests/guest.ld -Wl,--build-id=none -Wl,--no-warn-rwx-segments -Wl,-z,noexecstack

HANDLERS := $(notdir $(basename $(wildcard kernel_devices/*/*.c)))
GUESTS := button check hostile measure exits heavy twocpus smp net log registers many mask typed flushes stream
GUEST_RUNTIME := $(addprefix guests/,start.S guest.c virtio.c virtio_mmio.c virtio_pci.c ring_split.c ring_packed.c)
COMMON_HEADERS := $(wildcard kernel_devices/*.h)
BUILT := build/dsdt.aml build/exit_path.bpf.o build/bpf_run.bpf.o build/exit_path.so build/real_mode.bin build/long_mode.elf build/broken.elf build/string_out.elf build/echo.elf \
	$(HANDLERS:%=build/%.bpf.o) $(HANDLERS:%=build/%.so) $(GUESTS:%=build/%.elf)
MODULES := vmm/kvm/_kvm.so vmm/kvm/_bpf.so vmm/virtqueue/_uring.so vmm/bench/_load.so vmm/sync/_shared.so

demo: build
	@$(PY) -m tools.demo

test: build check wide man
	@$(PY) -m pytest

# In machines with hardware-style KVM, emulated on this one: Linux guests, and older kernels.
test-nested: build
	@$(PY) -m tools.nested.test

build: setup $(BUILT) build/abi.stamp

# What a fresh machine lacks: Debian packages, .venv, the C extension modules.
setup: .venv/.installed $(MODULES)

build/.packages: tools/packages.txt tools/setup_packages
	@mkdir -p build
	@tools/setup_packages tools/packages.txt
	@touch $@

.venv/.installed: pyproject.toml | build/.packages
	@echo "setup: .venv"
	@test -x $(PY) || python3 -m venv .venv
	@$(PY) -m pip -q --disable-pip-version-check install -e '.[test]'
	@touch $@

NATIVE_DEPS := vmm/native/build.py .venv/.installed
vmm/kvm/_kvm.so: vmm/native/kvm_run.c vmm/native/kvm_run.h $(NATIVE_DEPS)
	@$(PY) vmm/native/build.py kvm
vmm/kvm/_bpf.so: vmm/native/bpf.c $(NATIVE_DEPS)
	@$(PY) vmm/native/build.py bpf
vmm/virtqueue/_uring.so: vmm/native/uring.c $(NATIVE_DEPS)
	@$(PY) vmm/native/build.py uring
vmm/bench/_load.so: vmm/native/load.c $(NATIVE_DEPS)
	@$(PY) vmm/native/build.py load
vmm/sync/_shared.so: vmm/native/shared.c $(NATIVE_DEPS)
	@$(PY) vmm/native/build.py shared

build/exit_path.bpf.o: kernel_devices/exit_path.bpf.c $(COMMON_HEADERS) | build/.packages
	$(CLANG) $(BPF_FLAGS) -c $< -o $@
build/bpf_run.bpf.o: vmm/testing/bpf_run.bpf.c | build/.packages
	$(CLANG) $(BPF_FLAGS) -c $< -o $@
build/exit_path.so: kernel_devices/exit_path.c $(COMMON_HEADERS) | build/.packages
	$(CC) $(NATIVE_FLAGS) -o $@ $<

define handler
build/$(1).bpf.o: $(wildcard kernel_devices/$(1)/*) $(COMMON_HEADERS) | build/.packages
	$(CLANG) $(BPF_FLAGS) -c kernel_devices/$(1)/$(1).c -o $$@
build/$(1).so: $(wildcard kernel_devices/$(1)/*) $(COMMON_HEADERS) | build/.packages
	$(CC) $(NATIVE_FLAGS) -o $$@ kernel_devices/$(1)/$(1).c
endef
$(foreach name,$(HANDLERS),$(eval $(call handler,$(name))))

build/net.elf: guests/net_echo.c guests/net_disk.c guests/net.h
build/stream.elf: guests/net_disk.c guests/net.h
build/many.elf: guests/many_disk.c guests/many_streams.c guests/many.h
build/%.elf: guests/%.c $(GUEST_RUNTIME) guests/guest.h guests/virtio.h guests/guest.ld | build/.packages
	$(CC) $(GUEST_FLAGS) -o $@ $(filter %.c %.S,$^)
build/long_mode.elf build/broken.elf build/string_out.elf build/echo.elf: build/%.elf: guests/%.S | build/.packages
	$(CC) -nostdlib -static -no-pie -Wl,-Ttext=0x100000 -Wl,--build-id=none -Wl,-z,noexecstack -o $@ $<
build/%.bin: guests/%.S | build/.packages
	$(CC) -nostdlib -static -no-pie -Wl,--oformat=binary -Wl,-Ttext=0x7c00 -Wl,--build-id=none -o $@ $<

build/dsdt.aml: vmm/boot/dsdt.py vmm/kvm/addresses.py .venv/.installed
	@$(PY) -m vmm.boot.dsdt > build/dsdt.asl
	iasl -we -p $@ build/dsdt.asl > build/dsdt.log || { cat build/dsdt.log; exit 1; }

# The schemas against the compiler's debug information, as at every load.
build/abi.stamp: $(BUILT) $(wildcard vmm/devmodel/*.py vmm/devmodel/devices/*.py) tools/abi.py
	@$(PY) -m tools.abi build && touch $@

headers: setup
	@$(PY) -m tools.headers
check: setup
	@$(PY) -m tools.headers --check

# Manual pages of the command and of each of its commands: man -l build/man/splitvmm.1
man: setup .venv/.docs
	@COLUMNS=80 $(PY) -m tools.manpages build/man

.venv/.docs: pyproject.toml .venv/.installed
	@echo "man: argparse-manpage"
	@$(PY) -m pip -q --disable-pip-version-check install -e '.[docs]'
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
	$(CLANG) $(BPF_FLAGS) -DWIDEN=20000 -c kernel_devices/$*/$*.c -o $@
build/wide/%.so: build/%.so
	@mkdir -p build/wide
	$(CC) $(NATIVE_FLAGS) -DWIDEN=20000 -o $@ kernel_devices/$*/$*.c
build/widest/%.bpf.o: build/%.bpf.o
	@mkdir -p build/widest
	$(CLANG) $(BPF_FLAGS) -DWIDEN=2000000 -c kernel_devices/$*/$*.c -o $@
wide: $(BUILT) $(WIDE)
	@for place in wide widest; do for built in $(BUILT:build/%=%); do \
		test -e build/$$place/$$built || ln -sf ../$$built build/$$place/; done; done

# Faults that only the BPF handlers have, one at a time: which test finds each.
faults: build
	@$(PY) -m tools.faults

bench: build
	.venv/bin/splitvmm bench exits
	.venv/bin/splitvmm bench blk --peer qemu

clean:
	rm -rf build vmm/*/*.so
distclean: clean
	rm -rf .venv *.egg-info

.PHONY: demo test test-nested build setup headers check man sanitize wide faults bench clean distclean
