# dtlsgate. `make help` lists what can be asked for.

VERSION := 1.0.0
BUILD ?= release
PREFIX ?= /usr/local
DESTDIR ?=

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all

# --- compiler and flags, by BUILD ------------------------------------------------------------

OPTIMIZE := -O2 -g
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2
SANITIZE :=
COMPILER := gcc
ifeq ($(BUILD),release)
else ifeq ($(BUILD),clang)
    COMPILER := clang
# -g1: lines, which is what their reports name; a fifth less to compile.
else ifeq ($(BUILD),asan)
    OPTIMIZE := -O1 -g1 -fno-omit-frame-pointer
    HARDEN :=
    SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
else ifeq ($(BUILD),tsan)
    OPTIMIZE := -O1 -g1 -fno-omit-frame-pointer
    HARDEN :=
    SANITIZE := -fsanitize=thread
else ifeq ($(BUILD),fuzz)
    COMPILER := clang
    OPTIMIZE := -O1 -g -fno-omit-frame-pointer
    HARDEN :=
    SANITIZE := -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined
else ifeq ($(BUILD),coverage)
    OPTIMIZE := -O0 -g
    HARDEN :=
    SANITIZE := --coverage -fprofile-update=atomic
else
    $(error BUILD=$(BUILD) is unknown; it can be release, clang, asan, tsan, fuzz or coverage)
endif
ifeq ($(origin CC),default)
    CC := $(COMPILER)
endif
ifeq ($(origin AR),default)
    AR := ar
endif

WARN := -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes \
    -Wmissing-prototypes -Wold-style-definition -Wvla -Wformat=2 -Wundef -Wpointer-arith \
    -Wwrite-strings -Wnull-dereference

OUT := build/$(BUILD)

# The file that names the directory of wolfSSL's include/ and lib/. It is read when something is compiled or linked, and
# made by then; a makefile to include would be made before anything else, for every goal.
WOLFSSL_PREFIX := build/wolfssl/prefix
WOLFSSL = $(file <$(WOLFSSL_PREFIX))

CPPFLAGS = -Iproxy -I$(OUT)/gen -isystem $(WOLFSSL)/include -D_GNU_SOURCE=
CFLAGS := -std=gnu11 -fPIE -pthread $(OPTIMIZE) $(HARDEN) $(SANITIZE) $(WARN) $(EXTRA_CFLAGS)
LDFLAGS := -pie -pthread -Wl,-z,relro,-z,now -Wl,--as-needed $(SANITIZE) $(EXTRA_LDFLAGS)
LIBS = $(WOLFSSL)/lib/libwolfssl.a -lev -linih -ljansson -lmicrohttpd -lseccomp -lm

# --- what there is -----------------------------------------------------------------------------

SOURCES := $(filter-out proxy/main.c,$(wildcard proxy/*.c proxy/*/*.c))
OBJECTS := $(SOURCES:%.c=$(OUT)/%.o)
LIBRARY := $(OUT)/libdtlsgate.a
DAEMON := $(if $(wildcard proxy/main.c),$(OUT)/dtlsgate)

UNIT_SOURCES := $(wildcard tests/unit/*/test_*.c)
UNIT_TESTS := $(foreach source,$(UNIT_SOURCES),$(OUT)/tests/$(basename $(notdir $(source))))
UNIT_HELPERS := $(patsubst %.c,$(OUT)/%.o,$(filter-out $(UNIT_SOURCES),$(wildcard tests/unit/*/*.c)))
UNIT_LIBRARY := $(OUT)/libunit.a

FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAYS := $(FUZZ_NAMES:%=$(OUT)/tests/replay_%)

