// SPDX-License-Identifier: Apache-2.0

// Package s3server starts a real S3 server for tests: versitygw, on a folder.
//
// # What it is for
//
// Tests of whatever talks to S3 run against a server that checks signatures and whose conditional writes
// are atomic. Fakes are not enough: several let two conditional writers win.
//
// # Mental model
//
// The server is built once per machine from the Go module proxy, pinned to a version and verified by the
// checksum database, into the user's cache folder. Each Start runs a process of its own on a free
// loopback port and a temporary folder, and ends it with the test.
//
// # Invariants
//
//   - I1 Nothing but Go and the module proxy is needed.
//   - I2 With REQUIRE_S3=1 a server that cannot be had fails the test; otherwise it is skipped
//     with the reason.
//
// # Concurrency
//
// Start may be called from parallel tests and processes: one builds, the others wait.
//
// # Failure behaviour
//
// The server's output is in the test log when it does not start. A test binary that is killed leaves its
// server running, which ends with the machine's temporary folders.
package s3server
