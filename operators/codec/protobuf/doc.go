// SPDX-License-Identifier: Apache-2.0

// Package protobuf is the codec of generated Protocol Buffers messages.
//
// # What for
//
//	orders := stream.From(p, "orders", codec.String, protobuf.Of[*pb.Order]())
//
// The package is apart from codec so that only who uses it links the Protobuf runtime.
//
// # Mental model
//
// The bytes are those of the message and nothing else; with a schema registry, wrap the codec by package registry. The
// id is "protobuf:" and the message's full name. Fields may come and go by Protobuf's own rules: a former version of a
// message is read by the codec of the present one.
//
// # Invariants
//
//   - I1: Append is deterministic: map entries are sorted, so that one binary encodes a value in one way.
//   - I2: fields that the message does not know are kept and written again.
//
// Messages are no good keys all the same: Protobuf does not promise that another version of its library, or a
// producer in another language, writes the same bytes, and those decide where a key lives.
//
// # Concurrency
//
// Codecs are safe for concurrent use.
//
// # Failure behaviour
//
// Foreign bytes, and a required field of proto2 that is missing, are errors. They name fields, never values.
package protobuf
