// SPDX-License-Identifier: Apache-2.0

// Package open turns the URL of an object store into a store.
//
// # What it is for
//
// It is the one place that knows drivers by their schemes, so that only programs that open stores by URL link
// them. Drivers that bring large libraries are linked when their package is imported, which registers them.
//
// # Mental model
//
//	/data/checkpoints, ./relative            folder
//	file:///data/checkpoints                 folder
//	s3://bucket/prefix?endpoint=…&region=…   bucket; credentials come from the environment
//	                                         sse=aes256 or sse=kms&kms-key-id=… ask the server to encrypt
//	gs://bucket/prefix                       Google Cloud Storage, if package gcs is imported
//	azblob://container/prefix?account=…      Azure Blob Storage, if package azure is imported
//	mem://name                               memory of this process, shared by name
//
// Every store comes wrapped in objstore.Retry, and below that in crypt.Store if there is a key file, in crypt.Guard
// if not.
//
// # Invariants
//
//   - I1 Only these schemes and registered ones are accepted, and unknown parameters are refused: a typing
//     error must not become another place for state.
//   - I2 A URL holds no credentials.
//
// # Concurrency and failure behaviour
//
// Open may be called by many goroutines. It does not reach for a bucket: objstore.SelfTest does.
package open
