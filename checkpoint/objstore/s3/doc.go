// SPDX-License-Identifier: Apache-2.0

// Package s3 is an object store on Amazon S3 or a compatible one.
//
// # What it is for
//
// It maps objstore.Store onto single requests of minio-go and says of every failure what it means. It
// repeats nothing: objstore.Retry does.
//
// # Mental model
//
// Create is PUT with "If-None-Match: *". The answers:
//
//	200                       created
//	412 PreconditionFailed    ErrExists
//	409 Conflict              ErrTransient: another conditional write of the name is under way
//	5xx, 429, 408, no answer  ErrTransient: it may have happened
//
// # Invariants
//
//   - I1 A Create is one conditional request, never a multipart upload: some stores forget the condition
//     when parts are completed. objstore.SelfTest proves the condition on the store in use.
//   - I2 Content-MD5 goes with every upload in one request, so that what was damaged on the way is refused;
//     parts of giant objects rely on TLS, or on signed chunks without it. The newer checksum headers are
//     not used, since several compatible stores reject them. What counts is the reader's own SHA-256.
//   - I3 Every write asks for the encryption of the configuration, so that none depends on the bucket's
//     default having been set before.
//   - I4 Credentials appear in no error and no String.
//
// # Concurrency
//
// Safe for concurrent use. An upload holds no more than small buffers; content is read from its Body.
//
// # Failure behaviour
//
// After a refusal the credentials are fetched anew, since keys are rotated in files and tokens expire early: a
// refusal is transient if they have changed or if the server says that they have expired. Wrong credentials, a
// missing bucket, an untrusted certificate and a refused permission are permanent. A failed multipart upload is aborted; where a
// crash prevents that, a lifecycle rule that removes incomplete uploads should be set on the bucket.
package s3
