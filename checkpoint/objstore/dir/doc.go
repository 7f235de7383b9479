// SPDX-License-Identifier: Apache-2.0

// Package dir is an object store in a folder: on one machine's disk for development, or on a shared file
// system.
//
// # What it is for
//
// It gives the promises of objstore.Store on nothing but POSIX: a fence that holds between processes, and
// objects that survive a power cut once they are acknowledged.
//
// # Mental model
//
// A name is a path. Content is written to a file below ".tmp", synced, and then given its name: by
// rename(2) to replace, by link(2) to create if absent. link fails if the name exists, whoever asks, which
// makes it the fence; rename after a look would not be one. Then the folder is synced.
//
// # Invariants
//
//   - I1 A file outside ".tmp" is whole and synced.
//   - I2 Nothing is acknowledged, "exists already" included, before the folder that shows it is synced.
//   - I3 Every path stays inside the root (os.Root), symbolic links included.
//
// # Concurrency
//
// Any number of goroutines and processes on one folder. A file system must support hard links and must
// make link atomic; network file systems need NFSv3 or later. objstore.SelfTest shows it.
//
// # Failure behaviour
//
// A crash leaves at most files below ".tmp", which New removes when they are a day old. A full disk and
// I/O errors come back as they are and are not transient: repeating does not free space.
package dir
