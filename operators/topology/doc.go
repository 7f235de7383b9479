// SPDX-License-Identifier: Apache-2.0

// Package topology is the compiled form of a pipeline: what it reads, writes and remembers, cut into the
// parts that tasks run.
//
// # What for
//
// The DSL hands a Graph to Compile. The engine reads from the Topology which topics to consume and
// create, which stores exist, and how to make a Processor. The CLI prints it. A Topology that was kept as JSON
// can be compared with the one of the running binary, before a byte of state is touched.
//
// # Mental model
//
//	orders ─▶ filter ─▶ KeyBy "by-customer" ┊ repartition topic ┊ ─▶ count "orders" ─▶ counts
//	└───────── sub-topology 0 ─────────────┘                      └──── sub-topology 1 ────┘
//
// Nodes that hand records to each other by a call form one sub-topology. A repartition topic cuts: it is
// an output of one sub-topology and a source of another. Sub-topologies are numbered by the order in which
// the pipeline declares their first source.
//
// # Identity
//
// Names given by the user are the identity of state and of internal topics. A store's id within its
// sub-topology, two bytes in front of every key on disk, is a hash of its name: adding, removing or
// moving other steps never changes it. Two names of one sub-topology with one hash are a build error that
// asks for another name (with 20 stores the chance is 1.2 %). Ids below 0x0100 and from 0x3f00 on are
// the engine's.
//
// Unnamed, stateless steps get a label such as "filter-3", which is good for a message and nothing else.
//
// # Codecs
//
// Stores and repartition topics carry the ids of their codecs. Keys keep theirs for good. The codec of values may be
// followed by another one in a later release, by a migration: the topology then lists the former ones, and what a release
// wrote can be read by every release whose list begins with its own.
//
// # Invariants
//
//   - I1: the same graph compiles to the same topology, whatever the process or machine.
//   - I2: a name belongs to at most one step of a pipeline.
//   - I3: no user topic is both read and written by one pipeline.
//   - I4: the sources of a stateful sub-topology have equal partition counts; placement refuses others.
//   - I5: no sub-topology sends records to itself, be it by way of others.
//   - I6: the fingerprint depends on stateful parts only: never on stateless steps, labels or outputs.
//
// # Concurrency
//
// A Topology is read-only after Compile and safe for concurrent use, its New functions included.
//
// # Failure behaviour
//
// Compile and Compatible report all findings at once, joined, each with what was found and what to do.
package topology
