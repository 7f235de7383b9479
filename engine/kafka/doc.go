// SPDX-License-Identifier: Apache-2.0

// Package kafka is streamd's use of Apache Kafka, over franz-go: a transactional producer that the engine
// drives step by step, a consumer whose positions the engine owns, a group membership that only assigns, and
// the look-ups of recovery (stable offsets, open transactions, changelogs, internal topics).
//
// It is the only package of the record path that imports franz-go. It decides nothing: engine/core does.
//
// # Mental model
//
// A worker has four clients, because each has a life of its own:
//
//   - [Cluster]: requests of no particular owner (metadata, offsets, topics, fencing). Lives as long as the worker.
//   - [Group]: a member of the consumer group with our balancer. It fetches nothing and commits nothing.
//     A new one after the worker was fenced.
//   - [Consumer]: directly assigned partitions at positions that the engine gives. Replaced after each rewind,
//     so that no buffer of before can come through.
//   - [Producer]: one transactional id. Replaced after each outcome that is not known: a new client initialises
//     the id anew, which ends the old transaction whatever state it was in.
//
// # Invariants
//
//   - I1: offsets are committed with the member id and generation that the caller names, never with what a
//     client knows at the moment.
//   - I2: a request that changes something returns a core.Outcome; an answer that does not say is Unknown.
//   - I3: offsets that recovery reads are always stable: the fetch waits until no transaction holds them.
//   - I4: secrets and certificates are read for each connection, and are in no error.
//
// # Failure behaviour
//
// What a broker refuses has two kinds. It does not let the client in ([IsAuth]): that may pass, since a new secret may
// have reached only one side; an identity that all clients of the process share counts for how long ([Cluster.Refused]).
// Or a grant is missing ([IsDenied]): that is final, and the error is a [DeniedError] that names the grant.
package kafka
