// SPDX-License-Identifier: Apache-2.0

// Package registry reads and writes topics whose records name their schema in a schema registry, in the wire format of
// Confluent's serializers, which most registries and clients share.
//
// # What for
//
//	r := registry.New(sr.URLs("http://registry:8081"), sr.BasicAuth(user, password))
//	orders := stream.From(p, "orders", codec.String, registry.Value(r, "orders", avro.Of[Order]()))
//	…
//	totals.To("totals", registry.Value(r, "totals", protobuf.Of[*pb.Total]()))
//
// The formats are those of packages avro and protobuf, and JSON of this one.
//
// # Mental model
//
//	byte 0      bytes 1-4               then
//	magic: 0    schema id, big-endian   [Protobuf only: which message of the file]  value
//
// A codec belongs to a subject: "orders-value" for the values of the topic orders. When a process starts, a codec that
// writes registers its schema (or looks it up, see LookUpOnly) and learns its id; a codec that reads makes sure that it
// can read the newest version. What was written by other versions is read by the rules of the format: the schema of an id
// that was not met before is fetched once, and kept. So the registry is asked per schema, never per record.
//
// # Invariants
//
//   - I1: an id, once resolved, stays: registries never change what an id means.
//   - I2: stores and internal topics hold values in the plain format, without an id (see codec.Own). Nothing of the
//     pipeline's own depends on the registry.
//   - I3: a pipeline registers only what it writes.
//
// Keys can have schemas too, but then the bytes of a key, and with them its partition, change with each version of its
// schema, and differ between the producers of a topic. So records of such a topic count as not being where their key
// belongs: a Repartition comes before a step that relies on keys. A plain codec is the better choice for keys.
//
// # Concurrency
//
// A Registry and its codecs are safe for concurrent use.
//
// # Failure behaviour
//
// A registry that is away when a process starts is tried for a few seconds; then the process ends, and says what it
// wanted from which registry. When it goes away later, records of known schemas are read on. A record of another schema
// fails the epoch with codec.ErrUnavailable, which follows no policy for bad records: nothing is wrong with it. An id that
// the registry does not know, or a schema that the type cannot be read from, is an error of the record.
package registry