DEVICE_SOURCES := $(wildcard tests/integration/device/*.c)
DEVICE := $(if $(DEVICE_SOURCES),$(OUT)/tests/device)

CHAINS_SOURCES := $(wildcard tests/chains/*.c)
CHAINS := $(if $(CHAINS_SOURCES),$(OUT)/tests/show-chains)

# On libcoap, where it is installed to compile with; without it they are not built, and their test is skipped.
LWM2M := $(patsubst tests/lwm2m/%.c,$(OUT)/tests/lwm2m-%,$(if $(shell \
    pkg-config --exists libcoap-3-notls libcoap-3-openssl 2>/dev/null && echo yes),$(wildcard tests/lwm2m/*.c)))

# One program for each of these files; the others in tests/bench are linked into each.
BENCH_PROGRAMS := $(foreach name,load relay echo flood crypto library sizes,$(wildcard tests/bench/$(name).c))
BENCH_HELPERS := $(filter-out $(BENCH_PROGRAMS),$(wildcard tests/bench/*.c))
BENCHES := $(BENCH_PROGRAMS:tests/bench/%.c=$(OUT)/bench/%)

# Of this folder's own repository, not of one around an unpacked archive.
COMMIT := $(shell GIT_CEILING_DIRECTORIES=$(dir $(CURDIR)) git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null)

# --- building ------------------------------------------------------------------------------------

.PHONY: all
all: $(DAEMON) $(LIBRARY) ## build the daemon: build/release/dtlsgate (BUILD=clang, asan or tsan: another build)

$(WOLFSSL_PREFIX): scripts/fetch-wolfssl $(wildcard scripts/wolfssl-patches/*.patch)
	@mkdir -p $(@D)
	@prefix=$$(scripts/fetch-wolfssl | tail -n 1) && [ -n "$$prefix" ] && \
	    echo "$${prefix#$(CURDIR)/}" >$@.$$$$ && mv $@.$$$$ $@

.PHONY: FORCE
FORCE:

# Objects depend on these two, which change only when their content does.
define write_if_changed
@mkdir -p $(@D)
@printf '%b' '$(1)' >$@.$$$$; if cmp -s $@.$$$$ $@; then rm $@.$$$$; else mv $@.$$$$ $@; fi
endef

$(OUT)/flags: FORCE $(WOLFSSL_PREFIX)
	$(call write_if_changed,$(CC) $(CPPFLAGS) $(CFLAGS)\n)

$(OUT)/gen/version.h: FORCE
	$(call write_if_changed,#ifndef VERSION_H\n#define VERSION_H\n#define DTLSGATE_VERSION "$(VERSION)$(COMMIT:%=+%)"\n#endif\n)

$(OUT)/gen/status_page_bytes.h: proxy/run/status_page.html scripts/embed-page
	@mkdir -p $(@D)
	@scripts/embed-page $< >$@.$$$$ && mv $@.$$$$ $@

$(OUT)/proxy/run/status_page.o $(OUT)/proxy/run/status_page.c.ok: $(OUT)/gen/status_page_bytes.h

$(OUT)/tools-checked: Makefile
	@mkdir -p $(@D)
	@printf '#include <ev.h>\n#include <ini.h>\n#include <jansson.h>\n#include <jemalloc/jemalloc.h>\n#include <microhttpd.h>\n#include <seccomp.h>\n' | $(CC) -E -x c - >/dev/null || \
	    { echo "make: a compiler or a library is missing, see above; run: scripts/install-packages build" >&2; exit 1; }
	@touch $@

$(OUT)/%.o: %.c $(OUT)/flags | $(OUT)/gen/version.h $(OUT)/tools-checked
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $@")
	$(if $(V),,@)$(CC) $(CPPFLAGS) $(CPPFLAGS_HERE) $(CFLAGS) -MMD -MP -c -o $@ $<

define archive
@mkdir -p $(@D)
$(if $(V),,@echo "  AR    $@")
@rm -f $@
$(if $(V),,@)$(AR) rcs $@ $(filter %.o,$^)
endef

define link
@mkdir -p $(@D)
$(if $(V),,@echo "  LINK  $@")
$(if $(V),,@)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(1) $(LIBS) $(2)
endef

$(LIBRARY): $(OBJECTS)
	$(archive)

# Sanitizers bring allocators of their own.
DAEMON_LIBS := $(if $(SANITIZE),,-ljemalloc)

$(OUT)/dtlsgate: $(OUT)/proxy/main.o $(LIBRARY)
	$(call link,$^,$(DAEMON_LIBS))

HEADERS := $(wildcard proxy/*.h proxy/*/*.h)
HEADERS := $(filter-out proxy/count/counters_each.h,$(HEADERS)) # made to be included again and again

