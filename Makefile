# Revoxel. `make demo` and `make test` do everything on a fresh Debian-like machine.
CC ?= gcc
BUILD ?= build
PYTHON ?= /usr/bin/python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
JOBS ?= $(shell nproc)

PACKAGES := gcc g++ make zlib1g-dev libisal-dev libjansson-dev libpng-dev libgdcm-dev perl
TEST_PACKAGES := python3 python3-numpy python3-nibabel python3-pil python3-scipy python3-pydicom
BENCH_PACKAGES := libdnnl-dev python3-torch python3-scipy libopenblas0-openmp
CHECK_PACKAGES := clang-format clang-tidy

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Werror
CFLAGS_ALL := -std=c11 -D_GNU_SOURCE -O3 -g -fPIC -fvisibility=hidden -fopenmp -I. -MMD -MP $(WARNINGS) $(CFLAGS)
LIBS := -ljansson -lpng -lz -lisal -lm -lpthread -ldl

# ISO C forbids contraction by default; simd.h counts on a * b + c being one FMA.
ISA_base := -ffp-contract=fast
ISA_avx2 := -ffp-contract=fast -mavx2 -mfma -mf16c
ISA_avx512 := -ffp-contract=fast -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512
ISA_amx := $(ISA_avx512) -mavx512bf16 -mamx-tile -mamx-bf16

# Kernels in kernels/cpu are compiled once per instruction set, those in kernels/cpu/amx for matrix
# tiles only; the rest of the library once.
KERNEL_SOURCES := $(wildcard kernels/cpu/*.c)
AMX_SOURCES := $(wildcard kernels/cpu/amx/*.c)
LIBRARY_SOURCES := $(wildcard kernels/*.c engine/*/*.c models/*.c bindings/c/*.c)
CLI_SOURCES := $(wildcard bindings/cli/*.c)
TEST_SOURCES := $(wildcard tests/test_*.c tests/*/test_*.c)

KERNEL_OBJECTS := $(foreach isa,base avx2 avx512,$(KERNEL_SOURCES:%.c=$(BUILD)/%.$(isa).o)) \
	$(AMX_SOURCES:%.c=$(BUILD)/%.amx.o)
LIBRARY_OBJECTS := $(LIBRARY_SOURCES:%.c=$(BUILD)/%.o) $(KERNEL_OBJECTS)
CLI_OBJECTS := $(CLI_SOURCES:%.c=$(BUILD)/%.o)
TEST_SCRIPTS := $(wildcard tests/test_*.py tests/*/test_*.py tests/test_*.sh tests/*/test_*.sh)
CUDA_TEST_SOURCES := $(wildcard tests/cuda/test_*.cu)
TEST_BINARIES := $(TEST_SOURCES:%.c=$(BUILD)/%) $(CUDA_TEST_SOURCES:%.cu=$(BUILD)/%)

ifndef V
.SILENT:
endif

.DEFAULT_GOAL := all
.PHONY: all bench clean deps test-deps bench-deps check-deps test demo bench-conv
# Installs what is missing of a list of Debian packages; needs no network when nothing is missing.
install = @missing=""; for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing"; $(SUDO) apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi

deps: ; $(call install,$(PACKAGES))
test-deps: deps ; $(call install,$(TEST_PACKAGES))
check-deps: test-deps ; $(call install,$(CHECK_PACKAGES))
bench-deps: deps ; $(call install,$(BENCH_PACKAGES))

# The main job on built-in data; see demo.sh.
demo: deps
	@$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/revoxel
	@./demo.sh $(BUILD)/revoxel demo

# Every tests/**/test_*.c and test_*.py, through prove (Test Anything Protocol).
test: test-deps
	@$(MAKE) --no-print-directory -j$(JOBS) all test-binaries
	@REVOXEL=$(BUILD)/revoxel RVX_TEST_CUDA=$(BUILD)/librevoxel_cuda_emulated.so PYTHON=$(PYTHON) PEERS=$(BUILD)/peers/bin/python prove --exec tests/start $(TEST_BINARIES) $(TEST_SCRIPTS)

# What others read and write, for tests/**/test_*_peers.py; not in Debian, so from Python's index into a
# folder of the build. Without it those tests skip what they lack. A later pyjpegls, which highdicom
# loads, wants another NumPy than Debian's.
PEERS := SimpleITK==2.5.2 pynrrd==1.1.3 scikit-image==0.24.0 highdicom==0.26.1 pydicom==3.0.2 pyjpegls==1.4.0 dcm2niix==1.0.20250506
.PHONY: peers
peers: test-deps
	$(call install,python3-venv)
	@[ "$$(cat $(BUILD)/peers/made 2>/dev/null)" = "$(PEERS)" ] || { mkdir -p $(BUILD) && $(PYTHON) -m venv --system-site-packages $(BUILD)/peers && \
	$(BUILD)/peers/bin/python -m pip install -q --disable-pip-version-check $(PEERS) && echo "$(PEERS)" >$(BUILD)/peers/made && echo "peers: $(PEERS)"; }

