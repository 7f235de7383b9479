// SPDX-License-Identifier: Apache-2.0

// Package gcs is an object store on Google Cloud Storage. Importing it makes gs://bucket/prefix known to package
// open.
//
// # What it is for
//
// It maps objstore.Store onto single requests of the JSON API, through Google's generated client, and says of
// every failure what it means. It repeats nothing: objstore.Retry does. Google's hand-written client and the
// portable libraries above it repeat calls themselves, after which a Create whose reply was lost would look like
// another's; they also bring several times the code.
//
// # Mental model
//
// Create is an upload with "ifGenerationMatch=0": there must be no live version of the object. The answers:
//
//	200                       created
//	412 conditionNotMet       ErrExists
//	409, 5xx, 429, 408, 401   ErrTransient: it may have happened, or comes right with new credentials
//	no answer                 ErrTransient, except where no credentials can be had
//
// # Invariants
//
//   - I1 An upload is one request and carries the CRC-32C of its content, so that what was damaged on the
//     way is refused.
//   - I2 Credentials are sent over TLS only; an endpoint that begins with http:// gets none.
//
// # Concurrency
//
// Safe for concurrent use. An upload reads its content twice, for the checksum and for the request, and holds no
// more than small buffers.
//
// # Failure behaviour
//
// Tokens are renewed before they expire. A missing bucket, a refused permission and credentials that cannot be
// had are permanent.
package gcs