.PHONY: headers
headers: $(HEADERS:%=$(OUT)/%.ok)

$(OUT)/%.h.ok: %.h $(OUT)/flags | $(OUT)/gen/version.h $(OUT)/tools-checked
	@mkdir -p $(@D)
	@printf '#include "$<"\n#include "$<"\n' | $(CC) $(CPPFLAGS) -I. $(CFLAGS) -MMD -MP -MF $@.d -MT $@ -fsyntax-only -x c -
	@touch $@

# What a second compiler has to say. Nothing is linked: no test runs such a program.
SYNTAX_SOURCES := proxy/main.c $(SOURCES) $(wildcard tests/unit/*/*.c tests/fuzz/*.c tests/bench/*.c tests/chains/*.c) \
    $(DEVICE_SOURCES)

.PHONY: syntax
syntax: $(SYNTAX_SOURCES:%=$(OUT)/%.ok) ## compile all sources for the warnings only (with BUILD=clang: those of clang)

$(OUT)/%.c.ok: %.c $(OUT)/flags | $(OUT)/gen/version.h $(OUT)/tools-checked
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CHECK $<")
	$(if $(V),,@)$(CC) $(CPPFLAGS) $(CPPFLAGS_HERE) $(CFLAGS) -MMD -MP -MF $@.d -MT $@ -fsyntax-only $<
	@touch $@

# --- tests ---------------------------------------------------------------------------------------

$(OUT)/tests/unit/%.o $(OUT)/tests/fuzz/%.o $(OUT)/tests/unit/%.ok $(OUT)/tests/fuzz/%.ok: CPPFLAGS_HERE := -Itests/unit
$(OUT)/tests/integration/device/%.o $(OUT)/tests/integration/device/%.ok: CPPFLAGS_HERE := -Itests/unit
$(OUT)/tests/bench/%.o $(OUT)/tests/bench/%.ok: CPPFLAGS_HERE := -Itests/bench

$(UNIT_LIBRARY): $(UNIT_HELPERS)
	$(archive)

# A helper whose header a test includes is linked in before our library, so that a helper like
# fake_udp.c takes the place of the real file; other helpers come after it, where they are needed.
# ($(file) and not a shell with grep: this is done for each program, and processes are what cost.)
helpers_included = $(patsubst %.h,$(OUT)/%.o,$(filter $(file <$(1:.o=.d)),$(UNIT_HELPERS:$(OUT)/%.o=%.h)))
test_libraries = $(call helpers_included,$(firstword $^)) $(LIBRARY) $(UNIT_LIBRARY) $(LIBRARY)

# Where nonce_watch.h is included nonce_watch.c stands between these functions and who calls them.
NONCE_WATCH_CALLS := wc_AesGcmEncrypt wc_AesGcmEncrypt_ex wc_AesCcmEncrypt wc_AesCcmEncrypt_ex \
    wc_ChaCha20Poly1305_Encrypt wc_Chacha_Process wc_Poly1305_MAC
wraps = $(if $(filter %/nonce_watch.o,$(1)),$(NONCE_WATCH_CALLS:%=-Wl,--wrap=%))

define unit_test
$(OUT)/tests/$(basename $(notdir $(1))): $(OUT)/$(1:.c=.o) $(LIBRARY) $(UNIT_LIBRARY)
	$$(call link,$$< $$(test_libraries),-lcmocka $$(call wraps,$$(test_libraries)))
endef
$(foreach source,$(UNIT_SOURCES),$(eval $(call unit_test,$(source))))

$(REPLAYS): $(OUT)/tests/replay_%: $(OUT)/tests/fuzz/fuzz_%.o $(OUT)/tests/fuzz/replay_main.o $(LIBRARY) $(UNIT_LIBRARY)
	$(call link,$(filter %.o,$^) $(test_libraries),-lcmocka $(call wraps,$(test_libraries)))

$(FUZZ_NAMES:%=$(OUT)/fuzz_%): $(OUT)/fuzz_%: $(OUT)/tests/fuzz/fuzz_%.o $(LIBRARY) $(UNIT_LIBRARY)
	$(call link,$< $(test_libraries),-lcmocka -fsanitize=fuzzer $(call wraps,$(test_libraries)))

$(DEVICE): $(DEVICE_SOURCES:%.c=$(OUT)/%.o) $(LIBRARY)
	$(call link,$^)

$(CHAINS): $(CHAINS_SOURCES:%.c=$(OUT)/%.o) $(LIBRARY)
	$(call link,$^)

# The server speaks plaintext, the device DTLS. No sanitizer: they are not what is tested.
$(OUT)/tests/lwm2m-server: LIBCOAP := libcoap-3-notls
$(OUT)/tests/lwm2m-device: LIBCOAP := libcoap-3-openssl
$(LWM2M): $(OUT)/tests/lwm2m-%: tests/lwm2m/%.c $(OUT)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $@")
	$(if $(V),,@)$(CC) -std=gnu11 -O2 -g $(WARN) -o $@ $< $$(pkg-config --cflags --libs $(LIBCOAP))

$(BENCHES): $(OUT)/bench/%: $(OUT)/tests/bench/%.o $(BENCH_HELPERS:%.c=$(OUT)/%.o) $(LIBRARY)
	$(call link,$^)

.PHONY: build-tests build-bench build-lwm2m
build-lwm2m: all $(LWM2M)
build-tests: all $(UNIT_TESTS) $(REPLAYS) $(DEVICE) $(CHAINS) $(LWM2M)
build-bench: all $(BENCHES)

# Most of their time the integration tests wait.
PYTEST_JOBS ?= $(shell expr 2 \* $$(nproc))
PYTEST_ARGS ?=

# The thread sanitizer of gcc 12 cannot place its shadow memory where the kernel randomizes addresses widely.
RUN := $(if $(filter tsan,$(BUILD)),$(shell setarch -R true 2>/dev/null && echo setarch -R))

.PHONY: unit replay integration test
unit: build-tests ## unit tests
	$(RUN) scripts/run-unit-tests $(UNIT_TESTS)

replay: build-tests ## replay the fuzz corpus
	$(RUN) scripts/run-replays $(REPLAYS)

integration: build-tests ## integration tests against the real daemon (PYTEST_ARGS="-k name")
	$(RUN) scripts/run-integration $(OUT) -n $(PYTEST_JOBS) $(PYTEST_ARGS)

# Under a sanitizer scripts/check has time for a part of the integration tests: tests/integration/core says which.
CORE = $(addprefix tests/integration/,$(shell sed 's/ *\#.*//' tests/integration/core))

.PHONY: unit-and-replay unit-threaded integration-core
unit-and-replay: build-tests
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory replay

# Those that start threads: of the others the thread sanitizer has nothing to say. Found by strace; scripts/lint looks for
# new ones. `make tsan` runs all of them.
THREADED := test_cells test_counters test_creds test_creds_handshake test_crew test_identities test_log test_log_ring test_mailbox \
    test_metrics test_metrics_text test_privileges test_reload test_sockets test_take_over test_udp test_udp_errors \
    test_udp_mtu test_upgrade test_watchdog test_worker
unit-threaded: $(THREADED:%=$(OUT)/tests/%)
	$(RUN) scripts/run-unit-tests $^

integration-core: all $(DEVICE) $(CHAINS) $(LWM2M) ## those integration tests that touch each part of the gate (tests/integration/core)
	INTEGRATION_TESTS="$(CORE)" $(RUN) scripts/run-integration $(OUT) -n $(PYTEST_JOBS) $(PYTEST_ARGS)

test: build-tests ## all tests: unit, fuzz corpus, integration
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory replay
	@$(MAKE) --no-print-directory integration

.PHONY: asan tsan
asan: ## all tests with address and undefined-behaviour sanitizers
	$(MAKE) BUILD=asan test

tsan: ## all tests with the thread sanitizer
	$(MAKE) BUILD=tsan test

# Words that a fuzzer would have to find by chance; those of settings and commands come from where they are declared.
DICTIONARY_config := config
DICTIONARY_command := command
DICTIONARY_psk := credentials
DICTIONARY_deny := credentials
DICTIONARY_certificate := der
DICTIONARY_crl := der
DICTIONARY_state_file := state_file
DICTIONARY := $(OUT)/dictionaries/$(or $(DICTIONARY_$(TARGET)),dtls).dict

$(OUT)/dictionaries/%.dict: tests/fuzz/%.dict proxy/config/config.def proxy/run/commands.def
	@mkdir -p $(@D)
	@{ cat $<; case $* in \
	config) sed -n 's/^[A-Z]*_SETTING("*\([a-z0-9_]*\)"*,.*/"\1 = "/p' proxy/config/config.def ;; \
	command) sed -n 's/^COMMAND[A-Z_]*(\([a-z_]*\), "\([^"]*\)".*/"\2 "/p' proxy/run/commands.def ;; \
	esac; } >$@

