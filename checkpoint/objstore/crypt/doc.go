// SPDX-License-Identifier: Apache-2.0

// Package crypt is an object store that encrypts what it keeps in another.
//
// # What it is for
//
// Checkpoints hold user data. With this wrapper whoever reads the bucket sees names and sizes and nothing
// else, and whoever writes to it can destroy contents but not forge them.
//
// # Mental model
//
//	"streamd-crypt-1\n" | key id, 32 bytes | AES-GCM-HKDF stream
//	                                         40 | salt 32 | nonce prefix 7 | segment 0 | segment 1 | … | last
//
// The stream is the AES256-GCM-HKDF streaming scheme of the Tink library: HKDF-SHA256 makes an object's own
// key of the named key, the salt, and what precedes the stream together with the object's name. Each segment
// is sealed with AES-256-GCM under a nonce that holds its number and whether it is the last. The tests open
// with Tink what this package seals and the other way round. The library itself is not used since its
// streams cannot be read or written from the middle, which resumed downloads and uploads in parts need.
//
// Segments end at multiples of 64 KiB of the object, and sizes of plain and encrypted contents follow from
// each other by arithmetic: Stat and List tell the plain size without opening anything.
//
// # Invariants
//
//   - I1 What is read was sealed for this name under a key of the file, whole and in this order: a content
//     that was changed, cut short, extended, reordered or copied from another name is objstore.ErrDamaged,
//     and no byte of a segment is given out before the segment is verified.
//   - I2 No two contents are sealed under one key and nonce: each Put and Create takes a salt of 32 random
//     bytes. Within one call a segment may be sealed again, which gives the same bytes as long as the
//     content keeps objstore.Body's promise not to change.
//   - I3 Keys appear in no error and no String.
//
// # Concurrency
//
// Safe for concurrent use. Each open content and each concurrent reader of an upload holds one segment.
//
// # Failure behaviour
//
// A store that is opened without keys is wrapped in Guard, which says so where it meets an encrypted object.
//
// A damaged content is also transient, because proxies truncate and flip bits and a second read may be
// whole. A key that is missing (ErrKey) and an object that is not encrypted (ErrPlain) are permanent. Two
// things are not found out, since each object is judged alone: an older content of the same name that was put back, and
// a content brought from the same name in another store that has the same keys.
package crypt
