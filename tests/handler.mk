# A handler of a test's own, in the folder that make is run in: NAME.py has CLASS, its schema, and NAME.c is the
# handler.  PY is a Python that has splitvmm.
PY ?= python3
NAME ?= adder
CLASS ?= Adder
HEADERS := $(shell $(PY) -c 'from vmm.paths import HEADERS; print(HEADERS)')
CLANG ?= $(shell command -v clang || command -v clang-19)
WARNINGS := -Wall -Werror -Wcast-qual
INCLUDES := -I$(HEADERS) -Ibuild

all: build/$(NAME).bpf.o build/$(NAME).so

build/$(NAME).gen.h: $(NAME).py
	@mkdir -p build
	$(PY) -m vmm compile $(NAME):$(CLASS) -o $@
build/$(NAME).bpf.o: $(NAME).c build/$(NAME).gen.h
	$(CLANG) -O2 -g -target bpf -mcpu=v3 $(WARNINGS) $(INCLUDES) -isystem /usr/include/$(shell gcc -print-multiarch) -c $< -o $@
build/$(NAME).so: $(NAME).c build/$(NAME).gen.h
	$(CC) -O2 -g -fPIC -shared $(WARNINGS) $(INCLUDES) -o $@ $<

.PHONY: all