.PHONY: fuzz
SECONDS ?= 60
ifeq ($(filter fuzz,$(BUILD)),)
fuzz: ## fuzz one target: make fuzz TARGET=classify SECONDS=60 (needs clang)
	@[ -n "$(filter $(TARGET),$(FUZZ_NAMES))" ] || \
	    { echo "make fuzz: say TARGET=one of: $(FUZZ_NAMES)" >&2; exit 2; }
	$(MAKE) BUILD=fuzz fuzz
else
fuzz: $(OUT)/fuzz_$(TARGET) $(DICTIONARY)
	@mkdir -p build/fuzz/corpus/$(TARGET) build/fuzz/found tests/fuzz/corpus/$(TARGET)
	build/fuzz/fuzz_$(TARGET) -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
	    -dict=$(DICTIONARY) -artifact_prefix=build/fuzz/found/$(TARGET)- \
	    build/fuzz/corpus/$(TARGET) tests/fuzz/corpus/$(TARGET)
endif

# Of the unit tests, with as many random steps as a slow build can bear. Of a killed process nothing is counted; a test
# that forks at every store would take hours.
COVERAGE_STEPS := PROPERTY_STEPS=30000 DIFFERENTIAL_RECORDS=50000 CRASH_KILLS=20
COVERAGE_TESTS := $(patsubst $(OUT)/%,build/coverage/%,$(filter-out %/test_crash_stores,$(UNIT_TESTS)))
.PHONY: coverage
coverage: ## which lines the unit tests run: build/coverage/report/index.html (needs gcovr)
	@command -v gcovr >/dev/null || { echo "make coverage: run scripts/install-packages build test coverage" >&2; exit 1; }
	$(MAKE) BUILD=coverage build-tests
	find build/coverage -name '*.gcda' -delete
	$(COVERAGE_STEPS) scripts/run-unit-tests $(COVERAGE_TESTS)
	@mkdir -p build/coverage/report
	gcovr --root . --filter proxy/ --exclude-throw-branches --print-summary --txt build/coverage/report/files.txt \
	    --html-details build/coverage/report/index.html build/coverage/proxy

