// SPDX-License-Identifier: Apache-2.0

// Package codec turns keys and values into bytes and back.
//
// # What for
//
// Every topic and every store of a pipeline has a key codec and a value codec. A codec is explicit and
// typed: no reflection decides per record what a value is.
//
// JSON reads any type. Where the cost of decoding decides, make a codec of functions (New), with package jsonscan for
// JSON that reads only the members that are wanted.
//
// # Mental model
//
// A Codec is stateless and has an identity. The identity is kept in topologies and manifests, so that a
// pipeline which would read old state with another codec is refused before it reads a byte of it. Migrate makes a codec
// that reads what its predecessors wrote: each value in a store is behind the number of the codec that wrote it.
//
//	topic of the user's          value
//	store, repartition topic     number of the codec (a byte)  value
//
// Views shows the values of a codec as JSON, for tools that inspect state. A codec with a form of its own for that has the
// methods AppendJSON and DecodeJSON.
//
// Codecs that need a library are packages of their own: avro, protobuf, and registry for the wire format of schema
// registries.
//
// # Invariants
//
//   - I1: Decode(Append(nil, v)) gives a value equal to v, for every v that Append accepts.
//   - I2: a value has one encoding: key codecs decide where a key lives, and two encodings of a key
//     would be two keys.
//   - I3: what Decode returns shares no memory with src.
//   - I4: an error names the codec's trouble by kind and position, and never quotes user data.
//   - I5: numbers and times order as their bytes do, and pairs as their parts do, so that scans of a store go in that
//     order.
//
// # Concurrency
//
// Codecs are safe for concurrent use; the ones made by New are as safe as their functions.
//
// # Failure behaviour
//
// Decode returns an error for anything that Append cannot have written, and never panics on foreign bytes.
package codec
