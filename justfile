set positional-arguments

export PATH := justfile_directory() / ".deps/bin:" + env("PATH")
nextest := justfile_directory() / ".deps/bin/cargo-nextest"
browser := env("CHROMIUM", `command -v chromium || command -v chromium-browser || command -v google-chrome-stable || command -v google-chrome || true`)
# The browser tests are ignored, and so counted as skipped, where there is no browser for them.
browser_tests := if browser + env("VERBATIM_REQUIRE_BROWSER", "") == "" { "" } else { "--run-ignored all" }

# Documentation's examples run from a temporary folder, where the relative search path leads nowhere.
library_path := if os() == "macos" { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" }

target := env("CARGO_TARGET_DIR", justfile_directory() / "target")
# There are no examples: naming them has packages built with the features that tests ask for, so once.
like_tests := "--examples"

# List the recipes.
default:
    @"{{ just_executable() }}" --list

# Fetch MLX, libclang and mlx-c into .deps (a second run takes no time).
setup:
    @python3 setup/bootstrap.py deps

# Serve the bundled demo model: a chat page and an OpenAI-compatible API.
demo *args: build
    @target/release/verbatim serve --model demo/model "$@"

# Build the `verbatim` command.
build: setup
    @cargo build --release --package verbatim-server

# Run every test.
test *args:
    @python3 setup/bootstrap.py test
    @{{ nextest }} nextest run {{ if env("CI", "") == "true" { "--profile ci" } else { "" } }} {{ browser_tests }} "$@"
    @{{ library_path }}="{{ justfile_directory() }}/.deps/mlx/active/mlx/lib" cargo test --doc --quiet

# Check formatting, lints and documentation.
lint: setup
    cargo fmt --all --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet --lib --bins {{ like_tests }}

# Replay every golden against the engine and write reports/; --l3 measures quantized keys and values.
parity *args: _harness
    @{{ target }}/debug/harness parity "$@"

# Hold predicted peak memory against what MLX measures and write reports/fit.json; --readme updates docs/memory.md.
fit-check *args: _harness
    @{{ target }}/debug/harness fit-check "$@"

_harness: setup
    @cargo build --quiet --bin harness {{ like_tests }}

# Make the Python environment of the oracle (test time only).
oracle-setup: setup
    @python3 oracle/python/setup_env.py

# Check and test the oracle's own code, which the other recipes leave out since it needs Python.
oracle-test: _oracle
    @cargo clippy --quiet --workspace --all-targets -- -D warnings
    @{{ nextest }} nextest run --workspace -E 'package(verbatim-oracle)'

# Regenerate golden/ from mlx-lm.
golden *args: _oracle
    @{{ target }}/debug/oracle golden "$@"

# Regenerate the goldens twice and compare them with each other and with what is committed; --once: regenerate once.
golden-check *args: _oracle
    @{{ target }}/debug/oracle golden-check "$@"

_oracle: oracle-setup
    @cargo build --quiet --workspace --bin oracle {{ like_tests }}

# Drive the server with the `openai` package, and beside mlx-lm's own server.
clients *args: oracle-setup build
    @.venv/bin/python oracle/python/clients/run.py "$@"

# Drive the server with the official packages of OpenAI and Anthropic, in Python and JavaScript.
sdk *args: build
    @python3 oracle/python/clients/sdk/run.py "$@"

# Run every example of README.md and docs/: --only PART of a page's name.
guide *args: oracle-setup build
    @.venv/bin/python oracle/python/clients/sdk/guide.py "$@"

# Keep many clients on the server at once, with adapters coming and going: --minutes N --clients N.
soak *args: oracle-setup build
    @.venv/bin/python oracle/python/clients/soak/soak.py "$@"

# Kill the server and a fetch at random moments, and look whether what is left starts clean: --times N.
kills *args: oracle-setup build
    @.venv/bin/python oracle/python/clients/soak/kills.py "$@"

# Draw requests from /openapi.json and hold the answers against it (schemathesis): --cases N --seconds S.
schemathesis *args: build
    @python3 oracle/python/api/run.py "$@"

# Measure beside mlx-lm in alternating rounds (a quiet machine; `--readme README.md` updates the table).
bench *args: _oracle build
    @.venv/bin/python oracle/python/bench/run.py "$@"

# Measure the server beside mlx_lm.server and optiq serve (a quiet machine; `--readme docs/benchmarks.md` updates the table).
head-to-head *args: _oracle build
    @.venv/bin/python oracle/python/bench/head_to_head.py "$@"

# Measure long contexts with plain and quantized keys and values beside mlx-lm and mlx-optiq (a quiet machine).
bench-context *args: _oracle build
    @.venv/bin/python oracle/python/bench/context.py "$@"

# Train the demo model anew, in an environment of its own (days on a CPU; see demo/recipe/README.md).
demo-model *args:
    @python3 -m venv demo/recipe/.venv
    @demo/recipe/.venv/bin/pip install --quiet --requirement demo/recipe/requirements.txt
    @cd demo/recipe && .venv/bin/python build_tokenizer.py
    @cd demo/recipe && .venv/bin/python train.py --out ../out --steps 13700 "$@"

# Score the demo model on its held-out cases, against a server of its own.
demo-eval *args: build
    @python3 demo/recipe/evaluate.py --serve target/release/verbatim "$@"

# Fuzz parsers, protocols, prompt cache and streams on a nightly toolchain: TARGET… (all when none is named) --seconds N.
fuzz *args:
    @python3 setup/bootstrap.py fuzz
    @python3 fuzz/run.py "$@"

# Draw fresh cases and run mlx-lm and the engine on each: --count N --seed S.
parity-fuzz *args: _oracle
    @{{ target }}/debug/oracle fuzz "$@"
