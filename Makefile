# The commands of this project, one word each. README.md and .ci/run use them.

.PHONY: test check lint fuzz soak bench generate

test: ## all tests of all modules (about two minutes)
	go test work

check: ## everything that a change must pass (about ten minutes)
	bash .ci/run

lint: ## go vet, gofmt and the linters of .golangci.yml
	CHECKS="vet lint" bash .ci/run

fuzz: ## each fuzz target for FUZZTIME (20s)
	CHECKS=fuzz bash .ci/run

soak: ## all features at once, with injected faults, for SOAK (1m)
	CHECKS=soak bash .ci/run

bench: ## the numbers of docs/performance.md (about three minutes)
	go test -run '^$$' -bench . -benchtime 5x ./internal/bench

generate: ## all generated files: api.txt and the tables of error numbers
	go generate .
