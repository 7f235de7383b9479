# SPDX-License-Identifier: Apache-2.0
#
# `make` alone lists the targets. A machine with Go builds and tests everything; tests that need a real Kafka broker
# (Java 17 and Maven) say so and are skipped where these are missing, unless REQUIRE_KAFKA=1 is set.
#
# CGO_ENABLED is left to Go: with a C compiler Pebble keeps its block cache outside the Go heap, and the race detector
# works; without one everything still builds, and tests run without the race detector.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
export GOTOOLCHAIN := auto

# The commands behind `make demo`, `make chaos`, `make pods`, `make cuts`, `make nexmark`, `make metamorphic` and
# `make bench`; add arguments with ARGS="...".
DEMO        = go run ./examples/flights demo
CHAOS       = go run ./test/chaos
PODS        = go run ./test/pods
CUTS        = go run ./test/cuts
NEXMARK     = go run ./test/nexmark
METAMORPHIC = go test -count=1 -timeout 0 -v ./test/metamorphic -pipelines 5000 -engines 200
BENCH       = go run ./bench
ARGS        =

# Where the broker of `make kafka` listens and keeps its data.
KAFKA_PORT = 19092
KAFKA_DIR  = build/kafka

# Seconds for each fuzz target.
FUZZTIME = 10s

# Tests that use a broker or a server from below test/ run one package at a time: each has a process of its own.
INTEGRATION = $$(go list -f '{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}}' ./... \
	| awk '{ hit = $$1 ~ /^github.com\/streamd\/streamd\/test\// } / github.com\/streamd\/streamd\/test\// { hit = 1 } hit { print $$1 }')
UNIT = $$(comm -23 <(go list ./... | sort) <(printf '%s\n' $(INTEGRATION) | sort))

# Packages in which goroutines share state. The commands of engine/cli only put engine/worker to use, which is here.
RACE = $$(comm -12 <(go list ./engine/... ./checkpoint/... ./statestore/... | grep -v /engine/cli | sort) <(printf '%s\n' $(UNIT) | sort))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## compile everything; the command goes to build/streamd
	@mkdir -p build
	go build ./...
	go build -o build/streamd ./cmd/streamd

.PHONY: test
test: build unit race k8s integration ## run every test that this machine can run

.PHONY: unit
unit: ## run the tests that need nothing but Go
	go test -timeout 10m $(UNIT)

.PHONY: race
race: ## run the tests of the packages that share state under the race detector
	@if [ "$$(go env CGO_ENABLED)" = 1 ]; then \
		echo "go test -race: the packages of engine, checkpoint and statestore"; go test -race -short -timeout 15m $(RACE); \
	else echo "race: skipped, the race detector needs a C compiler and there is none"; fi

# Helm, Kubernetes' types and Prometheus' parser would be most of go.mod, so they are in a module of their own. Go does not
# see that its tests read files of this one, so it must not answer from its cache.
.PHONY: k8s
k8s: ## check the Helm chart, the kustomize base and the manifests that k8s manifests prints
	go build -o build/streamd ./cmd/streamd
	cd test/k8s && go vet ./schemas && go test -vet=all -count=1 -timeout 10m .

.PHONY: integration
integration: ## run the tests against a real Kafka broker and a real S3 server
	@go run ./test/kafka/cmd/kafka --prepare
	go test -v -count=1 -p 1 -timeout 15m $(INTEGRATION)

.PHONY: kafka
kafka: ## run a real Kafka broker until Ctrl-C and print its address
	@go run ./test/kafka/cmd/kafka --port $(KAFKA_PORT) --dir $(KAFKA_DIR)

.PHONY: demo
demo: ## run the example pipeline with a broker inside; nothing else is needed
	@$(DEMO) $(ARGS)

.PHONY: chaos
chaos: ## kill workers and the broker under load and check every result
	$(CHAOS) $(ARGS)

.PHONY: pods
pods: ## replace, add, remove, kill and cut off workers under load; measure the pauses of each task and check every result
	$(PODS) $(ARGS)

.PHONY: cuts
cuts: ## fork and rescale a pipeline from each of its checkpoints and check every result
	$(CUTS) $(ARGS)

.PHONY: nexmark
nexmark: ## run every NEXMark query on a broker, with kills, and check every result
	$(NEXMARK) $(ARGS)

.PHONY: metamorphic
metamorphic: ## run random pipelines under random settings and compare their results
	$(METAMORPHIC) $(ARGS)

.PHONY: bench
bench: ## measure throughput and latency
	$(BENCH) $(ARGS)

# The gofmt of go.mod's toolchain, not that of PATH: an older one cannot read the code.
.PHONY: lint
lint: ## check formatting, run go vet and the repository's own checks
	@unformatted=$$("$$(go env GOROOT)/bin/gofmt" -l .); if [ -n "$$unformatted" ]; then echo "gofmt -w would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go test ./cmd/streamd -run TestRepository

.PHONY: rewrite
rewrite: ## write anew the files that are made from others: references, schemas, the kustomize base
	go test ./engine/config ./engine/worker ./engine/api ./engine/cli -run 'UpToDate|SchemaOfTheChart' -rewrite

.PHONY: fuzz
fuzz: ## fuzz every target for FUZZTIME each
	@grep -rEoH --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sort | while IFS=: read -r file func; do \
		echo "$$(dirname "$$file"): $${func#func }"; \
		go test -run '^$$' -fuzz "^$${func#func }$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" < /dev/null; \
	done

.PHONY: ci
ci: ## do what the CI machine does
	@.ci/run

.PHONY: clean
clean: ## delete what was built, and the data of make kafka
	rm -rf build
