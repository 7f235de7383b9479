// SPDX-License-Identifier: Apache-2.0

// Package avro is the codec of structs as Apache Avro encodes them.
//
// # What for
//
//	orders := stream.From(p, "orders", codec.String, registry.Value(r, "orders", avro.Of[Order]()))
//
// The package is apart from codec so that only who uses it links an Avro library.
//
// # Mental model
//
// Avro's bytes carry no names and no types: they can be read only with the schema that they were written by. Of derives
// the schema from the type, With is given it. Either way the schema is part of the codec's id: "avro:", the schema's
// name and a fingerprint of it. On its own the codec reads what was written by the same schema, which is right for
// state; codec.Migrate joins the codecs of several schemas. Topics that others write need package registry, which
// knows the schema of each record and reads it by Avro's rules of resolution.
//
// # Invariants
//
//   - I1: the id changes when the bytes do: with names, types, symbols, order of fields and logical types; not with
//     documentation, defaults or aliases.
//   - I2: a value has one encoding, unless the schema has a map: its entries have no order. Such a codec is refused for
//     keys.
//
// # Concurrency
//
// Codecs are safe for concurrent use.
//
// # Failure behaviour
//
// A type without a schema, or a schema that does not fit its type, is reported when the pipeline is built. Errors about
// bytes name fields and types, never values.
package avro
