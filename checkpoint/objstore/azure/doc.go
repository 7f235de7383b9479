// SPDX-License-Identifier: Apache-2.0

// Package azure is an object store on Azure Blob Storage. Importing it makes azblob://container/prefix known to
// package open.
//
// # What it is for
//
// It maps objstore.Store onto single requests of Microsoft's client and says of every failure what it means. It
// repeats nothing, and the client's own retries are off: objstore.Retry repeats. Portable libraries above the client
// report an answer of 409, busy servers and more as "unknown", which is too little to decide what to repeat.
//
// # Mental model
//
// Create is "Put Blob" with "If-None-Match: *". The answers:
//
//	201                        created
//	409 BlobAlreadyExists      ErrExists
//	412 ConditionNotMet        ErrExists
//	other 409                  ErrTransient, except where a policy protects the object
//	5xx, 429, 408, no answer   ErrTransient: it may have happened
//
// # Invariants
//
//   - I1 A Create is one request. A Put above a limit goes in blocks whose names no other upload uses; it is visible
//     when the list of blocks is committed.
//   - I2 Every request that carries content carries its MD5, so that what was damaged on the way is refused.
//   - I3 Credentials appear in no error and no String.
//   - I4 A listing that is not in byte order is an error: accounts with a hierarchical namespace list that way, and
//     a broken listing could not be resumed.
//
// # Concurrency
//
// Safe for concurrent use. An upload reads its content twice, for the digest and for the request, and holds no more
// than small buffers.
//
// # Failure behaviour
//
// Tokens are renewed before they expire. A missing container, a refused permission and credentials that cannot be
// had are permanent. Blocks of a failed upload are removed by Azure after a week.
package azure