.PHONY: test-binaries
test-binaries: $(TEST_BINARIES) $(BUILD)/librevoxel_cuda_emulated.so $(BUILD)/bench_step_gpu $(BUILD)/bench_gpu_emulated

# DICOM is read by a library of its own, loaded at run time (engine/volume/dicom_plugin.h), where GDCM is.
GDCM := $(patsubst %/gdcmReader.h,%,$(firstword $(wildcard /usr/include/gdcm-*/gdcmReader.h)))
DICOM_PLUGIN := $(if $(GDCM),$(BUILD)/librevoxel_dicom.so)

all: $(BUILD)/librevoxel.a $(BUILD)/librevoxel.so $(BUILD)/revoxel $(DICOM_PLUGIN)

$(BUILD)/librevoxel.a: $(LIBRARY_OBJECTS)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/librevoxel.so: $(LIBRARY_OBJECTS)
	$(CC) $(CFLAGS) -shared -fopenmp -Wl,-soname,librevoxel.so.0 -o $@ $^ $(LIBS)
	@ln -sf $(@F) $@.0

$(BUILD)/engine/volume/%.plugin.o: engine/volume/%.cc
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O2 -g -fPIC -fvisibility=hidden -I. -isystem $(GDCM) -MMD -MP -Wall -Wextra -Wshadow -Werror $(CFLAGS) -c -o $@ $<