SOAK_MINUTES ?= 180
SOAK_ARGS ?=
.PHONY: soak
soak: build-tests ## hours in the life of one gate: reloads, upgrades, kills, floods, loss (SOAK_MINUTES=180, SOAK_ARGS="--seed 1")
	DTLSGATE_BUILD=$(OUT) DTLSGATE_MBEDTLS=none tests/soak/soak.py --minutes $(SOAK_MINUTES) $(SOAK_ARGS)

.PHONY: bench bench-million bench-continuity
bench: build-bench ## benchmark, ten minutes: speed, offered load, flood, storm (BENCH_ARGS="--only flood", "--keep")
	DTLSGATE_BUILD=$(OUT) tests/bench/run.py $(BENCH_ARGS)

bench-million: build-bench ## benchmark with 1,000,000 sessions, a quarter of an hour, 3 GB of memory (BENCH_ARGS="--sessions 50000")
	DTLSGATE_BUILD=$(OUT) tests/bench/run.py --only million $(BENCH_ARGS)

bench-continuity: build-bench ## benchmark of reloads, restarts, upgrades and crashes, ten minutes (BENCH_ARGS="--million")
	DTLSGATE_BUILD=$(OUT) tests/bench/run.py --only reloads,restarts,cost --minutes 8 $(BENCH_ARGS)

