// SPDX-License-Identifier: Apache-2.0

// Command bench measures the engine as a process of its own on a real Kafka broker, and peers that fulfil the same
// contract in the same run. Speed is checked by this command and never by a test: machines are noisy.
//
//	go run ./bench keyedcount                         # 4 million records of 100 B, 1 million keys, commits of 100 ms
//	go run ./bench keyedcount --size 1024
//	go run ./bench keyedcount --commit 1s --coalesce
//	go run ./bench keyedcount --peer PATH --runs 3    # in turn with another engine
//	go run ./bench nexmark                            # 3 million events through every query
//	go run ./bench nexmark --queries q0,q5 --peer PATH
//	go run ./bench latency                            # 10,000 records a second, default settings
//	go run ./bench memory                             # 20 million keys within 512 MiB
//	go run ./bench checkpoint                         # 2 GiB of state of which 1 % changes between rounds
//
// A peer is an executable that takes
//
//	PATH keyedcount --in TOPIC --out TOPIC --brokers HOST:PORT --bounded
//	PATH nexmark --query q5 --prefix PREFIX --out TOPIC --brokers HOST:PORT --bounded
//
// reads the input to its end, writes each key's new count for every record, or the results of a query over the topics of
// examples/nexmark, exits with 0, and prints READY on standard error when records begin to flow. Processor time is counted from then on, user and system, of the engine's process
// alone. bench/worker is streamd under this contract, bench/bare a hand-written loop over the same libraries.
package main