$(BUILD)/librevoxel_dicom.so: $(patsubst %.cc,$(BUILD)/%.plugin.o,$(wildcard engine/volume/*.cc)) $(BUILD)/kernels/status.o
	$(CXX) $(CFLAGS) -shared -Wl,-z,defs -o $@ $^ -lgdcmMSFF -lgdcmDSED -lgdcmCommon

# The CUDA backend is a library of its own, loaded at run time (kernels/cuda/plugin.h). Its kernels are
# compiled twice from one source: by g++ for the emulation of kernels/cuda/emulate.h, which tests use,
# and by nvcc where there is one.
CUDA_SOURCES := $(filter-out kernels/cuda/%_gpu.cu,$(wildcard kernels/cuda/*.cu))
EMULATED_OBJECTS := $(CUDA_SOURCES:%.cu=$(BUILD)/%.emulated.o) $(patsubst %.cc,$(BUILD)/%.emulated.o,$(wildcard kernels/cuda/*.cc)) \
	$(BUILD)/kernels/status.o
# What x86 lets pass and a GPU does not, or answers otherwise, ends the program: addresses that are not
# multiples of what is loaded, shifts by more bits than there are, numbers too large for an integer.
EMULATED_CHECKS := -fsanitize=alignment,shift-exponent,integer-divide-by-zero,float-cast-overflow -fsanitize-undefined-trap-on-error
EMULATED_FLAGS := -std=c++17 -O2 -g -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti -ffp-contract=off -fno-strict-aliasing \
	-I. -MMD -MP -Wall -Wextra -Wshadow -Werror -Wno-unknown-pragmas -Wno-missing-field-initializers $(EMULATED_CHECKS) $(CFLAGS)

$(BUILD)/kernels/cuda/%.emulated.o: kernels/cuda/%.cu
	@mkdir -p $(@D)
	$(CXX) $(EMULATED_FLAGS) -x c++ -c -o $@ $<

$(BUILD)/kernels/cuda/%.emulated.o: kernels/cuda/%.cc
	@mkdir -p $(@D)
	$(CXX) $(EMULATED_FLAGS) -c -o $@ $<

$(BUILD)/librevoxel_cuda_emulated.so: $(EMULATED_OBJECTS)
	$(CXX) $(CFLAGS) -shared -o $@ $^

# Tests of the emulation itself hold kernels of their own.
EMULATION := $(patsubst %.cc,$(BUILD)/%.emulated.o,$(wildcard kernels/cuda/emulate*.cc) kernels/cuda/queue_emulated.cc)
$(BUILD)/tests/cuda/%: tests/cuda/%.cu $(EMULATION)
	@mkdir -p $(@D)
	$(CXX) $(EMULATED_FLAGS) -Itests -o $@ -x c++ $< -x none $(EMULATION)

# A tool for NVTX, which test_ranges has it load.
$(BUILD)/tests/cuda/test_ranges: $(BUILD)/tests/cuda/nvtx_tool.so
$(BUILD)/tests/cuda/nvtx_tool.so: tests/cuda/nvtx_tool.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -shared -o $@ $<

# NVCC: the compiler; the machine code of sm_80 and of sm_90a (with what is Hopper's own), and PTX.
NVCC ?= $(shell command -v nvcc 2>/dev/null || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
# Templates for 1 and for 8 channels have loops that one of them never enters (128).
NVCC_FLAGS := -std=c++17 -O3 -lineinfo -I. -diag-suppress 128 \
	-Xcompiler -fPIC,-fvisibility=hidden,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-Wall \
	-gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90a,code=sm_90a -gencode=arch=compute_80,code=compute_80
CUDA_OBJECTS := $(patsubst %.cu,$(BUILD)/%.cuda.o,$(wildcard kernels/cuda/*.cu)) $(BUILD)/kernels/status.o

$(BUILD)/kernels/cuda/%.cuda.o: kernels/cuda/%.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVCC_FLAGS) -MMD -MF $(@:.o=.d) -Xptxas -v -c -o $@ $< 2>$(@:.o=.ptxas) || { cat $(@:.o=.ptxas); exit 1; }

$(BUILD)/librevoxel_cuda.so: $(CUDA_OBJECTS)
	$(NVCC) -shared -cudart static -Xcompiler -fPIC -Xlinker --as-needed -o $@ $^ -ldl

.PHONY: cuda
cuda: $(BUILD)/librevoxel_cuda.so

$(BUILD)/revoxel: $(CLI_OBJECTS) $(BUILD)/librevoxel.a
	$(CC) $(CFLAGS) -fopenmp -o $@ $^ $(LIBS)

define ISA_RULE
$(BUILD)/kernels/cpu/%.$(1).o: kernels/cpu/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS_ALL) $$(ISA_$(1)) -DRVX_ISA_SUFFIX=$(1) -c -o $$@ $$<
endef
$(foreach isa,base avx2 avx512 amx,$(eval $(call ISA_RULE,$(isa))))

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c -o $@ $<

$(BUILD)/tests/%: tests/%.c $(BUILD)/librevoxel.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -Itests -o $@ $< $(BUILD)/librevoxel.a $(LIBS)

$(BUILD)/bench_conv: bench/bench_conv.c bench/onednn.c bench/onednn.h $(BUILD)/librevoxel.a
	$(CC) $(CFLAGS_ALL) -MF $@.d -o $@ bench/bench_conv.c bench/onednn.c $(BUILD)/librevoxel.a -ldnnl $(LIBS)

# BENCH_ARGS: see bench/bench_conv.c.
bench-conv:
ifeq ($(wildcard /usr/include/dnnl.h),)
	@echo "bench-conv needs oneDNN: make bench-deps"
else
	@$(MAKE) --no-print-directory $(BUILD)/bench_conv
	@$(BUILD)/bench_conv $(BENCH_ARGS)
endif

# Fuzzing: every tests/fuzz/fuzz_*.c, FUZZ_SECONDS each, from the seeds in tests/fuzz/corpus. By default
# the small coverage-guided driver in tests/fuzz (gcc, always the same inputs); FUZZ_CC=clang takes
# libFuzzer. The library is built anew with sanitizers (which upset some warnings: the ordinary build
# has them); kernels, which parse nothing, are not.
FUZZ_CC ?= gcc
FUZZ_SECONDS ?= 3
FUZZ := $(BUILD)/fuzz-$(FUZZ_CC)
FUZZ_BINARIES := $(patsubst tests/fuzz/%.c,$(FUZZ)/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_FLAGS := -std=c11 -D_GNU_SOURCE -O1 -g -fopenmp -I. -MMD -MP -w -fsanitize=address,undefined -fno-sanitize-recover=all
ifeq ($(FUZZ_CC),clang)
FUZZ_COVERAGE := -fsanitize=fuzzer-no-link
FUZZ_LINK := -fsanitize=fuzzer -lgomp
FUZZ_RUN = -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$(FUZZ)/ -print_final_stats=1 $$target.found
else
FUZZ_COVERAGE := -fsanitize-coverage=trace-pc
FUZZ_LINK := $(FUZZ)/driver.o
FUZZ_RUN = -seconds=$(FUZZ_SECONDS) -crash=$$target.crash
$(FUZZ_BINARIES): $(FUZZ)/driver.o
endif

.PHONY: fuzz
fuzz: deps
	@$(MAKE) --no-print-directory -j$(JOBS) $(FUZZ_BINARIES)
	@for target in $(FUZZ_BINARIES); do seeds=tests/fuzz/corpus/$$(basename $$target); [ -d $$seeds ] || seeds=; \
	mkdir -p $$target.found; OMP_NUM_THREADS=1 $$target $(FUZZ_RUN) $$seeds >$$target.log 2>&1 || { cat $$target.log; exit 1; }; \
	echo "$$(basename $$target): $$(grep -E 'runs in|number_of_executed' $$target.log)"; done

$(FUZZ)/driver.o: tests/fuzz/driver.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_FLAGS) -fno-sanitize=all -c -o $@ $<

$(FUZZ)/%.o: %.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_FLAGS) $(FUZZ_COVERAGE) -c -o $@ $<

$(FUZZ)/librevoxel.a: $(LIBRARY_SOURCES:%.c=$(FUZZ)/%.o)
	@rm -f $@
	@ar rcs $@ $^

$(FUZZ)/libkernels.a: $(KERNEL_OBJECTS)
	@rm -f $@
	@ar rcs $@ $^

FUZZ_LIBRARIES := $(FUZZ)/librevoxel.a $(FUZZ)/libkernels.a
$(FUZZ)/fuzz_%: $(FUZZ)/tests/fuzz/fuzz_%.o $(FUZZ_LIBRARIES)
	$(FUZZ_CC) $(FUZZ_FLAGS) -o $@ $< -Wl,--start-group $(FUZZ_LIBRARIES) -Wl,--end-group $(FUZZ_LINK) $(LIBS)

# Static checks: layout of the text, layers, sizes, what the library calls and exports, registers and
# spills of the CUDA kernels where there is nvcc, public headers that stand alone in C and C++.
# `make tidy` adds clang-tidy.
PUBLIC_HEADERS := bindings/c/revoxel.h $(wildcard bindings/c/revoxel/*.h)
FORMATTED = $(shell git ls-files '*.c' '*.h' '*.hpp' '*.cu' '*.cuh')
.PHONY: layers format check tidy
layers: ; @tests/check/layers.sh

format: ; clang-format -i $(FORMATTED)

check: check-deps
	@$(MAKE) --no-print-directory -j$(JOBS) all $(if $(NVCC),cuda)
	@clang-format --dry-run -Werror $(FORMATTED) && echo "format: $(words $(FORMATTED)) files"
	@tests/check/layers.sh
	@tests/check/sources.sh
	@tests/check/cuda.sh $(if $(NVCC),$(BUILD)/kernels/cuda,none)
	@tests/check/symbols.sh $(BUILD)/librevoxel.a $(BUILD)/librevoxel.so $(CLI_OBJECTS)
	@for header in $(PUBLIC_HEADERS); do \
	$(CC) -std=c99 $(WARNINGS) -Wpedantic -fsyntax-only -x c $$header && \
	$(CXX) -std=c++11 $(WARNINGS) -Wpedantic -fsyntax-only -x c++ $$header || exit 1; done
	@echo "header: it and its $(words $(filter-out bindings/c/revoxel.h,$(PUBLIC_HEADERS))) parts stand alone in C99 and C++11"

# Every test under AddressSanitizer and UndefinedBehaviorSanitizer, in a build of its own.
.PHONY: sanitize
sanitize:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)-sanitize CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -O1 -Wno-error" test

TIDY_SOURCES := $(LIBRARY_SOURCES) $(CLI_SOURCES)
tidy: check-deps
	@printf '%s\n' $(TIDY_SOURCES) | xargs -P$(JOBS) -n 4 clang-tidy --quiet 2>/dev/null
	@echo "tidy: $(words $(TIDY_SOURCES)) files"

# What only a GPU can tell: bench/check_gpu.sh. OUT: a folder for its logs and JSON files.
.PHONY: check-gpu gpu-programs gpu-kit
check-gpu: ; @BUILD=$(BUILD) bench/check_gpu.sh $(OUT)

GPU_PROGRAMS := $(BUILD)/librevoxel_cuda.so $(BUILD)/tests/cuda/nvtx_tool.so $(BUILD)/revoxel $(BUILD)/bench_gpu $(BUILD)/bench_step_gpu $(BUILD)/tests/kernels/test_streams \
	$(patsubst %.c,$(BUILD)/%,$(wildcard tests/cuda/test_*.c))
gpu-programs: $(GPU_PROGRAMS)

# The same without debugging symbols, with the libraries that such a machine may lack: BUILD=build-gpu
# bench/check_gpu.sh runs them where there is neither compiler nor network. Packed beside it, to carry.
gpu-kit: $(GPU_PROGRAMS)
	@rm -rf $(BUILD)-gpu && mkdir -p $(BUILD)-gpu/lib
	@for p in $(GPU_PROGRAMS:$(BUILD)/%=%); do mkdir -p $(BUILD)-gpu/$$(dirname $$p); strip --strip-unneeded -o $(BUILD)-gpu/$$p $(BUILD)/$$p; done
	@ldd $(GPU_PROGRAMS) | awk '/=> \// {print $$3}' | sort -u | grep -vE '/lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+)\.so' | xargs -I {} cp -L {} $(BUILD)-gpu/lib
	@git describe --always --dirty >$(BUILD)-gpu/kit
	@tar czf $(BUILD)-gpu.tar.gz $(BUILD)-gpu
	@echo "$(BUILD)-gpu: $$(du -sm $(BUILD)-gpu | cut -f1) MiB, packed $$(du -sm $(BUILD)-gpu.tar.gz | cut -f1) MiB in $(BUILD)-gpu.tar.gz"

$(BUILD)/bench/%.cuda.o: bench/%.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVCC_FLAGS) -MMD -MF $(@:.o=.d) -c -o $@ $<

# cuDNN is reached through the file that the plug-in has for it.
BENCH_GPU_SOURCES := bench/bench_gpu.cu $(wildcard bench/gpu/*.cu)
$(BUILD)/bench_gpu: $(patsubst %.cu,$(BUILD)/%.cuda.o,$(BENCH_GPU_SOURCES)) $(BUILD)/kernels/cuda/cudnn_gpu.cuda.o $(BUILD)/librevoxel.a
	$(NVCC) -cudart static -o $@ $^ -Xcompiler -fopenmp $(LIBS)

# The same program on the emulation, for tests/cuda/test_bench_gpu.py.
$(BUILD)/bench/%.emulated.o: bench/%.cu
	@mkdir -p $(@D)
	$(CXX) $(EMULATED_FLAGS) -x c++ -c -o $@ $<

$(BUILD)/bench/%.emulated.o: bench/%.cc
	@mkdir -p $(@D)
	$(CXX) $(EMULATED_FLAGS) -c -o $@ $<

$(BUILD)/bench_gpu_emulated: $(patsubst %.cu,$(BUILD)/%.emulated.o,$(filter-out bench/gpu/device.cu bench/gpu/cublas.cu,$(BENCH_GPU_SOURCES))) \
		$(patsubst %.cc,$(BUILD)/%.emulated.o,$(wildcard bench/gpu/*.cc)) $(EMULATED_OBJECTS) $(BUILD)/librevoxel.a
	$(CXX) $(CFLAGS) -fopenmp -o $@ $^ $(LIBS)

$(BUILD)/bench_step_gpu: $(BUILD)/bench/bench_step_gpu.o $(BUILD)/bench/step_job.o $(BUILD)/librevoxel.a
	$(CC) $(CFLAGS_ALL) -o $@ $^ $(LIBS)

$(BUILD)/bench_policies: bench/bench_policies.c $(BUILD)/librevoxel.a
	$(CC) $(CFLAGS_ALL) -MF $@.d -o $@ $< $(BUILD)/librevoxel.a $(LIBS)

$(BUILD)/bench_step: bench/bench_step.c $(BUILD)/librevoxel.a
	$(CC) $(CFLAGS_ALL) -MF $@.d -o $@ $< $(BUILD)/librevoxel.a $(LIBS)

# Milliseconds a patch of each augmentation, beside scipy's (docs/augmentation.md).
$(BUILD)/bench_augment: bench/bench_augment.c $(BUILD)/librevoxel.a
	$(CC) $(CFLAGS_ALL) -MF $@.d -o $@ $< $(BUILD)/librevoxel.a $(LIBS)

.PHONY: bench-augment
bench-augment: test-deps
	@$(MAKE) --no-print-directory $(BUILD)/bench_augment
	@$(PYTHON) bench/peers/augment.py $(BUILD)/bench_augment $(BENCH_ARGS)

# Convolutions against oneDNN, then a training step against PyTorch; both are installed if need be.
bench: bench-deps
	@$(MAKE) --no-print-directory bench-conv
	@$(MAKE) --no-print-directory $(BUILD)/bench_step
	@$(PYTHON) bench/compare_step.py $(BUILD)/bench_step $(STEP_ARGS)

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