.PHONY: release-check
release-check: ## what is too slow for scripts/check: runs scripts/release.d/*, for hours
	scripts/release-check

.PHONY: lint
lint: ## formatting, include directions, banned calls, static analysis, generated documents
	scripts/lint

# --- the rest ------------------------------------------------------------------------------------

# What install puts under $(PREFIX), and from where; the program and the unit are made.
INSTALLED := \
    share/doc/dtlsgate/dtlsgate.ini=conf/dtlsgate.ini \
    share/doc/dtlsgate/LICENSE=LICENSE \
    share/dtlsgate/prometheus/rules.yml=conf/prometheus/rules.yml \
    share/dtlsgate/grafana/dtlsgate.json=conf/grafana/dtlsgate.json \
    share/man/man8/dtlsgate.8=docs/man/dtlsgate.8 \
    share/man/man5/dtlsgate.ini.5=docs/man/dtlsgate.ini.5 \
    share/man/man8/dtlsgate-ctl.8=docs/man/dtlsgate-ctl.8 \
    share/bash-completion/completions/dtlsgate=conf/dtlsgate.bash-completion
INSTALLED_PROGRAM := bin/dtlsgate
INSTALLED_UNIT := lib/systemd/system/dtlsgate.service

.PHONY: install uninstall
install: all ## install program, man pages, completion, a commented configuration, systemd unit, alerts, dashboard (DESTDIR, PREFIX)
	install -D -m 755 $(OUT)/dtlsgate $(DESTDIR)$(PREFIX)/$(INSTALLED_PROGRAM)
	$(foreach pair,$(INSTALLED),install -D -m 644 $(lastword $(subst =, ,$(pair))) \
	    $(DESTDIR)$(PREFIX)/$(firstword $(subst =, ,$(pair))) && ) true
	sed 's,/usr/local/,$(PREFIX)/,' conf/dtlsgate.service | \
	    install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/$(INSTALLED_UNIT)

uninstall: ## take away what install has put there, and nothing else
	rm -f $(foreach file,$(INSTALLED_PROGRAM) $(INSTALLED_UNIT) $(foreach pair,$(INSTALLED),$(firstword $(subst =, ,$(pair)))),\
	    $(DESTDIR)$(PREFIX)/$(file))
	for folder in doc/dtlsgate dtlsgate/prometheus dtlsgate/grafana dtlsgate; do \
	    rmdir $(DESTDIR)$(PREFIX)/share/$$folder 2>/dev/null || true; done

.PHONY: dist deb
dist: ## a source archive of this commit: build/dist/dtlsgate-VERSION.tar.gz
	scripts/make-dist $(VERSION)

deb: ## a Debian package for the Debian or Ubuntu that this is: build/deb
	scripts/build-deb

.PHONY: fetch
fetch: ## fetch, verify and build wolfSSL only
	scripts/fetch-wolfssl

.PHONY: clean distclean
clean: ## remove what was built, but not wolfSSL
	rm -rf build/release build/clang build/asan build/tsan build/fuzz build/coverage

distclean: ## remove everything that was built or fetched
	rm -rf build

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | awk -F'\t' '{ printf "%-20s %s\n", $$1, $$2 }'

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
